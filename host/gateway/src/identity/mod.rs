//! Who is asking: what a request shows becomes a [`Principal`], or 401.

mod api_keys;

pub use api_keys::{ApiKeyError, ApiKeyRecord, ApiKeys, append_api_key, generate_api_key};

use crate::failure::Failure;
use crate::flow::Tenant;
use api_keys::KeyFault;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Somebody whose key was checked.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// Who is charged.
    pub(crate) tenant: Arc<Tenant>,
    /// Models that it may see; absent for all.
    pub(crate) models: Option<Arc<[String]>>,
}

/// Everything that can tell who is asking.
pub(crate) struct Identity {
    keys: ApiKeys,
}

impl Identity {
    pub(crate) fn new(keys: ApiKeys) -> Identity {
        Identity { keys }
    }

    /// Who sent these headers, or 401.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Principal, Failure> {
        let key = self.keys.check(bearer(headers)?, now, wall).map_err(|fault| match fault {
            KeyFault::Unknown => denied("unknown API key"),
            KeyFault::Expired => denied("this API key has expired; ask for a new one"),
        })?;
        Ok(Principal { tenant: key.tenant, models: key.models })
    }
}

impl Principal {
    /// Whether this model may be seen at all.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|one| one == model))
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let missing = "no API key; send the header `Authorization: Bearer am_...`";
    let value = headers.get(AUTHORIZATION).ok_or_else(|| denied(missing))?;
    let text = value.to_str().map_err(|_| denied(missing))?;
    let (scheme, key) = text.split_once(' ').ok_or_else(|| denied(missing))?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(key.trim()) } else { Err(denied(missing)) }
}

fn denied(message: &str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "invalid-api-key", message)
}
