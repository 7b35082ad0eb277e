//! Functions of one number, over slices.

pub(crate) mod ending;
mod parametric;
mod unary;

pub(crate) use ending::Ending;
pub use parametric::{Parametric, parametric};
pub use unary::{IntUnary, Unary, clamp, is_inf, is_nan, not, unary, unary_in_place, unary_int};

use crate::level::leveled;
use crate::vector_math as math;
use crate::view::{Rows, RowsMut};

/// Activation that a product can apply before it stores its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// `min(max(x, low), high)`; NaN stays NaN.
    Clamp {
        /// Least value.
        low: f32,
        /// Greatest value.
        high: f32,
    },
    /// One of those with parameters.
    With(Parametric),
}

/// What happens to sums that are complete: the activation, then a factor and a summand, then the
/// residual, then the last activation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finish {
    /// Applied first.
    pub activation: Activation,
    /// `x scaled.0 + scaled.1`, rounded once.
    pub scaled: Option<(f32, f32)>,
    /// Applied after the residual.
    pub last: Activation,
}

impl Finish {
    /// Whether nothing happens but the residual.
    pub fn is_plain(&self) -> bool {
        *self == Finish::default()
    }
}

leveled! {
    /// Applies `activation` to every element.
    pub fn activate(activation: Activation, x: &mut [f32]) = activate_body(activation, x);
}

leveled! {
    /// `c = last(activation(c) scaled + residual)`, a tile at a time.
    pub(crate) fn finish_rows(finish: &Finish, c: RowsMut<'_>, residual: Option<Rows<'_>>)
        = finish_rows_body(finish, c, residual);
}

#[inline(always)]
fn finish_rows_body(finish: &Finish, mut c: RowsMut<'_>, residual: Option<Rows<'_>>) {
    activate_rows(finish.activation, &mut c);
    if let Some((factor, summand)) = finish.scaled {
        each_row(&mut c, |x| x.mul_add(factor, summand));
    }
    if let Some(residual) = residual {
        for row in 0..c.rows() {
            c.row_mut(row).iter_mut().zip(residual.row(row)).for_each(|(c, r)| *c += r);
        }
    }
    activate_rows(finish.last, &mut c);
}

#[inline(always)]
fn activate_rows(activation: Activation, c: &mut RowsMut<'_>) {
    match activation {
        Activation::None => {}
        Activation::Gelu => each_row(c, math::gelu),
        Activation::GeluTanh => each_row(c, math::gelu_tanh),
        Activation::Relu => each_row(c, math::relu),
        Activation::Silu => each_row(c, math::silu),
        Activation::Tanh => each_row(c, math::tanh),
        Activation::Sigmoid => each_row(c, math::sigmoid),
        Activation::Clamp { low, high } => each_row(c, |x| {
            let x = if x < low { low } else { x };
            if x > high { high } else { x }
        }),
        Activation::With(Parametric::LeakyRelu { alpha }) => {
            each_row(c, |x| parametric::leaky_relu(alpha, x));
        }
        Activation::With(Parametric::Elu { alpha }) => each_row(c, |x| parametric::elu(alpha, x)),
        Activation::With(Parametric::HardSigmoid { alpha, beta }) => {
            each_row(c, |x| parametric::hard_sigmoid(alpha, beta, x));
        }
        Activation::With(Parametric::HardSwish) => each_row(c, parametric::hard_swish),
    }
}

#[inline(always)]
fn activate_body(activation: Activation, x: &mut [f32]) {
    let columns = x.len();
    activate_rows(activation, &mut RowsMut::new(x, 1, columns, columns));
}

#[inline(always)]
fn each_row(c: &mut RowsMut<'_>, f: impl Fn(f32) -> f32) {
    for row in 0..c.rows() {
        let mut chunks = c.row_mut(row).chunks_exact_mut(16);
        for chunk in &mut chunks {
            for x in chunk {
                *x = f(*x);
            }
        }
        for x in chunks.into_remainder() {
            *x = f(*x);
        }
    }
}
