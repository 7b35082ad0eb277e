//! The configuration of a model, in the JSON form of Triton's `ModelConfig`.

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{OipFailure, json, json_answer};
use crate::identity::access::Read;
use crate::oip::model_config::{self, DATA_TYPES};
use crate::router::Shared;
use aimass_engine::TensorMetadata;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct ConfigWire<'a> {
    name: &'a str,
    platform: &'a str,
    backend: &'static str,
    version_policy: PolicyWire<'a>,
    /// 0: the first extent of a tensor is part of its shape, and calls are joined by the server.
    max_batch_size: u32,
    input: Vec<TensorWire>,
    output: Vec<TensorWire>,
    parameters: BTreeMap<String, ParameterWire>,
}

#[derive(Serialize)]
struct PolicyWire<'a> {
    specific: VersionsWire<'a>,
}

#[derive(Serialize)]
struct VersionsWire<'a> {
    versions: &'a [u64],
}

#[derive(Serialize)]
struct TensorWire {
    name: String,
    data_type: &'static str,
    dims: Vec<i64>,
}

#[derive(Serialize)]
struct ParameterWire {
    string_value: String,
}

/// `GET /v2/models/{model}[/versions/{version}]/config`
pub(crate) async fn config(
    State(gateway): Shared,
    admitted: Admitted<Read>,
    path: ModelPath,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    let model = gateway.engine.model(&path.name, &path.selector)?;
    let labels = model.labels.iter().map(|(label, version)| {
        let string_value = version.to_string();
        (format!("label.{label}"), ParameterWire { string_value })
    });
    Ok(json_answer(json(&ConfigWire {
        name: &model.name,
        platform: &model.platform,
        backend: "aimass",
        version_policy: PolicyWire { specific: VersionsWire { versions: &model.versions } },
        max_batch_size: 0,
        input: model.inputs.iter().map(tensor).collect(),
        output: model.outputs.iter().map(tensor).collect(),
        parameters: labels.collect(),
    })))
}

fn tensor(tensor: &TensorMetadata) -> TensorWire {
    let config = model_config::tensor(tensor);
    let data_type = DATA_TYPES[config.data_type as usize];
    TensorWire { name: config.name, data_type, dims: config.dims }
}
