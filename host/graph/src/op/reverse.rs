//! Reversed order.

use super::{Call, Infer, OpRule};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::{SliceSpec, slice};
use aimass_tensor::RANK_MAX;

/// Reverses the order along `axis`, which holds no rows. Shape and dtype as `x`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reverse {
    pub(crate) axis: u32,
}

impl OpRule for Reverse {
    fn name(&self) -> &'static str {
        "reverse"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], "elements of whole bytes", |d| d.size().is_some())?;
        cx.lane_axis(self.axis, x[0])?;
        Ok(vec![ValueSpec::new(x[0].dtype, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        if out.bytes.is_empty() {
            return Ok(());
        }
        let (axis, rank) = (self.axis as usize, x.shape.rank());
        let (mut starts, mut steps) = ([0; RANK_MAX], [1; RANK_MAX]);
        starts[axis] = x.shape[axis] - 1;
        steps[axis] = -1;
        let spec =
            SliceSpec { starts: &starts[..rank], steps: &steps[..rank], extents: &out.shape };
        slice(call.team, size, x.bytes, &x.shape, spec, out.bytes);
        Ok(())
    }
}
