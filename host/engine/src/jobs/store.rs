//! Jobs on disk: a folder each, with its state, a mark that it is cancelled, and a lock while it runs.
//!
//! The state is replaced whole, so that a crash leaves the old one or the new. The lock is the operating
//! system's and ends with the process, so that a job whose server died is free again.

use crate::{EngineError, Family};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const STATE_FILE: &str = "job.json";
const CANCEL_FILE: &str = "cancel";
const LOCK_FILE: &str = "lock";
/// Largest state of a job, its specification included.
const STATE_BYTES_MAX: usize = 64 << 10;

/// Limits of a [`JobStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsConfig {
    /// Jobs that may wait or run at once; further ones are refused. Default 1000.
    pub open_max: usize,
    /// Ended jobs that are kept; the oldest go. Default 1000.
    pub ended_max: usize,
}

impl Default for JobsConfig {
    fn default() -> JobsConfig {
        JobsConfig { open_max: 1000, ended_max: 1000 }
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It waits for a server.
    Queued,
    /// A server runs it, or died while it did.
    Running,
    /// It is complete.
    Done,
    /// It cannot be completed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl JobState {
    /// Name in output and logs.
    pub const fn name(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        match self {
            JobState::Queued | JobState::Running => false,
            JobState::Done | JobState::Failed | JobState::Cancelled => true,
        }
    }
}

/// One job as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Name: `job-` and 16 hexadecimal digits, in the order of submission.
    pub id: String,
    /// What kind of work: `batch`.
    pub kind: String,
    /// Who pays.
    pub tenant: Arc<str>,
    /// What to do, as its kind understands it.
    pub spec: Value,
    /// How it stands.
    pub state: JobState,
    /// Pieces that are done, failed ones included.
    pub done: u64,
    /// Pieces that failed.
    pub failed: u64,
    /// All pieces, if that is known.
    pub total: Option<u64>,
    /// Why the job failed.
    pub error: Option<String>,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// When it was last saved, in milliseconds since 1970.
    pub saved_ms: u64,
}

/// The jobs of a data folder.
#[derive(Clone, Debug)]
pub struct JobStore {
    dir: PathBuf,
    config: JobsConfig,
}

/// A job that this process runs.
pub(super) struct Claim {
    pub(super) record: JobRecord,
    dir: PathBuf,
    /// Held locked as long as the job is ours.
    _lock: File,
}

impl JobStore {
    /// The jobs in `dir`; the folder is made if it is new.
    ///
    /// # Errors
    /// Unavailable, if it cannot be made.
    pub fn open(dir: &Path, config: JobsConfig) -> Result<JobStore, EngineError> {
        fs::create_dir_all(dir).map_err(|error| broken(dir, &error))?;
        Ok(JobStore { dir: dir.to_owned(), config })
    }

    /// Leaves a job for the next server that runs its kind.
    ///
    /// # Errors
    /// Quota if as many jobs are open as may be; too large if `spec` is; unavailable if it cannot be written.
    pub fn submit(&self, kind: &str, tenant: &str, spec: Value) -> Result<JobRecord, EngineError> {
        let jobs = self.list()?;
        let open = jobs.iter().filter(|job| !job.state.is_over()).count();
        if open >= self.config.open_max {
            let message = format!("{open} jobs wait or run, the limit is {}", self.config.open_max);
            return Err(EngineError::new(Family::Quota, "jobs", message));
        }
        // Before old jobs go, so that no name is given twice.
        let (dir, id) = self.new_folder()?;
        let over = jobs.iter().filter(|job| job.state.is_over());
        let ended = jobs.len() - open;
        for old in over.take((ended + 1).saturating_sub(self.config.ended_max)) {
            let old = self.dir.join(&old.id);
            fs::remove_dir_all(&old).map_err(|error| broken(&old, &error))?;
        }
        let record = JobRecord {
            id,
            kind: kind.to_owned(),
            tenant: tenant.into(),
            spec,
            state: JobState::Queued,
            done: 0,
            failed: 0,
            total: None,
            error: None,
            submitted_ms: now_ms(),
            saved_ms: now_ms(),
        };
        write(&dir, &record)?;
        Ok(record)
    }

    /// A folder of a name that no other job has: one more than the newest.
    fn new_folder(&self) -> Result<(PathBuf, String), EngineError> {
        let mut number = self.ids()?.last().and_then(|id| number_of(id)).unwrap_or(0);
        loop {
            number += 1;
            let id = format!("job-{number:016x}");
            let dir = self.dir.join(&id);
            match fs::create_dir(&dir) {
                Ok(()) => return Ok((dir, id)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(broken(&dir, &error)),
            }
        }
    }

    /// Every job, oldest first.
    ///
    /// # Errors
    /// Unavailable, if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<JobRecord>, EngineError> {
        let mut jobs = Vec::new();
        for id in self.ids()? {
            match read(&self.dir.join(&id)) {
                Ok(record) => jobs.push(record),
                Err(error) => tracing::warn!(job = id, %error, "a job cannot be read"),
            }
        }
        Ok(jobs)
    }

    /// One job.
    ///
    /// # Errors
    /// Not found.
    pub fn get(&self, id: &str) -> Result<JobRecord, EngineError> {
        let missing = || {
            let id: String = id.chars().take(64).collect();
            let message = format!("there is no job {id:?}; `aimass batch list` shows them");
            EngineError::new(Family::NotFound, "job", message)
        };
        number_of(id).ok_or_else(missing)?;
        read(&self.dir.join(id)).map_err(|_| missing())
    }

    /// Asks whoever runs the job to stop; one that waits will not start.
    ///
    /// # Errors
    /// Not found; invalid if the job is over.
    pub fn cancel(&self, id: &str) -> Result<(), EngineError> {
        let record = self.get(id)?;
        if record.state.is_over() {
            let state = record.state.name();
            return Err(EngineError::invalid(format!("job {id} is {state} already")));
        }
        let path = self.dir.join(id).join(CANCEL_FILE);
        fs::write(&path, b"").map_err(|error| broken(&path, &error))
    }

    /// Whether somebody asked the job to stop.
    pub fn is_cancelled(&self, id: &str) -> bool {
        number_of(id).is_some() && self.dir.join(id).join(CANCEL_FILE).exists()
    }

    /// The oldest job of these kinds that is not over and that nobody runs.
    pub(super) fn claim(&self, kinds: &[&str]) -> Result<Option<Claim>, EngineError> {
        for record in self.list()? {
            if record.state.is_over() || !kinds.contains(&&*record.kind) {
                continue;
            }
            let dir = self.dir.join(&record.id);
            let lock = File::create(dir.join(LOCK_FILE)).map_err(|error| broken(&dir, &error))?;
            if lock.try_lock().is_err() {
                continue;
            }
            // Another server may have ended it between the list and the lock.
            let record = read(&dir)?;
            if !record.state.is_over() {
                return Ok(Some(Claim { record, dir, _lock: lock }));
            }
        }
        Ok(None)
    }

    /// Names of all jobs, oldest first.
    fn ids(&self) -> Result<Vec<String>, EngineError> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|error| broken(&self.dir, &error))? {
            let entry = entry.map_err(|error| broken(&self.dir, &error))?;
            if let Ok(name) = entry.file_name().into_string()
                && number_of(&name).is_some()
                && entry.path().join(STATE_FILE).exists()
            {
                ids.push(name);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

impl Claim {
    pub(super) fn is_cancelled(&self) -> bool {
        self.dir.join(CANCEL_FILE).exists()
    }

    pub(super) fn save(&mut self) -> Result<(), EngineError> {
        self.record.saved_ms = now_ms();
        write(&self.dir, &self.record)
    }
}

fn number_of(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("job-").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

fn read(dir: &Path) -> Result<JobRecord, EngineError> {
    let path = dir.join(STATE_FILE);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(STATE_BYTES_MAX as u64).read_to_end(&mut bytes))
        .map_err(|error| broken(&path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| broken(&path, &error.into()))
}

fn write(dir: &Path, record: &JobRecord) -> Result<(), EngineError> {
    let bytes = serde_json::to_vec(record).map_err(|error| broken(dir, &error.into()))?;
    if bytes.len() > STATE_BYTES_MAX {
        let message = format!("a job has at most {STATE_BYTES_MAX} bytes, got {}", bytes.len());
        return Err(EngineError::new(Family::TooLarge, "job", message));
    }
    let (next, path) = (dir.join("job.json.new"), dir.join(STATE_FILE));
    let replaced = File::create(&next)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_data()))
        .and_then(|()| fs::rename(&next, &path));
    replaced.map_err(|error| broken(&path, &error))
}

fn broken(path: &Path, error: &io::Error) -> EngineError {
    EngineError::new(Family::Unavailable, "jobs", format!("{}: {error}", path.display()))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path, open_max: usize, ended_max: usize) -> JobStore {
        JobStore::open(dir, JobsConfig { open_max, ended_max }).unwrap()
    }

    fn submit(store: &JobStore) -> Result<JobRecord, EngineError> {
        store.submit("k", "t", Value::Null)
    }

    fn end(store: &JobStore) {
        let mut claim = store.claim(&["k"]).unwrap().unwrap();
        claim.record.state = JobState::Done;
        claim.save().unwrap();
    }

    #[test]
    fn open_jobs_have_a_limit_and_old_ended_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 2, 1);
        let first = submit(&store).unwrap();
        submit(&store).unwrap();
        assert_eq!(submit(&store).unwrap_err().family(), Family::Quota);
        end(&store);
        end(&store);
        let third = submit(&store).unwrap();
        assert_eq!(store.get(&first.id).unwrap_err().family(), Family::NotFound);
        assert!(third.id > first.id);
        assert_eq!(store.list().unwrap().len(), 1);
        let large = store.submit("k", "t", Value::from("x".repeat(STATE_BYTES_MAX)));
        assert_eq!(large.unwrap_err().family(), Family::TooLarge);
    }

    #[test]
    fn one_process_runs_a_job_and_names_lead_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 9, 9);
        let id = submit(&store).unwrap().id;
        let claim = store.claim(&["k"]).unwrap().unwrap();
        assert!(store.claim(&["k"]).unwrap().is_none());
        drop(claim);
        assert!(store.claim(&["other"]).unwrap().is_none());
        assert!(store.claim(&["k"]).unwrap().is_some());
        fs::write(folder.path().join(&id).join(STATE_FILE), b"{").unwrap();
        assert!(store.list().unwrap().is_empty(), "a damaged one is left out");
        for wrong in ["", "..", "../x", "job-1", "job-000000000000000g"] {
            assert_eq!(store.get(wrong).unwrap_err().family(), Family::NotFound, "{wrong}");
        }
    }
}
