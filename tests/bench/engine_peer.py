"""A runtime that a user would pick instead, asked line by line by the benchmark, in JSON.

engine_peer.py RUNTIME MODEL THREADS INPUTS.json

RUNTIME is onnxruntime, openvino or tract. INPUTS.json lists `{"name", "dtype", "shape", "file"}`, the
file holding the elements. The first line of the answer is `{"ready": true, "outputs": [..]}` with
the sizes of the outputs; each line `{"reps": n}` is answered by `{"ms": median}`.
"""

import json
import statistics
import sys
import time

import numpy as np

runtime, model, threads, listing = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
inputs = {}
for spec in json.load(open(listing)):
    elements = np.fromfile(spec["file"], dtype=spec["dtype"])
    inputs[spec["name"]] = elements.reshape(spec["shape"])


def onnxruntime():
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    own = {name: value for name, value in inputs.items() if name in wanted}
    return lambda: session.run(None, own)


def openvino():
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    # A user of OpenVINO fixes the shapes, which is what makes it fast.
    network.reshape({name: list(value.shape) for name, value in inputs.items()})
    compiled = core.compile_model(
        network,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    request = compiled.create_infer_request()

    def run():
        answer = request.infer(inputs, share_inputs=True, share_outputs=True)
        return [answer[output] for output in compiled.outputs]

    return run


def tract():
    import tract

    network = tract.onnx().load(model)
    for index in range(network.input_count()):
        name = network.input_name(index)
        value = inputs[name]
        kind = {"float32": "f32", "int64": "i64", "int32": "i32"}[str(value.dtype)]
        shape = ",".join(str(extent) for extent in value.shape)
        network.set_input_fact(index, f"{shape},{kind}" if shape else kind)
    order = [inputs[network.input_name(index)] for index in range(network.input_count())]
    runnable = network.into_model().into_runnable()
    return lambda: [value.to_numpy() for value in runnable.run(order)]


run = {"onnxruntime": onnxruntime, "openvino": openvino, "tract": tract}[runtime]()
for _ in range(3):
    outputs = run()
print(json.dumps({"ready": True, "outputs": [int(np.asarray(o).size) for o in outputs]}), flush=True)
for line in sys.stdin:
    times = []
    for _ in range(json.loads(line)["reps"]):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"ms": statistics.median(times)}), flush=True)
