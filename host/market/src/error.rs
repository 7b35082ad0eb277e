//! What can go wrong between a marketplace and those who use it.

use std::path::{Path, PathBuf};

use aimass_trust::{Refusal, TrustError};

/// An operation on a marketplace failed.
#[derive(Debug, thiserror::Error)]
pub enum MarketError {
    /// Something was refused, with its code.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Signing, or reading what is to be signed, failed.
    #[error(transparent)]
    Trust(TrustError),
    /// A file of this machine could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A mirror did not answer as it must.
    #[error("{location}: {path}: {got}. Remedy: try again, or name another mirror in `locations`")]
    Fetch {
        /// The mirror.
        location: String,
        /// The file that was asked for.
        path: String,
        /// What happened.
        got: String,
    },
    /// Something was asked for that is not there, or not as it must be.
    #[error("{what}: expected {expected}, got {got}. Remedy: {remedy}")]
    Wrong {
        /// What was asked for.
        what: String,
        /// What would do.
        expected: String,
        /// What is there.
        got: String,
        /// What to do about it.
        remedy: String,
    },
}

impl MarketError {
    /// The refusal, if a check of the trust layer failed.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            MarketError::Refused(refusal) | MarketError::Trust(TrustError::Sign(refusal)) => {
                Some(refusal)
            }
            MarketError::Trust(_)
            | MarketError::File { .. }
            | MarketError::Fetch { .. }
            | MarketError::Wrong { .. } => None,
        }
    }

    /// The code of the refusal, else `market`.
    pub fn code(&self) -> &'static str {
        self.refusal().map_or("market", |refusal| refusal.code.as_str())
    }

    pub(crate) fn wrong(
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
        remedy: impl Into<String>,
    ) -> MarketError {
        MarketError::Wrong {
            what: what.into(),
            expected: expected.into(),
            got: got.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> MarketError {
        let path = path.to_owned();
        move |source| MarketError::File { path, source }
    }
}

impl From<TrustError> for MarketError {
    fn from(error: TrustError) -> MarketError {
        match error {
            TrustError::Sign(refusal) => MarketError::Refused(refusal),
            other => MarketError::Trust(other),
        }
    }
}
