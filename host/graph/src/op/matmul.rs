//! Matrix products of two computed values.

use super::products::{Product, Side, multiplies};
use super::{Call, Infer, OpRule, last_extent};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::elementwise::{Binary, Broadcast, binary};
use aimass_cpu::matmul::MatmulDims;
use aimass_tensor::Shape;

/// Matrix product over the last two axes, leading axes broadcast (numpy `matmul`).
///
/// | tensor | shape          | dtype  |
/// |--------|----------------|--------|
/// | `x`    | `[.., m, k]`   | number |
/// | `y`    | `[.., k, n]`   | as `x` |
/// | output | `[.., m, n]`   | as `x` |
///
/// Halves are multiplied in f32 and rounded once, integers wrap. A vector `x` is `[1, k]` and a
/// vector `y` is `[k, 1]`, without that axis in the output. The contracted axis holds no rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MatMul;

/// Dimensions of the product of two values over their last two axes.
pub(super) fn product_dims(
    cx: &mut Infer<'_>,
    x: &ValueSpec,
    y: &ValueSpec,
) -> Result<Vec<Dim>, GraphError> {
    for value in [x, y] {
        cx.rank_at_least(value, 1, "at least 1")?;
    }
    let kx = &x.dims[x.rank() - 1];
    let ky = if y.rank() == 1 { &y.dims[0] } else { &y.dims[y.rank() - 2] };
    cx.not_rows(kx)?;
    cx.not_rows(ky)?;
    cx.dims.same(cx.op, kx, ky)?;
    let lead = |value: &ValueSpec| value.dims[..value.rank().saturating_sub(2)].to_vec();
    let mut dims = cx.dims.broadcast_all(cx.op, &lead(x), &lead(y))?;
    if x.rank() > 1 {
        dims.push(x.dims[x.rank() - 2].clone());
    }
    if y.rank() > 1 {
        dims.push(y.dims[y.rank() - 1].clone());
    }
    Ok(dims)
}

/// Which left and which right matrix make each product of a broadcast.
pub(super) fn pairs(plan: &Broadcast<2>, xs: &Shape, ys: &Shape) -> Vec<(usize, usize)> {
    let count = |n: usize| (0..n as u64).collect::<Vec<u64>>();
    let (x, y) = (count(xs.elements()), count(ys.elements()));
    let (zero_x, zero_y) = (vec![0u64; x.len()], vec![0u64; y.len()]);
    let (mut left, mut right) = (vec![0u64; plan.elements()], vec![0u64; plan.elements()]);
    binary(Binary::Add, plan, &x, &zero_y, &mut left);
    binary(Binary::Add, plan, &zero_x, &y, &mut right);
    left.into_iter().zip(right).map(|(i, j)| (i as usize, j as usize)).collect()
}

impl OpRule for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, y) = (x[0], x[1]);
        cx.dtype(x, "a number", multiplies)?;
        cx.alike(x, y)?;
        let dims = product_dims(cx, x, y)?;
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        2 * (outputs[0].elements() as u64).saturating_mul(last_extent(&inputs[0]) as u64)
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, y, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let k = last_extent(&x.shape);
        let m = if x.shape.rank() > 1 { x.shape[x.shape.rank() - 2] } else { 1 };
        let n = if y.shape.rank() > 1 { last_extent(&y.shape) } else { 1 };
        let lead = |shape: &Shape| Shape::new(&shape[..shape.rank().saturating_sub(2)]);
        let (Ok(xs), Ok(ys)) = (lead(&x.shape), lead(&y.shape)) else {
            return Err(RunError::Internal("leading extents overflow"));
        };
        let (a, b) = (Side::dense(x.bytes, m, k), Side::dense(y.bytes, k, n));
        let (dtype, dims) = (x.dtype, MatmulDims { batch: 1, m, k, n });
        let plain = Product { dtype, dims, sides: [a, b], bias: None };
        if ys.elements() == 1 && xs.rank() >= ys.rank() {
            // One right side for all: the left matrices are rows of one.
            let m = m * xs.elements();
            let sides = [Side::dense(x.bytes, m, k), b];
            let all = Product { dims: MatmulDims { m, ..dims }, sides, ..plain };
            return all.run(call.team, out.bytes);
        }
        if xs == ys {
            let batch = xs.elements();
            return Product { dims: MatmulDims { batch, ..dims }, ..plain }
                .run(call.team, out.bytes);
        }
        let Some(plan) = Broadcast::new([&xs, &ys]) else {
            return Err(RunError::Internal("shapes that do not broadcast were inferred"));
        };
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        let item = |bytes, index: usize, elements: usize| {
            let bytes: &[u8] = bytes;
            &bytes[index * elements * size..][..elements * size]
        };
        let all = out.bytes.chunks_exact_mut((m * n * size).max(1));
        for ((i, j), out) in pairs(&plan, &xs, &ys).into_iter().zip(all) {
            let left = Side { bytes: item(x.bytes, i, m * k), ..a };
            let right = Side { bytes: item(y.bytes, j, k * n), ..b };
            Product { sides: [left, right], ..plain }.run(call.team, out)?;
        }
        Ok(())
    }
}
