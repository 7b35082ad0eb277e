//! Weighted sums of elements along one axis: what every separable resampling is.

use crate::conv::{Float, worth};
use crate::level::leveled;
use crate::pool::Team;
use crate::reduce::Lanes;

/// Number type of a resampling.
pub trait Weighted: Float {
    /// A weight as this type.
    fn weight(value: f32) -> Self;
}

impl Weighted for f32 {
    #[inline(always)]
    fn weight(value: f32) -> f32 {
        value
    }
}

impl Weighted for f64 {
    #[inline(always)]
    fn weight(value: f32) -> f64 {
        f64::from(value)
    }
}

/// Which elements make each element of the output, and with what weights: `[extent, taps]` each.
#[derive(Clone, Copy)]
pub struct Taps<'a> {
    /// Elements that each output takes.
    pub taps: usize,
    /// Positions along the axis.
    pub indices: &'a [i32],
    /// Factors.
    pub weights: &'a [f32],
}

/// `y[o, i, :] = Σ t weights[i, t] x[o, indices[i, t], :]`, summed in the order of `t`.
///
/// `x: [outer, n, inner]`, `y: [outer, extent, inner]`.
///
/// # Panics
/// If an index is not in `0..n` (the caller has checked them) or a slice has another size.
pub fn resample<T: Weighted>(team: Team<'_>, lanes: Lanes, taps: &Taps<'_>, x: &[T], y: &mut [T]) {
    let Lanes { outer, n, inner } = lanes;
    assert_eq!(taps.indices.len(), taps.weights.len(), "indices and weights");
    assert_eq!(x.len(), outer * n * inner, "elements of x");
    if y.is_empty() {
        return;
    }
    let extent = y.len() / (outer * inner);
    assert_eq!(y.len(), outer * extent * inner, "elements of y");
    assert_eq!(taps.indices.len(), extent * taps.taps, "indices of [{extent}, {}]", taps.taps);
    let team = worth(team, y.len().saturating_mul(taps.taps));
    // Lines of the output that one task makes, of whatever outer index they are.
    let lines = (LINES_FLOATS / inner).clamp(1, outer * extent);
    team.chunks([y], [lines * inner], &|task, [y]| {
        let mut line = task * lines;
        let mut rest = y;
        while !rest.is_empty() {
            let (own, first) = (line / extent, line % extent);
            let count = (extent - first).min(rest.len() / inner);
            let (part, after) = rest.split_at_mut(count * inner);
            plane(inner, taps, first, &x[own * n * inner..][..n * inner], part);
            (line, rest) = (line + count, after);
        }
    });
}

/// Elements of the output that one task makes, about.
const LINES_FLOATS: usize = 32 << 10;

leveled! {
    fn plane<T: Weighted>(inner: usize, taps: &Taps<'_>, first: usize, x: &[T], y: &mut [T])
        = plane_body(inner, taps, first, x, y);
}

#[inline(always)]
fn plane_body<T: Weighted>(inner: usize, taps: &Taps<'_>, first: usize, x: &[T], y: &mut [T]) {
    match inner {
        1 => narrow::<T, 1>(taps, first, x, y),
        3 => narrow::<T, 3>(taps, first, x, y),
        4 => narrow::<T, 4>(taps, first, x, y),
        _ => wide(inner, taps, first, x, y),
    }
}

/// A few elements at a place, as of a picture whose channels are last: sums stay in registers.
#[inline(always)]
fn narrow<T: Weighted, const N: usize>(taps: &Taps<'_>, first: usize, x: &[T], y: &mut [T]) {
    let count = taps.taps;
    let (x, _) = x.as_chunks::<N>();
    let (y, _) = y.as_chunks_mut::<N>();
    for (i, y) in y.iter_mut().enumerate() {
        let own = (first + i) * count..(first + i + 1) * count;
        let mut sums = [T::default(); N];
        for (&index, &weight) in taps.indices[own.clone()].iter().zip(&taps.weights[own]) {
            let weight = T::weight(weight);
            sums.iter_mut().zip(&x[index as usize]).for_each(|(s, &x)| *s = x.fused(weight, *s));
        }
        *y = sums;
    }
}

#[inline(always)]
fn wide<T: Weighted>(inner: usize, taps: &Taps<'_>, first: usize, x: &[T], y: &mut [T]) {
    let count = taps.taps;
    for (i, y) in y.chunks_exact_mut(inner).enumerate() {
        let own = (first + i) * count..(first + i + 1) * count;
        y.fill(T::default());
        for (&index, &weight) in taps.indices[own.clone()].iter().zip(&taps.weights[own]) {
            let x = &x[index as usize * inner..][..inner];
            let weight = T::weight(weight);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x.fused(weight, *y));
        }
    }
}
