//! Floats of 8 bits: their bits are read from a table and computed with integers, since the ops of
//! the contract compute with wider ones.

use crate::content::{number_tensor, scalar};
use crate::node::Cx;
use crate::value::{R, T, unsupported};
use aimass_sdk::DType;

/// How a float of 8 bits is laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layout {
    mantissa_bits: u32,
    bias: i32,
    /// Bits of the largest finite number.
    max: u8,
    /// Bits of infinity, or of what stands for it.
    infinity: u8,
    /// Bits of NaN without its sign.
    nan: u8,
    /// Whether there is one NaN, `0x80`, and no negative zero.
    unsigned_zero: bool,
}

impl Layout {
    fn of(dtype: DType) -> Option<Layout> {
        let own = |mantissa_bits, bias, max, infinity, nan, unsigned_zero| Layout {
            mantissa_bits,
            bias,
            max,
            infinity,
            nan,
            unsigned_zero,
        };
        Some(match dtype {
            DType::F8E4m3 => own(3, 7, 0x7e, 0x7f, 0x7f, false),
            DType::F8E5m2 => own(2, 15, 0x7b, 0x7c, 0x7e, false),
            DType::F8E4m3Fnuz => own(3, 8, 0x7f, 0x80, 0x80, true),
            DType::F8E5m2Fnuz => own(2, 16, 0x7f, 0x80, 0x80, true),
            _ => return None,
        })
    }

    /// The number that these bits are.
    fn value(self, bits: u8) -> f64 {
        if self.unsigned_zero && bits == 0x80 {
            return f64::NAN;
        }
        let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
        let magnitude = bits & 0x7f;
        if magnitude > self.max {
            let infinite =
                !self.unsigned_zero && magnitude == self.infinity && self.infinity != self.nan;
            return if infinite { sign * f64::INFINITY } else { f64::NAN };
        }
        let exponent = i32::from(magnitude >> self.mantissa_bits);
        let fraction = f64::from(magnitude & ((1 << self.mantissa_bits) - 1));
        let unit = 2f64.powi(self.mantissa_bits as i32);
        match exponent {
            0 => sign * fraction / unit * 2f64.powi(1 - self.bias),
            _ => sign * (1.0 + fraction / unit) * 2f64.powi(exponent - self.bias),
        }
    }
}

/// Any number in a wide float type.
pub(super) fn widen(cx: &mut Cx<'_>, x: &T, wide: DType) -> R<T> {
    let Some(layout) = Layout::of(x.dtype) else { return cx.cast(x, wide) };
    let values: Vec<f64> = (0..=255).map(|bits| layout.value(bits)).collect();
    let table = number_tensor(DType::F32, &[256], &values)?;
    let bits = cx.bitcast(x, DType::U8)?;
    let indices = cx.cast(&bits, DType::I32)?;
    let y = cx.gather(&table, &indices, 0)?;
    cx.cast(&y, wide)
}

/// A float in a type of 8 bits, to nearest even; beyond the largest number it becomes that number
/// with `saturate`, else infinity or NaN.
pub(super) fn narrow(cx: &mut Cx<'_>, x: &T, dtype: DType, saturate: bool) -> R<T> {
    let Some(layout) = Layout::of(dtype) else {
        return Err(unsupported(format!("a conversion to {}", dtype.name())));
    };
    let x = cx.cast(x, DType::F32)?;
    let magnitude = cx.abs(&x)?;
    let bits = rounded_bits(cx, &magnitude, layout)?;
    let limit = scalar(DType::U32, f64::from(layout.max))?;
    let beyond = if saturate { layout.max } else { layout.infinity };
    let beyond = scalar(DType::U32, f64::from(beyond))?;
    let too_large = cx.greater(&bits, &limit)?;
    let bits = cx.select(&too_large, &beyond, &bits)?;
    let nan = scalar(DType::U32, f64::from(layout.nan))?;
    let is_nan = cx.is_nan(&x)?;
    let bits = cx.select(&is_nan, &nan, &bits)?;
    let own_bits = cx.bitcast(&x, DType::U32)?;
    let shift = scalar(DType::U32, 24.0)?;
    let sign = cx.shift_right(&own_bits, &shift)?;
    let mask = scalar(DType::U32, 128.0)?;
    let sign = cx.bit_and(&sign, &mask)?;
    let signed = cx.bit_or(&bits, &sign)?;
    let signed = match layout.unsigned_zero {
        false => signed,
        // A zero has no sign, and neither has the one NaN.
        true => {
            let zero = scalar(DType::U32, 0.0)?;
            let none = cx.equal(&bits, &zero)?;
            cx.select(&none, &zero, &signed)?
        }
    };
    let bytes = cx.cast(&signed, DType::U8)?;
    cx.bitcast(&bytes, dtype)
}

/// Bits of the nearest number, exponents beyond the type's included, as u32.
fn rounded_bits(cx: &mut Cx<'_>, magnitude: &T, layout: Layout) -> R<T> {
    // Far beyond the largest number all is one; this keeps infinity out of the arithmetic.
    let bounded = cx.clamp(magnitude, 0.0, 2f64.powi(40))?;
    // Below the smallest normal number: the sum with a power of two rounds in the right place.
    let mantissa = layout.mantissa_bits as i32;
    let magic = 2f64.powi(1 - layout.bias - mantissa + 23);
    let shifted = cx.add_number(&bounded, magic)?;
    let shifted = cx.bitcast(&shifted, DType::U32)?;
    let base = scalar(DType::U32, f64::from((magic as f32).to_bits()))?;
    let small = cx.sub(&shifted, &base)?;
    // From there on: halves to even in the bits of the f32.
    let bits = cx.bitcast(&bounded, DType::U32)?;
    let drop = scalar(DType::U32, f64::from(23 - layout.mantissa_bits))?;
    let last = cx.shift_right(&bits, &drop)?;
    let unit = scalar(DType::U32, 1.0)?;
    let last = cx.bit_and(&last, &unit)?;
    let half = scalar(DType::U32, 2f64.powi(22 - mantissa) - 1.0)?;
    let rounded = cx.add(&bits, &half)?;
    let rounded = cx.add(&rounded, &last)?;
    let rounded = cx.shift_right(&rounded, &drop)?;
    let rebias = scalar(DType::U32, f64::from((127 - layout.bias) << layout.mantissa_bits))?;
    let normal = cx.sub(&rounded, &rebias)?;
    let smallest = scalar(DType::F32, 2f64.powi(1 - layout.bias))?;
    let is_small = cx.less(&bounded, &smallest)?;
    cx.select(&is_small, &small, &normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_mean_what_the_formats_say() {
        let value = |dtype, bits| Layout::of(dtype).unwrap().value(bits);
        assert_eq!(value(DType::F8E4m3, 0x7e), 448.0);
        assert_eq!(value(DType::F8E4m3, 0x01), 2f64.powi(-9));
        assert!(value(DType::F8E4m3, 0xff).is_nan());
        assert_eq!(value(DType::F8E5m2, 0x7b), 57344.0);
        assert_eq!(value(DType::F8E5m2, 0xfc), f64::NEG_INFINITY);
        assert!(value(DType::F8E5m2, 0x7d).is_nan());
        assert_eq!(value(DType::F8E4m3Fnuz, 0x7f), 240.0);
        assert!(value(DType::F8E4m3Fnuz, 0x80).is_nan());
        assert_eq!(value(DType::F8E5m2Fnuz, 0x7f), 57344.0);
        assert_eq!(value(DType::F8E5m2Fnuz, 0x04), 2f64.powi(-15));
    }
}
