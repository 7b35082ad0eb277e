//! Conversions between element types, also those that the host has no arithmetic for.

use super::{Table, one};
use crate::content::{float_tensor, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::proto::ElementType;
use crate::value::{Form, R, T, TensorValue, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("BitCast", |cx, x| {
        let to = target(cx)?;
        one(bit_cast(cx, x.tensor(0)?, to)?)
    }),
    ("Cast", |cx, x| {
        let to = target(cx)?;
        let saturate = cx.attr_int("saturate", 1)? != 0;
        one(convert(cx, x.tensor(0)?, to, saturate)?)
    }),
    ("CastLike", |cx, x| {
        let saturate = cx.attr_int("saturate", 1)? != 0;
        one(convert(cx, x.tensor(0)?, x.tensor(1)?.dtype, saturate)?)
    }),
];

/// How an 8-bit float is laid out.
struct Small {
    mantissa: u32,
    bias: i32,
    /// The largest finite number, without sign.
    largest: u32,
    /// What a number beyond the largest is, without sign.
    beyond: u32,
    /// NaN, without sign.
    nan: u32,
    /// Whether the only NaN is the pattern of -0, and there are neither infinities nor -0.
    unsigned_zero: bool,
}

const fn small(dtype: DType) -> Option<Small> {
    Some(match dtype {
        DType::F8E4m3 => Small {
            mantissa: 3,
            bias: 7,
            largest: 0x7e,
            beyond: 0x7f,
            nan: 0x7f,
            unsigned_zero: false,
        },
        DType::F8E5m2 => Small {
            mantissa: 2,
            bias: 15,
            largest: 0x7b,
            beyond: 0x7c,
            nan: 0x7e,
            unsigned_zero: false,
        },
        DType::F8E4m3Fnuz => Small {
            mantissa: 3,
            bias: 8,
            largest: 0x7f,
            beyond: 0x80,
            nan: 0x80,
            unsigned_zero: true,
        },
        DType::F8E5m2Fnuz => Small {
            mantissa: 2,
            bias: 16,
            largest: 0x7f,
            beyond: 0x80,
            nan: 0x80,
            unsigned_zero: true,
        },
        _ => return None,
    })
}

impl Small {
    /// The number of a pattern.
    fn number(&self, bits: u8) -> f32 {
        let (sign, rest) = (bits >> 7, u32::from(bits & 0x7f));
        if self.unsigned_zero && bits == 0x80 {
            return f32::NAN;
        }
        let (exponent, fraction) = (rest >> self.mantissa, rest & ((1 << self.mantissa) - 1));
        let magnitude = match exponent {
            _ if rest > self.largest && rest == self.beyond && rest != self.nan => f32::INFINITY,
            _ if rest > self.largest => f32::NAN,
            0 => fraction as f32 * self.step(),
            _ => {
                ((1 << self.mantissa) + fraction) as f32
                    * self.step()
                    * 2f32.powi(exponent as i32 - 1)
            }
        };
        if sign == 1 { -magnitude } else { magnitude }
    }

    /// Distance of the smallest numbers.
    fn step(&self) -> f32 {
        2f32.powi(1 - self.bias - self.mantissa as i32)
    }
}

fn target(cx: &Cx<'_>) -> R<DType> {
    let to = cx.attr_int_opt("to")?.ok_or_else(|| invalid("attribute to: expected a type"))?;
    let to = ElementType(to);
    to.dtype().ok_or_else(|| unsupported(format!("elements of type {}", to.name())))
}

/// Converts every element; `saturate` is for 8-bit floats.
pub(super) fn convert(cx: &mut Emitter, x: &T, to: DType, saturate: bool) -> R<T> {
    if x.dtype == to {
        return Ok(x.clone());
    }
    match (x.dtype, to) {
        (DType::Bytes, to) => return super::text_cast::from_texts(cx, x, to, saturate),
        (_, DType::Bytes) => return super::text_cast::to_texts(cx, x),
        _ => {}
    }
    let x = match x.dtype {
        DType::I4 | DType::U4 => halves(cx, x)?,
        dtype => match small(dtype) {
            Some(small) => widened(cx, x, &small)?,
            None => x.clone(),
        },
    };
    match (to, small(to)) {
        (DType::I4 | DType::U4, _) => packed(cx, &x, to),
        (_, Some(small)) => {
            let x = cx.cast(&x, DType::F32)?;
            let bits = narrowed(cx, &x, &small, saturate)?;
            cx.bitcast(&bits, to)
        }
        (_, None) => cx.cast(&x, to),
    }
}

fn bit_cast(cx: &mut Emitter, x: &T, to: DType) -> R<T> {
    if matches!(x.dtype, DType::I4 | DType::U4) && matches!(to, DType::I4 | DType::U4) {
        let content = cx.content(x)?;
        return Ok(TensorValue::of_bytes(to, &x.shape()?, content.to_vec()));
    }
    cx.bitcast(x, to)
}

/// Elements of 4 bits as elements of 8.
fn halves(cx: &mut Emitter, x: &T) -> R<T> {
    let (shape, elements) = (x.shape()?, x.elements()?);
    let bytes = elements.div_ceil(2);
    let form = x.form.borrow().clone();
    let pairs = match form {
        Form::File { .. } => {
            TensorValue::new(DType::U8, vec![crate::value::Extent::Fixed(bytes)], form)
        }
        _ => TensorValue::of_bytes(DType::U8, &[bytes], cx.content(x)?.to_vec()),
    };
    let (low, high) = (
        cx.bit_and(&pairs, &scalar(DType::U8, 15.0)?)?,
        cx.shift_right(&pairs, &scalar(DType::U8, 4.0)?)?,
    );
    let (low, high) = (cx.unsqueeze(&low, 1)?, cx.unsqueeze(&high, 1)?);
    let both = cx.concat(&[&low, &high], 1)?;
    let both = cx.reshape_to(&both, &[2 * bytes])?;
    let both = cx.slice(&both, 0, (0, elements), 1)?;
    let both = cx.reshape_to(&both, &shape)?;
    if x.dtype == DType::U4 {
        return Ok(both);
    }
    // The upper half of the numbers stands for the negative ones.
    let (signed, eight) = (cx.cast(&both, DType::I8)?, scalar(DType::I8, 8.0)?);
    let flipped = cx.bit_xor(&signed, &eight)?;
    cx.sub(&flipped, &eight)
}

/// Numbers as elements of 4 bits, which only the plugin can write.
fn packed(cx: &mut Emitter, x: &T, to: DType) -> R<T> {
    let whole = if to == DType::I4 { DType::I8 } else { DType::U8 };
    let kept = cx.keep(|cx| Ok(vec![cx.cast(x, whole)?]))?;
    let [whole] = kept.as_slice() else { return Err(invalid("expected one tensor")) };
    let content = cx.content(whole)?;
    let pair = |pair: &[u8]| pair[0] & 15 | pair.get(1).map_or(0, |high| high << 4);
    let bytes = content.chunks(2).map(pair).collect();
    Ok(TensorValue::of_bytes(to, &whole.shape()?, bytes))
}

/// 8-bit floats as f32, by a table of all of them.
fn widened(cx: &mut Emitter, x: &T, small: &Small) -> R<T> {
    let numbers: Vec<f32> = (0..=u8::MAX).map(|bits| small.number(bits)).collect();
    let table = float_tensor(&[256], &numbers);
    let bits = cx.bitcast(x, DType::U8)?;
    let index = cx.cast(&bits, DType::I32)?;
    cx.gather(&table, &index, 0)
}

/// f32 as the bits of 8-bit floats, rounded to nearest, halves to even: u8.
fn narrowed(cx: &mut Emitter, x: &T, small: &Small, saturate: bool) -> R<T> {
    let word = |value: u32| scalar(DType::U32, value.into());
    let bits = cx.bitcast(x, DType::U32)?;
    let magnitude = cx.bit_and(&bits, &word(0x7fff_ffff)?)?;
    let (shift, bias) = (23 - small.mantissa, (127 - small.bias) as u32);
    // The carry of rounding moves into the exponent as it should.
    let odd = cx.shift_right(&magnitude, &word(shift)?)?;
    let odd = cx.bit_and(&odd, &word(1)?)?;
    let rounded = cx.add(&magnitude, &word((1 << (shift - 1)) - 1)?)?;
    let rounded = cx.add(&rounded, &odd)?;
    let rounded = cx.shift_right(&rounded, &word(shift)?)?;
    let normal = cx.sub(&rounded, &word(bias << small.mantissa)?)?;
    // A sum with 2^23 steps ends in the number of steps.
    let steps = scalar(DType::F32, f64::from(small.step()) * 8_388_608.0)?;
    let tiny = cx.bitcast(&magnitude, DType::F32)?;
    let tiny = cx.add(&tiny, &steps)?;
    let (tiny, steps) = (cx.bitcast(&tiny, DType::U32)?, cx.bitcast(&steps, DType::U32)?);
    let tiny = cx.sub(&tiny, &steps)?;
    let is_tiny = cx.less(&magnitude, &word((bias + 1) << 23)?)?;
    let mut code = cx.select(&is_tiny, &tiny, &normal)?;
    let largest = word(small.largest)?;
    if saturate {
        code = cx.minimum(&code, &largest)?;
    } else {
        let beyond = cx.greater(&code, &largest)?;
        code = cx.select(&beyond, &word(small.beyond)?, &code)?;
    }
    let not_a_number = cx.greater(&magnitude, &word(0x7f80_0000)?)?;
    code = cx.select(&not_a_number, &word(small.nan)?, &code)?;
    let sign = cx.shift_right(&bits, &word(24)?)?;
    let sign = cx.bit_and(&sign, &word(0x80)?)?;
    let signed = cx.bit_or(&code, &sign)?;
    if small.unsigned_zero {
        let zero = cx.equal(&code, &word(0)?)?;
        code = cx.select(&zero, &code, &signed)?;
    } else {
        code = signed;
    }
    cx.cast(&code, DType::U8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_the_numbers_that_their_formats_say() {
        let number = |dtype, bits| small(dtype).unwrap().number(bits);
        for (dtype, bits, expected) in [
            (DType::F8E4m3, 0x7e, 448.0),
            (DType::F8E4m3, 0x38, 1.0),
            (DType::F8E4m3, 0x01, 2f32.powi(-9)),
            (DType::F8E4m3, 0x80, 0.0),
            (DType::F8E4m3, 0xb8, -1.0),
            (DType::F8E5m2, 0x7b, 57344.0),
            (DType::F8E5m2, 0x7c, f32::INFINITY),
            (DType::F8E5m2, 0xfc, f32::NEG_INFINITY),
            (DType::F8E4m3Fnuz, 0x7f, 240.0),
            (DType::F8E4m3Fnuz, 0x01, 2f32.powi(-10)),
            (DType::F8E5m2Fnuz, 0x7f, 57344.0),
            (DType::F8E5m2Fnuz, 0x40, 1.0),
        ] {
            assert_eq!(number(dtype, bits), expected, "{dtype} {bits:#x}");
        }
        for (dtype, bits) in [
            (DType::F8E4m3, 0x7f),
            (DType::F8E4m3, 0xff),
            (DType::F8E5m2, 0x7d),
            (DType::F8E4m3Fnuz, 0x80),
            (DType::F8E5m2Fnuz, 0x80),
        ] {
            assert!(number(dtype, bits).is_nan(), "{dtype} {bits:#x}");
        }
    }
}
