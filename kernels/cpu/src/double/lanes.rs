//! Softmax, normalizations, reductions and pooling on f64.

use crate::level::leveled;
use crate::reduce::{Lanes, Pooling, Reduction};

/// Which softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    /// `exp(x - max) / sum exp(x - max)`; a lane of only `-inf` gives zeros.
    Plain,
    /// `x - max - log sum exp(x - max)`.
    Log,
}

/// Softmax over the middle axis of `lanes`, in place.
///
/// # Panics
/// If `x` does not have the elements of `lanes`.
pub fn softmax(kind: Softmax, lanes: Lanes, x: &mut [f64]) {
    let Lanes { n, inner, .. } = lanes;
    assert_eq!(x.len(), lanes.elements(), "elements of {lanes:?}");
    if x.is_empty() {
        return;
    }
    for slab in x.chunks_exact_mut(n * inner) {
        (0..inner).for_each(|first| softmax_lane(kind, &mut slab[first..], inner));
    }
}

/// Every `step`-th element of `x`.
fn softmax_lane(kind: Softmax, x: &mut [f64], step: usize) {
    // A NaN is no maximum here; it reaches every element by way of the sum.
    let lane = || x.iter().step_by(step).copied();
    let largest = lane().fold(f64::NEG_INFINITY, |max, x| if x > max { x } else { max });
    let nothing = largest == f64::NEG_INFINITY;
    let exponential = |x: f64| if nothing && !x.is_nan() { 0.0 } else { (x - largest).exp() };
    let total = sum(lane().map(exponential));
    let lane = x.iter_mut().step_by(step);
    match kind {
        Softmax::Plain => {
            let factor = if total == 0.0 { 0.0 } else { 1.0 / total };
            lane.for_each(|x| *x = exponential(*x) * factor);
        }
        Softmax::Log if nothing => {}
        Softmax::Log => {
            let shift = total.ln();
            lane.for_each(|x| *x = (*x - largest) - shift);
        }
    }
}

fn sum(x: impl Iterator<Item = f64>) -> f64 {
    x.fold(0.0, |sum, x| sum + x)
}

/// Parameters of a layer norm.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[columns]`.
    pub weight: &'a [f64],
    /// `[columns]`.
    pub bias: Option<&'a [f64]>,
    /// Added to the variance.
    pub epsilon: f64,
}

/// `x = (x - mean) / sqrt(variance + epsilon) weight + bias` for every row of `weight.len()`.
///
/// # Panics
/// If the bias is shorter than the weight.
pub fn layer_norm(norm: &LayerNorm, x: &mut [f64]) {
    let LayerNorm { weight, bias, epsilon } = *norm;
    for row in rows(x, weight.len()) {
        let count = row.len() as f64;
        let mean = sum(row.iter().copied()) / count;
        let variance = sum(row.iter().map(|x| (x - mean) * (x - mean))) / count;
        let scale = 1.0 / (variance + epsilon).sqrt();
        for (i, x) in row.iter_mut().enumerate() {
            *x = (*x - mean) * scale * weight[i] + bias.map_or(0.0, |bias| bias[i]);
        }
    }
}

/// `x = x / sqrt(mean x^2 + epsilon) weight` for every row of `weight.len()`.
pub fn rms_norm(weight: &[f64], epsilon: f64, x: &mut [f64]) {
    for row in rows(x, weight.len()) {
        let mean = sum(row.iter().map(|x| x * x)) / row.len() as f64;
        let scale = 1.0 / (mean + epsilon).sqrt();
        row.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * scale * w);
    }
}

/// `x = x / max(|x|, epsilon)` for every row, where `|x|` is the Euclidean length.
pub fn l2_normalize(columns: usize, epsilon: f64, x: &mut [f64]) {
    for row in rows(x, columns) {
        let length = sum(row.iter().map(|x| x * x)).sqrt();
        let factor = 1.0 / if length < epsilon { epsilon } else { length };
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

fn rows(x: &mut [f64], columns: usize) -> impl Iterator<Item = &mut [f64]> {
    // No columns, no elements: any positive length gives no rows.
    x.chunks_exact_mut(columns.max(1))
}

leveled! {
    /// Reduces the middle axis: `x: [outer, n, inner]`, `out: [outer, inner]`.
    ///
    /// # Panics
    /// If a slice does not have these elements.
    pub fn reduce(op: Reduction, lanes: Lanes, x: &[f64], out: &mut [f64])
        = reduce_body(op, lanes, x, out);
}

#[inline(always)]
fn reduce_body(op: Reduction, lanes: Lanes, x: &[f64], out: &mut [f64]) {
    let add = |a, b| a + b;
    match op {
        Reduction::Sum | Reduction::Mean => fold(lanes, x, out, 0.0, add, add),
        Reduction::Prod => fold(lanes, x, out, 1.0, |a, b| a * b, |a, b| a * b),
        Reduction::Max => fold(lanes, x, out, f64::NEG_INFINITY, larger, larger),
        Reduction::Min => fold(lanes, x, out, f64::INFINITY, smaller, smaller),
        Reduction::SumSquares | Reduction::L2 => {
            fold(lanes, x, out, 0.0, |a, x: f64| a + x * x, add);
        }
        Reduction::L1 => fold(lanes, x, out, 0.0, |a, x: f64| a + x.abs(), add),
    }
    match op {
        Reduction::Mean => out.iter_mut().for_each(|x| *x /= lanes.n as f64),
        Reduction::L2 => out.iter_mut().for_each(|x| *x = x.sqrt()),
        Reduction::Sum
        | Reduction::Prod
        | Reduction::Max
        | Reduction::Min
        | Reduction::SumSquares
        | Reduction::L1 => {}
    }
}

#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn smaller(a: f64, b: f64) -> f64 {
    if a < b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn fold(
    lanes: Lanes,
    x: &[f64],
    out: &mut [f64],
    start: f64,
    step: impl Fn(f64, f64) -> f64,
    join: impl Fn(f64, f64) -> f64,
) {
    let Lanes { n, inner, .. } = lanes;
    assert_eq!((x.len(), out.len()), (lanes.elements(), lanes.lanes()), "elements of {lanes:?}");
    out.fill(start);
    if x.is_empty() {
        return;
    }
    if inner > 1 {
        for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(inner)) {
            for x in x.chunks_exact(inner) {
                out.iter_mut().zip(x).for_each(|(out, &x)| *out = step(*out, x));
            }
        }
        return;
    }
    for (x, out) in x.chunks_exact(n).zip(out) {
        let mut parts = [start; 8];
        for chunk in x.chunks(8) {
            parts.iter_mut().zip(chunk).for_each(|(part, &x)| *part = step(*part, x));
        }
        let [a, b, c, d, e, f, g, h] = parts;
        *out = join(join(join(a, e), join(c, g)), join(join(b, f), join(d, h)));
    }
}

/// One row for every segment: `out[s] = pool(x[offsets[s]..offsets[s + 1]])`, rows of `columns`.
///
/// Rows are taken in their order; an empty segment gives zeros.
///
/// # Panics
/// If the offsets fall or go beyond the rows, or `out` is not `[offsets.len() - 1, columns]`.
pub fn segment_pool(op: Pooling, columns: usize, x: &[f64], offsets: &[u32], out: &mut [f64]) {
    let segments = offsets.len().saturating_sub(1);
    assert_eq!(out.len(), segments * columns, "elements of out");
    for (pair, out) in offsets.windows(2).zip(rows(out, columns)) {
        let [start, end] = [pair[0], pair[1]].map(|row| row as usize * columns);
        pool(op, &x[start..end], out);
    }
}

fn pool(op: Pooling, x: &[f64], out: &mut [f64]) {
    let mut rows = x.chunks_exact(out.len());
    let count = rows.len();
    let first = if op == Pooling::Last { rows.next_back() } else { rows.next() };
    match first {
        Some(first) => out.copy_from_slice(first),
        None => out.fill(0.0),
    }
    let each = |out: &mut [f64], step: fn(f64, f64) -> f64| {
        rows.for_each(|row| out.iter_mut().zip(row).for_each(|(out, &x)| *out = step(*out, x)));
    };
    match op {
        Pooling::First | Pooling::Last => {}
        Pooling::Max => each(out, larger),
        Pooling::Sum => each(out, |a, b| a + b),
        Pooling::Mean => {
            each(out, |a, b| a + b);
            out.iter_mut().for_each(|x| *x /= count.max(1) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::norm;
    use crate::softmax::{log_softmax_axis, softmax_axis};
    use crate::view::RowsMut;

    /// Multiples of 1/256 of both signs.
    fn numbers(count: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 7919) % 401) as f64 / 128.0 - 1.5).collect()
    }

    fn near(got: &[f64], want: &[f32], context: &str) {
        for (got, &want) in got.iter().zip(want) {
            let near = (got - f64::from(want)).abs() <= 2e-6 * f64::from(want).abs().max(1.0);
            let same = *got == f64::from(want) || (got.is_nan() && want.is_nan());
            assert!(near || same, "{context}: {got} {want}");
        }
    }

    #[test]
    fn lanes_agree_with_their_f32_forms() {
        for (outer, n, inner) in [(2, 1, 1), (3, 37, 1), (2, 5, 3), (1, 3, 40), (2, 0, 1)] {
            let lanes = Lanes { outer, n, inner };
            let x = numbers(lanes.elements());
            let single: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let (mut y, mut want) = (x.clone(), single.clone());
            softmax(Softmax::Plain, lanes, &mut y);
            softmax_axis(lanes, &single, &mut want);
            near(&y, &want, "softmax");
            y.copy_from_slice(&x);
            softmax(Softmax::Log, lanes, &mut y);
            log_softmax_axis(lanes, &single, &mut want);
            near(&y, &want, "log-softmax");
            for op in [
                Reduction::Sum,
                Reduction::Mean,
                Reduction::Prod,
                Reduction::Max,
                Reduction::Min,
                Reduction::SumSquares,
                Reduction::L1,
                Reduction::L2,
            ] {
                let mut want = vec![0f32; lanes.lanes()];
                crate::reduce::reduce(crate::pool::Team::alone(), op, lanes, &single, &mut want);
                let mut first: Option<Vec<u64>> = None;
                for_each_level(|level| {
                    let mut out = vec![0f64; lanes.lanes()];
                    reduce(op, lanes, &x, &mut out);
                    near(&out, &want, "reduce");
                    let bits: Vec<u64> = out.iter().map(|x| x.to_bits()).collect();
                    assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits, "{level:?}");
                });
            }
        }
    }

    #[test]
    fn hidden_lanes_give_zeros_and_nan_spreads() {
        let (hidden, nan) = (f64::NEG_INFINITY, f64::NAN);
        let lanes = Lanes { outer: 1, n: 2, inner: 1 };
        let mut x = [hidden; 2];
        softmax(Softmax::Plain, lanes, &mut x);
        assert_eq!(x, [0.0; 2]);
        let mut x = [hidden, nan];
        softmax(Softmax::Plain, lanes, &mut x);
        assert!(x.iter().all(|x| x.is_nan()));
        let mut x = [hidden; 2];
        softmax(Softmax::Log, lanes, &mut x);
        assert_eq!(x, [hidden; 2]);
    }

    #[test]
    fn norms_agree_with_their_f32_forms() {
        for n in [1usize, 7, 33] {
            let (x, w, b) = (numbers(3 * n), numbers(n + 2), numbers(n));
            let w = &w[2..];
            let [single, sw, sb] =
                [&x[..], w, &b[..]].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<f32>>());
            let (mut y, mut want) = (x.clone(), single.clone());
            layer_norm(&LayerNorm { weight: w, bias: Some(&b), epsilon: 1e-3 }, &mut y);
            let single_norm = norm::LayerNorm { weight: &sw, bias: Some(&sb), epsilon: 1e-3 };
            norm::layer_norm_in_place(RowsMut::dense(&mut want, n), &single_norm);
            near(&y, &want, "layer-norm");
            (y, want) = (x.clone(), single.clone());
            rms_norm(w, 1e-3, &mut y);
            norm::rms_norm_in_place(RowsMut::dense(&mut want, n), &sw, 1e-3);
            near(&y, &want, "rms-norm");
            (y, want) = (x.clone(), single.clone());
            l2_normalize(n, 1e-9, &mut y);
            norm::l2_normalize_in_place(RowsMut::dense(&mut want, n), 1e-9);
            near(&y, &want, "l2-normalize");
        }
    }

    #[test]
    fn segments_pool_by_themselves() {
        let x: Vec<f64> = (0..10).map(f64::from).collect();
        for (op, want) in [
            (Pooling::Mean, [2.0, 3.0, 0.0, 0.0, 7.0, 8.0]),
            (Pooling::Sum, [6.0, 9.0, 0.0, 0.0, 14.0, 16.0]),
            (Pooling::Max, [4.0, 5.0, 0.0, 0.0, 8.0, 9.0]),
            (Pooling::First, [0.0, 1.0, 0.0, 0.0, 6.0, 7.0]),
            (Pooling::Last, [4.0, 5.0, 0.0, 0.0, 8.0, 9.0]),
        ] {
            let mut out = [f64::NAN; 6];
            segment_pool(op, 2, &x, &[0, 3, 3, 5], &mut out);
            assert_eq!(out, want, "{op:?}");
        }
    }
}
