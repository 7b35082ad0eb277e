//! Metadata of the server and of models.

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{OipFailure, json, json_answer};
use crate::identity::access::Read;
use crate::oip::EXTENSIONS;
use crate::oip::model_config::datatype;
use crate::router::Shared;
use aimass_engine::{ModelMetadata, TensorMetadata};
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
}

#[derive(Serialize)]
struct ModelWire<'a> {
    name: &'a str,
    versions: Vec<String>,
    platform: &'a str,
    inputs: Vec<TensorWire<'a>>,
    outputs: Vec<TensorWire<'a>>,
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
    }
}

fn tensor(tensor: &TensorMetadata) -> TensorWire<'_> {
    let datatype = datatype(tensor);
    TensorWire { name: &tensor.name, datatype, shape: tensor.shape.as_deref().unwrap_or(&[-1]) }
}
