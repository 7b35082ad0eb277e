//! Why nobody was recognized: the same words on every protocol, and the challenge of RFC 6750 §3.

use super::api_keys::KeyFault;
use crate::failure::Failure;
use axum::http::StatusCode;

/// Why a request has no [`Principal`](super::Principal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no credential.
    Missing,
    /// The header is not `Bearer` and a credential.
    NotBearer,
    /// There are several `Authorization` headers.
    Ambiguous,
    /// An API key that does not open the door.
    Key(KeyFault),
}

impl From<KeyFault> for Refusal {
    fn from(fault: KeyFault) -> Refusal {
        Refusal::Key(fault)
    }
}

impl Refusal {
    /// 401 with the reason.
    pub(super) fn failure(self) -> Failure {
        let (message, challenge) = self.words();
        let failure = Failure::new(StatusCode::UNAUTHORIZED, "invalid-api-key", message);
        Failure { challenge: Some(challenge), ..failure }
    }

    /// What the client reads, and the value of `WWW-Authenticate`.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Refusal::Missing => {
                ("no API key; send the header `Authorization: Bearer am_...`", "Bearer")
            }
            Refusal::NotBearer => (
                "no API key: expected the header `Authorization: Bearer am_...`, got another form",
                r#"Bearer error="invalid_request""#,
            ),
            Refusal::Ambiguous => (
                "no API key: expected one `Authorization` header, got several",
                r#"Bearer error="invalid_request""#,
            ),
            Refusal::Key(KeyFault::Unknown) => {
                ("unknown API key", r#"Bearer error="invalid_token", error_description="unknown""#)
            }
            Refusal::Key(KeyFault::Expired) => (
                "this API key has expired; ask for a new one",
                r#"Bearer error="invalid_token", error_description="expired""#,
            ),
            Refusal::Key(KeyFault::Revoked) => (
                "this API key was revoked; ask for a new one",
                r#"Bearer error="invalid_token", error_description="revoked""#,
            ),
        }
    }
}
