//! Normalization of channels: `[batch, channels, ..]` with parameters a channel.
//!
//! Semantics: ONNX `BatchNormalization-15` with stored statistics, and `GroupNormalization-21`: mean,
//! then the variance around it, of all elements of a group of one item.

use crate::conv::Float;
use crate::level::leveled;
use crate::vector_math::{sum_by, sum_squares};

/// Arithmetic that a normalization of channels needs.
pub trait Statistics: Float {
    /// A number as this type.
    fn from_f64(value: f64) -> Self;
    /// As f64.
    fn to_f64(self) -> f64;
    /// Mean and variance, summed in a fixed order.
    fn moments(x: &[Self]) -> (f64, f64);
}

impl Statistics for f32 {
    #[inline(always)]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn moments(x: &[f32]) -> (f64, f64) {
        let n = x.len() as f32;
        let mean = sum_by(x, |x| x) / n;
        (f64::from(mean), f64::from(sum_squares(x, mean) / n))
    }
}

impl Statistics for f64 {
    #[inline(always)]
    fn from_f64(value: f64) -> f64 {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn moments(x: &[f64]) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        (mean, x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n)
    }
}

/// Parameters of a batch norm, `[channels]` each.
#[derive(Clone, Copy)]
pub struct BatchNorm<'a, T> {
    /// Factor on the normalized element.
    pub scale: &'a [T],
    /// Added at the end.
    pub bias: &'a [T],
    /// Stored mean.
    pub mean: &'a [T],
    /// Stored variance.
    pub variance: &'a [T],
    /// Added to the variance.
    pub epsilon: f32,
}

impl<T: Statistics> BatchNorm<'_, T> {
    /// Factor and summand of a channel: `(x - mean) / sqrt(variance + epsilon) * scale + bias`.
    pub fn factor_and_summand(&self, channel: usize) -> (T, T) {
        let root = (self.variance[channel].to_f64() + f64::from(self.epsilon)).sqrt();
        let factor = self.scale[channel].to_f64() / root;
        let summand = self.bias[channel].to_f64() - self.mean[channel].to_f64() * factor;
        (T::from_f64(factor), T::from_f64(summand))
    }
}

/// Applies stored statistics to channels of `inner` elements each; `x` and `y` are
/// `[batch, channels, inner]`.
///
/// # Panics
/// If a slice has another size.
pub fn batch_norm<T: Statistics>(norm: &BatchNorm<'_, T>, inner: usize, x: &[T], y: &mut [T]) {
    let channels = norm.scale.len();
    assert_eq!(x.len(), y.len(), "elements of x and y");
    if y.is_empty() {
        return;
    }
    let all: Vec<(T, T)> = (0..channels).map(|c| norm.factor_and_summand(c)).collect();
    assert_eq!(x.len() % (channels * inner), 0, "elements of [batch, {channels}, {inner}]");
    for (i, (x, y)) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)).enumerate() {
        scaled(all[i % channels], x, y);
    }
}

/// Normalizes groups of channels; `x` and `y` are `[batch, channels, inner]`, scale and bias
/// `[channels]`.
///
/// # Panics
/// If a slice has another size, or `groups` does not divide the channels.
pub fn group_norm<T: Statistics>(norm: &GroupNorm<'_, T>, inner: usize, x: &[T], y: &mut [T]) {
    let channels = norm.scale.len();
    assert_eq!(x.len(), y.len(), "elements of x and y");
    if y.is_empty() {
        return;
    }
    let own = channels / norm.groups;
    assert_eq!(own * norm.groups, channels, "groups of channels");
    let group = own * inner;
    for (i, (x, y)) in x.chunks_exact(group).zip(y.chunks_exact_mut(group)).enumerate() {
        let (mean, variance) = moments(x);
        let root = (variance + f64::from(norm.epsilon)).sqrt();
        for (j, (x, y)) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)).enumerate() {
            let channel = i % norm.groups * own + j;
            let factor = norm.scale[channel].to_f64() / root;
            let summand = norm.bias[channel].to_f64() - mean * factor;
            scaled((T::from_f64(factor), T::from_f64(summand)), x, y);
        }
    }
}

/// Parameters of a group norm.
#[derive(Clone, Copy)]
pub struct GroupNorm<'a, T> {
    /// Groups; divides the channels.
    pub groups: usize,
    /// `[channels]`.
    pub scale: &'a [T],
    /// `[channels]`.
    pub bias: &'a [T],
    /// Added to the variance.
    pub epsilon: f32,
}

leveled! {
    fn moments<T: Statistics>(x: &[T]) -> (f64, f64) = T::moments(x);
}

leveled! {
    fn scaled<T: Statistics>(by: (T, T), x: &[T], y: &mut [T]) = scaled_body(by, x, y);
}

#[inline(always)]
fn scaled_body<T: Statistics>((factor, summand): (T, T), x: &[T], y: &mut [T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = x.fused(factor, summand));
}
