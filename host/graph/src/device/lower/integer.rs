//! Products of 8-bit integers, and layers of 8-bit weights whose rows are quantized on the way.

use super::product::{finish, sides};
use super::runs::Runs;
use super::{Node, Site, extent};
use crate::PlanError;
use crate::compile::LinearInst;
use crate::device::call::{DeviceArg, DeviceCall, Lowered};
use crate::device::constants::{ConstantError, on_device};
use crate::op::{IntegerEnd, MatMulInteger};
use crate::packing::{Constant, Part};
use aimass_cuda::dynamic_linear::{
    DynamicOperands, DynamicWeights, dynamic_linear, dynamic_scratch, dynamic_weights,
};
use aimass_cuda::matmul::ProductDims;
use aimass_cuda::matmul_integer::{
    ByteMatrix, IntegerEnd as End, ZeroPoints, matmul_integer as launch_matmul,
};
use aimass_cuda::{DeviceError, Slice};
use aimass_tensor::DType;

/// `Σ (x - x_zero) (y - y_zero)`, leading axes broadcast.
pub(super) fn matmul(_: &Site<'_>, op: &MatMulInteger, _: Node<'_>) -> Option<Lowered> {
    let own = op.clone();
    op.packed.is_none().then(|| Lowered::new(move |call| matmul_call(call, &own)))
}

/// Zero points of one side, of which `len` rows (or columns) make a matrix.
#[derive(Clone, Copy)]
struct Zeros<'m> {
    slice: Slice<'m>,
    count: usize,
    len: u32,
}

impl<'m> Zeros<'m> {
    fn of(zero: Option<&DeviceArg<'m>>, len: u32) -> Zeros<'m> {
        match zero {
            Some(zero) => Zeros { slice: zero.slice, count: zero.shape.elements(), len },
            None => Zeros { slice: Slice::none(), count: 0, len },
        }
    }

    /// Those of matrix number `index` and of the next ones, `step` matrices apart.
    fn item(&self, index: u64, step: u64) -> Result<ZeroPoints<'m>, DeviceError> {
        let Zeros { slice, count, len } = *self;
        if count <= 1 {
            return Ok(ZeroPoints { data: slice, each: false, batch_stride: 0 });
        }
        if count == len as usize {
            return Ok(ZeroPoints { data: slice, each: true, batch_stride: 0 });
        }
        let own = u64::from(len);
        let data = rest(slice, index * own)?;
        Ok(ZeroPoints { data, each: true, batch_stride: step * own })
    }
}

/// What lies from byte `start` on.
fn rest(slice: Slice<'_>, start: u64) -> Result<Slice<'_>, DeviceError> {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    slice.part(start, slice.bytes().saturating_sub(start))
}

fn end<'m>(op: &MatMulInteger, call: &DeviceCall<'m, '_, '_>) -> Result<End<'m>, DeviceError> {
    Ok(match (op.end, call.inputs.last()) {
        (IntegerEnd::I32, _) => End::I32,
        (IntegerEnd::F32, _) => End::F32,
        (IntegerEnd::Scaled, Some(scale)) if scale.shape.elements() == 1 => {
            End::ScaledByOne(scale.slice)
        }
        (IntegerEnd::Scaled, Some(scale)) => End::ScaledByColumn(scale.slice),
        (IntegerEnd::Scaled, None) => return Err(DeviceError::Defect("a product without scale")),
    })
}

fn matmul_call(call: &mut DeviceCall<'_, '_, '_>, op: &MatMulInteger) -> Result<(), DeviceError> {
    let (x, y, out) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
    let (x_lead, [mut m, k]) = sides(&x.shape, true)?;
    let (y_lead, [_, n]) = sides(&y.shape, false)?;
    if out.shape.elements() == 0 {
        return Ok(());
    }
    let end = end(op, call)?;
    let all: Vec<&DeviceArg<'_>> = call.inputs.iter().collect();
    let [x_zero, y_zero] = op.zeros(&all, 2);
    let (mut x_zeros, y_zeros) = (Zeros::of(x_zero, m), Zeros::of(y_zero, n));
    let mut runs = Runs::new(x_lead, y_lead)?;
    let rows = extent(&[extent(x_lead)? as usize, m as usize])?;
    if extent(y_lead)? == 1 && (x_zeros.count <= 1 || x_zeros.count == rows as usize) {
        // One right side for all: the left matrices are rows of one.
        runs = Runs::new(&[], &[])?;
        (m, x_zeros.len) = (rows, rows);
    }
    let dims = ProductDims { batch: runs.batch, m, n, k };
    let [left, right] = [u64::from(m) * u64::from(k), u64::from(k) * u64::from(n)];
    let result = u64::from(m) * u64::from(n) * size_of::<i32>() as u64;
    for (i, j, o) in runs.each() {
        let a = ByteMatrix {
            data: rest(x.slice, i * left)?,
            signed: x.dtype == DType::I8,
            batch_stride: runs.strides[0] * left,
            zeros: x_zeros.item(i, runs.strides[0])?,
        };
        let b = ByteMatrix {
            data: rest(y.slice, j * right)?,
            signed: y.dtype == DType::I8,
            batch_stride: runs.strides[1] * right,
            zeros: y_zeros.item(j, runs.strides[1])?,
        };
        launch_matmul(call.queue, dims, [&a, &b], end, rest(out.slice, o * result)?)?;
    }
    Ok(())
}

/// A layer of constant weights of 8 bits, with what was fused behind it.
pub(super) fn dynamic_layer(
    site: &Site<'_>,
    linear: &LinearInst,
) -> Result<Option<Lowered>, ConstantError> {
    let k = linear.parts.first().map_or(0, |part| part.k);
    let n: usize = linear.parts.iter().map(|part| part.n).sum();
    let f32s = site.spec(linear.x).dtype == DType::F32;
    let (Ok(k), Ok(n), true) = (u32::try_from(k), u32::try_from(n), f32s) else {
        return Ok(None);
    };
    let constants: Vec<&Constant> = linear.parts.iter().flat_map(constants).collect();
    let name = format!("dynamic {:?}", linear.parts.iter().map(|p| (p.k, p.n)).collect::<Vec<_>>());
    let memory =
        on_device(site.device, &name, &constants, || side_by_side(&linear.parts, k as usize))?;
    let (has_bias, has_residual) = (linear.bias.is_some(), linear.residual.is_some());
    let finish = finish(&linear.finish);
    let lowered = Lowered::new(move |call| {
        let out = &call.outputs[0];
        let rows = extent(&out.shape[..out.shape.rank() - 1])?;
        let mut others = call.inputs[1..].iter();
        let mut next = |there: bool| match there {
            true => others.next().map_or_else(Slice::none, |value| value.slice),
            false => Slice::none(),
        };
        let (bias, residual) = (next(has_bias), next(has_residual));
        let (x, y, scratch) = (call.inputs[0].slice, out.slice, call.scratch);
        let operands = DynamicOperands { x, bias, residual, y, scratch };
        let weights = DynamicWeights { n, k, data: memory.slice() };
        dynamic_linear(call.queue, rows, &weights, &operands, finish)
    });
    Ok(Some(lowered.with_scratch(move |inputs, _| {
        let rows = extent(&inputs[0][..inputs[0].rank() - 1]);
        rows.map_or(0, |rows| dynamic_scratch(rows, k))
    })))
}

/// Everything that a part is made of.
fn constants(part: &Part) -> Vec<&Constant> {
    let int8 = part.int8.as_ref();
    let others = int8.into_iter().flat_map(|int8| std::iter::once(&int8.scale).chain(&int8.zero));
    std::iter::once(&part.weight).chain(others).collect()
}

/// The weights of all parts in one matrix, as the device reads them.
fn side_by_side(parts: &[Part], k: usize) -> Result<Vec<u8>, PlanError> {
    const DEFECT: PlanError = PlanError::Internal("weights of a dynamic layer are no i8");
    let (mut weights, mut scales) = (Vec::new(), Vec::new());
    for part in parts {
        let int8 = part.int8.as_ref().ok_or(DEFECT)?;
        let (w, scale) = (part.weight.load()?, int8.scale.load()?);
        let zero = int8.zero.as_ref().map(Constant::load).transpose()?;
        let signed = w.dtype() == DType::I8;
        let number = |bits: u8| if signed { i16::from(bits as i8) } else { i16::from(bits) };
        let bytes = w.bytes();
        if part.k != k || bytes.len() != k * part.n {
            return Err(DEFECT);
        }
        let zeros = zero.as_ref().map_or(&[0][..], |zero| zero.bytes());
        let own: &[f32] = scale.as_slice().map_err(|_| DEFECT)?;
        for column in 0..part.n {
            let zero = number(*one_or_each(zeros, column).ok_or(DEFECT)?);
            for step in 0..k {
                let weight = number(bytes[step * part.n + column]) - zero;
                weights.push(i8::try_from(weight).map_err(|_| DEFECT)?);
            }
            scales.push(*one_or_each(own, column).ok_or(DEFECT)?);
        }
    }
    Ok(dynamic_weights(scales.len(), k, &weights, &scales))
}

/// The number of a column among those that are one for all or one a column.
fn one_or_each<T>(all: &[T], column: usize) -> Option<&T> {
    match all {
        [one] => Some(one),
        all => all.get(column),
    }
}
