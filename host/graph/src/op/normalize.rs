//! Normalization by a norm of the last axis.

use super::{Call, Infer, OpRule, RowForm, last_extent};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::{double, norm};
use aimass_tensor::{DType, Shape};

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormalizeKind {
    /// `x / sqrt(mean(x²) + epsilon) * scale` (arXiv:1910.07467).
    Rms,
    /// `x / max(sqrt(sum(x²)), epsilon)`.
    L2,
}

/// Normalizes the last axis; f16, bf16, f32 or f64, shape as `x`. `Rms` takes a scale `[n]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normalize {
    pub(crate) kind: NormalizeKind,
    pub(crate) epsilon: f32,
}

impl OpRule for Normalize {
    fn name(&self) -> &'static str {
        match self.kind {
            NormalizeKind::Rms => "rms-norm",
            NormalizeKind::L2 => "l2-normalize",
        }
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
        4 * inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        if call.outputs[0].dtype == DType::F64 {
            let columns = last_extent(&call.outputs[0].shape);
            let out = call.outputs[0].copy_of(&call.inputs[0], call.in_place);
            let epsilon = f64::from(self.epsilon);
            match self.kind {
                NormalizeKind::Rms => double::rms_norm(call.inputs[1].numbers(), epsilon, out),
                NormalizeKind::L2 => double::l2_normalize(columns, epsilon, out),
            }
            return Ok(());
        }
        let (x, out) = (&call.inputs[0], call.outputs[0].rows());
        match (self.kind, call.in_place) {
            (NormalizeKind::Rms, true) => {
                norm::rms_norm_in_place(out, call.inputs[1].numbers(), self.epsilon);
            }
            (NormalizeKind::Rms, false) => {
                norm::rms_norm(x.rows(), call.inputs[1].numbers(), self.epsilon, out);
            }
            (NormalizeKind::L2, true) => norm::l2_normalize_in_place(out, self.epsilon),
            (NormalizeKind::L2, false) => norm::l2_normalize(x.rows(), self.epsilon, out),
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
        Some(RowForm::Normalize { kind: self.kind, epsilon: self.epsilon })
    }
}
