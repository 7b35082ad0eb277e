//! The audit log: every decision about packages and marketplaces, one JSON line each, chained by hash.
//!
//! ```text
//! audit/log.jsonl        {"seq":1,"at":"…","event":"admitted",…,"prev":"<hex>","hash":"<hex>"}
//! audit/checkpoint       number of lines and last hash, as a note signed by this host (C2SP)
//! audit/host.key         the key; its public half is in every `aimass trust audit`
//! audit/log.<seq>.jsonl  earlier lines, after 64 MiB; the chain goes on
//! ```
//! `hash` is SHA-256 of `"AMT-1 audit"` and the line without it. Lines that were removed, changed or put
//! in between break the chain, which goes from line 1 through every file; a shorter log is told by the
//! checkpoint, which is there as soon as the key is. A log that does not end as this host signed is never
//! gone on with. Whoever owns the machine can write another history: keep copies of checkpoints elsewhere
//! to notice that.

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
    /// An update waits, since it asks for more, or whatever it asks for since the operator says so.
    Held,
    /// The operator lets the updates of a package go on.
    Unheld,
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
    /// A file is put away before it gets longer.
    file_bytes_max: u64,
}

/// The end of a log: the number of lines, and the hash of the last one.
type End = (u64, String);

impl Audit {
    /// The log in `dir`, which is made with the first line.
    pub fn new(dir: &Path) -> Audit {
        Audit { dir: dir.to_owned(), file_bytes_max: FILE_BYTES_MAX }
    }

    /// Appends a decision and signs the new end; durable when it returns.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Wrong`] if the log is damaged, which is left as it is.
    pub fn record(&self, decision: &Decision<'_>, now: SystemTime) -> Result<(), MarketError> {
        let _guard = self.lock()?;
        let key = self.begin()?;
        let last = self.last()?;
        if let (Some(line), false) = (&last, self.ends_as_signed(last.as_ref())?) {
            // A process was killed before it signed this line: one more would be one too many.
            self.sign(&key, line.seq, &line.hash)?;
        }
        let (seq, prev) = last.map_or_else(nothing, |line| (line.seq, line.hash));
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

    /// Every line from the first on, after the chain and the signed checkpoint were checked. One line may
    /// follow the signed end: a process was killed between the two, and the next line signs both.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] naming the first line that breaks the chain, or what is missing.
    pub fn verify(&self) -> Result<Vec<AuditLine>, MarketError> {
        let lock = self.dir.join("lock");
        let guard = File::open(&lock).ok();
        if let Some(guard) = &guard {
            guard.lock_shared().map_err(MarketError::file(&lock))?;
        }
        let mut lines: Vec<AuditLine> = Vec::new();
        for (_, path) in self.put_away()? {
            read_chained(&path, &mut lines)?;
        }
        read_chained(&self.file(), &mut lines)?;
        self.ends_as_signed(lines.last())?;
        Ok(lines)
    }

    /// The key that signs the end of the log, as C2SP writes it: `name+id+key`.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Wrong`] if there are lines and no key.
    pub fn verifier_key(&self) -> Result<String, MarketError> {
        let key = match self.key()? {
            Some(key) => key,
            None => {
                let _guard = self.lock()?;
                self.begin()?
            }
        };
        Ok(note_key(&key)?.to_string())
    }

    fn file(&self) -> PathBuf {
        self.dir.join("log.jsonl")
    }

    /// Keeps other writers away until it is dropped.
    fn lock(&self) -> Result<File, MarketError> {
        std::fs::create_dir_all(&self.dir).map_err(MarketError::file(&self.dir))?;
        let lock = self.dir.join("lock");
        let guard = File::create(&lock).map_err(MarketError::file(&lock))?;
        guard.lock().map_err(MarketError::file(&lock))?;
        Ok(guard)
    }

    /// Files of earlier lines in their order, each with the number of its last line.
    fn put_away(&self) -> Result<Vec<(u64, PathBuf)>, MarketError> {
        let number = |name: &String| {
            let number = name.strip_prefix("log.")?.strip_suffix(".jsonl")?.parse().ok()?;
            Some((number, self.dir.join(name)))
        };
        let names = files::names(&self.dir, usize::MAX)?;
        let mut all: Vec<(u64, PathBuf)> = names.iter().filter_map(number).collect();
        all.sort();
        Ok(all)
    }

    /// Whether `last` is the end that this host signed, and not the line after it.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] for any other end.
    fn ends_as_signed(&self, last: Option<&AuditLine>) -> Result<bool, MarketError> {
        let signed = self.signed()?;
        let (is_end, is_next) = match (last, &signed) {
            (None, None) => (true, false),
            (None, Some(end)) => (end.0 == 0, false),
            (Some(_), None) => (false, false),
            (Some(line), Some((size, hash))) => (
                (*size, hash) == (line.seq, &line.hash),
                (size.checked_add(1), hash) == (Some(line.seq), &line.prev),
            ),
        };
        let text = |seq: Option<u64>| seq.map_or("no end".to_owned(), |seq| format!("line {seq}"));
        match is_end || is_next {
            true => Ok(is_end),
            false => Err(damaged(
                &format!("the end that this host signed, {}", text(signed.map(|end| end.0))),
                &format!("another end, {}", text(last.map(|line| line.seq))),
            )),
        }
    }

    /// The signed end of the log; nothing if it was never begun.
    fn signed(&self) -> Result<Option<End>, MarketError> {
        let text = files::read_text(&self.dir.join("checkpoint"), PROOF_BYTES_MAX)?;
        let (key, text) = match (self.key()?, text) {
            (Some(key), Some(text)) => (key, text),
            (Some(_), None) => return Err(damaged("the end that this host signed", "none")),
            // A process may have been killed between the two.
            (None, Some(_) | None) => return Ok(None),
        };
        let policy = format!("log {}\nquorum none\n", note_key(&key)?);
        let end = LogPolicy::parse(&policy)?.check(&text)?.checkpoint;
        Ok(Some((end.size, files::hex(&end.root))))
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

    fn key(&self) -> Result<Option<SigningKey>, MarketError> {
        let path = self.dir.join("host.key");
        Ok(path.exists().then(|| SigningKey::load(&path)).transpose()?)
    }

    /// The key of this host; where there is none, it is made with the end of an empty log. The end comes
    /// first, so that a key without one tells that somebody removed it.
    fn begin(&self) -> Result<SigningKey, MarketError> {
        if let Some(key) = self.key()? {
            return Ok(key);
        }
        if self.file().exists() || !self.put_away()?.is_empty() {
            return Err(damaged("the key of this host", "none"));
        }
        let key = SigningKey::generate()?;
        let (seq, hash) = nothing();
        self.sign(&key, seq, &hash)?;
        key.create_file(&self.dir.join("host.key"))?;
        Ok(key)
    }

    /// The last whole line. A line that a crash cut is taken off: it was never acknowledged.
    fn last(&self) -> Result<Option<AuditLine>, MarketError> {
        let path = self.file();
        let Some(tail) = tail_of(&path).map_err(MarketError::file(&path))? else {
            return self.carried();
        };
        let whole = whole_lines(&tail);
        if whole.len() < tail.len() {
            let cut = (tail.len() - whole.len()) as u64;
            let file =
                OpenOptions::new().write(true).open(&path).map_err(MarketError::file(&path))?;
            let length = file.metadata().map_err(MarketError::file(&path))?.len();
            file.set_len(length - cut).map_err(MarketError::file(&path))?;
        }
        match last_line(whole)? {
            Some(line) => Ok(Some(line)),
            None => self.carried(),
        }
    }

    /// Where a new file goes on after the one before it was put away.
    fn carried(&self) -> Result<Option<AuditLine>, MarketError> {
        let Some((_, path)) = self.put_away()?.pop() else { return Ok(None) };
        let tail = tail_of(&path).map_err(MarketError::file(&path))?.unwrap_or_default();
        last_line(whole_lines(&tail))
    }

    fn append(&self, text: &[u8], seq: u64) -> Result<(), MarketError> {
        files::alive(&self.file())?;
        let path = self.file();
        let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if length > 0 && length + text.len() as u64 > self.file_bytes_max {
            let put_away = self.dir.join(format!("log.{}.jsonl", seq - 1));
            std::fs::rename(&path, put_away).map_err(MarketError::file(&path))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.map_err(MarketError::file(&path))?;
        file.write_all(text).and_then(|()| file.sync_data()).map_err(MarketError::file(&path))
    }
}

/// The last 32 KiB of a file, which hold a whole line; `None` if there is no file.
fn tail_of(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LINE_BYTES_MAX as u64)))?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(Some(bytes))
}

/// What ends with a line break.
fn whole_lines(tail: &[u8]) -> &[u8] {
    let end = tail.iter().rposition(|byte| *byte == b'\n');
    &tail[..end.map_or(0, |at| at + 1)]
}

fn last_line(whole: &[u8]) -> Result<Option<AuditLine>, MarketError> {
    let line = whole.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
    let line = line.filter(|line| !line.is_empty());
    line.map(|line| read_line(&String::from_utf8_lossy(line))).transpose()
}

/// Adds the lines of a file, which may not be there, to those before them.
fn read_chained(path: &Path, lines: &mut Vec<AuditLine>) -> Result<(), MarketError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(MarketError::file(path)(error)),
    };
    for text in BufReader::new(file).lines() {
        let line = read_line(&text.map_err(MarketError::file(path))?)?;
        let (seq, hash) =
            lines.last().map_or_else(nothing, |before| (before.seq, before.hash.clone()));
        if seq.checked_add(1) != Some(line.seq) {
            let expected = format!("line {} after line {seq}", seq.saturating_add(1));
            return Err(damaged(&expected, &format!("line {}", line.seq)));
        }
        if line.prev != hash || files::hex(&hash_of(&line)?) != line.hash {
            return Err(damaged(&format!("line {}", line.seq), "another one"));
        }
        lines.push(line);
    }
    Ok(())
}

/// Where the first line begins.
fn nothing() -> End {
    (0, "0".repeat(64))
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
    let remedy = "compare with a copy: somebody changed the log, or the disk did. To begin another one, \
                  put the folder `audit` away";
    MarketError::wrong("audit log", expected, got, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(subject: &str) -> Decision<'_> {
        Decision {
            event: Event::Refused,
            market: "shop",
            subject,
            code: Some("AMT-SIG"),
            detail: "a signature does not hold\n",
        }
    }

    fn decide(audit: &Audit, subject: &str) {
        audit.record(&decision(subject), std::time::UNIX_EPOCH).expect("recorded");
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
        audit.record(&decision("d/dd@1.0.0"), std::time::UNIX_EPOCH).expect_err("as it is");
    }

    #[test]
    fn a_line_that_a_crash_cut_is_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::new(folder.path());
        decide(&audit, "a/aa@1.0.0");
        let good = std::fs::read_to_string(audit.file()).expect("there");
        let signed = std::fs::read(folder.path().join("checkpoint")).expect("signed");
        for cut in [&b"{"[..], b"{\"seq\":2,\"at\":", b"{\"detail\":\"\xe2\x82"] {
            let bytes = [good.as_bytes(), cut].concat();
            std::fs::write(audit.file(), bytes).expect("written");
            std::fs::write(folder.path().join("checkpoint"), &signed).expect("written");
            decide(&audit, "b/bb@1.0.0");
            assert_eq!(audit.verify().expect("whole").len(), 2, "{cut:?}");
        }
    }

    #[test]
    fn a_log_that_does_not_begin_or_end_as_signed_is_found_and_not_gone_on_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::new(folder.path());
        for subject in ["a/aa@1.0.0", "b/bb@1.0.0", "c/cc@1.0.0"] {
            decide(&audit, subject);
        }
        let good = std::fs::read_to_string(audit.file()).expect("there");
        let rows: Vec<&str> = good.lines().collect();
        std::fs::write(audit.file(), format!("{}\n{}\n", rows[1], rows[2])).expect("written");
        let error = audit.verify().expect_err("without its first line").to_string();
        assert!(error.contains("expected line 1 after line 0, got line 2"), "{error}");
        std::fs::write(audit.file(), format!("{}\n{}\n", rows[0], rows[1])).expect("written");
        audit.record(&decision("d/dd@1.0.0"), std::time::UNIX_EPOCH).expect_err("signs no gap");
        std::fs::write(audit.file(), &good).expect("written");
        assert_eq!(audit.verify().expect("whole").len(), 3);

        for gone in [&["log.jsonl", "checkpoint"][..], &["checkpoint"], &["host.key"]] {
            let paths = gone.iter().map(|name| folder.path().join(name));
            let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("there"));
            let kept: Vec<(PathBuf, Vec<u8>)> = paths.map(read).collect();
            for (path, _) in &kept {
                std::fs::remove_file(path).expect("removed");
            }
            audit.verify().expect_err("something is missing");
            let error = audit.record(&decision("d/dd@1.0.0"), std::time::UNIX_EPOCH);
            error.expect_err("nothing is signed over it");
            for (path, bytes) in kept {
                std::fs::write(&path, bytes).expect("written");
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(&path, mode).expect("set");
            }
            assert_eq!(audit.verify().expect("whole").len(), 3, "{gone:?}");
        }
    }

    #[test]
    fn a_key_that_was_asked_for_before_the_first_line_is_that_of_an_empty_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::new(&folder.path().join("audit"));
        let key = audit.verifier_key().expect("made");
        assert_eq!(audit.verify().expect("empty"), []);
        decide(&audit, "a/aa@1.0.0");
        assert_eq!(audit.verify().expect("whole").len(), 1);
        assert_eq!(audit.verifier_key().expect("read"), key);
    }

    #[test]
    fn files_that_were_put_away_belong_to_the_chain() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut audit = Audit::new(folder.path());
        decide(&audit, "a/aa@1.0.0");
        let line = std::fs::metadata(audit.file()).expect("there").len();
        let parts = |audit: &Audit| -> Vec<u64> {
            audit.put_away().expect("read").into_iter().map(|(number, _)| number).collect()
        };
        // Two lines fill a file to its last byte; one byte less holds one line.
        audit.file_bytes_max = 2 * line;
        decide(&audit, "b/bb@1.0.0");
        assert!(parts(&audit).is_empty());
        decide(&audit, "c/cc@1.0.0");
        assert_eq!(parts(&audit), [2]);
        audit.file_bytes_max = 2 * line - 1;
        for count in 4..=12 {
            decide(&audit, "d/dd@1.0.0");
            assert_eq!(audit.verify().expect("whole").len(), count);
        }
        assert_eq!(parts(&audit), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "by number");

        // Killed after the last file was put away, and before the line that it was put away for.
        let twelfth = folder.path().join("log.12.jsonl");
        std::fs::rename(audit.file(), &twelfth).expect("put away");
        assert_eq!(audit.verify().expect("whole").len(), 12);
        decide(&audit, "e/ee@1.0.0");
        assert_eq!(audit.verify().expect("whole").len(), 13);

        for gone in ["log.2.jsonl", "log.7.jsonl", "log.12.jsonl"] {
            let (path, aside) = (folder.path().join(gone), folder.path().join("aside"));
            std::fs::rename(&path, &aside).expect("moved");
            let error = audit.verify().expect_err(gone).to_string();
            assert!(error.contains("after line"), "{error}");
            std::fs::rename(&aside, &path).expect("moved");
        }
        assert_eq!(audit.verify().expect("whole").len(), 13);
    }
}
