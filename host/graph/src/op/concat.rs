//! Joining and cutting along an axis.

use super::{Arg, Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::{SliceSpec, concat, slice};
use aimass_tensor::RANK_MAX;

/// Joins values of one dtype along `axis`; all other extents are equal (ONNX `Concat-13`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Concat {
    pub(crate) axis: u32,
}

/// Parts of `sizes` elements along `axis`, one output each (ONNX `Split-13`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Split {
    pub(crate) axis: u32,
    pub(crate) sizes: Vec<u64>,
}

/// Most values of one concat and most parts of one split.
const PARTS_MAX: usize = 1024;

impl OpRule for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (Some(first), true) = (x.first(), x.len() <= PARTS_MAX) else {
            return Err(cx.argument("xs", "1 to 1024 values", &x.len()));
        };
        cx.dtype(first, "elements of whole bytes", |d| d.size().is_some())?;
        let axis = cx.axis(self.axis, first.rank())?;
        let mut dims = first.dims.clone();
        for other in &x[1..] {
            if other.dtype != first.dtype {
                return Err(GraphError::DTypes {
                    op: cx.op,
                    left: first.dtype,
                    right: other.dtype,
                });
            }
            if other.rank() != first.rank() {
                let got = other.rank();
                return Err(GraphError::Rank { op: cx.op, expected: "equally many", got });
            }
            for (i, dim) in dims.iter_mut().enumerate().filter(|(i, _)| *i != axis) {
                *dim = cx.dims.same(cx.op, dim, &other.dims[i])?;
            }
        }
        let along: Vec<Dim> = x.iter().map(|value| value.dims[axis].clone()).collect();
        dims[axis] = cx.dims.sum(cx.op, &along)?;
        Ok(vec![ValueSpec::new(first.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let out = &mut call.outputs[0];
        let size = out.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        let axis = self.axis as usize;
        let outer = out.shape[..axis].iter().product();
        let part = |x: &Arg<'_>| x.shape[axis..].iter().product::<usize>() * size;
        if out.bytes.is_empty() {
            return Ok(());
        }
        let parts: Vec<(&[u8], usize)> = call.inputs.iter().map(|x| (x.bytes, part(x))).collect();
        concat(&parts, outer, out.bytes);
        Ok(())
    }
}

impl OpRule for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        let axis = cx.lane_axis(self.axis, x)?;
        if self.sizes.is_empty() || self.sizes.len() > PARTS_MAX {
            return Err(cx.argument("sizes", "1 to 1024 parts", &self.sizes.len()));
        }
        let parts: Vec<Dim> = self.sizes.iter().map(|&size| Dim::Fixed(size)).collect();
        let total = cx.dims.sum(cx.op, &parts)?;
        cx.dims.same(cx.op, &x.dims[axis], &total)?;
        let part = |size: &u64| {
            let mut dims = x.dims.clone();
            dims[axis] = Dim::Fixed(*size);
            ValueSpec::new(x.dtype, dims)
        };
        Ok(self.sizes.iter().map(part).collect())
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, axis) = (&call.inputs[0], self.axis as usize);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        let (mut starts, steps) = ([0; RANK_MAX], [1; RANK_MAX]);
        for out in call.outputs.iter_mut() {
            let rank = out.shape.rank();
            let spec =
                SliceSpec { starts: &starts[..rank], steps: &steps[..rank], extents: &out.shape };
            slice(call.team, size, x.bytes, &x.shape, spec, out.bytes);
            starts[axis] += out.shape[axis];
        }
        Ok(())
    }
}
