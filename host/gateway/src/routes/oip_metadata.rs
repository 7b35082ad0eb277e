//! Metadata of the server and of models.

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{OipFailure, json, json_answer};
use crate::identity::access::Read;
use crate::oip::EXTENSIONS;
use crate::oip::model_config::datatype;
use crate::router::Shared;
use aimass_engine::{DeviceStatus, ModelMetadata, TensorMetadata};
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde::Serialize;

#[derive(Serialize)]
struct ServerWire {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 9],
    /// How fresh what the host knows of its marketplaces is: `local`, `fresh` or `stale`.
    trust: &'static str,
    /// What models run on.
    devices: Vec<DeviceWire>,
}

#[derive(Serialize)]
pub(super) struct DeviceWire {
    /// `cpu` or `cuda:N`.
    device: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    /// `ready`, or `lost` when plans run on the CPU instead.
    state: &'static str,
    /// Why there is no GPU, or what went wrong on it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<DeviceMemoryWire>,
    /// The compiler that fuses elementwise ops, as `NVRTC 12.9`, or `none: ` and why.
    #[serde(skip_serializing_if = "String::is_empty")]
    fusion: String,
}

#[derive(Serialize)]
struct DeviceMemoryWire {
    used_bytes: u64,
    limit_bytes: u64,
}

/// The devices as clients see them.
pub(super) fn devices(all: Vec<DeviceStatus>) -> Vec<DeviceWire> {
    let wire = |device: DeviceStatus| DeviceWire {
        memory: (device.memory_bytes_max > 0).then_some(DeviceMemoryWire {
            used_bytes: device.memory_bytes,
            limit_bytes: device.memory_bytes_max,
        }),
        device: device.device,
        name: device.name,
        state: if device.works { "ready" } else { "lost" },
        reason: device.reason,
        fusion: device.fusion,
    };
    all.into_iter().map(wire).collect()
}

#[derive(Serialize)]
struct ModelWire<'a> {
    name: &'a str,
    versions: Vec<String>,
    platform: &'a str,
    inputs: Vec<TensorWire<'a>>,
    outputs: Vec<TensorWire<'a>>,
    release: ReleaseWire<'a>,
}

/// What was checked of the version before it could serve.
#[derive(Serialize)]
struct ReleaseWire<'a> {
    /// The version that this is about.
    version: String,
    /// `publisher/name@version` as signed.
    name: &'a str,
    signed_by: &'a str,
    /// What its fixtures did at publication.
    fixtures: Option<&'a str>,
    reviewed_by: &'a [String],
    labels: Vec<&'a str>,
}

#[derive(Serialize)]
struct TensorWire<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [i64],
}

/// `GET /v2`
pub(crate) async fn server(State(gateway): Shared, _admitted: Admitted<Read>) -> Response<Body> {
    json_answer(json(&ServerWire {
        name: "aimass",
        version: env!("CARGO_PKG_VERSION"),
        extensions: EXTENSIONS,
        trust: gateway.engine.trust_state().as_str(),
        devices: devices(gateway.engine.devices()),
    }))
}

/// `GET /v2/models/{model}[/versions/{version}]`
pub(crate) async fn model(
    State(gateway): Shared,
    admitted: Admitted<Read>,
    path: ModelPath,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    let metadata = gateway.engine.model(&path.name, &path.selector)?;
    Ok(json_answer(json(&wire(&metadata))))
}

fn wire(model: &ModelMetadata) -> ModelWire<'_> {
    ModelWire {
        name: &model.name,
        versions: model.versions.iter().map(u64::to_string).collect(),
        platform: &model.platform,
        inputs: model.inputs.iter().map(tensor).collect(),
        outputs: model.outputs.iter().map(tensor).collect(),
        release: release(model),
    }
}

fn release(model: &ModelMetadata) -> ReleaseWire<'_> {
    let labels = model.labels.iter().filter(|(_, version)| **version == model.version);
    ReleaseWire {
        version: model.version.to_string(),
        name: &model.release.release,
        signed_by: &model.release.signed_by,
        fixtures: model.release.fixtures.as_deref(),
        reviewed_by: &model.release.reviewed_by,
        labels: labels.map(|(label, _)| label.as_str()).collect(),
    }
}

fn tensor(tensor: &TensorMetadata) -> TensorWire<'_> {
    let datatype = datatype(tensor);
    TensorWire { name: &tensor.name, datatype, shape: tensor.shape.as_deref().unwrap_or(&[-1]) }
}
