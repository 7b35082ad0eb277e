//! The repository as Triton's extension sees it: index, load, unload.

use super::control_body;
use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{Failure, OipFailure, json, json_answer};
use crate::flow::Permit;
use crate::identity::access::{Operate, Read};
use crate::oip::settings;
use crate::router::{Gateway, Shared};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct IndexWire {
    name: String,
    version: String,
    state: &'static str,
    reason: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct IndexRequest {
    ready: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LoadRequest {
    parameters: BTreeMap<String, IgnoredAny>,
}

/// `POST /v2/repository/index`: every version of the models that the key may use, or with
/// `{"ready": true}` those that can answer now.
pub(crate) async fn index(
    State(gateway): Shared,
    admitted: Admitted<Read>,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    let wanted: IndexRequest = control_body(&gateway, admitted.permit(), request).await?;
    let mut rows = gateway.engine.versions();
    rows.retain(|row| admitted.may_use(&row.model) && (!wanted.ready || settings::is_ready(row)));
    let rows = rows.into_iter().map(|row| IndexWire {
        name: row.model.to_string(),
        version: row.version.to_string(),
        state: settings::state(&row),
        reason: row.reason,
    });
    Ok(json_answer(json(&rows.collect::<Vec<_>>())))
}

/// `POST /v2/repository/models/{model}/load`: answers once the model can.
pub(crate) async fn load(
    State(gateway): Shared,
    admitted: Admitted<Operate>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    without_parameters(&gateway, admitted.permit(), request).await?;
    gateway.engine.load(&path.name, admitted.deadline()).await?;
    Ok(json_answer(Vec::from(b"{}")))
}

/// `POST /v2/repository/models/{model}/unload`: new requests are refused, those inside finish.
pub(crate) async fn unload(
    State(gateway): Shared,
    admitted: Admitted<Operate>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    without_parameters(&gateway, admitted.permit(), request).await?;
    gateway.engine.unload(&path.name)?;
    Ok(json_answer(Vec::from(b"{}")))
}

async fn without_parameters(
    gateway: &Gateway,
    permit: &Permit,
    request: Request,
) -> Result<(), Failure> {
    let LoadRequest { parameters } = control_body(gateway, permit, request).await?;
    match parameters.keys().find(|name| *name != "unload_dependents") {
        Some(name) => Err(settings::load_parameter(name)),
        None => Ok(()),
    }
}
