//! Who is asking: what a request shows becomes a [`Principal`], or 401.

pub(crate) mod access;
mod api_keys;
mod key_file;
mod lifetime;
mod refusal;
mod roles;
mod tenants;

pub(crate) use api_keys::ApiKeys;
pub use key_file::{
    ApiKeyError, ApiKeyFile, ApiKeyRecord, ApiKeyState, NewApiKey, append_api_key, generate_api_key,
};
pub use lifetime::{LifetimeError, parse_lifetime};
pub use roles::{Role, UnknownRole, Verb};

use crate::failure::Failure;
use crate::flow::Tenant;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use refusal::Refusal;
use roles::Verbs;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Somebody whose credentials were checked.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// Who is charged.
    pub(crate) tenant: Arc<Tenant>,
    /// Models that it may see; absent for all.
    pub(crate) models: Option<Arc<[String]>>,
    /// What it may do.
    pub(crate) verbs: Verbs,
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
        let found = bearer(headers).and_then(|text| Ok(self.keys.check(text, now, wall)?));
        found.map_err(Refusal::failure)
    }
}

impl Principal {
    /// Whether this model may be seen at all.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|one| one == model))
    }

    /// 403 unless it may do this.
    pub(crate) fn require(&self, verb: Verb) -> Result<(), Failure> {
        if self.verbs.contains(verb) {
            return Ok(());
        }
        let message = format!("this needs `{}`; your roles allow {}", verb.as_str(), self.verbs);
        let failure = Failure::new(StatusCode::FORBIDDEN, "forbidden", message);
        Err(Failure { challenge: Some(r#"Bearer error="insufficient_scope""#), ..failure })
    }
}

/// The credential of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Ambiguous);
    }
    let text = value.to_str().map_err(|_| Refusal::NotBearer)?;
    let (scheme, credential) = text.split_once(' ').ok_or(Refusal::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::NotBearer);
    }
    Ok(credential.trim())
}
