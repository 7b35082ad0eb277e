//! Normalization of rows: layer norm, RMS norm and unit length.
//!
//! Semantics: ONNX `LayerNormalization` opset 17 over the last axis (two passes: mean, then the
//! variance around it) and `RMSNormalization` opset 23. The order of every sum depends on the row
//! length alone.

use crate::level::leveled;
use crate::vector_math::{sum_by, sum_squares};
use crate::view::{Rows, RowsMut};

/// Parameters of a layer norm.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[columns]`.
    pub weight: &'a [f32],
    /// `[columns]`.
    pub bias: Option<&'a [f32]>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// `out = (x - mean) / sqrt(variance + epsilon) weight + bias` for every row.
///
/// # Panics
/// If the extents differ.
pub fn layer_norm(x: Rows, norm: &LayerNorm, out: RowsMut) {
    copied(x, out, |row| layer_norm_row(row, norm));
}

/// As [`layer_norm`], in place.
///
/// # Panics
/// If the extents differ.
pub fn layer_norm_in_place(x: RowsMut, norm: &LayerNorm) {
    in_place(x, |row| layer_norm_row(row, norm));
}

/// `x = layer_norm(x + y)` for every row: one step of a residual stream.
///
/// # Panics
/// If the extents differ.
pub fn add_layer_norm(x: RowsMut, y: Rows, norm: &LayerNorm) {
    assert_eq!((x.rows(), x.columns()), (y.rows(), y.columns()), "extents of y");
    let mut x = x;
    for row in 0..x.rows() {
        add_layer_norm_row(x.row_mut(row), y.row(row), norm);
    }
}

/// `out = x / sqrt(mean x^2 + epsilon) weight` for every row.
///
/// # Panics
/// If the extents differ.
pub fn rms_norm(x: Rows, weight: &[f32], epsilon: f32, out: RowsMut) {
    copied(x, out, |row| rms_norm_row(row, weight, epsilon));
}

/// As [`rms_norm`], in place.
///
/// # Panics
/// If the extents differ.
pub fn rms_norm_in_place(x: RowsMut, weight: &[f32], epsilon: f32) {
    in_place(x, |row| rms_norm_row(row, weight, epsilon));
}

/// `out = x / max(|x|, epsilon)` for every row, where `|x|` is the Euclidean length.
///
/// # Panics
/// If the extents differ.
pub fn l2_normalize(x: Rows, epsilon: f32, out: RowsMut) {
    copied(x, out, |row| l2_normalize_row(row, epsilon));
}

/// As [`l2_normalize`], in place.
pub fn l2_normalize_in_place(x: RowsMut, epsilon: f32) {
    in_place(x, |row| l2_normalize_row(row, epsilon));
}

fn copied(x: Rows, mut out: RowsMut, f: impl Fn(&mut [f32])) {
    assert_eq!((x.rows(), x.columns()), (out.rows(), out.columns()), "extents of out");
    for row in 0..x.rows() {
        out.row_mut(row).copy_from_slice(x.row(row));
        f(out.row_mut(row));
    }
}

fn in_place(mut x: RowsMut, f: impl Fn(&mut [f32])) {
    (0..x.rows()).for_each(|row| f(x.row_mut(row)));
}

leveled! {
    fn layer_norm_row(x: &mut [f32], norm: &LayerNorm<'_>) = layer_norm_body(x, norm);
}

#[inline(always)]
fn layer_norm_body(x: &mut [f32], norm: &LayerNorm<'_>) {
    let sum = sum_by(x, |x| x);
    finish_layer_norm(x, sum, norm);
}

leveled! {
    fn add_layer_norm_row(x: &mut [f32], y: &[f32], norm: &LayerNorm<'_>)
        = add_layer_norm_body(x, y, norm);
}

#[inline(always)]
fn add_layer_norm_body(x: &mut [f32], y: &[f32], norm: &LayerNorm<'_>) {
    x.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
    layer_norm_body(x, norm);
}

#[inline(always)]
fn finish_layer_norm(x: &mut [f32], sum: f32, norm: &LayerNorm<'_>) {
    let count = x.len() as f32;
    let mean = sum / count;
    let scale = 1.0 / (sum_squares(x, mean) / count + norm.epsilon).sqrt();
    let weight = &norm.weight[..x.len()];
    match norm.bias {
        Some(bias) => {
            for ((x, &w), &b) in x.iter_mut().zip(weight).zip(&bias[..weight.len()]) {
                *x = ((*x - mean) * scale).mul_add(w, b);
            }
        }
        None => x.iter_mut().zip(weight).for_each(|(x, &w)| *x = (*x - mean) * scale * w),
    }
}

leveled! {
    fn rms_norm_row(x: &mut [f32], weight: &[f32], epsilon: f32)
        = rms_norm_body(x, weight, epsilon);
}

#[inline(always)]
fn rms_norm_body(x: &mut [f32], weight: &[f32], epsilon: f32) {
    let scale = 1.0 / (sum_squares(x, 0.0) / x.len() as f32 + epsilon).sqrt();
    let weight = &weight[..x.len()];
    x.iter_mut().zip(weight).for_each(|(x, &w)| *x = *x * scale * w);
}

leveled! {
    fn l2_normalize_row(x: &mut [f32], epsilon: f32) = l2_normalize_body(x, epsilon);
}

#[inline(always)]
fn l2_normalize_body(x: &mut [f32], epsilon: f32) {
    let length = sum_squares(x, 0.0).sqrt();
    let factor = 1.0 / if length < epsilon { epsilon } else { length };
    x.iter_mut().for_each(|x| *x *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| (((i + seed) * 7919) % 2003) as f32 / 500.0 - 2.0).collect()
    }

    fn check(columns: usize, run: impl Fn(&mut [f32]), want: impl Fn(&[f64]) -> Vec<f64>) {
        let x = numbers(3 * columns, 0);
        let mut first: Option<Vec<f32>> = None;
        for_each_level(|level| {
            let mut y = x.clone();
            run(&mut y);
            for (x, y) in x.chunks(columns).zip(y.chunks(columns)) {
                let x: Vec<f64> = x.iter().map(|&x| x as f64).collect();
                for (want, &y) in want(&x).iter().zip(y) {
                    assert!((want - y as f64).abs() < 5e-6, "{level:?} {columns}: {y} {want}");
                }
            }
            assert_eq!(*first.get_or_insert_with(|| y.clone()), y, "{level:?}");
        });
    }

    #[test]
    fn rows_of_any_length_follow_the_definitions() {
        for n in [1usize, 7, 16, 33, 384] {
            let (w, b, other) = (numbers(n, 5), numbers(n, 9), numbers(3 * n, 11));
            let norm = LayerNorm { weight: &w, bias: Some(&b), epsilon: 1e-3 };
            let layer = |x: &[f64], bias: bool| -> Vec<f64> {
                let mean = x.iter().sum::<f64>() / n as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                let y = |i: usize| (x[i] - mean) / (variance + 1e-3).sqrt() * w[i] as f64;
                (0..n).map(|i| y(i) + if bias { b[i] as f64 } else { 0.0 }).collect()
            };
            check(n, |x| layer_norm_in_place(RowsMut::dense(x, n), &norm), |x| layer(x, true));
            let plain = LayerNorm { bias: None, ..norm };
            check(n, |x| layer_norm_in_place(RowsMut::dense(x, n), &plain), |x| layer(x, false));
            let rms = |x: &[f64]| -> Vec<f64> {
                let mean = x.iter().map(|x| x * x).sum::<f64>() / n as f64;
                x.iter().zip(&w).map(|(x, &w)| x / (mean + 1e-3).sqrt() * w as f64).collect()
            };
            check(n, |x| rms_norm_in_place(RowsMut::dense(x, n), &w, 1e-3), rms);
            let unit = |x: &[f64]| -> Vec<f64> {
                let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
                x.iter().map(|x| x / length.max(1e-9)).collect()
            };
            check(n, |x| l2_normalize_in_place(RowsMut::dense(x, n), 1e-9), unit);

            let x = numbers(3 * n, 0);
            let mut sum: Vec<f32> = x.iter().zip(&other).map(|(x, y)| x + y).collect();
            let (mut fused, mut out) = (x.clone(), vec![0f32; 3 * n]);
            layer_norm(Rows::dense(&sum, n), &norm, RowsMut::dense(&mut out, n));
            add_layer_norm(RowsMut::dense(&mut fused, n), Rows::dense(&other, n), &norm);
            assert_eq!(out, fused);
            rms_norm(Rows::dense(&x, n), &w, 1e-3, RowsMut::dense(&mut out, n));
            sum.copy_from_slice(&x);
            rms_norm_in_place(RowsMut::dense(&mut sum, n), &w, 1e-3);
            assert_eq!(out, sum);
        }
    }

    #[test]
    fn a_zero_row_has_no_direction_and_stays_zero() {
        let mut out = [1f32; 4];
        l2_normalize(Rows::dense(&[0.0; 4], 4), 1e-12, RowsMut::dense(&mut out, 4));
        assert_eq!(out, [0.0; 4]);
    }
}
