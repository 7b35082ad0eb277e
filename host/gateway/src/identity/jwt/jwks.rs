//! Public keys of an issuer: a JWK set (RFC 7517 §5) of RSA, P-256 and Ed25519 keys.
//!
//! Other keys of the set are left out, as the RFC asks; secret keys (`oct`) never get in.

use crate::identity::settings::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// Largest key set, in bytes.
pub(crate) const JWKS_BYTES_MAX: usize = 256 << 10;
/// Most keys of one set, unusable ones included.
const KEYS_MAX: usize = 64;

/// Why a key set is refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwksError {
    #[error("expected at most {JWKS_BYTES_MAX} bytes, got {got}")]
    TooLarge { got: usize },
    #[error("expected a JWK set (RFC 7517): {0}")]
    Json(String),
    #[error("expected at most {KEYS_MAX} keys, got {got}")]
    TooMany { got: usize },
    #[error("expected at least one RSA, P-256 or Ed25519 key for signatures, got {got} other keys")]
    NoKey { got: usize },
}

/// The usable keys of an issuer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed point, 65 bytes.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct WireSet {
    keys: Vec<WireKey>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    /// [`JwksError`] if it is no set, too large, or has no usable key.
    pub(crate) fn parse(bytes: &[u8]) -> Result<KeySet, JwksError> {
        if bytes.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLarge { got: bytes.len() });
        }
        let set: WireSet =
            serde_json::from_slice(bytes).map_err(|error| JwksError::Json(error.to_string()))?;
        let got = set.keys.len();
        if got > KEYS_MAX {
            return Err(JwksError::TooMany { got });
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(key).collect();
        if keys.is_empty() { Err(JwksError::NoKey { got }) } else { Ok(KeySet { keys }) }
    }

    /// Number of usable keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether `signature` over `message` is by the key `id`, or without an id by the only key that
    /// the algorithm fits. Nothing if there is no such key.
    pub(crate) fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.material.algorithm() == algorithm && (id.is_none() || key.id.as_deref() == id)
        });
        let key = fitting.next()?;
        if fitting.next().is_some() {
            return None;
        }
        Some(key.material.verify(message, signature))
    }
}

impl Material {
    fn algorithm(&self) -> Algorithm {
        match self {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let point = |scheme: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(scheme, key).verify(message, signature).is_ok()
        };
        match self {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Material::P256(key) => point(&signature::ECDSA_P256_SHA256_FIXED, key),
            Material::Ed25519(key) => point(&signature::ED25519, key),
        }
    }
}

/// The key, if it is one of ours and meant for signatures.
fn key(wire: WireKey) -> Option<Key> {
    if wire.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes =
        |text: &Option<String>| text.as_deref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let exactly = |text: &Option<String>, len| bytes(text).filter(|bytes| bytes.len() == len);
    let material = match (wire.kty.as_str(), wire.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes(&wire.n)?, bytes(&wire.e)?);
            // ring refuses leading zeros and sizes out of range at every use; better once, here.
            let bits = n.len() * 8;
            let sound = (2048..=8192).contains(&bits) && n[0] != 0 && (1..=8).contains(&e.len());
            sound.then_some(Material::Rsa { n, e })?
        }
        ("EC", Some("P-256")) => {
            Material::P256([vec![4], exactly(&wire.x, 32)?, exactly(&wire.y, 32)?].concat())
        }
        ("OKP", Some("Ed25519")) => Material::Ed25519(exactly(&wire.x, 32)?),
        _ => return None,
    };
    let fits = wire.alg.as_deref().is_none_or(|alg| alg == material.algorithm().as_str());
    fits.then_some(Key { id: wire.kid, material })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ed(kid: &str) -> String {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#)
    }

    fn parse(keys: &[String]) -> Result<usize, JwksError> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
            .map(|keys| keys.len())
    }

    #[test]
    fn only_public_keys_for_signatures_are_taken() {
        let rsa = |bytes: usize, more: &str| {
            let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"{more}}}"#)
        };
        for (key, taken) in [
            (ed("a"), true),
            (rsa(256, ""), true),
            (rsa(1024, r#","use":"sig","alg":"RS256""#), true),
            (rsa(255, ""), false),
            (rsa(1025, ""), false),
            (rsa(256, r#","use":"enc""#), false),
            (rsa(256, r#","alg":"HS256""#), false),
            (rsa(256, r#","alg":"none""#), false),
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), false),
            (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(), false),
            (r#"{"kty":"RSA","n":"","e":""}"#.to_owned(), false),
        ] {
            assert_eq!(parse(std::slice::from_ref(&key)).is_ok(), taken, "{key}");
        }
        assert_eq!(parse(&[ed("a"), r#"{"kty":"oct","k":"c2Vj"}"#.into()]), Ok(1));
    }

    #[test]
    fn a_set_may_be_as_large_as_its_limits() {
        let keys = |count: usize| (0..count).map(|kid| ed(&kid.to_string())).collect::<Vec<_>>();
        assert_eq!(parse(&keys(KEYS_MAX)), Ok(KEYS_MAX));
        assert_eq!(parse(&keys(KEYS_MAX + 1)), Err(JwksError::TooMany { got: KEYS_MAX + 1 }));
        assert_eq!(parse(&[]), Err(JwksError::NoKey { got: 0 }));
        let mut text = format!(r#"{{"keys":[{}]}}"#, ed("a")).into_bytes();
        text.resize(JWKS_BYTES_MAX, b' ');
        assert!(KeySet::parse(&text).is_ok());
        text.push(b' ');
        assert!(matches!(KeySet::parse(&text), Err(JwksError::TooLarge { .. })));
        assert!(matches!(KeySet::parse(b"[]"), Err(JwksError::Json(_))));
    }

    #[test]
    fn the_example_of_rfc_7515_a2_holds_and_one_bit_breaks_it() {
        let n = concat!(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJ",
            "PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0",
            "LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD",
            "Zlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2",
            "PAcDTW9gb54h4FRWyuXpoQ"
        );
        let signature = concat!(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF",
            "5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK",
            "5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqt",
            "FZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB",
            "p0igcN_IoypGlUPQGe77Rw"
        );
        let message = concat!(
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9",
            "leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        );
        let set = format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB"}}]}}"#);
        let set = KeySet::parse(set.as_bytes()).unwrap();
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let verify =
            |signature: &[u8]| set.verify(None, Algorithm::Rs256, message.as_bytes(), signature);
        assert_eq!(verify(&signature), Some(true));
        signature[9] ^= 1;
        assert_eq!(verify(&signature), Some(false));
    }
}
