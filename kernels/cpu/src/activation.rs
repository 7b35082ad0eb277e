//! Functions of one number, over slices.

mod unary;

pub use unary::{IntUnary, Unary, clamp, is_inf, is_nan, not, unary, unary_in_place, unary_int};

use crate::level::leveled;
use crate::vector_math as math;

/// Activation that a product can apply before it stores its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    Gelu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + e^-x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

leveled! {
    /// Applies `activation` to every element.
    pub fn activate(activation: Activation, x: &mut [f32]) = activate_body(activation, x);
}

#[inline(always)]
fn activate_body(activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::None => {}
        Activation::Gelu => each(x, math::gelu),
        Activation::GeluTanh => each(x, math::gelu_tanh),
        Activation::Relu => each(x, math::relu),
        Activation::Silu => each(x, math::silu),
        Activation::Tanh => each(x, math::tanh),
        Activation::Sigmoid => each(x, math::sigmoid),
    }
}

#[inline(always)]
fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    let mut chunks = x.chunks_exact_mut(16);
    for chunk in &mut chunks {
        for x in chunk {
            *x = f(*x);
        }
    }
    for x in chunks.into_remainder() {
        *x = f(*x);
    }
}
