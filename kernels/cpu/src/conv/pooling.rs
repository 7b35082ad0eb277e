//! Largest element and mean of windows, plane by plane.

use super::{Axis, Float, SPATIAL_AXES, worth};
use crate::elementwise::Number;
use crate::level::leveled;
use crate::pool::Team;

/// Extents of a pooling: `planes` (batch times channels) are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolDims {
    /// Planes of `x` and of the output.
    pub planes: usize,
    /// How the window moves.
    pub axes: [Axis; SPATIAL_AXES],
}

impl PoolDims {
    fn check(&self, x: usize, y: usize) -> (usize, usize) {
        let inputs: usize = self.axes.iter().map(|axis| axis.input).product();
        let outputs: usize = self.axes.iter().map(|axis| axis.output).product();
        assert_eq!(x, self.planes * inputs, "elements of x");
        assert_eq!(y, self.planes * outputs, "elements of y");
        (inputs, outputs)
    }
}

/// The largest element of each window; `lowest` where a window lies on no element. NaN wins.
///
/// `x: [planes, input..]`, `y: [planes, output..]`.
///
/// # Panics
/// If a slice has another size.
pub fn max_pool<T: Number>(team: Team<'_>, dims: &PoolDims, lowest: T, x: &[T], y: &mut [T]) {
    let (inputs, outputs) = dims.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    worth(team, x.len().max(y.len())).chunks([y], [outputs], &|plane, [y]| {
        max_plane(&dims.axes, lowest, &x[plane * inputs..][..inputs], y);
    });
}

/// The mean of each window, over the elements that lie on the input, or with `count_pads` over all
/// elements of the window. A window that lies on no element gives 0.
///
/// `x: [planes, input..]`, `y: [planes, output..]`.
///
/// # Panics
/// If a slice has another size.
pub fn average_pool<T: Average>(
    team: Team<'_>,
    dims: &PoolDims,
    count_pads: bool,
    x: &[T],
    y: &mut [T],
) {
    let (inputs, outputs) = dims.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    worth(team, x.len().max(y.len())).chunks([y], [outputs], &|plane, [y]| {
        average_plane(&dims.axes, count_pads, &x[plane * inputs..][..inputs], y);
    });
}

/// Number type of an average pooling.
pub trait Average: Float {
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
    /// `self / count`.
    fn over(self, count: f64) -> Self;
}

impl Average for f32 {
    #[inline(always)]
    fn plus(self, other: f32) -> f32 {
        self + other
    }

    #[inline(always)]
    fn over(self, count: f64) -> f32 {
        self / count as f32
    }
}

impl Average for f64 {
    #[inline(always)]
    fn plus(self, other: f64) -> f64 {
        self + other
    }

    #[inline(always)]
    fn over(self, count: f64) -> f64 {
        self / count
    }
}

leveled! {
    fn max_plane<T: Number>(axes: &[Axis; SPATIAL_AXES], lowest: T, x: &[T], y: &mut [T])
        = max_body(axes, lowest, x, y);
}

leveled! {
    fn average_plane<T: Average>(axes: &[Axis; SPATIAL_AXES], pads: bool, x: &[T], y: &mut [T])
        = average_body(axes, pads, x, y);
}

#[inline(always)]
fn max_body<T: Number>(axes: &[Axis; SPATIAL_AXES], lowest: T, x: &[T], y: &mut [T]) {
    fold_plane(axes, lowest, x, y, T::max);
}

#[inline(always)]
fn average_body<T: Average>(axes: &[Axis; SPATIAL_AXES], pads: bool, x: &[T], y: &mut [T]) {
    fold_plane(axes, T::default(), x, y, T::plus);
    let all: f64 = axes.iter().map(|axis| axis.kernel as f64).product();
    let inside = |axis: &Axis, position: usize| axis.taps(position).len() as f64;
    let [depth, rows, columns] = axes;
    let mut outputs = y.chunks_exact_mut(columns.output);
    for d in 0..depth.output {
        for (h, y) in (0..rows.output).zip(&mut outputs) {
            let outer = inside(depth, d) * inside(rows, h);
            for (position, y) in y.iter_mut().enumerate() {
                let count = if pads { all } else { outer * inside(columns, position) };
                *y = if count > 0.0 { y.over(count) } else { T::default() };
            }
        }
    }
}

/// Folds every window from `first` on, in row-major order.
#[inline(always)]
fn fold_plane<T: Copy>(
    axes: &[Axis; SPATIAL_AXES],
    first: T,
    x: &[T],
    y: &mut [T],
    fold: impl Fn(T, T) -> T,
) {
    let [depth, rows, columns] = axes;
    y.fill(first);
    let mut outputs = y.chunks_exact_mut(columns.output);
    for d in 0..depth.output {
        for (h, y) in (0..rows.output).zip(&mut outputs) {
            for z in depth.taps(d) {
                for i in rows.taps(h) {
                    let row = depth.at(d, z) * rows.input + rows.at(h, i);
                    fold_row(columns, &x[row * columns.input..][..columns.input], y, &fold);
                }
            }
        }
    }
}

/// Folds one row of the input into a row of positions.
#[inline(always)]
fn fold_row<T: Copy>(columns: &Axis, x: &[T], y: &mut [T], fold: &impl Fn(T, T) -> T) {
    // A window wider than the row has more elements than there are positions to visit.
    if columns.kernel > columns.output {
        for (position, y) in y.iter_mut().enumerate() {
            for tap in columns.taps(position) {
                *y = fold(*y, x[columns.at(position, tap)]);
            }
        }
        return;
    }
    for tap in 0..columns.kernel {
        let positions = columns.positions(tap);
        if positions.is_empty() {
            continue;
        }
        let x = x[columns.at(positions.start, tap)..].iter().step_by(columns.stride);
        y[positions].iter_mut().zip(x).for_each(|(y, &x)| *y = fold(*y, x));
    }
}
