//! Kernels on f64: what the f32 modules compute, in double precision.
//!
//! Plain loops over the platform's `libm` (`erf` apart, see [`unary`]), because f64 serves accuracy
//! and not speed. As everywhere, a lane's bits depend on that lane alone.

mod erf;
mod lanes;

pub use lanes::{
    LayerNorm, Softmax, l2_normalize, layer_norm, reduce, rms_norm, segment_pool, softmax,
};

use crate::activation::{Parametric, Unary};
use erf::erf;

/// `x[i] = op(x[i])`; `Erf` and the gelus within 2 ulp of it, the others as the platform's `libm`.
pub fn unary(op: Unary, x: &mut [f64]) {
    match op {
        Unary::Neg => each(x, |x| -x),
        Unary::Abs => each(x, f64::abs),
        Unary::Sign => each(x, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
        Unary::Exp => each(x, f64::exp),
        Unary::Log => each(x, f64::ln),
        Unary::Sqrt => each(x, f64::sqrt),
        Unary::Rsqrt => each(x, |x| 1.0 / x.sqrt()),
        Unary::Reciprocal => each(x, |x| 1.0 / x),
        Unary::Sin => each(x, f64::sin),
        Unary::Cos => each(x, f64::cos),
        Unary::Tan => each(x, f64::tan),
        Unary::Asin => each(x, f64::asin),
        Unary::Acos => each(x, f64::acos),
        Unary::Atan => each(x, f64::atan),
        Unary::Sinh => each(x, f64::sinh),
        Unary::Cosh => each(x, f64::cosh),
        Unary::Asinh => each(x, f64::asinh),
        Unary::Acosh => each(x, f64::acosh),
        Unary::Atanh => each(x, f64::atanh),
        Unary::Tanh => each(x, f64::tanh),
        Unary::Erf => each(x, erf),
        Unary::Floor => each(x, f64::floor),
        Unary::Ceil => each(x, f64::ceil),
        Unary::Round => each(x, f64::round_ties_even),
        Unary::Sigmoid => each(x, |x| 1.0 / (1.0 + (-x).exp())),
        Unary::Gelu => each(x, |x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))),
        Unary::GeluTanh => each(x, gelu_tanh),
        Unary::Silu => each(x, |x| x / (1.0 + (-x).exp())),
        Unary::Relu => each(x, |x| if x < 0.0 { 0.0 } else { x }),
        Unary::Softplus => each(x, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
    }
}

/// `x[i] = op(x[i])`; NaN stays NaN.
pub fn parametric(op: Parametric, x: &mut [f64]) {
    match op {
        Parametric::LeakyRelu { alpha } => {
            each(x, |x| if x < 0.0 { f64::from(alpha) * x } else { x });
        }
        Parametric::Elu { alpha } => {
            each(x, |x| if x < 0.0 { f64::from(alpha) * x.exp_m1() } else { x });
        }
        Parametric::HardSigmoid { alpha, beta } => {
            each(x, |x| unit(f64::from(alpha) * x + f64::from(beta)));
        }
        Parametric::HardSwish => each(x, |x| x * unit(x / 6.0 + 0.5)),
    }
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// Between 0 and 1; NaN stays NaN.
fn unit(x: f64) -> f64 {
    let x = if x < 0.0 { 0.0 } else { x };
    if x > 1.0 { 1.0 } else { x }
}

fn each(x: &mut [f64], f: impl Fn(f64) -> f64) {
    x.iter_mut().for_each(|x| *x = f(*x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_exact_to_double_precision() {
        // Values of mpmath 1.3.0 at 30 digits.
        for (op, x, want) in [
            (Unary::Exp, 1.25, 3.490_342_957_461_841_4),
            (Unary::Log, 1.25, 0.223_143_551_314_209_76),
            (Unary::Erf, 0.5, 0.520_499_877_813_046_5),
            (Unary::Erf, -1.25, -0.922_900_128_256_458_2),
            (Unary::Gelu, -1.25, -0.132_062_217_083_569_08),
            (Unary::GeluTanh, -1.25, -0.132_285_797_030_285_4),
            (Unary::Sigmoid, -1.25, 0.222_700_138_825_308_84),
            (Unary::Softplus, -1.25, 0.251_929_081_345_372_9),
            (Unary::Silu, -1.25, -0.278_375_173_531_636_04),
            (Unary::Round, 2.5, 2.0),
            (Unary::Sign, -0.0, -0.0),
        ] {
            let mut y = [x];
            unary(op, &mut y);
            assert!((y[0] - want).abs() <= 4e-16 * want.abs(), "{op:?}({x}) = {:?}", y[0]);
        }
        let mut nan = [f64::NAN];
        unary(Unary::Sign, &mut nan);
        assert!(nan[0].is_nan());
    }

    #[test]
    fn parametric_functions_follow_their_formulas() {
        let check = |op, expected: [f64; 4]| {
            let mut y = [-7.0f64, -1.0, 0.5, 7.0];
            parametric(op, &mut y);
            for (got, want) in y.iter().zip(expected) {
                assert!((got - want).abs() <= 1e-15 * want.abs().max(1.0), "{op:?}: {got} {want}");
            }
        };
        check(Parametric::LeakyRelu { alpha: 0.5 }, [-3.5, -0.5, 0.5, 7.0]);
        let below = |x: f64| 2.0 * x.exp_m1();
        check(Parametric::Elu { alpha: 2.0 }, [below(-7.0), below(-1.0), 0.5, 7.0]);
        check(Parametric::HardSigmoid { alpha: 0.25, beta: 0.5 }, [0.0, 0.25, 0.625, 1.0]);
        check(Parametric::HardSwish, [0.0, -1.0 / 3.0, 0.5 * (0.5 / 6.0 + 0.5), 7.0]);
    }
}
