//! `POST /v1/chat/completions` and `POST /v1/completions` of the OpenAI API: text out, whole or as
//! server-sent events.
//!
//! A model that chats has a `BYTES` input `messages`, one element: the JSON array of messages as it
//! was sent. A model that completes has a `BYTES` input `prompt`, one element. Both answer a `BYTES`
//! output `text` of one element, and may answer `finish_reason`, one element too. Other fields of the
//! request that are scalars reach the model as parameters. Tokens are counted by the model's package.

use super::openai_models::find;
use super::openai_text_wire::{Answer, Kind, TextRequest};
use crate::admission::Admitted;
use crate::failure::{Failure, OpenAiFailure, json_answer};
use crate::identity::access::Infer;
use crate::router::{Gateway, Shared};
use crate::sse;
use aimass_engine::{InferRequest, InferResponse, ModelMetadata, Selector};
use aimass_tensor::{DType, Shape, Strings, Tensor};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::Instrument;

/// `POST /v1/chat/completions`
pub(crate) async fn chat(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    request: Request,
) -> Result<Response<Body>, OpenAiFailure> {
    let span = tracing::debug_span!("openai_text");
    Ok(answer(&gateway, &admitted, Kind::Chat, request).instrument(span).await?)
}

/// `POST /v1/completions`
pub(crate) async fn completions(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    request: Request,
) -> Result<Response<Body>, OpenAiFailure> {
    let span = tracing::debug_span!("openai_text");
    Ok(answer(&gateway, &admitted, Kind::Completion, request).instrument(span).await?)
}

async fn answer(
    gateway: &Gateway,
    admitted: &Admitted<Infer>,
    kind: Kind,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let body = gateway.bodies.read(&parts.headers, body).await?;
    let wanted = TextRequest::parse(kind, &body.bytes)?;
    let model = find(gateway, admitted, &wanted.model)?;
    check(&model, kind)?;
    let response = gateway
        .infer(InferRequest {
            model: model.name.to_string(),
            // The version whose signature was read, even if a label moves meanwhile.
            selector: Selector::Version(model.version),
            inputs: vec![(kind.input().to_owned(), one(&wanted.text)?)],
            outputs: Vec::new(),
            parameters: wanted.parameters,
            tenant: admitted.tenant().clone(),
            deadline: admitted.deadline(),
        })
        .await?;
    let text = text(&response, "text")?.ok_or_else(|| bad_output("no output `text`"))?;
    let reason = text_of_reason(&response)?;
    let answer = Answer {
        kind,
        id: kind.id()?,
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        model: wanted.model,
        text,
        finish_reason: reason,
        tokens: response.usage.tokens.unwrap_or(0),
    };
    if !wanted.stream {
        return Ok(json_answer(answer.whole()));
    }
    Ok(sse::response(Body::from(answer.events(wanted.include_usage))))
}

fn text_of_reason(response: &InferResponse) -> Result<String, Failure> {
    Ok(text(response, "finish_reason")?.unwrap_or_else(|| "stop".to_owned()))
}

/// Refuses a model that does not make text.
fn check(model: &ModelMetadata, kind: Kind) -> Result<(), Failure> {
    let has = |tensors: &[aimass_engine::TensorMetadata], name: &str| {
        let text = |dtype: Option<DType>| dtype.is_none_or(|dtype| dtype == DType::Bytes);
        tensors.iter().any(|tensor| *tensor.name == *name && text(tensor.dtype))
    };
    if has(&model.inputs, kind.input()) && has(&model.outputs, "text") {
        return Ok(());
    }
    let message = format!(
        "model {} {}: that takes a BYTES input `{}` and a BYTES output `text`",
        model.name,
        kind.refusal(),
        kind.input()
    );
    Err(Failure::invalid(message).of("model"))
}

fn one(text: &str) -> Result<Tensor, Failure> {
    let fault = |error: String| Failure::invalid(error);
    let shape = Shape::new(&[1]).map_err(|error| fault(error.to_string()))?;
    let strings = Strings::from_slices(&[text]).map_err(|error| fault(error.to_string()))?;
    Tensor::from_strings(shape, strings).map_err(|error| fault(error.to_string()))
}

/// The one string of an output.
fn text(response: &InferResponse, name: &str) -> Result<Option<String>, Failure> {
    let Some((_, tensor)) = response.outputs.iter().find(|(output, _)| **output == *name) else {
        return Ok(None);
    };
    let strings = tensor.strings().filter(|strings| strings.len() == 1);
    let strings = strings.ok_or_else(|| bad_output("an output that is not one string"))?;
    match std::str::from_utf8(strings.get(0)) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(bad_output("text that is not UTF-8")),
    }
}

fn bad_output(what: &str) -> Failure {
    let message = format!("the model answered {what}");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "bad-output", message)
}
