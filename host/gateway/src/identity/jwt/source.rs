//! Where an issuer's keys come from: a file or a URL.

use super::jwks::JWKS_BYTES_MAX;
use crate::identity::stamp::Stamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Longest time for one answer of a URL.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// How often a file is looked at.
const FILE_PERIOD: Duration = Duration::from_secs(5);

/// A place with a key set.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(PathBuf),
    Url { url: String, ca: Option<PathBuf>, period: Duration },
}

impl Source {
    /// The place that a setting names.
    pub(super) fn new(text: &str, ca: Option<PathBuf>, seconds: u64) -> Source {
        if text.starts_with("https://") || text.starts_with("http://") {
            let period = Duration::from_secs(seconds);
            Source::Url { url: text.to_owned(), ca, period }
        } else {
            Source::File(PathBuf::from(text.strip_prefix("file://").unwrap_or(text)))
        }
    }

    /// How often it is read again.
    pub(super) fn period(&self) -> Duration {
        match self {
            Source::File(_) => FILE_PERIOD,
            Source::Url { period, .. } => *period,
        }
    }

    /// The key set if it is another than at `last`. Blocks.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    pub(super) fn read(&self, last: Option<Stamp>) -> Result<Changed, String> {
        match self {
            Source::File(path) => read_file(path, last).map_err(|error| error.to_string()),
            Source::Url { url, ca, .. } => Ok(Some((fetch(url, ca.as_deref())?, None))),
        }
    }
}

/// The bytes of a key set that is another than before, and the stamp of its file if it has one.
pub(super) type Changed = Option<(Vec<u8>, Option<Stamp>)>;

fn read_file(path: &Path, last: Option<Stamp>) -> std::io::Result<Changed> {
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    if last == Some(stamp) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // One byte more than the limit, so that the parser sees that it is too large.
    file.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some((bytes, Some(stamp))))
}

fn fetch(url: &str, ca: Option<&Path>) -> Result<Vec<u8>, String> {
    let roots = match ca {
        None => RootCerts::WebPki,
        Some(path) => roots(path).map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_MAX))
        .max_redirects(0)
        .https_only(url.starts_with("https://"))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .new_agent();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    if response.status() != ureq::http::StatusCode::OK {
        return Err(format!("expected status 200, got {}", response.status()));
    }
    let body = response.body_mut().with_config().limit(JWKS_BYTES_MAX as u64);
    body.read_to_vec().map_err(|error| error.to_string())
}

fn roots(path: &Path) -> Result<RootCerts, rustls::pki_types::pem::Error> {
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.push(Certificate::from_der(&certificate?).to_owned());
    }
    Ok(RootCerts::new_with_certs(&roots))
}
