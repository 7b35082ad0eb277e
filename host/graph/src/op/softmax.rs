//! Softmax over one axis: `y = exp(x - max) / Σ exp(x - max)`.

use super::{Call, Infer, OpRule, RowForm};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::double;
use aimass_cpu::reduce::Lanes;
use aimass_cpu::softmax::{log_softmax_axis, softmax_axis};
use aimass_tensor::{DType, Shape};

/// Normalizes every lane along `axis` to a probability distribution, or to its logarithms.
///
/// | tensor | shape         | dtype                 |
/// |--------|---------------|-----------------------|
/// | `x`    | `[.., n, ..]` | f16, bf16, f32 or f64 |
/// | output | as `x`        | as `x`                |
///
/// ONNX `Softmax-13` and `LogSoftmax-13`; a lane of only `-inf` gives zeros. The axis holds no
/// rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Softmax {
    pub(crate) axis: u32,
    pub(crate) log: bool,
}

impl OpRule for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log-softmax" } else { "softmax" }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.float(x[0])?;
        cx.lane_axis(self.axis, x[0])?;
        Ok(vec![ValueSpec::new(x[0].dtype, x[0].dims.clone())])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        10 * inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let axis = self.axis as usize;
        let lanes = Lanes::of(&x.shape, axis..axis + 1);
        if x.dtype == DType::F64 {
            let kind = if self.log { double::Softmax::Log } else { double::Softmax::Plain };
            double::softmax(kind, lanes, out.copy_of(x, false));
            return Ok(());
        }
        match self.log {
            true => log_softmax_axis(lanes, x.numbers(), out.numbers()),
            false => softmax_axis(lanes, x.numbers(), out.numbers()),
        }
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }

    fn row_form(&self) -> Option<RowForm> {
        (!self.log).then_some(RowForm::Softmax { axis: self.axis as usize })
    }
}
