//! Functions of one number that take parameters (ONNX `LeakyRelu`, `Elu`, `HardSigmoid`, `HardSwish`).

use crate::level::leveled;
use crate::vector_math as math;

/// Function of one number with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parametric {
    /// `x` where positive, `alpha x` elsewhere.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// `x` where positive, `alpha (e^x - 1)` elsewhere.
    Elu {
        /// Limit below 0, negated.
        alpha: f32,
    },
    /// `max(0, min(1, alpha x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x max(0, min(1, x / 6 + 1 / 2))`.
    HardSwish,
}

leveled! {
    /// `out[i] = op(x[i])`; NaN stays NaN.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn parametric(op: Parametric, x: &[f32], out: &mut [f32]) = parametric_body(op, x, out);
}

#[inline(always)]
fn parametric_body(op: Parametric, x: &[f32], out: &mut [f32]) {
    match op {
        Parametric::LeakyRelu { alpha } => each(x, out, |x| leaky_relu(alpha, x)),
        Parametric::Elu { alpha } => each(x, out, |x| elu(alpha, x)),
        Parametric::HardSigmoid { alpha, beta } => each(x, out, |x| hard_sigmoid(alpha, beta, x)),
        Parametric::HardSwish => each(x, out, hard_swish),
    }
}

#[inline(always)]
pub(super) fn leaky_relu(alpha: f32, x: f32) -> f32 {
    if x < 0.0 { alpha * x } else { x }
}

#[inline(always)]
pub(super) fn elu(alpha: f32, x: f32) -> f32 {
    if x < 0.0 { alpha * (math::exp(x) - 1.0) } else { x }
}

#[inline(always)]
pub(super) fn hard_sigmoid(alpha: f32, beta: f32, x: f32) -> f32 {
    unit(x.mul_add(alpha, beta))
}

#[inline(always)]
pub(super) fn hard_swish(x: f32) -> f32 {
    x * unit(x.mul_add(1.0 / 6.0, 0.5))
}

/// Between 0 and 1; NaN stays NaN.
#[inline(always)]
fn unit(x: f32) -> f32 {
    let x = if x < 0.0 { 0.0 } else { x };
    if x > 1.0 { 1.0 } else { x }
}

#[inline(always)]
fn each(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
    assert_eq!(x.len(), out.len(), "elements of input and output");
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parametric_functions_follow_their_formulas() {
        let x = [-7.0f32, -1.0, -0.0, 0.5, 7.0];
        let check = |op, expected: [f32; 5]| {
            let mut out = [0.0; 5];
            parametric(op, &x, &mut out);
            for (got, want) in out.iter().zip(expected) {
                assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{op:?}: {got} {want}");
            }
        };
        check(Parametric::LeakyRelu { alpha: 0.5 }, [-3.5, -0.5, 0.0, 0.5, 7.0]);
        let below = |x: f32| 2.0 * x.exp_m1();
        check(Parametric::Elu { alpha: 2.0 }, [below(-7.0), below(-1.0), 0.0, 0.5, 7.0]);
        let hard = Parametric::HardSigmoid { alpha: 0.25, beta: 0.5 };
        check(hard, [0.0, 0.25, 0.5, 0.625, 1.0]);
        check(Parametric::HardSwish, [0.0, -1.0 / 3.0, 0.0, 0.5 * (0.5 / 6.0 + 0.5), 7.0]);
        let mut out = [0.0];
        parametric(hard, &[f32::NAN], &mut out);
        assert!(out[0].is_nan());
    }
}
