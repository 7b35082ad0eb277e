//! Layers of which only the weights are quantized.

use crate::content::{int_vector, scalar};
use crate::node::{Cx, Inputs};
use crate::ops::quantize::is_unsupported;
use crate::ops::recurrent::{Kind, Weights, layer_of};
use crate::ops::{Table, one};
use crate::value::{Extent, Form, R, T, TensorValue, Value, invalid, unsupported};
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

/// The attributes and tensors of a `MatMulNBits`.
struct Blocks<'a> {
    x: &'a T,
    packed: &'a T,
    scales: &'a T,
    zero: Option<&'a T>,
    bias: Option<&'a T>,
    k: u64,
    n: u64,
    block: u64,
    bits: i64,
}

/// Weights `[n, blocks, bytes of a block]` of 4 or 8 bits, with scales and zero points a block.
fn matmul_n_bits(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let extent = |name: &str| match u64::try_from(cx.attr_int(name, 0)?) {
        Ok(extent @ 1..) => Ok(extent),
        _ => Err(invalid(format!("{name}: expected at least 1"))),
    };
    let bits = cx.attr_int("bits", 4)?;
    if !matches!(bits, 4 | 8) {
        return Err(unsupported(format!("weights of {bits} bits")));
    }
    if inputs.tensor_opt(4)?.is_some() {
        return Err(unsupported("MatMulNBits with g_idx"));
    }
    let own = Blocks {
        x: inputs.tensor(0)?,
        packed: inputs.tensor(1)?,
        scales: inputs.tensor(2)?,
        zero: inputs.tensor_opt(3)?,
        bias: inputs.tensor_opt(5)?,
        k: extent("K")?,
        n: extent("N")?,
        block: extent("block_size")?,
        bits,
    };
    one(match own.native(cx)? {
        Some(y) => y,
        None => own.composed(cx)?,
    })
}

impl Blocks<'_> {
    fn blocks(&self) -> u64 {
        self.k.div_ceil(self.block)
    }

    /// The contract's op, where rows and zero points fill their bytes.
    fn native(&self, cx: &mut Cx<'_>) -> R<Option<T>> {
        let dtype = if self.bits == 4 { DType::U4 } else { DType::U8 };
        let blocks = self.blocks();
        let whole = self.bits == 8 || blocks.is_multiple_of(2);
        let even = self.k.is_multiple_of(self.block) && whole;
        if !even || self.x.dtype == DType::F64 {
            return Ok(None);
        }
        let Some(w) = retyped(self.packed, dtype, &[self.n, self.k]) else { return Ok(None) };
        let zero = match self.zero {
            Some(zero) => match retyped(zero, dtype, &[self.n, blocks]) {
                Some(zero) => Some(zero),
                None => return Ok(None),
            },
            None => None,
        };
        let scales = cx.reshape_to(self.scales, &[self.n, blocks])?;
        let weights = (&w, &scales, zero.as_ref());
        match cx.quantized_linear(self.x, weights, self.bias, self.block) {
            Err(stop) if is_unsupported(&stop) => Ok(None),
            y => y.map(Some),
        }
    }

    /// The weights in numbers.
    fn composed(&self, cx: &mut Cx<'_>) -> R<T> {
        let (n, blocks) = (self.n, self.blocks());
        let bytes = cx.reshape_to(self.packed, &[n, self.packed.elements()? / n])?;
        let whole = unpacked(cx, &bytes, self.bits)?;
        let whole = cx.reshape_to(&whole, &[n, blocks, self.block])?;
        let dtype = self.scales.dtype;
        let numbers = cx.cast(&whole, dtype)?;
        let zero = match self.zero {
            Some(zero) if zero.dtype == DType::U8 => {
                let rows = cx.reshape_to(zero, &[n, zero.elements()? / n])?;
                let all = unpacked(cx, &rows, self.bits)?;
                let own = cx.slice(&all, 1, (0, blocks), 1)?;
                cx.cast(&own, dtype)?
            }
            Some(zero) => zero.clone(),
            None => {
                let middle = scalar(dtype, 2f64.powi(self.bits as i32 - 1))?;
                cx.broadcast_to(&middle, &[n, blocks])?
            }
        };
        let zero = cx.reshape_to(&zero, &[n, blocks, 1])?;
        let scales = cx.reshape_to(self.scales, &[n, blocks, 1])?;
        let centered = cx.sub(&numbers, &zero)?;
        let weights = cx.mul(&centered, &scales)?;
        let weights = cx.reshape_to(&weights, &[n, blocks.saturating_mul(self.block)])?;
        let weights = cx.slice(&weights, 1, (0, self.k), 1)?;
        let weights = cx.cast(&weights, self.x.dtype)?;
        cx.linear(self.x, &weights, self.bias, true)
    }
}

/// Bytes of a constant as elements of another type; none if they are not as many, or not known.
fn retyped(x: &T, dtype: DType, shape: &[u64]) -> Option<T> {
    let elements = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent))?;
    let bytes = if dtype == DType::U4 { elements.div_ceil(2) } else { elements };
    let fits = x.dtype == DType::U8 && x.elements().ok()? == bytes;
    let form = match &*x.form.borrow() {
        form @ (Form::Bytes { batch: None, .. } | Form::File { .. }) if fits => form.clone(),
        _ => return None,
    };
    let dims = shape.iter().map(|&extent| Extent::Fixed(extent)).collect();
    Some(TensorValue::new(dtype, dims, form))
}

/// Rows of bytes as rows of numbers, low bits first.
fn unpacked(cx: &mut Cx<'_>, bytes: &T, bits: i64) -> R<T> {
    if bits == 8 {
        return Ok(bytes.clone());
    }
    let shifts = cx.cast(&int_vector(&[0, 4]), DType::U8)?;
    let pairs = cx.unsqueeze(bytes, 2)?;
    let shifted = cx.shift_right(&pairs, &shifts)?;
    let low = cx.bit_and(&shifted, &scalar(DType::U8, 15.0)?)?;
    let shape = bytes.shape()?;
    cx.reshape_to(&low, &[shape[0], shape[1].saturating_mul(2)])
}
