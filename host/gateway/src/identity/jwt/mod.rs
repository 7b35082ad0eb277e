//! Tokens of OpenID Connect providers and other issuers: JWT (RFC 7519) with public-key signatures,
//! checked as RFC 8725 asks. A token is believed only after its signature holds by a key that the
//! issuer publishes and the configuration allows.

mod cache;
mod issuer;
mod jwks;
mod source;
mod token;

pub use issuer::IssuerError;
pub(crate) use issuer::IssuerStatus;
pub(crate) use jwks::KeySet;
pub(crate) use token::{Token, TokenFault};

use super::Principal;
use super::key_file::is_tenant_name;
use super::roles::{Role, Verbs};
use super::settings::{IdentityConfig, IssuerConfig};
use super::tenants::Tenants;
use cache::{TokenCache, Verified};
use issuer::Issuer;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use token::words;

/// Most models that one token may name.
const MODELS_MAX: usize = 1_000;

/// Every issuer, and the tokens of theirs that were verified already.
pub(crate) struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    cache: TokenCache,
    tenants: Arc<Tenants>,
    token_bytes_max: usize,
}

impl Issuers {
    /// The issuers of the configuration. Keys in files are read at once, keys behind URLs by
    /// [`Issuers::keep_fresh`].
    ///
    /// # Errors
    /// [`IssuerError`] for a file that is no key set.
    pub(crate) fn open(
        config: &IdentityConfig,
        tenants: Arc<Tenants>,
        now: Instant,
    ) -> Result<Issuers, IssuerError> {
        let open = |settings: &IssuerConfig| Issuer::open(settings.clone(), now).map(Arc::new);
        Ok(Issuers {
            issuers: config.issuer.iter().map(open).collect::<Result<_, _>>()?,
            cache: TokenCache::new(config.token_cache_max),
            tenants,
            token_bytes_max: config.token_bytes_max,
        })
    }

    /// Whether nobody issues tokens.
    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Reads keys again as they change, until it is dropped.
    pub(crate) async fn keep_fresh(&self) {
        let mut tasks = tokio::task::JoinSet::new();
        for issuer in &self.issuers {
            tasks.spawn(issuer.clone().keep_fresh());
        }
        while tasks.join_next().await.is_some() {}
        std::future::pending().await
    }

    /// What is known about the keys of each issuer.
    pub(crate) fn status(&self, now: Instant) -> Vec<IssuerStatus> {
        self.issuers.iter().map(|issuer| issuer.status(now)).collect()
    }

    /// Whose token `text` is.
    ///
    /// # Errors
    /// [`TokenFault`] if it is not believed.
    pub(crate) fn check(
        &self,
        text: &str,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Principal, TokenFault> {
        if text.len() > self.token_bytes_max {
            return Err(TokenFault::TooLong);
        }
        let seconds = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let digest = Sha256::digest(text.as_bytes()).into();
        if let Some(known) = self.cache.get(&digest)
            && known.until > seconds
            && self.issuers[known.issuer].keys().version == known.keys
        {
            return Ok(known.principal);
        }
        let verified = self.verify(text, now, seconds)?;
        let principal = verified.principal.clone();
        self.cache.put(digest, verified);
        Ok(principal)
    }

    fn verify(&self, text: &str, now: Instant, seconds: u64) -> Result<Verified, TokenFault> {
        let token = Token::parse(text, self.token_bytes_max)?;
        let named = token.claims.get("iss").and_then(Value::as_str).ok_or(TokenFault::Issuer)?;
        let index = self.issuers.iter().position(|issuer| issuer.settings.issuer == named);
        let index = index.ok_or(TokenFault::Issuer)?;
        let issuer = &self.issuers[index];
        let settings = &issuer.settings;
        if !settings.algorithms.contains(&token.algorithm) {
            return Err(TokenFault::Algorithm);
        }
        let keys = issuer.keys();
        let set = keys.set.as_ref().ok_or(TokenFault::KeysUnavailable)?;
        let (id, message) = (token.key_id.as_deref(), token.message.as_bytes());
        match set.verify(id, token.algorithm, message, &token.signature) {
            None => {
                issuer.ask_for_keys(now);
                return Err(TokenFault::UnknownKey);
            }
            Some(false) => return Err(TokenFault::Signature),
            Some(true) => {}
        }
        let until = token.valid_until(seconds, settings.leeway_seconds)?;
        if !token.is_for(&settings.audience) {
            return Err(TokenFault::Audience);
        }
        let principal = self.principal(&token, settings)?;
        Ok(Verified { principal, until, issuer: index, keys: keys.version })
    }

    /// What the claims say, by the issuer's settings.
    fn principal(
        &self,
        token: &Token<'_>,
        settings: &IssuerConfig,
    ) -> Result<Principal, TokenFault> {
        let tenant = match (&settings.tenant, &settings.tenant_claim) {
            (Some(tenant), _) => tenant,
            (None, Some(claim)) => {
                token.claim(claim).and_then(Value::as_str).ok_or(TokenFault::Tenant)?
            }
            (None, None) => return Err(TokenFault::Tenant),
        };
        if !is_tenant_name(tenant) {
            return Err(TokenFault::Tenant);
        }
        let listed = |claim: &str| token.claim(claim).map(words).unwrap_or_default();
        let roles: Vec<Role> = match &settings.roles_claim {
            None => settings.roles.clone(),
            Some(claim) => {
                let named = listed(claim);
                let has = |role: &Role| named.contains(&role.as_str());
                settings.roles.iter().copied().filter(has).collect()
            }
        };
        let models = match settings.models_claim.as_deref().map(listed) {
            None => None,
            Some(models) if models.len() > MODELS_MAX => return Err(TokenFault::Malformed),
            Some(models) => Some(models.into_iter().map(str::to_owned).collect()),
        };
        Ok(Principal { tenant: self.tenants.of(tenant), models, verbs: Verbs::of(&roles) })
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
