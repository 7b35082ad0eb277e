"""A small writer of ONNX graphs: nodes in order, constants by value, names made up."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

F32, F16, I64, I32, BOOL = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.BOOL,
)


class Graph:
    """Collects nodes and initializers. A method for an operator is its name: `g.Add(x, y)`."""

    def __init__(self, opset, prefix=""):
        self.opset, self.prefix = opset, prefix
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self.functions = []
        self.imports = []

    def name(self, kind):
        return f"{self.prefix}{kind}_{len(self.nodes) + len(self.initializers)}"

    def input(self, name, dtype, dims):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, dims))
        return name

    def output(self, value, dtype, dims=None):
        self.outputs.append(helper.make_tensor_value_info(value, dtype, dims))

    def weight(self, value):
        name = self.name("w")
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def ints(self, *values):
        return self.weight(np.array(values, np.int64))

    def node(self, kind, inputs, outputs=1, domain="", **attributes):
        """A node of `outputs` outputs, or of outputs with these names; "" leaves one out."""
        if isinstance(outputs, int):
            outputs = [self.name(f"{kind}{at}") for at in range(outputs)]
        inputs = ["" if value is None else value for value in inputs]
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=self.name(kind), domain=domain, **attributes)
        )
        return outputs[0] if len(outputs) == 1 else outputs

    def __getattr__(self, kind):
        if not kind[0].isupper():
            raise AttributeError(kind)
        return lambda *inputs, **attributes: self.node(kind, inputs, **attributes)

    def proto(self, name="graph"):
        return helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, initializer=self.initializers
        )

    def model(self, ir_version=8):
        imports = [helper.make_opsetid("", self.opset), *self.imports]
        model = helper.make_model(self.proto(), opset_imports=imports, functions=self.functions)
        model.ir_version = ir_version
        return model
