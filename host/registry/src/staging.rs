//! Staging: where a package is written before it gets its final name.
//!
//! A staging directory belongs to the process that holds the lock on `<id>.lock` beside it; the
//! kernel drops the lock when the process dies, however it dies.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::database::sync_directory;
use crate::error::RegistryError;
use crate::fail_point::FailPoint;
use crate::limits::check_limit;
use crate::record::{FileRecord, digest_hex};
use crate::registry::Inner;

const COPY_BYTES: usize = 1 << 20;

/// One package under way. Dropping it removes what is still in staging.
pub(crate) struct Staging {
    inner: Arc<Inner>,
    dir: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Staging {
    /// Makes a staging directory that no sweep touches while this value lives.
    ///
    /// Its lock is taken while the write lock is held, as every sweep is, so that no sweep can see
    /// it between creation and locking.
    pub(crate) fn create(inner: &Arc<Inner>) -> Result<Self, RegistryError> {
        let staging = inner.write("begin a publish", |_| {
            let (lock_path, lock) = create_lock(&inner.dir.join("staging"))?;
            let dir = lock_path.with_extension("");
            let staging = Self { inner: inner.clone(), dir, lock_path, _lock: lock };
            std::fs::create_dir(&staging.dir).map_err(RegistryError::io("create", &staging.dir))?;
            Ok(staging)
        })?;
        inner.fail_point(FailPoint::StagingCreated)?;
        Ok(staging)
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a new file of at most `bytes_max` bytes, makes it durable and read-only.
    pub(crate) fn write(
        &self,
        name: &str,
        source: &mut dyn Read,
        bytes_max: u64,
    ) -> Result<FileRecord, RegistryError> {
        let path = self.dir.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(RegistryError::io("create", parent))?;
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(RegistryError::io("create", &path))?;
        let written = copy(source, &mut file, bytes_max, &path);
        let finished = written.and_then(|record| {
            self.inner.fail_point(FailPoint::FileWritten)?;
            file.set_permissions(Permissions::from_mode(0o444))
                .and_then(|()| file.sync_all())
                .map_err(RegistryError::io("make durable", &path))?;
            Ok(FileRecord { name: name.to_owned(), ..record })
        });
        if finished.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        finished
    }

    /// Makes the entries of all its directories durable.
    pub(crate) fn sync(&self) -> Result<(), RegistryError> {
        sync_tree(&self.dir)?;
        self.inner.fail_point(FailPoint::StagingSynced)
    }

    /// Gives the directory its final name; call it inside the transaction that inserts its row.
    ///
    /// Whatever lies there has no row, so it is a leftover and goes to the trash.
    pub(crate) fn install(&self, target: &Path) -> Result<(), RegistryError> {
        let parent = target.parent().unwrap_or(&self.inner.dir);
        if !parent.is_dir() {
            std::fs::create_dir(parent).map_err(RegistryError::io("create", parent))?;
            sync_directory(parent.parent().unwrap_or(&self.inner.dir))?;
        }
        if target.exists() {
            move_to_trash(&self.inner.dir, target)?;
        }
        std::fs::rename(&self.dir, target).map_err(RegistryError::io("rename to", target))?;
        self.inner.fail_point(FailPoint::Renamed)?;
        sync_directory(parent)?;
        self.inner.fail_point(FailPoint::RenameSynced)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later sweep.
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

/// Moves a directory out of sight in one step; call it with the write lock held.
pub(crate) fn move_to_trash(registry: &Path, path: &Path) -> Result<(), RegistryError> {
    let trash = registry.join("trash");
    loop {
        let target = trash.join(unique());
        if !target.exists() {
            return std::fs::rename(path, &target)
                .map_err(RegistryError::io("move to the trash", path));
        }
    }
}

fn create_lock(staging: &Path) -> Result<(PathBuf, File), RegistryError> {
    loop {
        let path = staging.join(format!("{}.lock", unique()));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(lock) => {
                lock.lock().map_err(RegistryError::io("lock", &path))?;
                return Ok((path, lock));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(RegistryError::io("create", &path)(error)),
        }
    }
}

/// A name that this process has not used; whoever creates it still checks that it is free.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn copy(
    source: &mut dyn Read,
    file: &mut File,
    bytes_max: u64,
    path: &Path,
) -> Result<FileRecord, RegistryError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut hash = Sha256::new();
    let mut bytes = 0u64;
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(RegistryError::io("read the content of", path)(error)),
        };
        bytes = bytes.saturating_add(n as u64);
        check_limit(
            "bytes of a package",
            bytes_max,
            bytes,
            "publish less, or raise the registry's byte limit",
        )?;
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(RegistryError::io("write", path))?;
    }
    Ok(FileRecord { name: String::new(), bytes, sha256: hash.finalize().into() })
}

fn sync_tree(dir: &Path) -> Result<(), RegistryError> {
    for entry in std::fs::read_dir(dir).map_err(RegistryError::io("list", dir))? {
        let entry = entry.map_err(RegistryError::io("list", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_tree(&entry.path())?;
        }
    }
    sync_directory(dir)
}

/// Refuses bytes whose SHA-256 is not `expected`.
pub(crate) fn check_digest(
    what: impl FnOnce() -> String,
    expected: &[u8; 32],
    got: &[u8; 32],
) -> Result<(), RegistryError> {
    if expected == got {
        return Ok(());
    }
    Err(RegistryError::DigestMismatch {
        what: what(),
        expected: digest_hex(expected),
        got: digest_hex(got),
    })
}
