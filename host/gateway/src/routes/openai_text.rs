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
use crate::streaming::{Answers, Part};
use aimass_engine::{InferRequest, InferResponse, ModelMetadata, Selector};
use aimass_tensor::{DType, Shape, Strings, Tensor};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use futures_util::StreamExt;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::Instrument;

/// `POST /v1/chat/completions`
pub(crate) async fn chat(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    request: Request,
) -> Result<Response<Body>, OpenAiFailure> {
    let span = tracing::debug_span!("openai_text");
    Ok(answer(&gateway, admitted, Kind::Chat, request).instrument(span).await?)
}

/// `POST /v1/completions`
pub(crate) async fn completions(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    request: Request,
) -> Result<Response<Body>, OpenAiFailure> {
    let span = tracing::debug_span!("openai_text");
    Ok(answer(&gateway, admitted, Kind::Completion, request).instrument(span).await?)
}

async fn answer(
    gateway: &Arc<Gateway>,
    admitted: Admitted<Infer>,
    kind: Kind,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let body = gateway.bodies.read(admitted.permit(), &parts.headers, body).await?;
    let wanted = TextRequest::parse(kind, &body.bytes)?;
    let model = find(gateway, &admitted, &wanted.model)?;
    check(&model, kind)?;
    let infer = InferRequest {
        model: model.name.to_string(),
        // The version whose signature was read, even if a label moves meanwhile.
        selector: Selector::Version(model.version),
        inputs: vec![(kind.input().to_owned(), one(&wanted.text)?)],
        outputs: Vec::new(),
        parameters: wanted.parameters,
        tenant: admitted.tenant().clone(),
        deadline: admitted.deadline(),
    };
    let mut answer = Answer {
        kind,
        id: kind.id()?,
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        model: wanted.model,
        text: String::new(),
        finish_reason: "stop".to_owned(),
        tokens: 0,
        include_usage: wanted.include_usage,
    };
    if wanted.stream {
        let answers = gateway.infer_stream(admitted, infer)?;
        return stream(Chunks { answers, answer, sent: 0 }).await;
    }
    let response = gateway.infer(infer).await?;
    answer.text = text(&response, "text")?.ok_or_else(|| bad_output("no output `text`"))?;
    answer.take(&response)?;
    Ok(json_answer(answer.whole()))
}

/// What goes wrong before the first event is an answer as without a stream; later it is an event.
async fn stream(mut chunks: Chunks) -> Result<Response<Body>, Failure> {
    let first = chunks.next().await.transpose()?.unwrap_or_default();
    if chunks.answers.ended() {
        return Ok(sse::response(Body::from(first)));
    }
    let rest = futures_util::stream::unfold(Some(chunks), |chunks| async {
        let mut chunks = chunks?;
        match chunks.next().await? {
            Ok(events) => Some((events, Some(chunks))),
            Err(failure) => Some((sse::event(&failure.openai_body()), None)),
        }
    });
    let all = futures_util::stream::iter([first]).chain(rest);
    Ok(sse::response(Body::from_stream(all.map(Ok::<_, Infallible>))))
}

/// The events of one request.
struct Chunks {
    answers: Answers,
    answer: Answer,
    /// Pieces so far.
    sent: usize,
}

impl Chunks {
    async fn next(&mut self) -> Option<Result<Vec<u8>, Failure>> {
        let part = self.answers.next().await?;
        Some(part.and_then(|part| self.events(part)))
    }

    fn events(&mut self, part: Part) -> Result<Vec<u8>, Failure> {
        let (response, is_last) = match part {
            Part::Item(item) => (item.response, false),
            Part::Last(response) => (response, true),
        };
        self.answer.take(&response)?;
        let mut events = match text(&response, "text")? {
            Some(text) => self.answer.piece(&text, self.sent == 0),
            None if self.sent == 0 && is_last => return Err(bad_output("no output `text`")),
            None => Vec::new(),
        };
        self.sent += usize::from(!events.is_empty());
        if is_last {
            events.extend(self.answer.ending());
        }
        Ok(events)
    }
}

impl Answer {
    /// Takes over what a response says besides its text.
    fn take(&mut self, response: &InferResponse) -> Result<(), Failure> {
        if let Some(reason) = text(response, "finish_reason")? {
            self.finish_reason = reason;
        }
        self.tokens = response.usage.tokens.unwrap_or(self.tokens);
        Ok(())
    }
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
