//! Worker processes by whom they belong to: one for each tenant and publisher, and a spare.
//!
//! A worker starts in a task of its own, for which only its owner's calls wait. The spare is a process that has
//! its walls and its engine and belongs to nobody yet; whoever needs a worker takes it if it is ready.

use super::cgroup::Cgroups;
use super::process::{Start, Worker};
use crate::error::Cause;
use crate::limits::{CgroupUse, CompileLimits, SandboxConfig, WorkerConfig};
use crate::lock;
use crate::metrics::Metrics;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Whose calls a worker serves: a tenant, and the publisher of the plugins.
pub(crate) type Owner = (Arc<str>, Arc<str>);

/// How a start went; none while it goes on.
type Started = Option<Result<Arc<Worker>, String>>;

/// A worker that is started, or was. Its process ends with the last value.
#[derive(Clone)]
struct Seat(watch::Receiver<Started>);

/// The worker processes of a sandbox.
pub(crate) struct Workers {
    config: WorkerConfig,
    program: Option<PathBuf>,
    start_max: Duration,
    compile: CompileLimits,
    metrics: Arc<Metrics>,
    owned: Mutex<HashMap<Owner, Seat>>,
    spare: Mutex<Option<Seat>>,
    /// Groups around workers; none where they are off or not to be had. Looked for when the first one starts.
    cgroups: OnceLock<Result<Option<Arc<Cgroups>>, String>>,
    /// The task that ends idle workers.
    ender: OnceLock<AbortHandle>,
    numbers: AtomicU64,
}

impl Seat {
    /// Has this made into a worker, unless nobody holds the seat any more.
    fn new(start: impl Future<Output = Result<Arc<Worker>, String>> + Send + 'static) -> Seat {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            tokio::select! {
                started = start => drop(sender.send(Some(started))),
                () = sender.closed() => {}
            }
        });
        Seat(receiver)
    }

    /// The worker that started, if it lives.
    fn ready(&self) -> Option<Arc<Worker>> {
        let started = self.0.borrow();
        let worker = started.as_ref()?.as_ref().ok()?;
        worker.lives().then(|| worker.clone())
    }

    fn starts(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// Whether a worker started here and is gone.
    fn lost(&self) -> bool {
        matches!(&*self.0.borrow(), Some(Ok(worker)) if !worker.lives())
    }

    /// Whether it was not used for so long.
    fn idle(&self, now: Instant, idle_max: Duration) -> bool {
        let since = |worker: &Worker| now.saturating_duration_since(worker.used());
        self.ready().is_some_and(|worker| !worker.is_used() && since(&worker) >= idle_max)
    }

    async fn started(mut self) -> Result<Arc<Worker>, String> {
        let ended = || "the task that starts it has ended".to_owned();
        let started = self.0.wait_for(Option::is_some).await.map_err(|_| ended())?;
        started.clone().unwrap_or_else(|| Err(ended()))
    }
}

impl Workers {
    /// No workers yet.
    pub(crate) fn new(config: &SandboxConfig, metrics: Arc<Metrics>) -> Arc<Workers> {
        Arc::new(Workers {
            config: config.worker.clone(),
            program: config.child_program.clone(),
            start_max: config.child_start_max,
            compile: config.compile.clone(),
            metrics,
            owned: Mutex::default(),
            spare: Mutex::default(),
            cgroups: OnceLock::new(),
            ender: OnceLock::new(),
            numbers: AtomicU64::new(1),
        })
    }

    /// How they are set up.
    pub(crate) fn config(&self) -> &WorkerConfig {
        &self.config
    }

    /// What compiling a component may take.
    pub(crate) fn compile(&self) -> &CompileLimits {
        &self.compile
    }

    /// A number that nothing else of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The worker of this owner: the one that there is or that starts, else the spare, else a new one.
    ///
    /// # Errors
    /// [`Cause::NoWorker`] if there are too many that are busy, [`Cause::WorkerLost`] if none starts.
    pub(crate) async fn of(self: &Arc<Workers>, owner: &Owner) -> Result<Arc<Worker>, Cause> {
        let (seat, ended) = {
            let mut owned = lock(&self.owned);
            match owned.get(owner) {
                Some(seat) => match seat.ready() {
                    Some(worker) => return Ok(worker),
                    None if seat.starts() => (seat.clone(), None),
                    None => self.seat(&mut owned, owner)?,
                },
                None => self.seat(&mut owned, owner)?,
            }
        };
        // What this ends is waited for without the lock.
        drop(ended);
        self.ender.get_or_init(|| tokio::spawn(end_idle(Arc::downgrade(self))).abort_handle());
        let started = seat.started().await;
        if started.is_ok() {
            self.keep_spare();
        }
        started.map_err(|reason| Cause::WorkerLost { reason })
    }

    /// Processes that serve an owner now.
    pub(crate) fn pids(&self) -> Vec<u32> {
        lock(&self.owned).values().filter_map(Seat::ready).map(|worker| worker.pid()).collect()
    }

    /// Lets go of a plugin everywhere.
    pub(crate) fn unload(&self, plugin: u64) {
        let workers: Vec<_> = lock(&self.owned).values().filter_map(Seat::ready).collect();
        for worker in workers {
            worker.unload(plugin);
        }
    }

    /// A new seat of this owner, and the one that made room for it.
    fn seat(
        &self,
        owned: &mut HashMap<Owner, Seat>,
        owner: &Owner,
    ) -> Result<(Seat, Option<Seat>), Cause> {
        let ended = self.make_room(owned)?;
        let spare = lock(&self.spare).take_if(|spare| spare.ready().is_some());
        spare.iter().filter_map(Seat::ready).for_each(|worker| worker.touch());
        let seat = spare.unwrap_or_else(|| self.start());
        Metrics::add(&self.metrics.workers_started, 1);
        owned.insert(owner.clone(), seat.clone());
        Ok((seat, ended))
    }

    fn start(&self) -> Seat {
        let start = Start {
            program: self.program.clone(),
            config: self.config.clone(),
            start_max: self.start_max,
            cgroups: self.cgroups.get_or_init(|| open_cgroups(&self.config.cgroups)).clone(),
        };
        Seat::new(Worker::start(start))
    }

    /// Starts a spare, unless there is one that starts or is ready.
    fn keep_spare(&self) {
        let mut spare = lock(&self.spare);
        let kept = spare.as_ref().is_some_and(|seat| seat.starts() || seat.ready().is_some());
        let gone = if kept { None } else { spare.replace(self.start()) };
        drop(spare);
        drop(gone);
    }

    /// Forgets workers that are gone, and takes away the one that was idle longest if there are too many.
    fn make_room(&self, owned: &mut HashMap<Owner, Seat>) -> Result<Option<Seat>, Cause> {
        let lost = owned.values().filter(|seat| seat.lost()).count();
        owned.retain(|_, seat| seat.starts() || seat.ready().is_some());
        Metrics::add(&self.metrics.workers_lost, lost as u64);
        if owned.len() < self.config.workers_max {
            return Ok(None);
        }
        let ready = owned.iter().filter_map(|(owner, seat)| Some((owner, seat.ready()?)));
        let idle = ready.filter(|(_, worker)| !worker.is_used());
        let oldest = idle.min_by_key(|(_, worker)| worker.used()).map(|(owner, _)| owner.clone());
        let workers_max = self.config.workers_max as u64;
        let oldest = oldest.ok_or(Cause::NoWorker { workers_max })?;
        Ok(owned.remove(&oldest))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(ender) = self.ender.get() {
            ender.abort();
        }
    }
}

/// The groups that workers get, if any; says once where there are none.
fn open_cgroups(wanted: &CgroupUse) -> Result<Option<Arc<Cgroups>>, String> {
    match wanted {
        CgroupUse::Off => Ok(None),
        CgroupUse::Below(root) => Ok(Some(Arc::new(Cgroups::open(Some(root))?))),
        CgroupUse::Auto => match Cgroups::open(None) {
            Ok(cgroups) => Ok(Some(Arc::new(cgroups))),
            Err(reason) => {
                tracing::info!(
                    reason,
                    "workers have no control groups; the limits of their jail hold alone"
                );
                Ok(None)
            }
        },
    }
}

/// Ends workers that nobody used for a while.
async fn end_idle(workers: Weak<Workers>) {
    loop {
        let Some(here) = workers.upgrade() else { return };
        let idle_max = here.config.idle_max;
        let now = Instant::now();
        let mut ended = Vec::new();
        lock(&here.owned).retain(|_, seat| {
            let idle = seat.idle(now, idle_max);
            if idle {
                ended.push(seat.clone());
            }
            !idle
        });
        drop(here);
        drop(ended);
        tokio::time::sleep(idle_max / 4).await;
    }
}
