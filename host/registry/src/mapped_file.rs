//! A published file, mapped read-only.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::{Mmap, UncheckedAdvice};

use crate::error::RegistryError;

/// The bytes of one published file, shared with the page cache and never copied.
///
/// The mapping outlives a removal of the version: the kernel keeps the bytes until the last
/// mapping is dropped. Files are written once and never changed in place; whoever truncates one by
/// hand, with the server's own user, can kill the process that maps it (out of scope by design).
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`, which must have exactly `bytes` bytes.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] for another length or a missing file, [`RegistryError::Io`].
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self, RegistryError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(corrupt(path, format!("expected {bytes} bytes, got no file")));
            }
            Err(error) => return Err(RegistryError::io("open", path)(error)),
        };
        let got = file.metadata().map_err(RegistryError::io("inspect", path))?.len();
        if got != bytes {
            return Err(corrupt(path, format!("expected {bytes} bytes, got {got}")));
        }
        #[expect(unsafe_code, reason = "a memory map has no safe constructor")]
        // SAFETY: the registry writes a file once, in staging, makes it read-only and never changes
        // or truncates it afterwards; replacing and removing go through rename and unlink, which
        // leave a mapping's bytes as they are.
        let map = unsafe { Mmap::map(&file) }.map_err(RegistryError::io("map", path))?;
        Ok(Self { map })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Lets go of the memory of a range, which was read and is not needed for now. Reading it again
    /// brings the same bytes back from the file; a range outside the file is ignored.
    pub fn release(&self, range: Range<usize>) {
        if range.start >= range.end || range.end > self.map.len() {
            return;
        }
        #[expect(unsafe_code, reason = "the advice is no promise that the compiler can check")]
        // SAFETY: the mapping is shared and read-only and its file never changes, so that dropped
        // pages come back with the bytes they had. An error leaves them where they are.
        let _ = unsafe {
            self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

fn corrupt(path: &Path, detail: String) -> RegistryError {
    RegistryError::Corrupt { path: path.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_survives_the_removal_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"weights").unwrap();
        let mapped = MappedFile::open(&path, 7).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&mapped[..], b"weights");
    }

    #[test]
    fn what_was_released_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let content: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mapped = MappedFile::open(&path, content.len() as u64).unwrap();
        let before = mapped.to_vec();
        for range in [0..100_000, 5000..90_001, 7..7, 99_999..100_000, 1..100_001] {
            mapped.release(range);
            assert_eq!(mapped[..], before);
        }
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"").unwrap();
        let mapped = MappedFile::open(&path, 0).unwrap();
        assert!(mapped.is_empty() && mapped.as_ref().is_empty());
    }

    #[test]
    fn a_truncated_or_missing_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"weigh").unwrap();
        for path in [path, dir.path().join("y")] {
            let error = MappedFile::open(&path, 7).unwrap_err();
            assert!(matches!(error, RegistryError::Corrupt { .. }), "{error}");
        }
    }
}
