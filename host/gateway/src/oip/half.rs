//! FP16 (IEEE 754 binary16) and BF16 as JSON numbers.

/// Explicit mantissa bits and exponent bias of a 16-bit float.
#[derive(Clone, Copy)]
pub(super) struct Format {
    mantissa: u32,
    bias: u32,
}

/// IEEE 754 binary16.
pub(super) const FP16: Format = Format { mantissa: 10, bias: 15 };
/// Upper half of an f32.
pub(super) const BF16: Format = Format { mantissa: 7, bias: 127 };

/// The bits of the nearest 16-bit float, ties to even; `None` if it would be infinite.
pub(super) fn narrow(value: f64, format: Format) -> Option<u16> {
    let Format { mantissa, bias } = format;
    let sign = u16::from(value.is_sign_negative()) << 15;
    let magnitude = value.abs();
    let least_normal = f64::from_bits(u64::from(1023 + 1 - bias) << 52);
    if magnitude < least_normal {
        // Multiples of the least subnormal; one step above the last is the least normal.
        let scale = f64::from_bits(u64::from(1023 + mantissa + bias - 1) << 52);
        return Some(sign | (magnitude * scale).round_ties_even() as u16);
    }
    let bits = magnitude.to_bits();
    let drop = 52 - mantissa;
    let half_up = (1 << (drop - 1)) - 1 + ((bits >> drop) & 1);
    let rounded = ((bits + half_up) >> drop) - (u64::from(1023 - bias) << mantissa);
    let infinity = 0x7fff >> mantissa << mantissa;
    if rounded < infinity { Some(sign | rounded as u16) } else { None }
}

/// The f32 of equal value.
pub(super) fn widen(bits: u16, format: Format) -> f32 {
    let Format { mantissa, bias } = format;
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = u32::from(bits & 0x7fff) >> mantissa;
    let fraction = u32::from(bits) & ((1 << mantissa) - 1);
    if exponent == 0x7fff >> mantissa {
        return if fraction == 0 { sign * f32::INFINITY } else { f32::NAN };
    }
    if exponent == 0 {
        // In f64, where the least subnormal of both formats is a normal number.
        let least = f64::from_bits(u64::from(1023 + 1 - bias - mantissa) << 52);
        return sign * (f64::from(fraction) * least) as f32;
    }
    sign * f32::from_bits(((exponent + 127 - bias) << 23) | (fraction << (23 - mantissa)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_survives_and_lies_nearest() {
        for format in [FP16, BF16] {
            let mut before = f32::NEG_INFINITY;
            for bits in 0..=0x7fffu16 {
                let value = widen(bits, format);
                if !value.is_finite() {
                    continue;
                }
                assert_eq!(narrow(value.into(), format), Some(bits));
                assert_eq!(narrow((-value).into(), format), Some(bits | 0x8000));
                assert!(value > before, "{bits:#x}");
                if bits > 0 {
                    let middle = (f64::from(before) + f64::from(value)) / 2.0;
                    let even = if bits % 2 == 0 { bits } else { bits - 1 };
                    assert_eq!(narrow(middle, format), Some(even), "tie below {bits:#x}");
                    assert_eq!(narrow(middle.next_up(), format), Some(bits));
                }
                before = value;
            }
        }
    }

    #[test]
    fn known_values_and_overflow() {
        assert_eq!(narrow(1.0, FP16), Some(0x3c00));
        assert_eq!(narrow(65504.0, FP16), Some(0x7bff));
        assert_eq!(narrow(65519.99, FP16), Some(0x7bff));
        assert_eq!(narrow(65520.0, FP16), None);
        assert_eq!(narrow(1.0, BF16), Some(0x3f80));
        assert_eq!(narrow(3.4e38, BF16), None);
        assert_eq!(widen(0x7c00, FP16), f32::INFINITY);
        assert!(widen(0x7fc0, BF16).is_nan());
    }
}
