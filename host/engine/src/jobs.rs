//! Long work beside requests: submitted, followed, cancelled, and gone on with after a crash.
//!
//! A job is a folder with its state ([`JobStore`]); whoever runs the server runs the jobs
//! ([`JobRunner`]). What a job does is a [`Job`]: batch inference today, training and compression later.

mod store;

pub use store::{JobRecord, JobState, JobStore, JobsConfig};

use crate::EngineError;
use aimass_sandbox::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use store::Claim;

/// How often a runner looks for work.
const POLL: Duration = Duration::from_millis(500);

/// The end of [`Job::run`], later.
pub type JobEnd<'a> = BoxFuture<'a, Result<(), EngineError>>;

/// One kind of long work.
///
/// `run` is called again with what was last reported when a server stopped or crashed in the middle, so
/// it must be able to go on from there: [`Progress::record`] is the state that survives.
pub trait Job: Send + Sync + 'static {
    /// Name of the kind, as [`JobRecord::kind`] has it: `batch`.
    fn kind(&self) -> &'static str;

    /// Does the work, or what is left of it. It looks at [`Progress::is_cancelled`] between pieces, and
    /// returns `Ok` early if it is set.
    fn run<'a>(&'a self, progress: &'a mut Progress) -> JobEnd<'a>;
}

/// What a running job reports, and whether it is to go on.
pub struct Progress {
    claim: Claim,
}

impl Progress {
    /// The job as it was last saved.
    pub fn record(&self) -> &JobRecord {
        &self.claim.record
    }

    /// Saves how far the job is: pieces done, pieces of them that failed, and all pieces if that is known.
    ///
    /// # Errors
    /// Unavailable, if the state cannot be written.
    pub fn report(
        &mut self,
        done: u64,
        failed: u64,
        total: Option<u64>,
    ) -> Result<(), EngineError> {
        let record = &mut self.claim.record;
        (record.done, record.failed, record.total) = (done, failed, total);
        self.claim.save()
    }

    /// Whether somebody cancelled the job.
    pub fn is_cancelled(&self) -> bool {
        self.claim.is_cancelled()
    }
}

/// Runs submitted jobs, one after the other, until it is dropped or its future is.
pub struct JobRunner {
    store: JobStore,
    kinds: Vec<Arc<dyn Job>>,
}

impl JobRunner {
    /// A runner of these kinds of job; jobs of other kinds are left to other servers.
    pub fn new(store: JobStore, kinds: Vec<Arc<dyn Job>>) -> JobRunner {
        JobRunner { store, kinds }
    }

    /// Runs jobs for good. A job that a dropped future leaves in the middle goes on at the next start.
    pub async fn run(self) {
        loop {
            match self.step().await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    tracing::error!(%error, "jobs cannot be run");
                    tokio::time::sleep(POLL * 20).await;
                }
            }
        }
    }

    /// Runs one job, if one waits.
    async fn step(&self) -> Result<bool, EngineError> {
        let kinds: Vec<&str> = self.kinds.iter().map(|job| job.kind()).collect();
        let Some(claim) = self.store.claim(&kinds)? else { return Ok(false) };
        let Some(job) = self.kinds.iter().find(|job| job.kind() == claim.record.kind) else {
            return Ok(false);
        };
        let id = claim.record.id.clone();
        let mut progress = Progress { claim };
        progress.claim.record.state = JobState::Running;
        progress.claim.save()?;
        tracing::info!(job = id, kind = job.kind(), "started");
        let result = job.run(&mut progress).await;
        let mut claim = progress.claim;
        claim.record.state = match &result {
            Ok(()) if claim.is_cancelled() => JobState::Cancelled,
            Ok(()) => JobState::Done,
            Err(_) => JobState::Failed,
        };
        claim.record.error = result.err().map(|error| error.to_string());
        claim.save()?;
        tracing::info!(job = id, state = claim.record.state.name(), "ended");
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::Notify;

    /// Counts to `spec.to`, one piece at a time, and stops where it is told to.
    #[derive(Default)]
    struct Counting {
        stop_at: AtomicU64,
        stopped: Notify,
        seen: Mutex<Vec<u64>>,
    }

    impl Job for Counting {
        fn kind(&self) -> &'static str {
            "counting"
        }

        fn run<'a>(&'a self, progress: &'a mut Progress) -> JobEnd<'a> {
            Box::pin(async move {
                let to = progress.record().spec["to"]
                    .as_u64()
                    .ok_or_else(|| EngineError::invalid("spec.to: expected a number, got none"))?;
                while progress.record().done < to && !progress.is_cancelled() {
                    let next = progress.record().done + 1;
                    self.seen.lock().unwrap().push(next);
                    progress.report(next, 0, Some(to))?;
                    if next == self.stop_at.load(Ordering::Relaxed) {
                        self.stopped.notify_one();
                        std::future::pending::<()>().await;
                    }
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        }
    }

    fn store(dir: &std::path::Path) -> JobStore {
        JobStore::open(dir, JobsConfig::default()).unwrap()
    }

    fn submit(store: &JobStore, spec: serde_json::Value) -> String {
        store.submit("counting", "acme", spec).unwrap().id
    }

    async fn run_all(store: &JobStore, job: &Arc<Counting>) {
        let runner = JobRunner::new(store.clone(), vec![job.clone()]);
        while runner.step().await.unwrap() {}
    }

    #[tokio::test]
    async fn a_job_goes_on_where_it_was_when_the_server_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let id = submit(&store, serde_json::json!({ "to": 5 }));
        let job = Arc::new(Counting { stop_at: AtomicU64::new(3), ..Counting::default() });
        let runner = JobRunner::new(store.clone(), vec![job.clone()]);
        tokio::select! {
            () = runner.run() => panic!("it never ends"),
            () = job.stopped.notified() => {}
        }
        let interrupted = store.get(&id).unwrap();
        assert_eq!((interrupted.state, interrupted.done), (JobState::Running, 3));
        job.stop_at.store(0, Ordering::Relaxed);
        run_all(&store, &job).await;
        let done = store.get(&id).unwrap();
        assert_eq!((done.state, done.done, done.total), (JobState::Done, 5, Some(5)));
        assert_eq!(*job.seen.lock().unwrap(), [1, 2, 3, 4, 5], "no piece twice");
        assert_eq!((&*done.tenant, &*done.kind), ("acme", "counting"));
    }

    #[tokio::test]
    async fn a_cancelled_job_stops_and_stays_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let (first, second) = (
            submit(&store, serde_json::json!({ "to": 5 })),
            submit(&store, serde_json::json!({ "to": 2 })),
        );
        store.cancel(&first).unwrap();
        let job = Arc::new(Counting::default());
        run_all(&store, &job).await;
        assert_eq!(store.get(&first).unwrap().state, JobState::Cancelled);
        assert_eq!(store.get(&second).unwrap().state, JobState::Done);
        assert_eq!(*job.seen.lock().unwrap(), [1, 2]);
        let refused = store.cancel(&second).unwrap_err().to_string();
        assert!(refused.contains("done"), "{refused}");
    }

    #[tokio::test]
    async fn a_job_that_fails_says_why_and_one_of_another_kind_waits() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let failing = submit(&store, serde_json::json!({}));
        let other = store.submit("training", "acme", serde_json::json!({})).unwrap().id;
        run_all(&store, &Arc::new(Counting::default())).await;
        let failed = store.get(&failing).unwrap();
        assert_eq!(failed.state, JobState::Failed);
        assert!(failed.error.unwrap().contains("spec.to"));
        assert_eq!(store.get(&other).unwrap().state, JobState::Queued);
    }
}
