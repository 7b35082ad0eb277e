"""Cases as the runner of this crate reads them.

A case folder holds `<case>.json` and `<case>.bin`. The JSON says what is run and how answers are
compared; each tensor is `{"name", "dtype", "shape", "at", "bytes"}`, a range of the `.bin` file.
Elements are little-endian and row-major; 4-bit integers lie two in a byte, the first in the low
half; strings are each a little-endian u32 length and UTF-8 bytes. Dtypes are those of our
contract (`F32`, `I64`, `Bytes`); one that the contract lacks keeps ONNX's name.
"""

import json
import struct

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

DTYPES = {
    TensorProto.FLOAT: "F32",
    TensorProto.UINT8: "U8",
    TensorProto.INT8: "I8",
    TensorProto.UINT16: "U16",
    TensorProto.INT16: "I16",
    TensorProto.INT32: "I32",
    TensorProto.INT64: "I64",
    TensorProto.STRING: "Bytes",
    TensorProto.BOOL: "Bool",
    TensorProto.FLOAT16: "F16",
    TensorProto.DOUBLE: "F64",
    TensorProto.UINT32: "U32",
    TensorProto.UINT64: "U64",
    TensorProto.BFLOAT16: "Bf16",
    TensorProto.FLOAT8E4M3FN: "F8E4m3",
    TensorProto.FLOAT8E4M3FNUZ: "F8E4m3Fnuz",
    TensorProto.FLOAT8E5M2: "F8E5m2",
    TensorProto.FLOAT8E5M2FNUZ: "F8E5m2Fnuz",
    TensorProto.UINT4: "U4",
    TensorProto.INT4: "I4",
}


def dtype_name(elem_type):
    return DTYPES.get(elem_type) or TensorProto.DataType.Name(elem_type)


def string_bytes(array):
    parts = []
    for item in array.reshape(-1):
        text = item if isinstance(item, bytes) else str(item).encode()
        parts.append(struct.pack("<I", len(text)) + text)
    return b"".join(parts)


def element_bytes(array, elem_type):
    """The bytes of one tensor, as the module's head says."""
    if elem_type == TensorProto.STRING:
        return string_bytes(array)
    tensor = numpy_helper.from_array(np.ascontiguousarray(array))
    return tensor.raw_data


def as_array(value, elem_type):
    """A tensor of any spelling (`TensorProto`, scalar, array) with its element type."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value), value.data_type
    array = np.asarray(value)
    if elem_type == TensorProto.STRING or array.dtype.kind in "OUS":
        return array, TensorProto.STRING
    return array, onnx.helper.np_dtype_to_tensor_dtype(array.dtype)


class CaseWriter:
    """Collects the tensors of one case; `write` puts both files into `folder`."""

    def __init__(self, name, op, opset, **settings):
        self.head = {"name": name, "op": op, "opset": opset, **settings, "steps": []}
        self.data = bytearray()

    def tensor(self, name, value, elem_type=TensorProto.UNDEFINED):
        array, elem_type = as_array(value, elem_type)
        data = element_bytes(array, elem_type)
        entry = {
            "name": name,
            "dtype": dtype_name(elem_type),
            "shape": list(array.shape),
            "at": len(self.data),
            "bytes": len(data),
        }
        self.data += data
        return entry

    def step(self, inputs, outputs):
        """Adds a call: `inputs` and `outputs` are lists of (name, value)."""
        entry = lambda pairs: [self.tensor(name, value) for name, value in pairs]
        self.head["steps"].append({"inputs": entry(inputs), "outputs": entry(outputs)})

    def write(self, folder, stem="case"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.json").write_text(json.dumps(self.head) + "\n")
        (folder / f"{stem}.bin").write_bytes(self.data)


def opset_of(model):
    """Version of ONNX's own operators; of the newest other domain if it uses none of them."""
    own = [it.version for it in model.opset_import if it.domain in ("", "ai.onnx")]
    return max(own or [it.version for it in model.opset_import])


