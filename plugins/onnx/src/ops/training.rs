//! Optimizers of `ai.onnx.preview.training`.

use super::Table;
use crate::content::scalar;
use crate::node::{Cx, Inputs};
use crate::value::{R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("Adagrad", adagrad),
    ("Adam", adam),
    ("Gradient", |_, _| {
        Err(unsupported("Gradient: this plugin serves models; it does not differentiate them"))
    }),
    ("Momentum", momentum),
];

/// Tensors of the optimizer: after the rate R and the count T, `groups` lists of equal length.
fn lists<'a>(inputs: Inputs<'a>, groups: usize) -> R<Vec<Vec<&'a T>>> {
    let rest = inputs.len().saturating_sub(2);
    if rest == 0 || !rest.is_multiple_of(groups) {
        return Err(invalid(format!("expected {groups} lists of tensors, got {rest} tensors")));
    }
    let each = rest / groups;
    let list = |group| (0..each).map(|index| inputs.tensor(2 + group * each + index)).collect();
    (0..groups).map(list).collect()
}

/// The gradient with the L2 term.
fn regularized(cx: &mut Cx<'_>, x: &T, gradient: &T) -> R<T> {
    let coefficient = cx.attr_float("norm_coefficient", 0.0)?;
    let term = cx.mul_number(x, coefficient.into())?;
    cx.add(gradient, &term)
}

fn flat(lists: Vec<Vec<T>>) -> Vec<Value> {
    lists.into_iter().flatten().map(Value::from).collect()
}

fn adagrad(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (rate, count) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let lists = lists(inputs, 3)?;
    let decay = cx.attr_float("decay_factor", 0.0)?;
    let count = cx.cast(count, rate.dtype)?;
    let slowed = cx.mul_number(&count, decay.into())?;
    let slowed = cx.add_number(&slowed, 1.0)?;
    let rate = cx.div(rate, &slowed)?;
    let epsilon = cx.attr_float("epsilon", 0.0)?;
    let (mut xs, mut squares) = (Vec::new(), Vec::new());
    for ((x, gradient), sum) in lists[0].iter().zip(&lists[1]).zip(&lists[2]) {
        let gradient = regularized(cx, x, gradient)?;
        let square = cx.mul(&gradient, &gradient)?;
        let sum = cx.add(sum, &square)?;
        let root = cx.sqrt(&sum)?;
        let below = cx.add_number(&root, epsilon.into())?;
        xs.push(moved(cx, x, (&rate, &gradient), Some(&below))?);
        squares.push(sum);
    }
    Ok(flat(vec![xs, squares]))
}

/// `x - rate * step / below`.
fn moved(cx: &mut Cx<'_>, x: &T, (rate, step): (&T, &T), below: Option<&T>) -> R<T> {
    let rate = cx.cast(rate, x.dtype)?;
    let rate = cx.reshape_to(&rate, &[])?;
    let mut step = cx.mul(&rate, step)?;
    if let Some(below) = below {
        step = cx.div(&step, below)?;
    }
    cx.sub(x, &step)
}

/// `a * x + b * y`.
fn blend(cx: &mut Cx<'_>, (a, x): (f64, &T), (b, y): (f64, &T)) -> R<T> {
    let (x, y) = (cx.mul_number(x, a)?, cx.mul_number(y, b)?);
    cx.add(&x, &y)
}

fn adam(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let lists = lists(inputs, 4)?;
    let alpha = f64::from(cx.attr_float("alpha", 0.9)?);
    let beta = f64::from(cx.attr_float("beta", 0.999)?);
    let epsilon = cx.attr_float("epsilon", 0.0)?;
    let after = f64::from(cx.attr_float("norm_coefficient_post", 0.0)?);
    let rate = corrected_rate(cx, inputs, (alpha, beta))?;
    let (mut xs, mut means, mut squares) = (Vec::new(), Vec::new(), Vec::new());
    let states = lists[2].iter().zip(&lists[3]);
    for ((x, gradient), (mean, square)) in lists[0].iter().zip(&lists[1]).zip(states) {
        let gradient = regularized(cx, x, gradient)?;
        let mean = blend(cx, (alpha, mean), (1.0 - alpha, &gradient))?;
        let own = cx.mul(&gradient, &gradient)?;
        let square = blend(cx, (beta, square), (1.0 - beta, &own))?;
        let root = cx.sqrt(&square)?;
        let below = cx.add_number(&root, epsilon.into())?;
        let x = moved(cx, x, (&rate, &mean), Some(&below))?;
        xs.push(cx.mul_number(&x, 1.0 - after)?);
        means.push(mean);
        squares.push(square);
    }
    Ok(flat(vec![xs, means, squares]))
}

/// The rate, corrected for moments that start at 0; as it is before the first step.
fn corrected_rate(cx: &mut Cx<'_>, inputs: Inputs<'_>, (alpha, beta): (f64, f64)) -> R<T> {
    let (rate, count) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let count = cx.reshape_to(count, &[])?;
    let count = cx.cast(&count, DType::F64)?;
    let left = |cx: &mut Cx<'_>, base: f64| {
        let power = cx.pow(&scalar(DType::F64, base)?, &count)?;
        let power = cx.neg(&power)?;
        cx.add_number(&power, 1.0)
    };
    let (first, second) = (left(cx, alpha)?, left(cx, beta)?);
    let second = cx.sqrt(&second)?;
    let factor = cx.div(&second, &first)?;
    let zero = scalar(DType::F64, 0.0)?;
    let started = cx.greater(&count, &zero)?;
    let factor = cx.select(&started, &factor, &scalar(DType::F64, 1.0)?)?;
    let rate = cx.reshape_to(rate, &[])?;
    let rate = cx.cast(&rate, DType::F64)?;
    cx.mul(&rate, &factor)
}

fn momentum(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (rate, count) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let lists = lists(inputs, 3)?;
    let alpha = f64::from(cx.attr_float("alpha", 0.0)?);
    let beta = f64::from(cx.attr_float("beta", 0.0)?);
    let nesterov = match cx.attr_text("mode", "standard")? {
        "nesterov" => true,
        "standard" => false,
        other => return Err(invalid(format!("mode: got `{other}`"))),
    };
    // The first step takes the gradient whole.
    let count = cx.reshape_to(count, &[])?;
    let started = cx.greater(&count, &scalar(count.dtype, 0.0)?)?;
    let (mut xs, mut velocities) = (Vec::new(), Vec::new());
    for ((x, gradient), velocity) in lists[0].iter().zip(&lists[1]).zip(&lists[2]) {
        let gradient = regularized(cx, x, gradient)?;
        let beta = cx.select(&started, &scalar(x.dtype, beta)?, &scalar(x.dtype, 1.0)?)?;
        let (kept, added) = (cx.mul_number(velocity, alpha)?, cx.mul(&gradient, &beta)?);
        let velocity = cx.add(&kept, &added)?;
        let step = match nesterov {
            true => {
                let ahead = cx.mul_number(&velocity, alpha)?;
                cx.add(&gradient, &ahead)?
            }
            false => velocity.clone(),
        };
        xs.push(moved(cx, x, (rate, &step), None)?);
        velocities.push(velocity);
    }
    Ok(flat(vec![xs, velocities]))
}
