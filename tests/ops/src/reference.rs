//! Arrays of f64 with the naive definition of what ops compute, and the way to run an op.

use crate::backend::{is_device, run_op};
use crate::narrow::Format;
use aimass_graph::Attribute;
use aimass_tensor::{DType, Element, Shape, Tensor};

/// Name of an op and the function that checks it.
pub(crate) type Case = (&'static str, fn());

/// An array in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Array {
    pub(crate) fn new(shape: &[usize], data: impl IntoIterator<Item = f64>) -> Array {
        let data: Vec<f64> = data.into_iter().collect();
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Array { shape: shape.to_vec(), data }
    }

    /// Pseudo-random numbers of about -2..2, the same for the same seed.
    pub(crate) fn random(shape: &[usize], seed: u64) -> Array {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let count: usize = shape.iter().product();
        Array::new(
            shape,
            (0..count).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Multiples of 1/1024 are exact in f32.
                ((state >> 20) % 4096) as f64 / 1024.0 - 2.0
            }),
        )
    }

    /// Made from an index.
    pub(crate) fn from_fn(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Array {
        let count: usize = shape.iter().product();
        Array::new(shape, (0..count).map(|flat| f(&index_of(shape, flat))).collect::<Vec<f64>>())
    }

    pub(crate) fn at(&self, index: &[usize]) -> f64 {
        assert_eq!(index.len(), self.shape.len());
        let flat = index.iter().zip(&self.shape).fold(0, |flat, (i, extent)| flat * extent + i);
        self.data[flat]
    }

    /// The element that broadcasting puts at an index of a larger shape.
    pub(crate) fn spread(&self, index: &[usize]) -> f64 {
        let own = &index[index.len() - self.shape.len()..];
        let own: Vec<usize> = own
            .iter()
            .zip(&self.shape)
            .map(|(&i, &extent)| if extent == 1 { 0 } else { i })
            .collect();
        self.at(&own)
    }

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array::new(&self.shape, self.data.iter().map(|&x| f(x)).collect::<Vec<f64>>())
    }

    /// As a tensor of any plain dtype.
    pub(crate) fn tensor(&self, dtype: DType) -> Tensor {
        match dtype {
            DType::F32 => self.of(|x| x as f32),
            DType::F64 => self.of(|x| x),
            DType::I8 => self.of(|x| x as i8),
            DType::I16 => self.of(|x| x as i16),
            DType::I32 => self.of(|x| x as i32),
            DType::I64 => self.of(|x| x as i64),
            DType::U8 => self.of(|x| x as u8),
            DType::U16 => self.of(|x| x as u16),
            DType::U32 => self.of(|x| x as u32),
            DType::U64 => self.of(|x| x as u64),
            DType::Bool => {
                let bytes: Vec<u8> = self.data.iter().map(|&x| u8::from(x != 0.0)).collect();
                Tensor::copy_from(dtype, Shape::new(&self.shape).unwrap(), &bytes).unwrap()
            }
            other => {
                let format =
                    Format::of(other).unwrap_or_else(|| panic!("no reference for {other}"));
                let size = other.size().unwrap();
                let codes = self.data.iter().map(|&x| format.encode(x).to_le_bytes());
                let bytes: Vec<u8> = codes.flat_map(|code| code.into_iter().take(size)).collect();
                Tensor::copy_from(other, Shape::new(&self.shape).unwrap(), &bytes).unwrap()
            }
        }
    }

    pub(crate) fn f32(&self) -> Tensor {
        self.tensor(DType::F32)
    }

    fn of<T: Element>(&self, f: impl Fn(f64) -> T) -> Tensor {
        let values: Vec<T> = self.data.iter().map(|&x| f(x)).collect();
        Tensor::from_slice(&self.shape, &values).unwrap()
    }
}

/// The index of an element by its number.
pub(crate) fn index_of(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &extent) in index.iter_mut().zip(shape).rev() {
        *i = flat % extent;
        flat /= extent;
    }
    index
}

/// The elements of a tensor as f64.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    macro_rules! as_f64 {
        ($t:ty) => {
            tensor.as_slice::<$t>().unwrap().iter().map(|&x| x as f64).collect()
        };
    }
    match tensor.dtype() {
        DType::F32 => as_f64!(f32),
        DType::F64 => as_f64!(f64),
        DType::I8 => as_f64!(i8),
        DType::I16 => as_f64!(i16),
        DType::I32 => as_f64!(i32),
        DType::I64 => as_f64!(i64),
        DType::U8 => as_f64!(u8),
        DType::U16 => as_f64!(u16),
        DType::U32 => as_f64!(u32),
        DType::U64 => as_f64!(u64),
        DType::Bool => tensor.bytes().iter().map(|&x| f64::from(x)).collect(),
        other => {
            let format = Format::of(other).unwrap_or_else(|| panic!("no reference for {other}"));
            codes(tensor).into_iter().map(|code| format.decode(code)).collect()
        }
    }
}

/// The bits of elements of 8 or 16 bits.
pub(crate) fn codes(tensor: &Tensor) -> Vec<u32> {
    let size = tensor.dtype().size().unwrap();
    let code = |bytes: &[u8]| bytes.iter().rev().fold(0, |code, &byte| code << 8 | u32::from(byte));
    tensor.bytes().chunks_exact(size).map(code).collect()
}

pub(crate) fn int(name: &str, value: usize) -> (String, Attribute) {
    (name.to_owned(), Attribute::Int(value as i64))
}

pub(crate) fn float(name: &str, value: f64) -> (String, Attribute) {
    (name.to_owned(), Attribute::Float(value))
}

pub(crate) fn flag(name: &str, value: bool) -> (String, Attribute) {
    (name.to_owned(), Attribute::Bool(value))
}

pub(crate) fn text(name: &str, value: &str) -> (String, Attribute) {
    (name.to_owned(), Attribute::Text(value.to_owned()))
}

pub(crate) fn ints(name: &str, values: &[i64]) -> (String, Attribute) {
    (name.to_owned(), Attribute::Ints(values.to_vec()))
}

/// Runs an op and compares one output with what is expected: shape, then elements within
/// `tolerance` (relative to magnitudes above 1); NaN equals NaN.
pub(crate) fn check(
    op: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
    expected: &Array,
    tolerance: f64,
) {
    check_outputs(op, inputs, attributes, std::slice::from_ref(expected), tolerance);
}

/// As [`check`], for all outputs.
pub(crate) fn check_outputs(
    op: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
    expected: &[Array],
    tolerance: f64,
) {
    let context = format!("{op} {inputs:?} {attributes:?}");
    let outputs = run_op(op, inputs, attributes).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(outputs.len(), expected.len(), "{context}");
    for (output, expected) in outputs.iter().zip(expected) {
        assert_eq!(output.shape()[..], expected.shape[..], "{context}");
        for (i, (got, want)) in numbers(output).into_iter().zip(&expected.data).enumerate() {
            let near = got == *want
                || got.is_nan() && want.is_nan()
                || (got - want).abs() <= tolerance * want.abs().max(1.0);
            assert!(near, "{context}: element {i}: expected {want}, got {got}");
        }
    }
}

/// Checks an op on every dtype of floats: f32 within `tolerance`, f64 within that of doubles, and
/// narrower ones by their definition: the f32 results of the same inputs, rounded once.
///
/// `arrays` are the first inputs; `rest` follows as it is.
pub(crate) fn check_floats(
    op: &str,
    arrays: &[&Array],
    rest: &[Tensor],
    attributes: &[(String, Attribute)],
    expected: &Array,
    tolerance: f64,
) {
    let single: Vec<Tensor> = inputs(arrays, rest, DType::F32);
    check(op, &single, attributes, expected, tolerance);
    let double: Vec<Tensor> = inputs(arrays, rest, DType::F64);
    check(op, &double, attributes, expected, tolerance.min(1e-11));
    check_narrow(op, arrays, rest, attributes);
}

/// The part of [`check_floats`] on floats of 16 bits.
pub(crate) fn check_narrow(
    op: &str,
    arrays: &[&Array],
    rest: &[Tensor],
    attributes: &[(String, Attribute)],
) {
    for dtype in [DType::F16, DType::Bf16] {
        let narrow = inputs(arrays, rest, dtype);
        let rounded: Vec<Array> = arrays
            .iter()
            .zip(&narrow)
            .map(|(array, tensor)| Array::new(&array.shape, numbers(tensor)))
            .collect();
        let wide = inputs(&rounded.iter().collect::<Vec<&Array>>(), rest, DType::F32);
        let context = format!("{op} {narrow:?} {attributes:?}");
        let got = run_op(op, &narrow, attributes).unwrap_or_else(|e| panic!("{context}: {e}"));
        let want = run_op(op, &wide, attributes).unwrap_or_else(|e| panic!("{context}: {e}"));
        assert_eq!(got.len(), want.len(), "{context}");
        for (got, want) in got.iter().zip(&want) {
            if want.dtype() == DType::F32 {
                let want = Array::new(want.shape(), numbers(want)).tensor(dtype);
                let same = |(a, b): (f64, f64)| {
                    a.to_bits() == b.to_bits()
                        || a.is_nan() && b.is_nan()
                        || (a - b).abs() <= device_slack(dtype) * b.abs().max(1.0)
                };
                let all = numbers(got).into_iter().zip(numbers(&want)).all(same);
                assert!(all && got.shape() == want.shape(), "{context}");
            } else {
                assert_eq!(got.bytes(), want.bytes(), "{context}");
            }
        }
    }
}

/// How far a device may be from one rounding of the f32 results, as it has kernels of its own for floats
/// of 16 bits: tensor cores sum in another order, and take weights of attention rounded.
fn device_slack(dtype: DType) -> f64 {
    match (is_device(), dtype) {
        (false, _) => 0.0,
        (true, DType::Bf16) => 2.0 / 128.0,
        (true, _) => 2.0 / 1024.0,
    }
}

fn inputs(arrays: &[&Array], rest: &[Tensor], dtype: DType) -> Vec<Tensor> {
    arrays.iter().map(|array| array.tensor(dtype)).chain(rest.iter().cloned()).collect()
}

/// Requires an op to be refused with this code.
pub(crate) fn refused(op: &str, inputs: &[Tensor], attributes: &[(String, Attribute)], code: &str) {
    match run_op(op, inputs, attributes) {
        Ok(outputs) => panic!("{op} {inputs:?} {attributes:?}: expected {code}, got {outputs:?}"),
        Err(error) => assert_eq!(error.code(), code, "{op}: {error}"),
    }
}
