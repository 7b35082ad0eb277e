//! Every reader of a request's bytes as one plain function, for fuzzing.

use crate::failure::Failure;
use crate::grpc::read_message;
use crate::oip::request::{self, ParsedRequest};
use crate::oip::{generate, raw, response};
use aimass_engine::{InferResponse, ModelMetadata, TensorMetadata, Usage};
use aimass_tensor::{DType, Tensor};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Ways to read a request, by the first byte.
const WAYS: u8 = 6;

/// Reads bytes as the gateway reads what anybody may send: the first byte says as what (a JSON infer
/// request, one with binary data, a raw one, a gRPC message, a generate request), the rest is the
/// body. Answers what came of it: the refusal, or the request's tensors.
///
/// A request that was read is echoed: its answer is written as JSON and as binary data.
///
/// # Panics
/// If a reader or writer is wrong.
pub fn read_request(bytes: &[u8]) -> Result<String, String> {
    let Some((way, body)) = bytes.split_first() else {
        return Err("no bytes".to_owned());
    };
    let body = Bytes::copy_from_slice(body);
    let read = match way % WAYS {
        0 => request::parse(&body, None),
        1 => with_header(&body),
        2 => raw::parse(&model(&[("x", Some(DType::F32), Some(vec![-1, 2]))]), &body),
        3 => read_message(&body),
        4 => raw::parse(&model(&[("x", Some(DType::Bytes), Some(vec![-1]))]), &body),
        _ => generated(&body),
    };
    let request = read.map_err(|failure| failure.message)?;
    let shapes: Vec<String> = request
        .inputs
        .iter()
        .map(|(_, tensor)| format!("{}{:?}", tensor.dtype(), tensor.shape().rank()))
        .collect();
    echo(request)?;
    Ok(shapes.join(" "))
}

/// The first two bytes are the length of the JSON.
fn with_header(body: &Bytes) -> Result<ParsedRequest, Failure> {
    let Some((len, _)) = body.split_first_chunk::<2>() else {
        return Err(Failure::invalid("no length"));
    };
    request::parse(&body.slice(2..), Some(usize::from(u16::from_le_bytes(*len))))
}

fn generated(body: &Bytes) -> Result<ParsedRequest, Failure> {
    let inputs = [
        ("text_input", Some(DType::Bytes), Some(vec![-1])),
        ("grid", Some(DType::F32), Some(vec![-1, 3])),
        ("any", None, None),
    ];
    let read = generate::parse(&model(&inputs), body)?;
    Ok(ParsedRequest {
        id: read.id,
        inputs: read.inputs,
        parameters: read.parameters,
        timeout: read.timeout,
        wanted: Default::default(),
    })
}

/// Name, datatype and shape of an input.
type Input<'a> = (&'a str, Option<DType>, Option<Vec<i64>>);

fn model(inputs: &[Input<'_>]) -> ModelMetadata {
    let tensor = |(name, dtype, shape): &Input<'_>| TensorMetadata {
        name: (*name).into(),
        dtype: *dtype,
        shape: shape.clone(),
    };
    ModelMetadata {
        name: "m".into(),
        version: 1,
        versions: vec![1],
        labels: BTreeMap::new(),
        platform: "aimass_fuzz".into(),
        inputs: inputs.iter().map(tensor).collect(),
        outputs: Vec::new(),
        created: 0,
        publisher: "aimass".into(),
        release: Default::default(),
    }
}

/// Answers the inputs as outputs, and reads the binary answer's tensors as a request again: they are
/// the same.
fn echo(request: ParsedRequest) -> Result<(), String> {
    let ParsedRequest { id, inputs, mut wanted, .. } = request;
    let outputs = inputs.iter().map(|(name, tensor)| (name.as_str().into(), tensor.clone()));
    let answer = InferResponse {
        model: "m".into(),
        version: 1,
        outputs: outputs.collect(),
        usage: Usage::default(),
        rooms: Vec::new(),
    };
    wanted.outputs.clear();
    wanted.binary = true;
    let written = response::write(&answer, id.as_deref(), &wanted).map_err(|f| f.message)?;
    let text =
        String::from_utf8_lossy(&written.body[..written.json_len.unwrap_or(written.body.len())])
            .replacen("\"outputs\":[", "\"inputs\":[", 1);
    let blobs = &written.body[written.json_len.unwrap_or(written.body.len())..];
    let again = Bytes::from([text.as_bytes(), blobs].concat());
    let again = request::parse(&again, Some(text.len())).map_err(|failure| failure.message);
    let again = again.expect("what was written is read");
    let same = |(a, b): (&(String, Tensor), &(String, Tensor))| {
        let strings = |tensor: &Tensor| tensor.strings().map(|all| all.data().to_vec());
        a.0 == b.0
            && a.1.shape() == b.1.shape()
            && (a.1.dtype() == DType::Bytes || a.1.bytes() == b.1.bytes())
            && strings(&a.1) == strings(&b.1)
    };
    assert!(inputs.len() == again.inputs.len() && inputs.iter().zip(&again.inputs).all(same));
    wanted.binary = false;
    let _ = response::write(&answer, None, &wanted);
    Ok(())
}
