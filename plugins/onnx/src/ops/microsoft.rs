//! Operators of `com.microsoft` that optimized and quantized models have (ONNX Runtime,
//! `docs/ContribOperators.md`).

mod attention;
mod fused;
mod grouped;
mod moved;
mod quantized;
mod weights;

use super::Table;

/// The families of the domain.
pub(super) const TABLES: &[Table] = &[
    // Those of ONNX's own, of which a later table has some with more attributes.
    super::quantize::TABLE,
    super::quantized::TABLE,
    attention::TABLE,
    fused::TABLE,
    grouped::TABLE,
    moved::TABLE,
    quantized::TABLE,
    weights::TABLE,
];
