//! Elements of known tensors as Rust numbers, and back.

use crate::value::{R, T, TensorValue, invalid};
use aimass_sdk::DType;

/// Reads every element as a whole number; floats are truncated.
pub(crate) fn ints_of(dtype: DType, bytes: &[u8]) -> R<Vec<i64>> {
    Ok(match dtype {
        DType::Bool | DType::U8 => bytes.iter().map(|&byte| i64::from(byte)).collect(),
        DType::I8 => bytes.iter().map(|&byte| i64::from(byte as i8)).collect(),
        DType::U16 => each(bytes, |b| i64::from(u16::from_le_bytes(b))),
        DType::I16 => each(bytes, |b| i64::from(i16::from_le_bytes(b))),
        DType::U32 => each(bytes, |b| i64::from(u32::from_le_bytes(b))),
        DType::I32 => each(bytes, |b| i64::from(i32::from_le_bytes(b))),
        DType::I64 => each(bytes, i64::from_le_bytes),
        DType::U64 => each(bytes, |b| u64::from_le_bytes(b) as i64),
        DType::F16 | DType::Bf16 | DType::F32 | DType::F64 => {
            floats_of(dtype, bytes)?.into_iter().map(|value| value as i64).collect()
        }
        other => return Err(invalid(format!("expected numbers, got {}", other.name()))),
    })
}

/// Reads every element as a number.
pub(crate) fn floats_of(dtype: DType, bytes: &[u8]) -> R<Vec<f64>> {
    Ok(match dtype {
        DType::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        DType::F64 => each(bytes, f64::from_le_bytes),
        DType::F16 => each(bytes, |b| f16_to_f64(u16::from_le_bytes(b))),
        DType::Bf16 => each(bytes, |b: [u8; 2]| {
            f64::from(f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
        }),
        other => ints_of(other, bytes)?.into_iter().map(|value| value as f64).collect(),
    })
}

fn each<const N: usize, V>(bytes: &[u8], read: impl Fn([u8; N]) -> V) -> Vec<V> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
}

fn f16_to_f64(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// Half precision, rounded to nearest even.
fn f16_bits(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return 0x7e00;
    }
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Below 2^-14 the step stays that of the smallest normal numbers.
    let exponent = (magnitude.log2().floor() as i32).max(-14);
    let step = 2f64.powi(exponent - 10);
    let units = (magnitude / step).round_ties_even() as u32;
    // `units` may reach 2048, which carries into the exponent as it should.
    sign | ((((exponent + 14) as u32) << 10) + units) as u16
}

fn bf16_bits(value: f64) -> u16 {
    let bits = (value as f32).to_bits();
    if value.is_nan() {
        return 0x7fc0;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The bytes of one element; whole numbers saturate.
pub(crate) fn encode(dtype: DType, value: f64) -> R<Vec<u8>> {
    Ok(match dtype {
        DType::Bool => vec![u8::from(value != 0.0)],
        DType::U8 => vec![value as u8],
        DType::I8 => (value as i8).to_le_bytes().into(),
        DType::U16 => (value as u16).to_le_bytes().into(),
        DType::I16 => (value as i16).to_le_bytes().into(),
        DType::U32 => (value as u32).to_le_bytes().into(),
        DType::I32 => (value as i32).to_le_bytes().into(),
        DType::U64 => (value as u64).to_le_bytes().into(),
        DType::I64 => (value as i64).to_le_bytes().into(),
        DType::F16 => f16_bits(value).to_le_bytes().into(),
        DType::Bf16 => bf16_bits(value).to_le_bytes().into(),
        DType::F32 => (value as f32).to_le_bytes().into(),
        DType::F64 => value.to_le_bytes().into(),
        other => return Err(invalid(format!("expected a number type, got {}", other.name()))),
    })
}

/// A scalar of this dtype.
pub(crate) fn scalar(dtype: DType, value: f64) -> R<T> {
    Ok(TensorValue::of_bytes(dtype, &[], encode(dtype, value)?))
}

/// A tensor of one number repeated.
pub(crate) fn full(dtype: DType, shape: &[u64], value: f64) -> R<T> {
    let element = encode(dtype, value)?;
    let count = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    match count {
        Some(count) if count <= CONSTANT_ELEMENTS_MAX => {
            Ok(TensorValue::of_bytes(dtype, shape, element.repeat(count as usize)))
        }
        _ => Err(invalid(format!("expected a constant of fewer elements than {shape:?} has"))),
    }
}

/// An i64 tensor.
pub(crate) fn int_tensor(shape: &[u64], values: &[i64]) -> T {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorValue::of_bytes(DType::I64, shape, bytes)
}

/// An i64 vector.
pub(crate) fn int_vector(values: &[i64]) -> T {
    int_tensor(&[values.len() as u64], values)
}

/// An f32 tensor.
pub(crate) fn float_tensor(shape: &[u64], values: &[f32]) -> T {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorValue::of_bytes(DType::F32, shape, bytes)
}

/// A tensor of any number dtype from numbers.
pub(crate) fn number_tensor(dtype: DType, shape: &[u64], values: &[f64]) -> R<T> {
    let bytes = match dtype {
        // Tables of weights can be long.
        DType::F32 => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        DType::F64 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => {
            let mut bytes = Vec::with_capacity(values.len());
            for &value in values {
                bytes.extend(encode(dtype, value)?);
            }
            bytes
        }
    };
    Ok(TensorValue::of_bytes(dtype, shape, bytes))
}

/// Elements that a constant made here may have.
const CONSTANT_ELEMENTS_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f64(bits);
            if value.is_nan() {
                assert!(f16_to_f64(f16_bits(value)).is_nan());
            } else {
                assert_eq!(f16_bits(value), bits, "{value}");
            }
        }
        assert_eq!(f16_bits(65519.9), 0x7bff);
        assert_eq!(f16_bits(65520.0), 0x7c00);
        assert_eq!(f16_bits(2f64.powi(-25)), 0, "half of the smallest rounds to even");
        assert_eq!(f16_bits(1.0 + 2f64.powi(-11)), 0x3c00);
        assert_eq!(f16_bits(1.0 + 3.0 * 2f64.powi(-11)), 0x3c02);
    }

    #[test]
    fn numbers_of_every_dtype_are_read_as_they_were_written() {
        for dtype in [DType::I8, DType::I16, DType::I32, DType::I64, DType::F16, DType::F32] {
            let bytes: Vec<u8> =
                [-3.0, 0.0, 100.0].iter().flat_map(|&v| encode(dtype, v).unwrap()).collect();
            assert_eq!(ints_of(dtype, &bytes).unwrap(), [-3, 0, 100], "{dtype}");
            assert_eq!(floats_of(dtype, &bytes).unwrap(), [-3.0, 0.0, 100.0], "{dtype}");
        }
        assert_eq!(ints_of(DType::Bf16, &encode(DType::Bf16, 256.0).unwrap()).unwrap(), [256]);
    }
}
