//! Between floats and integers with a scale, layers of such weights, and random bits.

use super::{Node, Site, extent, float_form, lanes_of};
use crate::device::call::{DeviceCall, Lowered};
use crate::op::{Dequantize, Quantize, QuantizedLinear, RandomBits};
use aimass_cuda::lanes::Lanes;
use aimass_cuda::matmul::{Finish, Matrix, ProductEnd};
use aimass_cuda::quantize::{Quantum, Scale, Scaling};
use aimass_cuda::quantize::{dequantize as launch_dequantize, quantize as launch_quantize};
use aimass_cuda::quantized::{QuantizedWeights, WeightBits, quantized_linear as launch_linear};
use aimass_cuda::random_bits::random_bits as launch_random_bits;
use aimass_cuda::{DeviceError, Slice};
use aimass_tensor::DType;

/// Types of a scaling, and the axis that it belongs to.
#[derive(Clone, Copy)]
struct Kind {
    axis: Option<u32>,
    quantum: Quantum,
    scale: Scale,
}

impl Kind {
    fn new(axis: Option<u32>, quantized: DType, scale: DType) -> Option<Kind> {
        let quantum = match quantized {
            DType::I8 => Quantum::I8,
            DType::U8 => Quantum::U8,
            DType::I16 => Quantum::I16,
            DType::U16 => Quantum::U16,
            DType::I32 => Quantum::I32,
            _ => return None,
        };
        let scale = match scale {
            DType::F32 => Scale::F32,
            DType::F16 => Scale::F16,
            DType::Bf16 => Scale::Bf16,
            _ => return None,
        };
        Some(Kind { axis, quantum, scale })
    }

    /// With the scale and the zero point of a call, its second and third input.
    fn scaling<'a>(self, call: &DeviceCall<'a, '_, '_>) -> Result<Scaling<'a>, DeviceError> {
        let x = &call.inputs[0];
        let lanes = match self.axis {
            Some(axis) => lanes_of(&x.shape, axis as usize..axis as usize + 1)?,
            None => Lanes { outer: 1, n: 1, inner: x.elements() },
        };
        let scales = call.inputs[1].slice;
        let zeros: Option<Slice<'a>> = call.inputs.get(2).map(|zeros| zeros.slice);
        Ok(Scaling { lanes, quantum: self.quantum, scales, scale: self.scale, zeros })
    }
}

pub(super) fn quantize(site: &Site<'_>, op: &Quantize, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let kind = Kind::new(op.axis, op.dtype, site.spec(node.inputs[1]).dtype)?;
    Some(Lowered::new(move |call| {
        let scaling = kind.scaling(call)?;
        let operands = (call.inputs[0].slice, call.outputs[0].slice);
        launch_quantize(call.queue, form, &scaling, operands)
    }))
}

pub(super) fn dequantize(site: &Site<'_>, op: &Dequantize, node: Node<'_>) -> Option<Lowered> {
    let [x, scale] = [0, 1].map(|index| site.spec(node.inputs[index]).dtype);
    let kind = Kind::new(op.axis, x, scale)?;
    Some(Lowered::new(move |call| {
        let scaling = kind.scaling(call)?;
        launch_dequantize(call.queue, &scaling, (call.inputs[0].slice, call.outputs[0].slice))
    }))
}

pub(super) fn random_bits(_: &Site<'_>, _: &RandomBits, _: Node<'_>) -> Option<Lowered> {
    Some(Lowered::new(move |call| {
        let (key, y) = (&call.inputs[0], &call.outputs[0]);
        launch_random_bits(call.queue, key.slice, y.slice, y.elements())
    }))
}

/// A layer of weights in 4 or 8 bits.
pub(super) fn quantized_linear(
    site: &Site<'_>,
    op: &QuantizedLinear,
    node: Node<'_>,
) -> Option<Lowered> {
    let dtype = |input: usize| Some(site.spec(*node.inputs.get(input)?).dtype);
    if op.packed.is_some() {
        return None;
    }
    let form = float_form(dtype(0)?)?;
    let (bits, signed) = match dtype(1)? {
        DType::U4 => (WeightBits::Four, false),
        DType::I4 => (WeightBits::Four, true),
        DType::U8 => (WeightBits::Eight, false),
        DType::I8 => (WeightBits::Eight, true),
        _ => return None,
    };
    let scale_form = float_form(dtype(2)?)?;
    let (has_zero, has_bias) = (op.zero, op.bias);
    let bias_input = 3 + usize::from(has_zero);
    if has_bias && float_form(dtype(bias_input)?) != Some(form) {
        return None;
    }
    let group = u32::try_from(op.group).unwrap_or(u32::MAX);
    Some(Lowered::new(move |call| {
        let (x, w, out) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        let rank = x.shape.rank();
        let rows = extent(&x.shape[..rank - 1])?;
        let (n, k) = (extent(&w.shape[..1])?, extent(&w.shape[1..])?);
        let weights = QuantizedWeights {
            n,
            k,
            group,
            bits,
            signed,
            weights: w.slice,
            scales: call.inputs[2].slice,
            scale_form,
            zeros: call.inputs.get(3).filter(|_| has_zero).map(|zeros| zeros.slice),
        };
        let bias = call.inputs.get(bias_input).filter(|_| has_bias).map(|bias| bias.slice);
        let end = ProductEnd { bias, residual: None, finish: Finish::default() };
        let (x, y) =
            (Matrix::dense(x.slice, form, rows, k), Matrix::dense(out.slice, form, rows, n));
        launch_linear(call.queue, &weights, rows, [&x, &y], &end)
    }))
}
