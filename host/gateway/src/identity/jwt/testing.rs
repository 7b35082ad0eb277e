//! An issuer for tests: signs what it is told to.

use crate::identity::settings::{Algorithm, IssuerConfig};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "aimass";

/// One P-256 and one Ed25519 key, named `<name>-ec` and `<name>-ed`.
pub(crate) struct TestIssuer {
    name: String,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl TestIssuer {
    pub(crate) fn new(name: &str) -> TestIssuer {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let ec = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        TestIssuer {
            name: name.to_owned(),
            ec: EcdsaKeyPair::from_pkcs8(kind, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    pub(crate) fn jwks(&self) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.ec.public_key().as_ref();
        let (ec, ed) = (format!("{}-ec", self.name), format!("{}-ed", self.name));
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": ec, "x": text(&point[1..33]), "y": text(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": ed, "x": text(self.ed.public_key().as_ref())},
        ]})
        .to_string()
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let kid = match algorithm {
            Algorithm::Es256 => "ec",
            Algorithm::EdDsa => "ed",
            Algorithm::Rs256 => panic!("ring makes no RSA keys; the RFC's own vector tests them"),
        };
        let kid = format!("{}-{kid}", self.name);
        self.sign_as(algorithm, &json!({"alg": algorithm.as_str(), "kid": kid}), claims)
    }

    /// A token with this header, whatever it says, signed with `algorithm`.
    pub(crate) fn sign_as(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = match algorithm {
            Algorithm::EdDsa => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            Algorithm::Es256 | Algorithm::Rs256 => {
                let signed = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
                signed.as_ref().to_vec()
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Settings that trust the issuer's tokens about tenant, roles and models.
pub(crate) fn settings(jwks: &str) -> IssuerConfig {
    let text = format!(
        "issuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks = \"{jwks}\"\ntenant_claim = \
         \"tenant\"\nroles_claim = \"roles\"\nroles = [\"viewer\", \"invoker\", \"publisher\", \
         \"operator\", \"super-user\"]\nmodels_claim = \"models\"\n"
    );
    toml::from_str(&text).unwrap()
}

/// Claims that open everything of the models `identity` and `embed` until `exp`.
pub(crate) fn claims(exp: u64) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "exp": exp, "tenant": "acme", "roles": ["invoker"],
        "models": ["identity", "embed"]})
}
