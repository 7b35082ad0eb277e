//! What the catalog holds, as plain data.

use std::collections::BTreeMap;
use std::fmt;

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// A digest as 64 lower-case hexadecimal digits.
pub fn digest_hex(digest: &Sha256Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// State of a model version: `pending` becomes `ready` or `failed`, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Published; its fixtures have not been run.
    Pending,
    /// Its fixtures passed: it can be labelled and served.
    Ready,
    /// Its fixtures did not pass.
    Failed {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Ready => f.write_str("ready"),
            Self::Failed { reason } => write!(f, "failed ({reason})"),
        }
    }
}

/// One version of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    /// Number assigned at publish; never used again for this model.
    pub version: u64,
    /// Whether it may serve.
    pub state: VersionState,
    /// SHA-256 over `model.toml`, the names, lengths and digests of all files, and the locks.
    pub digest: Sha256Digest,
    /// Bytes of all files.
    pub bytes: u64,
    /// When it was published, in Unix milliseconds.
    pub published_ms: u64,
    /// Plugin digest that each step is locked to.
    pub locks: BTreeMap<String, Sha256Digest>,
    /// What its fixtures did before it became ready, if that was told.
    pub fixture_report: Option<String>,
}

/// One file of a model version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Relative name, such as `tokenizer.json` or `fixtures/0.json`.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: Sha256Digest,
}

/// One model: its versions and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRecord {
    /// Serving name.
    pub name: String,
    /// Versions that are not removed, rising.
    pub versions: Vec<VersionRecord>,
    /// Version that each label points to; always a ready one.
    pub labels: BTreeMap<String, u64>,
}

impl ModelRecord {
    /// The newest ready version.
    pub fn newest_ready(&self) -> Option<&VersionRecord> {
        self.versions.iter().rev().find(|v| v.state == VersionState::Ready)
    }
}

/// One admitted plugin version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRecord {
    /// `publisher/name`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of the whole component.
    pub digest: Sha256Digest,
    /// World that it implements, such as `aimass:plugin/processor@0.1.0`.
    pub world: String,
    /// Publisher whose key signed it.
    pub publisher: String,
    /// Sequence of its newest admitted statement.
    pub sequence: u64,
    /// Bytes of the component.
    pub wasm_bytes: u64,
    /// When it was first published, in Unix milliseconds.
    pub published_ms: u64,
}

/// What happened to a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelAction {
    /// It was created or moved.
    Set,
    /// It went back to the version it had before.
    Rollback,
    /// It was removed.
    Remove,
}

/// One entry of a label's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelEvent {
    /// The label.
    pub label: String,
    /// What happened.
    pub action: LabelAction,
    /// Version that it points to since then; none after a removal.
    pub version: Option<u64>,
    /// Version that it pointed to before.
    pub previous: Option<u64>,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
}

/// The whole catalog at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// [`Registry::change_counter`](crate::Registry::change_counter) of this moment.
    pub change_counter: u64,
    /// Models with at least one version, by name.
    pub models: Vec<ModelRecord>,
    /// Plugins, by name and digest.
    pub plugins: Vec<PluginRecord>,
}
