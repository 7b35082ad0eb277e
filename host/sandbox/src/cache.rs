//! Compiled components on disk, so that a restart compiles nothing.
//!
//! Loading compiled code is as good as running it natively, so every entry carries an HMAC-SHA-256
//! under a key that only this host has (a file of mode 0600 made at first start). The MAC covers the
//! entry's name too, which is a digest of component, configuration, files, wasmtime's version and
//! the engine's settings. An entry that is forged, cut short or of another engine is as good as absent.

use crate::error::SandboxError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use subtle::ConstantTimeEq;

/// Start of every entry.
const MAGIC: &[u8; 8] = b"aimassc1";
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// Largest entry that is read; compiled Python is below 64 MiB.
const ENTRY_BYTES_MAX: u64 = 1 << 30;
const SUFFIX: &str = "cwasm";

/// Name of an entry: a digest of everything that decides what was compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheKey {
    hash: [u8; 32],
    /// Start of the component's digest: what a purge finds entries by.
    component: [u8; 16],
}

impl CacheKey {
    /// The key of what was made, with these parts, of the component with this digest.
    pub(crate) fn of(component: &[u8; 32], parts: [&[u8]; 4]) -> CacheKey {
        let mut hash = Sha256::new();
        for part in parts.into_iter().chain([&component[..]]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let start = std::array::from_fn(|at| component[at]);
        CacheKey { hash: hash.finalize().into(), component: start }
    }

    fn file_name(&self) -> String {
        format!("{}-{}.{SUFFIX}", hex(&self.component), hex(&self.hash))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a look into the cache found.
pub(crate) enum Found {
    /// Compiled code that this host made.
    Entry(Vec<u8>),
    /// Nothing.
    Nothing,
    /// Something that this host did not make, or not all of it.
    Rejected,
}

/// A folder of compiled components.
pub(crate) struct CompileCache {
    folder: PathBuf,
    bytes_max: u64,
    key: [u8; KEY_BYTES],
}

impl CompileCache {
    /// Opens the folder; makes it and the key if they are missing.
    ///
    /// # Errors
    /// [`SandboxError::Cache`] if folder or key cannot be made, or if others may read the key.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> Result<CompileCache, SandboxError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SandboxError::Cache { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let key_file = folder.join("host.key");
        let key = host_key(&key_file).map_err(failed(&key_file))?;
        Ok(CompileCache { folder: folder.to_owned(), bytes_max, key })
    }

    /// Looks for an entry.
    pub(crate) fn get(&self, key: &CacheKey) -> Found {
        let path = self.folder.join(key.file_name());
        let Ok(file) = File::open(&path) else { return Found::Nothing };
        let mut entry = Vec::new();
        let read = (&file).take(ENTRY_BYTES_MAX).read_to_end(&mut entry);
        if read.is_err() || !self.is_ours(key, &entry) {
            let _ = fs::remove_file(&path);
            return Found::Rejected;
        }
        let _ = file.set_modified(SystemTime::now());
        entry.drain(..MAGIC.len() + MAC_BYTES);
        Found::Entry(entry)
    }

    fn is_ours(&self, key: &CacheKey, entry: &[u8]) -> bool {
        let Some((magic, rest)) = entry.split_first_chunk::<{ MAGIC.len() }>() else {
            return false;
        };
        let Some((mac, code)) = rest.split_first_chunk::<MAC_BYTES>() else { return false };
        magic == MAGIC && bool::from(self.mac(key, code).ct_eq(mac))
    }

    /// Keeps an entry. That it could not be kept costs a compilation at the next start, no more.
    pub(crate) fn put(&self, key: &CacheKey, code: &[u8]) {
        if let Err(error) = self.write(key, code) {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "a compiled component could not be kept");
        }
        self.shrink();
    }

    fn write(&self, key: &CacheKey, code: &[u8]) -> io::Result<()> {
        let name = key.file_name();
        let partial = self.folder.join(format!("{name}.{}.partial", std::process::id()));
        let mut file = private_file(&partial, true)?;
        let written = file
            .write_all(MAGIC)
            .and_then(|()| file.write_all(&self.mac(key, code)))
            .and_then(|()| file.write_all(code))
            .and_then(|()| fs::rename(&partial, self.folder.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
    }

    fn mac(&self, key: &CacheKey, code: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes any key length");
        mac.update(&key.hash);
        mac.update(code);
        mac.finalize().into_bytes().into()
    }

    /// Removes everything that was made of a component; how many entries that were.
    pub(crate) fn purge(&self, component: &[u8; 32]) -> u64 {
        let start = format!("{}-", hex(&component[..16]));
        let Ok(entries) = fs::read_dir(&self.folder) else { return 0 };
        let of_it = entries.flatten().filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with(&start))
        });
        of_it.filter(|entry| fs::remove_file(entry.path()).is_ok()).count() as u64
    }

    /// Removes the entries used longest ago until the rest fits.
    fn shrink(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let about = path.metadata().ok()?;
                let ours = path.extension().is_some_and(|extension| extension == SUFFIX);
                ours.then(|| Some((about.modified().ok()?, about.len(), path)))?
            })
            .collect();
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if total <= self.bytes_max {
                break;
            }
            let _ = fs::remove_file(path);
            total -= bytes;
        }
    }
}

/// The key in this file; made of the operating system's randomness if there is none.
fn host_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    match private_file(path, false) {
        Ok(mut file) => {
            let mut key = [0; KEY_BYTES];
            getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
            file.write_all(&key)?;
            file.sync_all()?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => existing_key(path),
        Err(error) => Err(error),
    }
}

/// Reads the key that another start made, waiting a moment if it is being written now.
fn existing_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mode = path.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = format!("expected mode 600, got {:o}; remove the file", mode & 0o777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    for _ in 0..100 {
        if let Ok(key) = fs::read(path)?.try_into() {
            return Ok(key);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let message = format!("expected {KEY_BYTES} bytes; remove the file");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

fn private_file(path: &Path, replace: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).create(replace).truncate(replace).create_new(!replace);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> CacheKey {
        CacheKey::of(&[7; 32], [name.as_bytes(), b"", b"", b""])
    }

    fn entry(cache: &CompileCache, name: &str) -> Option<Vec<u8>> {
        match cache.get(&key(name)) {
            Found::Entry(code) => Some(code),
            Found::Nothing | Found::Rejected => None,
        }
    }

    #[test]
    fn entries_survive_a_restart_of_the_same_host_only() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        CompileCache::open(here.path(), 1 << 20).unwrap().put(&key("a"), b"code");
        let cache = CompileCache::open(here.path(), 1 << 20).unwrap();
        assert_eq!(entry(&cache, "a"), Some(b"code".to_vec()));
        let file = key("a").file_name();
        let other = CompileCache::open(elsewhere.path(), 1 << 20).unwrap();
        fs::copy(here.path().join(&file), elsewhere.path().join(&file)).unwrap();
        assert!(matches!(other.get(&key("a")), Found::Rejected));
    }

    #[test]
    fn a_purge_takes_what_was_made_of_one_component() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(folder.path(), 1 << 20).unwrap();
        let other = CacheKey::of(&[8; 32], [b"a", b"", b"", b""]);
        cache.put(&key("a"), b"code");
        cache.put(&key("b"), b"code");
        cache.put(&other, b"other");
        assert_eq!(cache.purge(&[7; 32]), 2);
        assert!(matches!(cache.get(&key("a")), Found::Nothing));
        assert!(matches!(cache.get(&other), Found::Entry(_)));
    }

    #[test]
    fn forged_truncated_and_renamed_entries_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(folder.path(), 1 << 20).unwrap();
        let path = folder.path().join(key("a").file_name());
        let spoil = |change: &dyn Fn(&mut Vec<u8>)| {
            cache.put(&key("a"), b"compiled code");
            let mut bytes = fs::read(&path).unwrap();
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();
            assert!(matches!(cache.get(&key("a")), Found::Rejected));
            assert!(matches!(cache.get(&key("a")), Found::Nothing), "it is removed");
        };
        spoil(&|bytes| *bytes.last_mut().unwrap() ^= 1);
        spoil(&|bytes| bytes[0] ^= 1);
        spoil(&|bytes| bytes.truncate(20));
        spoil(&|bytes| bytes.truncate(bytes.len() - 1));
        spoil(&|bytes| bytes.clear());
        cache.put(&key("b"), b"other code");
        fs::rename(folder.path().join(key("b").file_name()), &path).unwrap();
        assert!(matches!(cache.get(&key("a")), Found::Rejected), "an entry under another name");
    }

    #[test]
    fn the_folder_is_bounded_and_the_oldest_entry_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(folder.path(), 2500).unwrap();
        let old = SystemTime::now() - std::time::Duration::from_secs(60);
        for name in ["a", "b"] {
            cache.put(&key(name), &[0; 1000]);
        }
        let aged = File::options().write(true).open(folder.path().join(key("a").file_name()));
        aged.unwrap().set_modified(old).unwrap();
        cache.put(&key("c"), &[0; 1000]);
        let left = ["a", "b", "c"].map(|name| entry(&cache, name).is_some());
        assert_eq!(left, [false, true, true]);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(CompileCache::open(folder.path(), 1).unwrap());
        let path = folder.path().join("host.key");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(CompileCache::open(folder.path(), 1).is_err());
    }
}
