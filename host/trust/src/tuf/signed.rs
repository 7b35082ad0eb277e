//! A signed TUF file: its signatures, and thresholds counted by key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::hex;
use crate::json::{self, Floats};
use crate::keys::PublicKey;
use crate::refusal::{Refusal, RefusalCode, excerpt};

/// Size limit of one metadata file, and of the list of revocations: 1 MiB.
pub const METADATA_BYTES_MAX: usize = 1 << 20;

/// Keys of one role; more are refused.
const ROLE_KEYS_MAX: usize = 64;

/// What to do about metadata that is not as its marketplace made it.
pub(crate) const FETCH_AGAIN: &str =
    "fetch the marketplace's metadata again, from another mirror if this one lies";

/// A read file; nothing in it is known to be true before [`Signed::check`].
pub(crate) struct Signed {
    name: &'static str,
    value: Value,
    message: Vec<u8>,
    signatures: BTreeMap<String, [u8; 64]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    signatures: Vec<LineText>,
    signed: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineText {
    keyid: String,
    sig: String,
}

/// A public key as TUF writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyText {
    pub(crate) keytype: String,
    pub(crate) scheme: String,
    pub(crate) keyval: KeyValueText,
}

/// The bytes of a public key, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyValueText {
    pub(crate) public: String,
}

/// Who may sign a role, and how many must.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) keyids: Vec<String>,
    pub(crate) threshold: u64,
}

/// Keys by their ids, as root and delegations list them.
pub(crate) type Keys = BTreeMap<String, KeyText>;

impl KeyText {
    /// The key under the strict rule; `None` if it is of another kind, or breaks the rule.
    pub(crate) fn public(&self) -> Option<PublicKey> {
        let ed25519 = self.keytype == "ed25519" && self.scheme == "ed25519";
        let bytes = hex::decode::<32>(&self.keyval.public).filter(|_| ed25519)?;
        PublicKey::from_bytes(&bytes).ok()
    }
}

impl Role {
    /// The strict keys among the first 64 of the role, each once, whatever ids it has.
    pub(crate) fn public_keys(&self, keys: &Keys) -> Vec<PublicKey> {
        let mut found = Vec::new();
        for key in self.keyids.iter().take(ROLE_KEYS_MAX).filter_map(|id| keys.get(id)?.public()) {
            if !found.contains(&key) {
                found.push(key);
            }
        }
        found
    }
}

impl Signed {
    /// Reads the file called `name`, of at most 1 MiB.
    pub(crate) fn parse(name: &'static str, text: &[u8]) -> Result<Self, Refusal> {
        if text.len() > METADATA_BYTES_MAX {
            let (expected, got) =
                (format!("{name} of at most 1 MiB"), format!("{} bytes", text.len()));
            return Err(Refusal::new(RefusalCode::Size, expected, got, FETCH_AGAIN));
        }
        let file: FileText = json::parse(text, Floats::Refused)
            .map_err(|error| malformed(name, &error.to_string()))?;
        let mut signatures = BTreeMap::new();
        for line in file.signatures {
            let signature = hex::decode::<64>(&line.sig).ok_or_else(|| {
                malformed(name, "a signature that is not 64 bytes in hexadecimal")
            })?;
            if signatures.insert(line.keyid, signature).is_some() {
                return Err(malformed(name, "two signatures by one key id"));
            }
        }
        Ok(Signed {
            name,
            message: canonical::encode(&file.signed),
            value: file.signed,
            signatures,
        })
    }

    /// Checks that a threshold of `role`'s keys signed, each key counted once whatever its ids. A
    /// signature of a listed key that does not hold is a refusal; lines of others are not looked at.
    pub(crate) fn check(&self, keys: &Keys, role: &Role, code: RefusalCode) -> Result<(), Refusal> {
        let refused = |expected: String, got: String| {
            Err(Refusal::new(code, format!("{} {expected}", self.name), got, FETCH_AGAIN))
        };
        if role.threshold == 0 || role.keyids.len() > ROLE_KEYS_MAX {
            let got = format!("{} of {} keys", role.threshold, role.keyids.len());
            return refused("with a threshold of at least 1 and at most 64 keys".to_owned(), got);
        }
        let mut signers: Vec<PublicKey> = Vec::new();
        for id in &role.keyids {
            let Some(signature) = self.signatures.get(id) else {
                continue;
            };
            let Some(key) = keys.get(id).and_then(KeyText::public) else {
                let got = format!("key {} that is none", excerpt(id));
                return refused("signed by canonical Ed25519 keys of prime order".to_owned(), got);
            };
            if !key.verifies(&self.message, signature) {
                let got = format!("one of {key} that does not hold");
                return refused("whose signatures hold".to_owned(), got);
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        match signers.len() as u64 >= role.threshold {
            true => Ok(()),
            false => refused(
                format!("signed by {} different keys of its role", role.threshold),
                format!("{}", signers.len()),
            ),
        }
    }

    /// The content, as the metadata type `T`.
    pub(crate) fn read<T: super::metadata::Metadata>(self) -> Result<T, Refusal> {
        let kind = self.value.get("_type").and_then(Value::as_str).unwrap_or("none");
        if kind != T::TYPE {
            return Err(malformed(self.name, &format!("metadata of type {kind}")));
        }
        let version = self.value.get("spec_version").and_then(Value::as_str).unwrap_or("none");
        if !version.starts_with("1.") {
            return Err(malformed(self.name, &format!("specification version {version}")));
        }
        serde_json::from_value(self.value).map_err(|error| malformed(self.name, &error.to_string()))
    }
}

/// The refusal of a file that is no TUF metadata.
pub(crate) fn malformed(name: &str, got: &str) -> Refusal {
    let expected = format!("{name} as TUF 1.0 and AMT-1 prescribe it");
    Refusal::new(RefusalCode::Format, expected, excerpt(got), FETCH_AGAIN)
}
