//! A mirror behind HTTP: any server of static files.

use std::io::Read;

use ureq::Agent;

use super::{FetchLimits, Mirror, failed, too_large};
use crate::MarketError;
use crate::oci::Location;

/// Redirects that are followed; what they lead to is verified as everything is.
const REDIRECTS_MAX: u32 = 4;
const HEADER_BYTES_MAX: usize = 32 << 10;
const ANSWER_BYTES_MAX: u64 = 16 << 10;

pub(super) struct Http {
    agent: Agent,
    location: String,
    limits: FetchLimits,
}

impl Http {
    pub(super) fn new(location: &str, limits: FetchLimits) -> Http {
        let location = location.trim_end_matches('/').to_owned();
        Http { agent: agent(&limits, REDIRECTS_MAX), location, limits }
    }
}

/// An agent that follows this many redirects.
pub(crate) fn agent(limits: &FetchLimits, redirects_max: u32) -> Agent {
    Agent::config_builder()
        .timeout_connect(Some(limits.connect))
        .max_redirects(redirects_max)
        .max_response_header_size(HEADER_BYTES_MAX)
        .http_status_as_error(false)
        .user_agent(concat!("aimass/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
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
    let request = agent(&limits, REDIRECTS_MAX).post(format!("{location}/submit"));
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
