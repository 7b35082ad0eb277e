//! The list of what must not run anymore: target `revocations.json` of the marketplace.
//!
//! ```json
//! {"_type":"urn:aimass:revocations:v1","entries":[
//!  {"sha256":"<file>","reason":"exfiltrates prompts","at":"2026-11-20T10:00:00Z"},
//!  {"key":"ed25519:<hex>","fromLogIndex":42,"reason":"key stolen","at":"…"},
//!  {"publisher":"evil","reason":"…","at":"…"},
//!  {"name":"acme/resize-norm","from":"1.0.0","to":"1.4.1","reason":"…","at":"…"}]}
//! ```
//! A key with `fromLogIndex` keeps what it signed before that place in the log. Versions are compared
//! as semantic versions, both ends included; a missing end is open.

use serde::{Deserialize, Serialize};

use crate::dsse::HexDigest;
use crate::error::TrustError;
use crate::hex;
use crate::json::{self, Floats};
use crate::keys::PublicKey;
use crate::names::{PackageName, Version};
use crate::refusal::{Refusal, RefusalCode, excerpt};
use crate::timestamp::Timestamp;
use crate::tuf::signed::{FETCH_AGAIN, METADATA_BYTES_MAX};

const TYPE: &str = "urn:aimass:revocations:v1";

/// Everything that was revoked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revocations {
    entries: Vec<Revocation>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Revocation {
    /// What must not run.
    pub what: Revoked,
    /// Why, in a sentence for the operator.
    pub reason: String,
    /// When it was revoked.
    pub at: Timestamp,
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Revoked {
    /// One file, and whatever depends on it.
    File([u8; 32]),
    /// A publisher's or reviewer's key, wholly or from a place in the log on.
    Key {
        /// The key.
        key: PublicKey,
        /// Signatures logged before this index stay good; `None`: none does.
        from_log_index: Option<u64>,
    },
    /// Everything of a publisher.
    Publisher(String),
    /// A range of versions of one package.
    Versions {
        /// The package.
        name: PackageName,
        /// First revoked version; `None`: the first of all.
        from: Option<Version>,
        /// Last revoked version; `None`: no end.
        to: Option<Version>,
    },
}

/// What is asked about a release.
pub(crate) struct Facts<'a> {
    pub(crate) files: &'a [[u8; 32]],
    pub(crate) keys: &'a [PublicKey],
    pub(crate) name: &'a PackageName,
    pub(crate) version: &'a Version,
    pub(crate) log_index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListText {
    #[serde(rename = "_type")]
    kind: String,
    entries: Vec<EntryText>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntryText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<HexDigest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_log_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<PackageName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Version>,
    reason: String,
    at: String,
}

impl Revocations {
    /// Reads a list of at most 1 MiB.
    ///
    /// # Errors
    /// `AMT-SIZE`, or `AMT-FORMAT` for anything but exactly this form: an entry that a host does not
    /// understand must not be passed over.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let wrong = |got: &str| Refusal::format(format!("revocations of the form {TYPE}"), got);
        if text.len() > METADATA_BYTES_MAX {
            let got = format!("{} bytes", text.len());
            let expected = "a list of revocations of at most 1 MiB";
            return Err(Refusal::new(RefusalCode::Size, expected, got, FETCH_AGAIN));
        }
        let list: ListText = json::parse(text, Floats::Refused)
            .map_err(|error| wrong(&excerpt(&error.to_string())))?;
        if list.kind != TYPE {
            return Err(wrong(&excerpt(&list.kind)));
        }
        let entries = list.entries.into_iter().map(|entry| {
            Revocation::read(entry)
                .ok_or_else(|| wrong("an entry about nothing, or about two things"))
        });
        Ok(Revocations { entries: entries.collect::<Result<_, _>>()? })
    }

    /// The text that [`Revocations::parse`] reads.
    ///
    /// # Errors
    /// [`TrustError::Sign`] above 1 MiB.
    pub fn to_json(&self) -> Result<Vec<u8>, TrustError> {
        let entries = self.entries.iter().map(Revocation::text).collect();
        let text = serde_json::to_vec(&ListText { kind: TYPE.to_owned(), entries })
            .map_err(|error| Refusal::format("revocations", error.to_string()))?;
        Self::parse(&text)?;
        Ok(text)
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[Revocation] {
        &self.entries
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: Revocation) {
        self.entries.push(entry);
    }

    /// Whether `key` was revoked for what is in the log at `index`.
    pub(crate) fn key_is_revoked(&self, key: PublicKey, index: u64) -> bool {
        self.entries.iter().any(|entry| entry.what.covers_key(key, index))
    }

    /// Checks that no entry is about the release.
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Refusal> {
        match self.entries.iter().find(|entry| entry.what.covers(facts)) {
            None => Ok(()),
            Some(entry) => Err(Refusal::new(
                RefusalCode::Revoked,
                format!("a release of {} that was not revoked", facts.name),
                format!(
                    "{} revoked at {}: {}",
                    entry.what.words(),
                    entry.at,
                    excerpt(&entry.reason)
                ),
                "update to a release that is good, or remove the package; there is no exception",
            )),
        }
    }
}

impl Revocation {
    fn read(text: EntryText) -> Option<Self> {
        let EntryText { sha256, key, from_log_index, publisher, name, from, to, reason, at } = text;
        let is_key = key.is_some();
        let ranged = name.is_some();
        let what = match (sha256, key, publisher, name) {
            (Some(digest), None, None, None) => Revoked::File(digest.0),
            (None, Some(key), None, None) => {
                Revoked::Key { key: key.parse().ok()?, from_log_index }
            }
            (None, None, Some(publisher), None) => Revoked::Publisher(publisher),
            (None, None, None, Some(name)) => {
                Revoked::Versions { name, from: from.clone(), to: to.clone() }
            }
            (_, _, _, _) => return None,
        };
        let stray =
            (from_log_index.is_some() && !is_key) || ((from.is_some() || to.is_some()) && !ranged);
        Some(Revocation { what, reason, at: at.parse().ok()? }).filter(|_| !stray)
    }

    fn text(&self) -> EntryText {
        let text = EntryText {
            reason: self.reason.clone(),
            at: self.at.to_string(),
            ..EntryText::default()
        };
        match &self.what {
            Revoked::File(digest) => EntryText { sha256: Some(HexDigest(*digest)), ..text },
            Revoked::Key { key, from_log_index } => {
                EntryText { key: Some(key.to_string()), from_log_index: *from_log_index, ..text }
            }
            Revoked::Publisher(name) => EntryText { publisher: Some(name.clone()), ..text },
            Revoked::Versions { name, from, to } => {
                EntryText { name: Some(name.clone()), from: from.clone(), to: to.clone(), ..text }
            }
        }
    }
}

impl Revoked {
    fn covers(&self, facts: &Facts<'_>) -> bool {
        match self {
            Revoked::File(digest) => facts.files.contains(digest),
            Revoked::Key { .. } => {
                facts.keys.iter().any(|key| self.covers_key(*key, facts.log_index))
            }
            Revoked::Publisher(publisher) => publisher == facts.name.publisher(),
            Revoked::Versions { name, from, to } => {
                let below = from.as_ref().is_some_and(|from| order(facts.version, from).is_lt());
                let above = to.as_ref().is_some_and(|to| order(facts.version, to).is_gt());
                name == facts.name && !below && !above
            }
        }
    }

    fn covers_key(&self, asked: PublicKey, index: u64) -> bool {
        match self {
            Revoked::Key { key, from_log_index } => {
                *key == asked && from_log_index.is_none_or(|from| index >= from)
            }
            Revoked::File(_) | Revoked::Publisher(_) | Revoked::Versions { .. } => false,
        }
    }

    fn words(&self) -> String {
        match self {
            Revoked::File(digest) => format!("file {}", hex::encode(digest)),
            Revoked::Key { key, .. } => format!("key {key}"),
            Revoked::Publisher(name) => format!("publisher {}", excerpt(name)),
            Revoked::Versions { name, .. } => format!("versions of {name}"),
        }
    }
}

/// Semantic order. Versions follow the rule of [`Version`], which is narrower than semver's.
fn order(a: &Version, b: &Version) -> std::cmp::Ordering {
    let read = |version: &Version| semver::Version::parse(version.as_str()).ok();
    read(a).cmp(&read(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn facts<'a>(name: &'a PackageName, version: &'a Version, keys: &'a [PublicKey]) -> Facts<'a> {
        Facts { files: &[[1; 32]], keys, name, version, log_index: 5 }
    }

    fn revoked(what: Revoked, name: &str, version: &str) -> bool {
        let (name, version) = (name.parse().expect("name"), version.parse().expect("version"));
        let keys = [SigningKey::from_seed(&[1; 32]).public()];
        let entry = Revocation { what, reason: "test".to_owned(), at: Timestamp::from_unix(9) };
        let list = Revocations { entries: vec![entry] };
        let list = Revocations::parse(&list.to_json().expect("json")).expect("read");
        let result = list.check(&facts(&name, &version, &keys));
        assert!(result.as_ref().err().is_none_or(|refusal| refusal.code == RefusalCode::Revoked));
        result.is_err()
    }

    #[test]
    fn entries_cover_what_they_name_and_nothing_else() {
        let key = |seed: u8, from_log_index| Revoked::Key {
            key: SigningKey::from_seed(&[seed; 32]).public(),
            from_log_index,
        };
        for (what, expected) in [
            (Revoked::File([1; 32]), true),
            (Revoked::File([2; 32]), false),
            (key(1, None), true),
            (key(1, Some(5)), true),
            (key(1, Some(6)), false),
            (key(2, None), false),
            (Revoked::Publisher("acme".to_owned()), true),
            (Revoked::Publisher("acm".to_owned()), false),
        ] {
            assert_eq!(revoked(what.clone(), "acme/xx", "1.4.2"), expected, "{what:?}");
        }
    }

    #[test]
    fn ranges_of_versions_are_semantic_and_include_their_ends() {
        let range = |from: &str, to: &str| Revoked::Versions {
            name: "acme/xx".parse().expect("name"),
            from: from.parse().ok(),
            to: to.parse().ok(),
        };
        for (from, to, version, expected) in [
            ("1.0.0", "1.4.2", "1.4.2", true),
            ("1.4.2", "1.4.2", "1.4.2", true),
            ("1.0.0", "1.4.1", "1.4.2", false),
            ("1.4.3", "", "1.4.2", false),
            ("", "", "1.4.2", true),
            ("1.9.0", "1.11.0", "1.10.0", true),
            ("1.0.0", "1.4.2-rc.1", "1.4.2", false),
            ("1.4.2", "", "1.4.2-rc.1", false),
        ] {
            assert_eq!(
                revoked(range(from, to), "acme/xx", version),
                expected,
                "{from} {to} {version}"
            );
        }
        assert!(!revoked(range("", ""), "acme/yy", "1.0.0"));
    }

    #[test]
    fn entries_that_are_not_understood_are_refused() {
        let good = format!(
            r#"{{"_type":"{TYPE}","entries":[{{"publisher":"a","reason":"r","at":"2026-11-20T10:00:00Z"}}]}}"#
        );
        assert!(Revocations::parse(good.as_bytes()).is_ok());
        for (from, to) in [
            (r#""publisher":"a","#, ""),
            (r#""publisher":"a","#, r#""publisher":"a","sha256":"00","#),
            (r#""publisher":"a","#, r#""publisher":"a","fromLogIndex":1,"#),
            (r#""publisher":"a","#, r#""publisher":"a","to":"1.0.0","#),
            (r#""publisher":"a","#, r#""country":"a","#),
            (r#""publisher":"a","#, r#""key":"ed25519:00","#),
            (":v1", ":v2"),
            ("10:00:00Z", "10:00"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            let code = Revocations::parse(text.as_bytes()).expect_err(&text).code;
            assert_eq!(code, RefusalCode::Format, "{text}");
        }
        let huge = vec![b' '; METADATA_BYTES_MAX + 1];
        assert_eq!(Revocations::parse(&huge).expect_err("huge").code, RefusalCode::Size);
    }
}
