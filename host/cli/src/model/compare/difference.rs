//! How far two tensors are apart.

use aimass_tensor::{DType, Tensor};
use serde_json::{Value, json};

/// The difference between what two programs answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    /// Elements.
    pub(super) elements: usize,
    /// Elements that are not the same number; two NaNs are the same.
    pub(super) unequal: usize,
    /// Largest absolute difference.
    pub(super) absolute: f64,
    /// Largest difference relative to the larger magnitude.
    pub(super) relative: f64,
    /// Cosine of the angle between both as vectors; 1 if both are zero.
    pub(super) cosine: f64,
}

impl Difference {
    /// Compares element by element.
    ///
    /// # Errors
    /// In words: dtypes or shapes differ, or the dtype is no number.
    pub(super) fn of(own: &Tensor, theirs: &Tensor) -> Result<Difference, String> {
        if (own.dtype(), own.shape()) != (theirs.dtype(), theirs.shape()) {
            return Err(format!(
                "aimass answered {} {}, onnxruntime {} {}",
                own.dtype(),
                own.shape(),
                theirs.dtype(),
                theirs.shape()
            ));
        }
        let (a, b) = (numbers(own)?, numbers(theirs)?);
        let mut difference =
            Difference { elements: a.len(), unequal: 0, absolute: 0.0, relative: 0.0, cosine: 1.0 };
        let (mut dot, mut a_square, mut b_square) = (0.0, 0.0, 0.0);
        for (&a, &b) in a.iter().zip(&b) {
            if a == b || (a.is_nan() && b.is_nan()) {
                if a.is_finite() {
                    (dot, a_square, b_square) = (dot + a * b, a_square + a * a, b_square + b * b);
                }
                continue;
            }
            difference.unequal += 1;
            let apart = (a - b).abs();
            let apart = if apart.is_nan() { f64::INFINITY } else { apart };
            difference.absolute = difference.absolute.max(apart);
            let magnitude = a.abs().max(b.abs());
            let relative = if apart.is_finite() { apart / magnitude } else { f64::INFINITY };
            difference.relative = difference.relative.max(relative);
            (dot, a_square, b_square) = (dot + a * b, a_square + a * a, b_square + b * b);
        }
        if a_square > 0.0 || b_square > 0.0 {
            difference.cosine = dot / (a_square.sqrt() * b_square.sqrt());
        }
        Ok(difference)
    }

    pub(super) fn text(&self) -> String {
        let Difference { elements, unequal, absolute, relative, cosine } = self;
        match unequal {
            0 => format!("all {elements} elements equal"),
            _ => format!(
                "{unequal} of {elements} elements differ, at most by {absolute:.2e} \
                 (relative {relative:.2e}), cosine {cosine:.9}"
            ),
        }
    }

    /// Infinite and undefined figures are null.
    pub(super) fn json(&self) -> Value {
        json!({
            "elements": self.elements,
            "unequal": self.unequal,
            "absolute": self.absolute,
            "relative": self.relative,
            "cosine": self.cosine,
        })
    }
}

/// The elements as f64; integers of 64 bits lose what f64 cannot hold.
fn numbers(tensor: &Tensor) -> Result<Vec<f64>, String> {
    let read = |size: usize, number: fn(&[u8]) -> f64| -> Vec<f64> {
        tensor.bytes().chunks_exact(size).map(number).collect()
    };
    fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.first_chunk().copied().unwrap_or([0; N])
    }
    Ok(match tensor.dtype() {
        DType::F32 => read(4, |x| f32::from_le_bytes(first(x)).into()),
        DType::F64 => read(8, |x| f64::from_le_bytes(first(x))),
        DType::I8 => read(1, |x| i8::from_le_bytes(first(x)).into()),
        DType::U8 | DType::Bool => read(1, |x| x[0].into()),
        DType::I16 => read(2, |x| i16::from_le_bytes(first(x)).into()),
        DType::U16 => read(2, |x| u16::from_le_bytes(first(x)).into()),
        DType::I32 => read(4, |x| i32::from_le_bytes(first(x)).into()),
        DType::U32 => read(4, |x| u32::from_le_bytes(first(x)).into()),
        DType::I64 => read(8, |x| i64::from_le_bytes(first(x)) as f64),
        DType::U64 => read(8, |x| u64::from_le_bytes(first(x)) as f64),
        DType::F16 => {
            read(2, |x| aimass_cpu::cast::f16_to_f32(u16::from_le_bytes(first(x))).into())
        }
        DType::Bf16 => {
            read(2, |x| aimass_cpu::cast::bf16_to_f32(u16::from_le_bytes(first(x))).into())
        }
        DType::I4
        | DType::U4
        | DType::F8E4m3
        | DType::F8E5m2
        | DType::F8E4m3Fnuz
        | DType::F8E5m2Fnuz
        | DType::Bytes
        | DType::Q4_0
        | DType::Q4_1
        | DType::Q5_0
        | DType::Q5_1
        | DType::Q8_0
        | DType::Q8_1
        | DType::Q2K
        | DType::Q3K
        | DType::Q4K
        | DType::Q5K
        | DType::Q6K
        | DType::Q8K => return Err(format!("{} elements are not compared", tensor.dtype())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_slice(&[values.len()], values).unwrap()
    }

    #[test]
    fn differences_are_absolute_relative_and_an_angle() {
        let found = Difference::of(&floats(&[3.0, 4.0]), &floats(&[3.0, 5.0])).unwrap();
        assert_eq!((found.elements, found.unequal, found.absolute), (2, 1, 1.0));
        assert!((found.relative - 0.2).abs() < 1e-12);
        let cosine = 29.0 / (5.0 * 34f64.sqrt());
        assert!((found.cosine - cosine).abs() < 1e-12, "{}", found.cosine);
        let same = Difference::of(&floats(&[1.0, f32::NAN]), &floats(&[1.0, f32::NAN])).unwrap();
        assert_eq!((same.unequal, same.absolute, same.cosine), (0, 0.0, 1.0));
        assert!(same.text().contains("all 2"));
    }

    #[test]
    fn what_is_not_finite_on_one_side_is_infinitely_far() {
        let found = Difference::of(&floats(&[f32::NAN]), &floats(&[1.0])).unwrap();
        assert_eq!((found.unequal, found.absolute), (1, f64::INFINITY));
        assert_eq!(found.json()["absolute"], Value::Null);
        let found = Difference::of(&floats(&[0.0]), &floats(&[0.0])).unwrap();
        assert_eq!(found.cosine, 1.0);
    }

    #[test]
    fn other_shapes_and_dtypes_are_told_apart() {
        let ints = Tensor::from_slice(&[2], &[1i64, 2]).unwrap();
        let error = Difference::of(&ints, &floats(&[1.0, 2.0])).unwrap_err();
        assert!(error.contains("i64 [2]") && error.contains("f32 [2]"), "{error}");
        let shifted = Tensor::from_slice(&[2], &[1i64, 5]).unwrap();
        assert_eq!(Difference::of(&ints, &shifted).unwrap().absolute, 3.0);
    }
}
