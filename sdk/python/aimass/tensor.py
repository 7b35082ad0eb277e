"""Tensors by handle: their bytes live in the host until the plugin asks for them.

A tensor that is only passed on, or given to an op of `aimass.ops`, costs a handle and copies
nothing. Reading and creating copy once. Elements are row-major and little-endian.
"""

from array import array
from typing import Iterable, Sequence

from wit_world.imports import tensor as host
from wit_world.imports.types import Dtype as DType

from .errors import InputError, ask

# Element types that Python has numbers for, as `array` and `memoryview` name them.
_FORMATS = {
    DType.BOOL: "?", DType.I8: "b", DType.U8: "B", DType.I16: "h", DType.U16: "H", DType.I32: "i",
    DType.U32: "I", DType.I64: "q", DType.U64: "Q", DType.F32: "f", DType.F64: "d",
}
# Bytes that one read of the host takes at most.
_READ_BYTES_MAX = 16 << 20


class Tensor:
    """An immutable tensor in host memory, of at most 8 extents."""

    __slots__ = ("handle",)

    def __init__(self, handle: host.Tensor):
        self.handle = handle

    @classmethod
    def of(cls, dtype: DType, shape: Sequence[int], elements: Iterable) -> "Tensor":
        """A tensor of `shape` with these numbers, row-major.

        Bytes-like `elements` (`bytes`, `array`, `memoryview`) are taken as they are. Raises
        `input/byte-count` if `shape` takes another number of elements, `limit/host-bytes`.
        """
        if not isinstance(elements, (bytes, bytearray, memoryview, array)):
            elements = _pack(dtype, elements)
        return cls(ask(host.Tensor.create, dtype, list(shape), bytes(elements)))

    @classmethod
    def f32(cls, shape: Sequence[int], elements: Iterable[float]) -> "Tensor":
        """As `of`, for 32-bit floats."""
        return cls.of(DType.F32, shape, elements)

    @classmethod
    def strings(cls, shape: Sequence[int], strings: Iterable[str | bytes]) -> "Tensor":
        """A `BYTES` tensor of `shape` with these strings, row-major; `str` goes as UTF-8.

        Raises `input/shape` if `shape` takes another number of strings.
        """
        offsets, data = array("I", [0]), bytearray()
        for string in strings:
            data += string.encode() if isinstance(string, str) else string
            offsets.append(len(data))
        return cls(ask(host.Tensor.create_strings, list(shape), offsets.tobytes(), bytes(data)))

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.handle.dtype()

    @property
    def shape(self) -> list[int]:
        """Extents, outermost first."""
        return self.handle.shape()

    def tobytes(self) -> bytes:
        """The bytes of the elements; of a `BYTES` tensor the joined strings. One copy."""
        length = self.handle.byte_len()
        if length <= _READ_BYTES_MAX:
            return ask(self.handle.read, 0, length)
        starts = range(0, length, _READ_BYTES_MAX)
        return b"".join(
            ask(self.handle.read, at, min(_READ_BYTES_MAX, length - at)) for at in starts
        )

    def view(self, dtype: DType | None = None) -> memoryview:
        """The elements as a flat, typed memoryview: indexing answers Python numbers.

        Raises `input/dtype` if the tensor has another dtype than asked for, or one without
        numbers in Python (halves, quantized blocks, `BYTES`: see `tobytes` and `texts`).
        """
        got = self.dtype
        if got not in _FORMATS or (dtype is not None and got != dtype):
            wanted = dtype.name if dtype is not None else "a number"
            raise InputError("dtype", f"expected a tensor of {wanted}, got {got.name}")
        return memoryview(self.tobytes()).cast(_FORMATS[got])

    def tolist(self) -> list:
        """The elements as a flat list of numbers, row-major. Errors as `view`."""
        return self.view().tolist()

    def bytestrings(self) -> list[bytes]:
        """The strings of a `BYTES` tensor, row-major. Raises `input/dtype` for any other."""
        offsets = memoryview(ask(self.handle.string_offsets)).cast("I")
        data = self.tobytes()
        return [data[offsets[i] : offsets[i + 1]] for i in range(len(offsets) - 1)]

    def texts(self, name: str = "tensor") -> list[str]:
        """As `bytestrings`, decoded as UTF-8; `name` is what a message calls the tensor.

        Raises `input/utf-8`.
        """
        texts = []
        for index, string in enumerate(self.bytestrings()):
            try:
                texts.append(string.decode())
            except UnicodeDecodeError as error:
                message = f"{name}[{index}]: expected UTF-8, got an invalid byte at offset {error.start}"
                raise InputError("utf-8", message) from None
        return texts

    def reshape(self, shape: Sequence[int]) -> "Tensor":
        """The same elements under another shape; nothing is copied. Raises `input/shape`."""
        return Tensor(ask(self.handle.reshape, list(shape)))

    def rows(self, start: int, end: int) -> "Tensor":
        """Rows `start..end` of axis 0; nothing is copied. Raises `input/out-of-range`."""
        return Tensor(ask(self.handle.rows, start, end))

    def share(self) -> "Tensor":
        """Another handle of the same tensor, to answer one twice; nothing is copied."""
        return Tensor(ask(self.handle.share))


def _pack(dtype: DType, elements: Iterable) -> bytes:
    if dtype not in _FORMATS:
        raise InputError("dtype", f"Python has no numbers of {dtype.name}; hand over its bytes")
    if dtype == DType.BOOL:
        return bytes(1 if element else 0 for element in elements)
    try:
        return array(_FORMATS[dtype], elements).tobytes()
    except (OverflowError, TypeError) as error:
        raise InputError("value", f"an element is no {dtype.name}: {error}") from None
