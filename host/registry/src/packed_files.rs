//! Packed weights on disk, so that a restart packs nothing and memory is shared with the page cache.
//!
//! An entry is written once, beside its place, and renamed into it; a checksum finds what a disk or a
//! crash damaged, and such an entry is as good as absent. Whoever may write to the data folder is the
//! server's own user, against whom nothing here protects.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::error::RegistryError;
use crate::mapped_file::MappedFile;

/// Start of every entry.
const MAGIC: &[u8; 8] = b"aimassp1";
/// Bytes before the content: the magic, the content's CRC-32, and zeros up to the alignment of tensors.
const HEADER_BYTES: usize = 64;
const SUFFIX: &str = "packed";
const PARTIAL: &str = "partial";
/// How long the writing of one entry may take.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(3600);

/// A folder of packed weights.
#[derive(Debug)]
pub struct PackedFiles {
    folder: PathBuf,
    bytes_max: u64,
    partials: AtomicU64,
}

/// A mapped entry.
pub struct PackedFile {
    map: Arc<MappedFile>,
}

impl PackedFile {
    /// The whole file, and where in it the content lies: aligned to 64 bytes.
    pub fn into_parts(self) -> (Arc<MappedFile>, Range<usize>) {
        let range = HEADER_BYTES..self.map.len();
        (self.map, range)
    }
}

impl PackedFiles {
    /// Opens the folder and makes it if it is missing. Beyond `bytes_max` the entries used longest
    /// ago go; so does, here, what a process that was killed left half-written.
    ///
    /// # Errors
    /// [`RegistryError::Io`] if it cannot be made.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<PackedFiles, RegistryError> {
        fs::create_dir_all(folder).map_err(RegistryError::io("make", folder))?;
        remove_leftovers(folder);
        Ok(PackedFiles { folder: folder.to_owned(), bytes_max, partials: AtomicU64::new(0) })
    }

    /// The entry of a key, whole; a damaged one is removed.
    pub fn get(&self, key: &[u8; 32]) -> Option<PackedFile> {
        let path = self.path(key);
        let bytes = path.metadata().ok()?.len();
        let map = MappedFile::open(&path, bytes).ok()?;
        if !is_whole(&map) {
            let _ = fs::remove_file(&path);
            return None;
        }
        // What was used last goes last.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(PackedFile { map: Arc::new(map) })
    }

    /// Keeps an entry; one that is larger than all entries may be together is not kept.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written; then there is no such entry.
    pub fn put(&self, key: &[u8; 32], content: &[u8]) -> io::Result<()> {
        if (HEADER_BYTES + content.len()) as u64 > self.bytes_max {
            return Ok(());
        }
        let path = self.path(key);
        let number = self.partials.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_extension(format!("{}-{number}.{PARTIAL}", std::process::id()));
        let written = write(&partial, content).and_then(|()| fs::rename(&partial, &path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        self.shrink();
        written
    }

    fn path(&self, key: &[u8; 32]) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension(SUFFIX)
    }

    fn shrink(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let about = path.metadata().ok()?;
                path.extension().filter(|extension| *extension == SUFFIX)?;
                Some((about.modified().ok()?, about.len(), path))
            })
            .collect();
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if total <= self.bytes_max {
                break;
            }
            // A mapping outlives its file.
            let _ = fs::remove_file(path);
            total -= bytes;
        }
    }
}

/// Removes partial entries that nobody can be writing any more.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let age = path.metadata().and_then(|about| about.modified()).map(|time| time.elapsed());
        let old = matches!(age, Ok(Ok(age)) if age > PARTIAL_AGE_MAX);
        if old && path.extension().is_some_and(|extension| extension == PARTIAL) {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_whole(file: &[u8]) -> bool {
    let Some((header, content)) = file.split_at_checked(HEADER_BYTES) else { return false };
    header[..MAGIC.len()] == *MAGIC
        && header[MAGIC.len()..MAGIC.len() + 4] == crc32fast::hash(content).to_le_bytes()
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    let mut file = File::create_new(path)?;
    file.write_all(&header)?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_of(file: Option<PackedFile>) -> Option<Vec<u8>> {
        let (map, range) = file?.into_parts();
        Some(map[range].to_vec())
    }

    #[test]
    fn an_entry_comes_back_aligned_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = PackedFiles::open(&dir.path().join("packed"), 1 << 20).unwrap();
        let content: Vec<u8> = (0..1000u32).map(|i| (i * 3) as u8).collect();
        assert!(files.get(&[1; 32]).is_none());
        files.put(&[1; 32], &content).unwrap();
        let (map, range) = files.get(&[1; 32]).unwrap().into_parts();
        assert_eq!(map[range.clone()], content);
        assert_eq!(map[range].as_ptr() as usize % 64, 0);
        let path = files.path(&[1; 32]);
        let whole = fs::read(&path).unwrap();
        for at in [0, MAGIC.len(), HEADER_BYTES, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(files.get(&[1; 32]).is_none(), "{at}");
            assert!(!path.exists());
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(files.get(&[1; 32]).is_none());
        fs::write(&path, &whole[..10]).unwrap();
        assert!(files.get(&[1; 32]).is_none());
    }

    #[test]
    fn what_a_killed_process_left_goes_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["a.1-0.partial", "b.1-0.partial"].map(|name| dir.path().join(name));
        fs::write(&old, b"half").unwrap();
        fs::write(&new, b"half").unwrap();
        let long_ago = SystemTime::now() - PARTIAL_AGE_MAX - Duration::from_secs(1);
        File::options().append(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        PackedFiles::open(dir.path(), 1 << 20).unwrap();
        assert!(!old.exists() && new.exists());
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_never_fits_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let limit = 3 * (HEADER_BYTES as u64 + 100);
        let files = PackedFiles::open(dir.path(), limit).unwrap();
        let old = |key: u8, seconds: u64| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            File::open(files.path(&[key; 32])).unwrap().set_modified(time).unwrap();
        };
        for key in 1..=3 {
            files.put(&[key; 32], &[key; 100]).unwrap();
            old(key, 100 - u64::from(key));
        }
        assert_eq!(content_of(files.get(&[1; 32])), Some(vec![1; 100]));
        files.put(&[4; 32], &[4; 100]).unwrap();
        let there: Vec<u8> = (1..=4).filter(|&key| files.get(&[key; 32]).is_some()).collect();
        assert_eq!(there, [1, 3, 4]);
        files.put(&[5; 32], &vec![5; limit as usize]).unwrap();
        assert!(files.get(&[5; 32]).is_none() && files.get(&[4; 32]).is_some());
        assert!(fs::read_dir(dir.path()).unwrap().all(|entry| {
            entry.unwrap().path().extension().is_some_and(|extension| extension == SUFFIX)
        }));
    }
}
