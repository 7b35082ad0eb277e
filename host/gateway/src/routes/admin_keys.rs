//! API keys over the admin listener: the same operations as `aimass key`.
//!
//! A new key is in the answer and nowhere else; hashes are in no answer.

use super::control_body;
use crate::admission::Admitted;
use crate::failure::{Failure, ProblemFailure, json, json_answer};
use crate::identity::access::Administer;
use crate::identity::{
    ApiKeyError, ApiKeyFile, ApiKeyRecord, ApiKeyState, NewApiKey, Role, duration_seconds,
    parse_lifetime,
};
use crate::router::{Gateway, Shared};
use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateWire {
    tenant: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    roles: Vec<Role>,
    models: Option<Vec<String>>,
    expires: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RotateWire {
    grace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RevokeWire {
    forget: bool,
}

#[derive(Serialize)]
struct KeyWire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    id: &'a str,
    tenant: &'a str,
    name: &'a str,
    roles: &'a [Role],
    models: Option<&'a [String]>,
    state: ApiKeyState,
    created: Option<String>,
    expires: Option<String>,
    revoked: Option<String>,
}

#[derive(Serialize)]
struct ListWire<'a> {
    keys: Vec<KeyWire<'a>>,
}

/// `GET /admin/v1/keys`
pub(crate) async fn list(
    State(gateway): Shared,
    _admitted: Admitted<Administer>,
) -> Result<Response<Body>, ProblemFailure> {
    let records = on_file(&gateway, |file, _| file.list()).await?;
    let now = now();
    let keys = records.iter().map(|record| wire(record, None, now)).collect();
    Ok(json_answer(json(&ListWire { keys })))
}

/// `POST /admin/v1/keys`: 201 with the new key.
pub(crate) async fn create(
    State(gateway): Shared,
    admitted: Admitted<Administer>,
    request: Request,
) -> Result<Response<Body>, ProblemFailure> {
    let wire: CreateWire = control_body(&gateway, admitted.permit(), request).await?;
    let lifetime = wire.expires.as_deref().map(|text| parse_lifetime(text, now())).transpose();
    let expires = lifetime.map_err(|error| Failure::invalid(format!("expires: {error}")))?;
    let new = NewApiKey {
        tenant: wire.tenant,
        name: wire.name,
        roles: wire.roles,
        models: wire.models,
        expires: expires.flatten(),
    };
    let made = on_file(&gateway, move |file, now| file.create(&new, now)).await?;
    tracing::info!(by = %admitted.tenant(), id = made.1.id, "API key made");
    Ok(answer(StatusCode::CREATED, &made.1, Some(&made.0)))
}

/// `POST /admin/v1/keys/{id}/rotate`: 201 with the new key; the old one ends after `grace`.
pub(crate) async fn rotate(
    State(gateway): Shared,
    admitted: Admitted<Administer>,
    params: RawPathParams,
    request: Request,
) -> Result<Response<Body>, ProblemFailure> {
    let id = id(&params);
    let wire: RotateWire = control_body(&gateway, admitted.permit(), request).await?;
    let text = wire.grace.as_deref().unwrap_or("1h");
    let wrong = || Failure::invalid("grace: expected a duration such as 0s, 30m, 1h or 7d");
    let grace = duration_seconds(text).ok_or_else(wrong)?;
    let old = id.clone();
    let made = on_file(&gateway, move |file, now| file.rotate(&id, grace, now)).await?;
    tracing::info!(by = %admitted.tenant(), id = old, new = made.1.id, "API key rotated");
    Ok(answer(StatusCode::CREATED, &made.1, Some(&made.0)))
}

/// `POST /admin/v1/keys/{id}/revoke`
pub(crate) async fn revoke(
    State(gateway): Shared,
    admitted: Admitted<Administer>,
    params: RawPathParams,
    request: Request,
) -> Result<Response<Body>, ProblemFailure> {
    let id = id(&params);
    let wire: RevokeWire = control_body(&gateway, admitted.permit(), request).await?;
    let record = on_file(&gateway, move |file, now| file.revoke(&id, wire.forget, now)).await?;
    tracing::info!(by = %admitted.tenant(), id = record.id, "API key revoked");
    Ok(answer(StatusCode::OK, &record, None))
}

fn id(params: &RawPathParams) -> String {
    params.iter().next().map_or_else(String::new, |(_, id)| id.to_owned())
}

/// Works on the key file, off the threads that serve, and makes what changed count at once.
async fn on_file<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    work: impl FnOnce(&ApiKeyFile, u64) -> Result<T, ApiKeyError> + Send + 'static,
) -> Result<T, Failure> {
    let shared = gateway.clone();
    let done = tokio::task::spawn_blocking(move || {
        let file = ApiKeyFile::new(&shared.config.api_keys);
        let done = work(&file, now());
        if let Err(error) = shared.admission.identity().api_keys().reload() {
            tracing::error!(%error, "the API keys stay as they were");
        }
        done
    });
    let done = done.await.map_err(|error| Failure::overloaded(error.to_string()))?;
    done.map_err(failure)
}

fn failure(error: ApiKeyError) -> Failure {
    let message = error.to_string();
    match error {
        ApiKeyError::Record { .. } => Failure::invalid(message),
        ApiKeyError::Unknown { .. } => Failure::new(StatusCode::NOT_FOUND, "unknown-key", message),
        ApiKeyError::File { .. } | ApiKeyError::Format { .. } | ApiKeyError::Random(_) => {
            tracing::error!(message, "API keys");
            let message = "the API keys cannot be changed now; the server's log says why";
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "key-file", message)
        }
    }
}

fn answer(status: StatusCode, record: &ApiKeyRecord, key: Option<&str>) -> Response<Body> {
    let mut response = json_answer(json(&wire(record, key, now())));
    *response.status_mut() = status;
    response
}

fn wire<'a>(record: &'a ApiKeyRecord, key: Option<&'a str>, now: u64) -> KeyWire<'a> {
    let text = |time: &Option<_>| time.as_ref().map(ToString::to_string);
    KeyWire {
        key,
        id: &record.id,
        tenant: &record.tenant,
        name: &record.name,
        roles: record.roles(),
        models: record.models.as_deref(),
        state: record.state(now),
        created: text(&record.created),
        expires: text(&record.expires),
        revoked: text(&record.revoked),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
