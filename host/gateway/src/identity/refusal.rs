//! Why nobody was recognized: the same words on every protocol, and the challenge of RFC 6750 §3.

use super::api_keys::KeyFault;
use super::jwt::TokenFault;
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
    /// A token that is not believed.
    Token(TokenFault),
}

impl From<KeyFault> for Refusal {
    fn from(fault: KeyFault) -> Refusal {
        Refusal::Key(fault)
    }
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Refusal {
        Refusal::Token(fault)
    }
}

impl Refusal {
    /// 401 with the reason; 503 if it is ours.
    pub(super) fn failure(self) -> Failure {
        if self == Refusal::Token(TokenFault::KeysUnavailable) {
            return Failure::overloaded("the keys of the token's issuer could not be read yet");
        }
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
            Refusal::Token(fault) => token_words(fault),
        }
    }
}

macro_rules! token_refusal {
    ($class:literal, $message:literal) => {
        (
            concat!("API key or token refused: ", $message),
            concat!("Bearer error=\"invalid_token\", error_description=\"", $class, "\""),
        )
    };
}

fn token_words(fault: TokenFault) -> (&'static str, &'static str) {
    match fault {
        TokenFault::Malformed => {
            token_refusal!("malformed", "expected `am_...` or a signed JWT in compact form")
        }
        TokenFault::TooLong => {
            token_refusal!("too-long", "the token is longer than this server takes")
        }
        TokenFault::Algorithm => token_refusal!(
            "algorithm",
            "expected one of the algorithms that this server allows the issuer"
        ),
        TokenFault::Issuer => {
            token_refusal!("issuer", "this server does not know the token's issuer")
        }
        TokenFault::UnknownKey => token_refusal!(
            "unknown-key",
            "the issuer does not publish the key that it names; keys that are new are read within \
             a minute"
        ),
        TokenFault::Signature => {
            token_refusal!("signature", "the signature does not fit the issuer's key")
        }
        TokenFault::Audience => token_refusal!("audience", "the token is for another audience"),
        TokenFault::Expired => {
            token_refusal!("expired", "the token has expired or has no `exp`; ask for a new one")
        }
        TokenFault::NotYet => token_refusal!("not-yet-valid", "the token is not valid yet"),
        TokenFault::Tenant => token_refusal!("tenant", "the token names no tenant"),
        TokenFault::KeysUnavailable => {
            token_refusal!("keys", "the keys of the issuer could not be read yet")
        }
    }
}
