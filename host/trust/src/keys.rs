//! Ed25519 keys and the one rule by which keys and signatures are accepted.
//!
//! The rule is stricter than `verify_strict` alone (which accepts 43 of the 914 edge cases of the
//! C2SP CCTV vectors): a public key must be canonical, not of small order and free of torsion.
//! Ed25519 is the only algorithm. Deliberately absent: any function that takes a secret key and a
//! public key side by side (RUSTSEC-2022-0093), and any text form of the secret outside its file.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::TrustError;
use crate::hex;
use crate::refusal::excerpt;

const PREFIX: &str = "ed25519:";

/// A public key that passed the strict rule. Its text is `ed25519:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

/// A secret key with its public key. Its memory is zeroed when it is dropped; it has no text form.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl PublicKey {
    /// The key of 32 bytes.
    ///
    /// # Errors
    /// [`TrustError::PublicKey`] unless the bytes are the canonical form of a point of prime order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, TrustError> {
        let refused = |why| TrustError::PublicKey { got: hex::encode(bytes), why };
        let key =
            VerifyingKey::from_bytes(bytes).map_err(|_| refused("not a point of the curve"))?;
        if key.is_weak() {
            return Err(refused("a point of small order"));
        }
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(refused("not the canonical form of its point"));
        }
        match key.to_edwards().is_torsion_free() {
            true => Ok(PublicKey(key)),
            false => Err(refused("a point of mixed order")),
        }
    }

    /// The 32 bytes of the key.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The 12 bytes by which a `signature` section names the key, as wasmsign2 derives them.
    pub fn key_id(self) -> [u8; 12] {
        // A key of HMAC that is shorter than its block is filled up with zeros.
        let mut block = [0; 64];
        block[..32].copy_from_slice(self.0.as_bytes());
        let mac = Hmac::<Sha256>::new(&block.into()).chain_update(b"key_id").finalize();
        std::array::from_fn(|at| mac.as_bytes()[at])
    }

    /// Whether `signature` is this key's signature of `message`, by `verify_strict`.
    pub fn verifies(self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let bytes = text.strip_prefix(PREFIX).and_then(hex::decode::<32>);
        let why = "not of this form";
        Self::from_bytes(&bytes.ok_or_else(|| TrustError::PublicKey { got: excerpt(text), why })?)
    }
}

impl SigningKey {
    /// A new key from the randomness of the operating system.
    ///
    /// # Errors
    /// [`TrustError::Randomness`] if there is none.
    pub fn generate() -> Result<Self, TrustError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())
            .map_err(|error| TrustError::Randomness(error.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {})", self.public())
    }
}

/// Whether `signature_hex` is a signature of `message_hex` by `public_hex`, all in lower-case
/// hexadecimal, under the strict rule for keys and signatures. Anything malformed is `false`.
pub fn check_signature(public_hex: &str, message_hex: &str, signature_hex: &str) -> bool {
    let public = hex::decode::<32>(public_hex).and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
    match (public, hex::decode_any(message_hex), hex::decode::<64>(signature_hex)) {
        (Some(public), Some(message), Some(signature)) => public.verifies(&message, &signature),
        (_, _, _) => false,
    }
}
