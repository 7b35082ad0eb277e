//! Poolings.

use super::window::{Geometry, kernel_shape, spatial_extents, spatial_rank, with_spatial};
use super::{Table, one};
use crate::content::{int_tensor, number_tensor, scalar};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;
use aimass_sdk::graph::PadMode;

pub(super) const TABLE: Table = &[
    ("AveragePool", |cx, x| one(average_pooled(cx, x.tensor(0)?)?)),
    ("GlobalAveragePool", |cx, x| {
        let x = x.tensor(0)?;
        one(cx.reduce_mean(x, &spatial_axes(x)?, true)?)
    }),
    ("GlobalLpPool", global_lp_pool),
    ("GlobalMaxPool", |cx, x| {
        let x = x.tensor(0)?;
        one(cx.reduce_max(x, &spatial_axes(x)?, true)?)
    }),
    ("LpPool", lp_pool),
    ("MaxPool", max_pool),
];

/// Elements of a window that is unrolled to find where its largest element lies.
const TAPS_MAX: u64 = 1024;

fn spatial_axes(x: &T) -> R<Vec<usize>> {
    spatial_rank(x)?;
    Ok((2..x.rank()).collect())
}

/// The average pooling that a node says.
pub(super) fn average_pooled(cx: &mut Cx<'_>, x: &T) -> R<T> {
    let kernel = kernel_shape(cx, spatial_rank(x)?)?;
    let stated = Geometry::of(cx, x, kernel)?;
    let extents = spatial_extents(x)?;
    let mut geometry = stated.clone();
    let positions = geometry.reach(&extents, cx.attr_flag("ceil_mode")?)?;
    let count_pads = cx.attr_flag("count_include_pad")?;
    let mut y = cx.average_pool(x, &geometry.kernel, &geometry.window(), count_pads)?;
    if count_pads && geometry != stated {
        // What a window has beyond the stated pads does not count.
        for axis in 0..extents.len() {
            let end = extents[axis] + stated.before[axis] + stated.after[axis];
            let factors = counted(&stated, axis, positions[axis], end);
            let mut shape = vec![1; extents.len()];
            shape[axis] = positions[axis];
            let factors = number_tensor(x.dtype, &shape, &factors)?;
            y = cx.mul(&y, &factors)?;
        }
    }
    Ok(y)
}

/// By position, all elements of the window divided by those before `end`.
fn counted(geometry: &Geometry, axis: usize, positions: u64, end: u64) -> Vec<f64> {
    let (kernel, dilation) = (geometry.kernel[axis], geometry.dilations[axis]);
    let factor = |position: u64| {
        let room = end.saturating_sub(position * geometry.strides[axis]);
        kernel as f64 / room.div_ceil(dilation).clamp(1, kernel) as f64
    };
    (0..positions).map(factor).collect()
}

/// `|x| ^ p`.
fn powers(cx: &mut Cx<'_>, x: &T, p: f64) -> R<T> {
    if p == 2.0 {
        return cx.mul(x, x);
    }
    let magnitudes = cx.abs(x)?;
    if p == 1.0 {
        return Ok(magnitudes);
    }
    let p = scalar(x.dtype, p)?;
    cx.pow(&magnitudes, &p)
}

/// `x ^ (1 / p)`.
fn root(cx: &mut Cx<'_>, x: &T, p: f64) -> R<T> {
    if p == 1.0 {
        return Ok(x.clone());
    }
    if p == 2.0 {
        return cx.sqrt(x);
    }
    let inverse = scalar(x.dtype, 1.0 / p)?;
    cx.pow(x, &inverse)
}

/// The attribute `p`, a float in the first opset.
fn exponent(cx: &Cx<'_>) -> R<f64> {
    let p = match cx.attribute("p") {
        Some(crate::proto::AttributeValue::Float(p)) => f64::from(*p),
        _ => cx.attr_int("p", 2)? as f64,
    };
    if p > 0.0 { Ok(p) } else { Err(invalid(format!("p: expected more than 0, got {p}"))) }
}

/// The p-norm over `axes`, which keep an extent of 1.
pub(super) fn norm(cx: &mut Cx<'_>, x: &T, p: f64, axes: &[usize]) -> R<T> {
    let powers = powers(cx, x, p)?;
    let sum = cx.reduce_sum(&powers, axes, true)?;
    root(cx, &sum, p)
}

fn global_lp_pool(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let p = exponent(cx)?;
    one(norm(cx, x, p, &spatial_axes(x)?)?)
}

fn lp_pool(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let kernel = kernel_shape(cx, spatial_rank(x)?)?;
    let mut geometry = Geometry::of(cx, x, kernel)?;
    geometry.reach(&spatial_extents(x)?, cx.attr_flag("ceil_mode")?)?;
    let p = exponent(cx)?;
    let powers = powers(cx, x, p)?;
    let mean = cx.average_pool(&powers, &geometry.kernel, &geometry.window(), true)?;
    let elements = geometry.kernel.iter().map(|&extent| extent as f64).product();
    let sum = cx.mul_number(&mean, elements)?;
    one(root(cx, &sum, p)?)
}

fn max_pool(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let kernel = kernel_shape(cx, spatial_rank(x)?)?;
    let mut geometry = Geometry::of(cx, x, kernel)?;
    let extents = spatial_extents(x)?;
    let positions = geometry.reach(&extents, cx.attr_flag("ceil_mode")?)?;
    let y = cx.max_pool(x, &geometry.kernel, &geometry.window())?;
    if !cx.wants_output(1) {
        return one(y);
    }
    let column_major = cx.attr_flag("storage_order")?;
    let strides = element_strides(&extents, column_major);
    let within = largest_places(cx, x, (&geometry, &positions), &strides)?;
    let plane = extents.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    let lead = [x.extent(0)?, x.extent(1)?];
    let mut dims = vec![Extent::Fixed(lead[0].saturating_mul(lead[1]))];
    let planes = cx.iota(&dims, 0)?;
    let starts = cx.mul_number(&planes, plane as f64)?;
    dims = vec![Extent::Fixed(lead[0]), Extent::Fixed(lead[1])];
    dims.extend(extents.iter().map(|_| Extent::Fixed(1)));
    let starts = cx.reshape(&starts, &dims)?;
    Ok(vec![y.into(), cx.add(&within, &starts)?.into()])
}

/// Elements from one index of a spatial axis to the next.
fn element_strides(extents: &[u64], column_major: bool) -> Vec<i64> {
    let mut strides = vec![0; extents.len()];
    let mut step = 1i64;
    let mut visit = |axis: usize| {
        strides[axis] = step;
        step = step.saturating_mul(i64::try_from(extents[axis]).unwrap_or(i64::MAX));
    };
    match column_major {
        true => (0..extents.len()).for_each(&mut visit),
        false => (0..extents.len()).rev().for_each(&mut visit),
    }
    strides
}

/// Where in its plane each window's first largest element lies, i64.
fn largest_places(
    cx: &mut Cx<'_>,
    x: &T,
    (geometry, positions): (&Geometry, &[u64]),
    strides: &[i64],
) -> R<T> {
    let taps = geometry.taps(TAPS_MAX)?;
    let padded = pad_lowest(cx, x, geometry)?;
    let mut best: Option<(T, T)> = None;
    for tap in 0..taps {
        let offsets = geometry.tap(tap);
        let mut values = padded.clone();
        for (axis, &offset) in offsets.iter().enumerate() {
            let stride = geometry.strides[axis];
            let end = offset + (positions[axis] - 1) * stride + 1;
            values = cx.slice(&values, axis + 2, (offset, end), stride)?;
        }
        let places = places(geometry, positions, &offsets, strides)?;
        best = Some(match best {
            None => (values, cx.broadcast(&places, &with_spatial(x, positions)?)?),
            Some((largest, at)) => {
                let larger = cx.greater(&values, &largest)?;
                let at = cx.select(&larger, &places, &at)?;
                (cx.maximum(&values, &largest)?, at)
            }
        });
    }
    best.map(|(_, at)| at).ok_or_else(|| invalid("a window without elements"))
}

/// The input with pads below every element.
fn pad_lowest(cx: &mut Cx<'_>, x: &T, geometry: &Geometry) -> R<T> {
    let lowest = match x.dtype {
        DType::I8 => f64::from(i8::MIN),
        DType::U8 => 0.0,
        _ => f64::NEG_INFINITY,
    };
    let pads = |own: &[u64]| [0, 0].iter().chain(own).copied().collect::<Vec<u64>>();
    let (before, after) = (pads(&geometry.before), pads(&geometry.after));
    if before.iter().chain(&after).all(|&pad| pad == 0) {
        return Ok(x.clone());
    }
    cx.pad(x, (&before, &after), PadMode::Constant, lowest)
}

/// By position of the window, where in its plane a tap lies.
fn places(geometry: &Geometry, positions: &[u64], offsets: &[u64], strides: &[i64]) -> R<T> {
    let count = positions.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    if count > PLACES_MAX {
        return Err(invalid(format!("expected at most {PLACES_MAX} windows, got {count}")));
    }
    let mut values = Vec::with_capacity(count as usize);
    for index in 0..count {
        let (mut rest, mut place) = (index, 0i64);
        for axis in (0..positions.len()).rev() {
            let at = rest % positions[axis] * geometry.strides[axis] + offsets[axis];
            rest /= positions[axis];
            place += (at as i64 - geometry.before[axis] as i64) * strides[axis];
        }
        values.push(place);
    }
    Ok(int_tensor(positions, &values))
}

/// Windows of a plane whose largest elements are located.
const PLACES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stated_pads_count() {
        let geometry = Geometry {
            kernel: vec![3],
            strides: vec![2],
            dilations: vec![1],
            before: vec![0],
            after: vec![0],
        };
        // Windows at 0 and 2 of four elements: the last has two of them.
        assert_eq!(counted(&geometry, 0, 2, 4), [1.0, 1.5]);
    }

    #[test]
    fn planes_are_walked_in_either_order() {
        assert_eq!(element_strides(&[2, 3, 4], false), [12, 4, 1]);
        assert_eq!(element_strides(&[2, 3, 4], true), [1, 2, 6]);
    }
}
