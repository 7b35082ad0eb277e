"""Reads a linear layer, `y = x @ W + b`, and builds its graph.

`linear.json` holds `{"inputs": n, "outputs": m}`; `linear.f32` holds W, [n, m] row-major, and then b,
[m], as little-endian f32. The weights are ranges of that file: the host reads them, the plugin never
does.
"""

import json

from aimass import BATCH, DType, InputError
from aimass.format import File, Format, Graph


class Linear(Format):
    def detect(self, files):
        return "linear" if "linear.json" in files else None

    def load(self, files):
        n, m = extents(File("linear.json").read())
        weights = File("linear.f32")
        graph = Graph()
        x = graph.input("x", DType.F32, [BATCH, n])
        w = graph.weight("w", DType.F32, [n, m], weights)
        b = graph.weight("b", DType.F32, [m], weights, offset=n * m * 4)
        graph.output("y", graph.linear(x, w, b, False))
        return {"main": graph}


def extents(text):
    try:
        header = json.loads(text)
        n, m = header["inputs"], header["outputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("linear-json", f"linear.json: {error!r}") from None
    if not all(isinstance(extent, int) and 0 < extent < 1 << 20 for extent in (n, m)):
        raise InputError("linear-json", f"linear.json: expected extents of 1 to 2^20, got {n}, {m}")
    return n, m
