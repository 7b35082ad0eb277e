"""Control flow that captures outer values, functions, sequences inside, external data, odd signatures."""

import numpy as np
from onnx import AttributeProto, helper

from extra_layers import FLOAT, normal
from graphs import BOOL, F32, I64, Graph

GRAPHS = []


def graph(build):
    GRAPHS.append((build, FLOAT))
    return build


def body(opset, prefix):
    return Graph(opset, prefix + "_")


@graph
def branches_on_input(random):
    g = Graph(16)
    flag = g.input("flag", BOOL, [])
    x = g.input("x", F32, ["batch", 5])
    weight = g.weight(normal(random, 5, 5))
    then = body(16, "then")
    then.output(then.MatMul(x, weight), F32)
    other = body(16, "else")
    inner = other.ReduceSum(x, other.ints(0, 1), keepdims=0)
    positive = other.Greater(inner, other.weight(np.float32(0)))
    deep, deeper = body(16, "deep"), body(16, "deeper")
    deep.output(deep.Mul(x, deep.weight(np.float32(2))), F32)
    deeper.output(deeper.Sub(deeper.Neg(x), inner), F32)
    other.output(
        other.If(positive, then_branch=deep.proto("deep"), else_branch=deeper.proto("deeper")), F32
    )
    y = g.If(flag, then_branch=then.proto("then"), else_branch=other.proto("else"))
    g.output(g.Add(y, x), F32)
    call = lambda flag, batch, shift: {
        "flag": np.array(flag),
        "x": np.abs(normal(random, batch, 5)) + np.float32(shift),
    }
    return g.model(), [call(True, 1, 0), call(False, 3, 0), call(False, 2, -9), call(True, 2, -9)]


@graph
def branches_on_shape(random):
    g = Graph(13)
    x = g.input("x", F32, None)
    rank_is_two = g.Equal(g.Size(g.Shape(x)), g.weight(np.int64(2)))
    then, other = body(13, "then"), body(13, "else")
    then.output(then.Unsqueeze(x, then.ints(0)), F32)
    other.output(other.Identity(x), F32)
    y = g.If(rank_is_two, then_branch=then.proto("then"), else_branch=other.proto("else"))
    g.output(g.ReduceMean(y, axes=[-1]), F32)
    return g.model(), [{"x": normal(random, 3, 4)}, {"x": normal(random, 2, 3, 4)}]


@graph
def loop_with_scanned_outputs(random):
    g = Graph(16)
    trips = g.input("trips", I64, [])
    x = g.input("x", F32, ["batch", 3])
    decay = g.weight(np.float32(0.5))
    step = body(16, "step")
    at, going = step.input("at", I64, []), step.input("going", BOOL, [])
    state = step.input("state", F32, ["batch", 3])
    new = step.Add(step.Mul(state, decay), step.Mul(x, step.Cast(at, to=F32)))
    step.output(step.Identity(going), BOOL)
    step.output(new, F32)
    step.output(step.ReduceSum(new, step.ints(1), keepdims=0), F32)
    last, sums = g.node("Loop", [trips, None, x], 2, body=step.proto("step"))
    g.output(last, F32)
    g.output(sums, F32)
    call = lambda trips, batch: {"trips": np.array(trips, np.int64), "x": normal(random, batch, 3)}
    return g.model(), [call(1, 1), call(6, 2), call(3, 2)]


@graph
def loop_until_small(random):
    g = Graph(16)
    x = g.input("x", F32, [4])
    step = body(16, "step")
    step.input("at", I64, [])
    step.input("going", BOOL, [])
    state = step.input("state", F32, [4])
    new = step.Mul(state, step.weight(np.float32(0.6)))
    largest = step.ReduceMax(step.Abs(new), keepdims=0)
    step.output(step.Greater(largest, step.weight(np.float32(0.05))), BOOL)
    step.output(new, F32)
    y = g.Loop(g.weight(np.int64(100)), g.weight(np.array(True)), x, body=step.proto("step"))
    g.output(y, F32)
    return g.model(), [{"x": normal(random, 4, scale=scale)} for scale in (1, 30, 0.001)]


@graph
def loop_with_branch_inside(random):
    g = Graph(15)
    x = g.input("x", F32, ["n"])
    step = body(15, "step")
    at, going = step.input("at", I64, []), step.input("going", BOOL, [])
    state = step.input("state", F32, [])
    item = step.Gather(x, at, axis=0)
    up, down = body(15, "up"), body(15, "down")
    up.output(up.Add(state, item), F32)
    down.output(down.Mul(state, item), F32)
    branch = step.Greater(item, step.weight(np.float32(0)))
    new = step.If(branch, then_branch=up.proto("up"), else_branch=down.proto("down"))
    step.output(step.Identity(going), BOOL)
    step.output(new, F32)
    step.output(step.Identity(new), F32)
    trips = g.Squeeze(g.Shape(x))
    last, path = g.node("Loop", [trips, None, g.weight(np.float32(1))], 2, body=step.proto("step"))
    g.output(last, F32)
    g.output(path, F32)
    return g.model(), [{"x": normal(random, n)} for n in (1, 5, 8)]


@graph
def scan_both_ways(random):
    g = Graph(16)
    x = g.input("x", F32, ["steps", 3])
    start = g.input("start", F32, [3])
    step = body(16, "step")
    state, item = step.input("state", F32, [3]), step.input("item", F32, [3])
    new = step.Tanh(step.Add(state, item))
    step.output(new, F32)
    step.output(step.Mul(new, step.weight(np.float32(2))), F32)
    last, path = g.node(
        "Scan",
        [start, x],
        2,
        body=step.proto("step"),
        num_scan_inputs=1,
        scan_input_directions=[1],
        scan_output_directions=[1],
    )
    g.output(last, F32)
    g.output(path, F32)
    call = lambda n: {"x": normal(random, n, 3), "start": normal(random, 3)}
    return g.model(), [call(1), call(7)]


@graph
def sequences_inside(random):
    g = Graph(13)
    x = g.input("x", F32, ["n", 4])
    parts = g.SplitToSequence(x, g.weight(np.int64(2)), axis=1)
    parts = g.SequenceInsert(parts, g.Neg(x))
    g.output(g.SequenceAt(parts, g.weight(np.int64(-1))), F32)
    g.output(g.SequenceLength(parts), I64)
    g.output(g.ConcatFromSequence(parts, axis=1), F32)
    return g.model(), [{"x": normal(random, n, 4)} for n in (1, 3)]


@graph
def local_functions(random):
    g = Graph(17)
    domain = helper.make_opsetid("local", 1)
    own = [helper.make_opsetid("", 17)]
    scaled = helper.make_function(
        "local",
        "ScaledTanh",
        ["x", "gain"],
        ["y"],
        [
            helper.make_node("Tanh", ["x"], ["t"]),
            helper.make_node("Mul", ["t", "gain"], ["y"]),
        ],
        own,
    )
    elu = helper.make_node("Elu", ["s"], ["y"])
    elu.attribute.add(name="alpha", ref_attr_name="alpha", type=AttributeProto.FLOAT)
    outer = helper.make_function(
        "local",
        "Outer",
        ["x"],
        ["y"],
        [
            helper.make_node("Constant", [], ["two"], value_float=2.0),
            helper.make_node("ScaledTanh", ["x", "two"], ["s"], domain="local"),
            elu,
        ],
        [*own, domain],
        ["alpha"],
    )
    g.functions, g.imports = [scaled, outer], [domain]
    x = g.input("x", F32, ["n"])
    g.output(g.node("Outer", [x], domain="local", alpha=0.25), F32)
    return g.model(), [{"x": normal(random, n)} for n in (1, 6)]


@graph
def external_data(random):
    g = Graph(13)
    x = g.input("x", F32, ["batch", 48])
    y = g.Relu(g.MatMul(x, g.weight(normal(random, 48, 96, scale=0.2))))
    y = g.MatMul(y, g.weight(normal(random, 96, 8, scale=0.2)))
    g.output(g.Add(y, g.weight(normal(random, 8))), F32)
    save = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 256}
    return g.model(), [{"x": normal(random, n, 48)} for n in (1, 5)], save


@graph
def external_data_in_several_files(random):
    g = Graph(13)
    x = g.input("x", F32, ["batch", 16])
    y = g.Gemm(x, g.weight(normal(random, 16, 16)), g.weight(normal(random, 16)))
    g.output(g.Sigmoid(y), F32)
    save = {"save_as_external_data": True, "all_tensors_to_one_file": False, "size_threshold": 0}
    return g.model(), [{"x": normal(random, n, 16)} for n in (1, 2)], save


@graph
def initializers_as_inputs(random):
    g = Graph(8)
    x = g.input("x", F32, ["batch", 6])
    weight = g.weight(normal(random, 6, 2))
    g.input(weight, F32, [6, 2])
    g.output(g.MatMul(x, weight), F32)
    return g.model(ir_version=3), [{"x": normal(random, n, 6)} for n in (1, 3)]


@graph
def outputs_that_are_inputs_and_constants(random):
    g = Graph(13)
    x = g.input("x", F32, ["n"])
    constant = g.weight(np.arange(3, dtype=np.float32))
    g.output(constant, F32)
    g.output(g.Identity(x), F32)
    g.output(g.Shape(x), I64)
    return g.model(), [{"x": normal(random, n)} for n in (1, 4)]


@graph
def outputs_declared_wrongly(random):
    """As exporters write them that were told the wrong axes; ONNX Runtime warns and goes on."""
    g = Graph(13)
    x = g.input("x", F32, ["batch", 6])
    g.output(g.Reshape(x, g.ints(-1, 1, 2, 3)), F32, ["batch", "length"])
    g.output(g.Transpose(x, perm=[1, 0]), F32, ["batch", 5])
    return g.model(), [{"x": normal(random, n, 6)} for n in (1, 3)]


@graph
def names_of_exporters(random):
    g = Graph(13)
    x = g.input("input.1:0", F32, ["N", 3])
    g.nodes.append(helper.make_node("Relu", [x], ["/model/relu/Relu_output_0"]))
    g.nodes.append(helper.make_node("Exp", ["/model/relu/Relu_output_0"], ["StatefulCall:0"]))
    g.output("StatefulCall:0", F32, ["N", 3])
    return g.model(), [{"input.1:0": normal(random, n, 3)} for n in (1, 2)]


@graph
def empty_batches(random):
    g = Graph(14)
    x = g.input("x", F32, ["batch", 4, 6])
    y = g.Softmax(g.MatMul(x, g.weight(normal(random, 6, 5))), axis=-1)
    y = g.Reshape(y, g.ints(0, 20), allowzero=0)
    g.output(g.Concat(y, y, axis=1), F32)
    g.output(g.ReduceSum(y, g.ints(1), keepdims=0), F32)
    return g.model(), [{"x": normal(random, n, 4, 6)} for n in (0, 1, 3)]


@graph
def shapes_from_content(random):
    g = Graph(14)
    x = g.input("x", F32, ["n"])
    shape = g.input("shape", I64, ["rank"])
    y = g.Reshape(x, shape)
    g.output(y, F32)
    kept = g.Compress(x, g.Greater(x, g.weight(np.float32(0))))
    g.output(kept, F32)
    g.output(g.Mul(kept, g.weight(np.float32(2))), F32)
    g.output(g.Expand(g.Slice(x, g.ints(0), g.ints(1)), shape), F32)
    values, *_ = g.node("Unique", [g.Round(x)], 4, sorted=1)
    g.output(values, F32)
    call = lambda shape: {
        "x": normal(random, int(np.prod(shape))),
        "shape": np.array(shape, np.int64),
    }
    return g.model(), [call([6]), call([2, 3]), call([4, 1, 2])]
