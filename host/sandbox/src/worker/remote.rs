//! A plugin whose instances live in workers: how it is loaded and called. What the host does for a call
//! meanwhile is in `service`.

use super::messages::{
    CALL, END_SESSION, Job, LOAD, Load, MAKE, Made, Make, Package, Refusal, Stage, Start,
};
use super::pool::{Owner, Workers};
use super::process::Worker;
use super::service::{Scope, Service, alone, in_time};
use super::shared_file::sealed_message;
use super::wire::{Bytes, Wire, Writer};
use crate::compile::processor_time;
use crate::composition::Outside;
use crate::error::Cause;
use crate::instance::{Failure, Permit};
use crate::lock;
use crate::package::PackageInfo;
use crate::plugin::Plugin;
use crate::sandbox::Sandbox;
use crate::signature::PluginSignature;
use crate::state::CallContext;
use aimass_tensor::Buffer;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the processor time of a worker that compiles is looked at.
const SPENT_ASKED_EVERY: Duration = Duration::from_millis(20);

/// Compiled code of a plugin, for every worker that is to run it.
pub(crate) struct WorkerPlugin {
    number: u64,
    workers: Arc<Workers>,
    publisher: Arc<str>,
    /// The message that loads it, which nobody can change any more.
    load: OwnedFd,
    load_bytes: u64,
}

/// The publisher of a package.
pub(crate) fn publisher(package: &PackageInfo) -> Arc<str> {
    package.name.split('/').next().unwrap_or_default().into()
}

impl WorkerPlugin {
    /// Keeps what loads this code.
    ///
    /// # Errors
    /// The operating system's, if it gives no memory.
    pub(crate) fn new(
        workers: Arc<Workers>,
        package: &PackageInfo,
        code: Vec<u8>,
    ) -> std::io::Result<WorkerPlugin> {
        let number = workers.number();
        let load = Load { plugin: number, package: Package::of(package), code: Bytes::of(code) };
        let message = Writer::of(&load);
        let (load, load_bytes) = (sealed_message(&message)?, message.len() as u64);
        Ok(WorkerPlugin { number, workers, publisher: publisher(package), load, load_bytes })
    }

    /// Loads it on the server's own behalf, and answers how it describes itself.
    ///
    /// # Errors
    /// Why it did not load.
    pub(crate) async fn describe(
        &self,
        sandbox: &Sandbox,
        package: &PackageInfo,
    ) -> Result<Result<PluginSignature, Refusal>, Failure> {
        let deadline = Instant::now() + package.limits.init_wall_max;
        let worker = self.worker("system".into(), deadline).await?;
        let answer = self.load(&worker, sandbox, package).await?;
        if answer.is_ok() {
            let loaded = lock(&worker.plugins).entry(self.number).or_default().clone();
            let _ = loaded.set(());
        }
        Ok(answer)
    }

    /// Calls a function and answers what it answered.
    ///
    /// # Errors
    /// What the worker says, or what became of it.
    pub(crate) async fn call<T: Wire>(&self, scope: Scope<'_>, job: Job) -> Result<T, Failure> {
        let CallContext { tenant, deadline, .. } = scope.context;
        let worker = self.worker(tenant.clone(), *deadline).await?;
        self.call_in(&worker, scope, job).await
    }

    /// The worker of this tenant, if there is one before the deadline.
    async fn worker(&self, tenant: Arc<str>, deadline: Instant) -> Result<Arc<Worker>, Failure> {
        let owner: Owner = (tenant, self.publisher.clone());
        worker_of(&self.workers, &owner, deadline).await
    }

    /// As [`WorkerPlugin::call`], in this worker.
    ///
    /// # Errors
    /// What the worker says, or what became of it.
    pub(crate) async fn call_in<T: Wire>(
        &self,
        worker: &Arc<Worker>,
        scope: Scope<'_>,
        job: Job,
    ) -> Result<T, Failure> {
        let loaded = lock(&worker.plugins).entry(self.number).or_default().clone();
        let load = || async {
            let answer = self.load(worker, scope.sandbox, scope.package).await?;
            // It was loaded before, in another worker.
            let refused = |Refusal { message, .. }| alone(Cause::Host { message });
            answer.map(drop).map_err(refused)
        };
        loaded.get_or_try_init(load).await?;
        let wall = scope.context.deadline.saturating_duration_since(Instant::now());
        let mut lane = worker.lane(self.workers.config().shared_bytes_max);
        let start = Writer::of(&Start { plugin: self.number, wall, job });
        let mut service = Service::new(scope, self.workers.config().grace);
        let sent = in_time(worker, service.until(), lane.send(CALL, &start)).await?;
        sent.map_err(|error| unsent(worker, &error))?;
        service.converse(&mut lane).await
    }

    async fn load(
        &self,
        worker: &Arc<Worker>,
        sandbox: &Sandbox,
        package: &PackageInfo,
    ) -> Result<Result<PluginSignature, Refusal>, Failure> {
        let mut lane = worker.lane(self.workers.config().shared_bytes_max);
        let context = CallContext::system(package.limits.init_wall_max);
        let outside = &mut Outside::default();
        let scope = Scope { sandbox, package, context: &context, outside };
        let mut service = Service::new(scope, self.workers.config().grace);
        let sent = lane.send_file(LOAD, self.load.as_fd(), self.load_bytes);
        let sent = in_time(worker, service.until(), sent).await?;
        sent.map_err(|error| unsent(worker, &error))?;
        service.converse(&mut lane).await
    }
}

/// The worker of this owner, if there is one before the deadline.
async fn worker_of(
    workers: &Arc<Workers>,
    owner: &Owner,
    deadline: Instant,
) -> Result<Arc<Worker>, Failure> {
    let worker = tokio::time::timeout_at(deadline.into(), workers.of(owner)).await;
    worker.unwrap_or(Err(Cause::Deadline)).map_err(alone)
}

/// A session of a trace in a worker, which ends with the value.
pub(crate) struct RemoteSession {
    number: u64,
    worker: Arc<Worker>,
    _permit: Permit,
}

impl WorkerPlugin {
    /// A place for one trace, in the worker of the server itself, if there is one before the deadline.
    ///
    /// # Errors
    /// As [`Workers::of`].
    pub(crate) async fn session(
        &self,
        permit: Permit,
        deadline: Instant,
    ) -> Result<RemoteSession, Failure> {
        let worker = self.worker("system".into(), deadline).await?;
        worker.users.fetch_add(1, Ordering::Relaxed);
        Ok(RemoteSession { number: self.workers.number(), worker, _permit: permit })
    }
}

impl RemoteSession {
    /// Its number, by which the worker knows it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Asks for the next stage of a trace.
    ///
    /// # Errors
    /// What the worker says, or what became of it.
    pub(crate) async fn ask(&self, plugin: &Plugin, job: Job) -> Result<Stage, Failure> {
        let Some(remote) = plugin.remote() else {
            return Err(alone(Cause::Host { message: "the plugin is in no worker".into() }));
        };
        let (sandbox, package) = plugin.sides();
        let context = CallContext::system(package.limits.trace_wall_max);
        let outside = &mut Outside::default();
        let scope = Scope { sandbox, package, context: &context, outside };
        remote.call_in(&self.worker, scope, job).await
    }
}

impl Drop for RemoteSession {
    fn drop(&mut self) {
        self.worker.tell(END_SESSION, 0, &Writer::of(&self.number));
        self.worker.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for WorkerPlugin {
    fn drop(&mut self) {
        self.workers.unload(self.number);
    }
}

/// Why a worker made no code.
pub(crate) enum NotMade {
    /// The component may not run here.
    Refused(Refusal),
    /// What the worker says, or what became of it.
    Failed(Failure),
    /// It took more processor time than two compilations may, and was killed.
    Costly,
    /// It had its time, and not the processors that it needs.
    Slow,
}

/// Runs `init` and compiles in a worker: what it answers runs in workers of the same publisher only.
///
/// # Errors
/// [`NotMade`].
pub(crate) async fn make(
    workers: &Arc<Workers>,
    sandbox: &Sandbox,
    package: &PackageInfo,
    component: &[u8],
) -> Result<(Buffer, bool), NotMade> {
    let owner = ("system".into(), publisher(package));
    let wall_max = package.limits.init_wall_max + 2 * workers.compile().wall_max;
    let context = CallContext::system(wall_max);
    let slow = |failure: Failure| match failure {
        (Cause::Deadline, _) if Instant::now() >= context.deadline => NotMade::Slow,
        failure => NotMade::Failed(failure),
    };
    let worker = worker_of(workers, &owner, context.deadline).await.map_err(slow)?;
    let outside = &mut Outside::default();
    let scope = Scope { sandbox, package, context: &context, outside };
    tokio::select! {
        made = make_in(&worker, workers, scope, component) => {
            let Made { code, files_seen } = made.map_err(slow)?.map_err(NotMade::Refused)?;
            Ok((code.0, files_seen))
        }
        () = spends(&worker, package.limits.init_wall_max + 2 * workers.compile().cpu_max) => {
            worker.kill("it took too much processor time");
            Err(NotMade::Costly)
        }
    }
}

/// Returns when a worker has taken so much more processor time; one that is gone takes none.
async fn spends(worker: &Worker, cpu_max: Duration) {
    let spent = || processor_time(worker.pid()).unwrap_or_default();
    let before = spent();
    while spent().saturating_sub(before) < cpu_max {
        tokio::time::sleep(SPENT_ASKED_EVERY).await;
    }
}

async fn make_in(
    worker: &Arc<Worker>,
    workers: &Workers,
    scope: Scope<'_>,
    component: &[u8],
) -> Result<Result<Made, Refusal>, Failure> {
    let mut lane = worker.lane(workers.config().shared_bytes_max);
    let component = Bytes::of(component.to_vec());
    let message = Writer::of(&Make { package: Package::of(scope.package), component });
    let mut service = Service::new(scope, workers.config().grace);
    let sent = in_time(worker, service.until(), lane.send(MAKE, &message)).await?;
    sent.map_err(|error| unsent(worker, &error))?;
    service.converse(&mut lane).await
}

/// Why a message could not be sent: the worker is gone, or the host gives no more memory.
fn unsent(worker: &Worker, error: &std::io::Error) -> Failure {
    match worker.lives() && error.kind() == std::io::ErrorKind::Other {
        true => (Cause::Host { message: error.to_string() }, None),
        false => (Cause::WorkerLost { reason: worker.reason() }, None),
    }
}
