//! Appends entries to the log: tiles first, the cosigned checkpoint last.
//!
//! ```text
//! log/checkpoint                          the log as clients see it, a cosigned note
//! log/tile/<level>/<index>[.p/<width>]    hashes
//! log/tile/entries/<index>[.p/<width>]    entries, each after its length in 2 bytes
//! log/pending                             the last entry, which may still be being appended
//! ```
//! A checkpoint that was signed must never be followed by another of the same size. So the entry is
//! written to `log/pending` before anything is signed; after a crash the next append finishes that entry
//! first, to the same bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::storage::Storage;
use super::witness::Cosigner;
use crate::error::TrustError;
use crate::keys::SigningKey;
use crate::log::checkpoint::Checkpoint;
use crate::log::note::{Note, NoteKey, NoteKeyKind, PROOF_BYTES_MAX};
use crate::log::policy::LogPolicy;
use crate::log::proof::proof_text;
use crate::log::tiles::{TILE_WIDTH, TileReader, TileSource, tile_path};
use crate::log::tree::{Hash, leaf_hash, node_hash};
use crate::refusal::{Refusal, RefusalCode};

const ENTRY_BYTES_MAX: usize = 65_535;
const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + ENTRY_BYTES_MAX);

/// A log in a storage. One writer at a time.
pub struct LogWriter<'a, S: Storage> {
    storage: &'a mut S,
    name: NoteKey,
    key: &'a SigningKey,
    policy: &'a LogPolicy,
}

/// Where an entry is, and the proof that it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Place in the log.
    pub index: u64,
    /// The text of its `tlog-proof`.
    pub proof: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    index: u64,
    entry: String,
}

/// The tiles of a log below `log/` in a storage.
#[derive(Debug)]
pub struct StoredTiles<'a, S: Storage>(pub &'a S);

impl<S: Storage> TileSource for StoredTiles<'_, S> {
    fn tile(&mut self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
        let refused = |got: String| {
            let expected = format!("the log's file {path}");
            Refusal::new(RefusalCode::Log, expected, got, "restore the log from a mirror")
        };
        let read = self.0.read(&format!("log/{path}"), bytes_max);
        read.map_err(|error| refused(error.to_string()))?.ok_or_else(|| refused("none".to_owned()))
    }
}

impl<'a, S: Storage> LogWriter<'a, S> {
    /// The log `origin` with its key. `policy` must be satisfied before a checkpoint is published.
    ///
    /// # Errors
    /// [`TrustError::NoteKey`] for an origin that cannot stand in a note.
    pub fn new(
        storage: &'a mut S,
        origin: &str,
        key: &'a SigningKey,
        policy: &'a LogPolicy,
    ) -> Result<Self, TrustError> {
        let name = NoteKey::new(origin, NoteKeyKind::Log, key.public())?;
        Ok(LogWriter { storage, name, key, policy })
    }

    /// Appends an entry of 1 to 65,535 bytes and publishes a checkpoint that the quorum cosigned.
    ///
    /// Witnesses that fail are passed over, as long as the quorum is reached. An entry that is the same
    /// as the last one is finished, or found, not added again: repeating a call is safe.
    ///
    /// # Errors
    /// [`TrustError::Sign`] with `AMT-LOG` below the quorum, [`TrustError::Storage`]. Then clients see
    /// the log as before, and the next call goes on with this entry.
    pub fn append(
        &mut self,
        entry: &[u8],
        witnesses: &mut [&mut dyn Cosigner],
    ) -> Result<Logged, TrustError> {
        if entry.is_empty() || entry.len() > ENTRY_BYTES_MAX {
            let got = format!("{} bytes", entry.len());
            return Err(TrustError::Release { expected: "an entry of 1 to 65,535 bytes", got });
        }
        if let Some((index, last)) = self.pending()? {
            if last == entry {
                return self.finish(index, entry, witnesses);
            }
            if index >= self.size()? {
                self.finish(index, &last, witnesses)?;
            }
        }
        let index = self.size()?;
        let pending = Pending { index, entry: STANDARD.encode(entry) };
        let text = serde_json::to_vec(&pending)
            .map_err(|error| Refusal::format("an entry", error.to_string()))?;
        self.write("log/pending", &text)?;
        self.finish(index, entry, witnesses)
    }

    /// Number of entries that clients see.
    ///
    /// # Errors
    /// [`TrustError::Storage`]; [`TrustError::Sign`] if the stored checkpoint is not this log's.
    pub fn size(&self) -> Result<u64, TrustError> {
        Ok(self.checkpoint()?.map_or(0, |(_, checkpoint)| checkpoint.size))
    }

    /// The published checkpoint, a cosigned note.
    ///
    /// # Errors
    /// As [`LogWriter::size`].
    pub fn checkpoint(&self) -> Result<Option<(String, Checkpoint)>, TrustError> {
        let Some(text) = self.read("log/checkpoint", PROOF_BYTES_MAX)? else {
            return Ok(None);
        };
        let wrong = || Refusal::format("the checkpoint of this log", "another file");
        let text = String::from_utf8(text).map_err(|_| wrong())?;
        let checkpoint = {
            let note = Note::parse(&text)?;
            note.signed_by(&self.name)?.ok_or_else(wrong)?;
            Checkpoint::parse(note.text)?
        };
        Ok(Some((text, checkpoint)))
    }

    /// A proof, under the published checkpoint, that entry `index` is in the log.
    ///
    /// # Errors
    /// As [`LogWriter::size`]; `AMT-LOG` if there is no such entry.
    pub fn prove(&self, index: u64) -> Result<String, TrustError> {
        let published = self.checkpoint()?;
        let (note, checkpoint) =
            published.ok_or_else(|| Refusal::format("a log with entries", "an empty one"))?;
        let mut tiles = StoredTiles(&*self.storage);
        let path = TileReader::new(&mut tiles, checkpoint.size).inclusion(index)?;
        Ok(proof_text(index, &path, &note))
    }

    fn finish(
        &mut self,
        index: u64,
        entry: &[u8],
        witnesses: &mut [&mut dyn Cosigner],
    ) -> Result<Logged, TrustError> {
        if index >= self.size()? {
            self.write_entry(index, entry)?;
            self.write_hash(0, index, leaf_hash(entry))?;
            let size = index + 1;
            let root = TileReader::new(&mut StoredTiles(&*self.storage), size).root()?;
            let checkpoint = Checkpoint { origin: self.name.name().to_owned(), size, root };
            let note = self.cosigned(&checkpoint, witnesses)?;
            self.policy.check(&note)?;
            self.write("log/checkpoint", note.as_bytes())?;
        }
        Ok(Logged { index, proof: self.prove(index)? })
    }

    /// The checkpoint as a note with the log's signature and those of the witnesses that give one.
    fn cosigned(
        &self,
        checkpoint: &Checkpoint,
        witnesses: &mut [&mut dyn Cosigner],
    ) -> Result<String, TrustError> {
        let text = checkpoint.to_text();
        let signed = format!("{text}\n{}", self.name.line(&text, 0, self.key));
        let mut note = signed.clone();
        for witness in witnesses {
            let Ok(old) = witness.size(&checkpoint.origin) else {
                continue;
            };
            let mut tiles = StoredTiles(&*self.storage);
            let Ok(proof) = TileReader::new(&mut tiles, checkpoint.size).consistency(old) else {
                continue;
            };
            if let Ok(line) = witness.cosign(&signed, &proof) {
                note.push_str(&line);
            }
        }
        Ok(note)
    }

    fn write_entry(&mut self, index: u64, entry: &[u8]) -> Result<(), TrustError> {
        let (tile, at) = (index / TILE_WIDTH, index % TILE_WIDTH);
        let mut bundle = self.row("entries", tile, at, BUNDLE_BYTES_MAX)?;
        bundle.extend_from_slice(&(entry.len() as u16).to_be_bytes());
        bundle.extend_from_slice(entry);
        self.write(&format!("log/{}", tile_path("entries", tile, at + 1)), &bundle)
    }

    /// Adds a hash at the right edge of `level`, and of the levels above whose tiles it fills.
    fn write_hash(&mut self, level: u32, index: u64, hash: Hash) -> Result<(), TrustError> {
        let (tile, at) = (index / TILE_WIDTH, index % TILE_WIDTH);
        let name = level.to_string();
        let mut row = self.row(&name, tile, at, 32 * TILE_WIDTH as usize)?;
        row.extend_from_slice(&hash);
        self.write(&format!("log/{}", tile_path(&name, tile, at + 1)), &row)?;
        if at + 1 < TILE_WIDTH {
            return Ok(());
        }
        let mut hashes: Vec<Hash> =
            row.chunks_exact(32).map(|hash| std::array::from_fn(|at| hash[at])).collect();
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        match hashes.first() {
            Some(root) => self.write_hash(level + 1, tile, *root),
            None => Ok(()),
        }
    }

    /// The partial tile before something is added at `width`; empty where a new one begins.
    fn row(&self, level: &str, tile: u64, width: u64, most: usize) -> Result<Vec<u8>, TrustError> {
        if width == 0 {
            return Ok(Vec::new());
        }
        let path = format!("log/{}", tile_path(level, tile, width));
        let missing =
            || Refusal::new(RefusalCode::Log, &path, "none", "restore the log from a mirror");
        Ok(self.read(&path, most)?.ok_or_else(missing)?)
    }

    /// The last entry, whether it is in the log already or not.
    fn pending(&self) -> Result<Option<(u64, Vec<u8>)>, TrustError> {
        let Some(text) = self.read("log/pending", 2 * ENTRY_BYTES_MAX)? else {
            return Ok(None);
        };
        let wrong = |got: String| Refusal::format("a pending entry", got);
        let pending: Pending =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let entry = STANDARD.decode(&pending.entry).map_err(|error| wrong(error.to_string()))?;
        Ok(Some((pending.index, entry)))
    }

    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, TrustError> {
        self.storage.read(path, bytes_max).map_err(TrustError::Storage)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), TrustError> {
        self.storage.write(path, bytes).map_err(TrustError::Storage)
    }
}
