"""Runs an ONNX file for `aimass model compare`: JSON lines in and out, tensors as raw files.

Arguments: the ONNX file, a folder for tensors, the number of threads.
"""

import json
import os
import sys
import time

ELEMENTS = {
    "bool": "BOOL", "int8": "INT8", "uint8": "UINT8", "int16": "INT16", "uint16": "UINT16",
    "int32": "INT32", "uint32": "UINT32", "int64": "INT64", "uint64": "UINT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}
DTYPES = {name: dtype for dtype, name in ELEMENTS.items()}


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def read_inputs(np, specs):
    inputs = {}
    for spec in specs:
        values = np.fromfile(spec["file"], dtype=np.dtype(DTYPES[spec["dtype"]]))
        inputs[spec["name"]] = values.reshape(spec["shape"])
    return inputs


def write_outputs(np, folder, names, outputs):
    specs = []
    for index, (name, value) in enumerate(zip(names, outputs)):
        value = np.ascontiguousarray(value)
        dtype = ELEMENTS.get(value.dtype.name)
        if dtype is None:
            raise ValueError(f"output {name}: {value.dtype.name} cannot be compared")
        path = os.path.join(folder, f"output-{index}.raw")
        value.tofile(path)
        specs.append({"name": name, "dtype": dtype, "shape": list(value.shape), "file": path})
    return specs


def serve(np, session, folder):
    names = [output.name for output in session.get_outputs()]
    inputs, outputs = {}, None
    for line in sys.stdin:
        request = json.loads(line)
        if "inputs" in request:
            inputs = read_inputs(np, request["inputs"])
            say({"ok": True})
        elif "run" in request:
            start = time.perf_counter()
            outputs = session.run(names, inputs)
            say({"seconds": time.perf_counter() - start})
        else:
            say({"outputs": write_outputs(np, folder, names, outputs)})


def main():
    path, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    try:
        import numpy as np
        import onnxruntime as ort
    except ImportError as error:
        say({"missing": error.name or str(error)})
        return
    try:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = [value.name for value in session.get_inputs()]
        say({"version": ort.__version__, "inputs": inputs})
        serve(np, session, folder)
    except Exception as error:  # What ONNX Runtime raises has no common class.
        say({"error": str(error)})


main()
