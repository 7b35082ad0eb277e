//! Log and trace settings, read and changed while the server runs.

use super::control_body;
use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{Failure, OipFailure, json, json_answer};
use crate::flow::Permit;
use crate::identity::access::{Operate, Read};
use crate::oip::settings::{self, LogSetting};
use crate::router::{Gateway, Shared};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde_json::{Map, Value};

/// Settings by name, as clients send them.
type Fields = Map<String, Value>;

/// `GET /v2/logging`
pub(crate) async fn log(State(gateway): Shared, _admitted: Admitted<Read>) -> Response<Body> {
    log_answer(&gateway)
}

/// `POST /v2/logging`
pub(crate) async fn set_log(
    State(gateway): Shared,
    admitted: Admitted<Operate>,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    let wanted = control_body::<Fields>(&gateway, admitted.permit(), request)
        .await?
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Bool(value) => LogSetting::Bool(value),
                Value::String(value) => LogSetting::Text(value),
                Value::Number(number) => {
                    let number = number.as_u64();
                    LogSetting::Number(
                        number.ok_or_else(|| wrong(&name, "a number of 0 and more"))?,
                    )
                }
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(wrong(&name, "true, false, a number or a string"));
                }
            };
            Ok((name, value))
        });
    let wanted: Vec<(String, LogSetting)> = wanted.collect::<Result<_, Failure>>()?;
    settings::set_log(&*gateway.observation, wanted)?;
    Ok(log_answer(&gateway))
}

/// `GET /v2/trace/setting`
pub(crate) async fn trace(State(gateway): Shared, _admitted: Admitted<Read>) -> Response<Body> {
    trace_answer(&gateway)
}

/// `POST /v2/trace/setting`
pub(crate) async fn set_trace(
    State(gateway): Shared,
    admitted: Admitted<Operate>,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    change_trace(&gateway, admitted.permit(), request).await
}

/// `GET /v2/models/{model}/trace/setting`: those of the server, which hold for every model.
pub(crate) async fn model_trace(
    State(gateway): Shared,
    admitted: Admitted<Read>,
    path: ModelPath,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    gateway.engine.model(&path.name, &path.selector)?;
    Ok(trace_answer(&gateway))
}

/// `POST /v2/models/{model}/trace/setting`: refused, since one setting holds for every model.
pub(crate) async fn set_model_trace(
    State(gateway): Shared,
    admitted: Admitted<Operate>,
    path: ModelPath,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    gateway.engine.model(&path.name, &path.selector)?;
    if control_body::<Fields>(&gateway, admitted.permit(), request)
        .await?
        .values()
        .all(Value::is_null)
    {
        return Ok(trace_answer(&gateway));
    }
    Err(OipFailure(settings::model_trace()))
}

async fn change_trace(
    gateway: &Gateway,
    permit: &Permit,
    request: Request,
) -> Result<Response<Body>, OipFailure> {
    for (name, value) in control_body::<Fields>(gateway, permit, request).await? {
        let values = match &value {
            // Clears a setting: back to its default.
            Value::Null => Vec::new(),
            Value::String(one) => vec![one.as_str()],
            Value::Array(many) => {
                let texts: Option<Vec<&str>> = many.iter().map(Value::as_str).collect();
                texts.ok_or_else(|| wrong(&name, "a string or a list of strings"))?
            }
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(wrong(&name, "a string or a list of strings").into());
            }
        };
        settings::set_trace(&*gateway.observation, &name, &values)?;
    }
    Ok(trace_answer(gateway))
}

fn log_answer(gateway: &Gateway) -> Response<Body> {
    let wire = settings::log(&*gateway.observation).into_iter().map(|(name, value)| {
        let value = match value {
            LogSetting::Bool(value) => Value::from(value),
            LogSetting::Number(value) => Value::from(value),
            LogSetting::Text(value) => Value::from(value),
        };
        (name.to_owned(), value)
    });
    json_answer(json(&wire.collect::<Map<_, _>>()))
}

fn trace_answer(gateway: &Gateway) -> Response<Body> {
    let wire = settings::trace(&*gateway.observation).into_iter().map(|(name, value)| {
        let value = if name == "trace_level" { Value::from(vec![value]) } else { value.into() };
        (name.to_owned(), value)
    });
    json_answer(json(&wire.collect::<Map<_, _>>()))
}

fn wrong(name: &str, expected: &str) -> Failure {
    let name: String = name.chars().take(128).collect();
    Failure::invalid(format!("{name}: expected {expected}"))
}
