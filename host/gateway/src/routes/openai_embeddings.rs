//! `POST /v1/embeddings` of the OpenAI API: texts in, one vector a text out.
//!
//! Any model with one `BYTES [batch]` input and one `FP32 [batch, n]` output is an embedding
//! model. Tokens are counted by the model's package; a model that does not count reports 0.

use super::openai_models::find;
use crate::admission::Admitted;
use crate::body::off_thread;
use crate::failure::{Failure, OpenAiFailure, json_answer};
use crate::identity::access::Infer;
use crate::object::read_object;
use crate::oip::data::{self, DataFault};
use crate::oip::response::{float, integer, string};
use crate::router::{Gateway, Shared};
use crate::timing;
use aimass_engine::{InferRequest, InferResponse, ModelMetadata, Selector, TensorMetadata};
use aimass_tensor::{DType, Shape, Tensor};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;

#[derive(Deserialize)]
struct WireRequest<'a> {
    model: String,
    #[serde(borrow)]
    input: &'a RawValue,
    #[serde(default)]
    encoding_format: Option<EncodingFormat>,
    #[serde(default)]
    dimensions: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    #[default]
    Float,
    /// Little-endian f32, in base64.
    Base64,
}

/// An embeddings request, read; the model has not been asked yet.
struct ParsedRequest {
    model: String,
    texts: Tensor,
    format: EncodingFormat,
    dimensions: Option<u64>,
}

/// Input and output of an embedding model, and the length of its vectors if it is fixed.
struct Ports {
    input: String,
    output: Arc<str>,
    length: Option<u64>,
}

/// `POST /v1/embeddings`
pub(crate) async fn embeddings(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    request: Request,
) -> Result<Response<Body>, OpenAiFailure> {
    let span = tracing::debug_span!("openai_embeddings");
    Ok(answer(&gateway, &admitted, request).instrument(span).await?)
}

async fn answer(
    gateway: &Gateway,
    admitted: &Admitted<Infer>,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let body = gateway.bodies.read(admitted.permit(), &parts.headers, body).await?;
    let bytes = body.bytes.clone();
    let limits = (gateway.config.embedding_inputs_max, gateway.config.embedding_bytes_max);
    let parsed = off_thread(bytes.len(), move || parse(&bytes, limits)).await?;
    let ParsedRequest { model: id, texts, format, dimensions } = parsed;
    let model = find(gateway, admitted, &id)?;
    let ports = ports(&model)?;
    check_dimensions(dimensions, ports.length)?;
    let count = texts.shape().elements();
    let parsed = start.elapsed();
    let response = gateway
        .infer(InferRequest {
            model: model.name.to_string(),
            // The version whose signature was read, even if a label moves meanwhile.
            selector: Selector::Version(model.version),
            inputs: vec![(ports.input, texts)],
            outputs: vec![ports.output.to_string()],
            parameters: BTreeMap::new(),
            tenant: admitted.tenant().clone(),
            deadline: admitted.deadline(),
        })
        .await?;
    let vectors = vectors(&response, &ports.output, count)?;
    check_dimensions(dimensions, Some(vectors.shape().row_elements() as u64))?;
    let tokens = response.usage.tokens.unwrap_or(0);
    let timing =
        timing::asked(&parts.headers).then(|| timing::header(&[("parse", parsed)], &response));
    let size = vectors.byte_len();
    let body = off_thread(size, move || write(&id, &vectors, format, tokens)).await?;
    let mut answer = json_answer(body);
    if let Some(timing) = timing {
        answer.headers_mut().insert(timing::SERVER_TIMING, timing);
    }
    Ok(answer)
}

fn parse(body: &Bytes, (count_max, bytes_max): (usize, usize)) -> Result<ParsedRequest, Failure> {
    let wire: WireRequest<'_> = read_object(body)?;
    let texts = data::texts(wire.input.get(), count_max, bytes_max).map_err(|fault| {
        let hint = match &fault {
            DataFault::Element { got, .. } if got != "an object" => {
                "; send a string or an array of strings, not token ids"
            }
            _ => "",
        };
        Failure::invalid(format!("input: {fault}{hint}")).of("input")
    })?;
    if texts.is_empty() {
        return Err(Failure::invalid("input: expected at least one text").of("input"));
    }
    let tensor =
        Shape::new(&[texts.len()]).map_err(|error| Failure::invalid(error.to_string())).and_then(
            |shape| Tensor::from_strings(shape, texts).map_err(|e| Failure::invalid(e.to_string())),
        )?;
    let format = wire.encoding_format.unwrap_or_default();
    Ok(ParsedRequest { model: wire.model, texts: tensor, format, dimensions: wire.dimensions })
}

/// Where texts go in and vectors come out.
///
/// # Errors
/// 400 if the model is no embedding model.
fn ports(model: &ModelMetadata) -> Result<Ports, Failure> {
    let is = |tensor: &&TensorMetadata, dtype, rank| {
        let dims = tensor.shape.as_deref();
        tensor.dtype == Some(dtype) && dims.is_none_or(|dims| dims.len() == rank)
    };
    let mut outputs = model.outputs.iter().filter(|output| is(output, DType::F32, 2));
    let (inputs, output) = (model.inputs.as_slice(), outputs.next());
    let ([input], Some(output), None) = (inputs, output, outputs.next()) else {
        return Err(no_embeddings(model));
    };
    if !is(&input, DType::Bytes, 1) {
        return Err(no_embeddings(model));
    }
    let length = output.shape.as_deref().and_then(|dims| u64::try_from(dims[1]).ok());
    Ok(Ports { input: input.name.to_string(), output: output.name.clone(), length })
}

fn no_embeddings(model: &ModelMetadata) -> Failure {
    let message = format!(
        "model {} makes no embeddings: that takes one BYTES [batch] input and one FP32 [batch, n] \
         output",
        model.name
    );
    Failure::invalid(message).of("model")
}

fn check_dimensions(asked: Option<u64>, length: Option<u64>) -> Result<(), Failure> {
    match (asked, length) {
        (Some(asked), Some(length)) if asked != length => {
            let message = format!("dimensions: this model has {length}, got {asked}; leave it out");
            Err(Failure::invalid(message).of("dimensions"))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// The `[count, n]` output; a model that answers something else is broken.
fn vectors(response: &InferResponse, output: &str, count: usize) -> Result<Tensor, Failure> {
    let found = response.outputs.iter().find(|(name, _)| **name == *output);
    let fits = |tensor: &&Tensor| {
        tensor.dtype() == DType::F32 && tensor.shape().rank() == 2 && tensor.shape()[0] == count
    };
    found.map(|(_, tensor)| tensor).filter(fits).cloned().ok_or_else(|| {
        let got = found.map_or("nothing".to_owned(), |(_, tensor)| format!("{tensor:?}"));
        let message =
            format!("model {}: expected {output} as FP32 [{count}, n], got {got}", response.model);
        let failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "bad-output", message);
        Failure { retry: crate::failure::Retry::Never, ..failure }
    })
}

fn write(
    id: &str,
    vectors: &Tensor,
    format: EncodingFormat,
    tokens: u64,
) -> Result<Vec<u8>, Failure> {
    let per_value = match format {
        EncodingFormat::Float => 12,
        EncodingFormat::Base64 => 6,
    };
    let mut out = Vec::with_capacity(256 + vectors.shape().elements() * per_value);
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for row in 0..vectors.shape()[0] {
        if row > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"object\":\"embedding\",\"index\":");
        integer(row as u64, &mut out);
        out.extend_from_slice(b",\"embedding\":");
        let vector = vectors.rows(row..row + 1);
        match format {
            EncodingFormat::Float => floats(&vector, &mut out)?,
            EncodingFormat::Base64 => base64(vector.bytes(), &mut out),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"model\":");
    string(id, &mut out);
    out.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
    integer(tokens, &mut out);
    out.extend_from_slice(b",\"total_tokens\":");
    integer(tokens, &mut out);
    out.extend_from_slice(b"}}");
    Ok(out)
}

fn floats(vector: &Tensor, out: &mut Vec<u8>) -> Result<(), Failure> {
    let refused = |what: &str| {
        let message = format!("the embedding holds {what}; ask for encoding_format base64");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "bad-output", message)
    };
    let values = vector.as_slice::<f32>().map_err(|error| refused(&error.to_string()))?;
    for (index, &value) in values.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        float(value, out).map_err(refused)?;
    }
    out.extend_from_slice(if values.is_empty() { b"[]" } else { b"]" });
    Ok(())
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("four characters for three bytes");
    out.push(b'"');
}
