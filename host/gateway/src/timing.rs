//! `Server-Timing` (W3C): how long each room took, for whoever asks.

use aimass_engine::InferResponse;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use std::time::Duration;

/// A request with this header gets the time of every room in `Server-Timing`.
const TIMING: HeaderName = HeaderName::from_static("x-aimass-timing");
/// The answer's header.
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Whether the request asks for times.
pub(crate) fn asked(headers: &HeaderMap) -> bool {
    headers.contains_key(TIMING)
}

/// The rooms in order, in milliseconds: `ours` and then the pipeline's steps.
pub(crate) fn header(ours: &[(&str, Duration)], response: &InferResponse) -> HeaderValue {
    let theirs = response.rooms.iter().map(|(name, time)| (&**name, *time));
    let token = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }
    };
    let one = |(name, time): (&str, Duration)| {
        let name: String = name.chars().map(token).collect();
        format!("{name};dur={:.3}", time.as_secs_f64() * 1e3)
    };
    let text: Vec<String> = ours.iter().copied().chain(theirs).map(one).collect();
    HeaderValue::try_from(text.join(", ")).unwrap_or(HeaderValue::from_static(""))
}
