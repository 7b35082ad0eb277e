//! Short Fourier transforms, as products with the matrix of their roots.

use super::{Node, Site, extent};
use crate::device::call::Lowered;
use crate::device::constants::{ConstantError, on_device};
use crate::op::Fft;
use crate::{Dim, ValueSpec};
use aimass_cuda::Form;
use aimass_cuda::matmul::{Matrix, ProductDims, ProductEnd, matmul};
use aimass_tensor::DType;
use std::f64::consts::TAU;

/// Longest transform: its matrix has 16 MiB.
const LENGTH_MAX: u64 = 1 << 10;

/// Length of a transform along the last axis of complex f32 numbers; none of others, which stay on the CPU.
fn length(op: &Fft, x: &ValueSpec) -> Option<usize> {
    let (axis, last) = (op.axis as usize, x.rank().checked_sub(1)?);
    let dense = x.dims.get(axis + 1..last)?.iter().all(|dim| *dim == Dim::Fixed(1));
    let n = x.dims[axis].fixed().filter(|n| (1..=LENGTH_MAX).contains(n))?;
    (dense && x.dtype == DType::F32).then_some(n as usize)
}

/// A transform of known length along the last axis.
pub(super) fn fft(
    site: &Site<'_>,
    op: &Fft,
    node: Node<'_>,
) -> Result<Option<Lowered>, ConstantError> {
    let Some(n) = length(op, site.spec(node.inputs[0])) else { return Ok(None) };
    let inverse = op.inverse;
    let roots =
        on_device(site.device, &format!("fft {n} {inverse}"), &[], || Ok(matrix(n, inverse)))?;
    Ok(Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let width = extent(&[2, n])?;
        let m = x.elements() / width;
        let dense = |data, rows| Matrix::dense(data, Form::F32, rows, width);
        let (a, b, c) = (dense(x.slice, m), dense(roots.slice(), width), dense(y.slice, m));
        let dims = ProductDims { batch: 1, m, n: width, k: width };
        matmul(call.queue, dims, [&a, &b], &c, &ProductEnd::default())
    })))
}

/// f32 `[n, 2, n, 2]`: what the parts of each number add to the parts of each frequency.
fn matrix(n: usize, inverse: bool) -> Vec<u8> {
    let (sign, factor) = if inverse { (-1.0, 1.0 / n as f64) } else { (1.0, 1.0) };
    let mut all = Vec::with_capacity(16 * n * n);
    for place in 0..n {
        let root = |frequency: usize| {
            let (sin, cos) = (TAU * (place * frequency % n) as f64 / n as f64).sin_cos();
            [cos * factor, sign * sin * factor]
        };
        let of_real = (0..n).map(root).flat_map(|[cos, sin]| [cos, -sin]);
        let of_imaginary = (0..n).map(root).flat_map(|[cos, sin]| [sin, cos]);
        all.extend(of_real.chain(of_imaginary).flat_map(|x| (x as f32).to_le_bytes()));
    }
    all
}
