//! Functions of one number, over slices.

mod parametric;
mod unary;

pub use parametric::{Parametric, parametric};
pub use unary::{IntUnary, Unary, clamp, is_inf, is_nan, not, unary, unary_in_place, unary_int};

use crate::level::leveled;
use crate::vector_math as math;
use crate::view::{Rows, RowsMut};

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

leveled! {
    /// `c = activation(c) + residual`, a tile at a time.
    pub(crate) fn activate_rows(activation: Activation, c: RowsMut<'_>, residual: Option<Rows<'_>>)
        = activate_rows_body(activation, c, residual);
}

#[inline(always)]
fn activate_rows_body(activation: Activation, mut c: RowsMut<'_>, residual: Option<Rows<'_>>) {
    match activation {
        Activation::None => {}
        Activation::Gelu => each_row(&mut c, math::gelu),
        Activation::GeluTanh => each_row(&mut c, math::gelu_tanh),
        Activation::Relu => each_row(&mut c, math::relu),
        Activation::Silu => each_row(&mut c, math::silu),
        Activation::Tanh => each_row(&mut c, math::tanh),
        Activation::Sigmoid => each_row(&mut c, math::sigmoid),
    }
    let Some(residual) = residual else { return };
    for row in 0..c.rows() {
        c.row_mut(row).iter_mut().zip(residual.row(row)).for_each(|(c, r)| *c += r);
    }
}

#[inline(always)]
fn activate_body(activation: Activation, x: &mut [f32]) {
    let columns = x.len();
    activate_rows_body(activation, RowsMut::new(x, 1, columns, columns), None);
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
