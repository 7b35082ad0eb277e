"""A BERT encoder in float64 numpy: the independent reference for embeddings.

It follows "BERT" (arXiv:1810.04805) and the layer order of the original TensorFlow code, reads the
weights of the safetensors file, and computes one sequence at a time, so that no padding exists.
It is written to be obviously right, not fast.
"""

import json
import math
import struct

import numpy as np

HEADS = 12
LAYER_NORM_EPSILON = 1e-12

_erf = np.frompyfunc(math.erf, 1, 1)


def read_safetensors(path):
    """Tensors by name: an 8-byte little-endian header length, a JSON header, then raw data."""
    with open(path, "rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


def layer_norm(x, weight, bias):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + LAYER_NORM_EPSILON) * weight + bias


def gelu(x):
    """The exact form: x * Phi(x), Phi the normal distribution function."""
    return x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0)).astype(np.float64))


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


class Bert:
    """all-MiniLM-L6-v2: six layers, twelve heads of 32, hidden size 384."""

    def __init__(self, path):
        self.weights = {
            name: value.astype(np.float64) for name, value in read_safetensors(path).items()
        }

    def _linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def _norm(self, x, name):
        return layer_norm(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def _attention(self, x, layer):
        def heads(part):
            y = self._linear(x, f"{layer}.attention.self.{part}")
            return y.reshape(len(x), HEADS, -1).transpose(1, 0, 2)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        context = softmax(scores) @ value
        return context.transpose(1, 0, 2).reshape(len(x), -1)

    def hidden(self, ids):
        """Last hidden states [tokens, 384] of one sequence of token ids."""
        weights = self.weights
        x = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][: len(ids)]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for index in range(6):
            layer = f"encoder.layer.{index}"
            y = self._linear(self._attention(x, layer), f"{layer}.attention.output.dense")
            x = self._norm(x + y, f"{layer}.attention.output.LayerNorm")
            y = gelu(self._linear(x, f"{layer}.intermediate.dense"))
            y = self._linear(y, f"{layer}.output.dense")
            x = self._norm(x + y, f"{layer}.output.LayerNorm")
        return x

    def embed(self, ids):
        """Sentence embedding [384]: the mean over all tokens, then divided by its L2 norm."""
        mean = self.hidden(ids).mean(axis=0)
        return mean / np.linalg.norm(mean)
