//! Settings of identity: `[gateway.identity]`.

use super::key_file::is_tenant_name;
use super::roles::Role;
use crate::config::{ConfigError, SettingError};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// Most issuers of one gateway.
const ISSUERS_MAX: usize = 16;
/// Most certificates that name somebody.
const CERTIFICATES_MAX: usize = 10_000;

/// Who, besides the owners of API keys, is recognized.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// Issuers of tokens (OpenID Connect, or any JWT with public keys). At most 16.
    pub issuer: Vec<IssuerConfig>,
    /// Client certificates that identify a tenant. At most 10,000; they need
    /// [`crate::TlsConfig::client_ca`].
    pub certificate: Vec<CertificateConfig>,
    /// Longest token, in bytes. Default 8 KiB, at most 64 KiB; `header_bytes_max` holds, too.
    pub token_bytes_max: usize,
    /// Verified tokens that are remembered until they expire. Default 4096.
    pub token_cache_max: usize,
}

/// An issuer of tokens, and what its claims mean here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The exact value of `iss`.
    pub issuer: String,
    /// A value that `aud` must have or contain.
    pub audience: String,
    /// Where its keys are (a JWK set, RFC 7517): a file, an `https:` URL, or an `http:` URL on
    /// loopback.
    pub jwks: String,
    /// PEM file of the certificate authorities of the URL; absent for those that browsers trust.
    #[serde(default)]
    pub jwks_ca: Option<PathBuf>,
    /// How often the URL is read again. Default 3600, at least 60; files are looked at every
    /// five seconds.
    #[serde(default = "hour")]
    pub jwks_seconds: u64,
    /// Algorithms that are accepted. Default all of [`Algorithm`].
    #[serde(default = "Algorithm::all")]
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ. Default 60 s, at most 300 s.
    #[serde(default = "minute")]
    pub leeway_seconds: u64,
    /// The tenant of every token of this issuer; exactly one of this and `tenant_claim`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The claim that names the tenant: a name, or a JSON pointer (RFC 6901) that starts with `/`.
    #[serde(default)]
    pub tenant_claim: Option<String>,
    /// Roles that its tokens may have. Without `roles_claim` each token has all of them. Default
    /// invoker.
    #[serde(default = "invoker")]
    pub roles: Vec<Role>,
    /// The claim with roles: a list of strings, or words in one string.
    #[serde(default)]
    pub roles_claim: Option<String>,
    /// The claim with the models that the token may use: a list of strings, or words in one
    /// string. Without this setting tokens may use all; with it, a token without the claim none.
    #[serde(default)]
    pub models_claim: Option<String>,
}

/// Signature algorithms (RFC 7518 §3.1, RFC 8037). `none` and HMAC are none of them, whatever the
/// configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// RSA PKCS #1 v1.5 with SHA-256, keys of 2048 to 8192 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A client certificate, by its subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The exact DNS name or URI (`spiffe://...`) that the certificate has.
    pub san: String,
    /// Who is charged.
    pub tenant: String,
    /// What it may do. Default invoker.
    #[serde(default = "invoker")]
    pub roles: Vec<Role>,
    /// Models that it may use; absent for all.
    #[serde(default)]
    pub models: Option<Vec<String>>,
}

impl Default for IdentityConfig {
    fn default() -> IdentityConfig {
        IdentityConfig {
            issuer: Vec::new(),
            certificate: Vec::new(),
            token_bytes_max: 8 << 10,
            token_cache_max: 4096,
        }
    }
}

impl Algorithm {
    /// Every algorithm.
    pub fn all() -> Vec<Algorithm> {
        vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
    }

    /// Its name in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

impl IdentityConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`SettingError`] for the first one that cannot be.
    pub(crate) fn validate(&self) -> Result<(), SettingError> {
        let ranges = [
            ("identity.issuer", self.issuer.len(), 0, ISSUERS_MAX),
            ("identity.certificate", self.certificate.len(), 0, CERTIFICATES_MAX),
            ("identity.token_bytes_max", self.token_bytes_max, 256, 64 << 10),
            ("identity.token_cache_max", self.token_cache_max, 0, 4096),
        ];
        for (field, got, min, max) in ranges {
            ConfigError::in_range(field, got as u64, min as u64, max as u64)?;
        }
        for (index, issuer) in self.issuer.iter().enumerate() {
            issuer.validate()?;
            if self.issuer[..index].iter().any(|other| other.issuer == issuer.issuer) {
                let expected = "each issuer once";
                return Err(SettingError::value(
                    "identity.issuer.issuer",
                    expected,
                    &issuer.issuer,
                ));
            }
        }
        for certificate in &self.certificate {
            let field = "identity.certificate.tenant";
            tenant_name(field, &certificate.tenant)?;
            some("identity.certificate.san", &certificate.san)?;
            roles("identity.certificate.roles", &certificate.roles)?;
        }
        Ok(())
    }
}

impl IssuerConfig {
    fn validate(&self) -> Result<(), SettingError> {
        some("identity.issuer.issuer", &self.issuer)?;
        some("identity.issuer.audience", &self.audience)?;
        some("identity.issuer.jwks", &self.jwks)?;
        roles("identity.issuer.roles", &self.roles)?;
        let ranges = [
            ("identity.issuer.jwks_seconds", self.jwks_seconds, 60, 7 * 86_400),
            ("identity.issuer.leeway_seconds", self.leeway_seconds, 0, 300),
            ("identity.issuer.algorithms", self.algorithms.len() as u64, 1, 3),
        ];
        for (field, got, min, max) in ranges {
            ConfigError::in_range(field, got, min, max)?;
        }
        let plain = self.jwks.strip_prefix("http://").is_some_and(|rest| !is_loopback(rest));
        if plain {
            let expected = "a file, an https: URL, or an http: URL on loopback";
            return Err(SettingError::value("identity.issuer.jwks", expected, &self.jwks));
        }
        match (&self.tenant, &self.tenant_claim) {
            (Some(tenant), None) => tenant_name("identity.issuer.tenant", tenant),
            (None, Some(claim)) => some("identity.issuer.tenant_claim", claim),
            (Some(_), Some(_)) | (None, None) => {
                let expected = "exactly one of `tenant` and `tenant_claim`";
                Err(SettingError::value("identity.issuer", expected, &self.issuer))
            }
        }
    }
}

/// Whether what follows `http://` names this machine.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn some(field: &'static str, text: &str) -> Result<(), SettingError> {
    match text.is_empty() {
        true => Err(SettingError::value(field, "some text", text)),
        false => Ok(()),
    }
}

fn roles(field: &'static str, roles: &[Role]) -> Result<(), SettingError> {
    match roles.is_empty() {
        true => Err(SettingError::value(field, "at least one role", "none")),
        false => Ok(()),
    }
}

fn tenant_name(field: &'static str, name: &str) -> Result<(), SettingError> {
    match is_tenant_name(name) {
        true => Ok(()),
        false => Err(SettingError::value(field, "1 to 64 of [a-z0-9._-]", name)),
    }
}

fn hour() -> u64 {
    3600
}

fn minute() -> u64 {
    60
}

fn invoker() -> Vec<Role> {
    vec![Role::Invoker]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<(), String> {
        let text = format!(
            "[[issuer]]\nissuer = \"https://id\"\naudience = \"aimass\"\n{more}\n[[certificate]]\n\
             san = \"a.example\"\ntenant = \"acme\"\n"
        );
        let config: IdentityConfig = toml::from_str(&text).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn an_issuer_is_checked_before_anything_is_served() {
        let good = "jwks = \"https://id/keys\"\ntenant = \"acme\"";
        assert_eq!(read(good), Ok(()));
        for (more, word) in [
            ("tenant = \"acme\"", "jwks"),
            ("jwks = \"k\"", "exactly one of"),
            ("jwks = \"k\"\ntenant = \"a\"\ntenant_claim = \"t\"", "exactly one of"),
            ("jwks = \"k\"\ntenant = \"Acme\"", "[a-z0-9._-]"),
            ("jwks = \"http://id/keys\"\ntenant = \"a\"", "loopback"),
            ("jwks = \"http://127.0.0.1@id/keys\"\ntenant = \"a\"", "loopback"),
            ("jwks = \"http://127.0.0.1.id/keys\"\ntenant = \"a\"", "loopback"),
            ("jwks = \"k\"\ntenant = \"a\"\nalgorithms = [\"none\"]", "RS256"),
            ("jwks = \"k\"\ntenant = \"a\"\nalgorithms = [\"HS256\"]", "RS256"),
            ("jwks = \"k\"\ntenant = \"a\"\nalgorithms = []", "algorithms"),
            ("jwks = \"k\"\ntenant = \"a\"\nroles = []", "role"),
            ("jwks = \"k\"\ntenant = \"a\"\nleeway_seconds = 301", "leeway_seconds"),
            ("jwks = \"k\"\ntenant = \"a\"\njwks_seconds = 59", "jwks_seconds"),
        ] {
            let text = read(more).unwrap_err();
            assert!(text.contains(word), "{more}: {text}");
        }
        for host in ["127.0.0.1:8080", "localhost", "[::1]:9"] {
            let more = format!("jwks = \"http://{host}/keys\"\ntenant = \"a\"");
            assert_eq!(read(&more), Ok(()), "{host}");
        }
    }
}
