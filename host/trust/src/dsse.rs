//! The DSSE envelope around a statement (DSSE v1, payload type of in-toto).
//!
//! Signatures are over `"DSSEv1" SP len(type) SP type SP len(payload) SP payload` (PAE), that is over
//! the raw payload: it is parsed only after one of them holds. A signature line names its key by the
//! key's whole text; lines of strangers are not looked at, and none counts twice.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::json::{self, Floats};
use crate::keys::{PublicKey, SigningKey};
use crate::refusal::{GET_AGAIN, Refusal, RefusalCode, excerpt};

/// Size limit of a signed statement: 256 KiB.
pub const STATEMENT_BYTES_MAX: usize = 256 << 10;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const SIGNATURES_MAX: usize = 16;

/// A read envelope; nothing in it is known to be true before [`Envelope::check`].
pub(crate) struct Envelope {
    pub(crate) payload: Vec<u8>,
    pub(crate) signatures: Vec<(String, [u8; 64])>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnvelopeText {
    payload: String,
    payload_type: String,
    signatures: Vec<SignatureText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureText {
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Reads an envelope of at most 256 KiB.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        const EXPECTED: &str =
            "a DSSE envelope with an in-toto payload and 1 to 16 signatures by different keys";
        if text.is_empty() {
            let remedy =
                "publish the `.dsse.json` file beside the package; `aimass plugin sign` makes it";
            return Err(Refusal::new(RefusalCode::Unsigned, "a signed statement", "none", remedy));
        }
        if text.len() > STATEMENT_BYTES_MAX {
            let got = format!("{} bytes", text.len());
            return Err(Refusal::new(
                RefusalCode::Size,
                "a statement of at most 256 KiB",
                got,
                GET_AGAIN,
            ));
        }
        let read: EnvelopeText = json::parse(text, Floats::Refused)
            .map_err(|error| Refusal::format(EXPECTED, excerpt(&error.to_string())))?;
        let wrong = |got: &str| Refusal::format(EXPECTED, got);
        if read.payload_type != PAYLOAD_TYPE {
            return Err(wrong("another `payloadType`"));
        }
        if read.signatures.is_empty() {
            let remedy = "sign it with `aimass plugin sign`";
            return Err(Refusal::new(
                RefusalCode::Unsigned,
                "a signed statement",
                "no signature",
                remedy,
            ));
        }
        if read.signatures.len() > SIGNATURES_MAX {
            return Err(wrong("more than 16 signatures"));
        }
        let payload =
            STANDARD.decode(&read.payload).map_err(|_| wrong("a payload that is not base64"))?;
        let mut signatures: Vec<(String, [u8; 64])> = Vec::new();
        for line in read.signatures {
            let bytes =
                STANDARD.decode(&line.sig).map_err(|_| wrong("a signature that is not base64"))?;
            let signature =
                bytes.try_into().map_err(|_| wrong("a signature that is not 64 bytes"))?;
            if signatures.iter().any(|(keyid, _)| *keyid == line.keyid) {
                return Err(wrong("two signatures by one key"));
            }
            signatures.push((line.keyid, signature));
        }
        Ok(Envelope { payload, signatures })
    }

    /// An envelope without signatures yet.
    pub(crate) fn of(payload: &[u8]) -> Self {
        Envelope { payload: payload.to_vec(), signatures: Vec::new() }
    }

    /// Adds `key`'s signature; an older one by the same key is replaced.
    pub(crate) fn sign(&mut self, key: &SigningKey) {
        let keyid = key.public().to_string();
        self.signatures.retain(|(other, _)| *other != keyid);
        self.signatures.push((keyid, key.sign(&self.message())));
    }

    /// The text that [`Envelope::parse`] reads, on one line without spaces.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, Refusal> {
        let line = |(keyid, signature): &(String, [u8; 64])| SignatureText {
            keyid: keyid.clone(),
            sig: STANDARD.encode(signature),
        };
        let text = serde_json::to_vec(&EnvelopeText {
            payload: STANDARD.encode(&self.payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: self.signatures.iter().map(line).collect(),
        });
        let text = text.map_err(|error| Refusal::format("an envelope", error.to_string()))?;
        Self::parse(&text).map(|_| text)
    }

    /// Whether the envelope has a line of `key`, right or wrong.
    pub(crate) fn names(&self, key: PublicKey) -> bool {
        self.signature_of(key).is_some()
    }

    /// Checks that `key` signed the payload.
    pub(crate) fn check(&self, key: PublicKey) -> Result<(), Refusal> {
        match self
            .signature_of(key)
            .is_some_and(|signature| key.verifies(&self.message(), signature))
        {
            true => Ok(()),
            false => Err(Refusal::new(
                RefusalCode::Sig,
                format!("a statement signed by {key}"),
                "a signature that does not hold",
                GET_AGAIN,
            )),
        }
    }

    /// The keys of all lines, each of which must be a key whose signature holds.
    pub(crate) fn check_all(&self) -> Result<Vec<PublicKey>, Refusal> {
        let check = |(keyid, _): &(String, [u8; 64])| {
            let key = keyid.parse::<PublicKey>().map_err(|error| {
                Refusal::new(
                    RefusalCode::Key,
                    "lines that name their key",
                    error.to_string(),
                    GET_AGAIN,
                )
            })?;
            self.check(key).map(|()| key)
        };
        self.signatures.iter().map(check).collect()
    }

    /// Key texts of all lines, fit for a message.
    pub(crate) fn signers(&self) -> String {
        let names: Vec<String> = self.signatures.iter().map(|(keyid, _)| excerpt(keyid)).collect();
        names.join(" and ")
    }

    fn signature_of(&self, key: PublicKey) -> Option<&[u8; 64]> {
        let keyid = key.to_string();
        self.signatures.iter().find(|(other, _)| *other == keyid).map(|(_, signature)| signature)
    }

    /// What is signed (PAE).
    pub(crate) fn message(&self) -> Vec<u8> {
        let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), self.payload.len());
        [head.as_bytes(), &self.payload].concat()
    }
}

/// SHA-256 as lower-case hexadecimal text in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HexDigest(pub [u8; 32]);

impl TryFrom<String> for HexDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        hex::decode(&text)
            .map(HexDigest)
            .ok_or_else(|| format!("`{}` is not a SHA-256 digest", excerpt(&text)))
    }
}

impl From<HexDigest> for String {
    fn from(digest: HexDigest) -> String {
        hex::encode(&digest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_message_is_that_of_the_dsse_specification() {
        let envelope = Envelope::of(b"{}");
        assert_eq!(envelope.message(), b"DSSEv1 28 application/vnd.in-toto+json 2 {}");
    }

    #[test]
    fn a_signature_counts_once_and_only_for_its_key_and_payload() {
        let (key, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let mut envelope = Envelope::of(b"{}");
        envelope.sign(&key);
        envelope.sign(&key);
        let mut read = Envelope::parse(&envelope.to_json().expect("json")).expect("read");
        assert_eq!(read.signatures.len(), 1);
        assert!(read.check(key.public()).is_ok() && read.check(other.public()).is_err());
        assert!(read.names(key.public()) && !read.names(other.public()));
        read.payload.push(b' ');
        assert_eq!(read.check(key.public()).expect_err("changed").code, RefusalCode::Sig);
    }

    #[test]
    fn other_envelopes_are_refused() {
        let mut envelope = Envelope::of(b"{}");
        envelope.sign(&SigningKey::from_seed(&[1; 32]));
        let good = String::from_utf8(envelope.to_json().expect("json")).expect("text");
        let line = good
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .expect("lines")
            .0
            .to_owned();
        for (from, to, code) in [
            ("in-toto", "in-tutu", RefusalCode::Format),
            ("\"payload\"", "\"pay1oad\"", RefusalCode::Format),
            ("e30=", "e30", RefusalCode::Format),
            ("e30=", "e31=", RefusalCode::Format),
            ("e30=", "e3 0=", RefusalCode::Format),
            (line.as_str(), "", RefusalCode::Unsigned),
            (line.as_str(), &format!("{line},{line}"), RefusalCode::Format),
            (line.as_str(), &vec![line.clone(); 17].join(","), RefusalCode::Format),
            ("\"keyid\"", "\"x\":1,\"keyid\"", RefusalCode::Format),
            ("}", "}}", RefusalCode::Format),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            assert_eq!(
                Envelope::parse(text.as_bytes()).err().map(|refusal| refusal.code),
                Some(code),
                "{text}"
            );
        }
        assert_eq!(
            Envelope::parse(b"").err().map(|refusal| refusal.code),
            Some(RefusalCode::Unsigned)
        );
        let huge = vec![b' '; STATEMENT_BYTES_MAX + 1];
        assert_eq!(
            Envelope::parse(&huge).err().map(|refusal| refusal.code),
            Some(RefusalCode::Size)
        );
    }
}
