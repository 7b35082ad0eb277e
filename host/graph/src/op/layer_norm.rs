//! Layer normalization.

use super::{Call, Infer, OpRule, RowForm};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::{double, norm};
use aimass_tensor::{DType, Shape};

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over the last axis (ONNX
/// `LayerNormalization-17`, arXiv:1607.06450).
///
/// | tensor          | shape       | dtype                 |
/// |-----------------|-------------|-----------------------|
/// | `x`             | `[.., n]`   | f16, bf16, f32 or f64 |
/// | `scale`, `bias` | `[n]`       | as `x`                |
/// | output          | as `x`      | as `x`                |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f32,
}

impl OpRule for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.float(x[0])?;
        cx.rank_at_least(x[0], 1, "at least 1")?;
        let last = &x[0].dims[x[0].rank() - 1];
        cx.not_rows(last)?;
        for vector in &x[1..] {
            cx.vector_like(vector, last, x[0])?;
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
        if call.outputs[0].dtype == DType::F64 {
            let out = call.outputs[0].copy_of(&call.inputs[0], call.in_place);
            let bias = call.inputs.get(2).map(|bias| bias.numbers());
            let (weight, epsilon) = (call.inputs[1].numbers(), f64::from(self.epsilon));
            double::layer_norm(&double::LayerNorm { weight, bias, epsilon }, out);
            return Ok(());
        }
        let bias = call.inputs.get(2).map(|bias| bias.numbers());
        let norm =
            norm::LayerNorm { weight: call.inputs[1].numbers(), bias, epsilon: self.epsilon };
        match call.in_place {
            true => norm::layer_norm_in_place(call.outputs[0].rows(), &norm),
            false => norm::layer_norm(call.inputs[0].rows(), &norm, call.outputs[0].rows()),
        }
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }

    fn in_place(&self) -> bool {
        true
    }

    fn row_form(&self) -> Option<RowForm> {
        Some(RowForm::LayerNorm { epsilon: self.epsilon })
    }
}
