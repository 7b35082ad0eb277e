"""Texts, what moves them, n-grams, sequences and optionals."""

import numpy as np
from onnx import TensorProto, helper

from extra_layers import FLOAT, normal
from graphs import BOOL, F32, I32, I64, Graph

TEXT = TensorProto.STRING
WORDS = ["", "a", "b", "été", "zebra", "A b", "a"]

GRAPHS = []


def graph(build):
    GRAPHS.append((build, FLOAT))
    return build


def texts(*values):
    return np.array(values, dtype=object)


def words(random, *shape):
    return np.array(random.choice(np.array(WORDS, dtype=object), shape), dtype=object)


@graph
def texts_moved(random):
    """Every operator of layout that ONNX Runtime runs on texts."""
    g = Graph(19)
    x = g.input("x", TEXT, ["n", 3])
    y = g.Transpose(x, perm=[1, 0])
    for value in (
        y,
        g.Reshape(x, g.ints(-1)),
        g.Concat(x, x, axis=1),
        g.Concat(x, g.Identity(x), axis=0),
        g.Gather(x, g.ints(2, 0, -1), axis=1),
        g.Slice(x, g.ints(-1), g.ints(-4), g.ints(1), g.ints(-2)),
        g.Tile(x, g.ints(2, 1)),
        g.Unsqueeze(x, g.ints(1)),
        g.Flatten(x, axis=0),
        g.Expand(g.Unsqueeze(x, g.ints(0)), g.ints(2, 1, 1)),
        g.GatherElements(x, g.weight(np.array([[0, 2, 1]], np.int64)), axis=1),
        g.Where(g.weight(np.array([True, False, True])), x, g.weight(texts("other"))),
        *g.node("Split", [y, g.ints(1, 2)], 2, axis=0),
    ):
        g.output(value, TEXT)
    g.output(g.Equal(x, g.weight(texts("a"))), BOOL)
    g.output(g.Shape(x), I64)
    g.output(g.Size(x), I64)
    return g.model(), [{"x": words(random, n, 3)} for n in (1, 4)]


@graph
def texts_scattered(random):
    g = Graph(18)
    x = g.input("x", TEXT, ["n"])
    g.output(g.ScatterElements(x, g.ints(1, 0), g.weight(texts("new", "é"))), TEXT)
    g.output(g.ScatterND(x, g.weight(np.array([[1]], np.int64)), g.weight(texts("one"))), TEXT)
    g.output(g.GatherND(x, g.weight(np.array([[1], [0]], np.int64))), TEXT)
    values, first, inverse, counts = g.node("Unique", [x], 4)
    g.output(values, TEXT)
    for result in (first, inverse, counts):
        g.output(result, I64)
    return g.model(), [{"x": words(random, n)} for n in (2, 9)]


@graph
def many_texts_moved(random):
    """More than what is computed while tracing."""
    g = Graph(18)
    x = g.input("x", TEXT, ["n", 100])
    y = g.Transpose(x, perm=[1, 0])
    g.output(g.Slice(y, g.ints(7), g.ints(9), g.ints(0)), TEXT)
    g.output(y, TEXT)
    return g.model(), [{"x": words(random, 70, 100)}]


@graph
def texts_in_control_flow(random):
    g = Graph(16)
    x, flag = g.input("x", TEXT, ["n"]), g.input("flag", BOOL, [])
    then, other = Graph(16, "then_"), Graph(16, "other_")
    then.output(then.Identity(x), TEXT)
    other.output(other.Slice(x, other.ints(0), other.ints(1)), TEXT)
    g.output(g.If(flag, then_branch=then.proto("then"), else_branch=other.proto("else")), TEXT)
    step = Graph(16, "step_")
    at, going = step.input("at", I64, []), step.input("going", BOOL, [])
    state = step.input("state", TEXT, None)
    step.output(step.Identity(going), BOOL)
    step.output(step.Concat(state, x, axis=0), TEXT)
    step.output(step.Gather(x, at, axis=0), TEXT)
    last, path = g.node("Loop", [g.Squeeze(g.Shape(x)), None, x], 2, body=step.proto("step"))
    g.output(last, TEXT)
    g.output(path, TEXT)
    return g.model(), [{"x": words(random, n), "flag": np.array(n > 1)} for n in (1, 3)]


@graph
def texts_to_numbers(random):
    g = Graph(19)
    x = g.input("x", TEXT, ["n"])
    for dtype in (F32, TensorProto.DOUBLE, TensorProto.FLOAT16):
        g.output(g.Cast(x, to=dtype), dtype)
    whole = g.input("whole", TEXT, ["n"])
    for dtype in (I64, I32, TensorProto.UINT8, BOOL):
        g.output(g.Cast(whole, to=dtype), dtype)
    return g.model(), [
        {
            "x": texts("1", "-2.5", "1e-3", "1E8", " 7 ", "INF", "+inf", "-Inf", "NaN", "0.1"),
            "whole": texts("1", "-2", "300", "0", " 7 ", "+5", "-300", "99999999999", "12", "1"),
        }
    ]


@graph
def numbers_to_texts(random):
    g = Graph(19)
    x = g.input("x", F32, ["n"])
    g.output(g.Cast(x, to=TEXT), TEXT)
    g.output(g.Cast(g.Cast(x, to=TensorProto.FLOAT16), to=TEXT), TEXT)
    for dtype in (I64, BOOL, TensorProto.UINT8):
        g.output(g.Cast(g.Cast(g.Abs(g.Clip(x, *[g.weight(np.float32(v)) for v in (-99, 99)])), to=dtype), to=TEXT), TEXT)
    special = g.weight(np.array([np.inf, -np.inf, np.nan, 1e-5, 123456789, 1e22, -0.0], np.float32))
    g.output(g.Cast(special, to=TEXT), TEXT)
    values = np.array([0.1, 1, 100, 1e10, 3.25, -2.5e-5, 65504], np.float32)
    return g.model(), [{"x": values}, {"x": normal(random, 40)}]


@graph
def texts_normalized(random):
    g = Graph(13)
    x = g.input("x", TEXT, ["n"])
    for case in ("NONE", "LOWER", "UPPER"):
        for exact in (0, 1):
            result = g.StringNormalizer(
                x,
                case_change_action=case,
                is_case_sensitive=exact,
                stopwords=["the", "A"],
                locale="C",
            )
            g.output(result, TEXT)
    return g.model(), [{"x": texts("The", "a", "A", "the", "b C")}, {"x": texts("a", "A", "the")}]


@graph
def texts_split_and_joined(random):
    g = Graph(20)
    x = g.input("x", TEXT, ["n"])
    for attributes in ({}, {"delimiter": "-"}, {"delimiter": "--"}, {"maxsplit": 1}):
        parts, counts = g.node("StringSplit", [x], 2, **attributes)
        g.output(parts, TEXT)
        g.output(counts, I64)
    g.output(g.StringConcat(x, g.weight(texts("!"))), TEXT)
    g.output(g.RegexFullMatch(x, pattern=r"[\w\s-]*(b|c)"), BOOL)
    return g.model(), [{"x": texts("a-b c", " x--y  z ", "é")}, {"x": texts("-b")}]


@graph
def grams_of_numbers(random):
    for_all = {"ngram_counts": [0, 4], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6]}
    g = Graph(13)
    x = g.input("x", I64, ["n", "m"])
    for mode, lengths, skips in (("TF", (1, 2), 0), ("IDF", (2, 2), 5), ("TFIDF", (1, 2), 3)):
        result = g.TfIdfVectorizer(
            x,
            mode=mode,
            min_gram_length=lengths[0],
            max_gram_length=lengths[1],
            max_skip_count=skips,
            pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
            weights=[1.0, 2.0, 0.5, 3.0, 4.0, 5.0, 0.25],
            **for_all,
        )
        g.output(result, F32)
    return g.model(), [{"x": random.integers(2, 9, shape)} for shape in ((1, 6), (3, 20))]


@graph
def grams_of_texts(random):
    g = Graph(13)
    x = g.input("x", TEXT, ["n"])
    result = g.TfIdfVectorizer(
        x,
        mode="TF",
        min_gram_length=1,
        max_gram_length=3,
        max_skip_count=1,
        ngram_counts=[0, 3, 7],
        ngram_indexes=[4, 0, 2, 1, 3, 5],
        pool_strings=["a", "b", "zebra", "a", "b", "b", "a", "a", "b", "zebra"],
    )
    g.output(result, F32)
    return g.model(), [{"x": words(random, n)} for n in (1, 30)]


@graph
def sequences_of_parts(random):
    g = Graph(17)
    x = g.input("x", F32, ["n", 6])
    at = g.input("at", I64, [])
    whole = g.SplitToSequence(x, g.ints(1, 2, 3), axis=1)
    g.output(g.SequenceAt(whole, at), F32)
    g.output(g.ConcatFromSequence(whole, axis=-1), F32)
    single = g.SplitToSequence(x, axis=1, keepdims=0)
    g.output(g.ConcatFromSequence(single, axis=0, new_axis=1), F32)
    g.output(g.ConcatFromSequence(single, axis=-1, new_axis=1), F32)
    even = g.SplitToSequence(x, g.weight(np.int64(4)), axis=1)
    g.output(g.SequenceLength(even), I64)
    edited = g.SequenceInsert(g.SequenceErase(whole, at), g.Neg(x), g.weight(np.int64(0)))
    g.output(g.ConcatFromSequence(edited, axis=1), F32)
    built = g.SequenceInsert(g.SequenceEmpty(dtype=F32), g.Abs(x))
    both = g.SequenceConstruct(x, g.SequenceAt(built, g.weight(np.int64(-1))))
    g.output(g.ConcatFromSequence(g.SequenceErase(both), axis=0), F32)
    g.output(g.ConcatFromSequence(both, axis=0), F32)
    call = lambda n, at: {"x": normal(random, n, 6), "at": np.array(at, np.int64)}
    return g.model(), [call(1, 0), call(3, -1)]


@graph
def sequences_in_loops(random):
    g = Graph(17)
    x = g.input("x", F32, ["n", 3])
    step = Graph(17, "step_")
    at, going = step.input("at", I64, []), step.input("going", BOOL, [])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(F32, None))
    step.inputs.append(helper.make_value_info("state", kind))
    grown = step.SequenceInsert("state", step.Gather(x, at, axis=0))
    step.output(step.Identity(going), BOOL)
    step.outputs.append(helper.make_value_info(grown, kind))
    trips = g.Squeeze(g.Slice(g.Shape(x), g.ints(0), g.ints(1)))
    last = g.node("Loop", [trips, None, g.SequenceEmpty(dtype=F32)], 1, body=step.proto("step"))
    g.output(g.ConcatFromSequence(last, axis=0, new_axis=1), F32)
    g.output(g.SequenceLength(last), I64)
    each = Graph(17, "each_")
    item = each.input("item", F32, None)
    each.output(each.Mul(item, each.weight(np.float32(2))), F32)
    doubled = g.SequenceMap(last, body=each.proto("each"))
    g.output(g.ConcatFromSequence(doubled, axis=0), F32)
    return g.model(), [{"x": normal(random, n, 3)} for n in (1, 4)]


@graph
def optionals_inside(random):
    g = Graph(18)
    x = g.input("x", F32, ["n"])
    full = g.Optional(x)
    g.output(g.OptionalHasElement(full), BOOL)
    g.output(g.OptionalGetElement(full), F32)
    g.output(g.Neg(g.OptionalGetElement(x)), F32)
    g.output(g.OptionalHasElement(), BOOL)
    kind = helper.make_tensor_type_proto(F32, None)
    g.output(g.OptionalHasElement(g.node("Optional", [], type=kind)), BOOL)
    return g.model(), [{"x": normal(random, n)} for n in (1, 4)]
