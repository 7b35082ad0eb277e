//! A witness: cosigns a log's checkpoint if it continues the last one that it cosigned.

use serde::{Deserialize, Serialize};

use super::storage::Storage;
use crate::error::TrustError;
use crate::hex;
use crate::keys::SigningKey;
use crate::log::checkpoint::Checkpoint;
use crate::log::note::{Note, NoteKey, NoteKeyKind};
use crate::log::tree::{Hash, empty_root, extends};
use crate::market::equivocation;
use crate::refusal::{Refusal, RefusalCode};
use crate::timestamp::Timestamp;
use sha2::{Digest, Sha256};

const STATE_BYTES_MAX: usize = 1 << 12;

/// Whoever cosigns checkpoints: a [`Witness`] in this process, or one behind a network.
pub trait Cosigner {
    /// Size of the last checkpoint of the log `origin` that it cosigned; 0 if there is none.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn size(&mut self, origin: &str) -> Result<u64, TrustError>;

    /// The signature line for the checkpoint in `note`, which `proof` joins with the last one.
    ///
    /// # Errors
    /// [`TrustError::Sign`] if it does not continue the last one.
    fn cosign(&mut self, note: &str, proof: &[Hash]) -> Result<String, TrustError>;
}

/// A witness with its memory in a storage. The memory is written before a signature is given.
#[derive(Debug)]
pub struct Witness<'a, S: Storage> {
    storage: &'a mut S,
    log: NoteKey,
    name: NoteKey,
    key: &'a SigningKey,
    now: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    checkpoint: String,
}

impl<'a, S: Storage> Witness<'a, S> {
    /// The witness `name` of the log `log` at the time `now`.
    ///
    /// # Errors
    /// [`TrustError::NoteKey`] for a name that cannot stand in a note.
    pub fn new(
        storage: &'a mut S,
        log: NoteKey,
        name: &str,
        key: &'a SigningKey,
        now: Timestamp,
    ) -> Result<Self, TrustError> {
        let name = NoteKey::new(name, NoteKeyKind::Witness, key.public())?;
        Ok(Witness { storage, log, name, key, now })
    }

    fn path(origin: &str) -> String {
        format!("witness/{}", hex::encode(&Sha256::digest(origin.as_bytes())))
    }

    fn memory(&self, origin: &str) -> Result<Checkpoint, TrustError> {
        let read = self.storage.read(&Self::path(origin), STATE_BYTES_MAX);
        match read.map_err(TrustError::Storage)? {
            None => Ok(Checkpoint { origin: origin.to_owned(), size: 0, root: empty_root() }),
            Some(bytes) => {
                let memory: Memory = serde_json::from_slice(&bytes)
                    .map_err(|error| Refusal::format("a witness's memory", error.to_string()))?;
                Ok(Checkpoint::parse(&memory.checkpoint)?)
            }
        }
    }
}

impl<S: Storage> Cosigner for Witness<'_, S> {
    fn size(&mut self, origin: &str) -> Result<u64, TrustError> {
        Ok(self.memory(origin)?.size)
    }

    fn cosign(&mut self, note: &str, proof: &[Hash]) -> Result<String, TrustError> {
        let note = Note::parse(note)?;
        let new = Checkpoint::parse(note.text)?;
        if note.signed_by(&self.log)?.is_none() || new.origin != self.log.name() {
            let remedy = "ask a witness of this log";
            let expected = format!("a checkpoint of {}", self.log.name());
            return Err(Refusal::new(RefusalCode::Log, expected, "another", remedy).into());
        }
        let old = self.memory(&new.origin)?;
        if !extends((old.size, &old.root), (new.size, &new.root), proof) {
            return Err(equivocation(&old, &new).into());
        }
        let memory = Memory { checkpoint: new.to_text() };
        let bytes = serde_json::to_vec(&memory)
            .map_err(|error| Refusal::format("a witness's memory", error.to_string()))?;
        self.storage.write(&Self::path(&new.origin), &bytes).map_err(TrustError::Storage)?;
        Ok(self.name.line(note.text, self.now.as_unix(), self.key))
    }
}
