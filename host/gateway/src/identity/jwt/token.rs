//! A JWT in compact form (RFC 7515 §3.1, RFC 7519), taken apart; nothing of it is believed yet.

use crate::identity::settings::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// Longest `kid`, in bytes.
const KEY_ID_BYTES_MAX: usize = 256;

/// Why a token is not accepted. The reason classes of `WWW-Authenticate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TokenFault {
    /// No JWT, or one that this server does not understand.
    Malformed,
    /// Longer than allowed.
    TooLong,
    /// An algorithm that the issuer must not use; `none` and HMAC always.
    Algorithm,
    /// Nobody that this server knows.
    Issuer,
    /// Signed by a key that the issuer does not publish.
    UnknownKey,
    /// The signature does not fit.
    Signature,
    /// Meant for somebody else.
    Audience,
    /// It was good once, or has no end.
    Expired,
    /// It is not good yet.
    NotYet,
    /// No tenant can be read from it.
    Tenant,
    /// The issuer's keys have not been read yet.
    KeysUnavailable,
}

/// The parts of a token.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// What is signed.
    pub(crate) message: &'a str,
    pub(crate) signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11): we understand none.
    crit: Option<IgnoredAny>,
}

impl Token<'_> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// [`TokenFault`] if it is longer than `bytes_max`, no JWT, or says an algorithm that nobody
    /// may use.
    pub(crate) fn parse(text: &str, bytes_max: usize) -> Result<Token<'_>, TokenFault> {
        if text.len() > bytes_max {
            return Err(TokenFault::TooLong);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        let header: Header = json(header)?;
        let known = header.typ.as_deref().is_none_or(is_jwt);
        let short = header.kid.as_ref().is_none_or(|kid| kid.len() <= KEY_ID_BYTES_MAX);
        if !known || !short || header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        let algorithm = Algorithm::all().into_iter().find(|one| one.as_str() == header.alg);
        Ok(Token {
            algorithm: algorithm.ok_or(TokenFault::Algorithm)?,
            key_id: header.kid,
            claims: json(payload)?,
            message,
            signature: decode(signature)?,
        })
    }

    /// A claim by name, or by JSON pointer if `name` starts with `/`.
    pub(crate) fn claim(&self, name: &str) -> Option<&Value> {
        let Some(pointer) = name.strip_prefix('/') else {
            return self.claims.get(name);
        };
        let mut steps = pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let first = self.claims.get(&steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(&step))
    }

    /// Whether the token is good at `now` (seconds since 1970), and until when.
    ///
    /// # Errors
    /// [`TokenFault::Expired`] also if it has no end, [`TokenFault::NotYet`],
    /// [`TokenFault::Malformed`] for times that are no numbers.
    pub(crate) fn valid_until(&self, now: u64, leeway: u64) -> Result<u64, TokenFault> {
        let end = self.time("exp")?.ok_or(TokenFault::Expired)?.saturating_add(leeway);
        if end <= now {
            return Err(TokenFault::Expired);
        }
        for start in ["nbf", "iat"] {
            if self.time(start)?.is_some_and(|start| start > now.saturating_add(leeway)) {
                return Err(TokenFault::NotYet);
            }
        }
        Ok(end)
    }

    /// A `NumericDate` claim (RFC 7519 §2), fractions cut off.
    fn time(&self, name: &str) -> Result<Option<u64>, TokenFault> {
        let Some(value) = self.claims.get(name) else {
            return Ok(None);
        };
        let whole = value.as_u64();
        let cut =
            || value.as_f64().filter(|time| (0.0..1e15).contains(time)).map(|time| time as u64);
        whole.or_else(cut).map(Some).ok_or(TokenFault::Malformed)
    }

    /// Whether `aud` is `audience`, or a list with it (RFC 7519 §4.1.3).
    pub(crate) fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                false
            }
        }
    }
}

/// The strings of a claim: a list of strings, or words of one string.
pub(crate) fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().collect(),
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// `JWT` (RFC 7519 §5.1) and `at+jwt` (RFC 9068 §2.1).
fn is_jwt(kind: &str) -> bool {
    ["jwt", "at+jwt", "application/at+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenFault> {
    serde_json::from_slice(&decode(part)?).map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.AAAA", part(header), part(claims))
    }

    #[test]
    fn only_our_algorithms_and_no_unknown_extensions_are_taken() {
        let fault = |header: Value| {
            Token::parse(&text(&header, &json!({})), 8192).map(|token| token.algorithm)
        };
        assert_eq!(fault(json!({"alg": "ES256"})), Ok(Algorithm::Es256));
        assert_eq!(fault(json!({"alg": "EdDSA", "typ": "at+JWT"})), Ok(Algorithm::EdDsa));
        for alg in ["none", "None", "HS256", "HS512", "RS512", "es256", ""] {
            assert_eq!(fault(json!({ "alg": alg })), Err(TokenFault::Algorithm), "{alg}");
        }
        for header in [
            json!({"alg": "ES256", "crit": ["b64"]}),
            json!({"alg": "ES256", "typ": "JOSE"}),
            json!({"alg": "ES256", "kid": 5}),
            json!({"alg": "ES256", "kid": "k".repeat(KEY_ID_BYTES_MAX + 1)}),
            json!({"alg": ["ES256"]}),
            json!({}),
            json!([]),
        ] {
            assert_eq!(fault(header.clone()), Err(TokenFault::Malformed), "{header}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_and_length_counts() {
        for wrong in
            ["", ".", "..", "a.b", "e30.e30.", "e30=.e30.AA", "eyJhbGciOiJFUzI1NiJ9.W10.AA"]
        {
            assert_eq!(Token::parse(wrong, 8192).unwrap_err(), TokenFault::Malformed, "{wrong}");
        }
        let good = text(&json!({"alg": "ES256"}), &json!({}));
        assert!(Token::parse(&good, good.len()).is_ok());
        assert_eq!(Token::parse(&good, good.len() - 1).unwrap_err(), TokenFault::TooLong);
        assert!(Token::parse(&format!("{good}.AA"), 8192).is_err(), "five parts are another form");
    }

    #[test]
    fn times_hold_to_the_second_with_leeway() {
        let until = |claims: Value, now| {
            let text = text(&json!({"alg": "ES256"}), &claims);
            Token::parse(&text, 8192).unwrap().valid_until(now, 10)
        };
        assert_eq!(until(json!({"exp": 100}), 109), Ok(110));
        assert_eq!(until(json!({"exp": 100}), 110), Err(TokenFault::Expired));
        assert_eq!(until(json!({"exp": 100.9}), 109), Ok(110));
        assert_eq!(until(json!({}), 0), Err(TokenFault::Expired));
        for start in ["nbf", "iat"] {
            assert_eq!(until(json!({"exp": 99, start: 60}), 50), Ok(109));
            assert_eq!(until(json!({"exp": 99, start: 61}), 50), Err(TokenFault::NotYet));
            assert_eq!(until(json!({"exp": 99, start: "1"}), 50), Err(TokenFault::Malformed));
        }
        for odd in [json!("100"), json!(null), json!(-1), json!(1e300), json!([100])] {
            assert_eq!(until(json!({ "exp": odd }), 50), Err(TokenFault::Malformed), "{odd}");
        }
    }

    #[test]
    fn audiences_and_nested_claims_are_found() {
        let claims = json!({"aud": ["x", "us"], "realm_access": {"roles": ["a", 5, "b"]},
            "https://x/y": "q", "scope": "a  b"});
        let text = text(&json!({"alg": "ES256"}), &claims);
        let token = Token::parse(&text, 8192).unwrap();
        assert!(token.is_for("us") && !token.is_for("u") && !token.is_for("x us"));
        assert_eq!(words(token.claim("/realm_access/roles").unwrap()), ["a", "b"]);
        assert_eq!(words(token.claim("scope").unwrap()), ["a", "b"]);
        assert_eq!(token.claim("https://x/y").unwrap(), "q");
        assert_eq!(token.claim("/https:~1~1x~1y").unwrap(), "q");
        assert!(token.claim("/realm_access/none").is_none() && token.claim("/").is_none());
    }
}
