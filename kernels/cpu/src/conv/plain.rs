//! Convolutions of any kind, one output channel of one item at a time, as long rows of
//! multiply-adds.

use super::{Axis, SPATIAL_AXES, worth};
use crate::level::leveled;
use crate::pool::Team;
use aimass_tensor::Element;
use std::ops::Range;

/// Extents of a convolution or of a transposed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvDims {
    /// Items.
    pub batch: usize,
    /// Groups; divides both numbers of channels.
    pub groups: usize,
    /// Channels of `x`.
    pub channels: usize,
    /// Channels of the output.
    pub filters: usize,
    /// How the window moves; of a transposed convolution over its *output*.
    pub axes: [Axis; SPATIAL_AXES],
}

/// Number type of a plain convolution.
pub trait Float: Element {
    /// `self * y + z`, rounded once.
    fn fused(self, y: Self, z: Self) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn fused(self, y: f32, z: f32) -> f32 {
        self.mul_add(y, z)
    }
}

impl Float for f64 {
    #[inline(always)]
    fn fused(self, y: f64, z: f64) -> f64 {
        self.mul_add(y, z)
    }
}

/// What one task reads for its output channel.
#[derive(Clone, Copy)]
struct Plane<'a, T> {
    axes: [Axis; SPATIAL_AXES],
    /// Channels of the group.
    channels: usize,
    /// Their planes, one after the other.
    x: &'a [T],
    w: &'a [T],
    /// Elements of `w` from one channel of the group to the next.
    w_step: usize,
    first: T,
}

/// `y = conv(x, w) + bias`.
///
/// | slice  | shape                                         |
/// |--------|-----------------------------------------------|
/// | `x`    | `[batch, channels, input..]`                  |
/// | `w`    | `[filters, channels / groups, kernel..]`      |
/// | `bias` | `[filters]`                                   |
/// | `y`    | `[batch, filters, output..]`                  |
///
/// # Panics
/// If a slice has another size.
pub fn conv<T: Float>(
    team: Team<'_>,
    dims: &ConvDims,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let ConvDims { batch, groups, channels, filters, axes } = *dims;
    let inputs: usize = axes.iter().map(|axis| axis.input).product();
    let outputs: usize = axes.iter().map(|axis| axis.output).product();
    let taps: usize = axes.iter().map(|axis| axis.kernel).product();
    assert_eq!(x.len(), batch * channels * inputs, "elements of x");
    assert_eq!(y.len(), batch * filters * outputs, "elements of y");
    if y.is_empty() {
        return;
    }
    let (own_channels, own_filters) = (channels / groups, filters / groups);
    assert_eq!(w.len(), filters * own_channels * taps, "elements of w");
    worth(team, y.len().saturating_mul(own_channels * taps)).chunks(
        [y],
        [outputs],
        &|task, [y]| {
            let (item, filter) = (task / filters, task % filters);
            let from = item * channels + filter / own_filters * own_channels;
            let plane = Plane {
                axes,
                channels: own_channels,
                x: &x[from * inputs..][..own_channels * inputs],
                w: &w[filter * own_channels * taps..][..own_channels * taps],
                w_step: taps,
                first: bias.map_or(T::default(), |bias| bias[filter]),
            };
            conv_plane(plane, y);
        },
    );
}

/// `y = conv_transpose(x, w) + bias`: every element of `x` adds a scaled window to `y`.
///
/// | slice  | shape                                         |
/// |--------|-----------------------------------------------|
/// | `x`    | `[batch, channels, output of the axis..]`     |
/// | `w`    | `[channels, filters / groups, kernel..]`      |
/// | `bias` | `[filters]`                                   |
/// | `y`    | `[batch, filters, input of the axis..]`       |
///
/// # Panics
/// If a slice has another size.
pub fn conv_transpose<T: Float>(
    team: Team<'_>,
    dims: &ConvDims,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let ConvDims { batch, groups, channels, filters, axes } = *dims;
    let inputs: usize = axes.iter().map(|axis| axis.output).product();
    let outputs: usize = axes.iter().map(|axis| axis.input).product();
    let taps: usize = axes.iter().map(|axis| axis.kernel).product();
    assert_eq!(x.len(), batch * channels * inputs, "elements of x");
    assert_eq!(y.len(), batch * filters * outputs, "elements of y");
    if y.is_empty() {
        return;
    }
    let (own_channels, own_filters) = (channels / groups, filters / groups);
    assert_eq!(w.len(), channels * own_filters * taps, "elements of w");
    worth(team, x.len().saturating_mul(own_filters * taps)).chunks([y], [outputs], &|task, [y]| {
        let (item, filter) = (task / filters, task % filters);
        let first = filter / own_filters * own_channels;
        let plane = Plane {
            axes,
            channels: own_channels,
            x: &x[(item * channels + first) * inputs..][..own_channels * inputs],
            w: w.get((first * own_filters + filter % own_filters) * taps..).unwrap_or_default(),
            w_step: own_filters * taps,
            first: bias.map_or(T::default(), |bias| bias[filter]),
        };
        spread_plane(plane, y);
    });
}

leveled! {
    fn conv_plane<T: Float>(plane: Plane<'_, T>, y: &mut [T]) = conv_body(plane, y);
}

leveled! {
    fn spread_plane<T: Float>(plane: Plane<'_, T>, y: &mut [T]) = spread_body(plane, y);
}

#[inline(always)]
fn conv_body<T: Float>(plane: Plane<'_, T>, y: &mut [T]) {
    y.fill(plane.first);
    each_tap(&plane, y, gather_row);
}

#[inline(always)]
fn spread_body<T: Float>(plane: Plane<'_, T>, y: &mut [T]) {
    y.fill(plane.first);
    each_tap(&plane, y, spread_row);
}

/// Adds what an element of the window brings to one row of a convolution.
#[inline(always)]
fn gather_row<T: Float>(axes: &[Axis], x: &[T], y: &mut [T], weight: T, tap: &Tap) {
    let [_, rows, columns] = axes else { return };
    let y = &mut y[(tap.at[0] * rows.output + tap.at[1]) * columns.output..][..columns.output];
    let x = &x[(tap.from[0] * rows.input + tap.from[1]) * columns.input..][..columns.input];
    let Some(start) = tap.columns.clone().next() else { return };
    let x = &x[columns.at(start, tap.column)..];
    let y = &mut y[tap.columns.clone()];
    match columns.stride {
        1 => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x.fused(weight, *y)),
        stride => {
            let x = x.iter().step_by(stride);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x.fused(weight, *y));
        }
    }
}

/// Adds what one row of a transposed convolution brings through an element of the window.
#[inline(always)]
fn spread_row<T: Float>(axes: &[Axis], x: &[T], y: &mut [T], weight: T, tap: &Tap) {
    let [_, rows, columns] = axes else { return };
    let x = &x[(tap.at[0] * rows.output + tap.at[1]) * columns.output..][..columns.output];
    let y = &mut y[(tap.from[0] * rows.input + tap.from[1]) * columns.input..][..columns.input];
    let Some(start) = tap.columns.clone().next() else { return };
    let y = &mut y[columns.at(start, tap.column)..];
    let x = &x[tap.columns.clone()];
    match columns.stride {
        1 => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x.fused(weight, *y)),
        stride => {
            let y = y.iter_mut().step_by(stride);
            y.zip(x).for_each(|(y, &x)| *y = x.fused(weight, *y));
        }
    }
}

/// One element of the window on one row of positions.
struct Tap {
    /// The row: depth, then height.
    at: [usize; 2],
    /// Row of the other side.
    from: [usize; 2],
    /// Element of the window along the last axis, and the positions where it is inside.
    column: usize,
    columns: Range<usize>,
}

/// Calls `row(axes, channel of x, y, weight, tap)` for every channel, element of the window and row of
/// positions, in this order.
///
/// `row` is a function that is always inlined: a closure would be compiled for the baseline, where
/// `mul_add` is a call.
#[inline(always)]
fn each_tap<T: Float>(
    plane: &Plane<'_, T>,
    y: &mut [T],
    row: impl Fn(&[Axis], &[T], &mut [T], T, &Tap),
) {
    let Plane { axes, channels, x, w, w_step, .. } = *plane;
    let [depth, rows, columns] = axes;
    let taps = depth.kernel * rows.kernel * columns.kernel;
    let size = x.len() / channels.max(1);
    for channel in 0..channels {
        let x = &x[channel * size..][..size];
        for tap in 0..taps {
            let weight = w[channel * w_step + tap];
            let (z, rest) = (tap / (rows.kernel * columns.kernel), tap / columns.kernel);
            let (i, column) = (rest % rows.kernel, tap % columns.kernel);
            let columns = columns.positions(column);
            for d in depth.positions(z) {
                for h in rows.positions(i) {
                    let from = [depth.at(d, z), rows.at(h, i)];
                    let tap = Tap { at: [d, h], from, column, columns: columns.clone() };
                    row(&axes, x, y, weight, &tap);
                }
            }
        }
    }
}
