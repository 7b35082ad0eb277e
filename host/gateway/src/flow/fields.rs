//! `RateLimit-Policy` and `RateLimit`, the fields that tell a client its limits before it meets them
//! (draft-ietf-httpapi-ratelimit-headers-11, §3 and §4).

use super::config::Limits;
use super::gcra::{Level, Rate};
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use std::fmt::Write;
use std::time::Duration;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What a tenant has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) requests: Option<Level>,
    pub(crate) body_bytes: Option<Level>,
    /// Requests that may still come in.
    pub(crate) concurrency: usize,
}

/// The policies of a tenant; nothing for one without a rate.
pub(crate) fn policy(limits: &Limits) -> Option<HeaderValue> {
    if limits.requests.is_none() && limits.body_bytes.is_none() {
        return None;
    }
    let mut text = String::new();
    let mut item = |args: std::fmt::Arguments<'_>| {
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.write_fmt(args).expect("a String takes every write");
    };
    if let Some((quota, window)) = limits.requests.as_ref().map(quota) {
        item(format_args!("\"requests\";q={quota};w={window}"));
    }
    if let Some((quota, window)) = limits.body_bytes.as_ref().map(quota) {
        item(format_args!("\"body-bytes\";q={quota};qu=\"content-bytes\";w={window}"));
    }
    let inside = limits.in_flight_max;
    item(format_args!("\"concurrency\";q={inside};qu=\"concurrent-requests\""));
    HeaderValue::try_from(text).ok()
}

/// Adds both fields.
pub(crate) fn insert(headers: &mut HeaderMap, policy: &HeaderValue, levels: &Levels) {
    let mut text = String::with_capacity(64);
    let mut item = |name: &str, left: u64, more_in: Option<Duration>| {
        text.push_str(if text.is_empty() { "" } else { ", " });
        write!(text, "\"{name}\";r={left}").expect("a String takes every write");
        if let Some(more_in) = more_in.filter(|more_in| !more_in.is_zero()) {
            write!(text, ";t={}", whole_seconds(more_in)).expect("a String takes every write");
        }
    };
    if let Some(level) = levels.requests {
        item("requests", level.left, Some(level.more_in));
    }
    if let Some(level) = levels.body_bytes {
        item("body-bytes", level.left, Some(level.more_in));
    }
    item("concurrency", levels.concurrency as u64, None);
    headers.insert(POLICY, policy.clone());
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(LIMIT, value);
    }
}

/// Units in a window of whole seconds, which must not be 0: a burst and the time in which it comes
/// back, or what comes back in one second if that is more.
fn quota(rate: &Rate) -> (u64, u64) {
    let window = rate.window();
    if window >= Duration::from_secs(1) {
        return (rate.burst(), whole_seconds(window));
    }
    (rate.each_second(), 1)
}

/// Seconds, rounded up: who waits for them does not come too early.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowConfig;

    fn limits(text: &str) -> Limits {
        toml::from_str::<FlowConfig>(text).unwrap().limits_of("acme", 9, 9)
    }

    #[test]
    fn policies_name_quota_window_and_unit() {
        assert_eq!(policy(&limits("")), None);
        let both = "default.requests_per_minute = 60\ndefault.requests_burst = 7\n\
                    default.body_bytes_per_second = 1000\ndefault.body_bytes_burst = 2500";
        assert_eq!(
            policy(&limits(both)).unwrap(),
            "\"requests\";q=7;w=7, \"body-bytes\";q=2500;qu=\"content-bytes\";w=3, \
             \"concurrency\";q=9;qu=\"concurrent-requests\""
        );
        let fast = "default.requests_per_minute = 6000\ndefault.requests_burst = 1";
        let fast = policy(&limits(fast)).unwrap();
        assert!(fast.to_str().unwrap().starts_with("\"requests\";q=100;w=1,"), "{fast:?}");
    }

    #[test]
    fn the_limit_says_what_is_left_and_for_how_long() {
        let mut headers = HeaderMap::new();
        let requests = Some(Level { left: 0, more_in: Duration::from_millis(1_001) });
        let body_bytes = Some(Level { left: 5, more_in: Duration::ZERO });
        let levels = Levels { requests, body_bytes, concurrency: 3 };
        insert(&mut headers, &HeaderValue::from_static("p"), &levels);
        assert_eq!(headers["ratelimit-policy"], "p");
        let expected = "\"requests\";r=0;t=2, \"body-bytes\";r=5, \"concurrency\";r=3";
        assert_eq!(headers["ratelimit"], expected);
    }
}
