//! Operators that work element by element.

use super::{Table, one};
use crate::content::scalar;
use crate::node::{Cx, Inputs};
use crate::value::{R, T, Value, invalid};
use aimass_sdk::DType;
use aimass_sdk::graph::GeluForm;

pub(super) const TABLE: Table = &[
    ("Abs", |cx, x| one(cx.abs(x.tensor(0)?)?)),
    ("Acos", |cx, x| one(cx.acos(x.tensor(0)?)?)),
    ("Acosh", |cx, x| one(cx.acosh(x.tensor(0)?)?)),
    ("Add", |cx, x| one(cx.add(x.tensor(0)?, x.tensor(1)?)?)),
    ("And", |cx, x| one(cx.logical_and(x.tensor(0)?, x.tensor(1)?)?)),
    ("Asin", |cx, x| one(cx.asin(x.tensor(0)?)?)),
    ("Asinh", |cx, x| one(cx.asinh(x.tensor(0)?)?)),
    ("Atan", |cx, x| one(cx.atan(x.tensor(0)?)?)),
    ("Atanh", |cx, x| one(cx.atanh(x.tensor(0)?)?)),
    ("BitShift", bit_shift),
    ("BitwiseAnd", |cx, x| one(cx.bit_and(x.tensor(0)?, x.tensor(1)?)?)),
    ("BitwiseNot", |cx, x| one(cx.bit_not(x.tensor(0)?)?)),
    ("BitwiseOr", |cx, x| one(cx.bit_or(x.tensor(0)?, x.tensor(1)?)?)),
    ("BitwiseXor", |cx, x| one(cx.bit_xor(x.tensor(0)?, x.tensor(1)?)?)),
    ("Ceil", |cx, x| one(cx.ceil(x.tensor(0)?)?)),
    ("Celu", celu),
    ("Clip", clip),
    ("Cos", |cx, x| one(cx.cos(x.tensor(0)?)?)),
    ("Cosh", |cx, x| one(cx.cosh(x.tensor(0)?)?)),
    ("Div", |cx, x| one(cx.div(x.tensor(0)?, x.tensor(1)?)?)),
    ("Elu", |cx, x| {
        let alpha = cx.attr_float("alpha", 1.0)?;
        one(cx.elu(x.tensor(0)?, alpha)?)
    }),
    ("Erf", |cx, x| one(cx.erf(x.tensor(0)?)?)),
    ("Exp", |cx, x| one(cx.exp(x.tensor(0)?)?)),
    ("Floor", |cx, x| one(cx.floor(x.tensor(0)?)?)),
    ("Gelu", |cx, x| {
        let form = match cx.attr_text("approximate", "none")? {
            "tanh" => GeluForm::Tanh,
            _ => GeluForm::Erf,
        };
        one(cx.gelu(x.tensor(0)?, form)?)
    }),
    ("HardSigmoid", |cx, x| {
        let (alpha, beta) = (cx.attr_float("alpha", 0.2)?, cx.attr_float("beta", 0.5)?);
        one(cx.hard_sigmoid(x.tensor(0)?, alpha, beta)?)
    }),
    ("HardSwish", |cx, x| one(cx.hard_swish(x.tensor(0)?)?)),
    ("IsInf", is_inf),
    ("IsNaN", |cx, x| one(cx.is_nan(x.tensor(0)?)?)),
    ("LeakyRelu", |cx, x| {
        let alpha = cx.attr_float("alpha", 0.01)?;
        one(cx.leaky_relu(x.tensor(0)?, alpha)?)
    }),
    ("Log", |cx, x| one(cx.log(x.tensor(0)?)?)),
    ("Max", |cx, x| fold(cx, x, |cx, a, b| cx.maximum(a, b))),
    ("Mean", mean),
    ("Min", |cx, x| fold(cx, x, |cx, a, b| cx.minimum(a, b))),
    ("Mish", |cx, x| {
        let softplus = cx.softplus(x.tensor(0)?)?;
        let gate = cx.tanh(&softplus)?;
        one(cx.mul(x.tensor(0)?, &gate)?)
    }),
    ("Mod", modulo),
    ("Mul", |cx, x| one(cx.mul(x.tensor(0)?, x.tensor(1)?)?)),
    ("Neg", |cx, x| one(cx.neg(x.tensor(0)?)?)),
    ("Not", |cx, x| one(cx.logical_not(x.tensor(0)?)?)),
    ("Or", |cx, x| one(cx.logical_or(x.tensor(0)?, x.tensor(1)?)?)),
    ("PRelu", prelu),
    ("Pow", pow),
    ("Reciprocal", |cx, x| one(cx.reciprocal(x.tensor(0)?)?)),
    ("Relu", |cx, x| one(cx.relu(x.tensor(0)?)?)),
    ("Round", |cx, x| one(cx.round(x.tensor(0)?)?)),
    ("Selu", selu),
    ("Shrink", shrink),
    ("Sigmoid", |cx, x| one(cx.sigmoid(x.tensor(0)?)?)),
    ("Sign", |cx, x| one(cx.sign(x.tensor(0)?)?)),
    ("Sin", |cx, x| one(cx.sin(x.tensor(0)?)?)),
    ("Sinh", |cx, x| one(cx.sinh(x.tensor(0)?)?)),
    ("Softplus", |cx, x| one(cx.softplus(x.tensor(0)?)?)),
    ("Softsign", |cx, x| {
        let magnitude = cx.abs(x.tensor(0)?)?;
        let below = cx.add_number(&magnitude, 1.0)?;
        one(cx.div(x.tensor(0)?, &below)?)
    }),
    ("Sqrt", |cx, x| one(cx.sqrt(x.tensor(0)?)?)),
    ("Sub", |cx, x| one(cx.sub(x.tensor(0)?, x.tensor(1)?)?)),
    ("Sum", |cx, x| fold(cx, x, |cx, a, b| cx.add(a, b))),
    ("SwiGLU", |cx, x| {
        let gate = swished(cx, x.tensor(0)?)?;
        one(cx.mul(&gate, x.tensor(1)?)?)
    }),
    ("Swish", |cx, x| one(swished(cx, x.tensor(0)?)?)),
    ("Tan", |cx, x| one(cx.tan(x.tensor(0)?)?)),
    ("Tanh", |cx, x| one(cx.tanh(x.tensor(0)?)?)),
    ("ThresholdedRelu", thresholded_relu),
    ("Where", |cx, x| one(cx.select(x.tensor(0)?, x.tensor(1)?, x.tensor(2)?)?)),
    ("Xor", |cx, x| one(cx.logical_xor(x.tensor(0)?, x.tensor(1)?)?)),
    ("Equal", equal),
    ("Greater", |cx, x| one(cx.greater(x.tensor(0)?, x.tensor(1)?)?)),
    ("GreaterOrEqual", |cx, x| one(cx.greater_equal(x.tensor(0)?, x.tensor(1)?)?)),
    ("Less", |cx, x| one(cx.less(x.tensor(0)?, x.tensor(1)?)?)),
    ("LessOrEqual", |cx, x| one(cx.less_equal(x.tensor(0)?, x.tensor(1)?)?)),
];

fn fold(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    op: impl Fn(&mut Cx<'_>, &T, &T) -> R<T>,
) -> R<Vec<Value>> {
    let mut total = inputs.tensor(0)?.clone();
    for index in 1..inputs.len() {
        total = op(cx, &total, inputs.tensor(index)?)?;
    }
    one(total)
}

fn mean(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let mut total = inputs.tensor(0)?.clone();
    for index in 1..inputs.len() {
        total = cx.add(&total, inputs.tensor(index)?)?;
    }
    let count = scalar(total.dtype, inputs.len() as f64)?;
    one(cx.div(&total, &count)?)
}

fn equal(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, y) = (inputs.tensor(0)?, inputs.tensor(1)?);
    // Exporters compare a target shape with -1: the number of rows never is that.
    let marked = cx.extents_if_known(x);
    if let (Some(extents), true) = (marked, y.is_known())
        && extents.iter().any(|(_, rows)| *rows)
        && cx.ints(y)?.iter().all(|&extent| extent <= 0)
    {
        let equal: Vec<u8> = {
            let y = cx.ints(y)?;
            let at = |index: usize| y[if y.len() == 1 { 0 } else { index }];
            if y.len() != 1 && y.len() != extents.len() {
                return Err(invalid("Equal: shapes differ"));
            }
            extents
                .iter()
                .enumerate()
                .map(|(index, (extent, rows))| u8::from(!rows && *extent == at(index)))
                .collect()
        };
        return one(crate::value::TensorValue::of_bytes(DType::Bool, &x.shape()?, equal));
    }
    one(cx.equal(x, y)?)
}

fn bit_shift(cx: &mut Cx<'_>, x: Inputs<'_>) -> R<Vec<Value>> {
    one(match cx.attr_text("direction", "")? {
        "LEFT" => cx.shift_left(x.tensor(0)?, x.tensor(1)?)?,
        "RIGHT" => cx.shift_right(x.tensor(0)?, x.tensor(1)?)?,
        other => return Err(invalid(format!("direction: expected LEFT or RIGHT, got {other}"))),
    })
}

/// `max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`.
fn celu(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let alpha = f64::from(cx.attr_float("alpha", 1.0)?);
    let scaled = cx.mul_number(x, 1.0 / alpha)?;
    let bent = cx.elu(&scaled, 1.0)?;
    let negative = cx.mul_number(&bent, alpha)?;
    let zero = scalar(x.dtype, 0.0)?;
    let (above, below) = (cx.relu(x)?, cx.minimum(&negative, &zero)?);
    one(cx.add(&above, &below)?)
}

fn clip(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let (low, high) = (inputs.tensor_opt(1)?, inputs.tensor_opt(2)?);
    if cx.opset < 11 {
        let (low, high) = (cx.attr_float("min", f32::MIN)?, cx.attr_float("max", f32::MAX)?);
        return one(cx.clamp(x, low.into(), high.into())?);
    }
    // Known bounds of floats make one op; integers of 64 bits do not fit its numbers.
    let known = |bound: Option<&T>| bound.is_none_or(|bound| bound.is_known());
    if known(low) && known(high) && matches!(x.dtype, DType::F32 | DType::F16 | DType::Bf16) {
        let low = low.map_or(Ok(f64::NEG_INFINITY), |low| cx.float(low))?;
        let high = high.map_or(Ok(f64::INFINITY), |high| cx.float(high))?;
        if low <= high {
            return one(cx.clamp(x, low, high)?);
        }
    }
    let mut y = x.clone();
    if let Some(low) = low {
        y = cx.maximum(&y, low)?;
    }
    if let Some(high) = high {
        y = cx.minimum(&y, high)?;
    }
    one(y)
}

fn is_inf(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let (negative, positive) =
        (cx.attr_int("detect_negative", 1)? != 0, cx.attr_int("detect_positive", 1)? != 0);
    let infinite = cx.is_inf(x)?;
    let zero = scalar(x.dtype, 0.0)?;
    one(match (negative, positive) {
        (true, true) => infinite,
        (true, false) => {
            let below = cx.less(x, &zero)?;
            cx.logical_and(&infinite, &below)?
        }
        (false, true) => {
            let above = cx.greater(x, &zero)?;
            cx.logical_and(&infinite, &above)?
        }
        (false, false) => {
            let not = cx.logical_not(&infinite)?;
            cx.logical_and(&infinite, &not)?
        }
    })
}

/// Remainder with the divisor's sign, or C's `fmod`.
fn modulo(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, y) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let rest = cx.rem(x, y)?;
    if cx.attr_flag("fmod")? || matches!(x.dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64)
    {
        return one(rest);
    }
    let zero = scalar(x.dtype, 0.0)?;
    let (below, divisor_below) = (cx.less(&rest, &zero)?, cx.less(y, &zero)?);
    let differ = cx.logical_xor(&below, &divisor_below)?;
    let some = cx.not_equal(&rest, &zero)?;
    let wrong = cx.logical_and(&differ, &some)?;
    let shifted = cx.add(&rest, y)?;
    one(cx.select(&wrong, &shifted, &rest)?)
}

fn prelu(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, slope) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let zero = scalar(x.dtype, 0.0)?;
    let below = cx.less(x, &zero)?;
    let scaled = cx.mul(x, slope)?;
    one(cx.select(&below, &scaled, x)?)
}

/// The exponent may be of another dtype; the result is of the base's.
fn pow(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, y) = (inputs.tensor(0)?, inputs.tensor(1)?);
    if x.dtype == y.dtype {
        return one(cx.pow(x, y)?);
    }
    let float = |dtype| matches!(dtype, DType::F16 | DType::Bf16 | DType::F32 | DType::F64);
    if float(y.dtype) && !float(x.dtype) {
        let base = cx.cast(x, DType::F64)?;
        let exponent = cx.cast(y, DType::F64)?;
        let power = cx.pow(&base, &exponent)?;
        return one(cx.cast(&power, x.dtype)?);
    }
    let exponent = cx.cast(y, x.dtype)?;
    one(cx.pow(x, &exponent)?)
}

fn selu(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let alpha = cx.attr_float("alpha", 1.673_263_2)?;
    let gamma = cx.attr_float("gamma", 1.050_701)?;
    let bent = cx.elu(inputs.tensor(0)?, alpha)?;
    one(cx.mul_number(&bent, gamma.into())?)
}

fn shrink(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let lambda = f64::from(cx.attr_float("lambd", 0.5)?);
    let bias = f64::from(cx.attr_float("bias", 0.0)?);
    let (low, high, zero) =
        (scalar(x.dtype, -lambda)?, scalar(x.dtype, lambda)?, scalar(x.dtype, 0.0)?);
    let (raised, lowered) = (cx.add_number(x, bias)?, cx.add_number(x, -bias)?);
    let (below, above) = (cx.less(x, &low)?, cx.greater(x, &high)?);
    let upper = cx.select(&above, &lowered, &zero)?;
    one(cx.select(&below, &raised, &upper)?)
}

/// `x * sigmoid(alpha * x)`.
fn swished(cx: &mut Cx<'_>, x: &T) -> R<T> {
    let alpha = cx.attr_float("alpha", 1.0)?;
    if alpha == 1.0 {
        return cx.silu(x);
    }
    let scaled = cx.mul_number(x, alpha.into())?;
    let gate = cx.sigmoid(&scaled)?;
    cx.mul(x, &gate)
}

fn thresholded_relu(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let alpha = scalar(x.dtype, cx.attr_float("alpha", 1.0)?.into())?;
    let zero = scalar(x.dtype, 0.0)?;
    let above = cx.greater(x, &alpha)?;
    one(cx.select(&above, x, &zero)?)
}
