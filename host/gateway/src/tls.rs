//! TLS of the listeners: TLS 1.2 and 1.3 by rustls, HTTP/2 and HTTP/1.1 by ALPN, client certificates
//! on request, and files that may change while the server runs.
//!
//! A change of certificate, key or client authorities is taken over within five seconds, for new
//! connections. What cannot be read or does not fit together leaves everything as it was, and is
//! said once in the log.

use crate::config::{ConfigError, SettingError};
use crate::identity::Stamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Certificate of the server, and whose certificates clients may show: `[gateway.tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the server's certificate chain, its own certificate first. At most 1 MiB, as
    /// the other files.
    pub certificate: PathBuf,
    /// PEM file with the private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
    /// PEM file with the authorities of client certificates. Without it clients are not asked.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is turned away. Default no: it may have an API key.
    #[serde(default)]
    pub client_required: bool,
    /// Longest time of a handshake. Default 10 s, at most 60 s.
    #[serde(default = "ten")]
    pub handshake_seconds: u64,
}

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS {path}: {message}")]
pub struct TlsError {
    /// The file at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub message: String,
}

/// The TLS side of the listeners.
pub(crate) struct Tls {
    settings: TlsConfig,
    config: RwLock<Arc<ServerConfig>>,
    /// Of the files when they were last read, well or not.
    stamps: Mutex<Vec<Option<Stamp>>>,
}

/// A connection after its handshake.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Whether both sides agreed on HTTP/2.
    pub(crate) http2: bool,
}

impl TlsConfig {
    /// Checks every setting; the files are read later.
    ///
    /// # Errors
    /// [`SettingError`] for the first one that cannot be.
    pub(crate) fn validate(&self) -> Result<(), SettingError> {
        ConfigError::in_range("tls.handshake_seconds", self.handshake_seconds, 1, 60)?;
        if self.client_required && self.client_ca.is_none() {
            let expected = "client_ca, when client certificates are required";
            return Err(SettingError::value("tls.client_ca", expected, "none"));
        }
        Ok(())
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let client_ca = self.client_ca.as_deref();
        [self.certificate.as_path(), self.key.as_path()].into_iter().chain(client_ca)
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] if one cannot be read, or certificate and key do not belong together.
    pub(crate) fn open(settings: &TlsConfig) -> Result<Tls, TlsError> {
        let stamps = stamps(settings);
        let config = server_config(settings)?;
        Ok(Tls {
            settings: settings.clone(),
            config: RwLock::new(Arc::new(config)),
            stamps: Mutex::new(stamps),
        })
    }

    /// Shakes hands, for as long as the settings allow; nothing if that fails.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<Secured> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = Duration::from_secs(self.settings.handshake_seconds);
        let shaken = tokio::time::timeout(limit, TlsAcceptor::from(config).accept(stream)).await;
        match shaken {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
                Some(Secured { stream, http2 })
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("TLS handshake took too long");
                None
            }
        }
    }

    /// Follows changes of the files, until it is dropped.
    pub(crate) async fn keep_fresh(self: Arc<Tls>) {
        loop {
            tokio::time::sleep(LOOK_PERIOD).await;
            let tls = self.clone();
            // A panic in there is a defect; the next look tries again.
            let _ = tokio::task::spawn_blocking(move || tls.refresh()).await;
        }
    }

    /// Reads the files again if one changed. Blocks.
    pub(crate) fn refresh(&self) {
        let now = stamps(&self.settings);
        let mut last = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == now {
            return;
        }
        *last = now;
        match server_config(&self.settings) {
            Ok(config) => {
                tracing::info!(certificate = %self.settings.certificate.display(), "TLS files read");
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
            }
            Err(error) => tracing::error!(%error, "the TLS certificate stays as it was"),
        }
    }
}

impl Secured {
    /// The client's own certificate, if it showed one.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.stream.get_ref().1.peer_certificates()?.first()
    }
}

fn stamps(settings: &TlsConfig) -> Vec<Option<Stamp>> {
    let stamp = |path: &Path| std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
    settings.files().map(stamp).collect()
}

fn server_config(settings: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&settings.certificate)?;
    let key_fault = |error: &dyn std::fmt::Display| fault(&settings.key, error);
    let key = bounded(&settings.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| key_fault(&error))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| key_fault(&error))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(|error| fault(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = match settings.client_required {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| fault(path, &e))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| key_fault(&error))?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    Ok(config)
}

/// The cryptography of every TLS connection.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = bounded(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| fault(path, &error))?;
    if all.is_empty() {
        return Err(fault(path, &"expected certificates in PEM form, got none"));
    }
    Ok(all)
}

fn bounded(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| fault(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fault(path, &format_args!("expected at most {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn fault(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError { path: path.to_owned(), message: error.to_string() }
}

fn ten() -> u64 {
    10
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{Authority, client, write};
    use super::*;
    use rustls::pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    fn settings(dir: &Path, authority: &Authority) -> TlsConfig {
        let (certificate, key) = write(dir, &authority.issue(&["localhost"], &[]));
        TlsConfig {
            certificate,
            key,
            client_ca: None,
            client_required: false,
            handshake_seconds: 10,
        }
    }

    /// The certificate that a client is shown.
    async fn shown(tls: &Tls, authority: &Authority) -> CertificateDer<'static> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let connector = TlsConnector::from(Arc::new(client(authority, None)));
        let name = ServerName::try_from("localhost").unwrap();
        let accept = async { tls.accept(listener.accept().await.unwrap().0).await };
        let (client, secured) = tokio::join!(connector.connect(name, stream), accept);
        assert!(secured.is_some());
        client.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone()
    }

    #[tokio::test]
    async fn a_new_certificate_is_taken_over_and_a_broken_one_changes_nothing() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let settings = settings(dir.path(), &authority);
        let tls = Tls::open(&settings).unwrap();
        let first = shown(&tls, &authority).await;
        tls.refresh();
        assert_eq!(shown(&tls, &authority).await, first);
        let other = authority.issue(&["localhost"], &[]);
        for broken in ["", "no certificate", &other.certificate, &other.key] {
            std::fs::write(&settings.certificate, broken).unwrap();
            tls.refresh();
            assert_eq!(shown(&tls, &authority).await, first, "{broken}");
        }
        write(dir.path(), &other);
        tls.refresh();
        let second = shown(&tls, &authority).await;
        assert_ne!(second, first);
        std::fs::remove_file(&settings.key).unwrap();
        tls.refresh();
        assert_eq!(shown(&tls, &authority).await, second);
    }

    #[test]
    fn settings_and_files_that_cannot_be_are_named() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let good = settings(dir.path(), &authority);
        assert_eq!(good.validate(), Ok(()));
        let required = TlsConfig { client_required: true, ..good.clone() };
        assert!(required.validate().unwrap_err().to_string().contains("client_ca"));
        for seconds in [0, 61] {
            let wrong = TlsConfig { handshake_seconds: seconds, ..good.clone() };
            assert_eq!(wrong.validate().unwrap_err().field(), "tls.handshake_seconds");
        }
        let refused = |settings: TlsConfig| Tls::open(&settings).err().unwrap().to_string();
        let missing = dir.path().join("missing.pem");
        assert!(refused(TlsConfig { key: missing, ..good.clone() }).contains("missing.pem"));
        let (large, key) = (dir.path().join("large.pem"), good.key.clone());
        std::fs::write(&large, vec![b'\n'; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(refused(TlsConfig { certificate: large, ..good.clone() }).contains("1048576"));
        assert!(refused(TlsConfig { certificate: key, ..good.clone() }).contains("got none"));
        let no_ca = TlsConfig { client_ca: Some(good.key.clone()), ..good };
        assert!(refused(no_ca).contains("got none"));
    }
}
