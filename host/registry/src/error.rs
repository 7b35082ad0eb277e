//! What the registry refuses, and why: every message says expected, got and remedy.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whose fault an error is; the engine maps it to a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFamily {
    /// A name, file or argument that breaks a rule.
    InvalidInput,
    /// One of [`Limits`](crate::Limits) is reached.
    Limit,
    /// No such model, version, label, plugin or file.
    NotFound,
    /// The request contradicts what the registry holds (state, label, digest, sequence).
    Conflict,
    /// Another process holds the catalog; trying again later helps.
    Unavailable,
    /// The disk, the catalog or the stored files are at fault.
    Storage,
}

/// Why a registry call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A name breaks its rule.
    #[error("{what} `{got}` is refused: expected {rule}; choose another name")]
    InvalidName {
        /// What is named: `model name`, `label`, `file name` and so on.
        what: &'static str,
        /// The name as given, cut to 80 characters.
        got: String,
        /// The rule in words.
        rule: &'static str,
    },
    /// A limit of the registry is reached.
    #[error("{what}: expected at most {limit}, got {got}; {remedy}")]
    LimitExceeded {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What was asked for.
        got: u64,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// No version of this model is in the registry.
    #[error("model `{name}` is not in the registry; list the models, or publish it first")]
    ModelNotFound {
        /// Name that was asked for.
        name: String,
    },
    /// The model has no such version, or it was removed.
    #[error("model `{name}` has no version {version}; it has {have}")]
    VersionNotFound {
        /// Name of the model.
        name: String,
        /// Version that was asked for.
        version: u64,
        /// Versions it has, the newest first.
        have: String,
    },
    /// The model has no such label.
    #[error("model `{name}` has no label `{label}`; it has {have}")]
    LabelNotFound {
        /// Name of the model.
        name: String,
        /// Label that was asked for.
        label: String,
        /// Labels it has.
        have: String,
    },
    /// The model has versions, but none that is ready.
    #[error("model `{name}` has no ready version; its newest is {version}, which is {state}")]
    NoReadyVersion {
        /// Name of the model.
        name: String,
        /// Its newest version.
        version: u64,
        /// State of that version.
        state: String,
    },
    /// A label has nothing to go back to.
    #[error(
        "label `{label}` of model `{name}` has no earlier ready version to roll back to; set it to a version by number"
    )]
    NoPreviousVersion {
        /// Name of the model.
        name: String,
        /// The label.
        label: String,
    },
    /// A label may only point to a ready version.
    #[error(
        "version {version} of model `{name}` cannot be labelled: expected a ready version, got one that is {state}; wait until its fixtures pass, or choose another version"
    )]
    NotReady {
        /// Name of the model.
        name: String,
        /// The version.
        version: u64,
        /// Its state, with the reason if it failed.
        state: String,
    },
    /// A version that is labelled cannot be removed.
    #[error(
        "version {version} of model `{name}` cannot be removed: expected no label on it, got {labels}; move or remove the labels first"
    )]
    Labelled {
        /// Name of the model.
        name: String,
        /// The version.
        version: u64,
        /// Labels that point to it.
        labels: String,
    },
    /// A state can only follow `pending`.
    #[error(
        "version {version} of model `{name}` cannot become {wanted}: expected it pending, got {state}; publish a new version"
    )]
    WrongState {
        /// Name of the model.
        name: String,
        /// The version.
        version: u64,
        /// State it has.
        state: String,
        /// State that was asked for.
        wanted: &'static str,
    },
    /// No such plugin.
    #[error("plugin `{plugin}` is not in the registry; publish it first, or list the plugins")]
    PluginNotFound {
        /// Name, name and version, or digest in hex.
        plugin: String,
    },
    /// A plugin that models are locked to cannot be removed.
    #[error(
        "plugin {digest} cannot be removed: expected no model locked to it, got {models}; remove those versions first"
    )]
    PluginInUse {
        /// Digest in hex.
        digest: String,
        /// Up to ten `name@version` that lock it.
        models: String,
    },
    /// A published plugin version never changes its bytes.
    #[error(
        "plugin `{name}` {version} is already published with digest {expected}, got {got}; raise the version"
    )]
    PluginConflict {
        /// Name of the plugin.
        name: String,
        /// Its version.
        version: String,
        /// Digest in hex that the registry holds.
        expected: String,
        /// Digest in hex that was offered.
        got: String,
    },
    /// A signed release older than what was admitted before (`AMT-ROLLBACK`).
    #[error(
        "AMT-ROLLBACK: a release of `{name}` has sequence {got}, expected more than {highest}, the highest admitted; sign the release with a higher sequence, or move a label to return to an older version"
    )]
    SequenceTooOld {
        /// `publisher/name` of the plugin or model.
        name: String,
        /// Sequence of the offered release.
        got: u64,
        /// Highest sequence ever admitted for this name.
        highest: u64,
    },
    /// Bytes do not have the digest that was promised for them.
    #[error("{what}: expected sha256 {expected}, got {got}; fetch or build the package again")]
    DigestMismatch {
        /// What was hashed.
        what: String,
        /// Promised digest in hex.
        expected: String,
        /// Digest of the bytes in hex.
        got: String,
    },
    /// Two files of a package have one name, or one is a folder of the other.
    #[error(
        "file `{name}` collides with `{other}` of the same package; give every file a name of its own"
    )]
    FileCollision {
        /// File that was added last.
        name: String,
        /// File that was there.
        other: String,
    },
    /// A package has no such file.
    #[error("{package} has no file `{file}`; list its files")]
    FileNotFound {
        /// Name and version of the package.
        package: String,
        /// File that was asked for.
        file: String,
    },
    /// What lies on the disk is not what the catalog says.
    #[error(
        "{path}: {detail}; restore it from a backup, or remove the version and publish it again"
    )]
    Corrupt {
        /// Where.
        path: PathBuf,
        /// Expected and got.
        detail: String,
    },
    /// The catalog was written by a newer program.
    #[error("{path}: expected catalog schema up to {supported}, got {found}; use a newer aimass")]
    SchemaTooNew {
        /// Catalog file.
        path: PathBuf,
        /// Schema version of the file.
        found: u64,
        /// Newest schema that this program knows.
        supported: u64,
    },
    /// The file is there, but it is not a registry's catalog.
    #[error("{path}: expected a registry catalog, got {got}; point to another folder")]
    NotARegistry {
        /// Catalog file.
        path: PathBuf,
        /// What it is instead.
        got: String,
    },
    /// Another process held the write lock for too long.
    #[error("{action}: the catalog stayed locked by another process for {waited_ms} ms; try again")]
    Busy {
        /// What was tried.
        action: &'static str,
        /// How long it waited.
        waited_ms: u64,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}; check the folder's permissions and free space")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The catalog failed.
    #[error(
        "cannot {action} in the registry catalog: {source}; check the disk's health and free space"
    )]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
}

impl RegistryError {
    /// Whose fault it is.
    pub fn family(&self) -> ErrorFamily {
        match self {
            Self::InvalidName { .. } | Self::DigestMismatch { .. } | Self::FileCollision { .. } => {
                ErrorFamily::InvalidInput
            }
            Self::LimitExceeded { .. } => ErrorFamily::Limit,
            Self::ModelNotFound { .. }
            | Self::VersionNotFound { .. }
            | Self::LabelNotFound { .. }
            | Self::NoReadyVersion { .. }
            | Self::PluginNotFound { .. }
            | Self::FileNotFound { .. } => ErrorFamily::NotFound,
            Self::NoPreviousVersion { .. }
            | Self::NotReady { .. }
            | Self::Labelled { .. }
            | Self::WrongState { .. }
            | Self::PluginInUse { .. }
            | Self::PluginConflict { .. }
            | Self::SequenceTooOld { .. } => ErrorFamily::Conflict,
            Self::Busy { .. } => ErrorFamily::Unavailable,
            Self::Corrupt { .. }
            | Self::SchemaTooNew { .. }
            | Self::NotARegistry { .. }
            | Self::Io { .. }
            | Self::Database { .. } => ErrorFamily::Storage,
        }
    }

    /// Says how long a call waited, if another process's lock is what stopped it.
    pub(crate) fn after_waiting(mut self, wait: Duration) -> Self {
        if let Self::Busy { waited_ms, .. } = &mut self {
            *waited_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        }
        self
    }

    /// Wraps a failed file operation on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_expected_got_and_remedy() {
        let error = RegistryError::SequenceTooOld { name: "acme/x".into(), got: 3, highest: 7 };
        let text = error.to_string();
        assert!(text.starts_with("AMT-ROLLBACK"), "{text}");
        for part in ["acme/x", "sequence 3", "more than 7", "higher sequence"] {
            assert!(text.contains(part), "`{text}` lacks `{part}`");
        }
        assert_eq!(error.family(), ErrorFamily::Conflict);
    }
}
