//! Floats of 8 and 16 bits: their codes as f32, and the nearest code of an f32.

/// The number that these bits are as IEEE binary16.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    // 2^112 moves the exponent from binary16's bias to binary32's and normalizes subnormals.
    let scaled = f32::from_bits(rest) * f32::from_bits(0x7780_0000);
    let special = rest >= 0x7c00 << 13;
    let magnitude = if special { rest | 0x7f80_0000 } else { scaled.to_bits() };
    f32::from_bits(sign | magnitude)
}

/// The bits of the nearest IEEE binary16 number, halves to even.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    let bits = x.to_bits() & 0x7fff_ffff;
    let rounded = if bits > 0x7f80_0000 {
        0x7e00 | (bits >> 13) & 0x3ff
    } else if bits >= 0x4780_0000 {
        0x7c00
    } else if bits < 0x3880_0000 {
        // Adding 0.5 leaves the subnormal's bits, rounded, at the end of the sum.
        (f32::from_bits(bits) + 0.5).to_bits() - 0x3f00_0000
    } else {
        (bits - 0x3800_0000 + 0xfff + ((bits >> 13) & 1)) >> 13
    };
    sign | rounded as u16
}

/// The number that these bits are as bfloat16.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bits of the nearest bfloat16 number, halves to even.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// What follows the largest finite magnitude of an 8-bit float.
#[derive(Clone, Copy, PartialEq)]
enum Top {
    /// Infinity, then NaN (IEEE 754).
    Infinity,
    /// One NaN a sign, no infinity (OCP E4M3).
    Nan,
    /// Nothing: NaN has the code of negative zero, which there is not (FNUZ).
    Nothing,
}

/// Layout of an 8-bit float.
#[derive(Clone, Copy)]
pub(super) struct Float8 {
    mantissa: u32,
    bias: u32,
    top: Top,
    /// Largest finite magnitude.
    last: u32,
}

/// OCP E4M3 (`F8E4M3FN` of ONNX).
pub(super) const E4M3: Float8 = Float8 { mantissa: 3, bias: 7, top: Top::Nan, last: 0x7e };
/// OCP E5M2.
pub(super) const E5M2: Float8 = Float8 { mantissa: 2, bias: 15, top: Top::Infinity, last: 0x7b };
/// E4M3 with bias 8 (arXiv:2206.02915).
pub(super) const E4M3_FNUZ: Float8 = Float8 { mantissa: 3, bias: 8, top: Top::Nothing, last: 0x7f };
/// E5M2 with bias 16 (arXiv:2206.02915).
pub(super) const E5M2_FNUZ: Float8 =
    Float8 { mantissa: 2, bias: 16, top: Top::Nothing, last: 0x7f };

impl Float8 {
    /// The numbers of all codes.
    pub(super) const fn table(self) -> [f32; 256] {
        let mut table = [0.0; 256];
        let mut code = 0;
        while code < 256 {
            table[code] = self.decode(code as u32);
            code += 1;
        }
        table
    }

    const fn decode(self, code: u32) -> f32 {
        let (sign, magnitude) = (code >> 7 << 31, code & 0x7f);
        let (exponent, mantissa) =
            (magnitude >> self.mantissa, magnitude & ((1 << self.mantissa) - 1));
        let nan = match self.top {
            Top::Infinity => magnitude > self.last + 1,
            Top::Nan => magnitude > self.last,
            Top::Nothing => code == 0x80,
        };
        let bits = if nan {
            0x7fc0_0000
        } else if magnitude > self.last {
            0x7f80_0000
        } else if exponent == 0 {
            // Units of the smallest magnitude.
            let unit = f32::from_bits((128 - self.bias - self.mantissa) << 23);
            (mantissa as f32 * unit).to_bits()
        } else {
            (exponent + 127 - self.bias) << 23 | mantissa << (23 - self.mantissa)
        };
        f32::from_bits(sign | bits)
    }

    /// The nearest code, halves to even. What is too large becomes infinity where there is one and
    /// NaN elsewhere.
    #[inline(always)]
    pub(super) fn encode(self, x: f32) -> u8 {
        let sign = x.to_bits() >> 24 & 0x80;
        let bits = x.to_bits() & 0x7fff_ffff;
        let shift = 23 - self.mantissa;
        let code = if bits >= (128 - self.bias) << 23 {
            let odd = bits >> shift & 1;
            (bits - ((127 - self.bias) << 23) + (1 << (shift - 1)) - 1 + odd) >> shift
        } else {
            // The sum's unit of the last place is the smallest magnitude.
            let unit = (128 - self.bias - self.mantissa + 23) << 23;
            (f32::from_bits(bits) + f32::from_bits(unit)).to_bits() - unit
        };
        let code = match (bits > 0x7f80_0000, code > self.last, self.top) {
            (true, _, Top::Infinity) => sign | 0x7e,
            (false, true, Top::Infinity) => sign | 0x7c,
            (true, _, Top::Nan) | (false, true, Top::Nan) => sign | 0x7f,
            (true, _, Top::Nothing) | (false, true, Top::Nothing) => 0x80,
            (false, false, Top::Nothing) if code == 0 => 0,
            (false, false, _) => sign | code,
        };
        code as u8
    }
}

/// `x` as f32 so that rounding the result once more, to at most 22 bits, is rounding `x` once.
///
/// What does not fit is cut off and leaves the last bit set (rounding to odd; Boldo and Melquiond,
/// IEEE TC 57(4), 2008).
#[inline(always)]
pub(super) fn f64_to_odd(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    if back == x || x.is_nan() {
        return near;
    }
    let too_far = u32::from(back.abs() > x.abs());
    f32::from_bits((near.to_bits() - too_far) | 1)
}

/// As [`f64_to_odd`], of an integer's magnitude.
#[inline(always)]
pub(super) fn u64_to_odd(x: u64) -> f32 {
    // The low 11 bits do not fit an f64 of 64-bit numbers.
    let rest = if x & 0x7ff == 0 || x < 1 << 53 { x } else { x & !0x7ff | 0x800 };
    f64_to_odd(rest as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_float_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16_to_f32(bits), bf16_to_f32(bits));
            assert!(half.is_nan() || f32_to_f16(half) == bits, "{bits:x}");
            assert!(brain.is_nan() || f32_to_bf16(brain) == bits, "{bits:x}");
            assert_eq!(half.is_nan(), f16_to_f32(f32_to_f16(half)).is_nan());
            assert_eq!(brain.is_nan(), bf16_to_f32(f32_to_bf16(brain)).is_nan());
        }
    }

    #[test]
    fn halves_between_two_16_bit_floats_go_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (f16_to_f32(bits), f16_to_f32(bits + 1));
            let middle = ((low as f64 + high as f64) / 2.0) as f32;
            assert_eq!(f32_to_f16(middle), bits + (bits & 1));
            assert_eq!(f32_to_f16(middle.next_up()), bits + 1);
            assert_eq!(f32_to_f16(-middle.next_down()), bits | 0x8000);
        }
        assert_eq!([f32_to_f16(65_519.9), f32_to_f16(65_520.0)], [0x7bff, 0x7c00]);
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(f16_to_f32(0x3c00), 1.0);
        assert_eq!(f16_to_f32(1), 2f32.powi(-24));
    }

    #[test]
    fn every_8_bit_float_survives_and_the_seams_round_to_even() {
        for format in [E4M3, E5M2, E4M3_FNUZ, E5M2_FNUZ] {
            let table = format.table();
            for (code, &x) in table.iter().enumerate() {
                assert!(x.is_nan() || format.encode(x) == code as u8, "{code:x}");
                assert_eq!(x.is_nan(), table[format.encode(x) as usize].is_nan());
            }
            for code in 0..format.last as u8 {
                let middle = (table[code as usize] + table[code as usize + 1]) / 2.0;
                assert_eq!(format.encode(middle), code + (code & 1));
                assert_eq!(format.encode(middle.next_up()), code + 1);
                assert_eq!(format.encode(middle.next_down()), code);
                let minus = if code == 0 && format.top == Top::Nothing { 0 } else { code | 0x80 };
                assert_eq!(format.encode(-middle.next_down()), minus);
            }
        }
    }

    #[test]
    fn what_is_too_large_for_8_bits_is_not_saturated() {
        // The codes of ml_dtypes 0.5.4.
        for (format, last, first, codes) in [
            (E4M3, 464.0, 464.1, [0x7e, 0x7f, 0xff, 0x7f, 0x80]),
            (E5M2, 61439.0, 61440.0, [0x7b, 0x7c, 0xfc, 0x7e, 0x80]),
            (E4M3_FNUZ, 247.9, 248.0, [0x7f, 0x80, 0x80, 0x80, 0x00]),
            (E5M2_FNUZ, 61439.0, 61440.0, [0x7f, 0x80, 0x80, 0x80, 0x00]),
        ] {
            let x = [last, first, f32::NEG_INFINITY, f32::NAN, -0.0];
            assert_eq!(x.map(|x| format.encode(x)), codes);
        }
    }

    #[test]
    fn rounding_to_odd_keeps_what_a_second_rounding_needs() {
        // Just above the middle between two halves, too little for an f32 to see.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!([f32_to_f16(x as f32), f32_to_f16(f64_to_odd(x))], [0x3c00, 0x3c01]);
        assert_eq!(f32_to_f16(f64_to_odd(-x)), 0xbc01);
        assert_eq!(f64_to_odd(1e300), f32::MAX);
        assert_eq!(f64_to_odd(1e-300), f32::from_bits(1));
        assert_eq!(f64_to_odd(f64::NEG_INFINITY), f32::NEG_INFINITY);
        let x = (1 << 62) + (1 << 54) + 1;
        assert_eq!([f32_to_bf16(x as f32), f32_to_bf16(u64_to_odd(x))], [0x5e80, 0x5e81]);
        assert_eq!(u64_to_odd(u64::MAX), (u64::MAX as f32).next_down());
        assert_eq!(u64_to_odd(1 << 63), (1u64 << 63) as f32);
    }
}
