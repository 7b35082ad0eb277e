"""Builds the ONNX graph of all-MiniLM-L6-v2 from its safetensors file, as a peer for benchmarks.

    python make_onnx.py MODEL.safetensors OUTPUT.onnx [--optimized]

Inputs `input_ids` and `attention_mask`, int64 [batch, sequence], both dimensions dynamic; output
`last_hidden_state`, f32 [batch, sequence, 384]; opset 17. The graph has the operators and the
order that PyTorch's exporter gives a BERT encoder, so that ONNX Runtime's fusions recognize it.
With `--optimized`, ONNX Runtime's own BERT optimizer (which needs `sympy`) then rewrites it to its
fused operators: Attention, SkipLayerNormalization, BiasGelu, EmbedLayerNormalization. A benchmark
compares with the faster of the two forms on its machine. The script prints operator counts.
"""

import argparse
import collections

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bert import HEADS, LAYER_NORM_EPSILON, read_safetensors

HIDDEN = 384
LAYERS = 6


class GraphWriter:
    """Collects nodes and initializers; every method returns the name of the value it adds."""

    def __init__(self):
        self.nodes = []
        self.initializers = []
        self.known = set()

    def constant(self, name, value):
        if name not in self.known:
            self.known.add(name)
            value = np.array(value, order="C")
            self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def op(self, kind, inputs, output=None, **attributes):
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


class BertGraph(GraphWriter):
    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def linear(self, x, name):
        weight = self.constant(name + ".weight_T", self.weights[name + ".weight"].T)
        bias = self.constant(name + ".bias", self.weights[name + ".bias"])
        return self.op("Add", [self.op("MatMul", [x, weight]), bias])

    def norm(self, x, name, output=None):
        scale = self.constant(name + ".weight", self.weights[name + ".weight"])
        bias = self.constant(name + ".bias", self.weights[name + ".bias"])
        return self.op(
            "LayerNormalization", [x, scale, bias], output, axis=-1, epsilon=LAYER_NORM_EPSILON
        )

    def gelu(self, x):
        one = self.constant("one", np.float32(1.0))
        half = self.constant("half", np.float32(0.5))
        root = self.constant("sqrt_two", np.float32(np.sqrt(2.0)))
        y = self.op("Erf", [self.op("Div", [x, root])])
        y = self.op("Mul", [x, self.op("Add", [y, one])])
        return self.op("Mul", [y, half])

    def mask(self):
        one = self.constant("one", np.float32(1.0))
        x = self.op("Unsqueeze", ["attention_mask", self.constant("axis_1", np.array([1]))])
        x = self.op("Unsqueeze", [x, self.constant("axis_2", np.array([2]))])
        x = self.op("Sub", [one, self.op("Cast", [x], to=TensorProto.FLOAT)])
        return self.op("Mul", [x, self.constant("masked", np.float32(-10000.0))])

    def embeddings(self):
        prefix = "embeddings."
        table = lambda name: self.constant(name, self.weights[f"{prefix}{name}.weight"])
        one = self.constant("one_i64", np.array(1))
        axis_0 = self.constant("axis_0", np.array([0]))
        shape = self.op("Shape", ["input_ids"])
        length = self.op("Unsqueeze", [self.op("Gather", [shape, one]), axis_0])
        all_positions = self.constant("position_ids", np.arange(512).reshape(1, 512))
        positions = self.op(
            "Slice", [all_positions, axis_0, length, self.constant("axis_1", np.array([1]))]
        )
        types = self.op("ConstantOfShape", [shape], value=numpy_helper.from_array(np.array([0])))
        words = self.op("Gather", [table("word_embeddings"), "input_ids"])
        typed = self.op("Gather", [table("token_type_embeddings"), types])
        placed = self.op("Gather", [table("position_embeddings"), positions])
        x = self.op("Add", [self.op("Add", [words, typed]), placed])
        return self.norm(x, prefix + "LayerNorm")

    def attention(self, x, mask, layer):
        split = self.constant("split_heads", np.array([0, 0, HEADS, HIDDEN // HEADS]))
        join = self.constant("join_heads", np.array([0, 0, HIDDEN]))
        root = self.constant("sqrt_head", np.float32(np.sqrt(HIDDEN // HEADS)))

        def heads(part, order):
            y = self.linear(x, f"{layer}.attention.self.{part}")
            return self.op("Transpose", [self.op("Reshape", [y, split])], perm=order)

        query = heads("query", [0, 2, 1, 3])
        key = heads("key", [0, 2, 3, 1])
        value = heads("value", [0, 2, 1, 3])
        scores = self.op("Div", [self.op("MatMul", [query, key]), root])
        chances = self.op("Softmax", [self.op("Add", [scores, mask])], axis=-1)
        context = self.op("Transpose", [self.op("MatMul", [chances, value])], perm=[0, 2, 1, 3])
        return self.op("Reshape", [context, join])

    def build(self):
        x, mask = self.embeddings(), self.mask()
        for index in range(LAYERS):
            layer = f"encoder.layer.{index}"
            last = "last_hidden_state" if index == LAYERS - 1 else None
            y = self.linear(self.attention(x, mask, layer), f"{layer}.attention.output.dense")
            x = self.norm(self.op("Add", [y, x]), f"{layer}.attention.output.LayerNorm")
            y = self.gelu(self.linear(x, f"{layer}.intermediate.dense"))
            y = self.linear(y, f"{layer}.output.dense")
            x = self.norm(self.op("Add", [y, x]), f"{layer}.output.LayerNorm", last)
        return self.model()

    def model(self):
        dims = ["batch", "sequence"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, dims)
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, [*dims, HIDDEN]
        )
        graph = helper.make_graph(self.nodes, "minilm", inputs, [output], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model


def count_ops(model):
    return dict(collections.Counter(node.op_type for node in model.graph.node).most_common())


def optimize(path):
    """Rewrites the file with ONNX Runtime's BERT optimizer."""
    from onnxruntime.transformers import optimizer

    fused = optimizer.optimize_model(path, "bert", num_heads=HEADS, hidden_size=HIDDEN, opt_level=0)
    fused.save_model_to_file(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("safetensors")
    parser.add_argument("output")
    parser.add_argument("--optimized", action="store_true")
    arguments = parser.parse_args()
    onnx.save(BertGraph(read_safetensors(arguments.safetensors)).build(), arguments.output)
    if arguments.optimized:
        optimize(arguments.output)
    print("operators:", count_ops(onnx.load(arguments.output)))


if __name__ == "__main__":
    main()
