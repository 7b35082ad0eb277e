//! Health: the only routes without a key. The bodies satisfy both tritonclient (status 200) and
//! KServe's client (reads `.live` and `.ready`).

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{Failure, OipFailure, json, json_answer};
use crate::identity::access::Read;
use crate::router::{Recognized, Shared};
use aimass_engine::{Family, TrustState};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde::Serialize;

/// Reasons that an answer gives.
const REASONS_MAX: usize = 16;
/// Characters of each.
const REASON_CHARS_MAX: usize = 300;

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    /// Devices that were lost: models answer, on the CPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_devices: Vec<String>,
    /// Why no model runs on a GPU, where none was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_only: Option<String>,
    /// `stale`, when metadata of a marketplace has expired: models answer, for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<&'static str>,
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

/// `GET /v2/health/ready`: 200, or 503 with the reasons, one sentence each. Names are for those who
/// may read them.
pub(crate) async fn ready(State(gateway): Shared, asker: Recognized) -> Response<Body> {
    let mut reasons: Vec<String> = Vec::new();
    for reason in gateway.unready() {
        let said = short(asker.reads(reason));
        if reasons.len() < REASONS_MAX && !reasons.contains(&said) {
            reasons.push(said);
        }
    }
    let ready = reasons.is_empty();
    let devices = if asker.may_read() { gateway.engine.devices() } else { Vec::new() };
    let (working, lost): (Vec<_>, Vec<_>) = devices.into_iter().partition(|device| device.works);
    let lost_devices = lost.into_iter().map(|device| device.device).collect();
    let cpu_only = working.into_iter().find(|device| device.device == "cpu");
    let cpu_only = cpu_only.and_then(|device| device.reason).map(short);
    let trust = gateway.engine.trust_state();
    let trust = (trust == TrustState::Stale && asker.may_read()).then_some(trust.as_str());
    with_status(ready, json(&Ready { ready, reasons, lost_devices, cpu_only, trust }))
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
        Ok(_) if gateway.telemetry.failing().is_some() => {
            let reason = gateway.telemetry.failing().unwrap_or_default();
            Err(OipFailure(Failure::invalid(format!(
                "model {} cannot answer: {reason}",
                path.name
            ))))
        }
        Ok(_) => Ok(json_answer(json(&ModelReady { name: &path.name, ready: true }))),
        Err(error) if error.family() == Family::Unavailable => {
            Err(OipFailure(Failure::invalid(error.message())))
        }
        Err(error) => Err(error.into()),
    }
}

fn short(reason: String) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

fn with_status(good: bool, body: Vec<u8>) -> Response<Body> {
    let mut response = json_answer(body);
    if !good {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
