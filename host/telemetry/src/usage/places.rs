//! Several servers on one data folder, as during a rolling restart: each has a journal of its own.
//!
//! The folders `0` to `15` of the journal's folder are places; a server takes the first that no other
//! has locked. What a place whose server is gone has not exported, the next server exports.

use super::disk::Folder;
use super::meter::{Meter, lock, spawn};
use super::totals::{UsageQuery, UsageRow};
use super::{UsageConfig, UsageError};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Servers that may run on one folder at once.
const PLACES: usize = 16;
/// How often it is looked whether an orphan's records are exported.
const POLL: Duration = Duration::from_millis(200);

/// A locked place.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// Held locked as long as the journal is ours.
    pub(super) lock: File,
    /// The configuration with an export file of its own.
    pub(super) config: UsageConfig,
}

/// The first place that no server has.
pub(super) fn take(dir: &Path, config: &UsageConfig) -> Result<Place, UsageError> {
    for index in 0..PLACES {
        if let Some(place) = try_take(dir, index, config)? {
            return Ok(place);
        }
    }
    Err(UsageError::Taken { dir: dir.to_owned(), places: PLACES })
}

fn try_take(dir: &Path, index: usize, config: &UsageConfig) -> Result<Option<Place>, UsageError> {
    let place = dir.join(index.to_string());
    Folder::open(&place).map_err(|error| UsageError::disk("open its folder", error))?;
    let file = File::create(place.join("lock"))
        .map_err(|error| UsageError::disk("create its lock", error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Place { dir: place, lock: file, config: of_place(index, config) })),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(UsageError::disk("lock", error)),
    }
}

/// Two processes must not write one file: places after the first add their number to its name.
fn of_place(index: usize, config: &UsageConfig) -> UsageConfig {
    let mut config = config.clone();
    if let Some(path) = config.export_file.as_mut().filter(|_| index > 0) {
        path.as_mut_os_string().push(format!(".{index}"));
    }
    config
}

/// The sums of every place of a folder, as they are on disk; nothing where there is no folder.
///
/// # Errors
/// [`UsageError::Disk`] if a journal cannot be read.
pub fn read_usage(dir: &Path, query: &UsageQuery) -> Result<Vec<UsageRow>, UsageError> {
    let mut rows = Vec::new();
    for index in 0..PLACES {
        let place = dir.join(index.to_string());
        if place.is_dir() {
            rows.extend(super::meter::read_place(&place, query)?);
        }
    }
    Ok(merged(rows))
}

/// One row for each day, tenant, model and kind, in this order.
fn merged(mut rows: Vec<UsageRow>) -> Vec<UsageRow> {
    let key =
        |row: &UsageRow| (row.day.clone(), row.tenant.clone(), row.model.clone(), row.kind.clone());
    rows.sort_by_key(key);
    let mut merged: Vec<UsageRow> = Vec::new();
    for row in rows {
        match merged.last_mut().filter(|last| key(last) == key(&row)) {
            Some(last) => last.totals.add(&row.totals),
            None => merged.push(row),
        }
    }
    merged
}

/// The thread that exports what servers left behind. Dropping it ends it.
pub(super) struct Orphans {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Orphans {
    /// Looks through every other place once; nothing to do without an exporter.
    pub(super) fn start(dir: &Path, config: &UsageConfig) -> Result<Option<Orphans>, UsageError> {
        if config.export_file.is_none() && config.export_url.is_none() {
            return Ok(None);
        }
        let stop: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (of_thread, dir, config) = (stop.clone(), dir.to_owned(), config.clone());
        let thread = spawn("aimass-orphans", move || {
            for index in 0..PLACES {
                if dir.join(index.to_string()).is_dir()
                    && let Err(error) = export(&dir, index, &config, &of_thread)
                {
                    tracing::warn!(%error, index, "an orphaned usage journal was not exported");
                }
            }
        })?;
        Ok(Some(Orphans { stop, thread: Some(thread) }))
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, which is in the log.
            let _ = thread.join();
        }
    }
}

/// Exports a place, if no server has it, until nothing is left.
fn export(
    dir: &Path,
    index: usize,
    config: &UsageConfig,
    stop: &(Mutex<bool>, Condvar),
) -> Result<(), UsageError> {
    let Some(place) = try_take(dir, index, config)? else { return Ok(()) };
    let meter = Meter::of_place(place)?;
    while meter.stats().export_lag > 0 {
        let stopped = lock(&stop.0);
        if *stopped {
            break;
        }
        drop(stop.1.wait_timeout(stopped, POLL).unwrap_or_else(PoisonError::into_inner));
    }
    Ok(())
}
