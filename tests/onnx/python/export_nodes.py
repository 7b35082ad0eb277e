"""Writes the node tests of the `onnx` package (`onnx.backend.test`) for the runner.

    python export_nodes.py FOLDER

One folder a test: `package/model.onnx`, and inputs and expected outputs as `case.json` and
`case.bin` (see `case_files.py`). A test that takes or gives anything but tensors (sequences,
optionals, maps) has a `case.json` that says so and no data. Tolerances are those of the test.
"""

import argparse
import pathlib
import re
import warnings

from onnx.backend.test.loader import load_model_tests

from case_files import CaseWriter, opset_of


def base_name(name):
    """The test that an expanded function body belongs to."""
    return re.sub(r"_expanded.*$", "", name)


def ops_by_test(tests):
    """Operator of every test; a function's expanded body counts for the function."""
    single = {t.name: t.model.graph.node[0].op_type for t in tests if len(t.model.graph.node) == 1}
    first = lambda test: test.model.graph.node[0].op_type
    return {t.name: single.get(base_name(t.name)) or first(t) for t in tests}


def is_tensor_valued(model):
    values = [*model.graph.input, *model.graph.output]
    return all(value.type.WhichOneof("value") == "tensor_type" for value in values)


def export(test, op, folder):
    package = folder / "package"
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(test.model.SerializeToString())
    tensors = is_tensor_valued(test.model)
    tolerance = {"rtol": test.rtol, "atol": test.atol}
    case = CaseWriter(test.name, op, opset_of(test.model), tensors=tensors, **tolerance)
    for inputs, outputs in test.data_sets if tensors else []:
        graph = test.model.graph
        named = lambda ports, values: [(p.name, v) for p, v in zip(ports, values, strict=True)]
        case.step(named(graph.input, inputs), named(graph.output, outputs))
    case.write(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tests = load_model_tests(kind="node")
    ops = ops_by_test(tests)
    for test in tests:
        export(test, ops[test.name], arguments.folder / test.name)
    print(f"{len(tests)} node tests")


if __name__ == "__main__":
    main()
