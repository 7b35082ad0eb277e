//! An infer answer: written by hand into one block, since it is most of what a small request costs.

use super::binary;
use super::half::{self, BF16, FP16};
use super::request::Wanted;
use crate::failure::Failure;
use aimass_engine::InferResponse;
use aimass_tensor::{DType, Element, Tensor};
use serde_json::ser::{CompactFormatter, Formatter};

/// A written answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// Length of the JSON at the front, if binary data follows it.
    pub(crate) json_len: Option<usize>,
}

/// Writes an answer as the request wants it.
///
/// # Errors
/// 400 for an output that has no JSON form (NaN, infinity, bytes that are not UTF-8, a datatype
/// that OIP does not know), saying how to get it.
pub(crate) fn write(
    response: &InferResponse,
    id: Option<&str>,
    wanted: &Wanted,
) -> Result<Answer, Failure> {
    let mut out = Vec::with_capacity(capacity(response));
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        string(id, &mut out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"model_name\":");
    string(&response.model, &mut out);
    out.extend_from_slice(b",\"model_version\":\"");
    integer(response.version, &mut out);
    out.extend_from_slice(b"\",\"outputs\":[");
    let mut blobs: Vec<&Tensor> = Vec::new();
    for (index, (name, tensor)) in response.outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if output(name, tensor, wanted.is_binary(name), &mut out)? {
            blobs.push(tensor);
        }
    }
    out.extend_from_slice(b"]}");
    let json_len = (!blobs.is_empty()).then_some(out.len());
    for tensor in blobs {
        binary::append(tensor, &mut out);
    }
    Ok(Answer { body: out, json_len })
}

/// Writes one output, all but its binary data; whether it has some.
fn output(
    name: &str,
    tensor: &Tensor,
    as_binary: bool,
    out: &mut Vec<u8>,
) -> Result<bool, Failure> {
    let datatype = tensor.dtype().oip_name().ok_or_else(|| {
        Failure::invalid(format!("output {name:?} has dtype {}, unknown to OIP", tensor.dtype()))
    })?;
    out.extend_from_slice(b"{\"name\":");
    string(name, out);
    out.extend_from_slice(b",\"datatype\":\"");
    out.extend_from_slice(datatype.as_bytes());
    out.extend_from_slice(b"\",\"shape\":[");
    for (axis, &extent) in tensor.shape().iter().enumerate() {
        if axis > 0 {
            out.push(b',');
        }
        integer(extent as u64, out);
    }
    if as_binary {
        out.extend_from_slice(b"],\"parameters\":{\"binary_data_size\":");
        integer(binary::size(tensor) as u64, out);
        out.extend_from_slice(b"}}");
        return Ok(true);
    }
    out.extend_from_slice(b"],\"data\":");
    write_data(tensor, out).map_err(|what| {
        Failure::invalid(format!(
            "output {name:?} holds {what}, which JSON cannot express; ask for it with \
             \"parameters\":{{\"binary_data\":true}}"
        ))
    })?;
    out.push(b'}');
    Ok(false)
}

/// Writes the elements as a flat JSON array; floats in the shortest form that reads back the same.
///
/// # Errors
/// What JSON cannot express, in words.
pub(crate) fn write_data(tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), &'static str> {
    match tensor.dtype() {
        DType::Bool => list(tensor.bytes().iter(), out, |&byte, out| {
            out.extend_from_slice(if byte == 0 { b"false" } else { b"true" });
            Ok(())
        }),
        DType::I8 => integers::<i8>(tensor, out),
        DType::U8 => integers::<u8>(tensor, out),
        DType::I16 => integers::<i16>(tensor, out),
        DType::U16 => integers::<u16>(tensor, out),
        DType::I32 => integers::<i32>(tensor, out),
        DType::U32 => integers::<u32>(tensor, out),
        DType::I64 => integers::<i64>(tensor, out),
        DType::U64 => list(elements::<u64>(tensor)?, out, |&value, out| {
            integer(value, out);
            Ok(())
        }),
        DType::F16 => list(halves(tensor), out, |bits, out| float(half::widen(bits, FP16), out)),
        DType::Bf16 => list(halves(tensor), out, |bits, out| float(half::widen(bits, BF16), out)),
        DType::F32 => list(elements::<f32>(tensor)?, out, |&value, out| float(value, out)),
        DType::F64 => list(elements::<f64>(tensor)?, out, |&value, out| {
            finite(value.is_finite())?;
            infallible(CompactFormatter.write_f64(out, value));
            Ok(())
        }),
        DType::Bytes => {
            let strings = tensor.strings().ok_or("no strings")?;
            list(strings.iter(), out, |item, out| {
                string(std::str::from_utf8(item).map_err(|_| "bytes that are not UTF-8")?, out);
                Ok(())
            })
        }
        DType::I4 | DType::U4 => Err("4-bit integers"),
        DType::F8E4m3 | DType::F8E5m2 | DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => {
            Err("8-bit floats")
        }
        DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 | DType::Q8_1 => {
            Err("quantized blocks")
        }
        DType::Q2K | DType::Q3K | DType::Q4K | DType::Q5K | DType::Q6K | DType::Q8K => {
            Err("quantized blocks")
        }
    }
}

/// Appends a JSON string.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    infallible(serde_json::to_writer(out, text));
}

/// Appends an f32 in the shortest form that reads back the same.
///
/// # Errors
/// In words, if it is not finite.
pub(crate) fn float(value: f32, out: &mut Vec<u8>) -> Result<(), &'static str> {
    finite(value.is_finite())?;
    infallible(CompactFormatter.write_f32(out, value));
    Ok(())
}

/// Appends a whole number.
pub(crate) fn integer(value: u64, out: &mut Vec<u8>) {
    infallible(CompactFormatter.write_u64(out, value));
}

fn list<T>(
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    mut one: impl FnMut(T, &mut Vec<u8>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        one(item, out)?;
    }
    out.push(b']');
    Ok(())
}

fn integers<T: Element + Into<i64>>(
    tensor: &Tensor,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    list(elements::<T>(tensor)?, out, |&value, out| {
        infallible(CompactFormatter.write_i64(out, value.into()));
        Ok(())
    })
}

fn elements<T: Element>(tensor: &Tensor) -> Result<std::slice::Iter<'_, T>, &'static str> {
    tensor.as_slice::<T>().map(<[T]>::iter).map_err(|_| "elements of another type")
}

fn halves(tensor: &Tensor) -> impl Iterator<Item = u16> {
    tensor.bytes().as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair))
}

fn finite(is_finite: bool) -> Result<(), &'static str> {
    if is_finite { Ok(()) } else { Err("NaN or an infinity") }
}

/// Writing to memory cannot fail.
fn infallible<E: std::fmt::Debug>(result: Result<(), E>) {
    result.expect("a Vec takes every write");
}

/// A guess at the size of the answer, so that it rarely grows.
fn capacity(response: &InferResponse) -> usize {
    let one = |tensor: &Tensor| 96 + 2 * tensor.byte_len() + 4 * tensor.shape().elements();
    64 + response.outputs.iter().map(|(_, tensor)| one(tensor).min(64 << 20)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_engine::Usage;
    use aimass_tensor::{Shape, Strings};

    fn response(outputs: Vec<(&str, Tensor)>) -> InferResponse {
        let outputs = outputs.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect();
        let (usage, rooms) = (Usage::default(), Vec::new());
        InferResponse { model: "m".into(), version: 3, outputs, usage, rooms }
    }

    fn strings(items: &[&[u8]]) -> Tensor {
        let shape = Shape::new(&[items.len()]).unwrap();
        Tensor::from_strings(shape, Strings::from_slices(items).unwrap()).unwrap()
    }

    #[test]
    fn a_json_answer_reads_as_the_protocol_says() {
        let numbers = Tensor::from_slice(&[1, 3], &[0.1f32, -2.0, 1e-10]).unwrap();
        let texts = strings(&["a\"\n".as_bytes(), "é".as_bytes()]);
        let answer =
            write(&response(vec![("A", numbers), ("T", texts)]), Some("7"), &Wanted::default());
        let expected = r#"{"id":"7","model_name":"m","model_version":"3","outputs":[{"name":"A","datatype":"FP32","shape":[1,3],"data":[0.1,-2.0,1e-10]},{"name":"T","datatype":"BYTES","shape":[2],"data":["a\"\n","é"]}]}"#;
        let answer = answer.unwrap();
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
        assert_eq!(answer.json_len, None);
    }

    #[test]
    fn binary_outputs_follow_in_order() {
        let numbers = Tensor::from_slice(&[2], &[1u16, 2]).unwrap();
        let outputs = vec![("A", numbers.clone()), ("J", numbers), ("T", strings(&[b"\xff"]))];
        let wanted = Wanted { binary: true, outputs: vec![("J".to_owned(), Some(false))] };
        let answer = write(&response(outputs), None, &wanted).unwrap();
        let (json, blobs) = answer.body.split_at(answer.json_len.unwrap());
        let expected = r#"{"model_name":"m","model_version":"3","outputs":[{"name":"A","datatype":"UINT16","shape":[2],"parameters":{"binary_data_size":4}},{"name":"J","datatype":"UINT16","shape":[2],"data":[1,2]},{"name":"T","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}"#;
        assert_eq!(std::str::from_utf8(json).unwrap(), expected);
        assert_eq!(blobs, b"\x01\0\x02\0\x01\0\0\0\xff");
    }

    #[test]
    fn what_json_cannot_express_names_the_remedy() {
        let cases = [
            Tensor::from_slice(&[1], &[f32::NAN]).unwrap(),
            Tensor::from_slice(&[1], &[f64::INFINITY]).unwrap(),
            Tensor::copy_from(DType::F16, Shape::new(&[1]).unwrap(), &[0, 0x7c]).unwrap(),
            strings(&[b"\xff"]),
        ];
        for tensor in cases {
            let failure = write(&response(vec![("A", tensor.clone())]), None, &Wanted::default());
            let message = failure.unwrap_err().message;
            assert!(message.contains("binary_data") && message.contains("\"A\""), "{message}");
            let wanted = Wanted { binary: true, ..Wanted::default() };
            assert!(write(&response(vec![("A", tensor)]), None, &wanted).is_ok());
        }
    }

    #[test]
    fn every_datatype_is_written() {
        let one = |dtype, bytes: &[u8]| {
            let mut out = Vec::new();
            let shape = Shape::new(&[2]).unwrap();
            write_data(&Tensor::copy_from(dtype, shape, bytes).unwrap(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(one(DType::Bool, &[0, 1]), "[false,true]");
        assert_eq!(one(DType::I8, &[255, 1]), "[-1,1]");
        assert_eq!(one(DType::U64, &[255; 16]), format!("[{0},{0}]", u64::MAX));
        assert_eq!(one(DType::F16, &[0, 0x3e, 0, 0xc0]), "[1.5,-2.0]");
        assert_eq!(one(DType::Bf16, &[0x80, 0x3f, 0, 0xc0]), "[1.0,-2.0]");
    }
}
