//! Softmax over one axis: `y = exp(x - max) / sum exp(x - max)`.
//!
//! Semantics: ONNX `Softmax` and `LogSoftmax`, opset 13. Subtracting the lane maximum keeps `exp`
//! finite for any finite input; a lane of only `-inf` gives zeros.

use crate::level::leveled;
use crate::reduce::Lanes;
use crate::vector_math::{exp_negative, exponentials, larger, log, max, sum_by};
use crate::view::{Rows, RowsMut};

/// Softmax of every row.
///
/// # Panics
/// If the extents differ.
pub fn softmax_rows(x: Rows, out: RowsMut) {
    assert_eq!((x.rows(), x.columns()), (out.rows(), out.columns()), "extents of out");
    let mut out = out;
    for row in 0..x.rows() {
        out.row_mut(row).copy_from_slice(x.row(row));
        softmax_row(out.row_mut(row));
    }
}

/// Softmax of every row, in place.
pub fn softmax_rows_in_place(x: RowsMut) {
    let mut x = x;
    (0..x.rows()).for_each(|row| softmax_row(x.row_mut(row)));
}

/// Softmax over the middle axis of `lanes`.
///
/// # Panics
/// If a slice does not have the elements of `lanes`.
pub fn softmax_axis(lanes: Lanes, x: &[f32], out: &mut [f32]) {
    out.copy_from_slice(x);
    each_lane(lanes, out, softmax_row, softmax_columns);
}

/// `x - max - log sum exp(x - max)` over the middle axis of `lanes`.
///
/// # Panics
/// If a slice does not have the elements of `lanes`.
pub fn log_softmax_axis(lanes: Lanes, x: &[f32], out: &mut [f32]) {
    out.copy_from_slice(x);
    each_lane(lanes, out, log_softmax_row, log_softmax_columns);
}

fn each_lane(
    lanes: Lanes,
    x: &mut [f32],
    row: fn(&mut [f32]),
    columns: fn(&mut [f32], usize, usize),
) {
    let Lanes { n, inner, .. } = lanes;
    assert_eq!(x.len(), lanes.elements(), "elements of {lanes:?}");
    if x.is_empty() {
        return;
    }
    for slab in x.chunks_exact_mut(n * inner) {
        if inner == 1 {
            row(slab);
            continue;
        }
        for first in (0..inner).step_by(16) {
            columns(&mut slab[first..], inner, 16.min(inner - first));
        }
    }
}

leveled! {
    fn softmax_row(x: &mut [f32]) = softmax_row_body(x);
}

#[inline(always)]
fn softmax_row_body(x: &mut [f32]) {
    let sum = exponentials(x, max(x));
    let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
    x.iter_mut().for_each(|x| *x *= factor);
}

leveled! {
    fn log_softmax_row(x: &mut [f32]) = log_softmax_row_body(x);
}

#[inline(always)]
fn log_softmax_row_body(x: &mut [f32]) {
    let largest = max(x);
    if largest == f32::NEG_INFINITY {
        return;
    }
    let shift = log(sum_by(x, |x| exp_negative(x - largest)));
    x.iter_mut().for_each(|x| *x = (*x - largest) - shift);
}

leveled! {
    /// `count` (at most 16) columns, rows `stride` apart.
    fn softmax_columns(x: &mut [f32], stride: usize, count: usize)
        = softmax_columns_body(x, stride, count);
}

#[inline(always)]
fn softmax_columns_body(x: &mut [f32], stride: usize, count: usize) {
    let largest = column_maxima(x, stride, count);
    let mut sums = [0f32; 16];
    for row in x.chunks_mut(stride) {
        for (i, x) in row.iter_mut().take(count).enumerate() {
            *x = if largest[i] == f32::NEG_INFINITY { 0.0 } else { exp_negative(*x - largest[i]) };
            sums[i] += *x;
        }
    }
    let factors = sums.map(|sum| if sum == 0.0 { 0.0 } else { 1.0 / sum });
    for row in x.chunks_mut(stride) {
        row.iter_mut().take(count).zip(&factors).for_each(|(x, factor)| *x *= factor);
    }
}

leveled! {
    /// As [`softmax_columns`].
    fn log_softmax_columns(x: &mut [f32], stride: usize, count: usize)
        = log_softmax_columns_body(x, stride, count);
}

#[inline(always)]
fn log_softmax_columns_body(x: &mut [f32], stride: usize, count: usize) {
    let largest = column_maxima(x, stride, count);
    let mut sums = [0f32; 16];
    for row in x.chunks(stride) {
        for (i, &x) in row.iter().take(count).enumerate() {
            sums[i] += exp_negative(x - largest[i]);
        }
    }
    for row in x.chunks_mut(stride) {
        for (i, x) in row.iter_mut().take(count).enumerate() {
            if largest[i] != f32::NEG_INFINITY {
                *x = (*x - largest[i]) - log(sums[i]);
            }
        }
    }
}

#[inline(always)]
fn column_maxima(x: &[f32], stride: usize, count: usize) -> [f32; 16] {
    let mut largest = [f32::NEG_INFINITY; 16];
    for row in x.chunks(stride) {
        for (largest, &x) in largest.iter_mut().zip(&row[..count]) {
            *largest = larger(*largest, x);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;

    fn check(outer: usize, n: usize, inner: usize) {
        let lanes = Lanes { outer, n, inner };
        let x: Vec<f32> =
            (0..lanes.elements()).map(|i| ((i * 7919) % 401) as f32 / 20.0 - 10.0).collect();
        for_each_level(|level| {
            let (mut y, mut z) = (vec![0f32; x.len()], vec![0f32; x.len()]);
            softmax_axis(lanes, &x, &mut y);
            log_softmax_axis(lanes, &x, &mut z);
            for i in 0..x.len() {
                let start = i / (n * inner) * n * inner + i % inner;
                let sum: f64 = (0..n).map(|p| (x[start + p * inner] as f64).exp()).sum();
                let want = (x[i] as f64).exp() / sum;
                assert!((y[i] as f64 - want).abs() < 1e-6, "{level:?} {lanes:?} {} {want}", y[i]);
                assert!((z[i] as f64 - want.ln()).abs() < 1e-5, "{level:?} {lanes:?}");
            }
        });
    }

    #[test]
    fn lanes_of_every_axis_sum_to_one() {
        for (outer, n, inner) in [(3, 1, 1), (2, 37, 1), (1, 300, 1), (2, 5, 3), (1, 9, 40)] {
            check(outer, n, inner);
        }
    }

    #[test]
    fn a_hidden_lane_gives_zeros_and_one_element_gives_one() {
        let mut x = [f32::NEG_INFINITY; 40];
        softmax_rows_in_place(RowsMut::dense(&mut x, 20));
        assert_eq!(x, [0.0; 40]);
        let mut y = [1.0; 6];
        let x = [f32::NEG_INFINITY, 3.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 9.0, 1.0];
        softmax_axis(Lanes { outer: 1, n: 2, inner: 3 }, &x, &mut y);
        assert_eq!([y[0], y[2], y[3], y[5]], [0.0, 0.0, 0.0, 1.0]);
        assert!((y[1] - 0.002_472_623).abs() < 1e-8, "{y:?}");
        softmax_rows(Rows::dense(&[5.0], 1), RowsMut::dense(&mut y[..1], 1));
        assert_eq!(y[0], 1.0);
    }
}
