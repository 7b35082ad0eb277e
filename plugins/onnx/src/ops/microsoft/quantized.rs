//! Quantized operators: numbers in, numbers out, bytes on the way.

use crate::node::{Cx, Inputs, as_tensor, axis_of};
use crate::ops::quantize::{Grain, dequantize, quantize, quantize_by_range};
use crate::ops::quantized::{Side, along, matmul_integer};
use crate::ops::{Table, one};
use crate::value::{R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("DynamicQuantizeMatMul", dynamic_quantize_matmul),
    ("MatMulIntegerToFloat", |cx, x| {
        let sides = [Quantized::at(x, [0, 2, 4])?, Quantized::at(x, [1, 3, 5])?];
        let dtype = sides[0].scale.dtype;
        one(product(cx, &sides, x.tensor_opt(6)?, dtype)?)
    }),
    ("QGemm", qgemm),
    ("QLinearAdd", |cx, x| binary(cx, x, |cx, a, b| cx.add(a, b))),
    ("QLinearAveragePool", |cx, x| {
        channels(cx, x, |cx, x| unary(cx, x, crate::ops::pool::average_pooled))
    }),
    ("QLinearConcat", qlinear_concat),
    ("QLinearGlobalAveragePool", |cx, x| {
        channels(cx, x, |cx, x| {
            unary(cx, x, |cx, x| {
                let axes: Vec<usize> = (2..x.rank()).collect();
                cx.reduce_mean(x, &axes, true)
            })
        })
    }),
    ("QLinearConv", |cx, x| channels(cx, x, crate::ops::quantized::qlinear_conv)),
    ("QLinearLeakyRelu", |cx, x| {
        unary(cx, x, |cx, x| {
            let alpha = cx.attr_float("alpha", 0.01)?;
            cx.leaky_relu(x, alpha)
        })
    }),
    ("QLinearMul", |cx, x| binary(cx, x, |cx, a, b| cx.mul(a, b))),
    ("QLinearSigmoid", |cx, x| unary(cx, x, |cx, x| cx.sigmoid(x))),
    ("QLinearSoftmax", |cx, x| {
        unary(cx, x, |cx, x| {
            let axis = axis_of(cx.attr_int("axis", -1)?, x.rank())?;
            cx.softmax(x, axis)
        })
    }),
];

/// An operator on images, with the attribute `channels_last`.
fn channels(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    op: impl FnOnce(&mut Cx<'_>, Inputs<'_>) -> R<Vec<Value>>,
) -> R<Vec<Value>> {
    if !cx.attr_flag("channels_last")? {
        return op(cx, inputs);
    }
    let x = inputs.tensor(0)?;
    let last = x.rank().checked_sub(1).filter(|last| *last > 1);
    let last = last.ok_or_else(|| invalid("expected an image with channels"))?;
    let first: Vec<usize> = [0, last].into_iter().chain(1..last).collect();
    let mut all = inputs.0.to_vec();
    all[0] = Some(cx.transpose(x, &first)?.into());
    let outputs = op(cx, Inputs(&all))?;
    let back: Vec<usize> = [0].into_iter().chain(2..=last).chain([1]).collect();
    let turn = |y: &Value| Ok(cx.transpose(as_tensor(y)?, &back)?.into());
    outputs.iter().map(turn).collect()
}

/// Bytes with their scale and zero point.
struct Quantized<'a> {
    x: &'a T,
    scale: &'a T,
    zero: Option<&'a T>,
}

impl<'a> Quantized<'a> {
    /// Inputs `x`, scale and zero point.
    fn at(inputs: Inputs<'a>, [x, scale, zero]: [usize; 3]) -> R<Quantized<'a>> {
        let (x, scale) = (inputs.tensor(x)?, inputs.tensor(scale)?);
        Ok(Quantized { x, scale, zero: inputs.tensor_opt(zero)? })
    }

    /// The numbers, with one scale for all.
    fn numbers(&self, cx: &mut Cx<'_>) -> R<T> {
        dequantize(cx, self.x, (self.scale, self.zero), Grain::WHOLE, DType::F32)
    }
}

/// Numbers as bytes again, with the scale and zero point of two inputs.
fn again(
    cx: &mut Cx<'_>,
    y: &T,
    (inputs, scale, zero): (Inputs<'_>, usize, usize),
    default: DType,
) -> R<Vec<Value>> {
    let (scale, zero) = (inputs.tensor(scale)?, inputs.tensor_opt(zero)?);
    let dtype = zero.map_or(default, |zero| zero.dtype);
    one(quantize(cx, y, (scale, zero), Grain::WHOLE, (dtype, None))?)
}

fn unary(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    op: impl FnOnce(&mut Cx<'_>, &T) -> R<T>,
) -> R<Vec<Value>> {
    let x = Quantized::at(inputs, [0, 1, 2])?;
    let numbers = x.numbers(cx)?;
    let y = op(cx, &numbers)?;
    again(cx, &y, (inputs, 3, 4), x.x.dtype)
}

fn binary(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    op: impl FnOnce(&mut Cx<'_>, &T, &T) -> R<T>,
) -> R<Vec<Value>> {
    let (a, b) = (Quantized::at(inputs, [0, 1, 2])?, Quantized::at(inputs, [3, 4, 5])?);
    let (left, right) = (a.numbers(cx)?, b.numbers(cx)?);
    let y = op(cx, &left, &right)?;
    again(cx, &y, (inputs, 6, 7), a.x.dtype)
}

fn qlinear_concat(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let parts = inputs.len().saturating_sub(2) / 3;
    if parts == 0 || inputs.len() != 2 + 3 * parts {
        return Err(invalid(format!("expected scales, and parts of three, got {}", inputs.len())));
    }
    let mut numbers = Vec::with_capacity(parts);
    let mut dtype = DType::U8;
    for index in 0..parts {
        let at = 2 + 3 * index;
        let part = Quantized::at(inputs, [at, at + 1, at + 2])?;
        dtype = part.x.dtype;
        numbers.push(part.numbers(cx)?);
    }
    let axis = axis_of(cx.attr_int("axis", 0)?, numbers[0].rank())?;
    let joined = cx.concat(&numbers.iter().collect::<Vec<_>>(), axis)?;
    again(cx, &joined, (inputs, 0, 1), dtype)
}

/// The product of two sides in numbers, and a bias.
fn product(cx: &mut Cx<'_>, [x, y]: &[Quantized<'_>; 2], bias: Option<&T>, dtype: DType) -> R<T> {
    let sums = matmul_integer(cx, (x.x, x.zero), (y.x, y.zero))?;
    let sums = cx.cast(&sums, dtype)?;
    let (x_scale, y_scale) = (along(cx, x.scale, Side::Rows)?, along(cx, y.scale, Side::Columns)?);
    let factor = cx.mul(&x_scale, &y_scale)?;
    let scaled = cx.mul(&sums, &factor)?;
    match bias {
        Some(bias) => cx.add(&scaled, bias),
        None => Ok(scaled),
    }
}

/// `alpha * (a' · b' + c)`, of bytes; `c` in 32 bits. Numbers, unless a scale says how they are bytes again.
fn qgemm(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (a, b) = (Quantized::at(inputs, [0, 1, 2])?, Quantized::at(inputs, [3, 4, 5])?);
    let turned = |cx: &mut Cx<'_>, x: &T, name: &str| match (x.rank(), cx.attr_flag(name)?) {
        (2, true) => cx.transpose(x, &[1, 0]),
        (2, false) => Ok(x.clone()),
        (rank, _) => Err(invalid(format!("expected a matrix, got rank {rank}"))),
    };
    let (left, right) = (turned(cx, a.x, "transA")?, turned(cx, b.x, "transB")?);
    let mut sums = matmul_integer(cx, (&left, a.zero), (&right, b.zero))?;
    if let Some(more) = inputs.tensor_opt(6)? {
        sums = cx.add(&sums, more)?;
    }
    let sums = cx.cast(&sums, DType::F32)?;
    let (a_scale, b_scale) = (along(cx, a.scale, Side::Rows)?, along(cx, b.scale, Side::Columns)?);
    let factor = cx.mul(&a_scale, &b_scale)?;
    let alpha = cx.attr_float("alpha", 1.0)?;
    let factor = cx.mul_number(&factor, alpha.into())?;
    let y = cx.mul(&sums, &factor)?;
    match inputs.tensor_opt(7)? {
        Some(_) => again(cx, &y, (inputs, 7, 8), a.x.dtype),
        None => one(y),
    }
}

fn dynamic_quantize_matmul(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let (bytes, scale, zero) = quantize_by_range(cx, x)?;
    let left = Quantized { x: &bytes, scale: &scale, zero: Some(&zero) };
    let right = Quantized::at(inputs, [1, 2, 3])?;
    one(product(cx, &[left, right], inputs.tensor_opt(4)?, x.dtype)?)
}
