//! Contraction over any axes of two values.

use super::products::{Product, Side, multiplies};
use super::{Arg, Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::matmul::MatmulDims;
use aimass_cpu::pool::Team;
use aimass_cpu::shape_ops::transpose;
use aimass_tensor::{BufferMut, Shape};

/// Axes of one side of a contraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Axes {
    pub(crate) batch: Vec<u32>,
    pub(crate) contract: Vec<u32>,
}

/// The axes as indices, with those that are neither batch nor contracted.
struct Groups {
    batch: Vec<usize>,
    free: Vec<usize>,
    contract: Vec<usize>,
}

/// `out[b.., i.., j..] = Σ x[b, i, k] y[b, j, k]` over all contracted axes (StableHLO
/// `dot_general`).
///
/// | tensor | shape                                                | dtype   |
/// |--------|------------------------------------------------------|---------|
/// | `x`    | batch, free and contracted axes in any order         | number  |
/// | `y`    | the same, batch and contracted extents equal in pairs | as `x` |
/// | output | `[batch.., free axes of x.., free axes of y..]`      | as `x`  |
///
/// Contracted axes hold no rows; rows must end up on axis 0. Halves are multiplied in f32.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DotGeneral {
    pub(crate) x: Axes,
    pub(crate) y: Axes,
}

impl Axes {
    fn groups(&self, rank: usize) -> Groups {
        let indices = |axes: &[u32]| axes.iter().map(|&axis| axis as usize).collect::<Vec<_>>();
        let (batch, contract) = (indices(&self.batch), indices(&self.contract));
        let taken = |axis: &usize| batch.contains(axis) || contract.contains(axis);
        let free = (0..rank).filter(|axis| !taken(axis)).collect();
        Groups { batch, free, contract }
    }

    fn check(&self, cx: &Infer<'_>, x: &ValueSpec) -> Result<(), GraphError> {
        let mut seen = Vec::new();
        for &axis in self.batch.iter().chain(&self.contract) {
            cx.axis(axis, x.rank())?;
            if seen.contains(&axis) {
                return Err(cx.argument("axes", "each axis once", &axis));
            }
            seen.push(axis);
        }
        for &axis in &self.contract {
            cx.lane_axis(axis, x)?;
        }
        Ok(())
    }
}

impl OpRule for DotGeneral {
    fn name(&self) -> &'static str {
        "dot-general"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, y) = (x[0], x[1]);
        cx.dtype(x, "a number", multiplies)?;
        if y.dtype != x.dtype {
            return Err(GraphError::DTypes { op: cx.op, left: x.dtype, right: y.dtype });
        }
        for (what, left, right) in [
            ("batch-y", &self.x.batch, &self.y.batch),
            ("contract-y", &self.x.contract, &self.y.contract),
        ] {
            if left.len() != right.len() {
                let expected = format!("{} axes, as many as for x", left.len());
                return Err(cx.argument(what, &expected, &right.len()));
            }
        }
        self.x.check(cx, x)?;
        self.y.check(cx, y)?;
        let (gx, gy) = (self.x.groups(x.rank()), self.y.groups(y.rank()));
        for (&i, &j) in gx.contract.iter().zip(&gy.contract) {
            cx.dims.same(cx.op, &x.dims[i], &y.dims[j])?;
        }
        let mut dims: Vec<Dim> = Vec::new();
        for (&i, &j) in gx.batch.iter().zip(&gy.batch) {
            dims.push(cx.dims.same(cx.op, &x.dims[i], &y.dims[j])?);
        }
        dims.extend(gx.free.iter().map(|&axis| x.dims[axis].clone()));
        dims.extend(gy.free.iter().map(|&axis| y.dims[axis].clone()));
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        let contracted = self.x.contract.iter().map(|&axis| inputs[0][axis as usize] as u64);
        contracted.fold(2 * outputs[0].elements() as u64, u64::saturating_mul)
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, y, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let (gx, gy) = (self.x.groups(x.shape.rank()), self.y.groups(y.shape.rank()));
        let extent = |shape: &Shape, axes: &[usize]| axes.iter().map(|&i| shape[i]).product();
        let (batch, k) = (extent(&x.shape, &gx.batch), extent(&x.shape, &gx.contract));
        let (m, n) = (extent(&x.shape, &gx.free), extent(&y.shape, &gy.free));
        let dims = MatmulDims { batch, m, k, n };
        let (mut left, mut right) = (None, None);
        let a = side(call.team, x, [&gx.batch, &gx.free, &gx.contract], &mut left)?;
        let b = side(call.team, y, [&gy.batch, &gy.contract, &gy.free], &mut right)?;
        Product { dtype: x.dtype, dims, sides: [a, b], bias: None }.run(call.team, out.bytes)
    }
}

/// A value as matrices of three groups of axes; copied into `copy` where a group does not lie
/// evenly.
fn side<'a>(
    team: Team<'_>,
    x: &Arg<'a>,
    groups: [&[usize]; 3],
    copy: &'a mut Option<BufferMut>,
) -> Result<Side<'a>, RunError> {
    let [batch, rows, columns] = groups.map(|axes| stride(&x.shape, axes));
    if let (Some(batch_stride), Some(row_stride), Some(column_stride)) = (batch, rows, columns) {
        return Ok(Side { bytes: x.bytes, batch_stride, row_stride, column_stride });
    }
    let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
    let permutation = groups.concat();
    let dense = copy.insert(BufferMut::uninit(x.bytes.len()));
    transpose(team, size, x.bytes, &x.shape, &permutation, dense.as_mut_slice());
    let extent = |axes: &[usize]| axes.iter().map(|&i| x.shape[i]).product();
    Ok(Side::dense(dense.as_slice(), extent(groups[1]), extent(groups[2])))
}

/// Elements from one index of a group of axes to the next, if that is always the same.
fn stride(shape: &Shape, axes: &[usize]) -> Option<usize> {
    let own = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let mut long = axes.iter().copied().filter(|&axis| shape[axis] != 1).rev();
    let Some(last) = long.next() else { return Some(1) };
    let (step, mut next) = (own(last), own(last) * shape[last]);
    for axis in long {
        if own(axis) != next {
            return None;
        }
        next *= shape[axis];
    }
    Some(step)
}
