//! Matrix products, and layers with constant weights and what is fused behind them.

use super::{Case, FLOATS, floats, graph, op, tensor};
use crate::run_op::Attribute;
use crate::{AttentionOptions, AttentionValues, Contraction, GeluForm};
use aimass_tensor::DType;

/// Rows, columns and length of the sums: one row, few, tiles with a rest, sums that are split.
const SIZES: &[[usize; 3]] = &[
    [1, 64, 96],
    [3, 17, 5],
    [5, 72, 40],
    [8, 130, 64],
    [33, 65, 31],
    [64, 128, 256],
    [130, 72, 1100],
];

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in FLOATS {
        for &[m, n, k] in SIZES {
            // Sums of `k` products of numbers up to 2 in another order; halves are summed in f32.
            let tolerance = if dtype == DType::F32 { 16.0 + k as f64 } else { 24.0 };
            let (x, w) = (floats(dtype, &[m, k], 1), floats(dtype, &[k, n], 2));
            cases.push(op("matmul", vec![x.clone(), w], &[], tolerance));
            cases.push(layer(dtype, [m, n, k], tolerance));
            let w = floats(dtype, &[n, k], 3);
            let transposed = [("transposed", Attribute::Bool(true))];
            cases.push(op("linear", vec![x, w, floats(dtype, &[n], 4)], &transposed, tolerance));
        }
        let sides = vec![floats(dtype, &[3, 10, 33], 1), floats(dtype, &[3, 33, 9], 2)];
        cases.push(op("matmul", sides, &[], 16.0));
        cases.push(contraction(dtype));
        cases.extend(tiles(dtype));
        cases.extend(attention(dtype));
        cases.extend(steps(dtype));
    }
    cases
}

/// A layer with bias, activation and residual.
fn layer(dtype: DType, [m, n, k]: [usize; 3], tolerance: f64) -> Case {
    let inputs = vec![floats(dtype, &[m, k], 5), floats(dtype, &[m, n], 6)];
    let name = format!("layer({dtype} [{m}, {k}] -> {n}, bias, gelu, residual)");
    graph(&name, inputs, tolerance, move |builder, values| {
        let w = builder.constant(floats(dtype, &[n, k], 7))?;
        let bias = builder.constant(floats(dtype, &[n], 8))?;
        let y = builder.linear(values[0], w, Some(bias), true)?;
        let y = builder.gelu(y, GeluForm::Erf)?;
        builder.add(y, values[1])
    })
}

/// Scores of heads: both sides by rows.
fn contraction(dtype: DType) -> Case {
    let inputs = vec![floats(dtype, &[2, 3, 7, 32], 1), floats(dtype, &[2, 3, 11, 32], 2)];
    graph(&format!("dot-general({dtype})"), inputs, 16.0, |builder, values| {
        let axes =
            Contraction { batch_x: &[0, 1], batch_y: &[0, 1], contract_x: &[3], contract_y: &[3] };
        builder.dot_general(values[0], values[1], axes)
    })
}

/// As many products as it takes for blocks that make 64 x 64 and 128 x 128 elements of the output to fill
/// a device, and to be chosen.
fn tiles(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    let batches = if dtype == DType::F32 { [(69, 64), (97, 128)] } else { [(86, 64), (78, 128)] };
    for (batch, side) in batches {
        let (left, right) =
            (floats(dtype, &[batch, side, 8], 1), floats(dtype, &[batch, 8, side], 2));
        cases.push(op("matmul", vec![left.clone(), right], &[], 16.0));
        let rows = floats(dtype, &[batch, side, 8], 3);
        cases.push(graph(
            &format!("dot-general({dtype}, {batch})"),
            vec![left, rows],
            16.0,
            |builder, values| {
                let axes = Contraction {
                    batch_x: &[0],
                    batch_y: &[0],
                    contract_x: &[2],
                    contract_y: &[2],
                };
                builder.dot_general(values[0], values[1], axes)
            },
        ));
    }
    cases
}

/// One query a sequence over few and many keys, wide heads, and sequences of several lengths.
fn steps(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    let options = |heads, kv_heads, causal| {
        let int = |n: usize| Attribute::Int(n as i64);
        let causal = Attribute::Bool(causal);
        [("heads", int(heads)), ("kv-heads", int(kv_heads)), ("causal", causal)]
    };
    for (queries, keys, heads, kv_heads, size) in [
        (1, 40, 2, 2, 24),
        (1, 600, 3, 3, 32),
        (1, 600, 4, 2, 64),
        (9, 11, 2, 1, 200),
        (5, 7, 2, 2, 264),
    ] {
        let inputs = vec![
            floats(dtype, &[2, queries, heads * size], 1),
            floats(dtype, &[2, keys, kv_heads * size], 2),
            floats(dtype, &[2, keys, kv_heads * size], 3),
            floats(dtype, &[2, 1, 1, keys], 4),
        ];
        let attributes = options(heads, kv_heads, queries > 1);
        cases.push(op("attention", inputs[..3].to_vec(), &attributes, 64.0));
        cases.push(op("attention", inputs, &attributes, 64.0));
    }
    for (size, causal) in [(20, false), (64, true), (128, true), (160, false), (264, true)] {
        let offsets = [0u32, 3, 3, 44, 45].map(u32::to_le_bytes).concat();
        let inputs = vec![
            floats(dtype, &[45, 2 * size], 5),
            floats(dtype, &[45, size], 6),
            floats(dtype, &[45, size], 7),
            tensor(DType::U32, &[5], &offsets),
        ];
        cases.push(op("ragged-attention", inputs, &options(2, 1, causal), 64.0));
    }
    cases
}

/// Attention of several sizes, causal and not, with heads that share keys, and with one product for
/// queries, keys and values before it.
fn attention(dtype: DType) -> Vec<Case> {
    let options = |heads, kv_heads, causal| AttentionOptions {
        heads,
        kv_heads,
        scale: None,
        causal,
        window: None,
    };
    let mut cases = Vec::new();
    for (tokens, heads, kv_heads, size, causal) in
        [(5, 2, 2, 16, false), (40, 4, 2, 32, true), (70, 2, 1, 64, true), (33, 3, 3, 128, false)]
    {
        let width = |heads: u32| heads as usize * size;
        let inputs = vec![
            floats(dtype, &[2, tokens, width(heads)], 1),
            floats(dtype, &[2, tokens, width(kv_heads)], 2),
            floats(dtype, &[2, tokens, width(kv_heads)], 3),
        ];
        let options = options(heads, kv_heads, causal);
        let name =
            format!("attention({dtype}, {tokens} tokens, {heads} heads of {size}, {causal})");
        cases.push(graph(&name, inputs, 32.0, move |builder, values| {
            let values = AttentionValues { q: values[0], k: values[1], v: values[2] };
            builder.attention(values, None, options)
        }));
    }
    let inputs = vec![floats(dtype, &[2, 19, 48], 4)];
    // Scores are large and the softmax is steep: what products lose shows many times over.
    let tolerance = if dtype == DType::F32 { 1024.0 } else { 64.0 };
    cases.push(graph(
        &format!("fused attention({dtype})"),
        inputs,
        tolerance,
        move |builder, values| {
            let mut made = Vec::new();
            for seed in 5..8 {
                let w = builder.constant(floats(dtype, &[48, 48], seed))?;
                made.push(builder.linear(values[0], w, None, true)?);
            }
            let values = AttentionValues { q: made[0], k: made[1], v: made[2] };
            builder.attention(values, None, options(3, 3, false))
        },
    ));
    cases
}
