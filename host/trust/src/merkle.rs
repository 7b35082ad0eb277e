//! Digests of large files: a Merkle root over chunks of 16 MiB, so that a mapped file can be checked
//! piece by piece at first touch.
//!
//! The tree is RFC 6962's: a leaf is `SHA-256(0x00 ‖ chunk)`, an inner node `SHA-256(0x01 ‖ left ‖
//! right)`, and the left part is the largest power of two below the number of leaves. An empty file is
//! one empty chunk. The leaves of `model.safetensors` lie in `model.safetensors.chunks`, 32 bytes each.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::refusal::{Refusal, RefusalCode};

/// Bytes of every chunk but the last: 16 MiB.
pub const CHUNK_BYTES: u64 = 16 << 20;

/// Files with more chunks than this (1 PiB) are refused.
const CHUNKS_MAX: u64 = 1 << 26;

/// What a statement says of a file: its length and the Merkle root of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Length in bytes.
    pub bytes: u64,
    /// Root of the tree over all chunks.
    pub root: [u8; 32],
}

/// The leaves of one file's tree, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkList {
    bytes: u64,
    leaves: Vec<[u8; 32]>,
}

impl ChunkList {
    /// The leaves of everything that `file` gives. Reads in pieces of 64 KiB.
    ///
    /// # Errors
    /// What `file` reports.
    pub fn of_reader(mut file: impl Read) -> io::Result<Self> {
        let (mut bytes, mut leaves) = (0, Vec::new());
        loop {
            let mut leaf = leaf_hasher();
            let length = copy_into(&mut leaf, file.by_ref().take(CHUNK_BYTES))?;
            if length > 0 || leaves.is_empty() {
                leaves.push(leaf.finalize().into());
                bytes += length;
            }
            if length < CHUNK_BYTES {
                return Ok(ChunkList { bytes, leaves });
            }
        }
    }

    /// The leaves of a file that is in memory.
    pub fn of_bytes(file: &[u8]) -> Self {
        let mut leaves: Vec<[u8; 32]> = file.chunks(CHUNK_BYTES as usize).map(leaf_of).collect();
        if leaves.is_empty() {
            leaves.push(leaf_of(&[]));
        }
        ChunkList { bytes: file.len() as u64, leaves }
    }

    /// Reads the content of a `.chunks` file for a file of `bytes` bytes. It is worth nothing until
    /// [`ChunkList::digest`] was compared with a signed one.
    ///
    /// # Errors
    /// `AMT-FORMAT` if the length does not fit a file of `bytes` bytes, `AMT-SIZE` beyond 1 PiB.
    pub fn parse(chunks: &[u8], bytes: u64) -> Result<Self, Refusal> {
        let count = chunk_count(bytes);
        if count > CHUNKS_MAX {
            let remedy = "split the file into shards";
            return Err(Refusal::new(
                RefusalCode::Size,
                "a file of at most 1 PiB",
                format!("{bytes} bytes"),
                remedy,
            ));
        }
        let wanted = count * 32;
        if chunks.len() as u64 != wanted {
            let expected = format!("{wanted} bytes of chunk digests for a file of {bytes} bytes");
            return Err(Refusal::format(expected, format!("{} bytes", chunks.len())));
        }
        let leaf = |piece: &[u8]| std::array::from_fn(|at| piece[at]);
        Ok(ChunkList { bytes, leaves: chunks.chunks_exact(32).map(leaf).collect() })
    }

    /// The content of the `.chunks` file: 32 bytes a chunk.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.leaves.concat()
    }

    /// Length and root, for signing or for comparison with a signed statement.
    pub fn digest(&self) -> FileDigest {
        FileDigest { bytes: self.bytes, root: root_of(&self.leaves) }
    }

    /// Number of chunks; at least 1.
    pub fn chunks(&self) -> usize {
        self.leaves.len()
    }

    /// Length in bytes of chunk `index`, or `None` if there is no such chunk.
    pub fn chunk_bytes(&self, index: usize) -> Option<u64> {
        self.leaves.get(index)?;
        Some(CHUNK_BYTES.min(self.bytes.saturating_sub((index as u64).checked_mul(CHUNK_BYTES)?)))
    }

    /// Checks that `chunk` is chunk `index` of the file.
    ///
    /// # Errors
    /// `AMT-DIGEST` if it is not, or if there is no such chunk.
    pub fn verify_chunk(&self, index: usize, chunk: &[u8]) -> Result<(), Refusal> {
        let same = self.chunk_bytes(index) == Some(chunk.len() as u64)
            && self.leaves.get(index).is_some_and(|leaf| *leaf == leaf_of(chunk));
        match same {
            true => Ok(()),
            false => Err(Refusal::new(
                RefusalCode::Digest,
                format!("the signed bytes in chunk {index} of {}", self.leaves.len()),
                format!("{} other bytes", chunk.len()),
                "restore the model's files from their publisher: this one was changed or is damaged",
            )),
        }
    }
}

fn chunk_count(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK_BYTES).max(1)
}

fn leaf_hasher() -> Sha256 {
    Sha256::new_with_prefix([0])
}

fn leaf_of(chunk: &[u8]) -> [u8; 32] {
    leaf_hasher().chain_update(chunk).finalize().into()
}

fn copy_into(hasher: &mut Sha256, mut from: impl Read) -> io::Result<u64> {
    let (mut piece, mut length) = (vec![0; 64 << 10], 0);
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                hasher.update(&piece[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn root_of(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => leaf_of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let node = Sha256::new_with_prefix([1]).chain_update(root_of(left));
            node.chain_update(root_of(right)).finalize().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(parts: &[&[u8]]) -> [u8; 32] {
        parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
    }

    #[test]
    fn the_tree_is_that_of_rfc_6962() {
        let leaves: Vec<[u8; 32]> = (0..5).map(|byte| [byte; 32]).collect();
        let node = |a: &[u8; 32], b: &[u8; 32]| sha(&[&[1], a, b]);
        let left = node(&node(&leaves[0], &leaves[1]), &node(&leaves[2], &leaves[3]));
        assert_eq!(root_of(&leaves), node(&left, &leaves[4]));
        assert_eq!(root_of(&leaves[..3]), node(&node(&leaves[0], &leaves[1]), &leaves[2]));
    }

    #[test]
    fn chunks_are_checked_one_by_one() {
        let mut file = vec![7; CHUNK_BYTES as usize + 3];
        let list = ChunkList::of_bytes(&file);
        assert_eq!(list, ChunkList::of_reader(&file[..]).expect("read"));
        assert_eq!(list.digest().root, sha(&[&[1], &leaf_of(&file[..1 << 24]), &leaf_of(&[7; 3])]));
        assert_eq!(ChunkList::parse(&list.to_bytes(), list.digest().bytes), Ok(list.clone()));
        assert!(list.verify_chunk(1, &file[1 << 24..]).is_ok());
        assert!(list.verify_chunk(1, &[7; 2]).is_err() && list.verify_chunk(2, &[]).is_err());
        file[5] ^= 1;
        let refusal = list.verify_chunk(0, &file[..1 << 24]).expect_err("flipped");
        assert_eq!(refusal.code, RefusalCode::Digest);
        assert_ne!(ChunkList::of_bytes(&file).digest(), list.digest());
    }

    #[test]
    fn empty_and_exactly_full_files_have_one_chunk() {
        let empty = ChunkList::of_bytes(&[]);
        assert_eq!(
            (empty.chunks(), empty.digest()),
            (1, FileDigest { bytes: 0, root: sha(&[&[0]]) })
        );
        assert_eq!(empty, ChunkList::of_reader(&[][..]).expect("read"));
        assert!(empty.verify_chunk(0, &[]).is_ok());
        let full = vec![0; CHUNK_BYTES as usize];
        assert_eq!(ChunkList::of_reader(&full[..]).expect("read"), ChunkList::of_bytes(&full));
        assert_eq!(ChunkList::of_bytes(&full).chunks(), 1);
    }

    #[test]
    fn a_chunk_file_of_another_length_is_refused_whatever_it_claims() {
        for (length, bytes) in
            [(0, 0), (31, 1), (33, 1), (64, 1), (32, CHUNK_BYTES + 1), (32, u64::MAX)]
        {
            assert!(ChunkList::parse(&vec![0; length], bytes).is_err(), "{length} for {bytes}");
        }
    }
}
