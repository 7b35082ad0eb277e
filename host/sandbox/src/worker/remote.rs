//! A plugin whose instances live in workers: its calls, and what the host does for them meanwhile.
//!
//! Everything that a worker says is checked here as if its guest had said it: plans by their place in the call's
//! own list, files by the package's grants, tensors after they were copied out of shared memory, outputs
//! against limits and description. A worker that breaks the protocol, or asks for more than a guest may, is
//! killed; the calls of other workers do not notice.

use super::channel::{Packet, Place};
use super::messages::{
    ANSWER, CALL, Counted, DONE, END_SESSION, Failed, GROW, Job, LOAD, LOG, Load, Logged, MAKE,
    Made, Make, Package, REQUEST, ReadFile, Refused, Request, RunPlan, SEGMENT, Stage, Start,
};
use super::pool::{Owner, Workers};
use super::process::{Lane, Worker};
use super::shared_file::{read_message, sealed_message};
use super::wire::{Bytes, Malformed, Reader, Taken, Wire, Writer};
use crate::error::{Cause, ErrorFamily};
use crate::host_api::plans::failed;
use crate::host_api::{HostError, log};
use crate::instance::Permit;
use crate::lock;
use crate::metrics::Metrics;
use crate::package::PackageInfo;
use crate::plugin::Plugin;
use crate::sandbox::Sandbox;
use crate::signature::PluginSignature;
use crate::state::CallContext;
use crate::worlds::convert::error_in;
use aimass_dispatch::{PlanCall, SlotKey};
use aimass_telemetry::call::room;
use aimass_telemetry::trace::SpanName;
use aimass_tensor::{Buffer, Tensor};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Packets of a call beside those of its host calls: logs that were cut, segments.
const PACKETS_SPARE: u64 = 1_000;

/// Why a call failed, and where in the guest.
pub(crate) type Failure = (Cause, Option<Arc<String>>);

/// Compiled code of a plugin, for every worker that is to run it.
pub(crate) struct WorkerPlugin {
    number: u64,
    workers: Arc<Workers>,
    publisher: Arc<str>,
    /// The message that loads it, which nobody can change any more.
    load: OwnedFd,
    load_bytes: u64,
}

/// What the host has at hand while a worker runs a call.
struct Service<'a> {
    sandbox: &'a Sandbox,
    package: &'a PackageInfo,
    context: &'a CallContext,
    until: Instant,
    packets: u64,
    log_bytes: u64,
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
    ) -> Result<PluginSignature, Failure> {
        let worker = self.workers.of(&self.owner("system".into())).await.map_err(alone)?;
        let signature = self.load(&worker, sandbox, package).await?;
        let loaded = lock(&worker.plugins).entry(self.number).or_default().clone();
        let _ = loaded.set(());
        Ok(signature)
    }

    /// Calls a function and answers what it answered, and the worker that it ran in.
    ///
    /// # Errors
    /// What the worker says, or what became of it.
    pub(crate) async fn call<T: Wire>(
        &self,
        sandbox: &Sandbox,
        package: &PackageInfo,
        context: &CallContext,
        job: Job,
    ) -> Result<(T, Arc<Worker>), Failure> {
        let worker = self.workers.of(&self.owner(context.tenant.clone())).await.map_err(alone)?;
        let answer = self.call_in(&worker, (sandbox, package, context), job).await?;
        Ok((answer, worker))
    }

    /// As [`WorkerPlugin::call`], in this worker.
    ///
    /// # Errors
    /// What the worker says, or what became of it.
    pub(crate) async fn call_in<T: Wire>(
        &self,
        worker: &Arc<Worker>,
        (sandbox, package, context): (&Sandbox, &PackageInfo, &CallContext),
        job: Job,
    ) -> Result<T, Failure> {
        let loaded = lock(&worker.plugins).entry(self.number).or_default().clone();
        let load = || async { self.load(worker, sandbox, package).await.map(drop) };
        loaded.get_or_try_init(load).await?;
        let wall = context.deadline.saturating_duration_since(Instant::now());
        let mut lane = worker.lane(self.workers.config().shared_bytes_max);
        let start = Writer::of(&Start { plugin: self.number, wall, job });
        let mut service = Service::new(sandbox, package, context, self.workers.config().grace);
        let sent = in_time(worker, service.until, lane.send(CALL, &start)).await?;
        sent.map_err(|error| unsent(worker, &error))?;
        service.converse(&mut lane).await
    }

    async fn load(
        &self,
        worker: &Arc<Worker>,
        sandbox: &Sandbox,
        package: &PackageInfo,
    ) -> Result<PluginSignature, Failure> {
        let mut lane = worker.lane(self.workers.config().shared_bytes_max);
        let context = CallContext::system(package.limits.init_wall_max);
        let mut service = Service::new(sandbox, package, &context, self.workers.config().grace);
        let sent = lane.send_file(LOAD, self.load.as_fd(), self.load_bytes);
        let sent = in_time(worker, service.until, sent).await?;
        sent.map_err(|error| unsent(worker, &error))?;
        service.converse(&mut lane).await
    }

    fn owner(&self, tenant: Arc<str>) -> Owner {
        (tenant, self.publisher.clone())
    }
}

/// A session of a trace in a worker, which ends with the value.
pub(crate) struct RemoteSession {
    number: u64,
    worker: Arc<Worker>,
    _permit: Permit,
}

impl WorkerPlugin {
    /// A place for one trace, in the worker of the server itself.
    ///
    /// # Errors
    /// As [`Workers::of`].
    pub(crate) async fn session(&self, permit: Permit) -> Result<RemoteSession, Failure> {
        let worker = self.workers.of(&self.owner("system".into())).await.map_err(alone)?;
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
        remote.call_in(&self.worker, (sandbox, package, &context), job).await
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

/// Runs `init` and compiles in a worker: what it answers runs in workers of the same publisher only.
///
/// # Errors
/// What the worker says, or what became of it.
pub(crate) async fn make(
    workers: &Arc<Workers>,
    sandbox: &Sandbox,
    package: &PackageInfo,
    component: &[u8],
) -> Result<(Buffer, bool), Failure> {
    let owner = ("system".into(), publisher(package));
    let worker = workers.of(&owner).await.map_err(alone)?;
    let mut lane = worker.lane(workers.config().shared_bytes_max);
    let component = Bytes::of(component.to_vec());
    let message = Writer::of(&Make { package: Package::of(package), component });
    let context = CallContext::system(package.limits.init_wall_max + 2 * workers.compile_max());
    let mut service = Service::new(sandbox, package, &context, workers.config().grace);
    let sent = in_time(&worker, service.until, lane.send(MAKE, &message)).await?;
    sent.map_err(|error| unsent(&worker, &error))?;
    let Made { code, files_seen } = service.converse(&mut lane).await?;
    Ok((code.0, files_seen))
}

fn alone(cause: Cause) -> Failure {
    (cause, None)
}

/// Waits for a worker until a deadline and the grace after it; kills one that takes longer.
async fn in_time<F: Future>(
    worker: &Worker,
    until: Instant,
    work: F,
) -> Result<F::Output, Failure> {
    tokio::time::timeout_at(until.into(), work).await.map_err(|_elapsed| {
        worker.kill("it did not stop at a deadline");
        alone(Cause::Deadline)
    })
}

/// Why a message could not be sent: the worker is gone, or the host gives no more memory.
fn unsent(worker: &Worker, error: &std::io::Error) -> Failure {
    match worker.lives() && error.kind() == std::io::ErrorKind::Other {
        true => (Cause::Host { message: error.to_string() }, None),
        false => (Cause::WorkerLost { reason: worker.reason() }, None),
    }
}

impl<'a> Service<'a> {
    fn new(
        sandbox: &'a Sandbox,
        package: &'a PackageInfo,
        context: &'a CallContext,
        grace: Duration,
    ) -> Service<'a> {
        let until = context.deadline + grace;
        Service { sandbox, package, context, until, packets: 0, log_bytes: 0 }
    }

    /// Serves the call until it ends.
    async fn converse<T: Wire>(&mut self, lane: &mut Lane) -> Result<T, Failure> {
        loop {
            let (worker, until) = (lane.worker.clone(), self.until);
            let Some(packet) = in_time(&worker, until, lane.next()).await? else {
                return Err(alone(Cause::WorkerLost { reason: worker.reason() }));
            };
            match in_time(&worker, until, self.answer(lane, packet)).await? {
                Ok(None) => {}
                Ok(Some(done)) => {
                    lane.ended = true;
                    let answer: Taken<Result<T, Failed>> =
                        done.only_after(|reader| self.close(reader));
                    match answer {
                        Ok(answer) => return answer.map_err(failure),
                        Err(error) => return Err(broken(lane, &error)),
                    }
                }
                Err(error) => return Err(broken(lane, &error)),
            }
        }
    }

    /// Takes one packet; answers the last message of the call.
    async fn answer(&mut self, lane: &mut Lane, packet: Packet) -> std::io::Result<Option<Reader>> {
        self.packets += 1;
        if self.packets > self.package.limits.host_calls_max.saturating_add(PACKETS_SPARE) {
            return Err(std::io::Error::other("it sent more packets than a call may"));
        }
        let kind = packet.header.kind;
        let message = open(lane, packet)?;
        match kind {
            DONE => return Ok(Some(message)),
            REQUEST => {
                let request = message.only().map_err(std::io::Error::other)?;
                let (answer, without) = match request {
                    Request::Run(run) => {
                        let full = "the outputs do not fit the memory shared with the worker";
                        let full = HostError::answer(ErrorFamily::Limit, "shared-bytes", full);
                        let without: Result<Vec<Tensor>, Refused> = Err(refused(full));
                        (Writer::of(&self.run(run).await), Writer::of(&without))
                    }
                    Request::Read(read) => {
                        let full = "the range does not fit the memory shared with the worker";
                        let without: Result<Bytes, String> = Err(full.into());
                        (Writer::of(&self.read(&read)), Writer::of(&without))
                    }
                };
                if lane.send(ANSWER, &answer).await.is_err() {
                    lane.send(ANSWER, &without).await?;
                }
            }
            LOG => self.log(message.only().map_err(std::io::Error::other)?),
            GROW => {
                let bytes: u64 = message.only().map_err(std::io::Error::other)?;
                lane.grow(SEGMENT, bytes).await?;
            }
            _ => return Err(std::io::Error::other(Malformed { expected: "a packet of a call" })),
        }
        Ok(None)
    }

    async fn run(&self, run: RunPlan) -> Result<Vec<Tensor>, Refused> {
        self.reset(&run.resets);
        let plans = self.context.plans.list();
        let (Some((_, plan)), Some(dispatcher)) =
            (plans.get(run.plan as usize), &self.sandbox.dispatcher)
        else {
            return Err(refused(HostError::input("plan", "there is no such plan")));
        };
        let call = PlanCall {
            plan: plan.clone(),
            inputs: run.inputs,
            tenant: self.context.tenant.clone(),
            deadline: self.context.deadline,
            slot: run.slot.map(|sequence| self.slot(&sequence)),
        };
        let answer = room(SpanName::Plans, Vec::new, dispatcher.call(call)).await;
        answer.map(|answer| answer.outputs).map_err(|error| refused(failed(error)))
    }

    fn slot(&self, sequence: &str) -> SlotKey {
        SlotKey {
            tenant: self.context.tenant.clone(),
            model_version: self.context.plans.model_version().clone(),
            sequence: sequence.into(),
        }
    }

    fn reset(&self, sequences: &[String]) {
        let Some(dispatcher) = &self.sandbox.dispatcher else { return };
        for sequence in sequences {
            dispatcher.end_slot(&self.slot(sequence));
        }
    }

    fn read(&self, read: &ReadFile) -> Result<Bytes, String> {
        let ReadFile { file, offset, len } = read;
        let granted = self.package.may_read(file).then(|| self.package.files.open(file)).flatten();
        let source = granted.ok_or_else(|| format!("there is no file `{file}`"))?;
        let end = offset.checked_add(*len).filter(|&end| end <= source.len());
        let end = end.filter(|_| *len <= self.package.limits.read_bytes_max);
        let end = end.ok_or("the range is outside of the file, or too long")?;
        let bytes = source.read(*offset..end).map_err(|error| error.to_string())?;
        Ok(Bytes(bytes))
    }

    fn log(&mut self, logged: Logged) {
        let bytes = logged.message.len() as u64;
        if self.log_bytes.saturating_add(bytes) > self.package.limits.log_bytes_max {
            Metrics::add(&self.sandbox.metrics.log_bytes_dropped, bytes);
            return;
        }
        self.log_bytes += bytes;
        log::tell(self.package, &self.context.tenant, logged.level, &logged.message);
    }

    /// Takes what comes before the answer in the last message.
    fn close(&self, message: &mut Reader) -> Taken<()> {
        self.reset(&Vec::take(message)?);
        let counted = Counted::take(message)?;
        let metrics = &self.sandbox.metrics;
        Metrics::add(&metrics.host_calls, counted.host_calls);
        Metrics::add(&metrics.bytes_read, counted.bytes_read);
        Metrics::add(&metrics.bytes_created, counted.bytes_created);
        Metrics::add(&metrics.log_bytes_dropped, counted.log_bytes_dropped);
        Ok(())
    }
}

/// Copies a message out of the packet, or out of the call's segment.
fn open(lane: &Lane, packet: Packet) -> std::io::Result<Reader> {
    let bytes = match packet.header.place {
        Place::Inline => Buffer::shared(Arc::new(packet.inline)),
        Place::Segment(number) => {
            let segment = lane.segment(number).filter(|own| packet.header.len <= own.bytes());
            let segment = segment.ok_or_else(|| {
                std::io::Error::other(Malformed { expected: "a message in the call's segment" })
            })?;
            read_message(&segment.file, packet.header.len as usize)?
        }
        Place::File => {
            return Err(std::io::Error::other(Malformed { expected: "no file" }));
        }
    };
    Ok(Reader::new(bytes))
}

/// Kills a worker that said something that it must not.
fn broken(lane: &mut Lane, error: &impl ToString) -> Failure {
    lane.ended = true;
    lane.worker.kill(&format!("it broke the protocol: {}", error.to_string()));
    alone(Cause::WorkerLost { reason: lane.worker.reason() })
}

fn failure(failed: Failed) -> Failure {
    (failed.cause, failed.backtrace.map(Arc::new))
}

/// What a guest in a worker gets for a host call that failed.
fn refused(error: HostError) -> Refused {
    match error {
        HostError::Answer(error) => Refused::Answer(error_in(error)),
        HostError::Trap(_) => Refused::Deadline,
    }
}
