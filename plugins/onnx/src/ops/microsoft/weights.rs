//! Layers of which only the weights are quantized.

use crate::content::{int_vector, scalar};
use crate::node::{Cx, Inputs};
use crate::ops::recurrent::{Kind, Weights, layer_of};
use crate::ops::{Table, one};
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table =
    &[("DynamicQuantizeLSTM", dynamic_quantize_lstm), ("MatMulNBits", matmul_n_bits)];

/// The weights in numbers. The activations stay what they are, so that the outputs are nearer to the
/// model's before it was quantized.
fn dynamic_quantize_lstm(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let numbers = |cx: &mut Cx<'_>, index: usize, scale: usize, zero: usize| {
        let w = inputs.tensor(index)?;
        if w.rank() != 3 {
            return Err(invalid(format!("expected weights of rank 3, got {}", w.rank())));
        }
        // Scales are one a direction, or one a column of each.
        let spread = |cx: &mut Cx<'_>, param: &T| match param.rank() {
            0 => Ok(param.clone()),
            1 => cx.reshape(param, &[param.dims[0], Extent::Fixed(1), Extent::Fixed(1)]),
            _ => cx.unsqueeze(param, 1),
        };
        let scale = spread(cx, inputs.tensor(scale)?)?;
        let mut own = cx.cast(w, scale.dtype)?;
        if let Some(zero) = inputs.tensor_opt(zero)? {
            let zero = spread(cx, zero)?;
            let zero = cx.cast(&zero, scale.dtype)?;
            own = cx.sub(&own, &zero)?;
        }
        let own = cx.mul(&own, &scale)?;
        cx.transpose(&own, &[0, 2, 1])
    };
    let weights = Weights {
        w: numbers(cx, 1, 8, 9)?,
        r: numbers(cx, 2, 10, 11)?,
        bias: inputs.tensor_opt(3)?.cloned(),
        peepholes: inputs.tensor_opt(7)?.cloned(),
    };
    layer_of(cx, inputs, Kind::Lstm, &weights)
}

/// Weights `[n, blocks, bytes of a block]` of 4 or 8 bits, with scales and zero points a block.
fn matmul_n_bits(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let extent = |name: &str| match u64::try_from(cx.attr_int(name, 0)?) {
        Ok(extent @ 1..) => Ok(extent),
        _ => Err(invalid(format!("{name}: expected at least 1"))),
    };
    let (k, n, block) = (extent("K")?, extent("N")?, extent("block_size")?);
    let bits = cx.attr_int("bits", 4)?;
    let (x, packed, scales) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    if inputs.tensor_opt(4)?.is_some() {
        return Err(unsupported("MatMulNBits with g_idx"));
    }
    let blocks = k.div_ceil(block);
    let bytes = cx.reshape_to(packed, &[n, packed.elements()? / n])?;
    let whole = unpacked(cx, &bytes, bits)?;
    let whole = cx.reshape_to(&whole, &[n, blocks, block])?;
    let dtype = scales.dtype;
    let numbers = cx.cast(&whole, dtype)?;
    let zero = match inputs.tensor_opt(3)? {
        Some(zero) if zero.dtype == DType::U8 => {
            let rows = cx.reshape_to(zero, &[n, zero.elements()? / n])?;
            let all = unpacked(cx, &rows, bits)?;
            let own = cx.slice(&all, 1, (0, blocks), 1)?;
            cx.cast(&own, dtype)?
        }
        Some(zero) => cx.reshape_to(zero, &[n, blocks])?,
        None => {
            let middle = scalar(dtype, 2f64.powi(bits as i32 - 1))?;
            cx.broadcast_to(&middle, &[n, blocks])?
        }
    };
    let zero = cx.reshape_to(&zero, &[n, blocks, 1])?;
    let scales = cx.reshape_to(scales, &[n, blocks, 1])?;
    let centered = cx.sub(&numbers, &zero)?;
    let weights = cx.mul(&centered, &scales)?;
    let weights = cx.reshape_to(&weights, &[n, blocks.saturating_mul(block)])?;
    let weights = cx.slice(&weights, 1, (0, k), 1)?;
    let weights = cx.cast(&weights, x.dtype)?;
    one(cx.linear(x, &weights, inputs.tensor_opt(5)?, true)?)
}

/// Rows of bytes as rows of numbers, low bits first.
fn unpacked(cx: &mut Cx<'_>, bytes: &T, bits: i64) -> R<T> {
    match bits {
        8 => Ok(bytes.clone()),
        4 => {
            let shifts = cx.cast(&int_vector(&[0, 4]), DType::U8)?;
            let pairs = cx.unsqueeze(bytes, 2)?;
            let shifted = cx.shift_right(&pairs, &shifts)?;
            let low = cx.bit_and(&shifted, &scalar(DType::U8, 15.0)?)?;
            let shape = bytes.shape()?;
            cx.reshape_to(&low, &[shape[0], shape[1].saturating_mul(2)])
        }
        other => Err(unsupported(format!("weights of {other} bits"))),
    }
}
