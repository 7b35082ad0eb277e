//! Triton's generate extension: flat JSON in, flat JSON or server-sent events out.

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::body::off_thread;
use crate::failure::{Failure, OipFailure, json_answer};
use crate::identity::access::Infer;
use crate::oip::generate;
use crate::router::{Gateway, Shared};
use crate::sse;
use aimass_engine::InferRequest;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use std::time::Instant;

/// `POST /v2/models/{model}[/versions/{version}]/generate`
pub(crate) async fn generate(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    Ok(json_answer(answer(&gateway, admitted, path, request).await?))
}

/// `POST /v2/models/{model}[/versions/{version}]/generate_stream`: each answer of the model is one
/// event. What goes wrong before the first event is an answer as on any other route.
pub(crate) async fn generate_stream(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    let answer = answer(&gateway, admitted, path, request).await?;
    Ok(sse::response(Body::from(sse::event(&answer))))
}

async fn answer(
    gateway: &Gateway,
    mut admitted: Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<Vec<u8>, Failure> {
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
    let response = gateway
        .infer(InferRequest {
            model: path.name,
            selector: path.selector,
            inputs: parsed.inputs,
            outputs: Vec::new(),
            parameters: parsed.parameters,
            tenant: admitted.tenant().clone(),
            deadline: admitted.deadline(),
        })
        .await?;
    let size = response.outputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
    off_thread(size, move || generate::write(&response, parsed.id.as_deref())).await
}
