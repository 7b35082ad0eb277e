//! Small floating-point formats and rounding, in software.
//!
//! Every conversion goes through one exact step: a value known to more bits than the target needs,
//! rounded to odd, then rounded once in the asked direction (Boldo and Melquiond, "When double
//! rounding is odd"). Results are therefore those of IEEE 754 for every rounding mode.

/// Direction of a rounding, as PTX names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// `.rn`: to nearest, ties to even.
    Nearest,
    /// `.rna`: to nearest, ties away from zero.
    NearestAway,
    /// `.rz`: toward zero.
    Zero,
    /// `.rm`: toward minus infinity.
    Down,
    /// `.rp`: toward plus infinity.
    Up,
}

/// A binary floating-point format of at most 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
    /// Whether the largest exponent holds infinities. `e4m3` has one NaN and no infinity.
    infinities: bool,
}

impl Format {
    /// IEEE binary16.
    pub(crate) const F16: Self = Self { exponent_bits: 5, mantissa_bits: 10, infinities: true };
    /// The upper half of binary32.
    pub(crate) const BF16: Self = Self { exponent_bits: 8, mantissa_bits: 7, infinities: true };
    /// IEEE binary32.
    pub(crate) const F32: Self = Self { exponent_bits: 8, mantissa_bits: 23, infinities: true };
    /// Tensor-core single precision: binary32 with 10 bits of mantissa, kept in its upper bits.
    pub(crate) const TF32: Self = Self { exponent_bits: 8, mantissa_bits: 10, infinities: true };
    /// OCP FP8 with 4 exponent bits: largest value 448, no infinity.
    pub(crate) const E4M3: Self = Self { exponent_bits: 4, mantissa_bits: 3, infinities: false };
    /// OCP FP8 with 5 exponent bits: largest value 57344.
    pub(crate) const E5M2: Self = Self { exponent_bits: 5, mantissa_bits: 2, infinities: true };

    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// NVIDIA's NaN: all bits but the sign.
    fn nan(self) -> u32 {
        (1 << (self.exponent_bits + self.mantissa_bits)) - 1
    }

    fn largest(self) -> u32 {
        let top = ((1 << self.exponent_bits) - 1) << self.mantissa_bits;
        if self.infinities { top - 1 } else { self.nan() - 1 }
    }

    /// Bits of `value` in this format; overflow gives infinity, or the largest value if `finite`.
    pub(crate) fn round(self, value: f64, rounding: Rounding, finite: bool) -> u32 {
        let sign_bit =
            u32::from(value.is_sign_negative()) << (self.exponent_bits + self.mantissa_bits);
        if value.is_nan() {
            return self.nan();
        }
        let magnitude = value.abs();
        if magnitude == 0.0 {
            return sign_bit;
        }
        if magnitude.is_infinite() {
            return sign_bit | self.overflowed(finite);
        }
        let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - self.bias());
        let unit = exponent - self.mantissa_bits as i32;
        let steps = magnitude * power_of_two(-unit);
        let whole = round_steps(steps, rounding, value.is_sign_negative());
        let base = ((exponent + self.bias() - 1) as u64) << self.mantissa_bits;
        let bits = base + whole;
        let towards = match rounding {
            Rounding::Zero => true,
            Rounding::Down => !value.is_sign_negative(),
            Rounding::Up => value.is_sign_negative(),
            Rounding::Nearest | Rounding::NearestAway => false,
        };
        if bits > u64::from(self.largest()) {
            return sign_bit | if towards { self.largest() } else { self.overflowed(finite) };
        }
        sign_bit | bits as u32
    }

    fn overflowed(self, finite: bool) -> u32 {
        match (finite, self.infinities) {
            (true, _) => self.largest(),
            (false, true) => self.largest() + 1,
            (false, false) => self.nan(),
        }
    }

    /// The value of `bits`, exactly.
    pub(crate) fn value(self, bits: u32) -> f64 {
        let mantissa = bits & ((1 << self.mantissa_bits) - 1);
        let exponent = (bits >> self.mantissa_bits) & ((1 << self.exponent_bits) - 1);
        let negative = bits >> (self.exponent_bits + self.mantissa_bits) & 1 == 1;
        let top = (1 << self.exponent_bits) - 1;
        let magnitude = if exponent == top && self.infinities {
            if mantissa == 0 { f64::INFINITY } else { f64::NAN }
        } else if !self.infinities && bits & self.nan() == self.nan() {
            f64::NAN
        } else if exponent == 0 {
            f64::from(mantissa) * power_of_two(1 - self.bias() - self.mantissa_bits as i32)
        } else {
            f64::from(mantissa | 1 << self.mantissa_bits)
                * power_of_two(exponent as i32 - self.bias() - self.mantissa_bits as i32)
        };
        if negative { -magnitude } else { magnitude }
    }
}

/// `2^exponent` for exponents of normal doubles.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

fn round_steps(steps: f64, rounding: Rounding, negative: bool) -> u64 {
    let below = steps.floor();
    let rest = steps - below;
    let up = match rounding {
        Rounding::Nearest => rest > 0.5 || (rest == 0.5 && below % 2.0 == 1.0),
        Rounding::NearestAway => rest >= 0.5,
        Rounding::Zero => false,
        Rounding::Down => negative && rest > 0.0,
        Rounding::Up => !negative && rest > 0.0,
    };
    below as u64 + u64::from(up)
}

/// `f32` of a binary16.
#[inline]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    let scaled = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | sign)
}

/// Binary16 nearest to an `f32`, ties to even.
#[inline]
pub(crate) fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let rounded = if magnitude > 0x7f80_0000 {
        return 0x7fff;
    } else if magnitude >= 0x4780_0000 {
        0x7c00
    } else if magnitude < 0x3880_0000 {
        (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000)
    } else {
        (magnitude - 0x3800_0000 + 0xfff + (magnitude >> 13 & 1)) >> 13
    };
    sign | rounded as u16
}

/// `f32` of a bf16.
#[inline]
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// bf16 nearest to an `f32`, ties to even.
#[inline]
pub(crate) fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return 0x7fff;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Flushes a subnormal to a zero of its sign (`.ftz`).
#[inline]
pub(crate) fn flush(value: f32) -> f32 {
    let bits = value.to_bits();
    if bits & 0x7f80_0000 == 0 { f32::from_bits(bits & 0x8000_0000) } else { value }
}

/// `value + error` rounded to odd, where `value` is that sum rounded to nearest.
pub(crate) fn to_odd(value: f64, error: f64) -> f64 {
    if error == 0.0 || !value.is_finite() || error.is_nan() || value == 0.0 {
        return value;
    }
    let truncated =
        if (error > 0.0) == (value > 0.0) { value.to_bits() } else { value.to_bits() - 1 };
    f64::from_bits(truncated | 1)
}

/// `a + b`, rounded to odd in double precision.
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    to_odd(sum, (a - (sum - part)) + (b - part))
}

/// `a / b` for operands that are exact in single precision, rounded to odd.
pub(crate) fn divide_odd(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    if !quotient.is_finite() || b.is_infinite() {
        return quotient;
    }
    let rest = (-quotient).mul_add(b, a);
    to_odd(quotient, if b < 0.0 { -rest } else { rest })
}

/// Square root of an operand that is exact in single precision, rounded to odd.
pub(crate) fn sqrt_odd(a: f64) -> f64 {
    let root = a.sqrt();
    to_odd(root, (-root).mul_add(root, a))
}

/// A value that was rounded to odd in double precision, as an `f32`.
pub(crate) fn to_f32(value: f64, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Nearest => value as f32,
        other => {
            let bits = Format::F32.round(value, other, false);
            if value.is_nan() { f32::NAN } else { f32::from_bits(bits) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            assert_eq!(f64::from(value).to_bits() << 1, {
                let exact = Format::F16.value(u32::from(bits));
                if exact.is_nan() { f64::from(value).to_bits() << 1 } else { exact.to_bits() << 1 }
            });
            let back = f32_to_f16(value);
            assert!(back == bits || value.is_nan(), "{bits:04x} became {back:04x}");
            let back = f32_to_bf16(bf16_to_f32(bits));
            assert!(back == bits || bf16_to_f32(bits).is_nan(), "{bits:04x} became {back:04x}");
        }
    }

    #[test]
    fn the_short_way_rounds_as_the_exact_one() {
        let mut state = 0x9e37_79b9_u32;
        for _ in 0..300_000 {
            state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
            let value = f32::from_bits(state);
            let exact = Format::F16.round(f64::from(value), Rounding::Nearest, false);
            assert_eq!(u32::from(f32_to_f16(value)), exact, "{value:e}");
            let exact = Format::BF16.round(f64::from(value), Rounding::Nearest, false);
            assert_eq!(u32::from(f32_to_bf16(value)), exact, "{value:e}");
            let exact = Format::F32.round(f64::from(value), Rounding::Zero, false);
            assert!(exact == state || value.is_nan());
        }
    }

    #[test]
    fn directed_rounding_takes_the_neighbour_it_names() {
        let third = divide_odd(1.0, 3.0);
        let (down, up) = (to_f32(third, Rounding::Down), to_f32(third, Rounding::Up));
        assert_eq!(up.to_bits() - down.to_bits(), 1);
        assert_eq!(to_f32(-third, Rounding::Zero), -down);
        assert_eq!(to_f32(add_odd(1.0, 1e-300), Rounding::Up), 1.0 + f32::EPSILON);
        assert_eq!(to_f32(sqrt_odd(4.5), Rounding::Zero), 2.121_320_2);
    }

    #[test]
    fn overflow_follows_direction_and_format() {
        let check = |format: Format, rounding, finite, bits| {
            assert_eq!(format.round(1e30, rounding, finite), bits);
        };
        check(Format::F16, Rounding::Nearest, false, 0x7c00);
        check(Format::F16, Rounding::Zero, false, 0x7bff);
        check(Format::E4M3, Rounding::Nearest, true, 0x7e);
        check(Format::E4M3, Rounding::Nearest, false, 0x7f);
        check(Format::E5M2, Rounding::Nearest, true, 0x7b);
    }
}
