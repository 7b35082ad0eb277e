"""Operators of `com.microsoft`, as ONNX Runtime's optimizers and quantizers leave them in files."""

import numpy as np
from onnx import TensorProto, helper

from extra_layers import FLOAT, STEPS, normal
from graphs import F32, I32, I64, Graph

MS = "com.microsoft"
GRAPHS = []


def case(name, build, tolerance=FLOAT):
    """Registers `build(random, g)`, which answers the calls, as a graph of this name."""

    def graph(random):
        g = Graph(17)
        g.imports = [helper.make_opsetid(MS, 1)]
        calls = build(random, g)
        return g.model(), calls

    graph.__name__ = name
    GRAPHS.append((graph, tolerance))


def elem(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def one(name, op, arrays, *, weights=(), outputs=1, out=(F32,), tolerance=FLOAT, **attributes):
    """One node. `arrays(random)` are its inputs, None where one is left out; those in `weights` are
    constants, and `outputs` counts the node's."""

    def build(random, g):
        given = arrays(random)
        inputs, call = [], {}
        for at, array in enumerate(given):
            if array is None:
                inputs.append(None)
            elif at in weights:
                inputs.append(g.weight(array))
            else:
                dims = [f"d{at}_{axis}" for axis in range(array.ndim)]
                inputs.append(g.input(f"x{at}", elem(array), dims))
                call[f"x{at}"] = array
        results = g.node(op, inputs, outputs, domain=MS, **attributes)
        results = [results] if outputs == 1 else [it for it in results if it]
        for result, kind in zip(results, out, strict=True):
            g.output(result, kind)
        return [call]

    case(name, build, tolerance)


# ---- attention ----

HEADS, SHARED, SIZE = 4, 2, 16
ANGLES = np.outer(np.arange(32), 10000.0 ** -(np.arange(SIZE // 2) / (SIZE // 2)))
COS, SIN = np.cos(ANGLES).astype(np.float32), np.sin(ANGLES).astype(np.float32)


def grouped(name, rows, tokens, past, lengths, total, *, packed=False, bias=None, **attributes):
    """A call of `tokens` behind a cache of `past`; `lengths` are valid keys of each row, those of the
    call included."""

    def arrays(random):
        heads = [normal(random, rows, tokens, count * SIZE) for count in (HEADS, SHARED, SHARED)]
        if packed:
            heads = [np.concatenate(heads, axis=2), None, None]
        cache = [normal(random, rows, SHARED, past, SIZE) for _ in range(2)]
        seqlens = np.array(lengths, np.int32) - 1
        inputs = [*heads, *cache, seqlens, np.array(total, np.int32), COS, SIN]
        if bias:
            inputs += [None, normal(random, *bias)]
        return inputs

    one(
        f"group_query_attention_{name}",
        "GroupQueryAttention",
        arrays,
        weights=(7, 8),
        outputs=3,
        out=(F32, F32, F32),
        num_heads=HEADS,
        kv_num_heads=SHARED,
        **attributes,
    )


grouped("of_a_prompt", 1, 5, 0, [5], 5)
grouped("of_a_prompt_turned", 2, 5, 0, [5, 5], 5, do_rotary=1)
grouped("of_a_token", 1, 1, 6, [7], 7, do_rotary=1)
grouped("of_a_token_interleaved", 1, 1, 6, [7], 7, do_rotary=1, rotary_interleaved=1)
grouped("packed", 2, 1, 6, [7, 7], 7, packed=True, do_rotary=1)
grouped("of_rows_of_two_lengths", 2, 1, 6, [7, 4], 7, do_rotary=1)
grouped("with_a_cap", 1, 3, 4, [7], 7, softcap=5.0, scale=0.25)
grouped("with_a_window", 1, 6, 0, [6], 6, local_window_size=3)
grouped("with_a_window_and_a_cache", 1, 1, 6, [7], 7, local_window_size=3)
grouped("with_a_bias", 1, 3, 0, [3], 3, bias=(1, HEADS, 3, 3))


def projected(random, *, mask=None, past=None, width=32):
    return [
        normal(random, 2, 5, width),
        normal(random, width, 3 * width, scale=0.2),
        normal(random, 3 * width, scale=0.2),
        mask,
        None if past is None else normal(random, 2, 2, HEADS, past, width // HEADS),
    ]


LENGTHS = np.array([5, 3], np.int32)
SHOWN = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
one("contrib_attention", "Attention", projected, weights=(1, 2), num_heads=HEADS)
one(
    "contrib_attention_with_lengths",
    "Attention",
    lambda random: projected(random, mask=LENGTHS),
    weights=(1, 2),
    num_heads=HEADS,
)
one(
    "contrib_attention_with_a_mask",
    "Attention",
    lambda random: projected(random, mask=SHOWN),
    weights=(1, 2),
    num_heads=HEADS,
)
one(
    "contrib_attention_with_a_cache",
    "Attention",
    lambda random: projected(random, past=3),
    weights=(1, 2),
    outputs=2,
    out=(F32, F32),
    num_heads=HEADS,
    unidirectional=1,
)
one(
    "multi_head_attention",
    "MultiHeadAttention",
    lambda random: [normal(random, 2, tokens, 32) for tokens in (5, 7, 7)],
    num_heads=HEADS,
)
one(
    "multi_head_attention_with_bias_and_mask",
    "MultiHeadAttention",
    lambda random: [
        *(normal(random, 2, 5, 32) for _ in range(3)),
        normal(random, 96),
        SHOWN,
        normal(random, 2, HEADS, 5, 5),
    ],
    weights=(3,),
    num_heads=HEADS,
)
one(
    "multi_head_attention_with_a_cache",
    "MultiHeadAttention",
    lambda random: [
        *(normal(random, 2, 1, 32) for _ in range(3)),
        None,
        None,
        None,
        *(normal(random, 2, HEADS, 4, 8) for _ in range(2)),
    ],
    outputs=3,
    out=(F32, F32, F32),
    num_heads=HEADS,
)
for interleaved in (0, 1):
    one(
        f"contrib_rotary_embedding_{interleaved}",
        "RotaryEmbedding",
        lambda random: [normal(random, 2, 5, 32), np.tile(np.arange(5), (2, 1)), COS, SIN],
        weights=(2, 3),
        interleaved=interleaved,
    )

# ---- normalizations and activations ----


def vectors(*counts):
    return lambda random: [normal(random, 2, 5, 16), *(normal(random, *count) for count in counts)]


ROW = (16,)
one("skip_layer_normalization", "SkipLayerNormalization", vectors((2, 5, 16), ROW, ROW, ROW))
one(
    "skip_simplified_layer_normalization",
    "SkipSimplifiedLayerNormalization",
    vectors((2, 5, 16), ROW),
    outputs=["y", "", "", "sum"],
    out=(F32, F32),
)
one("bias_gelu", "BiasGelu", vectors(ROW))
one("fast_gelu", "FastGelu", vectors(ROW))
one("quick_gelu", "QuickGelu", vectors(), alpha=1.5)
one("contrib_gelu", "Gelu", vectors())


def embedded(random):
    tables = [normal(random, count, 16) for count in (20, 8, 2)]
    ids = random.integers(0, 20, (2, 5)).astype(np.int32)
    kinds = random.integers(0, 2, (2, 5)).astype(np.int32)
    return [ids, kinds, *tables, normal(random, 16), normal(random, 16), SHOWN]


one(
    "embed_layer_normalization",
    "EmbedLayerNormalization",
    embedded,
    weights=(2, 3, 4, 5, 6),
    outputs=2,
    out=(F32, I32),
)

# ---- products ----

one(
    "fused_matmul",
    "FusedMatMul",
    lambda random: [normal(random, 2, 6, 4), normal(random, 2, 5, 6)],
    transA=1,
    transB=1,
    alpha=0.5,
)
one(
    "transpose_matmul",
    "TransposeMatMul",
    lambda random: [normal(random, 3, 6), normal(random, 5, 6)],
    transB=1,
)
one(
    "fused_gemm",
    "FusedGemm",
    lambda random: [normal(random, 3, 6), normal(random, 6, 4), normal(random, 4)],
    activation="LeakyRelu",
    activation_alpha=0.1,
)
for metric in ("euclidean", "sqeuclidean"):
    one(
        f"distances_{metric}",
        "CDist",
        lambda random: [normal(random, 4, 3), normal(random, 5, 3)],
        weights=(1,),
        metric=metric,
    )


def quantized_weights(random, bits):
    k, n, block = 32, 6, 16
    packed = random.integers(0, 256, (n, k // block, block * bits // 8)).astype(np.uint8)
    return [normal(random, 3, k), packed, normal(random, n * k // block, scale=0.1)]


for bits in (4, 8):
    one(
        f"matmul_of_{bits}_bits",
        "MatMulNBits",
        lambda random, bits=bits: quantized_weights(random, bits),
        weights=(1, 2),
        K=32,
        N=6,
        bits=bits,
        block_size=16,
    )

# ---- quantized ----

U8 = TensorProto.UINT8


def scale(value):
    return np.array(value, np.float32)


def bytes_of(random, *shape, dtype=np.uint8):
    return random.integers(0, 100, shape).astype(dtype)


def gemm(random, *, trans=False, columns=False, again=True, bias=True):
    a = bytes_of(random, 6, 3) if trans else bytes_of(random, 3, 6)
    b = bytes_of(random, 4, 6, dtype=np.int8) if trans else bytes_of(random, 6, 4, dtype=np.int8)
    b_scale = np.linspace(0.01, 0.04, 4, dtype=np.float32) if columns else scale(0.02)
    b_zero = np.array([1, 2, 3, 4], np.int8) if columns else np.int8(3)
    inputs = [a, scale(0.05), np.uint8(40), b, b_scale, np.asarray(b_zero)]
    inputs.append(random.integers(-500, 500, 4).astype(np.int32) if bias else None)
    inputs = [np.asarray(x) if x is not None else None for x in inputs]
    return inputs + ([scale(0.3), np.asarray(np.uint8(100))] if again else [])


ALL = (1, 2, 3, 4, 5, 6, 7, 8)
one("qgemm", "QGemm", gemm, weights=ALL, out=(U8,))
one("qgemm_in_numbers", "QGemm", lambda r: gemm(r, again=False), weights=ALL)
one("qgemm_without_bias", "QGemm", lambda r: gemm(r, bias=False), weights=ALL, out=(U8,))
one("qgemm_by_column", "QGemm", lambda r: gemm(r, columns=True), weights=ALL, out=(U8,))
one(
    "qgemm_turned",
    "QGemm",
    lambda r: gemm(r, trans=True, again=False),
    weights=ALL,
    transA=1,
    transB=1,
    alpha=0.5,
)
for op in ("QLinearAdd", "QLinearMul"):
    one(
        f"{op.lower()}",
        op,
        lambda random: [
            bytes_of(random, 3, 4),
            scale(0.05),
            np.asarray(np.uint8(40)),
            bytes_of(random, 4),
            scale(0.03),
            np.asarray(np.uint8(10)),
            scale(0.1),
            np.asarray(np.uint8(60)),
        ],
        weights=(1, 2, 4, 5, 6, 7),
        out=(U8,),
    )
one(
    "dynamic_quantize_matmul",
    "DynamicQuantizeMatMul",
    lambda random: [
        normal(random, 3, 6),
        bytes_of(random, 6, 4, dtype=np.int8),
        scale(0.02),
        np.asarray(np.int8(3)),
        normal(random, 4),
    ],
    weights=(1, 2, 3, 4),
    tolerance={**STEPS, "cosine_min": 0.999},
)

for last in (0, 1):
    # Channels behind the batch, and last.
    shape = (1, 6, 6, 3) if last else (1, 3, 6, 6)
    for op in ("QLinearAveragePool", "QLinearGlobalAveragePool"):
        one(
            f"{op.lower()}_{last}",
            op,
            lambda random, shape=shape: [
                bytes_of(random, *shape),
                scale(0.05),
                np.asarray(np.uint8(40)),
                scale(0.043),
                np.asarray(np.uint8(30)),
            ],
            weights=(1, 2, 3, 4),
            out=(U8,),
            channels_last=last,
            **({"kernel_shape": [2, 2]} if op == "QLinearAveragePool" else {}),
        )
    one(
        f"qlinear_conv_{last}",
        "QLinearConv",
        lambda random, shape=shape: [
            bytes_of(random, *shape),
            scale(0.05),
            np.asarray(np.uint8(40)),
            bytes_of(random, 4, 3, 3, 3, dtype=np.int8),
            scale(0.02),
            np.asarray(np.int8(0)),
            scale(0.9),
            np.asarray(np.uint8(90)),
        ],
        weights=(1, 2, 3, 4, 5, 6, 7),
        out=(U8,),
        channels_last=last,
    )
one(
    "qlinear_concat",
    "QLinearConcat",
    lambda random: [
        scale(0.1),
        np.asarray(np.uint8(60)),
        bytes_of(random, 2, 3),
        scale(0.05),
        np.asarray(np.uint8(40)),
        bytes_of(random, 2, 4),
        scale(0.03),
        np.asarray(np.uint8(10)),
    ],
    weights=(0, 1, 3, 4, 6, 7),
    out=(U8,),
    axis=1,
)
for op, attributes in (("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2})):
    one(
        op.lower(),
        op,
        lambda random: [
            bytes_of(random, 3, 4),
            scale(0.05),
            np.asarray(np.uint8(40)),
            scale(0.02),
            np.asarray(np.uint8(30)),
        ],
        weights=(1, 2, 3, 4),
        out=(U8,),
        **attributes,
    )
one(
    "qlinear_softmax",
    "QLinearSoftmax",
    lambda random: [
        bytes_of(random, 3, 4),
        scale(0.05),
        np.asarray(np.uint8(40)),
        scale(1 / 256),
        np.asarray(np.uint8(0)),
    ],
    weights=(1, 2, 3, 4),
    out=(U8,),
    axis=-1,
    opset=17,
)
one(
    "matmul_integer_to_float",
    "MatMulIntegerToFloat",
    lambda random: [
        bytes_of(random, 3, 6),
        bytes_of(random, 6, 4, dtype=np.int8),
        scale(0.05),
        np.linspace(0.01, 0.04, 4, dtype=np.float32),
        np.asarray(np.uint8(40)),
        np.array([1, 2, 3, 4], np.int8),
        normal(random, 4),
    ],
    weights=(1, 2, 3, 4, 5, 6),
)
one(
    "qattention",
    "QAttention",
    lambda random: [
        bytes_of(random, 2, 5, 32),
        bytes_of(random, 32, 96),
        normal(random, 96, scale=0.1),
        scale(0.02),
        scale(0.01),
        LENGTHS,
        np.asarray(np.uint8(50)),
        np.asarray(np.uint8(50)),
    ],
    weights=(1, 2, 3, 4, 6, 7),
    num_heads=HEADS,
)
one(
    "fused_conv",
    "FusedConv",
    lambda random: [normal(random, 1, 3, 6, 6), normal(random, 4, 3, 3, 3), normal(random, 4)],
    weights=(1, 2),
    activation="Relu",
)

# ---- under the names of ONNX ----

one("contrib_trilu", "Trilu", lambda random: [normal(random, 4, 5)], upper=0)
one(
    "contrib_pad",
    "Pad",
    lambda random: [normal(random, 2, 3), np.array([0, 1, 0, 2]), scale(1.5)],
    weights=(1, 2),
)
one(
    "contrib_range",
    "Range",
    lambda random: [np.array(x, np.int64) for x in (1, 9, 3)],
    out=(I64,),
)
one(
    "expand_dims",
    "ExpandDims",
    lambda random: [normal(random, 2, 3), np.array(-1, np.int32)],
    weights=(1,),
)
one(
    "contrib_gather_nd",
    "GatherND",
    lambda random: [normal(random, 3, 4), np.array([[0, 1], [2, 3]])],
    weights=(1,),
)
