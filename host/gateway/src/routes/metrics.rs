//! `GET /metrics`: the engine's and the gateway's metrics in the Prometheus text format.

use crate::admission::Admitted;
use crate::failure::OipFailure;
use crate::identity::access::{Operate, Read};
use crate::router::{Gateway, Shared};
use aimass_telemetry::metrics::{Page, write_process};
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};

/// `GET /metrics`: for everybody who may see all models.
pub(crate) async fn metrics(
    State(gateway): Shared,
    admitted: Admitted<Read>,
) -> Result<Response<Body>, OipFailure> {
    admitted.require_all_models()?;
    Ok(text(&gateway))
}

/// `GET /admin/v1/metrics`
pub(crate) async fn all(State(gateway): Shared, _admitted: Admitted<Operate>) -> Response<Body> {
    text(&gateway)
}

fn text(gateway: &Gateway) -> Response<Body> {
    let mut text = gateway.engine.metrics_text();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut page = Page::default();
    gateway.counters.write(gateway.admission.in_flight(), gateway.bodies.bytes(), &mut page);
    gateway.telemetry.write_metrics(&mut page);
    write_process(&mut page);
    text.push_str(&page.into_text());
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
