//! What can go wrong while keys are made, packages are signed and policies are read.

use std::path::{Path, PathBuf};

use crate::names::NameError;
use crate::refusal::Refusal;
use crate::timestamp::TimestampError;

/// An operation of a tool or of the operator failed. Refused packages are a [`Refusal`] instead.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A text is not a public key by the strict rule.
    #[error(
        "public key: expected `ed25519:` and 64 hexadecimal digits of a canonical point of prime order, got `{got}`: {why}"
    )]
    PublicKey {
        /// The text, escaped and cut short.
        got: String,
        /// Which part of the rule it breaks.
        why: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("signing key: the operating system gave no randomness: {0}")]
    Randomness(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A marketplace's storage could not be read or written.
    #[error("storage: {0}")]
    Storage(std::io::Error),
    /// Others than its owner may read or change a signing key's file.
    #[error(
        "{path}: expected a signing key that only its owner can read (mode 0600), got mode {mode:04o}. Remedy: chmod 600 {path}, and make a new key with `aimass key new` if others use this machine"
    )]
    KeyFileMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold a signing key.
    #[error("{path}: expected a signing key as `aimass key new` writes it, got {got}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What was wrong, without any part of the secret.
        got: &'static str,
    },
    /// A key file is sealed, and no passphrase was given.
    #[error(
        "{path}: expected a passphrase for this sealed signing key, got none. Remedy: type it at the prompt, or set AIMASS_PASSPHRASE or name a file with --passphrase-file"
    )]
    KeyFileLocked {
        /// The key file.
        path: PathBuf,
    },
    /// A key file does not open with this passphrase.
    #[error(
        "{path}: expected the passphrase that sealed this key, got another, or the file was changed. Remedy: try again; without the passphrase only a backup helps"
    )]
    KeyFilePassphrase {
        /// The key file.
        path: PathBuf,
    },
    /// A passphrase that no key should be sealed with.
    #[error("passphrase: expected 8 to 1,024 bytes, got {got}. Remedy: take a few random words")]
    Passphrase {
        /// Its length in bytes.
        got: usize,
    },
    /// What should be signed has not the form that can be signed.
    #[error("cannot sign: {0}")]
    Sign(#[from] Refusal),
    /// A release cannot be stated as asked.
    #[error("cannot sign: expected {expected}, got {got}")]
    Release {
        /// What could have been signed.
        expected: &'static str,
        /// What was asked for.
        got: String,
    },
    /// A text is not the key of a log or a witness.
    #[error(
        "note key: expected `name+<8 hexadecimal digits>+<base64>` of the right type with a canonical Ed25519 key, got `{got}`"
    )]
    NoteKey {
        /// The text, escaped and cut short.
        got: String,
    },
    /// A log policy cannot be used.
    #[error(
        "log policy, line {line}: expected `log`, `witness`, `group` or one `quorum` as C2SP tlog-policy has them, got `{got}`"
    )]
    LogPolicy {
        /// Its line, or 0 for the whole.
        line: usize,
        /// What is there.
        got: String,
    },
    /// A name, version or world breaks its rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A time is not written as `2026-11-20T10:00:00Z`.
    #[error(transparent)]
    Timestamp(#[from] TimestampError),
    /// The trust policy cannot be used.
    #[error("trust policy: {field}: expected {expected}, got {got}")]
    Policy {
        /// Which entry, such as `publisher acme: keys`.
        field: String,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        got: String,
    },
    /// The trust policy is not TOML, or has unknown or missing fields.
    #[error("trust policy: {0}")]
    PolicySyntax(String),
}

impl TrustError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> TrustError {
        let path = path.to_owned();
        move |source| TrustError::File { path, source }
    }
}
