"""Prints the digests of `narrow_floats.txt`: conversions of narrow floats by numpy and ml_dtypes.

Needs `numpy` 2.4.6 and `ml_dtypes` 0.5.4 (PyPI). A line holds two dtypes and the FNV-1a digest (64 bits) of the
results' little-endian bytes for every code of the first dtype in order, each NaN replaced by 0x7f bytes.
"""

import ml_dtypes
import numpy

NAMES = {
    "f8e4m3": ml_dtypes.float8_e4m3fn,
    "f8e5m2": ml_dtypes.float8_e5m2,
    "f8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "bf16": ml_dtypes.bfloat16,
    "f16": numpy.float16,
    "f32": numpy.float32,
}


def digest(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


for first, source in NAMES.items():
    if first == "f32":
        continue
    size = numpy.dtype(source).itemsize
    codes = numpy.arange(256**size, dtype=f"u{size}").view(source)
    for second, target in NAMES.items():
        if first == second:
            continue
        with numpy.errstate(over="ignore", invalid="ignore"):
            results = codes.astype(target)
        bits = results.view(f"u{results.itemsize}").copy()
        bits[numpy.isnan(results.astype(numpy.float64))] = int.from_bytes(b"\x7f" * results.itemsize)
        print(first, second, f"{digest(bits.tobytes()):016x}")
