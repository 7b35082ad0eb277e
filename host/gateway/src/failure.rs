//! Why a request was not answered, and how each protocol says so. The only place where error
//! families become HTTP status codes.
//!
//! OIP v2: `{"error":"<text>"}`. OpenAI: `{"error":{"message","type","param","code"}}`. Both with
//! `Content-Type: application/json` and nothing after it: stock clients compare it whole. Our own
//! routes: problem details (RFC 9457), with our code as `code`.

use crate::flow::whole_seconds;
use aimass_engine::{EngineError, Family};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use std::borrow::Cow;
use std::time::Duration;

/// Longest message that a client gets, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The exact media type of every JSON answer.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Longest wait that OpenAI's clients take from an answer; for a longer one they would come back
/// too early, and are told not to.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Whether another attempt can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The status says enough.
    Unsaid,
    /// The same request fails again.
    Never,
    /// After this time.
    After(Duration),
}

/// A request that was not answered.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    /// Stable, machine-readable.
    pub(crate) code: Cow<'static, str>,
    /// What the client reads.
    pub(crate) message: String,
    /// The field of an OpenAI request that is wrong.
    pub(crate) param: Option<&'static str>,
    pub(crate) retry: Retry,
    /// Further headers.
    pub(crate) fields: Option<Box<HeaderMap>>,
    /// The value of `WWW-Authenticate`, for somebody who is not recognized or not allowed.
    pub(crate) challenge: Option<&'static str>,
}

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Failure {
        Failure {
            status,
            code: Cow::Borrowed(code),
            message: message.into(),
            param: None,
            retry: Retry::Unsaid,
            challenge: None,
            fields: None,
        }
    }

    /// The caller's input is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "invalid-input", message)
    }

    /// A limit of the whole server is reached for the moment.
    pub(crate) fn overloaded(message: impl Into<String>) -> Failure {
        let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
        Failure { retry: Retry::After(Duration::from_secs(1)), ..failure }
    }

    /// Names the field of an OpenAI request that is wrong.
    pub(crate) fn of(self, param: &'static str) -> Failure {
        Failure { param: Some(param), ..self }
    }

    /// The message, cut to what a client gets.
    pub(crate) fn text(&self) -> &str {
        let mut end = self.message.len().min(MESSAGE_BYTES_MAX);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        &self.message[..end]
    }

    fn respond(&self, body: Vec<u8>) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        match self.retry {
            Retry::Unsaid => {}
            Retry::Never => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Retry::After(time) => {
                let again = HeaderValue::from_static(match time <= RETRY_AFTER_MAX {
                    true => "true",
                    false => "false",
                });
                let millis = u64::try_from(time.as_nanos().div_ceil(1_000_000));
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(time).max(1)));
                headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis.unwrap_or(u64::MAX)));
                headers.insert(SHOULD_RETRY, again);
            }
        }
        if let Some(fields) = &self.fields {
            headers.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }

    /// The answer of the Open Inference Protocol.
    pub(crate) fn oip(&self) -> Response<Body> {
        self.respond(self.oip_body())
    }

    /// The body of that answer.
    pub(crate) fn oip_body(&self) -> Vec<u8> {
        json(&OipBody { error: self.text() })
    }

    /// The answer of the OpenAI API.
    pub(crate) fn openai(&self) -> Response<Body> {
        self.respond(self.openai_body())
    }

    /// The body of that answer.
    pub(crate) fn openai_body(&self) -> Vec<u8> {
        let kind = match self.status.as_u16() {
            429 => "rate_limit_error",
            403 => "permission_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let error = OpenAiError {
            message: self.text(),
            kind,
            param: self.param,
            code: &self.code.replace('-', "_"),
        };
        json(&OpenAiBody { error })
    }
}

impl Failure {
    /// The answer of our own routes (RFC 9457 §3).
    pub(crate) fn problem(&self) -> Response<Body> {
        let mut response = self.respond(json(&ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("error"),
            status: self.status.as_u16(),
            detail: self.text(),
            code: &self.code,
        }));
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        let soon = Retry::After(Duration::from_secs(1));
        let (status, retry) = match error.family() {
            Family::InvalidInput => (StatusCode::BAD_REQUEST, Retry::Unsaid),
            Family::Forbidden => (StatusCode::FORBIDDEN, Retry::Unsaid),
            Family::NotFound => (StatusCode::NOT_FOUND, Retry::Unsaid),
            Family::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Retry::Unsaid),
            Family::PackageRefused => (StatusCode::UNPROCESSABLE_ENTITY, Retry::Unsaid),
            Family::Quota => (StatusCode::TOO_MANY_REQUESTS, soon),
            Family::Plugin => (StatusCode::INTERNAL_SERVER_ERROR, Retry::Never),
            Family::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, soon),
            Family::Deadline => (StatusCode::GATEWAY_TIMEOUT, Retry::Unsaid),
        };
        if let Some(log) = error.log() {
            tracing::warn!(code = error.code(), message = error.message(), detail = log, "failed");
        }
        let code = Cow::Owned(error.code().to_owned());
        let message = error.message().to_owned();
        Failure { status, code, message, param: None, retry, challenge: None, fields: None }
    }
}

/// A [`Failure`] that is answered as the Open Inference Protocol wants it.
pub(crate) struct OipFailure(pub(crate) Failure);

impl<E: Into<Failure>> From<E> for OipFailure {
    fn from(error: E) -> OipFailure {
        OipFailure(error.into())
    }
}

impl IntoResponse for OipFailure {
    fn into_response(self) -> Response<Body> {
        self.0.oip()
    }
}

/// A [`Failure`] that is answered as the OpenAI API wants it.
pub(crate) struct OpenAiFailure(pub(crate) Failure);

impl<E: Into<Failure>> From<E> for OpenAiFailure {
    fn from(error: E) -> OpenAiFailure {
        OpenAiFailure(error.into())
    }
}

impl IntoResponse for OpenAiFailure {
    fn into_response(self) -> Response<Body> {
        self.0.openai()
    }
}

/// A [`Failure`] that is answered as problem details.
pub(crate) struct ProblemFailure(pub(crate) Failure);

impl<E: Into<Failure>> From<E> for ProblemFailure {
    fn from(error: E) -> ProblemFailure {
        ProblemFailure(error.into())
    }
}

impl IntoResponse for ProblemFailure {
    fn into_response(self) -> Response<Body> {
        self.0.problem()
    }
}

/// `value` as JSON. Our wire types have string keys only, so that this cannot fail.
pub(crate) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("wire types have string keys")
}

/// A 200 with this JSON body.
pub(crate) fn json_answer(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[derive(serde::Serialize)]
struct OipBody<'a> {
    error: &'a str,
}

#[derive(serde::Serialize)]
struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
}

#[derive(serde::Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(serde::Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_the_status_of_the_table() {
        let expected = [400, 403, 404, 413, 422, 429, 500, 503, 504];
        for (family, status) in Family::ALL.into_iter().zip(expected) {
            let failure = Failure::from(EngineError::new(family, "some-code", "text"));
            assert_eq!(failure.status.as_u16(), status, "{family:?}");
        }
    }

    #[test]
    fn a_plugin_fault_says_that_a_retry_is_useless() {
        let response =
            Failure::from(EngineError::new(Family::Plugin, "trap", "it trapped")).openai();
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert_eq!(response.headers()["content-type"], "application/json");
        let full = Failure::from(EngineError::new(Family::Unavailable, "full", "")).oip();
        assert_eq!(full.headers()["retry-after"], "1");
        assert_eq!(full.headers()["x-should-retry"], "true");
    }

    #[test]
    fn a_time_to_come_back_is_rounded_up_and_a_long_one_is_not_worth_waiting_for() {
        let answer = |nanos| {
            let retry = Retry::After(Duration::from_nanos(nanos));
            Failure { retry, ..Failure::overloaded("") }.oip()
        };
        for (nanos, seconds, millis, again) in [
            (1, "1", "1", "true"),
            (2_000_000_000, "2", "2000", "true"),
            (2_000_000_001, "3", "2001", "true"),
            (60_000_000_000, "60", "60000", "true"),
            (60_000_000_001, "61", "60001", "false"),
        ] {
            let answer = answer(nanos);
            assert_eq!(answer.headers()["retry-after"], seconds);
            assert_eq!(answer.headers()["retry-after-ms"], millis);
            assert_eq!(answer.headers()["x-should-retry"], again);
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let failure = Failure::invalid("é".repeat(MESSAGE_BYTES_MAX) + "x");
        assert_eq!(failure.text().len(), MESSAGE_BYTES_MAX);
        let odd = Failure::invalid(format!("x{}", "é".repeat(MESSAGE_BYTES_MAX)));
        assert_eq!(odd.text().len(), MESSAGE_BYTES_MAX - 1);
    }
}
