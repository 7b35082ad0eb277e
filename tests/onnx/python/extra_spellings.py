"""Operators whose spelling changed, each in every opset that ONNX Runtime still reads."""

import numpy as np

from extra_layers import FLOAT, normal
from graphs import F32, I64, Graph

GRAPHS = []


def every_opset(build):
    """Registers `build(random, g)` for opsets 7 to 21; it answers the calls."""
    for opset in range(7, 22):

        def of_opset(random, opset=opset):
            g = Graph(opset)
            return finish(g, build(random, g))

        of_opset.__name__ = f"{build.__name__}_opset_{opset}"
        GRAPHS.append((of_opset, FLOAT))
    return build


def finish(g, calls):
    # Readers of that time know no newer file version.
    return g.model(ir_version=3 if g.opset < 9 else 7 if g.opset < 15 else 8), calls


def inputs_with_initializers(g):
    """Files of version 3 list initializers among the inputs, too."""
    listed = {it.name for it in g.inputs}
    for it in g.initializers:
        if g.opset < 9 and it.name not in listed:
            g.input(it.name, it.data_type, list(it.dims))


def squeeze(g, x, *axes):
    return g.Squeeze(x, axes=list(axes)) if g.opset < 13 else g.Squeeze(x, g.ints(*axes))


def unsqueeze(g, x, *axes):
    return g.Unsqueeze(x, axes=list(axes)) if g.opset < 13 else g.Unsqueeze(x, g.ints(*axes))


def reduce_sum(g, x, *axes):
    return g.ReduceSum(x, axes=list(axes)) if g.opset < 13 else g.ReduceSum(x, g.ints(*axes))


def reduce_mean(g, x, *axes):
    return g.ReduceMean(x, axes=list(axes)) if g.opset < 18 else g.ReduceMean(x, g.ints(*axes))


def slices(g, x, starts, ends, axes):
    if g.opset < 10:
        return g.Slice(x, starts=starts, ends=ends, axes=axes)
    return g.Slice(x, g.ints(*starts), g.ints(*ends), g.ints(*axes))


def clip(g, x, low, high):
    if g.opset < 11:
        return g.Clip(x, min=low, max=high)
    return g.Clip(x, g.weight(np.float32(low)), g.weight(np.float32(high)))


def split(g, x, axis, *parts):
    if g.opset < 13:
        return g.node("Split", [x], len(parts), axis=axis, split=list(parts))
    return g.node("Split", [x, g.ints(*parts)], len(parts), axis=axis)


def pad(g, x, pads, value):
    if g.opset < 11:
        return g.Pad(x, pads=pads, value=value)
    return g.Pad(x, g.ints(*pads), g.weight(np.float32(value)))


def dropout(g, x):
    return g.Dropout(x, ratio=0.4) if g.opset < 12 else g.Dropout(x, g.weight(np.float32(0.4)))


def enlarge(g, x, mode):
    scales = np.array([1, 1, 2, 3], np.float32)
    if g.opset < 9:
        return g.Upsample(x, mode=mode, scales=scales.tolist())
    if g.opset < 10:
        return g.Upsample(x, g.weight(scales), mode=mode)
    if g.opset < 11:
        return g.Resize(x, g.weight(scales), mode=mode)
    region = g.weight(np.zeros(0, np.float32)) if g.opset < 13 else None
    return g.Resize(
        x, region, g.weight(scales), mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def topk(g, x, k):
    if g.opset < 10:
        return g.node("TopK", [x], 2, k=k, axis=-1)
    return g.node("TopK", [x, g.ints(k)], 2, axis=-1)


@every_opset
def shapes(random, g):
    x = g.input("x", F32, ["n", 4, 6])
    y = unsqueeze(g, x, 0, 3)
    y = slices(g, y, [1, 0], [-1, 3], [4, 2])
    y = squeeze(g, y, 0, 3)
    y = g.Reshape(y, g.ints(0, -1))
    first, second = split(g, y, 1, 5, 7)
    y = g.Concat(second, first, axis=1)
    g.output(g.Transpose(g.Reshape(y, g.ints(-1, 2, 6)), perm=[1, 0, 2]), F32)
    g.output(g.Shape(y), I64)
    g.output(g.Gather(y, g.ints(3, 0, 3), axis=1), F32)
    g.output(g.Flatten(x, axis=2), F32)
    inputs_with_initializers(g)
    return [{"x": normal(random, n, 4, 6)} for n in (1, 3)]


@every_opset
def arithmetic(random, g):
    x = g.input("x", F32, ["n", 6])
    y = clip(g, g.Mul(x, g.weight(np.float32(2))), -1.0, 1.5)
    y = dropout(g, y)
    y = g.Add(y, reduce_sum(g, x, 1))
    y = g.Sub(y, reduce_mean(g, x, -1) if g.opset >= 11 else reduce_mean(g, x, 1))
    g.output(g.Softmax(y, axis=1), F32)
    values, index = topk(g, y, 3)
    g.output(values, F32)
    g.output(index, I64)
    third = [g.weight(np.float32([0.1]))] if g.opset >= 8 else []
    g.output(g.Max(y, x, *third), F32)
    g.output(g.Cast(g.Greater(x, y), to=I64), I64)
    g.output(g.LogSoftmax(x, axis=-1 if g.opset >= 11 else 1), F32)
    inputs_with_initializers(g)
    return [{"x": normal(random, n, 6)} for n in (1, 5)]


@every_opset
def pictures(random, g):
    x = g.input("x", F32, ["n", 3, "h", "w"])
    y = g.Conv(pad(g, x, [0, 0, 1, 2, 0, 0, 1, 2], 0.5), g.weight(normal(random, 4, 3, 3, 3)))
    parts = [1 + normal(random, 4, scale=0.1), normal(random, 4), normal(random, 4)]
    parts.append(np.abs(1 + normal(random, 4, scale=0.2)))
    y = g.BatchNormalization(y, *map(g.weight, parts))
    y = g.LeakyRelu(g.MaxPool(y, kernel_shape=[2, 2], strides=[2, 2]), alpha=0.1)
    g.output(enlarge(g, y, "nearest"), F32)
    g.output(enlarge(g, y, "linear"), F32)
    g.output(g.AveragePool(y, kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1), F32)
    y = g.Gemm(g.Flatten(g.GlobalMaxPool(y)), g.weight(normal(random, 4, 5)), g.weight(normal(random, 5)))
    g.output(g.Sigmoid(y), F32)
    inputs_with_initializers(g)
    return [{"x": normal(random, *shape)} for shape in [(1, 3, 8, 8), (2, 3, 9, 12)]]


@every_opset
def softmax_over_all_axes_from_one(random, g):
    x = g.input("x", F32, ["n", 3, 4])
    g.output(g.Softmax(x, axis=1), F32)
    g.output(g.Hardmax(x, axis=1), F32)
    return [{"x": normal(random, n, 3, 4)} for n in (1, 2)]
