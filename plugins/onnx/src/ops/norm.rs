//! Normalizations.

use super::{Table, one};
use crate::content::scalar;
use crate::node::{Cx, Inputs, axes_of, axis_of};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;
use aimass_sdk::graph::Window;

pub(super) const TABLE: Table = &[
    ("BatchNormalization", batch_normalization),
    ("GroupNormalization", group_normalization),
    ("InstanceNormalization", instance_normalization),
    ("LRN", lrn),
    ("LpNormalization", lp_normalization),
    ("MeanVarianceNormalization", mean_variance_normalization),
];

/// Channels of `[N, C, ..]`.
fn channels(x: &T) -> R<u64> {
    match x.rank() {
        0 | 1 => Err(invalid(format!("expected [N, C, ..], got rank {}", x.rank()))),
        _ => x.extent(1),
    }
}

/// The wider of two float types.
fn wider(a: DType, b: DType) -> DType {
    match (a.element_bytes(), b.element_bytes()) {
        (own, other) if own < other => b,
        (own, other) if own == other && a != b => DType::F32,
        _ => a,
    }
}

fn batch_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let stored = [inputs.tensor(1)?, inputs.tensor(2)?, inputs.tensor(3)?, inputs.tensor(4)?];
    let x2 = match x.rank() {
        0 => return Err(invalid("expected [N, C, ..], got a scalar")),
        1 => cx.unsqueeze(x, 1)?,
        _ => x.clone(),
    };
    if cx.opset >= 14 && cx.attr_flag("training_mode")? {
        return train(cx, &x2, stored, epsilon);
    }
    if cx.opset < 9 && cx.attr_int("spatial", 1)? == 0 {
        return each_activation(cx, &x2, stored, epsilon);
    }
    let y = normalize_channels(cx, &x2, stored, epsilon)?;
    let y = cx.reshape(&y, &x.dims)?;
    // Before opset 14 a model may name the outputs of training; nothing reads them.
    let [_, _, mean, variance] = stored;
    let mut outputs = vec![y.into()];
    for statistics in [mean, variance, mean, variance] {
        if outputs.len() < cx.output_count() {
            outputs.push(statistics.clone().into());
        }
    }
    Ok(outputs)
}

/// Applies scale, bias, mean and variance, in the widest type of all.
fn normalize_channels(cx: &mut Cx<'_>, x: &T, stored: [&T; 4], epsilon: f32) -> R<T> {
    let widest = stored.iter().fold(x.dtype, |widest, own| wider(widest, own.dtype));
    let own = cx.cast(x, widest)?;
    let [scale, bias, mean, variance] = stored;
    let (scale, bias) = (cx.cast(scale, widest)?, cx.cast(bias, widest)?);
    let (mean, variance) = (cx.cast(mean, widest)?, cx.cast(variance, widest)?);
    let y = cx.batch_norm(&own, [&scale, &bias, &mean, &variance], epsilon)?;
    cx.cast(&y, x.dtype)
}

/// With the statistics of `x` itself; answers running ones, too.
fn train(cx: &mut Cx<'_>, x: &T, stored: [&T; 4], epsilon: f32) -> R<Vec<Value>> {
    let [scale, bias, mean, variance] = stored;
    let momentum = f64::from(cx.attr_float("momentum", 0.9)?);
    let widest = wider(x.dtype, mean.dtype);
    let own = cx.cast(x, widest)?;
    let axes: Vec<usize> = (0..x.rank()).filter(|axis| *axis != 1).collect();
    let (own_mean, own_variance) = moments(cx, &own, &axes)?;
    let vector = [Extent::Fixed(channels(x)?)];
    let own_mean = cx.reshape(&own_mean, &vector)?;
    let own_variance = cx.reshape(&own_variance, &vector)?;
    let y = normalize_channels(cx, x, [scale, bias, &own_mean, &own_variance], epsilon)?;
    let mut outputs = vec![y.into()];
    for (old, new) in [(mean, own_mean), (variance, own_variance)] {
        let new = cx.cast(&new, old.dtype)?;
        let (kept, added) = (cx.mul_number(old, momentum)?, cx.mul_number(&new, 1.0 - momentum)?);
        outputs.push(cx.add(&kept, &added)?.into());
    }
    Ok(outputs)
}

/// Statistics of every place, not of channels (opset 7, `spatial` = 0).
fn each_activation(cx: &mut Cx<'_>, x: &T, stored: [&T; 4], epsilon: f32) -> R<Vec<Value>> {
    let [scale, bias, mean, variance] = stored;
    let centered = cx.sub(x, mean)?;
    let shifted = cx.add_number(variance, epsilon.into())?;
    let deviation = cx.sqrt(&shifted)?;
    let normal = cx.div(&centered, &deviation)?;
    let scaled = cx.mul(&normal, scale)?;
    one(cx.add(&scaled, bias)?)
}

/// Mean and variance over `axes`, which keep an extent of 1.
pub(super) fn moments(cx: &mut Cx<'_>, x: &T, axes: &[usize]) -> R<(T, T)> {
    let mean = cx.reduce_mean(x, axes, true)?;
    let centered = cx.sub(x, &mean)?;
    let squares = cx.mul(&centered, &centered)?;
    Ok((mean, cx.reduce_mean(&squares, axes, true)?))
}

fn instance_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let groups = group_count(channels(x)?)?;
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    one(cx.group_norm(x, groups, (inputs.tensor(1)?, inputs.tensor(2)?), epsilon)?)
}

fn group_count(groups: u64) -> R<u32> {
    u32::try_from(groups)
        .ok()
        .filter(|groups| *groups > 0)
        .ok_or_else(|| invalid(format!("expected at least one group, got {groups}")))
}

/// Scale and bias are one number a group before opset 21, one a channel from there on.
fn group_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let channels = channels(x)?;
    let groups = u64::try_from(cx.attr_int("num_groups", 0)?).unwrap_or(0);
    let count = group_count(groups)?;
    if channels % groups != 0 {
        return Err(invalid(format!("num_groups: {groups} do not divide {channels} channels")));
    }
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let mut vectors = Vec::with_capacity(2);
    for index in [1, 2] {
        let vector = inputs.tensor(index)?;
        if cx.opset >= 21 || groups == channels {
            vectors.push(vector.clone());
            continue;
        }
        let column = cx.reshape_to(vector, &[groups, 1])?;
        let spread = cx.broadcast_to(&column, &[groups, channels / groups])?;
        vectors.push(cx.reshape_to(&spread, &[channels])?);
    }
    one(cx.group_norm(x, count, (&vectors[0], &vectors[1]), epsilon)?)
}

/// Over channels that are near: the squares of a window of them.
fn lrn(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let channels = channels(x)?;
    let size = cx.attr_int("size", 0)?;
    let size = u64::try_from(size).ok().filter(|size| (1..1 << 20).contains(size));
    let size = size.ok_or_else(|| invalid("size: expected a number of channels"))?;
    let (alpha, beta) = (cx.attr_float("alpha", 1e-4)?, cx.attr_float("beta", 0.75)?);
    let bias = cx.attr_float("bias", 1.0)?;
    let mut plane = 1u64;
    for axis in 2..x.rank() {
        plane = plane.saturating_mul(x.extent(axis)?);
    }
    let squares = cx.mul(x, x)?;
    let dims = [x.dims[0], Extent::Fixed(1), Extent::Fixed(channels), Extent::Fixed(plane)];
    let image = cx.reshape(&squares, &dims)?;
    let before = (size - 1) / 2;
    let window = Window {
        strides: vec![1, 1],
        pads_before: vec![before, 0],
        pads_after: vec![size - 1 - before, 0],
        dilations: vec![1, 1],
    };
    let mean = cx.average_pool(&image, &[size, 1], &window, true)?;
    let mean = cx.reshape(&mean, &x.dims)?;
    let scaled = cx.mul_number(&mean, alpha.into())?;
    let base = cx.add_number(&scaled, bias.into())?;
    let exponent = scalar(x.dtype, beta.into())?;
    let power = cx.pow(&base, &exponent)?;
    one(cx.div(x, &power)?)
}

/// A lane without length gives zeros.
fn lp_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axis = axis_of(cx.attr_int("axis", -1)?, x.rank())?;
    let p = cx.attr_int("p", 2)?;
    if !(p == 1 || p == 2) {
        return Err(invalid(format!("p: expected 1 or 2, got {p}")));
    }
    let lengths = super::pool::norm(cx, x, p as f64, &[axis])?;
    let (zero, unit) = (scalar(x.dtype, 0.0)?, scalar(x.dtype, 1.0)?);
    let none = cx.equal(&lengths, &zero)?;
    let lengths = cx.select(&none, &unit, &lengths)?;
    one(cx.div(x, &lengths)?)
}

fn mean_variance_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axes = match cx.attr_ints_opt("axes")? {
        Some(axes) => axes_of(axes, x.rank())?,
        None => axes_of(&[0, 2, 3], x.rank())?,
    };
    let (mean, variance) = moments(cx, x, &axes)?;
    let centered = cx.sub(x, &mean)?;
    let deviation = cx.sqrt(&variance)?;
    let shifted = cx.add_number(&deviation, 1e-9)?;
    one(cx.div(&centered, &shifted)?)
}
