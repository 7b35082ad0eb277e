//! A model package's files: mapped, and verified chunk by chunk when they are first read.

use aimass_graph::{WeightError, WeightSource};
use aimass_registry::MappedFile;
use aimass_sandbox::ModelFiles;
use aimass_tensor::Buffer;
use aimass_trust::{CHUNK_BYTES, ChunkList, FileDigest};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Read-only bytes of one file.
pub(crate) trait Content: AsRef<[u8]> + Send + Sync {
    /// Lets go of the memory of a range that can be read again.
    fn release(&self, _range: Range<usize>) {}
}

impl Content for Vec<u8> {}

impl Content for MappedFile {
    fn release(&self, range: Range<usize>) {
        MappedFile::release(self, range);
    }
}

/// Bytes of one file, mapped or in memory.
pub(crate) type FileBytes = Arc<dyn Content>;

/// A file whose chunks are checked against the signed statement before anybody sees them.
pub(crate) struct VerifiedFile {
    name: String,
    content: FileBytes,
    bytes: Buffer,
    chunks: ChunkList,
    digest: FileDigest,
    checked: Vec<AtomicBool>,
}

impl VerifiedFile {
    /// A file with its chunk list; the list itself must match the statement, which the caller
    /// checks through [`VerifiedFile::file_digest`].
    pub(crate) fn new(name: &str, bytes: FileBytes, chunks: ChunkList) -> VerifiedFile {
        let (content, bytes) = (bytes.clone(), Buffer::shared(bytes));
        let count = bytes.as_slice().len().div_ceil(CHUNK_BYTES as usize);
        let checked = (0..count).map(|_| AtomicBool::new(false)).collect();
        let digest = chunks.digest();
        VerifiedFile { name: name.to_owned(), content, bytes, chunks, digest, checked }
    }

    /// Size and Merkle root.
    pub(crate) fn file_digest(&self) -> FileDigest {
        self.digest
    }

    fn check_chunk(&self, index: usize) -> Result<(), WeightError> {
        if self.checked[index].load(Ordering::Acquire) {
            return Ok(());
        }
        let chunk = CHUNK_BYTES as usize;
        let all = self.bytes.as_slice();
        let range = index * chunk..all.len().min((index + 1) * chunk);
        self.chunks
            .verify_chunk(index, &all[range.clone()])
            .map_err(|refusal| WeightError { message: format!("file {}: {refusal}", self.name) })?;
        self.checked[index].store(true, Ordering::Release);
        // Of a whole chunk, often little is wanted now.
        self.content.release(range);
        Ok(())
    }
}

impl WeightSource for VerifiedFile {
    fn len(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    fn digest(&self) -> [u8; 32] {
        self.digest.root
    }

    fn read(&self, range: Range<u64>) -> Result<Buffer, WeightError> {
        if range.start > range.end || range.end > self.len() {
            return Err(WeightError {
                message: format!(
                    "file {} has {} bytes, got range {}..{}",
                    self.name,
                    self.len(),
                    range.start,
                    range.end
                ),
            });
        }
        let chunks = range.start / CHUNK_BYTES..range.end.div_ceil(CHUNK_BYTES);
        for index in chunks {
            self.check_chunk(index as usize)?;
        }
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }

    fn release(&self, range: Range<u64>) {
        self.content.release(range.start as usize..range.end as usize);
    }
}

/// The files of one version, by name.
pub(crate) struct PackageFiles {
    files: BTreeMap<String, Arc<VerifiedFile>>,
}

impl PackageFiles {
    /// Files by name; `model.toml`, the statement and chunk lists are not among them.
    pub(crate) fn new(files: BTreeMap<String, Arc<VerifiedFile>>) -> PackageFiles {
        PackageFiles { files }
    }

    /// Size and Merkle root of every file, as the statement lists them.
    pub(crate) fn digests(&self) -> BTreeMap<String, FileDigest> {
        self.files.iter().map(|(name, file)| (name.clone(), file.file_digest())).collect()
    }

    /// A whole file, verified.
    ///
    /// # Errors
    /// [`WeightError`] if a chunk does not match the statement.
    pub(crate) fn read(&self, name: &str) -> Option<Result<Buffer, WeightError>> {
        self.files.get(name).map(|file| file.read(0..file.len()))
    }

    /// Names of all files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl ModelFiles for PackageFiles {
    fn list(&self) -> Vec<(String, u64)> {
        self.files.iter().map(|(name, file)| (name.clone(), file.len())).collect()
    }

    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        self.files.get(name).map(|file| file.clone() as Arc<dyn WeightSource>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8], listed: &[u8]) -> VerifiedFile {
        let owner: FileBytes = Arc::new(content.to_vec());
        VerifiedFile::new("w", owner, ChunkList::of_bytes(listed))
    }

    #[test]
    fn a_flipped_byte_is_refused_at_first_touch() {
        let content = vec![7u8; 1000];
        assert!(file(&content, &content).read(10..20).is_ok());
        let mut flipped = content.clone();
        flipped[999] ^= 1;
        let error = file(&flipped, &content).read(0..1).err().unwrap();
        assert!(error.message.contains("file w"), "{}", error.message);
    }

    #[test]
    fn ranges_outside_the_file_are_errors() {
        let content = vec![7u8; 10];
        assert!(file(&content, &content).read(5..11).is_err());
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let backwards = file(&content, &content).read(6..5);
        assert!(backwards.is_err());
        assert_eq!(file(&content, &content).read(10..10).unwrap().as_slice(), b"");
    }
}
