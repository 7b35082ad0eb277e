//! Checkpoints (C2SP `tlog-checkpoint`): size and root of a log at one moment.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::note::LOG_REMEDY;
use crate::refusal::{Refusal, RefusalCode};

/// What a log says of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them (RFC 6962).
    pub root: [u8; 32],
}

impl Checkpoint {
    /// Reads the text of a note: origin, size, root; further lines belong to the log and are ignored.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
            let sound = !origin.is_empty() && lines.all(|line| !line.is_empty());
            let size = decimal(size).filter(|_| sound)?;
            Some(Checkpoint { origin: origin.to_owned(), size, root: hash(root)? })
        };
        read().ok_or_else(|| {
            let expected = "a checkpoint: origin, size and root, a line each";
            Refusal::new(RefusalCode::Log, expected, "another text", LOG_REMEDY)
        })
    }

    /// The text that a log signs.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }
}

/// The number of a decimal text without sign and leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| digits && shortest)
}

/// The SHA-256 hash of a base64 text.
pub(crate) fn hash(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
