//! Worker processes by whom they belong to: one for each tenant and publisher, and a spare.

use super::process::Worker;
use crate::error::Cause;
use crate::limits::{SandboxConfig, WorkerConfig};
use crate::lock;
use crate::metrics::Metrics;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Whose calls a worker serves: a tenant, and the publisher of the plugins.
pub(crate) type Owner = (Arc<str>, Arc<str>);

/// A worker that is started, or was and waits.
type Starting = JoinHandle<Result<Arc<Worker>, String>>;

/// The worker processes of a sandbox.
pub(crate) struct Workers {
    config: WorkerConfig,
    program: Option<PathBuf>,
    compile_max: Duration,
    metrics: Arc<Metrics>,
    owned: Mutex<HashMap<Owner, Arc<Worker>>>,
    /// A process that has its walls and its engine, and belongs to nobody yet.
    spare: Mutex<Option<Starting>>,
    /// One owner at a time gets a new worker.
    giving: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    numbers: AtomicU64,
}

impl Workers {
    /// No workers yet.
    pub(crate) fn new(config: &SandboxConfig, metrics: Arc<Metrics>) -> Arc<Workers> {
        Arc::new(Workers {
            config: config.worker.clone(),
            program: config.child_program.clone(),
            compile_max: config.compile.wall_max,
            metrics,
            owned: Mutex::default(),
            spare: Mutex::default(),
            giving: tokio::sync::Mutex::default(),
            numbers: AtomicU64::new(1),
        })
    }

    /// How they are set up.
    pub(crate) fn config(&self) -> &WorkerConfig {
        &self.config
    }

    /// Time that compiling a component may take, beside the time of `init`.
    pub(crate) fn compile_max(&self) -> Duration {
        self.compile_max
    }

    /// A number that nothing else of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The worker of this owner: the one that there is, else the spare, else a new one.
    ///
    /// # Errors
    /// [`Cause::NoWorker`] if there are too many that are busy, [`Cause::WorkerLost`] if none starts.
    pub(crate) async fn of(self: &Arc<Workers>, owner: &Owner) -> Result<Arc<Worker>, Cause> {
        if let Some(worker) = self.living(owner) {
            return Ok(worker);
        }
        let mut ender = self.giving.lock().await;
        if let Some(worker) = self.living(owner) {
            return Ok(worker);
        }
        if ender.is_none() {
            *ender = Some(tokio::spawn(end_idle(Arc::downgrade(self))));
        }
        self.make_room()?;
        let spare = lock(&self.spare).take();
        let ready = match spare {
            Some(spare) => spare.await.unwrap_or_else(|error| Err(error.to_string())).ok(),
            None => None,
        };
        let worker = match ready.filter(|worker| worker.lives()) {
            Some(worker) => worker,
            None => {
                let started = Worker::start(self.program.clone(), self.config.clone()).await;
                started.map_err(|reason| Cause::WorkerLost { reason })?
            }
        };
        Metrics::add(&self.metrics.workers_started, 1);
        lock(&self.owned).insert(owner.clone(), worker.clone());
        let spare = tokio::spawn(Worker::start(self.program.clone(), self.config.clone()));
        *lock(&self.spare) = Some(spare);
        Ok(worker)
    }

    /// Processes that serve an owner now.
    pub(crate) fn pids(&self) -> Vec<u32> {
        lock(&self.owned).values().filter(|one| one.lives()).map(|one| one.pid()).collect()
    }

    /// Lets go of a plugin everywhere.
    pub(crate) fn unload(&self, plugin: u64) {
        let workers: Vec<Arc<Worker>> = lock(&self.owned).values().cloned().collect();
        for worker in workers {
            worker.unload(plugin);
        }
    }

    fn living(&self, owner: &Owner) -> Option<Arc<Worker>> {
        lock(&self.owned).get(owner).filter(|worker| worker.lives()).cloned()
    }

    /// Forgets workers that are gone, and ends the one that was idle longest if there are too many.
    fn make_room(&self) -> Result<(), Cause> {
        let mut owned = lock(&self.owned);
        let before = owned.len();
        owned.retain(|_, worker| worker.lives());
        Metrics::add(&self.metrics.workers_lost, (before - owned.len()) as u64);
        if owned.len() < self.config.workers_max {
            return Ok(());
        }
        let idle = owned.iter().filter(|(_, worker)| worker.users.load(Ordering::Relaxed) == 0);
        let oldest = idle.min_by_key(|(_, worker)| worker.used()).map(|(owner, _)| owner.clone());
        let workers_max = self.config.workers_max as u64;
        let oldest = oldest.ok_or(Cause::NoWorker { workers_max })?;
        let ended = owned.remove(&oldest);
        drop(owned);
        drop(ended);
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(spare) = lock(&self.spare).take() {
            spare.abort();
        }
        if let Some(ender) = self.giving.get_mut().take() {
            ender.abort();
        }
    }
}

/// Ends workers that nobody used for a while.
async fn end_idle(workers: Weak<Workers>) {
    loop {
        let Some(here) = workers.upgrade() else { return };
        let idle_max = here.config.idle_max;
        let now = Instant::now();
        let mut ended = Vec::new();
        lock(&here.owned).retain(|_, worker| {
            let idle = worker.users.load(Ordering::Relaxed) == 0
                && now.saturating_duration_since(worker.used()) >= idle_max;
            if idle {
                ended.push(worker.clone());
            }
            !idle
        });
        drop(here);
        drop(ended);
        tokio::time::sleep(idle_max / 4).await;
    }
}
