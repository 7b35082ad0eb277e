//! Room 1: an HTTP body becomes an [`InferRequest`], and its answer an HTTP body.

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::body::off_thread;
use crate::failure::{Failure, JSON, OipFailure};
use crate::identity::access::Infer;
use crate::oip::request::{self, ParsedRequest};
use crate::oip::{raw, response};
use crate::router::{Gateway, Shared};
use crate::timing;
use aimass_engine::InferRequest;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response};
use std::time::Instant;
use tracing::Instrument;

const JSON_LEN: HeaderName = HeaderName::from_static("inference-header-content-length");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `POST /v2/models/{model}[/versions/{version}]/infer`
pub(crate) async fn infer(
    State(gateway): Shared,
    admitted: Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    let span = tracing::debug_span!("oip_infer", model = %path.name);
    Ok(answer(&gateway, admitted, path, request).instrument(span).await?)
}

async fn answer(
    gateway: &Gateway,
    mut admitted: Admitted<Infer>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let start = Instant::now();
    admitted.require(&path.name)?;
    let (parts, body) = request.into_parts();
    let json_len = json_len(&parts.headers)?;
    let body = gateway.bodies.read(admitted.permit(), &parts.headers, body).await?;
    let bytes = body.bytes.clone();
    let read = Instant::now();
    let parsed = if json_len == Some(0) {
        raw::parse(&gateway.engine.model(&path.name, &path.selector)?, &bytes)?
    } else {
        off_thread(bytes.len(), move || request::parse(&bytes, json_len)).await?
    };
    let ParsedRequest { id, inputs, parameters, timeout, wanted } = parsed;
    if let Some(timeout) = timeout {
        admitted.shorten(start + timeout);
    }
    let request = InferRequest {
        model: path.name,
        selector: path.selector,
        inputs,
        outputs: wanted.outputs.iter().map(|(name, _)| name.clone()).collect(),
        parameters,
        tenant: admitted.tenant().clone(),
        deadline: admitted.deadline(),
    };
    let parsing = read.elapsed();
    let response = gateway.infer(request).await?;
    let ours = [("read", read - start), ("parse", parsing)];
    let timing = timing::asked(&parts.headers).then(|| timing::header(&ours, &response));
    let size = response.outputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
    let answer =
        off_thread(size, move || response::write(&response, id.as_deref(), &wanted)).await?;
    let mut response = Response::new(Body::from(answer.body));
    let headers = response.headers_mut();
    match answer.json_len {
        None => headers.insert(CONTENT_TYPE, JSON),
        Some(len) => {
            headers.insert(JSON_LEN, HeaderValue::from(len));
            headers.insert(CONTENT_TYPE, OCTET_STREAM)
        }
    };
    if let Some(timing) = timing {
        headers.insert(timing::SERVER_TIMING, timing);
    }
    Ok(response)
}

fn json_len(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(value) = headers.get(JSON_LEN) else {
        return Ok(None);
    };
    let len = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    len.map(Some).ok_or_else(|| {
        Failure::invalid("Inference-Header-Content-Length: expected a number of bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Futures are moved as a whole: into their box, and into each that waits for them.
    const FUTURE_BYTES_MAX: usize = 8 << 10;

    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(infer);
        assert!(bytes <= FUTURE_BYTES_MAX, "{bytes} bytes, expected at most {FUTURE_BYTES_MAX}");
    }
}
