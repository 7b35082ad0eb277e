//! Matrix products, with constant weights and without.

use super::integer::dynamic_layer;
use super::runs::Runs;
use super::{Node, Site, extent, float_form};
use crate::PlanError;
use crate::compile::LinearInst;
use crate::device::call::{DeviceCall, Lowered};
use crate::device::constants::{ConstantError, on_device};
use crate::op::{Axes, DotGeneral, Linear};
use crate::packing::Part;
use aimass_cpu::activation as host;
use aimass_cuda::matmul::{
    Activation, Finish, Matrix, ProductDims, ProductEnd, matmul as launch_matmul,
};
use aimass_cuda::{DeviceError, Form, Slice};
use aimass_tensor::Shape;

/// Weights on the device: `[n, k]` or `[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WeightLayout {
    form: Form,
    transposed: bool,
    k: u32,
    n: u32,
}

/// A layer of constant weights, with what was fused behind it.
pub(super) fn linear_layer(
    site: &Site<'_>,
    linear: &LinearInst,
) -> Result<Option<Lowered>, ConstantError> {
    if linear.parts.iter().all(|part| part.int8.is_some()) {
        return dynamic_layer(site, linear);
    }
    let Some(form) = float_form(site.spec(linear.out).dtype) else { return Ok(None) };
    let Some(layout) = weight_layout(&linear.parts, form) else { return Ok(None) };
    let constants: Vec<_> = linear.parts.iter().map(|part| &part.weight).collect();
    let name =
        format!("{layout:?} {:?}", linear.parts.iter().map(|p| p.transposed).collect::<Vec<_>>());
    let weights =
        on_device(site.device, &name, &constants, || side_by_side(&linear.parts, &layout))?;
    let finish = finish(&linear.finish);
    let (has_bias, has_residual) = (linear.bias.is_some(), linear.residual.is_some());
    Ok(Some(Lowered::new(move |call| {
        let WeightLayout { form: weight_form, transposed, k, n } = layout;
        let out = &call.outputs[0];
        let rows = extent(&out.shape[..out.shape.rank() - 1])?;
        let b = match transposed {
            true => Matrix::transposed(weights.slice(), weight_form, k, n),
            false => Matrix::dense(weights.slice(), weight_form, k, n),
        };
        let mut others = call.inputs[1..].iter();
        let bias = others.next().filter(|_| has_bias).map(|bias| bias.slice);
        let others = if has_bias { &call.inputs[2..] } else { &call.inputs[1..] };
        let residual = others.first().filter(|_| has_residual);
        let residual = residual.map(|residual| Matrix::dense(residual.slice, form, rows, n));
        let a = Matrix::dense(call.inputs[0].slice, form, rows, k);
        let c = Matrix::dense(out.slice, form, rows, n);
        let dims = ProductDims { batch: 1, m: rows, n, k };
        launch_matmul(call.queue, dims, [&a, &b], &c, &ProductEnd { bias, residual, finish })
    })))
}

/// How the weights of these parts lie side by side; none for those in 8 bits.
fn weight_layout(parts: &[Part], form: Form) -> Option<WeightLayout> {
    let first = parts.first()?;
    if parts.iter().any(|part| part.int8.is_some() || part.k != first.k) {
        return None;
    }
    let dtype = |part: &Part| part.weight.dtype();
    let alike = parts.iter().all(|part| dtype(part) == dtype(first));
    let own = float_form(dtype(first)).filter(|own| alike && (*own == form || form == Form::F32));
    let n: usize = parts.iter().map(|part| part.n).sum();
    Some(WeightLayout {
        form: own?,
        transposed: parts.iter().all(|part| part.transposed),
        k: u32::try_from(first.k).ok()?,
        n: u32::try_from(n).ok()?,
    })
}

/// The weights of all parts in one matrix.
fn side_by_side(parts: &[Part], layout: &WeightLayout) -> Result<Vec<u8>, PlanError> {
    let size = layout.form.bytes();
    let (k, n) = (layout.k as usize, layout.n as usize);
    let mut all = vec![0; k * n * size];
    let mut start = 0;
    for part in parts {
        let tensor = part.weight.load()?;
        let own = tensor.bytes();
        if own.len() != part.k * part.n * size {
            return Err(PlanError::Internal("a weight has another size than its layer"));
        }
        match (layout.transposed, part.transposed) {
            (true, _) => all[start * k * size..][..own.len()].copy_from_slice(own),
            (false, false) => {
                for (to, from) in
                    all.chunks_exact_mut(n * size).zip(own.chunks_exact(part.n * size))
                {
                    to[start * size..][..from.len()].copy_from_slice(from);
                }
            }
            (false, true) => {
                for (column, from) in own.chunks_exact(k * size).enumerate() {
                    for (row, element) in from.chunks_exact(size).enumerate() {
                        all[(row * n + start + column) * size..][..size].copy_from_slice(element);
                    }
                }
            }
        }
        start += part.n;
    }
    Ok(all)
}

/// The end of a product in the device's words.
pub(super) fn finish(finish: &host::Finish) -> Finish {
    Finish {
        activation: activation(finish.activation),
        scaled: finish.scaled,
        last: activation(finish.last),
    }
}

fn activation(activation: host::Activation) -> Activation {
    use host::{Activation as A, Parametric as P};
    match activation {
        A::None => Activation::None,
        A::Gelu => Activation::Gelu,
        A::GeluTanh => Activation::GeluTanh,
        A::Relu => Activation::Relu,
        A::Silu => Activation::Silu,
        A::Tanh => Activation::Tanh,
        A::Sigmoid => Activation::Sigmoid,
        A::Clamp { low, high } => Activation::Clamp { low, high },
        A::With(P::LeakyRelu { alpha }) => Activation::LeakyRelu { alpha },
        A::With(P::Elu { alpha }) => Activation::Elu { alpha },
        A::With(P::HardSigmoid { alpha, beta }) => Activation::HardSigmoid { alpha, beta },
        A::With(P::HardSwish) => Activation::HardSwish,
    }
}

/// Whether both sides, and what comes out, have one form.
fn product_form(site: &Site<'_>, node: Node<'_>) -> Option<Form> {
    float_form(site.spec(node.inputs[0]).dtype)
}

/// `x w + bias` with weights that are made in the graph.
pub(super) fn linear(site: &Site<'_>, op: &Linear, node: Node<'_>) -> Option<Lowered> {
    let form = product_form(site, node)?;
    let transposed = op.transposed;
    Some(Lowered::new(move |call| {
        let (x, w, out) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        let rank = x.shape.rank();
        let (rows, k) = (extent(&x.shape[..rank - 1])?, extent(&x.shape[rank - 1..])?);
        let n = extent(&out.shape[out.shape.rank() - 1..])?;
        let b = match transposed {
            true => Matrix::transposed(w.slice, form, k, n),
            false => Matrix::dense(w.slice, form, k, n),
        };
        let end = ProductEnd {
            bias: call.inputs.get(2).map(|bias| bias.slice),
            residual: None,
            finish: Finish::default(),
        };
        let dims = ProductDims { batch: 1, m: rows, n, k };
        let (a, c) =
            (Matrix::dense(x.slice, form, rows, k), Matrix::dense(out.slice, form, rows, n));
        launch_matmul(call.queue, dims, [&a, &b], &c, &end)
    }))
}

/// Products of the last two axes, the others broadcast.
pub(super) fn matmul(site: &Site<'_>, node: Node<'_>) -> Option<Lowered> {
    let form = product_form(site, node)?;
    Some(Lowered::new(move |call| matmul_call(call, form)))
}

/// Leading extents, and rows and columns of one side; a vector is one row on the left and one column on the
/// right.
pub(super) fn sides(shape: &Shape, left: bool) -> Result<(&[usize], [u32; 2]), DeviceError> {
    match (&shape[..], left) {
        ([], _) => Err(DeviceError::Defect("a product of a scalar")),
        (&[n], true) => Ok((&[], [1, extent(&[n])?])),
        (&[n], false) => Ok((&[], [extent(&[n])?, 1])),
        ([lead @ .., rows, columns], _) => Ok((lead, [extent(&[*rows])?, extent(&[*columns])?])),
    }
}

fn matmul_call(call: &mut DeviceCall<'_, '_, '_>, form: Form) -> Result<(), DeviceError> {
    let (x, y, out) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
    let (x_lead, [m, k]) = sides(&x.shape, true)?;
    let (y_lead, [_, n]) = sides(&y.shape, false)?;
    if out.shape.elements() == 0 {
        return Ok(());
    }
    let plain = ProductEnd::default();
    if extent(y_lead)? == 1 {
        // One right side for all: the left matrices are rows of one.
        let m = extent(&[extent(x_lead)? as usize, m as usize])?;
        let (a, b) =
            (Matrix::dense(x.slice, form, m, k), Matrix::dense(y.slice, form, k, n).shared());
        let c = Matrix::dense(out.slice, form, m, n);
        return launch_matmul(call.queue, ProductDims { batch: 1, m, n, k }, [&a, &b], &c, &plain);
    }
    let runs = Runs::new(x_lead, y_lead)?;
    let (left, right) = (Matrix::dense(x.slice, form, m, k), Matrix::dense(y.slice, form, k, n));
    let c = Matrix::dense(out.slice, form, m, n);
    let dims = ProductDims { batch: runs.batch, m, n, k };
    for (i, j, o) in runs.each() {
        let a = from(&left, i, left.batch_stride * runs.strides[0])?;
        let b = from(&right, j, right.batch_stride * runs.strides[1])?;
        let c = from(&c, o, c.batch_stride)?;
        launch_matmul(call.queue, dims, [&a, &b], &c, &plain)?;
    }
    Ok(())
}

/// The matrices from number `index` on, that many elements apart.
fn from<'m>(side: &Matrix<'m>, index: u64, apart: u64) -> Result<Matrix<'m>, DeviceError> {
    let start = index.saturating_mul(side.batch_stride).saturating_mul(side.form.bytes() as u64);
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let data = side.data.part(start, side.data.bytes().saturating_sub(start))?;
    Ok(Matrix { data, batch_stride: apart, ..*side })
}

/// Axes of one side, each group a range.
#[derive(Clone)]
struct Ranges {
    batch: std::ops::Range<usize>,
    free: std::ops::Range<usize>,
    contract: std::ops::Range<usize>,
}

impl Ranges {
    /// None where a group is not a run of axes in order.
    fn new(axes: &Axes, rank: usize) -> Option<Ranges> {
        let run = |axes: &[usize]| {
            let start = *axes.first().unwrap_or(&0);
            let ordered = axes.iter().enumerate().all(|(i, &axis)| axis == start + i);
            ordered.then_some(start..start + axes.len())
        };
        let of = |axes: &[u32]| axes.iter().map(|&axis| axis as usize).collect::<Vec<usize>>();
        let (batch, contract) = (of(&axes.batch), of(&axes.contract));
        let free: Vec<usize> =
            (0..rank).filter(|axis| !batch.contains(axis) && !contract.contains(axis)).collect();
        Some(Ranges { batch: run(&batch)?, free: run(&free)?, contract: run(&contract)? })
    }

    /// Extent of a group, and elements from one of its indices to the next.
    fn stride(shape: &Shape, group: &std::ops::Range<usize>) -> Result<(u32, u32), DeviceError> {
        Ok((extent(&shape[group.clone()])?, extent(&shape[group.end..])?))
    }
}

/// A side as matrices of free and contracted indices, of which `transposed` makes columns rows.
fn side<'s>(
    data: Slice<'s>,
    form: Form,
    shape: &Shape,
    ranges: &Ranges,
    transposed: bool,
) -> Result<(Matrix<'s>, [u32; 3]), DeviceError> {
    let (batch, batch_stride) = Ranges::stride(shape, &ranges.batch)?;
    let (free, free_stride) = Ranges::stride(shape, &ranges.free)?;
    let (k, k_stride) = Ranges::stride(shape, &ranges.contract)?;
    let (row_stride, column_stride) = match transposed {
        true => (k_stride, free_stride),
        false => (free_stride, k_stride),
    };
    let batch_stride = u64::from(batch_stride);
    Ok((Matrix { data, form, batch_stride, row_stride, column_stride }, [batch, free, k]))
}

/// A contraction whose axes are runs.
pub(super) fn dot_general(site: &Site<'_>, op: &DotGeneral, node: Node<'_>) -> Option<Lowered> {
    let form = product_form(site, node)?;
    let x = Ranges::new(&op.x, site.spec(node.inputs[0]).rank())?;
    let y = Ranges::new(&op.y, site.spec(node.inputs[1]).rank())?;
    Some(Lowered::new(move |call| {
        let (left, right, out) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        if out.shape.elements() == 0 {
            return Ok(());
        }
        let (a, [batch, m, k]) = side(left.slice, form, &left.shape, &x, false)?;
        let (b, [_, n, _]) = side(right.slice, form, &right.shape, &y, true)?;
        let c = Matrix::dense(out.slice, form, m, n);
        let dims = ProductDims { batch, m, n, k };
        launch_matmul(call.queue, dims, [&a, &b], &c, &ProductEnd::default())
    }))
}
