//! `GET /v1/models` and `GET /v1/models/{id}` of the OpenAI API.

use super::model_path::model_id;
use crate::admission::Admitted;
use crate::failure::{Failure, OpenAiFailure, json, json_answer};
use crate::identity::access::{Operate, Read};
use crate::router::{Gateway, Shared};
use aimass_engine::{EngineError, Family, ModelMetadata};
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use std::borrow::Cow;

#[derive(Serialize)]
struct ModelWire<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

#[derive(Serialize)]
struct ListWire<'a> {
    object: &'static str,
    data: Vec<ModelWire<'a>>,
}

/// `GET /v1/models`: the models that the key may use.
pub(crate) async fn list(State(gateway): Shared, admitted: Admitted<Read>) -> Response<Body> {
    let mut models = gateway.engine.models();
    models.retain(|model| admitted.may_use(&model.name));
    let data = models.iter().map(|model| wire(&model.name, model)).collect();
    json_answer(json(&ListWire { object: "list", data }))
}

/// `GET /v1/models/{id}`: `name`, `name@label` or `name@version`.
pub(crate) async fn retrieve(
    State(gateway): Shared,
    admitted: Admitted<Read>,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, OpenAiFailure> {
    let params = params.map_err(|error| Failure::invalid(error.to_string()).of("model"))?;
    let id = params.iter().next().map_or("", |(_, value)| value);
    let model = find(&gateway, &admitted, id)?;
    Ok(json_answer(json(&wire(id, &model))))
}

/// `DELETE /v1/models/{id}`: refused, since a model goes as it came.
pub(crate) async fn refuse_delete(
    State(gateway): Shared,
    admitted: Admitted<Operate>,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> OpenAiFailure {
    let params = params.map_err(|error| Failure::invalid(error.to_string()).of("model"));
    let found = params.and_then(|params| {
        find(&gateway, &admitted, params.iter().next().map_or("", |(_, value)| value))
    });
    OpenAiFailure(found.err().unwrap_or_else(|| {
        let message = "models are not deleted over this API; the operator moves labels and rolls \
                       back with `aimass model`";
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "not-over-http", message)
    }))
}

/// The model of an OpenAI `model` field, if the key may use it.
pub(crate) fn find<V>(
    gateway: &Gateway,
    admitted: &Admitted<V>,
    id: &str,
) -> Result<ModelMetadata, Failure> {
    let path = model_id(id).map_err(|failure| failure.of("model"))?;
    admitted.require(&path.name).map_err(|failure| failure.of("model"))?;
    gateway.engine.model(&path.name, &path.selector).map_err(of_model)
}

/// OpenAI's words for a model that is not there.
fn of_model(error: EngineError) -> Failure {
    let missing = error.family() == Family::NotFound;
    let failure = Failure::from(error).of("model");
    if missing { Failure { code: Cow::Borrowed("model-not-found"), ..failure } } else { failure }
}

fn wire<'a>(id: &'a str, model: &'a ModelMetadata) -> ModelWire<'a> {
    ModelWire { id, object: "model", created: model.created, owned_by: &model.publisher }
}
