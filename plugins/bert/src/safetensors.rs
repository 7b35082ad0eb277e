//! Headers of safetensors files (<https://github.com/huggingface/safetensors>, "Format").
//!
//! A file is an 8-byte little-endian length, that many bytes of JSON, and the tensors' bytes. Every
//! number in the JSON is checked before it is used: sizes fit dtype and shape, ranges lie within the
//! file, touch without gaps and never overlap, and no name comes twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use aimass_sdk::files::File;
use aimass_sdk::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Bytes of a header at most; the format itself allows 100 MB, a BERT takes about 40 KB.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Bytes before the header.
const LENGTH_BYTES: u64 = 8;

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorInfo {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<u64>,
    /// Bytes from the start of the file.
    pub(crate) offset: u64,
}

/// Tensors of a file by name.
pub(crate) type Header = BTreeMap<String, TensorInfo>;

/// Reads and checks the header of a file.
///
/// # Errors
/// `input/safetensors`, which names the tensor and says what is wrong; `limit/header-bytes`.
pub(crate) fn read_header(file: &File) -> Result<Header> {
    let size = file.size();
    if size < LENGTH_BYTES {
        return Err(malformed(format!("expected at least {LENGTH_BYTES} bytes, got {size}")));
    }
    let length = file.read(0, LENGTH_BYTES)?;
    let length = <[u8; 8]>::try_from(length.as_slice())
        .map_err(|_| malformed(format!("expected {LENGTH_BYTES} bytes, got {}", length.len())))?;
    let length = header_length(u64::from_le_bytes(length), size)?;
    parse_header(&file.read(LENGTH_BYTES, length)?, size)
}

fn header_length(length: u64, file_bytes: u64) -> Result<u64> {
    if length > HEADER_BYTES_MAX {
        let message =
            format!("expected a header of at most {HEADER_BYTES_MAX} bytes, got {length}");
        return Err(Error::limit("header-bytes", message));
    }
    if length > file_bytes - LENGTH_BYTES {
        let rest = file_bytes - LENGTH_BYTES;
        return Err(malformed(format!("a header of {length} bytes, but only {rest} follow")));
    }
    Ok(length)
}

/// Parses the JSON of a file of `file_bytes`.
///
/// # Errors
/// `input/safetensors`.
pub(crate) fn parse_header(json: &[u8], file_bytes: u64) -> Result<Header> {
    let raw: RawHeader = serde_json::from_slice(json)
        .map_err(|error| malformed(format!("the header is no safetensors JSON: {error}")))?;
    let data_start = LENGTH_BYTES + json.len() as u64;
    let data_bytes = file_bytes.saturating_sub(data_start);
    let mut ranges = Vec::with_capacity(raw.0.len());
    let mut header = Header::new();
    for (name, tensor) in raw.0 {
        let (start, end) = tensor.data_offsets;
        let dtype = dtype_named(&tensor.dtype)
            .ok_or_else(|| malformed(format!("{name}: unknown dtype {}", tensor.dtype)))?;
        let bytes = byte_count(dtype, &tensor.shape)
            .ok_or_else(|| malformed(format!("{name}: shape {:?} is too large", tensor.shape)))?;
        if start > end || end > data_bytes {
            let message = format!("{name}: range {start}..{end} is not within 0..{data_bytes}");
            return Err(malformed(message));
        }
        if end - start != bytes {
            let (shape, got) = (&tensor.shape, end - start);
            let message = format!("{name}: {dtype} {shape:?} takes {bytes} bytes, got {got}");
            return Err(malformed(message));
        }
        ranges.push((start, end, name.clone()));
        let info = TensorInfo { dtype, shape: tensor.shape, offset: data_start + start };
        header.insert(name, info);
    }
    check_ranges(ranges, data_bytes)?;
    Ok(header)
}

/// Checks that the ranges fill the data without gaps and overlaps.
fn check_ranges(mut ranges: Vec<(u64, u64, String)>, data_bytes: u64) -> Result<()> {
    ranges.sort();
    let mut expected = 0;
    for (start, end, name) in &ranges {
        if *start != expected {
            let what = if *start < expected { "overlaps the one before" } else { "leaves a gap" };
            let message =
                format!("{name}: expected to start at {expected}, got {start}: it {what}");
            return Err(malformed(message));
        }
        expected = *end;
    }
    if expected != data_bytes {
        let message =
            format!("tensors end at {expected}, but the file has {data_bytes} data bytes");
        return Err(malformed(message));
    }
    Ok(())
}

fn byte_count(dtype: DType, shape: &[u64]) -> Option<u64> {
    let size = dtype.element_bytes()?;
    shape.iter().try_fold(size, |bytes, extent| bytes.checked_mul(*extent))
}

fn dtype_named(name: &str) -> Option<DType> {
    Some(match name {
        "BOOL" => DType::Bool,
        "U8" => DType::U8,
        "I8" => DType::I8,
        "F8_E5M2" => DType::F8E5m2,
        "F8_E4M3" => DType::F8E4m3,
        "I16" => DType::I16,
        "U16" => DType::U16,
        "F16" => DType::F16,
        "BF16" => DType::Bf16,
        "I32" => DType::I32,
        "U32" => DType::U32,
        "F32" => DType::F32,
        "F64" => DType::F64,
        "I64" => DType::I64,
        "U64" => DType::U64,
        _ => return None,
    })
}

fn malformed(message: impl Into<String>) -> Error {
    Error::input("safetensors", message)
}

#[derive(Debug, Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The JSON object without `__metadata__`; a plain map would let a name come twice.
#[derive(Debug)]
struct RawHeader(BTreeMap<String, RawTensor>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = RawHeader;

            fn expecting(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.write_str("a map of tensor names to dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    match tensors.entry(name) {
                        Entry::Vacant(place) => {
                            place.insert(map.next_value()?);
                        }
                        Entry::Occupied(taken) => {
                            let message = format!("tensor {:?} comes twice", taken.key());
                            return Err(serde::de::Error::custom(message));
                        }
                    }
                }
                Ok(RawHeader(tensors))
            }
        }
        deserializer.deserialize_map(Tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "empty": {"dtype": "F32", "shape": [0], "data_offsets": [24, 24]}
    }"#;

    #[test]
    fn tensors_are_found_in_the_file() {
        let header = parse_header(GOOD.as_bytes(), 8 + GOOD.len() as u64 + 28).unwrap();
        let offset = 8 + GOOD.len() as u64 + 24;
        assert_eq!(header["b"], TensorInfo { dtype: DType::F16, shape: vec![2], offset });
        assert_eq!(header.len(), 3);
    }

    #[test]
    fn a_lying_header_is_refused_by_the_name_of_its_tensor() {
        #[track_caller]
        fn check(from: &str, to: &str, message: &str) {
            let json = GOOD.replacen(from, to, 1);
            assert_ne!(json, GOOD);
            let error = parse_header(json.as_bytes(), 8 + json.len() as u64 + 28).unwrap_err();
            assert_eq!(
                (error.family, error.code.as_str()),
                (aimass_sdk::ErrorFamily::Input, "safetensors")
            );
            assert!(error.message.contains(message), "{error}");
        }
        check("[24, 28]", "[28, 32]", "b: range 28..32 is not within 0..28");
        check("[24, 28]", "[28, 24]", "b: range 28..24");
        check("[24, 28]", "[20, 24]", "b: expected to start at 24, got 20: it overlaps");
        check("[24, 28]", "[24, 27]", "b: f16 [2] takes 4 bytes, got 3");
        check("[0, 24]", "[-1, 24]", "invalid value: integer `-1`");
        check(
            "[2, 3]",
            "[18446744073709551615, 3]",
            "a: shape [18446744073709551615, 3] is too large",
        );
        check("\"F16\"", "\"F17\"", "b: unknown dtype F17");
        check("\"empty\"", "\"a\"", "tensor \"a\" comes twice");
        check("[2], \"data_offsets\": [24, 28]", "[1], \"data_offsets\": [26, 28]", "leaves a gap");
        check(
            "[2], \"data_offsets\": [24, 28]",
            "[1], \"data_offsets\": [24, 26]",
            "tensors end at 26",
        );
    }

    #[test]
    fn a_header_length_beyond_the_file_or_the_limit_is_refused() {
        assert_eq!(header_length(10, 18), Ok(10));
        assert_eq!(header_length(11, 18).unwrap_err().code, "safetensors");
        assert_eq!(header_length(u64::MAX, 18).unwrap_err().code, "header-bytes");
    }
}
