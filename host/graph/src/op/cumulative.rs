//! Running sums and products.

use super::{Call, Infer, NUMERIC, OpRule, is_numeric, with_number};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::elementwise::Number;
use aimass_cpu::reduce::{Lanes, Scan, cumulative};
use aimass_tensor::DType;

/// What is run along the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CumulativeKind {
    Sum,
    Prod,
}

/// Running sum or product along `axis` (ONNX `CumSum-14`) of any plain number, in the order of the
/// axis; integers wrap. Shape and dtype as `x`. The axis holds no rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cumulative {
    pub(crate) kind: CumulativeKind,
    pub(crate) axis: u32,
    /// Leaves the own element out.
    pub(crate) exclusive: bool,
    /// Starts at the end.
    pub(crate) reverse: bool,
}

impl OpRule for Cumulative {
    fn name(&self) -> &'static str {
        match self.kind {
            CumulativeKind::Sum => "cumulative-sum",
            CumulativeKind::Prod => "cumulative-prod",
        }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], NUMERIC, is_numeric)?;
        cx.lane_axis(self.axis, x[0])?;
        Ok(vec![ValueSpec::new(x[0].dtype, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let axis = self.axis as usize;
        let lanes = Lanes::of(&x.shape, axis..axis + 1);
        let scan = Scan { exclusive: self.exclusive, reverse: self.reverse };
        with_number!(x.dtype, T => {
            let (x, out) = (x.numbers::<T>(), out.numbers::<T>());
            match self.kind {
                CumulativeKind::Sum => cumulative(lanes, scan, (0 as T, T::add), x, out),
                CumulativeKind::Prod => cumulative(lanes, scan, (1 as T, T::mul), x, out),
            }
        }, else return Err(super::DTYPE_DEFECT));
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}
