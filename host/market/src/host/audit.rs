//! The audit log: every decision about packages and marketplaces, one JSON line each, chained by hash.
//!
//! ```text
//! audit/log.jsonl        {"seq":1,"at":"…","event":"admitted",…,"prev":"<hex>","hash":"<hex>"}
//! audit/checkpoint       number of lines and last hash, as a note signed by this host (C2SP)
//! audit/host.key         the key; its public half is in every `aimass trust audit`
//! audit/log.<seq>.jsonl  earlier lines, after 64 MiB; the chain goes on
//! ```
//! `hash` is SHA-256 of `"AMT-1 audit"` and the line without it. Lines that were removed, changed or put
//! in between break the chain; a shorter file is told by the checkpoint. Whoever owns the machine can
//! write another history: keep copies of checkpoints elsewhere to notice that.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aimass_trust::{
    Checkpoint, LogPolicy, NoteKey, NoteKeyKind, PROOF_BYTES_MAX, SigningKey, Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{MarketError, files};

const FILE_BYTES_MAX: u64 = 64 << 20;
const LINE_BYTES_MAX: usize = 16 << 10;
const DETAIL_CHARACTERS_MAX: usize = 1024;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The operator began to trust a marketplace.
    Trusted,
    /// New metadata of a marketplace was believed.
    Refreshed,
    /// A release was admitted, from a marketplace or by direct trust (then without a marketplace).
    Admitted,
    /// A release, or metadata, was refused.
    Refused,
    /// An update waits, since it asks for more.
    Held,
    /// The operator approved that a release asks for more.
    Approved,
    /// A release that had been admitted must not run anymore.
    Stopped,
    /// Metadata has expired; what was admitted goes on for a while.
    Stale,
    /// A label was pointed at a version of a model.
    Released,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What was decided.
    pub event: Event,
    /// About which marketplace; empty where the operator trusts the publisher directly.
    pub market: &'a str,
    /// About what: `publisher/name@version`, or nothing.
    pub subject: &'a str,
    /// The code of a refusal.
    pub code: Option<&'a str>,
    /// In words.
    pub detail: &'a str,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditLine {
    /// Its number, from 1 on.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What was decided.
    pub event: Event,
    /// About which marketplace.
    pub market: String,
    /// About what.
    pub subject: String,
    /// The code of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// In words.
    pub detail: String,
    /// Hash of the line before; 64 zeros for the first.
    pub prev: String,
    /// Hash of this line without this field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// The audit log of a data folder. Several processes may write it.
#[derive(Debug)]
pub struct Audit {
    dir: PathBuf,
}

impl Audit {
    /// The log in `dir`, which is made with the first line.
    pub fn new(dir: &Path) -> Audit {
        Audit { dir: dir.to_owned() }
    }

    /// Appends a decision and signs the new end; durable when it returns.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Wrong`] if the log is damaged, which is left as it is.
    pub fn record(&self, decision: &Decision<'_>, now: SystemTime) -> Result<(), MarketError> {
        std::fs::create_dir_all(&self.dir).map_err(MarketError::file(&self.dir))?;
        let lock = self.dir.join("lock");
        let guard = File::create(&lock).map_err(MarketError::file(&lock))?;
        guard.lock().map_err(MarketError::file(&lock))?;
        let key = self.key()?;
        let last = self.last()?;
        let (seq, prev) = last.map_or((0, "0".repeat(64)), |line| (line.seq, line.hash));
        let mut line = AuditLine {
            seq: seq + 1,
            at: Timestamp::from_system(now),
            event: decision.event,
            market: decision.market.to_owned(),
            subject: decision.subject.chars().take(DETAIL_CHARACTERS_MAX).collect(),
            code: decision.code.map(str::to_owned),
            detail: decision.detail.chars().take(DETAIL_CHARACTERS_MAX).collect(),
            prev,
            hash: String::new(),
        };
        line.hash = files::hex(&hash_of(&line)?);
        let mut text = json(&line)?;
        text.push(b'\n');
        self.append(&text, line.seq)?;
        self.sign(&key, line.seq, &line.hash)
    }

    /// Every line of the present file, after the chain and the signed checkpoint were checked. One line
    /// may follow the signed end: a process was killed between the two, and the next line signs both.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] naming the first line that breaks the chain.
    pub fn verify(&self) -> Result<Vec<AuditLine>, MarketError> {
        let path = self.file();
        let lock = self.dir.join("lock");
        let guard = File::open(&lock).ok();
        if let Some(guard) = &guard {
            guard.lock_shared().map_err(MarketError::file(&lock))?;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(MarketError::file(&path)(error)),
        };
        let mut lines: Vec<AuditLine> = Vec::new();
        for text in BufReader::new(file).lines() {
            let text = text.map_err(MarketError::file(&path))?;
            let line = read_line(&text)?;
            let follows = lines.last().is_none_or(|before| {
                before.hash == line.prev && before.seq.checked_add(1) == Some(line.seq)
            });
            if line.seq == 0 || !follows || files::hex(&hash_of(&line)?) != line.hash {
                return Err(damaged(&format!("line {}", line.seq), "another one"));
            }
            lines.push(line);
        }
        let signed = self.checkpoint()?.map(|one| (one.size, files::hex(&one.root)));
        let signed = signed.unwrap_or_else(|| (0, "0".repeat(64)));
        let known = |line: &AuditLine| {
            signed == (line.seq, line.hash.clone()) || signed == (line.seq - 1, line.prev.clone())
        };
        match lines.last().map_or(signed.0 == 0, known) {
            true => Ok(lines),
            false => Err(damaged("the end that this host signed", "another end")),
        }
    }

    /// The key that signs the end of the log, as C2SP writes it: `name+id+key`.
    ///
    /// # Errors
    /// [`MarketError::File`].
    pub fn verifier_key(&self) -> Result<String, MarketError> {
        Ok(note_key(&self.key()?)?.to_string())
    }

    fn file(&self) -> PathBuf {
        self.dir.join("log.jsonl")
    }

    /// The signed end of the log.
    fn checkpoint(&self) -> Result<Option<Checkpoint>, MarketError> {
        let Some(text) = files::read_text(&self.dir.join("checkpoint"), PROOF_BYTES_MAX)? else {
            return Ok(None);
        };
        let policy = format!("log {}\nquorum none\n", self.verifier_key()?);
        Ok(Some(LogPolicy::parse(&policy)?.check(&text)?.checkpoint))
    }

    fn sign(&self, key: &SigningKey, seq: u64, hash: &str) -> Result<(), MarketError> {
        let name = note_key(key)?;
        let mut root = [0; 32];
        for (byte, at) in root.iter_mut().zip((0..64).step_by(2)) {
            *byte = hash
                .get(at..at + 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .unwrap_or(0);
        }
        let checkpoint = Checkpoint { origin: name.name().to_owned(), size: seq, root };
        files::write(&self.dir.join("checkpoint"), name.sign(&checkpoint, key)?.as_bytes())
    }

    fn key(&self) -> Result<SigningKey, MarketError> {
        let path = self.dir.join("host.key");
        if !path.exists() {
            SigningKey::generate()?.create_file(&path)?;
        }
        Ok(SigningKey::load(&path)?)
    }

    /// The last whole line. A line that a crash cut is taken off: it was never acknowledged.
    fn last(&self) -> Result<Option<AuditLine>, MarketError> {
        let path = self.file();
        let Some(tail) = tail_of(&path).map_err(MarketError::file(&path))? else {
            return self.carried();
        };
        let whole = tail.rfind('\n').map_or("", |end| &tail[..end]);
        if whole.len() + 1 < tail.len() {
            let cut = (tail.len() - whole.len() - usize::from(!whole.is_empty())) as u64;
            let file =
                OpenOptions::new().write(true).open(&path).map_err(MarketError::file(&path))?;
            let length = file.metadata().map_err(MarketError::file(&path))?.len();
            file.set_len(length - cut).map_err(MarketError::file(&path))?;
        }
        match whole.rsplit('\n').next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(Some(read_line(line)?)),
            None => self.carried(),
        }
    }

    /// Where a new file goes on after the one before it was put away.
    fn carried(&self) -> Result<Option<AuditLine>, MarketError> {
        let Some(end) = self.checkpoint()? else { return Ok(None) };
        let path = self.dir.join(format!("log.{}.jsonl", end.size));
        let tail = tail_of(&path).map_err(MarketError::file(&path))?.unwrap_or_default();
        match tail.trim_end().rsplit('\n').next().map(read_line) {
            Some(Ok(line)) if line.seq == end.size => Ok(Some(line)),
            Some(_) | None => Err(damaged("the lines that this host signed", "none")),
        }
    }

    fn append(&self, text: &[u8], seq: u64) -> Result<(), MarketError> {
        let path = self.file();
        let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if length + text.len() as u64 > FILE_BYTES_MAX {
            let put_away = self.dir.join(format!("log.{}.jsonl", seq - 1));
            std::fs::rename(&path, put_away).map_err(MarketError::file(&path))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.map_err(MarketError::file(&path))?;
        file.write_all(text).and_then(|()| file.sync_data()).map_err(MarketError::file(&path))
    }
}

/// The last 32 KiB of a file, which hold a whole line; `None` if there is no file.
fn tail_of(path: &Path) -> std::io::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LINE_BYTES_MAX as u64)))?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn note_key(key: &SigningKey) -> Result<NoteKey, MarketError> {
    let id = files::hex(&key.public().to_bytes()[..8]);
    Ok(NoteKey::new(&format!("aimass.audit/{id}"), NoteKeyKind::Log, key.public())?)
}

fn hash_of(line: &AuditLine) -> Result<[u8; 32], MarketError> {
    let bare = AuditLine { hash: String::new(), ..line.clone() };
    Ok(Sha256::new_with_prefix(b"AMT-1 audit").chain_update(json(&bare)?).finalize().into())
}

fn json(line: &AuditLine) -> Result<Vec<u8>, MarketError> {
    serde_json::to_vec(line).map_err(|error| damaged("a line", &error.to_string()))
}

fn read_line(text: &str) -> Result<AuditLine, MarketError> {
    serde_json::from_str(text).map_err(|error| damaged("a line of the log", &error.to_string()))
}

fn damaged(expected: &str, got: &str) -> MarketError {
    let remedy = "compare with a copy: somebody changed the log, or the disk did";
    MarketError::wrong("audit log", expected, got, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(audit: &Audit, subject: &str) {
        let decision = Decision {
            event: Event::Refused,
            market: "shop",
            subject,
            code: Some("AMT-SIG"),
            detail: "a signature does not hold\n",
        };
        audit.record(&decision, std::time::UNIX_EPOCH).expect("recorded");
    }

    #[test]
    fn lines_chain_and_every_change_of_one_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::new(folder.path());
        assert_eq!(audit.verify().expect("empty"), []);
        for subject in ["a/aa@1.0.0", "b/bb@1.0.0", "c/cc@1.0.0"] {
            decide(&audit, subject);
        }
        let lines = audit.verify().expect("whole");
        assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [1, 2, 3]);
        let good = std::fs::read_to_string(audit.file()).expect("there");
        let rows: Vec<&str> = good.lines().collect();
        for bad in [
            good.replace("b/bb", "b/bc"),
            format!("{}\n{}\n", rows[0], rows[2]),
            format!("{}\n{}\n", rows[0], rows[1]),
            format!("{}\n{}\n{}\n", rows[0], rows[2], rows[1]),
            format!("{good}{}\n", rows[2]),
            String::new(),
        ] {
            std::fs::write(audit.file(), bad).expect("written");
            assert!(audit.verify().is_err());
        }
        std::fs::write(audit.file(), &good).expect("written");
        decide(&audit, "d/dd@1.0.0");
        assert_eq!(audit.verify().expect("whole").len(), 4);
    }

    #[test]
    fn one_line_may_follow_the_signed_end_and_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::new(folder.path());
        let path = folder.path().join("checkpoint");
        decide(&audit, "a/aa@1.0.0");
        let first = std::fs::read(&path).expect("signed");
        decide(&audit, "b/bb@1.0.0");
        std::fs::write(&path, &first).expect("as if killed before signing");
        assert_eq!(audit.verify().expect("whole").len(), 2);
        decide(&audit, "c/cc@1.0.0");
        assert_eq!(audit.verify().expect("whole").len(), 3);
        std::fs::write(&path, &first).expect("two lines behind");
        assert!(audit.verify().is_err());
    }

    #[test]
    fn a_line_that_a_crash_cut_is_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::new(folder.path());
        decide(&audit, "a/aa@1.0.0");
        let good = std::fs::read_to_string(audit.file()).expect("there");
        for cut in ["{", "{\"seq\":2,\"at\":"] {
            std::fs::write(audit.file(), format!("{good}{cut}")).expect("written");
            decide(&audit, "b/bb@1.0.0");
            assert_eq!(audit.verify().expect("whole").len(), 2, "{cut}");
            std::fs::write(audit.file(), &good).expect("written");
        }
    }
}
