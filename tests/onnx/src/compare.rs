//! Whether an answer is the expected one.

use aimass_tensor::{DType, Tensor};
use serde::Deserialize;
use std::fmt::Display;

/// What ONNX's own runner allows brain floats: two units in the last place.
const BF16_RTOL: f64 = 1.0 / 64.0;

/// How far floats may be from what is expected. All else must be equal.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct Tolerance {
    /// Part of the expected magnitude: `|got - expected| <= atol + rtol * |expected|`.
    pub rtol: f64,
    /// Absolute part.
    pub atol: f64,
    /// Instead of both, for quantized models: the smallest cosine between got and expected.
    pub cosine_min: Option<f64>,
}

/// Compares a tensor with the expected one: dtype, shape, then elements.
///
/// NaN equals NaN, and infinities equal those of their sign. 8-bit floats must be equal.
///
/// # Errors
/// The first difference and how many there are.
pub fn compare(expected: &Tensor, got: &Tensor, tolerance: Tolerance) -> Result<(), String> {
    if expected.dtype() != got.dtype() {
        return Err(format!("expected dtype {:?}, got {:?}", expected.dtype(), got.dtype()));
    }
    if expected.shape() != got.shape() {
        let (expected, got) = (expected.shape().dims(), got.shape().dims());
        return Err(format!("expected shape {expected:?}, got {got:?}"));
    }
    if let (Some(expected), Some(got)) = (expected.strings(), got.strings()) {
        let texts = |it: &aimass_tensor::Strings| -> Vec<String> {
            it.iter().map(|text| format!("{:?}", String::from_utf8_lossy(text))).collect()
        };
        return differences(&texts(expected), &texts(got), |a, b| a == b);
    }
    let dtype = expected.dtype();
    match (floats(expected), floats(got)) {
        (Some(expected), Some(got)) => compare_floats(&expected, &got, dtype, tolerance),
        _ => compare_elements(expected, got),
    }
}

fn compare_floats(
    expected: &[f64],
    got: &[f64],
    dtype: DType,
    tolerance: Tolerance,
) -> Result<(), String> {
    if let Some(cosine_min) = tolerance.cosine_min {
        let cosine = cosine(expected, got);
        return match cosine >= cosine_min {
            true => Ok(()),
            false => Err(format!("expected a cosine of at least {cosine_min}, got {cosine:.6}")),
        };
    }
    let rtol = if dtype == DType::Bf16 { tolerance.rtol.max(BF16_RTOL) } else { tolerance.rtol };
    let close = |a: &f64, b: &f64| {
        let finite = a.is_finite() && b.is_finite();
        a == b
            || (a.is_nan() && b.is_nan())
            || (finite && (a - b).abs() <= tolerance.atol + rtol * a.abs())
    };
    differences(expected, got, close)
}

/// Elements that have no tolerance, as the bytes that they are made of.
fn compare_elements(expected: &Tensor, got: &Tensor) -> Result<(), String> {
    let dtype = expected.dtype();
    let element = |bytes: &[u8]| -> i128 {
        let mut wide = [0; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        let shift = 128 - 8 * bytes.len() as u32;
        let wide = i128::from_le_bytes(wide);
        if is_signed(dtype) { wide << shift >> shift } else { wide }
    };
    // 4-bit elements are compared in pairs; the half behind an odd last one is whatever it is.
    let width = dtype.size().unwrap_or(1);
    let elements = |tensor: &Tensor| -> Vec<i128> {
        let mut values: Vec<i128> = tensor.bytes().chunks(width).map(element).collect();
        if dtype.size().is_none() && !tensor.shape().elements().is_multiple_of(2) {
            values.last_mut().into_iter().for_each(|last| *last &= 0x0f);
        }
        values
    };
    let nan = |bits: i128| is_f8_nan(dtype, bits);
    let equal = |a: &i128, b: &i128| a == b || (nan(*a) && nan(*b));
    differences(&elements(expected), &elements(got), equal)
}

fn is_signed(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64)
}

fn is_f8_nan(dtype: DType, bits: i128) -> bool {
    match dtype {
        DType::F8E4m3 => bits & 0x7f == 0x7f,
        DType::F8E5m2 => bits & 0x7f > 0x7c,
        DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => bits == 0x80,
        _ => false,
    }
}

/// Reports where `equal` does not hold.
fn differences<T: Display>(
    expected: &[T],
    got: &[T],
    equal: impl Fn(&T, &T) -> bool,
) -> Result<(), String> {
    let mut different = (0..expected.len()).filter(|&at| !equal(&expected[at], &got[at]));
    let Some(first) = different.next() else { return Ok(()) };
    Err(format!(
        "{} of {} elements differ; at {first} expected {}, got {}",
        1 + different.count(),
        expected.len(),
        expected[first],
        got[first]
    ))
}

/// Cosine of the angle between two vectors; 1 if both are zero or empty.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths == 0.0 && a == b { 1.0 } else { dot(a, b) / lengths }
}

/// Elements of 16 to 64-bit floats.
fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    if tensor.strings().is_some() {
        return None;
    }
    let bytes = tensor.bytes();
    let words = || bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
    match tensor.dtype() {
        DType::F16 => Some(words().map(f16_value).collect()),
        DType::Bf16 => {
            Some(words().map(|it| f64::from(f32::from_bits(u32::from(it) << 16))).collect())
        }
        DType::F32 => {
            let words = bytes.as_chunks::<4>().0.iter();
            Some(words.map(|word| f64::from(f32::from_le_bytes(*word))).collect())
        }
        DType::F64 => {
            let words = bytes.as_chunks::<8>().0.iter();
            Some(words.map(|word| f64::from_le_bytes(*word)).collect())
        }
        _ => None,
    }
}

/// IEEE 754 binary16.
fn f16_value(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    match bits >> 10 & 0x1f {
        0 => sign * fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        exponent => sign * (1.0 + fraction) * 2f64.powi(i32::from(exponent) - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_tensor::{Shape, Strings};

    const NODE: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-7, cosine_min: None };

    fn f32s(values: &[f32]) -> Tensor {
        Tensor::from_slice(&[values.len()], values).unwrap()
    }

    fn raw(dtype: DType, len: usize, bytes: &[u8]) -> Tensor {
        Tensor::copy_from(dtype, Shape::new(&[len]).unwrap(), bytes).unwrap()
    }

    #[test]
    fn floats_are_equal_within_their_tolerance_and_nan_to_nan() {
        let expected = f32s(&[1.0, f32::NAN, f32::INFINITY, 0.0]);
        let near = f32s(&[1.0009, f32::NAN, f32::INFINITY, 0.9e-7]);
        assert_eq!(compare(&expected, &near, NODE), Ok(()));
        for wrong in [[1.002, f32::NAN, f32::INFINITY, 0.0], [1.0, 1.0, f32::INFINITY, 0.0]] {
            let reason = compare(&expected, &f32s(&wrong), NODE).unwrap_err();
            assert!(reason.starts_with("1 of 4 elements differ"), "{reason}");
        }
        let other = f32s(&[1.0, f32::NAN, f32::NEG_INFINITY, 0.0]);
        assert!(compare(&expected, &other, NODE).unwrap_err().contains("at 2 expected inf"));
    }

    #[test]
    fn dtype_and_shape_come_first() {
        let i64s = Tensor::from_slice(&[1], &[1i64]).unwrap();
        let reason = compare(&f32s(&[1.0]), &i64s, NODE).unwrap_err();
        assert!(reason.contains("expected dtype F32, got I64"), "{reason}");
        let reason = compare(&f32s(&[1.0]), &f32s(&[1.0, 1.0]), NODE).unwrap_err();
        assert!(reason.contains("expected shape [1], got [2]"), "{reason}");
    }

    #[test]
    fn integers_and_strings_are_exact() {
        let reason = compare(
            &Tensor::from_slice(&[2], &[1000i32, -1]).unwrap(),
            &Tensor::from_slice(&[2], &[1000i32, -2]).unwrap(),
            NODE,
        );
        assert_eq!(reason.unwrap_err(), "1 of 2 elements differ; at 1 expected -1, got -2");
        let strings = |items: &[&str]| {
            let shape = Shape::new(&[items.len()]).unwrap();
            Tensor::from_strings(shape, Strings::from_slices(items).unwrap()).unwrap()
        };
        assert_eq!(compare(&strings(&["a", ""]), &strings(&["a", ""]), NODE), Ok(()));
        assert!(compare(&strings(&["a"]), &strings(&["b"]), NODE).is_err());
    }

    #[test]
    fn small_types_are_compared_as_what_they_mean() {
        let nan = |bits| raw(DType::F8E5m2, 1, &[bits]);
        assert_eq!(compare(&nan(0x7d), &nan(0xff), NODE), Ok(()));
        assert!(compare(&nan(0x7c), &nan(0xfc), NODE).is_err(), "infinities of both signs");
        assert_eq!(compare(&raw(DType::I4, 1, &[0x05]), &raw(DType::I4, 1, &[0xf5]), NODE), Ok(()));
        assert!(compare(&raw(DType::I4, 2, &[0x05]), &raw(DType::I4, 2, &[0xf5]), NODE).is_err());
        let half = |value: u16| raw(DType::F16, 1, &value.to_le_bytes());
        assert_eq!(compare(&half(0x3c00), &half(0x3c01), NODE), Ok(()));
        assert!(compare(&half(0x3c00), &half(0x3c02), NODE).is_err());
    }

    #[test]
    fn f16_has_subnormals_and_infinities() {
        assert_eq!(f16_value(0x0001), 2f64.powi(-24));
        assert_eq!(f16_value(0xc000), -2.0);
        assert_eq!(f16_value(0xfc00), f64::NEG_INFINITY);
        assert!(f16_value(0x7e00).is_nan());
    }

    #[test]
    fn a_cosine_stands_for_both_tolerances() {
        let near = Tolerance { cosine_min: Some(0.99), ..NODE };
        assert_eq!(compare(&f32s(&[1.0, 0.0]), &f32s(&[2.0, 0.1]), near), Ok(()));
        assert!(compare(&f32s(&[1.0, 0.0]), &f32s(&[1.0, 1.0]), near).is_err());
        assert!(compare(&f32s(&[1.0]), &f32s(&[f32::NAN]), near).is_err());
    }
}
