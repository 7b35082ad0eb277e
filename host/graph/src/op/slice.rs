//! A strided part of an axis.

use super::{Call, Infer, OpRule};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::{SliceSpec, slice};
use aimass_tensor::RANK_MAX;

/// Elements `start, start + step, ..` below `min(end, extent)` along `axis`, which holds no rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slice {
    pub(crate) axis: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) step: u64,
}

impl OpRule for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        let axis = cx.lane_axis(self.axis, x)?;
        if self.step == 0 {
            return Err(cx.argument("step", "at least 1", &0));
        }
        let mut dims = x.dims.clone();
        dims[axis] = cx.dims.strided(&x.dims[axis], self.start, self.end, self.step);
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        if out.bytes.is_empty() {
            return Ok(());
        }
        let (axis, rank) = (self.axis as usize, x.shape.rank());
        let (mut starts, mut steps) = ([0; RANK_MAX], [1; RANK_MAX]);
        starts[axis] = self.start as usize;
        // A step beyond the extent takes one element only; how far it goes does not matter then.
        steps[axis] = self.step.min(i32::MAX as u64) as isize;
        let spec =
            SliceSpec { starts: &starts[..rank], steps: &steps[..rank], extents: &out.shape };
        slice(call.team, size, x.bytes, &x.shape, spec, out.bytes);
        Ok(())
    }
}
