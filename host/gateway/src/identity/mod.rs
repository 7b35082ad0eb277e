//! Who is asking: what a request shows becomes a [`Principal`], or 401.

pub(crate) mod access;
mod api_keys;
mod certificates;
pub mod fuzzing;
pub(crate) mod jwt;
mod key_file;
mod lifetime;
mod refusal;
mod roles;
mod settings;
mod stamp;
mod tenants;

pub(crate) use api_keys::ApiKeys;
pub use jwt::IssuerError;
pub(crate) use jwt::IssuerStatus;
pub use key_file::{
    ApiKeyError, ApiKeyFile, ApiKeyRecord, ApiKeyState, NewApiKey, append_api_key, generate_api_key,
};
pub(crate) use lifetime::duration_seconds;
pub use lifetime::{LifetimeError, parse_lifetime};
pub use roles::{Role, UnknownRole, Verb};
pub use settings::{Algorithm, CertificateConfig, IdentityConfig, IssuerConfig};
pub(crate) use stamp::Stamp;

use crate::GatewayConfig;
use crate::failure::Failure;
use crate::flow::Tenant;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use certificates::Certificates;
use jwt::Issuers;
use refusal::Refusal;
use roles::Verbs;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tenants::Tenants;

/// How an API key starts, and no token does.
const API_KEY_PREFIX: &str = "am_";

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

/// What a request shows of its sender.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) headers: &'a HeaderMap,
    /// Whose client certificate the connection has.
    pub(crate) peer: Option<&'a Principal>,
}

impl<'a> From<&'a HeaderMap> for Caller<'a> {
    fn from(headers: &'a HeaderMap) -> Caller<'a> {
        Caller { headers, peer: None }
    }
}

/// Everything that can tell who is asking.
pub(crate) struct Identity {
    keys: ApiKeys,
    issuers: Issuers,
    certificates: Certificates,
    tenants: Arc<Tenants>,
}

/// Why identities cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The API keys cannot be read.
    #[error(transparent)]
    ApiKeys(#[from] ApiKeyError),
    /// The keys of an issuer cannot be read.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

impl Identity {
    /// Reads the API keys and the keys of issuers that are in files.
    ///
    /// # Errors
    /// [`IdentityError`] if a file cannot be read.
    pub(crate) fn open(config: &GatewayConfig, now: Instant) -> Result<Identity, IdentityError> {
        let tenants = Arc::new(Tenants::default());
        let keys = ApiKeys::load(&config.api_keys, tenants.clone())?;
        let issuers = Issuers::open(&config.identity, tenants.clone(), now)?;
        let certificates = Certificates::new(&config.identity.certificate, &tenants);
        if keys.is_empty() && issuers.is_empty() && config.identity.certificate.is_empty() {
            tracing::warn!("there is no API key: every request but health will get 401");
        }
        Ok(Identity { keys, issuers, certificates, tenants })
    }

    /// Keeps what issuers publish up to date, until it is dropped.
    pub(crate) async fn keep_fresh(&self) {
        self.issuers.keep_fresh().await;
    }

    /// Whose client certificate this is, if it is one of the configuration.
    pub(crate) fn of_certificate(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Option<Arc<Principal>> {
        self.certificates.find(certificate)
    }

    /// The API keys, for whoever changed their file.
    pub(crate) fn api_keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// The tenant of this name.
    pub(crate) fn tenant(&self, name: &str) -> Arc<Tenant> {
        self.tenants.of(name)
    }

    /// Every tenant that was seen or has a key.
    pub(crate) fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.all()
    }

    /// What is known about the keys of each issuer.
    pub(crate) fn issuers(&self, now: Instant) -> Vec<IssuerStatus> {
        self.issuers.status(now)
    }

    /// Who sends this, or 401. A credential in the headers counts more than the connection's
    /// certificate.
    pub(crate) fn authenticate(
        &self,
        caller: Caller<'_>,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Principal, Failure> {
        if let Some(peer) = caller.peer
            && !caller.headers.contains_key(AUTHORIZATION)
        {
            return Ok(peer.clone());
        }
        let found = bearer(caller.headers).and_then(|text| {
            if self.issuers.is_empty() || text.starts_with(API_KEY_PREFIX) {
                return Ok(self.keys.check(text, now, wall)?);
            }
            Ok(self.issuers.check(text, now, wall)?)
        });
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
