//! Floating-point instructions.

use super::registers::{LANES, Lane, Registers};
use crate::float::{
    Rounding, add_odd, bf16_to_f32, divide_odd, f16_to_f32, f32_to_bf16, f32_to_f16, flush,
    sqrt_odd, to_f32,
};
use crate::ptx::instruction::{Float, Float1, Float2, FloatMods, Inst, Slot};

/// Applies a single-precision function to each number of a register of 16-bit numbers.
trait Halves: Sized {
    fn unpack(bits: u32) -> [f32; 2];
    fn pack(values: [f32; 2]) -> u32;
}

struct F16;
struct F16x2;
struct Bf16;
struct Bf16x2;

impl Halves for F16 {
    fn unpack(bits: u32) -> [f32; 2] {
        [f16_to_f32(bits as u16), 0.0]
    }
    fn pack(values: [f32; 2]) -> u32 {
        u32::from(f32_to_f16(values[0]))
    }
}

impl Halves for F16x2 {
    fn unpack(bits: u32) -> [f32; 2] {
        [f16_to_f32(bits as u16), f16_to_f32((bits >> 16) as u16)]
    }
    fn pack(values: [f32; 2]) -> u32 {
        u32::from(f32_to_f16(values[0])) | u32::from(f32_to_f16(values[1])) << 16
    }
}

impl Halves for Bf16 {
    fn unpack(bits: u32) -> [f32; 2] {
        [bf16_to_f32(bits as u16), 0.0]
    }
    fn pack(values: [f32; 2]) -> u32 {
        u32::from(f32_to_bf16(values[0]))
    }
}

impl Halves for Bf16x2 {
    fn unpack(bits: u32) -> [f32; 2] {
        [bf16_to_f32(bits as u16), bf16_to_f32((bits >> 16) as u16)]
    }
    fn pack(values: [f32; 2]) -> u32 {
        u32::from(f32_to_bf16(values[0])) | u32::from(f32_to_bf16(values[1])) << 16
    }
}

fn halves<H: Halves, const N: usize>(
    r: &mut Registers,
    (d, sources): (Slot, [Slot; N]),
    mask: u32,
    f: impl Fn([f32; N]) -> f32,
) {
    let rows = sources.map(|slot| *r.word(slot));
    let values: [u32; LANES] = std::array::from_fn(|lane| {
        let operands: [[f32; 2]; N] = std::array::from_fn(|at| H::unpack(rows[at][lane]));
        H::pack([f(operands.map(|pair| pair[0])), f(operands.map(|pair| pair[1]))])
    });
    r.put_words(d, &values, mask);
}

macro_rules! for_halves {
    ($ty:expr, $r:expr, $slots:expr, $mask:expr, $f:expr) => {
        match $ty {
            Float::F16 => halves::<F16, _>($r, $slots, $mask, $f),
            Float::F16x2 => halves::<F16x2, _>($r, $slots, $mask, $f),
            Float::Bf16 => halves::<Bf16, _>($r, $slots, $mask, $f),
            Float::Bf16x2 => halves::<Bf16x2, _>($r, $slots, $mask, $f),
            Float::F32 | Float::F64 => {}
        }
    };
}

/// `.ftz` of an operand or result, `.sat` and `.relu` of a result.
fn finish(value: f32, mods: FloatMods) -> f32 {
    let value = if mods.ftz { flush(value) } else { value };
    if mods.sat {
        return if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) + 0.0 };
    }
    if mods.relu && (value < 0.0 || value.is_nan() || value == 0.0) {
        return if value.is_nan() { value } else { 0.0 };
    }
    value
}

fn enter(value: f32, mods: FloatMods) -> f32 {
    if mods.ftz { flush(value) } else { value }
}

/// One source.
pub(crate) fn float1(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    op: Float1,
    (ty, mods): (Float, FloatMods),
) {
    match ty {
        Float::F32 => match op {
            Float1::Neg if !mods.ftz => r.map1(i, mask, |a: u32| a ^ 1 << 31),
            Float1::Abs if !mods.ftz => r.map1(i, mask, |a: u32| a & !(1 << 31)),
            _ => r.map1(i, mask, |a: f32| finish(single1(op, enter(a, mods), mods), mods)),
        },
        Float::F64 => r.map1(i, mask, |a: f64| double1(op, a)),
        Float::F16 | Float::Bf16 | Float::F16x2 | Float::Bf16x2
            if op == Float1::Neg && !mods.ftz =>
        {
            let sign = if matches!(ty, Float::F16 | Float::Bf16) { 0x8000 } else { 0x8000_8000 };
            r.map1(i, mask, |a: u32| a ^ sign);
        }
        Float::F16 | Float::Bf16 | Float::F16x2 | Float::Bf16x2 => {
            for_halves!(ty, r, (i.d, [i.a]), mask, |[a]: [f32; 1]| {
                finish(single1(op, a, mods), mods)
            });
        }
    }
}

fn single1(op: Float1, a: f32, mods: FloatMods) -> f32 {
    let exact = mods.rounding != Rounding::Nearest;
    match op {
        Float1::Neg => -a,
        Float1::Abs => a.abs(),
        Float1::Sqrt if exact => to_f32(sqrt_odd(f64::from(a)), mods.rounding),
        Float1::Sqrt => a.sqrt(),
        Float1::Rcp if exact => to_f32(divide_odd(1.0, f64::from(a)), mods.rounding),
        Float1::Rcp => 1.0 / a,
        Float1::Rsqrt => (1.0 / f64::from(a).sqrt()) as f32,
        Float1::Ex2 => a.exp2(),
        Float1::Lg2 => a.log2(),
        Float1::Sin => a.sin(),
        Float1::Cos => a.cos(),
        Float1::Tanh => a.tanh(),
    }
}

fn double1(op: Float1, a: f64) -> f64 {
    match op {
        Float1::Neg => -a,
        Float1::Abs => a.abs(),
        Float1::Sqrt => a.sqrt(),
        Float1::Rcp => 1.0 / a,
        Float1::Rsqrt => 1.0 / a.sqrt(),
        Float1::Ex2 => a.exp2(),
        Float1::Lg2 => a.log2(),
        Float1::Sin => a.sin(),
        Float1::Cos => a.cos(),
        Float1::Tanh => a.tanh(),
    }
}

/// Two sources.
pub(crate) fn float2(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    op: Float2,
    (ty, mods): (Float, FloatMods),
) {
    match (ty, op) {
        (Float::F32, Float2::Add) if mods.is_plain() => r.map2(i, mask, |a: f32, b: f32| a + b),
        (Float::F32, Float2::Sub) if mods.is_plain() => r.map2(i, mask, |a: f32, b: f32| a - b),
        (Float::F32, Float2::Mul) if mods.is_plain() => r.map2(i, mask, |a: f32, b: f32| a * b),
        (Float::F32, Float2::Div) if mods.is_plain() => r.map2(i, mask, |a: f32, b: f32| a / b),
        (Float::F32, _) => r.map2(i, mask, |a: f32, b: f32| {
            finish(single2(op, enter(a, mods), enter(b, mods), mods), mods)
        }),
        (Float::F64, _) => r.map2(i, mask, |a: f64, b: f64| double2(op, a, b, mods)),
        (Float::F16 | Float::Bf16 | Float::F16x2 | Float::Bf16x2, _) => {
            for_halves!(ty, r, (i.d, [i.a, i.b]), mask, |[a, b]: [f32; 2]| {
                finish(single2(op, a, b, mods), mods)
            });
        }
    }
}

fn single2(op: Float2, a: f32, b: f32, mods: FloatMods) -> f32 {
    let (wide_a, wide_b) = (f64::from(a), f64::from(b));
    let nearest = mods.rounding == Rounding::Nearest;
    match op {
        Float2::Add if nearest => a + b,
        Float2::Add => to_f32(signed_zero(add_odd(wide_a, wide_b), mods), mods.rounding),
        Float2::Sub if nearest => a - b,
        Float2::Sub => to_f32(signed_zero(add_odd(wide_a, -wide_b), mods), mods.rounding),
        Float2::Mul if nearest => a * b,
        Float2::Mul => to_f32(wide_a * wide_b, mods.rounding),
        Float2::Div if nearest => a / b,
        Float2::Div => to_f32(divide_odd(wide_a, wide_b), mods.rounding),
        Float2::Min | Float2::Max => pick(wide_a, wide_b, op == Float2::Max, mods.nan) as f32,
        Float2::Copysign => b.copysign(a),
    }
}

/// An exact zero sum is negative when rounding down (IEEE 754 §6.3).
fn signed_zero(sum: f64, mods: FloatMods) -> f64 {
    if sum == 0.0 && mods.rounding == Rounding::Down { -0.0 } else { sum }
}

/// `min` or `max`: the number wins over NaN unless `nan`, and `-0 < +0`.
fn pick(a: f64, b: f64, larger: bool, nan: bool) -> f64 {
    if a.is_nan() || b.is_nan() {
        let other = if a.is_nan() { b } else { a };
        return if nan { f64::NAN } else { other };
    }
    let first = match a.partial_cmp(&b) {
        Some(std::cmp::Ordering::Less) => true,
        Some(std::cmp::Ordering::Greater) => false,
        _ => a.is_sign_negative(),
    };
    if first == larger { b } else { a }
}

fn double2(op: Float2, a: f64, b: f64, mods: FloatMods) -> f64 {
    match op {
        Float2::Add => directed(a + b, sum_error(a, b), mods.rounding),
        Float2::Sub => directed(a - b, sum_error(a, -b), mods.rounding),
        Float2::Mul => directed(a * b, a.mul_add(b, -(a * b)), mods.rounding),
        Float2::Div => {
            let rest = (-(a / b)).mul_add(b, a);
            directed(a / b, if b < 0.0 { -rest } else { rest }, mods.rounding)
        }
        Float2::Min | Float2::Max => pick(a, b, op == Float2::Max, mods.nan),
        Float2::Copysign => b.copysign(a),
    }
}

fn sum_error(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    (a - (sum - part)) + (b - part)
}

/// `value`, which is nearest to `value + error`, rounded in another direction.
fn directed(value: f64, error: f64, rounding: Rounding) -> f64 {
    if error == 0.0 || !value.is_finite() || !error.is_finite() {
        return value;
    }
    match rounding {
        Rounding::Nearest | Rounding::NearestAway => value,
        Rounding::Down if error < 0.0 => value.next_down(),
        Rounding::Up if error > 0.0 => value.next_up(),
        Rounding::Zero if value > 0.0 && error < 0.0 => value.next_down(),
        Rounding::Zero if value < 0.0 && error > 0.0 => value.next_up(),
        Rounding::Down | Rounding::Up | Rounding::Zero => value,
    }
}

/// `fma`, `d = a * b + c` with one rounding.
pub(crate) fn fma(r: &mut Registers, i: &Inst, mask: u32, ty: Float, mods: FloatMods) {
    match ty {
        Float::F32 if mods.is_plain() => {
            let values = fma_row(r.word(i.a), r.word(i.b), r.word(i.c));
            r.put_words(i.d, &values, mask);
        }
        Float::F32 => r.map3(i, mask, |a: f32, b: f32, c: f32| {
            let (a, b, c) = (enter(a, mods), enter(b, mods), enter(c, mods));
            let exact = signed_zero(add_odd(f64::from(a) * f64::from(b), f64::from(c)), mods);
            finish(to_f32(exact, mods.rounding), mods)
        }),
        Float::F64 => r.map3(i, mask, |a: f64, b: f64, c: f64| {
            let value = a.mul_add(b, c);
            let product = a * b;
            let error = a.mul_add(b, -product) + sum_error(product, c);
            directed(value, error - (value - (product + c)), mods.rounding)
        }),
        Float::F16 | Float::Bf16 | Float::F16x2 | Float::Bf16x2 => {
            for_halves!(ty, r, (i.d, [i.a, i.b, i.c]), mask, |[a, b, c]: [f32; 3]| {
                // Rounded to odd at 24 bits, so that the rounding to 11 or 8 bits is the only one.
                let exact = add_odd(f64::from(a) * f64::from(b), f64::from(c));
                finish(odd_single(exact), mods)
            });
        }
    }
}

/// A double, itself rounded to odd, as a single rounded to odd.
fn odd_single(value: f64) -> f32 {
    let truncated = to_f32(value, Rounding::Zero);
    if f64::from(truncated) == value || !value.is_finite() || truncated.is_infinite() {
        return truncated;
    }
    f32::from_bits(truncated.to_bits() | 1)
}

fn fma_row(a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) -> [u32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has both features, as was just asked.
        return unsafe { fma_row_avx(a, b, c) };
    }
    fma_row_any(a, b, c)
}

#[inline(always)]
fn fma_row_any(a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) -> [u32; LANES] {
    let f = f32::from_bits;
    std::array::from_fn(|lane| f(a[lane]).mul_add(f(b[lane]), f(c[lane])).to_bits())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fma_row_avx(a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) -> [u32; LANES] {
    fma_row_any(a, b, c)
}

/// Reads `slot` as numbers, for comparisons: the lower numbers and, for pairs, the upper ones.
pub(crate) fn numbers(r: &Registers, slot: Slot, ty: Float) -> ([f64; LANES], [f64; LANES]) {
    let pair = |bits: u32| match ty {
        Float::F16 => F16::unpack(bits),
        Float::F16x2 => F16x2::unpack(bits),
        Float::Bf16 => Bf16::unpack(bits),
        Float::Bf16x2 => Bf16x2::unpack(bits),
        Float::F32 | Float::F64 => [f32::from_bits(bits), 0.0],
    };
    if ty == Float::F64 {
        return (f64::load(r, slot), [0.0; LANES]);
    }
    let row = r.word(slot);
    let both: [[f32; 2]; LANES] = std::array::from_fn(|lane| pair(row[lane]));
    (both.map(|pair| f64::from(pair[0])), both.map(|pair| f64::from(pair[1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: FloatMods = FloatMods { rounding: Rounding::Down, ..FloatMods::PLAIN };

    #[test]
    fn the_number_wins_over_nan_and_minus_zero_is_less() {
        assert_eq!(pick(f64::NAN, 2.0, false, false), 2.0);
        assert!(pick(f64::NAN, 2.0, false, true).is_nan());
        assert!(pick(0.0, -0.0, false, false).is_sign_negative());
        assert!(pick(-0.0, 0.0, true, false).is_sign_positive());
        assert_eq!(pick(1.0, 2.0, true, false), 2.0);
    }

    #[test]
    fn one_rounding_in_each_operation() {
        let tiny = f32::from_bits(1);
        assert!(single2(Float2::Add, 1.0, tiny, DOWN) == 1.0);
        assert!(single2(Float2::Sub, 1.0, tiny, DOWN) == 1.0f32.next_down());
        assert!(single2(Float2::Add, 1.0, -1.0, DOWN).is_sign_negative());
        assert_eq!(double2(Float2::Add, 1.0, -1e-300, DOWN), 1.0f64.next_down());
        let up = FloatMods { rounding: Rounding::Up, ..FloatMods::PLAIN };
        assert_eq!(double2(Float2::Mul, 1.0 + f64::EPSILON, 1.0 + f64::EPSILON, up), {
            (1.0 + 2.0 * f64::EPSILON).next_up()
        });
    }

    #[test]
    fn a_half_product_and_sum_is_rounded_once() {
        // 1 + 2^-11 lies between two halves; 2^-24 more must not be lost on the way.
        let exact = add_odd(1.0 + 2f64.powi(-11), 2f64.powi(-60));
        assert_eq!(f32_to_f16(odd_single(exact)), 0x3c01);
        assert_eq!(f32_to_f16(odd_single(1.0 + 2f64.powi(-11))), 0x3c00);
    }

    #[test]
    fn clamps_and_flushes() {
        let sat = FloatMods { sat: true, ..FloatMods::PLAIN };
        assert_eq!(finish(f32::NAN, sat), 0.0);
        assert_eq!(finish(3.0, sat), 1.0);
        let relu = FloatMods { relu: true, ..FloatMods::PLAIN };
        assert_eq!(finish(-1.0, relu), 0.0);
        assert!(finish(f32::NAN, relu).is_nan());
        let ftz = FloatMods { ftz: true, ..FloatMods::PLAIN };
        assert_eq!(finish(f32::from_bits(77), ftz), 0.0);
    }
}
