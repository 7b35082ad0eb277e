//! The documents of a registry (OCI image specification 1.1): manifests, and indexes of referrers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::files;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What kind of manifest: the state of a marketplace.
pub(super) const STATE: &str = "application/vnd.aimass.market.v1";
/// What kind of manifest: a component.
pub(super) const RELEASE: &str = "application/vnd.aimass.plugin.v1";
/// What kind of manifest: statement and proof of a component.
pub(super) const EVIDENCE: &str = "application/vnd.aimass.evidence.v1";
/// The annotation that names a layer.
pub(super) const TITLE: &str = "org.opencontainers.image.title";
/// Titles of the layers of evidence, which end the paths of a marketplace.
pub(super) const DSSE: &str = "dsse.json";
pub(super) const PROOF: &str = "tlog-proof";
/// The content of a config that says nothing.
pub(super) const EMPTY: &[u8] = b"{}";

const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// A digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest(pub(super) [u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Digest {
        Digest(<Sha256 as sha2::Digest>::digest(bytes).into())
    }

    /// The 64 digits alone.
    pub(super) fn hex(&self) -> String {
        files::hex(&self.0)
    }

    pub(super) fn of_hex(text: &str) -> Option<Digest> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(digit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        let digits = text.strip_prefix("sha256:").and_then(Digest::of_hex);
        digits.ok_or_else(|| "expected sha256: and 64 lower-case hexadecimal digits".to_owned())
    }
}

/// Something by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of `bytes`, with a title.
    pub(super) fn titled(media_type: &str, bytes: &[u8], title: &str) -> Descriptor {
        let annotations = BTreeMap::from([(TITLE.to_owned(), title.to_owned())]);
        Descriptor { annotations, ..Descriptor::plain(media_type, bytes) }
    }

    pub(super) fn plain(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }
}

/// A manifest of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    pub(super) media_type: String,
    pub(super) artifact_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Descriptor>,
}

impl Manifest {
    pub(super) fn new(kind: &str, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: kind.to_owned(),
            config: Descriptor::plain(EMPTY_TYPE, EMPTY),
            layers,
            subject: None,
        }
    }

    /// Reads a manifest of the kind `kind`; else what is wrong with it.
    pub(super) fn read(bytes: &[u8], kind: &str) -> Result<Manifest, String> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|error| format!("expected a manifest of {kind}, got another: {error}"))?;
        match manifest.artifact_type == kind && manifest.schema_version == 2 {
            true => Ok(manifest),
            false => {
                let got = &manifest.artifact_type;
                Err(format!("expected a manifest of {kind}, got one of {got:?}"))
            }
        }
    }

    /// The layers by title, of which no two are the same.
    pub(super) fn by_title(self) -> Result<BTreeMap<String, Descriptor>, String> {
        let mut all = BTreeMap::new();
        for layer in self.layers {
            let title = layer.title().ok_or("expected titled layers, got one without")?.to_owned();
            if all.insert(title.clone(), layer).is_some() {
                return Err(format!("expected {title:?} once, got it twice"));
            }
        }
        Ok(all)
    }
}

/// An index of referrers. What others put into it is kept as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    pub(super) media_type: String,
    pub(super) manifests: Vec<Value>,
}

impl Default for Index {
    fn default() -> Index {
        Index { schema_version: 2, media_type: INDEX.to_owned(), manifests: Vec::new() }
    }
}

impl Index {
    pub(super) fn read(bytes: &[u8]) -> Result<Index, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("expected an index of referrers, got another: {error}"))
    }

    /// The referrers of a kind.
    pub(super) fn of_kind(&self, kind: &str) -> Result<Vec<Descriptor>, String> {
        let all = self.manifests.iter().filter(|one| one["artifactType"] == json!(kind));
        all.map(|one| Descriptor::deserialize(one).map_err(|error| error.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read_as_they_are_written() {
        let layers = vec![Descriptor::titled("application/wasm", b"code", "a")];
        let manifest = Manifest::new(RELEASE, layers);
        let bytes = serde_json::to_vec(&manifest).expect("JSON");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The empty descriptor, as the image specification gives it.
        let empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert!(text.contains(&format!(r#""digest":"sha256:{empty}","size":2"#)), "{text}");
        assert_eq!(Manifest::read(&bytes, RELEASE), Ok(manifest));
        assert!(Manifest::read(&bytes, STATE).expect_err("another kind").contains("market.v1"));
        for (from, to) in [(":2,\"", ":1,\""), ("sha256:", "sha512:"), ("sha256:4", "sha256:G")] {
            assert!(Manifest::read(text.replace(from, to).as_bytes(), RELEASE).is_err(), "{to}");
        }
    }

    #[test]
    fn layers_have_one_title_each() {
        let layer = Descriptor::titled("t", b"", "a");
        let twice = Manifest::new(STATE, vec![layer.clone(), layer]);
        assert!(twice.by_title().expect_err("twice").contains("twice"));
        let without = Manifest::new(STATE, vec![Descriptor::plain("t", b"")]);
        assert!(without.by_title().is_err());
    }

    #[test]
    fn referrers_of_others_are_kept_and_passed_over() {
        let text = br#"{"schemaVersion":2,"mediaType":"m","manifests":[
            {"digest":"sha512:ff","x":1,"artifactType":"other"}]}"#;
        let index = Index::read(text).expect("an index");
        assert_eq!(index.of_kind(EVIDENCE), Ok(Vec::new()));
        assert!(serde_json::to_string(&index).expect("JSON").contains(r#""x":1"#));
    }
}
