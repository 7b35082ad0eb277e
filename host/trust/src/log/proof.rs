//! A release's proof of being logged (C2SP `tlog-proof`), checkable offline.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{decimal, hash};
use super::note::{LOG_REMEDY, Note, PROOF_BYTES_MAX};
use super::tree::Hash;
use crate::refusal::{Refusal, RefusalCode};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// A tree of 2^64 entries has no longer path.
const PATH_MAX: usize = 64;

/// A read proof.
pub(crate) struct LogProof<'a> {
    /// Place of the entry in the log.
    pub(crate) index: u64,
    /// Inclusion proof, from the leaf up.
    pub(crate) path: Vec<Hash>,
    /// The cosigned checkpoint.
    pub(crate) note: Note<'a>,
}

impl<'a> LogProof<'a> {
    /// Reads a proof of at most 16 KiB. Lines `extra`, which nothing would authenticate, are refused.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        if text.len() > PROOF_BYTES_MAX {
            let got = format!("{} bytes", text.len());
            let remedy = "use a log with fewer cosignatures on a checkpoint";
            return Err(Refusal::new(RefusalCode::Size, "a proof of at most 16 KiB", got, remedy));
        }
        let read = || {
            let (head, note) = std::str::from_utf8(text).ok()?.split_once("\n\n")?;
            let mut lines = head.split('\n');
            lines.next().filter(|line| *line == FIRST_LINE)?;
            let index = decimal(lines.next()?.strip_prefix("index ")?)?;
            let path: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
            Some((index, path, note)).filter(|(_, path, _)| path.len() <= PATH_MAX)
        };
        let (index, path, note) = read().ok_or_else(|| {
            let expected = "a tlog-proof as C2SP describes it, without `extra`";
            Refusal::new(RefusalCode::Log, expected, "another text", LOG_REMEDY)
        })?;
        Ok(LogProof { index, path, note: Note::parse(note)? })
    }
}

/// The text of a proof that entry `index` is in the log of `checkpoint`, a cosigned note.
pub fn proof_text(index: u64, path: &[Hash], checkpoint: &str) -> String {
    let lines: String = path.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
    format!("{FIRST_LINE}\nindex {index}\n{lines}\n{checkpoint}")
}
