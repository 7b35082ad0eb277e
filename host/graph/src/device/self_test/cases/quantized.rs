//! Layers of weights in 4 and 8 bits, in groups with scales and zero points of their own.

use super::{Case, FLOATS, floats, graph, tensor};
use crate::QuantizedLinearValues;
use aimass_tensor::{DType, Tensor};

const K: usize = 96;
const N: usize = 40;
/// Weights that share a scale.
const GROUP: usize = 32;

/// Few rows, which are multiplied as weights are read, and many, for which they become numbers first.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in FLOATS {
        for weights in [DType::I8, DType::U8, DType::I4, DType::U4] {
            cases.extend([1, 5, 20].map(|rows| layer(dtype, weights, rows)));
        }
    }
    cases
}

/// Integers of any bits.
fn quanta(dtype: DType, extents: &[usize], step: usize) -> Tensor {
    let elements: usize = extents.iter().product();
    let bits = if matches!(dtype, DType::I4 | DType::U4) { 4 } else { 8 };
    let bytes: Vec<u8> = (0..elements * bits / 8).map(|i| (i * step) as u8).collect();
    tensor(dtype, extents, &bytes)
}

fn layer(dtype: DType, weights: DType, rows: usize) -> Case {
    let name = format!("quantized layer({dtype} [{rows}, {K}] -> {N}, {weights})");
    // Halves are what weights are rounded to for many rows.
    let tolerance = if dtype == DType::F32 { 128.0 } else { 64.0 };
    graph(&name, vec![floats(dtype, &[rows, K], 1)], tolerance, move |builder, values| {
        let groups = [N, K / GROUP];
        let sixteenths: Vec<u8> =
            (0..N * K / GROUP).flat_map(|i| ((1 + i % 5) as f32 / 64.0).to_le_bytes()).collect();
        let w = builder.constant(quanta(weights, &[N, K], 37))?;
        let scales = builder.constant(tensor(DType::F32, &groups, &sixteenths))?;
        let zero_points = Some(builder.constant(quanta(weights, &groups, 91))?);
        let bias = Some(builder.constant(floats(dtype, &[N], 2))?);
        let values = QuantizedLinearValues { x: values[0], w, scales, zero_points, bias };
        builder.quantized_linear(values, GROUP as u64)
    })
}
