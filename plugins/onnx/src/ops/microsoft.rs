//! Operators of `com.microsoft` that optimized and quantized models have (ONNX Runtime,
//! `docs/ContribOperators.md`).

mod attention;
mod fused;
mod quantized;
mod weights;

use super::Table;

/// The families of the domain.
pub(super) const TABLES: &[Table] = &[
    attention::TABLE,
    fused::TABLE,
    quantized::TABLE,
    weights::TABLE,
    super::quantize::TABLE,
    super::quantized::TABLE,
];
