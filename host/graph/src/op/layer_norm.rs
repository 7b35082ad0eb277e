//! Layer normalization.

use super::{Call, Infer, OpRule, RowForm};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::norm;
use aimass_tensor::Shape;

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over the last axis (ONNX
/// `LayerNormalization-17`, arXiv:1607.06450).
///
/// | tensor          | shape       | dtype |
/// |-----------------|-------------|-------|
/// | `x`             | `[.., n]`   | f32   |
/// | `scale`, `bias` | `[n]`       | f32   |
/// | output          | as `x`      | f32   |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f32,
}

impl OpRule for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.f32(x[0])?;
        cx.rank_at_least(x[0], 1, "at least 1")?;
        let last = &x[0].dims[x[0].rank() - 1];
        cx.not_rows(last)?;
        for vector in &x[1..] {
            cx.vector(vector, last)?;
        }
        if self.epsilon.is_nan() || self.epsilon < 0.0 {
            return Err(cx.argument("epsilon", "a number of at least 0", &self.epsilon));
        }
        Ok(vec![ValueSpec::new(x[0].dtype, x[0].dims.clone())])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        8 * inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let bias = call.inputs.get(2).map(|bias| bias.numbers());
        let norm =
            norm::LayerNorm { weight: call.inputs[1].numbers(), bias, epsilon: self.epsilon };
        match call.in_place {
            true => norm::layer_norm_in_place(call.outputs[0].rows(), &norm),
            false => norm::layer_norm(call.inputs[0].rows(), &norm, call.outputs[0].rows()),
        }
        Ok(())
    }

    fn in_place(&self) -> bool {
        true
    }

    fn row_form(&self) -> Option<RowForm> {
        Some(RowForm::LayerNorm { epsilon: self.epsilon })
    }
}
