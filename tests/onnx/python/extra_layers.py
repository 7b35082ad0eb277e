"""Layers of networks: transformers, residual blocks, recurrent and quantized layers, 16-bit floats."""

import numpy as np
from onnx import TensorProto

from graphs import BOOL, F16, F32, I32, I64, Graph

FLOAT = {"rtol": 1e-3, "atol": 1e-5}
HALF = {"rtol": 1e-2, "atol": 4e-3}
# A value beside a rounding boundary may come out one step away.
STEPS = {"rtol": 1e-3, "atol": 1e-5, "cosine_min": 0.9999}
GRAPHS = []


def graph(tolerance=FLOAT):
    def register(build):
        GRAPHS.append((build, tolerance))
        return build

    return register


def normal(random, *shape, scale=1.0):
    return (scale * random.standard_normal(shape)).astype(np.float32)


def norm(g, x, width):
    """Layer normalization as exporters wrote it before opset 17."""
    mean = g.ReduceMean(x, axes=[-1]) if g.opset < 18 else g.ReduceMean(x, g.ints(-1))
    centered = g.Sub(x, mean)
    square = g.Pow(centered, g.weight(np.float32(2)))
    variance = g.ReduceMean(square, axes=[-1]) if g.opset < 18 else g.ReduceMean(square, g.ints(-1))
    deviation = g.Sqrt(g.Add(variance, g.weight(np.float32(1e-5))))
    scaled = g.Mul(g.Div(centered, deviation), g.weight(np.linspace(0.5, 1.5, width, dtype=np.float32)))
    return g.Add(scaled, g.weight(np.linspace(-1, 1, width, dtype=np.float32)))


def extent(g, x, axis):
    """One extent as exporters take it, a vector of one."""
    return g.Unsqueeze(g.Gather(g.Shape(x), g.weight(np.int64(axis)), axis=0), g.ints(0))


def heads(g, x, weight, count, width):
    """[batch, sequence, width] to [batch, heads, sequence, width / heads]."""
    y = g.MatMul(x, g.weight(weight))
    shape = g.Concat(extent(g, x, 0), extent(g, x, 1), g.ints(count), g.ints(width // count), axis=0)
    return g.Transpose(g.Reshape(y, shape), perm=[0, 2, 1, 3])


def attention(g, random, x, mask, count, width):
    parts = [heads(g, x, normal(random, width, width, scale=0.2), count, width) for _ in "qkv"]
    query, key, value = parts
    scores = g.MatMul(query, g.Transpose(key, perm=[0, 1, 3, 2]))
    scores = g.Div(scores, g.weight(np.float32(np.sqrt(width // count))))
    scores = g.Where(mask, scores, g.weight(np.float32(-np.finfo(np.float32).max)))
    chances = g.Softmax(scores, axis=-1)
    context = g.Transpose(g.MatMul(chances, value), perm=[0, 2, 1, 3])
    shape = g.Concat(extent(g, x, 0), extent(g, x, 1), g.ints(width), axis=0)
    return g.MatMul(g.Reshape(context, shape), g.weight(normal(random, width, width, scale=0.2)))


def gelu(g, x):
    y = g.Erf(g.Div(x, g.weight(np.float32(np.sqrt(2)))))
    return g.Mul(g.Mul(x, g.Add(y, g.weight(np.float32(1)))), g.weight(np.float32(0.5)))


def padding_mask(g, mask, like):
    """[batch, sequence] of 0 and 1 to bool [batch, 1, sequence, sequence], expanded."""
    wide = g.Unsqueeze(g.Unsqueeze(mask, g.ints(1)), g.ints(2))
    batch, length = extent(g, like, 0), extent(g, like, 1)
    shape = g.Concat(batch, g.ints(1), length, length, axis=0)
    return g.Cast(g.Expand(wide, shape), to=BOOL)


@graph()
def transformer_block(random):
    g, width = Graph(15), 32
    ids = g.input("input_ids", I64, ["batch", "sequence"])
    mask = g.input("attention_mask", I64, ["batch", "sequence"])
    x = g.Gather(g.weight(normal(random, 50, width)), ids)
    positions = g.Range(
        g.weight(np.int64(0)), g.Gather(g.Shape(ids), g.weight(np.int64(1))), g.weight(np.int64(1))
    )
    x = norm(g, g.Add(x, g.Gather(g.weight(normal(random, 64, width)), positions)), width)
    keep = padding_mask(g, mask, ids)
    for _ in range(2):
        x = norm(g, g.Add(x, attention(g, random, x, keep, 4, width)), width)
        y = gelu(g, g.MatMul(x, g.weight(normal(random, width, 4 * width, scale=0.2))))
        y = g.MatMul(y, g.weight(normal(random, 4 * width, width, scale=0.1)))
        x = norm(g, g.Add(x, y), width)
    g.output(x, F32, ["batch", "sequence", width])

    def call(batch, length):
        ids = random.integers(0, 50, (batch, length), np.int64)
        mask = np.ones_like(ids)
        mask[1:, length // 2 + 1 :] = 0
        return {"input_ids": ids, "attention_mask": mask}

    return g.model(), [call(1, 1), call(1, 9), call(3, 9), call(2, 31)]


@graph()
def causal_decoder_with_cache(random):
    g, width = Graph(17), 16
    x = g.input("x", F32, ["batch", "new", width])
    past = g.input("past", F32, ["batch", "old", width])
    whole = g.Concat(past, x, axis=1)
    length = g.Gather(g.Shape(whole), g.weight(np.int64(1)))
    old = g.Gather(g.Shape(past), g.weight(np.int64(1)))
    one = g.weight(np.int64(1))
    columns = g.Range(g.weight(np.int64(0)), length, one)
    rows = g.Unsqueeze(g.Range(old, length, one), g.ints(1))
    future = g.Greater(columns, rows)
    scores = g.Einsum(x, whole, equation="bqd,bkd->bqk")
    low = g.weight(np.float32(-1e9))
    scores = g.Where(future, low, scores)
    chances = g.Softmax(scores, axis=-1)
    y = g.MatMul(chances, whole)
    weights = [g.weight(normal(random, width)) for _ in range(2)]
    y = g.LayerNormalization(g.Add(x, y), *weights, axis=-1, epsilon=1e-6)
    g.output(y, F32, ["batch", "new", width])
    g.output(whole, F32, ["batch", "all", width])
    call = lambda batch, new, old: {
        "x": normal(random, batch, new, width),
        "past": normal(random, batch, old, width),
    }
    return g.model(), [call(1, 5, 0), call(1, 1, 5), call(3, 4, 7)]


def bottleneck(g, random, x, channels, stride):
    """Conv, batch normalization and Relu, three times, around a shortcut."""

    def conv(x, of, to, size, stride=1, groups=1):
        weight = g.weight(normal(random, to, of // groups, size, size, scale=(of * size * size) ** -0.5))
        pad = size // 2
        y = g.Conv(
            x, weight, kernel_shape=[size, size], pads=[pad] * 4, strides=[stride] * 2, group=groups
        )
        parts = [1 + normal(random, to, scale=0.1), normal(random, to), normal(random, to)]
        parts.append(np.abs(1 + normal(random, to, scale=0.3)))
        return g.BatchNormalization(y, *map(g.weight, parts), epsilon=1e-5)

    y = g.Relu(conv(x, channels, channels // 2, 1))
    y = g.Relu(conv(y, channels // 2, channels // 2, 3, stride, groups=2))
    y = conv(y, channels // 2, channels, 1)
    shortcut = conv(x, channels, channels, 1, stride) if stride > 1 else x
    return g.Relu(g.Add(y, shortcut))


@graph()
def residual_network(random):
    g = Graph(11)
    x = g.input("x", F32, ["batch", 3, "height", "width"])
    weight = g.weight(normal(random, 16, 3, 7, 7, scale=0.1))
    y = g.Conv(x, weight, g.weight(normal(random, 16)), strides=[2, 2], pads=[3] * 4)
    y = g.MaxPool(g.Relu(y), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stride in (1, 2, 1):
        y = bottleneck(g, random, y, 16, stride)
    y = g.Flatten(g.GlobalAveragePool(y), axis=1)
    y = g.Gemm(y, g.weight(normal(random, 10, 16)), g.weight(normal(random, 10)), transB=1, alpha=0.5)
    g.output(g.Softmax(y, axis=1), F32, ["batch", 10])
    shapes = [(1, 3, 32, 32), (3, 3, 47, 61), (2, 3, 224, 64)]
    return g.model(), [{"x": normal(random, *shape)} for shape in shapes]


@graph()
def mobile_network(random):
    g = Graph(13)
    x = g.input("x", F32, ["batch", 8, "height", "width"])
    y = x
    for size, stride in ((3, 1), (5, 2)):
        pad = size // 2
        weight = g.weight(normal(random, 8, 1, size, size, scale=0.4))
        y = g.Conv(y, weight, group=8, pads=[pad] * 4, strides=[stride] * 2)
        y = g.HardSwish(y) if g.opset >= 14 else g.Mul(y, g.HardSigmoid(y, alpha=1 / 6, beta=0.5))
        squeezed = g.ReduceMean(y, axes=[2, 3], keepdims=1)
        gate = g.Conv(g.Relu(g.Conv(squeezed, g.weight(normal(random, 2, 8, 1, 1)))), g.weight(normal(random, 8, 2, 1, 1)))
        y = g.Mul(y, g.Clip(g.Add(gate, g.weight(np.float32(0.5))), g.weight(np.float32(0)), g.weight(np.float32(1))))
        y = g.Conv(y, g.weight(normal(random, 8, 8, 1, 1, scale=0.3)))
    y = g.ConvTranspose(y, g.weight(normal(random, 8, 4, 2, 2)), strides=[2, 2])
    y = g.Resize(y, None, g.weight(np.array([1, 1, 2, 2], np.float32)), mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
    g.output(y, F32)
    return g.model(), [{"x": normal(random, *shape)} for shape in [(1, 8, 16, 16), (3, 8, 9, 14)]]


@graph()
def audio_front(random):
    g = Graph(14)
    x = g.input("x", F32, ["batch", 1, "samples"])
    y = g.Pad(x, g.ints(0, 0, 16, 0, 0, 16), mode="reflect")
    y = g.Conv(y, g.weight(normal(random, 16, 1, 32, scale=0.2)), strides=[8])
    real, imaginary = g.node("Split", [y, g.ints(8, 8)], 2, axis=1)
    power = g.Add(g.Mul(real, real), g.Mul(imaginary, imaginary))
    y = g.Log(g.Add(g.Sqrt(power), g.weight(np.float32(1e-5))))
    y = g.Conv(y, g.weight(normal(random, 12, 8, 3)), auto_pad="SAME_UPPER")
    y = g.PRelu(g.AveragePool(y, kernel_shape=[3], strides=[2], ceil_mode=1), g.weight(normal(random, 12, 1)))
    g.output(g.InstanceNormalization(y, g.weight(normal(random, 12)), g.weight(normal(random, 12))), F32)
    return g.model(), [{"x": normal(random, b, 1, n)} for b, n in [(1, 200), (2, 333)]]


@graph()
def lstm_of_two_directions(random):
    g, size, width = Graph(14), 6, 5
    x = g.input("x", F32, ["sequence", "batch", width])
    lens = g.input("lens", I32, ["batch"])
    weights = [normal(random, 2, 4 * size, n, scale=0.4) for n in (width, size)]
    bias = g.weight(normal(random, 2, 8 * size, scale=0.2))
    y, h, c = g.node(
        "LSTM", [x, *map(g.weight, weights), bias, lens], 3, hidden_size=size, direction="bidirectional"
    )
    joined = g.Reshape(g.Transpose(y, perm=[0, 2, 1, 3]), g.ints(0, 0, -1))
    for value in (joined, h, c):
        g.output(value, F32)
    call = lambda lens, n: {"x": normal(random, n, len(lens), width), "lens": np.array(lens, np.int32)}
    return g.model(), [call([7], 7), call([4, 9, 1], 9)]


@graph()
def gru_and_rnn(random):
    g, size, width = Graph(14), 4, 3
    x = g.input("x", F32, ["sequence", "batch", width])
    h = g.input("h", F32, [1, "batch", size])
    weights = [normal(random, 1, 3 * size, n, scale=0.4) for n in (width, size)]
    bias = g.weight(normal(random, 1, 6 * size, scale=0.2))
    inputs = [x, *map(g.weight, weights), bias, None, h]
    y, last = g.node("GRU", inputs, 2, hidden_size=size, linear_before_reset=1)
    z = g.Squeeze(y, g.ints(1))
    weights = [normal(random, 1, size, size, scale=0.4) for _ in range(2)]
    out, _ = g.node(
        "RNN", [z, *map(g.weight, weights)], 2, hidden_size=size, direction="reverse", activations=["Relu"]
    )
    g.output(out, F32)
    g.output(last, F32)
    call = lambda n, b: {"x": normal(random, n, b, width), "h": normal(random, 1, b, size)}
    return g.model(), [call(1, 1), call(6, 2)]


def quantized(g, x, scale, zero, dtype=np.uint8):
    parts = [g.weight(np.float32(scale)), g.weight(dtype(zero))]
    return g.DequantizeLinear(g.QuantizeLinear(x, *parts), *parts)


@graph(STEPS)
def quantized_convolutions(random):
    g = Graph(13)
    x = g.input("x", F32, ["batch", 4, "height", "width"])
    y = quantized(g, x, 0.03, 120)
    for of, to in ((4, 8), (8, 6)):
        weight = g.weight(random.integers(-127, 128, (to, of, 3, 3)).astype(np.int8))
        scales = g.weight(np.linspace(0.002, 0.01, to, dtype=np.float32))
        weight = g.DequantizeLinear(weight, scales, g.weight(np.zeros(to, np.int8)), axis=0)
        bias = g.weight(random.integers(-500, 500, to).astype(np.int32))
        bias = g.DequantizeLinear(bias, g.weight(np.linspace(1e-4, 3e-4, to, dtype=np.float32)), axis=0)
        y = quantized(g, g.Relu(g.Conv(y, weight, bias, pads=[1] * 4)), 0.05, 3)
    g.output(y, F32)
    return g.model(), [{"x": normal(random, *shape)} for shape in [(1, 4, 8, 8), (3, 4, 11, 6)]]


@graph(STEPS)
def quantized_operators(random):
    g = Graph(12)
    x = g.input("x", F32, ["batch", 3, 9, 9])
    scale, zero = g.weight(np.float32(0.04)), g.weight(np.uint8(110))
    q = g.QuantizeLinear(x, scale, zero)
    weight = g.weight(random.integers(0, 255, (5, 3, 3, 3)).astype(np.uint8))
    weight_parts = g.weight(np.float32(0.01)), g.weight(np.uint8(130))
    out_parts = g.weight(np.float32(0.1)), g.weight(np.uint8(128))
    q = g.QLinearConv(q, scale, zero, weight, *weight_parts, *out_parts, strides=[2, 2])
    q = g.Reshape(q, g.ints(0, -1))
    matrix = g.weight(random.integers(-127, 127, (80, 7)).astype(np.int8))
    last = g.weight(np.float32(0.2)), g.weight(np.uint8(100))
    matrix_parts = g.weight(np.float32(0.02)), g.weight(np.int8(0))
    q = g.QLinearMatMul(q, *out_parts, matrix, *matrix_parts, *last)
    g.output(g.DequantizeLinear(q, *last), F32)
    shape = lambda n: (n, 3, 9, 9)
    return g.model(), [{"x": normal(random, *shape(n))} for n in (1, 4)]


@graph(STEPS)
def dynamic_quantization(random):
    g = Graph(11)
    x = g.input("x", F32, ["batch", "sequence", 24])
    q, scale, zero = g.node("DynamicQuantizeLinear", [x], 3)
    weight = g.weight(random.integers(-127, 127, (24, 12)).astype(np.int8))
    y = g.MatMulInteger(q, weight, zero, g.weight(np.int8(0)))
    y = g.Mul(g.Cast(y, to=F32), g.Mul(scale, g.weight(np.float32(0.01))))
    g.output(g.Add(y, g.weight(normal(random, 12))), F32)
    return g.model(), [{"x": normal(random, b, n, 24)} for b, n in [(1, 1), (2, 10)]]


@graph(HALF)
def half_floats(random):
    g, half = Graph(17), lambda *shape: normal(random, *shape, scale=0.3).astype(np.float16)
    x = g.input("x", F16, ["batch", 4, "height", "width"])
    y = g.Relu(g.Conv(x, g.weight(half(8, 4, 3, 3)), g.weight(half(8)), pads=[1] * 4))
    y = g.Reshape(g.GlobalAveragePool(y), g.ints(0, -1))
    y = g.Gemm(y, g.weight(half(8, 6)), g.weight(half(6)))
    y = g.Softmax(g.Mul(y, g.weight(np.float16(3))), axis=-1)
    g.output(y, F16)
    g.output(g.Cast(y, to=F32), F32)
    return g.model(), [{"x": half(*shape)} for shape in [(1, 4, 8, 8), (3, 4, 5, 9)]]


@graph()
def detection_head(random):
    g = Graph(12)
    boxes = g.input("boxes", F32, ["batch", "boxes", 4])
    scores = g.input("scores", F32, ["batch", "classes", "boxes"])
    limits = [g.ints(5), g.weight(np.float32([0.5])), g.weight(np.float32([0.3]))]
    kept = g.NonMaxSuppression(boxes, scores, *limits)
    g.output(kept, I64, ["kept", 3])
    best, index = g.node("TopK", [scores, g.ints(3)], 2, axis=-1)
    g.output(best, F32)
    g.output(index, I64)
    g.output(g.Transpose(g.NonZero(g.Greater(scores, g.weight(np.float32(0.8)))), perm=[1, 0]), I64)

    def call(batch, classes, count):
        corners = random.random((batch, count, 2))
        sizes = 0.1 + 0.3 * random.random((batch, count, 2))
        boxes = np.concatenate([corners, corners + sizes], axis=-1).astype(np.float32)
        return {"boxes": boxes, "scores": random.random((batch, classes, count), np.float32)}

    return g.model(), [call(1, 2, 8), call(2, 3, 30)]


@graph()
def scattered_cache(random):
    g = Graph(16)
    cache = g.input("cache", F32, ["slots", 4])
    at = g.input("at", I64, ["new", 1])
    rows = g.input("rows", F32, ["new", 4])
    y = g.ScatterND(cache, at, rows)
    g.output(g.GatherND(y, at), F32)
    g.output(y, F32)
    wide = g.Expand(at, g.Shape(rows))
    g.output(g.ScatterElements(cache, wide, rows, axis=0, reduction="add"), F32)
    g.output(g.CumSum(y, g.weight(np.int64(0)), exclusive=1), F32)
    g.output(g.GatherElements(y, wide, axis=0), F32)

    def call(slots, new):
        at = random.permutation(slots)[:new].reshape(-1, 1).astype(np.int64)
        return {"cache": normal(random, slots, 4), "at": at, "rows": normal(random, new, 4)}

    return g.model(), [call(6, 1), call(10, 4)]


@graph()
def masks_and_ranges(random):
    g = Graph(16)
    x = g.input("x", F32, ["rows", "columns"])
    shape = g.Shape(x)
    ones = g.ConstantOfShape(shape, value=ones_value())
    lower = g.Cast(g.Trilu(ones, upper=0), to=BOOL)
    y = g.Where(lower, x, g.weight(np.float32(-1)))
    finite = g.Not(g.Or(g.IsNaN(y), g.IsInf(y)))
    g.output(g.Where(finite, y, g.weight(np.float32(0))), F32)
    g.output(g.ReduceMax(g.Tile(y, g.ints(1, 2)), axes=[1]), F32)
    g.output(g.ArgMax(y, axis=1, keepdims=0), I64)
    g.output(g.OneHot(g.ArgMax(y, axis=1, keepdims=0), g.weight(np.int64(9)), g.weight(np.float32([0, 1]))), F32)

    def call(*shape):
        x = normal(random, *shape)
        x[0, 0] = np.inf
        return {"x": x}

    return g.model(), [call(1, 1), call(4, 7), call(9, 3)]


def ones_value():
    from onnx import helper

    return helper.make_tensor("one", TensorProto.INT64, [1], [1])
