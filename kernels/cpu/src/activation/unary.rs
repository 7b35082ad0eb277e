//! Elementwise functions of one tensor.

use crate::elementwise::{Integer, Number};
use crate::level::leveled;
use crate::vector_math as math;

/// Function of one f32.
///
/// `Exp`, `Log`, `Erf`, `Tanh`, `Sigmoid` and the activations are our own vectorized code (within
/// 2 ulp, `Tanh` 6, `Sigmoid` 4; `Gelu` within 5e-7 of the truth). The
/// trigonometric and hyperbolic functions (`Tanh` apart) and `Softplus` are the platform's `libm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the function's usual name")]
pub enum Unary {
    Neg,
    Abs,
    /// -1, 0 or 1; NaN stays NaN.
    Sign,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Tanh,
    Erf,
    Floor,
    Ceil,
    /// To the nearest integer, halves to even.
    Round,
    Sigmoid,
    Gelu,
    GeluTanh,
    Silu,
    Relu,
    /// `log(1 + e^x)`.
    Softplus,
}

leveled! {
    /// `out[i] = op(x[i])`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn unary(op: Unary, x: &[f32], out: &mut [f32]) = unary_body(op, x, out);
}

leveled! {
    /// `x[i] = op(x[i])`.
    pub fn unary_in_place(op: Unary, x: &mut [f32]) = in_place_body(op, x);
}

#[inline(always)]
fn unary_body(op: Unary, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "elements of input and output");
    out.copy_from_slice(x);
    in_place_body(op, out);
}

#[inline(always)]
fn in_place_body(op: Unary, x: &mut [f32]) {
    match op {
        Unary::Neg => each(x, |x| -x),
        Unary::Abs => each(x, f32::abs),
        Unary::Sign => each(x, sign),
        Unary::Exp => each(x, math::exp),
        Unary::Log => each(x, math::log),
        Unary::Sqrt => each(x, f32::sqrt),
        Unary::Rsqrt => each(x, |x| 1.0 / x.sqrt()),
        Unary::Reciprocal => each(x, |x| 1.0 / x),
        Unary::Sin => each(x, f32::sin),
        Unary::Cos => each(x, f32::cos),
        Unary::Tan => each(x, f32::tan),
        Unary::Asin => each(x, f32::asin),
        Unary::Acos => each(x, f32::acos),
        Unary::Atan => each(x, f32::atan),
        Unary::Sinh => each(x, f32::sinh),
        Unary::Cosh => each(x, f32::cosh),
        Unary::Asinh => each(x, f32::asinh),
        Unary::Acosh => each(x, f32::acosh),
        Unary::Atanh => each(x, f32::atanh),
        Unary::Tanh => each(x, math::tanh),
        Unary::Erf => each(x, math::erf),
        Unary::Floor => each(x, f32::floor),
        Unary::Ceil => each(x, f32::ceil),
        Unary::Round => each(x, f32::round_ties_even),
        Unary::Sigmoid => each(x, math::sigmoid),
        Unary::Gelu => each(x, math::gelu),
        Unary::GeluTanh => each(x, math::gelu_tanh),
        Unary::Silu => each(x, math::silu),
        Unary::Relu => each(x, math::relu),
        Unary::Softplus => each(x, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
    }
}

#[inline(always)]
fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

#[inline(always)]
fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

/// Function of one integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntUnary {
    /// `-x`, wrapping.
    Neg,
    /// `|x|`, wrapping.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// Every bit inverted.
    Not,
    /// `max(x, 0)`.
    Relu,
}

/// `x[i] = op(x[i])`.
pub fn unary_int<T: Integer>(op: IntUnary, x: &mut [T]) {
    fn each<T: Copy>(x: &mut [T], f: impl Fn(T) -> T) {
        x.iter_mut().for_each(|x| *x = f(*x));
    }
    match op {
        IntUnary::Neg => each(x, T::negated),
        IntUnary::Abs => each(x, T::absolute),
        IntUnary::Sign => each(x, T::sign),
        IntUnary::Not => each(x, T::inverted),
        IntUnary::Relu => each(x, |x| Number::max(x, T::wrapped(0))),
    }
}

/// Logical not of bools: 1 where `x` is 0, else 0.
///
/// # Panics
/// If the lengths differ.
pub fn not(x: &[u8], out: &mut [u8]) {
    assert_eq!(x.len(), out.len(), "elements of input and output");
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = u8::from(x == 0));
}

/// 1 where `x` is NaN, else 0.
///
/// # Panics
/// If the lengths differ.
#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
pub fn is_nan<T: Number>(x: &[T], out: &mut [u8]) {
    assert_eq!(x.len(), out.len(), "elements of input and output");
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = u8::from(x != x));
}

/// 1 where `x` is an infinity, else 0.
///
/// # Panics
/// If the lengths differ.
#[expect(clippy::eq_op, reason = "only infinities, besides NaN, differ from themselves by NaN")]
pub fn is_inf<T: Number>(x: &[T], out: &mut [u8]) {
    assert_eq!(x.len(), out.len(), "elements of input and output");
    let infinite = |x: T| x == x && x.sub(x) != x.sub(x);
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = u8::from(infinite(x)));
}

/// `min(max(x, low), high)`; NaN stays NaN, and `high` wins if it is below `low`.
///
/// # Panics
/// If the lengths differ.
pub fn clamp(x: &[f32], low: f32, high: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "elements of input and output");
    for (out, &x) in out.iter_mut().zip(x) {
        let x = if x < low { low } else { x };
        *out = if x > high { high } else { x };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::{Activation, activate};
    use crate::level::for_each_level;

    type Reference = (Unary, fn(f64) -> f64);

    const REFERENCES: [Reference; 30] = [
        (Unary::Neg, |x| -x),
        (Unary::Abs, f64::abs),
        (Unary::Sign, |x| if x == 0.0 { x } else { x.signum() }),
        (Unary::Exp, f64::exp),
        (Unary::Log, f64::ln),
        (Unary::Sqrt, f64::sqrt),
        (Unary::Rsqrt, |x| 1.0 / x.sqrt()),
        (Unary::Reciprocal, |x| 1.0 / x),
        (Unary::Sin, f64::sin),
        (Unary::Cos, f64::cos),
        (Unary::Tan, f64::tan),
        (Unary::Asin, f64::asin),
        (Unary::Acos, f64::acos),
        (Unary::Atan, f64::atan),
        (Unary::Sinh, f64::sinh),
        (Unary::Cosh, f64::cosh),
        (Unary::Asinh, f64::asinh),
        (Unary::Acosh, f64::acosh),
        (Unary::Atanh, f64::atanh),
        (Unary::Tanh, f64::tanh),
        (Unary::Erf, crate::vector_math::tests::erf_reference),
        (Unary::Floor, f64::floor),
        (Unary::Ceil, f64::ceil),
        (Unary::Round, f64::round_ties_even),
        (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Unary::Gelu, |x| {
            0.5 * x * (1.0 + crate::vector_math::tests::erf_reference(x / 2f64.sqrt()))
        }),
        (Unary::GeluTanh, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }),
        (Unary::Silu, |x| x / (1.0 + (-x).exp())),
        (Unary::Relu, |x| x.max(0.0)),
        (Unary::Softplus, |x| x.exp().ln_1p()),
    ];

    #[test]
    fn every_function_is_near_its_reference_and_the_same_at_every_level() {
        let x: Vec<f32> = (-500..=501).map(|i| i as f32 / 100.0).chain([0.5, -0.0, 2.5]).collect();
        for (op, reference) in REFERENCES {
            let mut first: Option<Vec<u32>> = None;
            for_each_level(|level| {
                let mut out = vec![0f32; x.len()];
                unary(op, &x, &mut out);
                for (&x, &y) in x.iter().zip(&out) {
                    let want = reference(x as f64);
                    let near = (y as f64 - want).abs() <= 2e-6 * want.abs().max(1.0);
                    let same = y as f64 == want || (y.is_nan() && want.is_nan());
                    assert!(near || same, "{op:?}({x}) = {y}, want {want}");
                }
                let bits: Vec<u32> = out.iter().map(|y| y.to_bits()).collect();
                assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits, "{op:?} {level:?}");
            });
        }
    }

    #[test]
    fn fused_activations_are_the_plain_functions() {
        let x: Vec<f32> = (-40..=41).map(|i| i as f32 / 8.0).collect();
        for (activation, op) in [
            (Activation::Gelu, Unary::Gelu),
            (Activation::GeluTanh, Unary::GeluTanh),
            (Activation::Relu, Unary::Relu),
            (Activation::Silu, Unary::Silu),
            (Activation::Tanh, Unary::Tanh),
            (Activation::Sigmoid, Unary::Sigmoid),
        ] {
            let (mut a, mut b) = (x.clone(), x.clone());
            activate(activation, &mut a);
            unary_in_place(op, &mut b);
            assert_eq!(a, b);
            activate(Activation::None, &mut a);
            assert_eq!(a, b);
        }
    }

    #[test]
    fn integers_wrap_and_bools_invert() {
        let check = |op, mut x: [i32; 3], want: [i32; 3]| {
            unary_int(op, &mut x);
            assert_eq!(x, want, "{op:?}");
        };
        check(IntUnary::Neg, [i32::MIN, -3, 4], [i32::MIN, 3, -4]);
        check(IntUnary::Abs, [i32::MIN, -3, 4], [i32::MIN, 3, 4]);
        check(IntUnary::Not, [0, -1, 5], [-1, 0, -6]);
        check(IntUnary::Sign, [-9, 0, 9], [-1, 0, 1]);
        check(IntUnary::Relu, [-9, 0, 9], [0, 0, 9]);
        let mut bools = [9u8; 3];
        not(&[0, 1, 7], &mut bools);
        assert_eq!(bools, [1, 0, 0]);
        is_nan(&[f32::NAN, 1.0, f32::INFINITY], &mut bools);
        assert_eq!(bools, [1, 0, 0]);
        is_inf(&[f32::NAN, 1.0, f32::NEG_INFINITY], &mut bools);
        assert_eq!(bools, [0, 0, 1]);
        is_inf(&[f64::MAX, f64::NAN, f64::INFINITY], &mut bools);
        assert_eq!(bools, [0, 0, 1]);
        let mut floats = [0f32; 3];
        clamp(&[-9.0, f32::NAN, 9.0], -1.0, 1.0, &mut floats);
        assert!(floats[0] == -1.0 && floats[1].is_nan() && floats[2] == 1.0);
    }
}
