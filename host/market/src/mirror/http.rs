//! A mirror behind HTTP: any server of static files.

use std::io::Read;
use std::path::Path;

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::{FetchLimits, Mirror, failed, too_large};
use crate::MarketError;
use crate::oci::Location;

/// Redirects that are followed; what they lead to is verified as everything is.
const REDIRECTS_MAX: u32 = 4;
const HEADER_BYTES_MAX: usize = 32 << 10;
const ANSWER_BYTES_MAX: u64 = 16 << 10;
const AUTHORITIES_BYTES_MAX: usize = 1 << 20;

pub(super) struct Http {
    agent: Agent,
    location: String,
    limits: FetchLimits,
}

impl Http {
    pub(super) fn new(location: &str, limits: FetchLimits) -> Result<Http, MarketError> {
        let location = location.trim_end_matches('/').to_owned();
        Ok(Http { agent: agent(&limits, REDIRECTS_MAX)?, location, limits })
    }
}

/// An agent that follows this many redirects. Servers show a certificate of Mozilla's authorities or,
/// if `$SSL_CERT_FILE` names a file of certificates, of those alone.
pub(crate) fn agent(limits: &FetchLimits, redirects_max: u32) -> Result<Agent, MarketError> {
    let authorities = match std::env::var_os("SSL_CERT_FILE") {
        Some(path) if !path.is_empty() => authorities(Path::new(&path))?,
        Some(_) | None => RootCerts::WebPki,
    };
    Ok(Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(authorities).build())
        .timeout_connect(Some(limits.connect))
        .max_redirects(redirects_max)
        .max_response_header_size(HEADER_BYTES_MAX)
        .http_status_as_error(false)
        .user_agent(concat!("aimass/", env!("CARGO_PKG_VERSION")))
        .build()
        .into())
}

/// The certificates in a PEM file of at most 1 MiB.
fn authorities(path: &Path) -> Result<RootCerts, MarketError> {
    let wrong = |got: String| {
        let what = format!("$SSL_CERT_FILE {}", path.display());
        let remedy = "name a file with the certificates of the authorities to trust, or unset it";
        MarketError::wrong(what, "certificates in PEM, at most 1 MiB", got, remedy)
    };
    let text = crate::files::read(path, AUTHORITIES_BYTES_MAX)?
        .ok_or_else(|| wrong("no file".to_owned()))?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(one) = item.map_err(|error| wrong(error.to_string()))? {
            found.push(one);
        }
    }
    match found.is_empty() {
        true => Err(wrong("none".to_owned())),
        false => Ok(RootCerts::new_with_certs(&found)),
    }
}

impl Mirror for Http {
    fn fetch(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, MarketError> {
        let fail = |got: String| failed(&self.location, path, got);
        let request = self.agent.get(format!("{}/{}", self.location, escaped(path)));
        let request = request.config().timeout_global(Some(self.limits.time(bytes_max))).build();
        let mut response = request.call().map_err(|error| fail(error.to_string()))?;
        match response.status().as_u16() {
            200 => {}
            404 | 410 => return Ok(None),
            status => return Err(fail(format!("HTTP status {status}"))),
        }
        let mut bytes = Vec::new();
        let body = response.body_mut().as_reader();
        let mut limited = body.take((bytes_max as u64).saturating_add(1));
        limited.read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
        match bytes.len() <= bytes_max {
            true => Ok(Some(bytes)),
            false => Err(too_large(path, bytes_max).into()),
        }
    }
}

/// Sends a submission to a marketplace's `submit` address; returns what it answered, at most 16 KiB.
///
/// # Errors
/// [`MarketError::Fetch`] with the marketplace's own words if it refused; [`MarketError::Wrong`] for a
/// registry, which only keeps files.
pub fn post_submission(
    location: &str,
    bytes: &[u8],
    limits: FetchLimits,
) -> Result<String, MarketError> {
    let location = location.trim_end_matches('/');
    let fail = |got: String| failed(location, "submit", got);
    if Location::is_one(location) {
        let expected = "a marketplace that takes submissions";
        let remedy = "write it with --out, and give the file to the marketplace's people";
        return Err(MarketError::wrong("submit", expected, "a registry", remedy));
    }
    let request = agent(&limits, REDIRECTS_MAX)?.post(format!("{location}/submit"));
    let request = request.header("content-type", "application/vnd.aimass.ampkg");
    let request = request.config().timeout_global(Some(limits.time(bytes.len()))).build();
    let mut response = request.send(bytes).map_err(|error| fail(error.to_string()))?;
    let mut text = String::new();
    let mut body = response.body_mut().as_reader().take(ANSWER_BYTES_MAX);
    body.read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    match response.status().as_u16() {
        200..=299 => Ok(text),
        status => Err(fail(format!("HTTP status {status}: {text}"))),
    }
}

/// A path of a repository fit for a URL: `@` and everything else in it may stand there, but `+` may not
/// be taken for a space.
fn escaped(path: &str) -> String {
    path.replace('+', "%2B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_has_at_most_1_mib() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("authorities.pem");
        let read = |bytes: usize| {
            let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            let mut text = one.to_owned();
            text.extend(std::iter::repeat_n('\n', bytes - one.len()));
            std::fs::write(&path, text).expect("written");
            authorities(&path)
        };
        assert!(matches!(read(AUTHORITIES_BYTES_MAX), Ok(RootCerts::Specific(_))));
        let error = read(AUTHORITIES_BYTES_MAX + 1).expect_err("too long").to_string();
        assert!(error.contains("authorities.pem"), "{error}");
        std::fs::write(&path, "no certificate").expect("written");
        let error = authorities(&path).expect_err("none").to_string();
        assert!(error.contains("certificates in PEM, at most 1 MiB"), "{error}");
    }
}
