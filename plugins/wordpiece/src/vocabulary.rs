//! The vocabulary: an open-addressed table that is built once, in `init`.
//!
//! Every instance starts with a copy-on-write image of it, so that what counts is how few pages a lookup
//! touches: one of the table and, when the hash fits, one of the joined names.

use aimass_sdk::prelude::*;

/// Most entries; the largest published WordPiece vocabularies have about 500,000.
const ENTRIES_MAX: usize = 4_000_000;

/// Bytes of an entry's name at most.
const NAME_BYTES_MAX: usize = 1024;

/// What an empty slot holds as its id.
const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    id: u32,
    start: u32,
    len: u32,
}

/// A hash that can be continued, so that all prefixes of a word are hashed in one pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(u64);

impl Hash {
    /// Of no bytes.
    pub(crate) const START: Hash = Hash(0xcbf2_9ce4_8422_2325);

    /// After one more byte.
    #[inline]
    pub(crate) fn then(self, byte: u8) -> Hash {
        Hash((self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    fn of(bytes: &[u8]) -> Hash {
        bytes.iter().fold(Hash::START, |hash, byte| hash.then(*byte))
    }

    /// Spreads the entropy of the low bits, where the last bytes are, to all bits.
    fn mixed(self) -> u64 {
        let hash = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 29)
    }
}

/// Token ids by name.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    slots: Vec<Slot>,
    names: Vec<u8>,
    longest: usize,
}

impl Vocabulary {
    /// Of these names and ids.
    ///
    /// # Errors
    /// `limit/vocabulary` for too many or too long entries; `input/tokenizer` for a name twice.
    pub(crate) fn new(entries: &[(String, u32)]) -> Result<Self> {
        if entries.len() > ENTRIES_MAX {
            let message = format!("expected at most {ENTRIES_MAX} tokens, got {}", entries.len());
            return Err(Error::limit("vocabulary", message));
        }
        let empty = Slot { tag: 0, id: EMPTY, start: 0, len: 0 };
        let bytes = entries.iter().map(|(name, _)| name.len()).sum();
        let mut vocabulary = Vocabulary {
            slots: vec![empty; entries.len() * 4 / 3 + 8],
            names: Vec::with_capacity(bytes),
            longest: 0,
        };
        for (name, id) in entries {
            vocabulary.insert(name, *id)?;
        }
        Ok(vocabulary)
    }

    /// Bytes of the longest name.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The id of a name.
    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.find(Hash::of(name.as_bytes()), "", name.as_bytes())
    }

    /// The id of the name `prefix` + `rest`, whose hash is known.
    #[inline]
    pub(crate) fn find(&self, hash: Hash, prefix: &str, rest: &[u8]) -> Option<u32> {
        let mixed = hash.mixed();
        let tag = mixed as u32;
        let mut at = self.home(mixed);
        loop {
            let slot = self.slots[at];
            if slot.id == EMPTY {
                return None;
            }
            if slot.tag == tag && self.name(slot).strip_prefix(prefix.as_bytes()) == Some(rest) {
                return Some(slot.id);
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn insert(&mut self, name: &str, id: u32) -> Result<()> {
        if name.len() > NAME_BYTES_MAX || id == EMPTY {
            let message = format!(
                "expected token names of at most {NAME_BYTES_MAX} bytes and ids below {EMPTY}, \
                 got {} bytes and {id}",
                name.len()
            );
            return Err(Error::limit("vocabulary", message));
        }
        if self.get(name).is_some() {
            return Err(Error::input("tokenizer", format!("token {name:?} appears twice")));
        }
        let mixed = Hash::of(name.as_bytes()).mixed();
        let mut at = self.home(mixed);
        while self.slots[at].id != EMPTY {
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        self.slots[at] =
            Slot { tag: mixed as u32, id, start: self.names.len() as u32, len: name.len() as u32 };
        self.names.extend_from_slice(name.as_bytes());
        self.longest = self.longest.max(name.len());
        Ok(())
    }

    /// The slot that a hash is looked for at first: its upper half scaled to the table's length.
    fn home(&self, mixed: u64) -> usize {
        (((mixed >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn name(&self, slot: Slot) -> &[u8] {
        &self.names[slot.start as usize..][..slot.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let entries: Vec<_> = (0..5000).map(|id| (format!("t{id}"), id)).collect();
        let vocabulary = Vocabulary::new(&entries).unwrap();
        for (name, id) in &entries {
            assert_eq!(vocabulary.get(name), Some(*id));
        }
        assert_eq!(vocabulary.get("t5000"), None);
        assert_eq!(vocabulary.get(""), None);
    }

    #[test]
    fn a_hash_can_be_continued_after_a_prefix() {
        let vocabulary = Vocabulary::new(&[("##ing".to_owned(), 7)]).unwrap();
        let hash = "ing".bytes().fold(Hash::of(b"##"), Hash::then);
        assert_eq!(vocabulary.find(hash, "##", b"ing"), Some(7));
        assert_eq!(vocabulary.find(hash, "", b"ing"), None);
    }

    #[test]
    fn a_name_twice_is_refused() {
        let twice = [("a".to_owned(), 0), ("a".to_owned(), 1)];
        assert_eq!(Vocabulary::new(&twice).unwrap_err().message, "token \"a\" appears twice");
    }
}
