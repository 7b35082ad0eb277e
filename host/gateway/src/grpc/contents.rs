//! `InferTensorContents`: the elements of a tensor as typed, repeated fields, packed or not.

use super::wire::{Field, Fields, WireFault};
use crate::oip::binary::{self, BinaryFault};
use aimass_tensor::{Buffer, DType, Shape, Strings, StringsError, Tensor, TensorError};
use std::ops::Range;
use std::sync::Arc;

/// Names of the fields, by number.
const NAMES: [&str; 9] = [
    "no contents",
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
];

/// Why contents are not what datatype and shape say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentsFault {
    #[error(transparent)]
    Wire(#[from] WireFault),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Binary(#[from] BinaryFault),
    #[error(transparent)]
    Strings(#[from] StringsError),
    #[error("expected {expected} for {dtype}, got {got}")]
    Field { dtype: DType, expected: &'static str, got: &'static str },
    #[error("{0} has no typed contents; send raw_input_contents")]
    Untyped(DType),
    #[error("element {index}: {value} does not fit into {dtype}")]
    Range { index: usize, value: i128, dtype: DType },
    #[error("expected {expected} elements for its shape, got {got}")]
    Count { expected: usize, got: String },
}

/// A tensor of the contents in `range` of `block`, which `shared` shares.
pub(crate) fn tensor(
    block: &[u8],
    shared: &Buffer,
    range: Range<usize>,
    dtype: DType,
    shape: Shape,
) -> Result<Tensor, ContentsFault> {
    let number = field_of(dtype).ok_or(ContentsFault::Untyped(dtype))?;
    let mut parts = Parts { number, dtype, fields: Fields::of(block, range), packed: None };
    match number {
        6 | 7 => floats(&mut parts, block, shared, shape),
        8 => strings(&mut parts, block, shape),
        _ => integers(&mut parts, block, shape),
    }
}

/// The field that holds elements of this type.
fn field_of(dtype: DType) -> Option<u32> {
    match dtype {
        DType::Bool => Some(1),
        DType::I8 | DType::I16 | DType::I32 => Some(2),
        DType::I64 => Some(3),
        DType::U8 | DType::U16 | DType::U32 => Some(4),
        DType::U64 => Some(5),
        DType::F32 => Some(6),
        DType::F64 => Some(7),
        DType::Bytes => Some(8),
        DType::F16 | DType::Bf16 | DType::I4 | DType::U4 => None,
        DType::F8E4m3 | DType::F8E5m2 | DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => None,
        DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 | DType::Q8_1 => None,
        DType::Q2K | DType::Q3K | DType::Q4K | DType::Q5K | DType::Q6K | DType::Q8K => None,
    }
}

/// The wanted field's values, wherever they stand.
struct Parts<'a> {
    number: u32,
    dtype: DType,
    fields: Fields<'a>,
    /// What is left of a packed run of numbers.
    packed: Option<Fields<'a>>,
}

impl<'a> Parts<'a> {
    /// The next occurrence of the field. Other fields of contents are refused.
    fn next(&mut self) -> Result<Option<Field>, ContentsFault> {
        while let Some(field) = self.fields.next()? {
            if field.number == self.number {
                return Ok(Some(field));
            }
            let is_empty = field.range().is_ok_and(|range| range.is_empty());
            if let Some(got) = NAMES.get(field.number as usize).filter(|_| !is_empty) {
                let expected = NAMES[self.number as usize];
                return Err(ContentsFault::Field { dtype: self.dtype, expected, got });
            }
        }
        Ok(None)
    }

    /// The next number, from a packed run or standing alone.
    fn next_number(&mut self, block: &'a [u8]) -> Result<Option<u64>, ContentsFault> {
        loop {
            if let Some(packed) = &mut self.packed {
                if !packed.is_empty() {
                    return Ok(Some(packed.varint()?));
                }
                self.packed = None;
            }
            let Some(field) = self.next()? else {
                return Ok(None);
            };
            match field.range() {
                Ok(range) => self.packed = Some(Fields::of(block, range)),
                Err(_) => return Ok(Some(field.number()?)),
            }
        }
    }
}

/// Elements of fixed size: their bytes on the wire are those of the tensor.
fn floats(
    parts: &mut Parts<'_>,
    block: &[u8],
    shared: &Buffer,
    shape: Shape,
) -> Result<Tensor, ContentsFault> {
    let dtype = parts.dtype;
    let first = parts.next()?;
    let rest = parts.next()?;
    if let (Some(field), None) = (&first, &rest)
        && let Ok(range) = field.range()
    {
        return Ok(binary::tensor(dtype, shape, shared.slice(range))?);
    }
    let mut bytes = Vec::new();
    let mut fields = first.into_iter().chain(rest);
    let mut next = fields.next();
    while let Some(field) = next {
        match field.value {
            super::wire::Value::Len(range) => bytes.extend_from_slice(&block[range]),
            super::wire::Value::Fixed32(bits) if dtype == DType::F32 => {
                bytes.extend_from_slice(&bits.to_le_bytes());
            }
            _ => bytes.extend_from_slice(&field.double()?.to_bits().to_le_bytes()),
        }
        next = match fields.next() {
            Some(field) => Some(field),
            None => parts.next()?,
        };
    }
    Ok(Tensor::copy_from(dtype, shape, &bytes)?)
}

fn integers<'a>(
    parts: &mut Parts<'a>,
    block: &'a [u8],
    shape: Shape,
) -> Result<Tensor, ContentsFault> {
    let dtype = parts.dtype;
    let expected = shape.elements();
    let size = dtype.size().unwrap_or(1);
    // Each element takes a byte of the block at least: a shape that claims more has no data.
    let mut bytes = Vec::with_capacity(expected.min(block.len()) * size);
    let mut count = 0;
    while let Some(value) = parts.next_number(block)? {
        if count == expected {
            return Err(ContentsFault::Count { expected, got: "more".to_owned() });
        }
        let little = element(dtype, value).ok_or_else(|| ContentsFault::Range {
            index: count,
            value: match dtype {
                DType::U8 | DType::U16 | DType::U32 | DType::U64 => i128::from(value),
                _ => i128::from(value as i64),
            },
            dtype,
        })?;
        bytes.extend_from_slice(&little[..size]);
        count += 1;
    }
    if count != expected {
        return Err(ContentsFault::Count { expected, got: count.to_string() });
    }
    Ok(Tensor::copy_from(dtype, shape, &bytes)?)
}

/// The element's bytes, little-endian, if the number fits.
fn element(dtype: DType, value: u64) -> Option<[u8; 8]> {
    let signed = value as i64;
    let fits = match dtype {
        DType::Bool => value <= 1,
        DType::I8 => i8::try_from(signed).is_ok(),
        DType::I16 => i16::try_from(signed).is_ok(),
        DType::I32 => i32::try_from(signed).is_ok(),
        DType::U8 => u8::try_from(value).is_ok(),
        DType::U16 => u16::try_from(value).is_ok(),
        DType::U32 => u32::try_from(value).is_ok(),
        _ => true,
    };
    fits.then(|| value.to_le_bytes())
}

fn strings(parts: &mut Parts<'_>, block: &[u8], shape: Shape) -> Result<Tensor, ContentsFault> {
    let expected = shape.elements();
    let count = |got: String| ContentsFault::Count { expected, got };
    if expected > block.len() {
        return Err(count("fewer".to_owned()));
    }
    let mut offsets = Vec::with_capacity(expected + 1);
    let mut data = Vec::new();
    offsets.push(0);
    while let Some(field) = parts.next()? {
        if offsets.len() > expected {
            return Err(count("more".to_owned()));
        }
        data.extend_from_slice(&block[field.range()?]);
        // Fits: a message is at most 1 GiB.
        offsets.push(data.len() as u32);
    }
    if offsets.len() != expected + 1 {
        return Err(count((offsets.len() - 1).to_string()));
    }
    let strings = Strings::new(offsets, Buffer::shared(Arc::new(data)))?;
    Ok(Tensor::from_strings(shape, strings)?)
}
