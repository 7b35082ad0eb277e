//! Running sums.

use super::{Call, DTYPE_DEFECT, Infer, NUMERIC, OpRule, is_numeric, with_number};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::reduce::{Lanes, Scan, cumulative_sum};
use aimass_tensor::DType;

/// Running sum along `axis` (ONNX `CumSum-14`) of numbers, integers wrapping; shape and dtype
/// as `x`. The axis holds no rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cumulative {
    pub(crate) axis: u32,
    /// Leaves the own element out.
    pub(crate) exclusive: bool,
    /// Starts at the end.
    pub(crate) reverse: bool,
}

impl OpRule for Cumulative {
    fn name(&self) -> &'static str {
        "cumulative-sum"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], NUMERIC, is_numeric)?;
        cx.lane_axis(self.axis, x[0])?;
        Ok(vec![ValueSpec::new(x[0].dtype, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let axis = self.axis as usize;
        let scan = Scan { exclusive: self.exclusive, reverse: self.reverse };
        let lanes = Lanes::of(&x.shape, axis..axis + 1);
        with_number!(x.dtype, T => {
            cumulative_sum::<T>(lanes, scan, x.numbers(), out.numbers());
        }, else return Err(DTYPE_DEFECT));
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}
