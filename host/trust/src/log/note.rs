//! Signed notes (C2SP `signed-note`) and their verifier keys (`vkey`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::checkpoint::Checkpoint;
use crate::error::TrustError;
use crate::hex;
use crate::keys::{PublicKey, SigningKey};
use crate::refusal::{Refusal, RefusalCode, excerpt};

/// Size limit of a note, and of a proof that holds one: 16 KiB.
pub const PROOF_BYTES_MAX: usize = 16 << 10;

/// Signature lines of one note; C2SP asks for at least 16.
const LINES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 255;

/// What a key signs, by its C2SP signature type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKeyKind {
    /// A note's text as it is: a log's checkpoints (type 0x01).
    Log,
    /// A checkpoint with the time at which it was seen: a witness's cosignatures (type 0x04).
    Witness,
}

/// The name and key of a log or a witness. Its text is C2SP's `vkey`: `name+<8 hexadecimal>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    kind: NoteKeyKind,
    key: PublicKey,
}

/// A read note; nothing in it is known to be true before a signature was checked.
pub(crate) struct Note<'a> {
    /// The text with its last newline, which signatures cover.
    pub(crate) text: &'a str,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl NoteKeyKind {
    fn byte(self) -> u8 {
        match self {
            NoteKeyKind::Log => 1,
            NoteKeyKind::Witness => 4,
        }
    }
}

impl NoteKey {
    /// The key of a log or a witness called `name`, best its address without `https://`.
    ///
    /// # Errors
    /// [`TrustError::NoteKey`] if the name is empty, above 255 bytes, or has spaces, controls or `+`.
    pub fn new(name: &str, kind: NoteKeyKind, key: PublicKey) -> Result<Self, TrustError> {
        match is_name(name) {
            true => Ok(NoteKey { name: name.to_owned(), kind, key }),
            false => Err(wrong_key(name)),
        }
    }

    /// Reads a `vkey` of the kind that is meant.
    ///
    /// # Errors
    /// [`TrustError::NoteKey`] for another form, kind or key id, or a key that breaks the strict rule.
    pub fn parse(text: &str, kind: NoteKeyKind) -> Result<Self, TrustError> {
        let read = || {
            let (name, rest) = text.split_once('+')?;
            let (id, material) = rest.split_once('+')?;
            let bytes = STANDARD.decode(material).ok()?;
            let (byte, key) = bytes.split_first()?;
            let key = PublicKey::from_bytes(key.try_into().ok()?).ok()?;
            let read = NoteKey::new(name, kind, key).ok()?;
            (*byte == kind.byte() && hex::decode::<4>(id)? == read.id()).then_some(read)
        };
        read().ok_or_else(|| wrong_key(text))
    }

    /// The name; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> NoteKeyKind {
        self.kind
    }

    /// The key itself.
    pub fn public(&self) -> PublicKey {
        self.key
    }

    /// `checkpoint` as a note that `key`, which must be this one's secret half, has signed.
    ///
    /// # Errors
    /// [`TrustError::NoteKey`] if the key is another, or a witness's: those cosign at a time.
    pub fn sign(&self, checkpoint: &Checkpoint, key: &SigningKey) -> Result<String, TrustError> {
        if self.kind != NoteKeyKind::Log || key.public() != self.key {
            return Err(wrong_key(&self.name));
        }
        let text = checkpoint.to_text();
        Ok(format!("{text}\n{}", self.line(&text, 0, key)))
    }

    /// `SHA-256(name ‖ "\n" ‖ type ‖ key)[..4]`, by which signature lines name the key.
    pub(crate) fn id(&self) -> [u8; 4] {
        let hash =
            Sha256::new_with_prefix(self.name.as_bytes()).chain_update([b'\n', self.kind.byte()]);
        let hash: [u8; 32] = hash.chain_update(self.key.to_bytes()).finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The signature line of this key over a note's `text`; `seconds` is a witness's time.
    pub(crate) fn line(&self, text: &str, seconds: u64, secret: &SigningKey) -> String {
        let id = self.id();
        let bytes = match self.kind {
            NoteKeyKind::Log => [&id[..], &secret.sign(text.as_bytes())].concat(),
            NoteKeyKind::Witness => {
                let signature = secret.sign(cosigned(text, seconds).as_bytes());
                [&id[..], &seconds.to_be_bytes(), &signature].concat()
            }
        };
        format!("— {} {}\n", self.name, STANDARD.encode(bytes))
    }
}

impl std::fmt::Display for NoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let material = [&[self.kind.byte()], &self.key.to_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(&self.id()), STANDARD.encode(material))
    }
}

impl<'a> Note<'a> {
    /// Reads a note of at most 16 KiB with 1 to 64 signature lines.
    pub(crate) fn parse(note: &'a str) -> Result<Self, Refusal> {
        if note.len() > PROOF_BYTES_MAX {
            let got = format!("{} bytes", note.len());
            let remedy = "use a log with fewer cosignatures on a checkpoint";
            return Err(Refusal::new(RefusalCode::Size, "a note of at most 16 KiB", got, remedy));
        }
        if note.chars().any(|one| one < ' ' && one != '\n') {
            return Err(not_a_note("control characters"));
        }
        let at = note.rfind("\n\n").ok_or_else(|| not_a_note("no blank line"))?;
        let (text, rest) = (&note[..=at], &note[at + 2..]);
        let mut lines: Vec<Line<'a>> = Vec::new();
        for line in rest.split_inclusive('\n') {
            let line = read_line(line).ok_or_else(|| not_a_note("another line after the text"))?;
            if lines.len() == LINES_MAX {
                return Err(not_a_note("more than 64 signatures"));
            }
            if lines.iter().any(|other| other.name == line.name && other.id == line.id) {
                return Err(not_a_note("two signatures by one key"));
            }
            lines.push(line);
        }
        match lines.is_empty() {
            false => Ok(Note { text, lines }),
            true => Err(not_a_note("no signature")),
        }
    }

    /// Whether `key` signed the text, and for a witness when; `None` if the note has no line of it.
    ///
    /// # Errors
    /// `AMT-LOG` if there is a line of the key that does not hold.
    pub(crate) fn signed_by(&self, key: &NoteKey) -> Result<Option<u64>, Refusal> {
        let id = key.id();
        let Some(line) = self.lines.iter().find(|line| line.name == key.name && line.id == id)
        else {
            return Ok(None);
        };
        let held = match key.kind {
            NoteKeyKind::Log => {
                let signature = line.signature[..].try_into().ok();
                signature.filter(|it| key.key.verifies(self.text.as_bytes(), it)).map(|_| 0)
            }
            NoteKeyKind::Witness => {
                line.signature.split_first_chunk::<8>().and_then(|(time, rest)| {
                    let seconds = u64::from_be_bytes(*time);
                    let message = cosigned(self.text, seconds);
                    key.key.verifies(message.as_bytes(), rest.try_into().ok()?).then_some(seconds)
                })
            }
        };
        held.map(Some).ok_or_else(|| {
            let (expected, got) = (format!("a signature of {} that holds", key.name), "another");
            Refusal::new(RefusalCode::Log, expected, got, LOG_REMEDY)
        })
    }
}

/// What to do about a proof that does not hold.
pub(crate) const LOG_REMEDY: &str = "get the proof again from the marketplace; if it stays so, do not install, and tell its operator";

fn cosigned(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

fn read_line(line: &str) -> Option<Line<'_>> {
    let (name, signature) = line.strip_prefix("— ")?.strip_suffix('\n')?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok().filter(|_| is_name(name))?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    Some(Line { name, id: *id, signature: signature.to_vec() })
}

fn is_name(name: &str) -> bool {
    let allowed = |one: char| !one.is_whitespace() && !one.is_control() && one != '+';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed)
}

fn not_a_note(got: &str) -> Refusal {
    Refusal::new(RefusalCode::Log, "a signed note as C2SP describes it", got, LOG_REMEDY)
}

fn wrong_key(text: &str) -> TrustError {
    TrustError::NoteKey { got: excerpt(text) }
}
