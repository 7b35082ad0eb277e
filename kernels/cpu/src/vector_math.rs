//! `exp`, `erf`, `tanh` and their like as straight-line f32 code that the compiler vectorizes.
//!
//! Every function is the same chain of IEEE operations at every level, so results do not depend
//! on the vector width. Clamps are written as comparisons that let NaN through.

/// Adding this to a float of moderate size rounds it to an integer, kept in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Bits of [`ROUND`].
const ROUND_BITS: u32 = 0x4B40_0000;

#[inline(always)]
fn clamped(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// `e^x`, within 2 ulp; subnormal results and overflow to infinity included.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = clamped(x, -105.0, 89.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits (Cephes expf).
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND_BITS) as i32;
    let half = power >> 1;
    y * power_of_two(half) * power_of_two(power - half)
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `e^x` for `x <= 0`, as softmax needs it: flushes to 0 below -87.
#[inline(always)]
pub(crate) fn exp_negative(x: f32) -> f32 {
    let small = x < -87.0;
    let x = if small { -87.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND_BITS) as i32;
    let y = y * power_of_two(power);
    if small { 0.0 } else { y }
}

/// The error function, within 1 ulp (N. Juffa's two polynomials, which meet at 0.921875).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let tail = (-1.728_534_7e-5f32).mul_add(t, 3.831_971_3e-4);
    let odd = (-3.883_964_4e-3f32).mul_add(t, 2.425_462_2e-2);
    let tail = tail.mul_add(s, odd);
    let tail = tail.mul_add(t, -1.067_778_8e-1);
    let tail = tail.mul_add(t, -6.348_467e-1);
    let tail = tail.mul_add(t, -1.287_175_1e-1);
    let tail = tail.mul_add(t, -t);
    let tail = (1.0 - exp_negative(tail)).copysign(x);
    let core = -5.967_617e-4f32;
    let core = core.mul_add(s, 4.991_194_2e-3);
    let core = core.mul_add(s, -2.676_813_5e-2);
    let core = core.mul_add(s, 1.128_199_25e-1);
    let core = core.mul_add(s, -3.761_253_4e-1);
    let core = core.mul_add(s, 1.283_791_7e-1);
    let core = core.mul_add(x, x);
    if t > 0.921_875 { tail } else { core }
}

/// Hyperbolic tangent, within 6 ulp (rational approximation of Eigen and XLA).
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let c = clamped(x, -7.905_311, 7.905_311);
    let z = c * c;
    let p = -2.760_768_5e-16f32;
    let p = p.mul_add(z, 2.000_188e-13);
    let p = p.mul_add(z, -8.604_672e-11);
    let p = p.mul_add(z, 5.122_297_1e-8);
    let p = p.mul_add(z, 1.485_722_4e-5);
    let p = p.mul_add(z, 6.372_619_3e-4);
    let p = p.mul_add(z, 4.893_524_6e-3);
    let q = 1.198_258_4e-6f32;
    let q = q.mul_add(z, 1.185_347_1e-4);
    let q = q.mul_add(z, 2.268_434_6e-3);
    let q = q.mul_add(z, 4.893_525e-3);
    let y = c * p / q;
    let y = if x.abs() > 9.02 { 1f32.copysign(x) } else { y };
    if x.abs() < 4e-4 { x } else { y }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x / 2 (1 + erf(x / sqrt 2))`.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    let half = 0.5 * x;
    half.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    let inner = (0.044_715 * x * x).mul_add(x, x) * 0.797_884_6;
    let half = 0.5 * x;
    half.mul_add(tanh(inner), half)
}

/// `x sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `max(x, 0)`; NaN stays NaN.
#[inline(always)]
pub(crate) fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Natural logarithm, within 2 ulp (Cephes logf); subnormals, 0, infinity and NaN included.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    // The mantissa in [sqrt 1/2, sqrt 2) and the exponent that goes with it.
    let offset = bits.wrapping_sub(0x3f35_04f3);
    let exponent = (offset as i32) >> 23;
    let mantissa = f32::from_bits((offset & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let e = exponent as f32 - if tiny { 23.0 } else { 0.0 };
    let f = mantissa - 1.0;
    let z = f * f;
    let p = 7.037_684e-2f32;
    let p = p.mul_add(f, -0.115_146_1);
    let p = p.mul_add(f, 0.116_769_984);
    let p = p.mul_add(f, -0.124_201_41);
    let p = p.mul_add(f, 0.142_493_23);
    let p = p.mul_add(f, -0.166_680_57);
    let p = p.mul_add(f, 0.200_007_15);
    let p = p.mul_add(f, -0.249_999_94);
    let p = p.mul_add(f, 0.333_333_3);
    let y = p * f * z;
    let y = e.mul_add(-2.121_944_4e-4, y);
    let y = z.mul_add(-0.5, y) + f;
    let y = e.mul_add(0.693_359_4, y);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 || x.is_nan() { f32::NAN } else { y }
}

/// Joins sixteen lanes as a fixed tree; written out, because the compiler keeps a loop over the
/// levels in memory.
#[inline(always)]
pub(crate) fn join_lanes(lanes: [f32; 16], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut eight = [0f32; 8];
    for i in 0..8 {
        eight[i] = join(lanes[i], lanes[i + 8]);
    }
    let mut four = [0f32; 4];
    for i in 0..4 {
        four[i] = join(eight[i], eight[i + 4]);
    }
    join(join(four[0], four[2]), join(four[1], four[3]))
}

/// Sum of sixteen lanes as a fixed tree.
#[inline(always)]
pub(crate) fn sum_lanes(lanes: [f32; 16]) -> f32 {
    join_lanes(lanes, |a, b| a + b)
}

/// Folds a row in 64 fixed lanes, four chains for the processor to overlap, joined as a tree.
#[inline(always)]
fn fold_lanes(x: &[f32], step: impl Fn(f32, f32) -> f32) -> f32 {
    let (mut a, mut b, mut c, mut d) = ([0f32; 16], [0f32; 16], [0f32; 16], [0f32; 16]);
    let mut chunks = x.chunks_exact(64);
    for chunk in &mut chunks {
        for i in 0..16 {
            a[i] = step(a[i], chunk[i]);
            b[i] = step(b[i], chunk[i + 16]);
            c[i] = step(c[i], chunk[i + 32]);
            d[i] = step(d[i], chunk[i + 48]);
        }
    }
    let mut rest = [0f32; 16];
    let mut chunks = chunks.remainder().chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, &value) in rest.iter_mut().zip(chunk) {
            *lane = step(*lane, value);
        }
    }
    for i in 0..16 {
        rest[i] += (a[i] + b[i]) + (c[i] + d[i]);
    }
    chunks.remainder().iter().fold(sum_lanes(rest), |sum, &value| step(sum, value))
}

/// `sum f(x)` in fixed lanes.
#[inline(always)]
pub(crate) fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    fold_lanes(x, |sum, value| sum + f(value))
}

/// `sum (x - center)^2` in fixed lanes of fused multiply-adds.
#[inline(always)]
pub(crate) fn sum_squares(x: &[f32], center: f32) -> f32 {
    fold_lanes(x, |sum, value| {
        let d = value - center;
        d.mul_add(d, sum)
    })
}

/// The larger number; NaN if one of them is.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// The largest element that is no NaN, `-inf` for none.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut chunks = x.chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = if value > *lane { value } else { *lane };
    }
    join_lanes(lanes, |a, b| if b > a { b } else { a })
}

/// Turns every element into `e^(x - largest)`, where no number is larger, and returns their sum in
/// sixteen fixed lanes. With `-inf` as the largest, numbers become 0; NaN stays NaN in any case.
#[inline(always)]
pub(crate) fn exponentials(x: &mut [f32], largest: f32) -> f32 {
    let mut lanes = [0f32; 16];
    if largest == f32::NEG_INFINITY {
        x.iter_mut().filter(|x| !x.is_nan()).for_each(|x| *x = 0.0);
        return x.iter().sum();
    }
    let mut chunks = x.chunks_exact_mut(16);
    for chunk in &mut chunks {
        for (x, lane) in chunk.iter_mut().zip(&mut lanes) {
            *x = exp_negative(*x - largest);
            *lane += *x;
        }
    }
    for (x, lane) in chunks.into_remainder().iter_mut().zip(&mut lanes) {
        *x = exp_negative(*x - largest);
        *lane += *x;
    }
    sum_lanes(lanes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `erf` in f64 by the series of all-positive terms (Abramowitz and Stegun 7.1.6).
    pub(crate) fn erf_reference(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= 2.0 * x * x / (2.0 * n as f64 + 1.0);
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
    }

    /// Distance to `want` in units of the last place of `want` as f32.
    pub(crate) fn ulps(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        if got == rounded || (got.is_nan() && rounded.is_nan()) {
            return 0.0;
        }
        let step = if rounded.is_finite() { rounded.abs().next_up() - rounded.abs() } else { 0.0 };
        (got as f64 - want).abs() / (step as f64)
    }

    #[track_caller]
    fn check(f: fn(f32) -> f32, reference: fn(f64) -> f64, range: (f32, f32), limit: f64) {
        let mut worst = (0.0, 0.0);
        for i in 0..=200_000 {
            let x = range.0 + (range.1 - range.0) * (i as f32 / 200_000.0);
            let error = ulps(f(x), reference(x as f64));
            if error > worst.0 || error.is_nan() {
                worst = (error, x);
            }
        }
        assert!(worst.0 <= limit, "{} ulp at {}", worst.0, worst.1);
    }

    #[test]
    fn elementary_functions_are_within_a_few_ulp() {
        check(exp, f64::exp, (-103.0, 88.8), 2.0);
        check(exp_negative, f64::exp, (-86.9, 0.0), 2.0);
        check(tanh, f64::tanh, (-9.5, 9.5), 6.0);
        check(tanh, f64::tanh, (-1e-3, 1e-3), 6.0);
        check(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), (-80.0, 30.0), 4.0);
        check(erf, erf_reference, (-5.0, 5.0), 2.0);
        check(log, f64::ln, (1e-6, 4.0), 2.0);
        check(log, f64::ln, (1.0, 3e38), 2.0);
        check(log, f64::ln, (1e-45, 1e-38), 2.0);
    }

    #[test]
    fn erf_and_gelu_have_small_absolute_errors() {
        let mut worst = (0f64, 0f64);
        for i in -80_000..=80_000 {
            let x = i as f32 * 1e-4;
            worst.0 = worst.0.max((erf(x) as f64 - erf_reference(x as f64)).abs());
            let exact = 0.5 * x as f64 * (1.0 + erf_reference(x as f64 / 2f64.sqrt()));
            worst.1 = worst.1.max((gelu(x) as f64 - exact).abs());
        }
        assert!(worst.0 < 1e-7 && worst.1 < 5e-7, "{worst:?}");
    }

    #[test]
    fn special_values_are_kept() {
        for f in [exp, exp_negative, erf, tanh, sigmoid, gelu, gelu_tanh, silu, relu, log] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!([exp(f32::NEG_INFINITY), exp_negative(f32::NEG_INFINITY)], [0.0, 0.0]);
        assert_eq!([exp(0.0), exp_negative(0.0), sigmoid(0.0)], [1.0, 1.0, 0.5]);
        assert_eq!([tanh(f32::INFINITY), erf(f32::NEG_INFINITY)], [1.0, -1.0]);
        assert_eq!(log(0.0), f32::NEG_INFINITY);
        assert_eq!([log(1.0), log(f32::INFINITY)], [0.0, f32::INFINITY]);
        assert!(log(-1.0).is_nan());
        assert_eq!(max(&[1.0, f32::NAN, 2.0]), 2.0);
        assert!(larger(1.0, f32::NAN).is_nan() && larger(f32::NAN, 1.0).is_nan());
        assert_eq!(max(&[]), f32::NEG_INFINITY);
        let mut hidden = [f32::NEG_INFINITY, f32::NAN, f32::NEG_INFINITY];
        assert!(exponentials(&mut hidden, f32::NEG_INFINITY).is_nan());
        assert!(hidden[0] == 0.0 && hidden[1].is_nan() && hidden[2] == 0.0);
    }
}
