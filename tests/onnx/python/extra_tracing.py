"""What makes a trace stop and go on: content that decides, loops of many stages, functions in functions."""

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from extra_layers import FLOAT, normal
from graphs import BOOL, F32, I64, Graph

GRAPHS = []


def graph(build):
    GRAPHS.append((build, FLOAT))
    return build


def truth(g):
    return g.weight(np.array(True))


def scanned_batch(random, lens):
    g = Graph(8)
    start = g.input("start", F32, ["batch", 2])
    x = g.input("x", F32, ["batch", "steps", 2])
    inputs = [g.input("lens", I64, ["batch"]) if lens else None, start, x, x]
    step = Graph(8, "step_")
    state = step.input("state", F32, [2])
    item, back = step.input("item", F32, [2]), step.input("back", F32, [2])
    new = step.Tanh(step.Add(state, item))
    step.output(new, F32, [2])
    step.output(step.Mul(new, back), F32, [2])
    last, path = g.node(
        "Scan", inputs, 2, body=step.proto("step"), num_scan_inputs=2, directions=[0, 1]
    )
    g.output(last, F32)
    g.output(path, F32)
    calls = []
    for batch, steps in ((1, 1), (3, 4)):
        call = {"start": normal(random, batch, 2), "x": normal(random, batch, steps, 2)}
        if lens:
            call["lens"] = random.integers(1, steps + 1, batch)
        calls.append(call)
    return g.model(ir_version=3), calls


@graph
def scan_of_opset_8(random):
    return scanned_batch(random, False)


@graph
def scan_of_opset_8_with_lengths(random):
    return scanned_batch(random, True)


@graph
def scan_along_other_axes(random):
    g = Graph(11)
    x = g.input("x", F32, [2, "steps", 3])
    y = g.input("y", F32, ["steps", 3])
    step = Graph(11, "step_")
    left, right = step.input("left", F32, [2, 3]), step.input("right", F32, [3])
    step.output(step.Add(left, right), F32, [2, 3])
    path = g.node(
        "Scan",
        [x, y],
        1,
        body=step.proto("step"),
        num_scan_inputs=2,
        scan_input_axes=[1, 0],
        scan_input_directions=[0, 1],
        scan_output_axes=[-1],
    )
    g.output(path, F32)
    return g.model(), [
        {"x": normal(random, 2, steps, 3), "y": normal(random, steps, 3)} for steps in (1, 5)
    ]


def looped(g, trips, condition, x, stacked=True):
    step = Graph(g.opset, "step_")
    step.input("at", I64, [])
    step.input("going", BOOL, [])
    state = step.input("state", F32, [2])
    new = step.Mul(state, step.weight(np.float32(0.9)))
    largest = step.ReduceMax(step.Abs(new), keepdims=0)
    step.output(step.Greater(largest, step.weight(np.float32(0.01))), BOOL, [])
    step.output(new, F32, [2])
    step.output(step.Neg(new), F32, [2])
    return g.node("Loop", [trips, condition, x], 2, body=step.proto("step"))


@graph
def loop_without_iterations(random):
    g = Graph(16)
    trips, going = g.input("trips", I64, []), g.input("going", BOOL, [])
    x = g.input("x", F32, [2])
    last, path = looped(g, trips, going, x)
    g.output(last, F32)
    g.output(path, F32)
    call = lambda trips, going: {
        "trips": np.array(trips, np.int64),
        "going": np.array(going),
        "x": normal(random, 2),
    }
    return g.model(), [call(0, True), call(5, False), call(0, False), call(2, True)]


@graph
def loop_of_many_stages(random):
    """Each iteration has to be seen before the next; what they stack enters one graph at the end."""
    g = Graph(16)
    x = g.input("x", F32, [2])
    last, path = looped(g, None, truth(g), x)
    g.output(last, F32)
    g.output(path, F32)
    return g.model(), [{"x": np.array([scale, 1], np.float32)} for scale in (1.1, 30, 1e6)]


@graph
def loop_until_trips(random):
    g = Graph(13)
    x = g.input("x", F32, [2])
    last, path = looped(g, g.weight(np.int64(7)), None, x)
    g.output(last, F32)
    g.output(path, F32)
    return g.model(), [{"x": np.array([0.012, 0], np.float32)}, {"x": np.array([5, 1], np.float32)}]


@graph
def many_values_across_a_stage(random):
    """More values than a graph has outputs are needed after content was looked at."""
    g = Graph(16)
    x = g.input("x", F32, ["n"])
    parts = [g.Mul(x, g.weight(np.float32(at))) for at in range(100)]
    whole = [g.Cast(part, to=I64) for part in parts[:90]]
    positive = g.Compress(x, g.Greater(x, g.weight(np.float32(0))))
    count = g.Cast(g.Size(positive), to=F32)
    g.output(g.Sum(*[g.Add(part, count) for part in parts]), F32)
    g.output(g.Concat(*whole, axis=0), I64)
    g.output(parts[7], F32)
    return g.model(), [{"x": normal(random, n, scale=3)} for n in (1, 6)]


@graph
def branches_of_different_shapes(random):
    g = Graph(16)
    x = g.input("x", F32, ["n", 3])
    kinds = []
    for at in range(3):
        branch = Graph(16, f"branch{at}_")
        shape = [[-1], [-1, 1, 3], [3, -1]][at]
        branch.output(branch.Reshape(x, branch.ints(*shape)), F32)
        kinds.append(branch)
    total = g.ReduceSum(x, keepdims=0)
    inner = Graph(16, "inner_")
    below = inner.Less(total, inner.weight(np.float32(-2)))
    inner.output(
        inner.If(below, then_branch=kinds[1].proto("b"), else_branch=kinds[2].proto("c")), F32
    )
    above = g.Greater(total, g.weight(np.float32(2)))
    y = g.If(above, then_branch=kinds[0].proto("a"), else_branch=inner.proto("inner"))
    g.output(g.Relu(y), F32)
    g.output(g.Shape(y), I64)
    return g.model(), [{"x": normal(random, 2, 3) + np.float32(shift)} for shift in (3, -3, 0)]


@graph
def names_captured_twice_over(random):
    g = Graph(16)
    x, flag = g.input("x", F32, [3]), g.input("flag", BOOL, [])
    weight = g.weight(normal(random, 3))
    deep = Graph(16, "deep_")
    deep.output(deep.Add(deep.Mul(x, weight), "step_item"), F32)
    other = Graph(16, "other_")
    other.output(other.Identity(weight), F32)
    step = Graph(16, "step_")
    step.input("step_at", I64, [])
    step.input("step_going", BOOL, [])
    state = step.input("step_state", F32, [3])
    step.nodes.append(helper.make_node("Neg", [state], ["step_item"]))
    new = step.If(flag, then_branch=deep.proto("deep"), else_branch=other.proto("other"))
    step.output(step.Identity("step_going"), BOOL)
    step.output(new, F32)
    y = g.node("Loop", [g.weight(np.int64(3)), None, x], 1, body=step.proto("step"))
    g.output(y, F32)
    return g.model(), [{"x": normal(random, 3), "flag": np.array(flag)} for flag in (True, False)]


def reference(node, name, kind, of=None):
    node.attribute.add(name=name, ref_attr_name=of or name, type=kind)
    return node


@graph
def functions_with_control_flow(random):
    """A function whose branches refer to its attributes, called by one that passes its own on."""
    g = Graph(18)
    own = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    leaky = reference(helper.make_node("LeakyRelu", ["x"], ["a"]), "alpha", AttributeProto.FLOAT)
    elu = reference(helper.make_node("Elu", ["x"], ["b"]), "alpha", AttributeProto.FLOAT)
    branch = lambda node, name: helper.make_graph(
        [node], name, [], [helper.make_tensor_value_info(name, F32, None)]
    )
    choose = helper.make_node(
        "If", ["positive"], ["y"], then_branch=branch(leaky, "a"), else_branch=branch(elu, "b")
    )
    inner = helper.make_function(
        "own",
        "Inner",
        ["x", "bound"],
        ["y", "total"],
        [
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
            helper.make_node("Greater", ["total", "bound"], ["positive"]),
            choose,
        ],
        own,
        ["alpha"],
    )
    call = reference(
        helper.make_node("Inner", ["x", "zero"], ["t", ""], domain="own"),
        "alpha",
        AttributeProto.FLOAT,
        "slope",
    )
    outer = helper.make_function(
        "own",
        "Outer",
        ["x"],
        ["y"],
        [
            helper.make_node("Constant", [], ["zero"], value_float=0.0),
            call,
            helper.make_node("Mul", ["t", "t"], ["y"]),
        ],
        own,
        [],
        [helper.make_attribute("slope", 0.5)],
    )
    g.functions, g.imports = [inner, outer], [own[1]]
    x = g.input("x", F32, ["n"])
    g.output(g.node("Outer", [x], domain="own"), F32)
    g.output(g.node("Outer", [x], domain="own", slope=0.25), F32)
    g.output(g.node("Inner", [x, g.weight(np.float32(1))], 2, domain="own", alpha=2.0)[1], F32)
    return g.model(), [{"x": normal(random, 4) + np.float32(shift)} for shift in (-2, 2)]


@graph
def function_with_missing_inputs(random):
    g = Graph(18)
    own = helper.make_opsetid("own", 1)
    clip = helper.make_function(
        "own",
        "Bounded",
        ["x", "low", "high"],
        ["y"],
        [helper.make_node("Clip", ["x", "low", "high"], ["y"])],
        [helper.make_opsetid("", 18)],
    )
    g.functions, g.imports = [clip], [own]
    x = g.input("x", F32, ["n"])
    one = g.weight(np.float32(1))
    g.output(g.node("Bounded", [x, None, one], domain="own"), F32)
    g.output(g.node("Bounded", [x, one], domain="own"), F32)
    g.output(g.node("Bounded", [x], domain="own"), F32)
    return g.model(), [{"x": normal(random, n, scale=2)} for n in (1, 5)]


@graph
def outputs_of_one_tensor(random):
    g = Graph(17)
    x = g.input("x", F32, ["n"])
    y = g.Relu(x)
    for value in (y, g.Identity(y), g.Identity(g.Identity(x)), g.Identity(g.weight(np.float32(3)))):
        g.output(value, F32)
    return g.model(), [{"x": normal(random, n)} for n in (1, 3)]


@graph
def sparse_constants(random):
    g = Graph(17)
    x = g.input("x", F32, [3, 4])
    values = numpy_helper.from_array(np.array([1.5, -2, 4], np.float32), "sparse")
    flat = numpy_helper.from_array(np.array([1, 6, 11], np.int64), "flat")
    sparse = helper.make_sparse_tensor(values, flat, [3, 4])
    pairs = numpy_helper.from_array(np.array([[0, 3], [1, 0], [2, 2]], np.int64), "pairs")
    node = g.Constant(sparse_value=helper.make_sparse_tensor(values, pairs, [3, 4]))
    g.output(g.Add(g.Mul(x, "sparse"), node), F32)
    model = g.model()
    model.graph.sparse_initializer.append(sparse)
    return model, [{"x": normal(random, 3, 4)}]


@graph
def constants_in_every_field(random):
    """Elements in the typed fields of old writers rather than in raw bytes."""
    g = Graph(17)
    x = g.input("x", F32, ["n"])
    kinds = {
        TensorProto.FLOAT: [1.5, -2.0],
        TensorProto.DOUBLE: [1.5, -2.0],
        TensorProto.INT32: [7, -7],
        TensorProto.INT64: [1 << 40, -7],
        TensorProto.INT8: [7, -7],
        TensorProto.UINT8: [7, 200],
        TensorProto.UINT16: [7, 60000],
        TensorProto.UINT32: [7, 1 << 31],
        TensorProto.UINT64: [7, 1 << 40],
        TensorProto.BOOL: [1, 0],
        TensorProto.FLOAT16: [1.5, -2.0],
        TensorProto.BFLOAT16: [1.5, -2.0],
    }
    for kind, values in kinds.items():
        constant = g.Constant(value=helper.make_tensor("t", kind, [2], values))
        g.output(g.Cast(constant, to=F32), F32)
    g.output(g.Neg(x), F32)
    return g.model(), [{"x": normal(random, 2)}]


@graph
def values_that_are_left_out(random):
    g = Graph(17)
    x = g.input("x", F32, ["n", 6])
    values, _, inverse = g.node("Unique", [g.Round(x)], ["values", "", "inverse"])
    g.output(values, F32)
    g.output(inverse, I64)
    low = g.node("Clip", [x, "", g.weight(np.float32(0.5))])
    first, _, last = g.node("Split", [low, g.ints(2, 2, 2)], ["first", "middle", "last"], axis=1)
    g.output(g.Add(first, last), F32)
    return g.model(), [{"x": normal(random, n, 6)} for n in (1, 3)]
