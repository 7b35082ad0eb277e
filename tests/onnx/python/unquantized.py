"""The model that a dynamically quantized one stands for: its weights, and activations as they are."""

import numpy as np
from onnx import helper, numpy_helper


def unquantized(model):
    """Changes `model`: every product of dynamically quantized activations becomes one of floats."""
    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    sources, nodes = {}, []
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            quantized, scale = node.output[:2]
            sources[quantized] = node.input[0]
            graph.initializer.append(numpy_helper.from_array(np.float32(1), scale))
        elif node.op_type == "MatMulInteger":
            weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
            if len(node.input) > 3:
                zero = numpy_helper.to_array(constants[node.input[3]])
                weight -= zero.astype(np.float32)
            name = f"{node.output[0]}.weight"
            graph.initializer.append(numpy_helper.from_array(weight, name))
            nodes.append(helper.make_node("MatMul", [sources[node.input[0]], name], node.output))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model
