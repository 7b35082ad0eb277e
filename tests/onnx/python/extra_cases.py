"""Writes graphs as exporters write them, with ONNX Runtime's answers, for the runner.

    python extra_cases.py FOLDER

ONNX's node tests hold one operator each, with fixed shapes. These hold what real files add: chains
of Shape, Gather, Concat and Reshape over dynamic extents, control flow that captures outer values,
recurrent layers, quantized layers, external data, functions, 16-bit floats, and every older
spelling of operators that changed. One folder a graph; several inputs of different extents each.
"""

import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime

import extra_classic
import extra_contrib
import extra_control
import extra_layers
import extra_spellings
import extra_texts
import extra_tracing
from case_files import CaseWriter, opset_of

SCRIPTS = (
    extra_layers,
    extra_control,
    extra_tracing,
    extra_spellings,
    extra_texts,
    extra_classic,
    extra_contrib,
)


def ask(path, calls):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The graph as it is written: fused and folded operators round differently.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [it.name for it in session.get_outputs()]
    for inputs in calls:
        yield inputs, dict(zip(names, map(scores, session.run(names, inputs))))


def scores(answer):
    """A list of maps, which is no tensor, as the matrix of its values by sorted key."""
    if not (isinstance(answer, list) and answer and isinstance(answer[0], dict)):
        return answer
    return np.array([[row[key] for key in sorted(row)] for row in answer], np.float32)


def export(folder, build, tolerance):
    """Writes the graph of `build`, which answers a model and its calls (inputs by name)."""
    random = np.random.default_rng(abs(hash_of(build.__name__)))
    model, calls, *save = build(random)
    package = folder / build.__name__ / "package"
    package.mkdir(parents=True)
    path = package / "model.onnx"
    onnx.save(model, path, **(save[0] if save else {}))
    case = CaseWriter(build.__name__, "graph", opset_of(model), **tolerance)
    for inputs, answer in ask(path, calls):
        case.step(list(inputs.items()), list(answer.items()))
    case.write(folder / build.__name__)


def hash_of(text):
    """The same in every run, unlike `hash`."""
    return int.from_bytes(text.encode()[-6:], "little")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    graphs = [graph for script in SCRIPTS for graph in script.GRAPHS]
    for build, tolerance in graphs:
        export(arguments.folder, build, tolerance)
    print(f"{len(graphs)} graphs")


if __name__ == "__main__":
    main()
