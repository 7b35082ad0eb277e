//! Events by HTTP: `POST` of `application/cloudevents-batch+json`, any 2xx takes the batch.
//!
//! CloudEvents 1.0.2 HTTP protocol binding, batched content mode. Whatever the other answer is, the
//! batch is kept and sent again: money is not dropped because a proxy said 400 for an hour.

use super::super::UsageError;
use super::super::event::UsageEvent;
use super::{Refused, Target};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest file with the `Authorization` header.
const AUTHORIZATION_BYTES_MAX: usize = 16 << 10;

pub(crate) struct HttpBatches {
    agent: ureq::Agent,
    url: String,
    authorization: Option<PathBuf>,
}

/// Checks the address; nothing is sent yet.
pub(super) fn open(url: &str, authorization: Option<&Path>) -> Result<HttpBatches, UsageError> {
    let good = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    if !good || url.contains('@') {
        let message =
            "expected export_url as `http://…` or `https://…` without user and password; \
                       put credentials into export_authorization_file"
                .to_owned();
        return Err(UsageError::Export { message });
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .build();
    let authorization = authorization.map(Path::to_owned);
    Ok(HttpBatches { agent: config.into(), url: url.to_owned(), authorization })
}

impl HttpBatches {
    /// Read again for each batch, so that credentials can be changed while the server runs.
    fn authorization(&self) -> Result<Option<String>, Refused> {
        let Some(path) = &self.authorization else { return Ok(None) };
        let refused = |reason: String| Refused { reason, retry_after: None };
        let text = fs::read_to_string(path)
            .map_err(|error| refused(format!("{}: {error}", path.display())))?;
        if text.len() > AUTHORIZATION_BYTES_MAX {
            let (path, got) = (path.display(), text.len());
            let expected = AUTHORIZATION_BYTES_MAX;
            return Err(refused(format!("{path}: expected at most {expected} bytes, got {got}")));
        }
        Ok(Some(text.trim().to_owned()))
    }
}

impl Target for HttpBatches {
    fn send(&mut self, events: &[UsageEvent]) -> Result<(), Refused> {
        let body = serde_json::to_vec(events).expect("events are JSON");
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/cloudevents-batch+json; charset=UTF-8");
        if let Some(value) = self.authorization()? {
            request = request.header("authorization", value);
        }
        let refused = |reason, retry_after| Refused { reason, retry_after };
        let answer =
            request.send(&body[..]).map_err(|error| refused(format!("export: {error}"), None))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = header.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Err(refused(format!("export: the answer was {}", answer.status()), after))
    }
}
