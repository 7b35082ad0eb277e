//! Which log to believe, and how many witnesses must have seen it (C2SP `tlog-policy`).
//!
//! ```text
//! log example.org/log+1d2c3b4a+AQ…
//! witness w1 w1.example.org+…+BA…
//! witness w2 w2.example.org+…+BA…
//! witness w3 w3.example.org+…+BA…
//! group two-of-three 2 w1 w2 w3
//! quorum two-of-three
//! ```
//! Narrower than C2SP: ASCII only, and at least one log. `quorum none` is allowed and means that only
//! the log itself vouches for what it shows.

use super::checkpoint::Checkpoint;
use super::note::{LOG_REMEDY, Note, NoteKey, NoteKeyKind};
use crate::error::TrustError;
use crate::refusal::{Refusal, RefusalCode, excerpt};

const BYTES_MAX: usize = 64 << 10;
const LOGS_MAX: usize = 32;
const MEMBERS_MAX: usize = 64;

/// The logs that a host believes, and its quorum of witnesses.
#[derive(Clone, Debug)]
pub struct LogPolicy {
    logs: Vec<NoteKey>,
    members: Vec<(String, Member)>,
    quorum: Option<usize>,
}

/// A witness or a group; a group's members come before it.
#[derive(Clone, Debug)]
enum Member {
    Witness(NoteKey),
    Group { needed: usize, of: Vec<usize> },
}

/// What a checkpoint is worth under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Names of the witnesses that cosigned it, in the order of the policy.
    pub witnesses: Vec<String>,
}

impl LogPolicy {
    /// Reads a policy of at most 64 KiB, 32 logs and 64 witnesses and groups.
    ///
    /// # Errors
    /// [`TrustError::LogPolicy`] with the line that breaks a rule of C2SP's or of ours.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let wrong = |line: usize, got: &str| TrustError::LogPolicy { line, got: excerpt(got) };
        let allowed = |byte: u8| matches!(byte, b'\t' | b'\n' | b' '..=b'~');
        if text.len() > BYTES_MAX || !text.bytes().all(allowed) {
            return Err(wrong(0, "more than 64 KiB, or characters other than ASCII"));
        }
        let mut policy = LogPolicy { logs: Vec::new(), members: Vec::new(), quorum: None };
        let mut has_quorum = false;
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> =
                line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            let read = match words[..] {
                [] => Some(()),
                [first, ..] if first.starts_with('#') => Some(()),
                ["log", key] | ["log", key, _] => policy.add_log(key),
                ["witness", name, key] | ["witness", name, key, _] => policy.add_witness(name, key),
                ["group", name, needed, ref of @ ..] => policy.add_group(name, needed, of),
                ["quorum", name] if !has_quorum => {
                    has_quorum = true;
                    policy.set_quorum(name)
                }
                _ => None,
            };
            read.ok_or_else(|| wrong(index + 1, line))?;
        }
        match has_quorum && !policy.logs.is_empty() {
            true => Ok(policy),
            false => Err(wrong(0, "no log, or no quorum")),
        }
    }

    /// The logs, each with its origin as name.
    pub fn logs(&self) -> &[NoteKey] {
        &self.logs
    }

    /// Names and keys of all witnesses.
    pub fn witnesses(&self) -> impl Iterator<Item = (&str, &NoteKey)> {
        self.members.iter().filter_map(|(name, member)| match member {
            Member::Witness(key) => Some((name.as_str(), key)),
            Member::Group { .. } => None,
        })
    }

    /// Checks a checkpoint: a log of the policy signed it under its own name, every line of a known
    /// key holds, and the quorum of witnesses cosigned it.
    ///
    /// # Errors
    /// `AMT-LOG` otherwise.
    pub fn check(&self, note: &str) -> Result<Witnessed, Refusal> {
        self.check_note(&Note::parse(note)?)
    }

    pub(crate) fn check_note(&self, note: &Note<'_>) -> Result<Witnessed, Refusal> {
        let refused = |expected: String, got: String| {
            Err(Refusal::new(RefusalCode::Log, expected, got, LOG_REMEDY))
        };
        let checkpoint = Checkpoint::parse(note.text)?;
        let mut known = false;
        for log in self.logs.iter().filter(|log| log.name() == checkpoint.origin) {
            known |= note.signed_by(log)?.is_some();
        }
        if !known {
            let names: Vec<&str> = self.logs.iter().map(NoteKey::name).collect();
            let got = format!("one of {}", excerpt(&checkpoint.origin));
            return refused(format!("a checkpoint signed by {}", names.join(" or ")), got);
        }
        let (mut saw, mut witnesses) = (Vec::<bool>::new(), Vec::new());
        for (name, member) in &self.members {
            let did = match member {
                Member::Witness(key) => note.signed_by(key)?.is_some(),
                Member::Group { needed, of } => {
                    of.iter().filter(|at| saw.get(**at) == Some(&true)).count() >= *needed
                }
            };
            if did && matches!(member, Member::Witness(_)) {
                witnesses.push(name.clone());
            }
            saw.push(did);
        }
        match self.quorum.is_none_or(|at| saw.get(at) == Some(&true)) {
            true => Ok(Witnessed { checkpoint, witnesses }),
            false => refused(
                "a checkpoint that the quorum of the log policy cosigned".to_owned(),
                format!("one cosigned by {} of its witnesses", witnesses.len()),
            ),
        }
    }

    /// The newest time at which a witness of the policy cosigned, whatever else the note is worth.
    pub(crate) fn newest_cosignature(&self, note: &Note<'_>) -> Option<u64> {
        self.witnesses().filter_map(|(_, key)| note.signed_by(key).ok().flatten()).max()
    }

    fn add_log(&mut self, key: &str) -> Option<()> {
        let key = NoteKey::parse(key, NoteKeyKind::Log).ok()?;
        let fresh = self.logs.iter().all(|log| log.public() != key.public());
        (fresh && self.logs.len() < LOGS_MAX).then(|| self.logs.push(key))
    }

    fn add_witness(&mut self, name: &str, key: &str) -> Option<()> {
        let key = NoteKey::parse(key, NoteKeyKind::Witness).ok()?;
        let fresh = self.witnesses().all(|(_, other)| other.public() != key.public());
        self.add(name, Member::Witness(key)).filter(|()| fresh)
    }

    fn add_group(&mut self, name: &str, needed: &str, of: &[&str]) -> Option<()> {
        let needed = match needed {
            "any" => 1,
            "all" => of.len(),
            number => number.parse().ok()?,
        };
        let of: Vec<usize> = of.iter().map(|name| self.find(name)).collect::<Option<_>>()?;
        let used = |at: &usize| {
            self.members.iter().any(|(_, member)| match member {
                Member::Witness(_) => false,
                Member::Group { of, .. } => of.contains(at),
            })
        };
        let twice = (1..of.len()).any(|end| of[..end].contains(&of[end]));
        if !(1..=of.len()).contains(&needed) || twice || of.iter().any(used) {
            return None;
        }
        self.add(name, Member::Group { needed, of })
    }

    fn set_quorum(&mut self, name: &str) -> Option<()> {
        self.quorum = match name {
            "none" => None,
            name => Some(self.find(name)?),
        };
        Some(())
    }

    fn add(&mut self, name: &str, member: Member) -> Option<()> {
        let fresh = name != "none" && self.find(name).is_none();
        (fresh && self.members.len() < MEMBERS_MAX)
            .then(|| self.members.push((name.to_owned(), member)))
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|(other, _)| other == name)
    }
}
