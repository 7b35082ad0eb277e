//! Triton's generate extension: flat JSON in, flat JSON or server-sent events out.

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::body::off_thread;
use crate::failure::{Failure, OipFailure, json_answer};
use crate::identity::access::Infer;
use crate::oip::generate;
use crate::router::{Gateway, Shared};
use crate::sse;
use crate::streaming::{Answers, Part};
use aimass_engine::{InferRequest, InferResponse};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use futures_util::StreamExt;
use std::convert::Infallible;
use std::time::Instant;

/// `POST /v2/models/{model}[/versions/{version}]/generate`
pub(crate) async fn generate(
    State(gateway): Shared,
    mut admitted: Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    let (request, id) = read(&gateway, &mut admitted, path, request).await?;
    let response = gateway.infer(request).await?;
    Ok(json_answer(write(response, &id).await?))
}

/// `POST /v2/models/{model}[/versions/{version}]/generate_stream`: each answer of the model is one
/// event. What goes wrong before the first event is an answer as on any other route; later it is an
/// event with `error`, the last one.
pub(crate) async fn generate_stream(
    State(gateway): Shared,
    mut admitted: Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    let (request, id) = read(&gateway, &mut admitted, path, request).await?;
    let mut events = Events { answers: gateway.infer_stream(admitted, request)?, id };
    let first = events.next().await.transpose()?;
    if events.answers.ended() {
        return Ok(sse::response(Body::from(first.unwrap_or_default())));
    }
    let rest = futures_util::stream::unfold(Some(events), |events| async {
        let mut events = events?;
        match events.next().await? {
            Ok(event) => Some((event, Some(events))),
            Err(failure) => Some((sse::event(&failure.oip_body()), None)),
        }
    });
    let all = futures_util::stream::iter(first).chain(rest);
    Ok(sse::response(Body::from_stream(all.map(Ok::<_, Infallible>))))
}

/// The events of one request.
struct Events {
    answers: Answers,
    id: Option<String>,
}

impl Events {
    async fn next(&mut self) -> Option<Result<Vec<u8>, Failure>> {
        let response = match self.answers.next().await? {
            Ok(Part::Item(item)) => item.response,
            // The items said all.
            Ok(Part::Last(response)) if response.outputs.is_empty() => return None,
            Ok(Part::Last(response)) => response,
            Err(failure) => return Some(Err(failure)),
        };
        let written = write(response, &self.id).await;
        Some(written.map(|json| sse::event(&json)))
    }
}

/// The inference that a request asks for, and its id.
async fn read(
    gateway: &Gateway,
    admitted: &mut Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<(InferRequest, Option<String>), Failure> {
    let start = Instant::now();
    admitted.require(&path.name)?;
    let (parts, body) = request.into_parts();
    let body = gateway.bodies.read(admitted.permit(), &parts.headers, body).await?;
    let model = gateway.engine.model(&path.name, &path.selector)?;
    let bytes = body.bytes.clone();
    let parsed = off_thread(bytes.len(), move || generate::parse(&model, &bytes)).await?;
    if let Some(timeout) = parsed.timeout {
        admitted.shorten(start + timeout);
    }
    let request = InferRequest {
        model: path.name,
        selector: path.selector,
        inputs: parsed.inputs,
        outputs: Vec::new(),
        parameters: parsed.parameters,
        tenant: admitted.tenant().clone(),
        deadline: admitted.deadline(),
    };
    Ok((request, parsed.id))
}

async fn write(response: InferResponse, id: &Option<String>) -> Result<Vec<u8>, Failure> {
    let size = response.outputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
    let id = id.clone();
    off_thread(size, move || generate::write(&response, id.as_deref())).await
}
