//! Removing what killed publishes and removed versions left on the disk.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::Transaction;

use crate::database::database;
use crate::error::RegistryError;
use crate::fail_point::FailPoint;
use crate::record::digest_hex;
use crate::registry::{Inner, Registry};
use crate::rows;
use crate::staging::move_to_trash;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Staging directories whose process is gone.
    pub staging_removed: u64,
    /// Version directories without a row, or of removed versions that nobody reads.
    pub versions_removed: u64,
    /// Plugin directories without a row.
    pub plugins_removed: u64,
    /// Removed versions that stay until their readers let go of them.
    pub versions_in_use: u64,
}

impl Registry {
    /// Removes leftovers of killed publishes and the files of removed versions and plugins.
    ///
    /// A publish under way, in this process or another, is left alone, and so is a removed version
    /// that somebody holds as a [`ModelVersion`](crate::ModelVersion). Files that are not the
    /// registry's are never touched.
    ///
    /// # Errors
    /// [`RegistryError::Busy`], [`RegistryError::Io`], [`RegistryError::Database`].
    pub fn sweep(&self) -> Result<SweepReport, RegistryError> {
        let inner = &*self.inner;
        let report = inner.write("sweep", |tx| {
            let mut report = SweepReport::default();
            sweep_staging(inner, &mut report)?;
            sweep_plugins(inner, tx, &mut report)?;
            sweep_versions(inner, tx, &mut report)?;
            Ok(report)
        })?;
        inner.fail_point(FailPoint::TrashListed)?;
        for path in children(&inner.dir.join("trash"))? {
            // Another process may be deleting it too, and what stays is tried again next time.
            let _ = std::fs::remove_dir_all(&path);
        }
        Ok(report)
    }
}

fn sweep_staging(inner: &Inner, report: &mut SweepReport) -> Result<(), RegistryError> {
    let all = children(&inner.dir.join("staging"))?;
    let (locks, dirs): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|path| path.extension().is_some_and(|e| e == "lock"));
    let mut owned: HashSet<PathBuf> = HashSet::new();
    for lock_path in locks {
        let dir = lock_path.with_extension("");
        let Some(_lock) = lock_if_free(&lock_path)? else {
            owned.insert(dir);
            continue;
        };
        if dir.exists() {
            move_to_trash(&inner.dir, &dir)?;
            report.staging_removed += 1;
        }
        remove_file(&lock_path)?;
    }
    for dir in dirs.iter().filter(|dir| !owned.contains(*dir) && dir.exists()) {
        move_to_trash(&inner.dir, dir)?;
        report.staging_removed += 1;
    }
    Ok(())
}

fn sweep_plugins(
    inner: &Inner,
    tx: &Transaction<'_>,
    report: &mut SweepReport,
) -> Result<(), RegistryError> {
    let plugins = rows::plugins(tx).map_err(database("list plugins"))?;
    let live: HashSet<String> = plugins.iter().map(|p| digest_hex(&p.digest)).collect();
    for path in children(&inner.dir.join("plugins"))? {
        let Some(name) = file_name(&path) else {
            continue;
        };
        let ours = name.len() == 64 && name.bytes().all(|b| b"0123456789abcdef".contains(&b));
        if ours && !live.contains(name) {
            move_to_trash(&inner.dir, &path)?;
            report.plugins_removed += 1;
        }
    }
    Ok(())
}

fn sweep_versions(
    inner: &Inner,
    tx: &Transaction<'_>,
    report: &mut SweepReport,
) -> Result<(), RegistryError> {
    let failed = database("list versions");
    let mut removed = removed_by_version(tx).map_err(&failed)?;
    for model_dir in children(&inner.dir.join("models"))? {
        let Some(model) = file_name(&model_dir).map(str::to_owned) else {
            continue;
        };
        for path in children(&model_dir)? {
            let Some(version) = file_name(&path).and_then(version_number) else {
                continue;
            };
            match removed.get_mut(&(model.clone(), version)) {
                Some(VersionRow { removed: false, .. }) => continue,
                Some(row) => {
                    let Some(_lock) = lock_if_free(&path)? else {
                        row.in_use = true;
                        report.versions_in_use += 1;
                        continue;
                    };
                    move_to_trash(&inner.dir, &path)?;
                }
                None => move_to_trash(&inner.dir, &path)?,
            }
            report.versions_removed += 1;
        }
    }
    inner.fail_point(FailPoint::MovedToTrash)?;
    for ((model, version), row) in removed {
        if row.removed && !row.in_use {
            tx.execute(
                "DELETE FROM model_version WHERE model = ?1 AND version = ?2",
                (model, version),
            )
            .map_err(&failed)?;
        }
    }
    Ok(())
}

struct VersionRow {
    removed: bool,
    in_use: bool,
}

fn removed_by_version(
    tx: &Transaction<'_>,
) -> rusqlite::Result<HashMap<(String, i64), VersionRow>> {
    tx.prepare_cached("SELECT model, version, state = 'removed' FROM model_version")?
        .query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?), VersionRow { removed: row.get(2)?, in_use: false }))
        })?
        .collect()
}

/// The lock on a file or directory, or none while another handle holds it.
fn lock_if_free(path: &Path) -> Result<Option<File>, RegistryError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RegistryError::io("open", path)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(RegistryError::io("lock", path)(error)),
    }
}

/// A version as the registry names its directory: no sign, no leading zero.
fn version_number(name: &str) -> Option<i64> {
    let version: i64 = name.parse().ok()?;
    (version > 0 && version.to_string() == name).then_some(version)
}

fn children(dir: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(RegistryError::io("list", dir)(error)),
    };
    entries.map(|entry| entry.map(|e| e.path()).map_err(RegistryError::io("list", dir))).collect()
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn remove_file(path: &Path) -> Result<(), RegistryError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(RegistryError::io("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, at, plugin};

    #[test]
    fn what_has_no_row_goes_and_what_is_not_ours_stays() {
        let fixture = Fixture::new();
        fixture.ready(1);
        let kept = fixture.registry.publish_plugin(plugin(b"a", "1.0.0", 1), at(1)).unwrap();
        let hex = "0".repeat(64);
        let ours = ["models/minilm/2", "models/ghost/1", &format!("plugins/{hex}"), "staging/9-9"];
        let foreign = ["models/minilm/02", "models/minilm/notes", "plugins/readme", "own"];
        for dir in ours.iter().chain(&foreign) {
            let path = fixture.dir.path().join(dir);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("file"), b"x").unwrap();
        }
        std::fs::write(fixture.dir.path().join("models/notes.txt"), b"x").unwrap();
        let report = fixture.registry.sweep().unwrap();
        let expected = SweepReport {
            staging_removed: 1,
            versions_removed: 2,
            plugins_removed: 1,
            versions_in_use: 0,
        };
        assert_eq!(report, expected);
        for dir in ours {
            assert!(!fixture.dir.path().join(dir).exists(), "{dir} should be gone");
        }
        for dir in foreign {
            assert!(fixture.dir.path().join(dir).exists(), "{dir} should have stayed");
        }
        assert_eq!(children(&fixture.dir.path().join("trash")).unwrap().len(), 0);
        fixture.registry.read_plugin(&kept.digest).unwrap();
        assert_eq!(fixture.registry.sweep().unwrap(), SweepReport::default());
    }

    #[test]
    fn a_staging_directory_goes_with_its_process() {
        let fixture = Fixture::new();
        let staging = fixture.dir.path().join("staging");
        std::fs::create_dir(staging.join("1-1")).unwrap();
        let lock = File::create(staging.join("1-1.lock")).unwrap();
        lock.lock().unwrap();
        assert_eq!(fixture.registry.sweep().unwrap().staging_removed, 0);
        assert!(staging.join("1-1").exists());
        drop(lock);
        assert_eq!(fixture.registry.sweep().unwrap().staging_removed, 1);
        assert_eq!(children(&staging).unwrap().len(), 0);
    }
}
