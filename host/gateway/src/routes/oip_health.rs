//! Health: the only routes without a key. The bodies satisfy both tritonclient (status 200) and
//! KServe's client (reads `.live` and `.ready`).

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{Failure, OipFailure, json, json_answer};
use crate::identity::access::Read;
use crate::router::Shared;
use aimass_engine::Family;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde::Serialize;

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

/// `GET /v2/health/live`
pub(crate) async fn live(State(gateway): Shared) -> Response<Body> {
    let live = gateway.engine.live();
    with_status(live, json(&Live { live }))
}

/// `GET /v2/health/ready`
pub(crate) async fn ready(State(gateway): Shared) -> Response<Body> {
    let ready = gateway.is_ready();
    with_status(ready, json(&Ready { ready }))
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`: 200, 400 if it cannot answer now, 404.
pub(crate) async fn model_ready(
    State(gateway): Shared,
    admitted: Admitted<Read>,
    path: ModelPath,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    let flow = gateway.admission.flow();
    let tenant = admitted.tenant();
    if let Some(reason) = flow.closed(&*gateway.engine, tenant, &path.name, &path.selector) {
        return Err(OipFailure(Failure::invalid(reason)));
    }
    match gateway.engine.model(&path.name, &path.selector) {
        Ok(_) => Ok(json_answer(json(&ModelReady { name: &path.name, ready: true }))),
        Err(error) if error.family() == Family::Unavailable => {
            Err(OipFailure(Failure::invalid(error.message())))
        }
        Err(error) => Err(error.into()),
    }
}

fn with_status(good: bool, body: Vec<u8>) -> Response<Body> {
    let mut response = json_answer(body);
    if !good {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
