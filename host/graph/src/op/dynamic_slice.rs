//! A part of an axis between bounds that are values.

use super::{Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::{SliceSpec, slice};
use aimass_tensor::{DType, RANK_MAX, Shape};

/// Elements from `start` below `min(end, extent)` along `axis`, which holds no rows.
///
/// | tensor         | shape                                                        | dtype  |
/// |----------------|--------------------------------------------------------------|--------|
/// | `x`            | any                                                          | any    |
/// | `start`, `end` | `[]`                                                         | i64    |
/// | output         | as `x`, along `axis` what the run finds, at most the extent  | as `x` |
///
/// A negative bound is an index out of range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DynamicSlice {
    pub(crate) axis: u32,
}

impl OpRule for DynamicSlice {
    fn name(&self) -> &'static str {
        "dynamic-slice"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, bounds) = (x[0], &x[1..]);
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        for bound in bounds {
            cx.dtype(bound, "i64 bounds", |d| d == DType::I64)?;
            if bound.rank() != 0 {
                return Err(GraphError::Rank { op: cx.op, expected: "0", got: bound.rank() });
            }
        }
        let axis = cx.lane_axis(self.axis, x)?;
        let mut dims: Vec<Dim> = x.dims.clone();
        dims[axis] = cx.dims.measured(&x.dims[axis]);
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn measures(&self) -> bool {
        true
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let axis = self.axis as usize;
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let extent = x.shape[axis];
        let bound = |position: usize| {
            let index = call.inputs[position].numbers::<i64>()[0];
            // Whatever lies beyond the extent is the extent.
            let clamped = |index: u64| index.min(extent as u64) as usize;
            u64::try_from(index).map(clamped).map_err(|_| RunError::Index {
                op: "dynamic-slice",
                indices: "its bounds".to_owned(),
                position: position as u64 - 1,
                index,
                extent: extent as u64,
                row: None,
            })
        };
        let (start, end) = (bound(1)?, bound(2)?);
        let mut extents = [1; RANK_MAX];
        extents[..x.shape.rank()].copy_from_slice(&x.shape);
        extents[axis] = end.saturating_sub(start);
        out.shape = Shape::new(&extents[..x.shape.rank()]).map_err(|_| super::DTYPE_DEFECT)?;
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        let bytes = size * out.shape.elements();
        if bytes == 0 {
            return Ok(());
        }
        let rank = x.shape.rank();
        let mut starts = [0; RANK_MAX];
        starts[axis] = start;
        let steps = [1; RANK_MAX];
        let spec =
            SliceSpec { starts: &starts[..rank], steps: &steps[..rank], extents: &out.shape };
        slice(call.team, size, x.bytes, &x.shape, spec, &mut out.bytes[..bytes]);
        Ok(())
    }
}
