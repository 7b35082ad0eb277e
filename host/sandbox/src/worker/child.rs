//! The worker process: wasmtime, instances and their handles, behind walls, at the end of a socket.
//!
//! It runs one thread for guests, which take turns at each tick of the epoch, and one that ticks. Loads that
//! compile get a thread of their own. It trusts the host, and the host trusts nothing that it says.

use super::channel::{Channel, Header, Packet, Place};
use super::link::{CallLink, RemotePlans, Wires};
use super::messages::{
    ANSWER, CALL, CANCEL, Counted, DONE, END_SESSION, FORGET, Failed, Job, LOAD, Load,
    LoadedGraphs, MAKE, Made, Make, Package, Process, Processed, READY, Refusal, SEGMENT, Start,
    UNLOAD,
};
use super::wire::{Bytes, Wire, Writer, tensors_in, tensors_out};
use crate::composition::Composition;
use crate::engine::{SandboxEngine, worker_engine};
use crate::error::{Cause, PluginError, SandboxError};
use crate::jail::{self, JailError, Role, Walls};
use crate::lock;
use crate::package::{ModelFiles, PackageInfo};
use crate::plans::PlanSet;
use crate::plugin::{Call, Plugin};
use crate::sandbox::Sandbox;
use crate::trace::TraceSession;
use aimass_graph::{CompileOptions, WeightError, WeightSource};
use aimass_tensor::Buffer;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// The hidden subcommand that a worker is started as.
pub const WORKER_COMMAND: &str = "__worker";
/// Compilations and runs of `init` at once.
const BLOCKING_THREADS_MAX: usize = 4;
/// Descriptors that a worker needs: its streams and event loop, and a segment for each call.
const FILES_OPEN_MAX: u64 = 512;

/// Why a worker ends before its host wants it to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The walls do not stand.
    #[error("the worker's jail cannot be closed: {0}")]
    Jail(#[from] JailError),
    /// wasmtime refuses its own configuration, or there is no memory for the pool.
    #[error(transparent)]
    Start(#[from] SandboxError),
    /// The socket broke.
    #[error("the server is gone: {0}")]
    Socket(#[from] io::Error),
}

/// Closes the jail around this process, then serves the host at the other end of its standard input until
/// that is closed. Call it on the main thread before any other exists.
///
/// `instances_max` are the instances that may be live at once, `memory_bytes_max` is its private memory.
///
/// # Errors
/// [`WorkerError`].
pub fn run_worker(instances_max: u32, memory_bytes_max: u64) -> Result<(), WorkerError> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    // Both open what the jail does not let them open later; neither has a second thread yet.
    let engine = Sandbox::engine(Some(instances_max), worker_engine)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build()?;
    jail::enter(&Walls {
        role: Role::Worker,
        memory_bytes_max,
        cpu_time_max: None,
        files_open_max: FILES_OPEN_MAX,
    })?;
    let served = runtime.block_on(serve(socket, engine));
    // A compilation that nobody waits for does not keep the process.
    runtime.shutdown_background();
    served
}

async fn serve(socket: OwnedFd, engine: (SandboxEngine, u32)) -> Result<(), WorkerError> {
    let wires = Wires::new(Channel::new(socket)?);
    let sandbox = Sandbox::of_worker(engine)?;
    let child = Arc::new(Child {
        sandbox,
        wires: wires.clone(),
        plugins: Mutex::default(),
        sessions: Mutex::default(),
        calls: Mutex::default(),
    });
    let ready = Header { kind: READY, call: 0, place: Place::Inline, len: 0 };
    wires.send(ready, &[]).await?;
    while let Some(mut packet) = wires.receive().await? {
        wires.keep(&mut packet)?;
        child.take(packet)?;
    }
    Ok(())
}

/// What the process holds.
struct Child {
    sandbox: Arc<Sandbox>,
    wires: Arc<Wires>,
    plugins: Mutex<HashMap<u64, Arc<Plugin>>>,
    sessions: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<TraceSession>>>>,
    calls: Mutex<HashMap<u64, AbortHandle>>,
}

impl Child {
    /// Does what a packet wants; calls go on beside the next packets.
    fn take(self: &Arc<Child>, packet: Packet) -> io::Result<()> {
        let call = packet.header.call;
        match packet.header.kind {
            LOAD | MAKE | CALL => {
                let (child, link) = (self.clone(), CallLink::new(self.wires.clone(), call));
                let task = tokio::spawn(async move {
                    let scoped = link.clone();
                    scoped.scope(child.clone().called(&link, packet)).await;
                    lock(&child.calls).remove(&call);
                });
                // The one thread of the runtime is here, so that the task has not begun.
                lock(&self.calls).insert(call, task.abort_handle());
            }
            ANSWER | SEGMENT => self.wires.answered(packet),
            CANCEL => {
                if let Some(task) = lock(&self.calls).remove(&call) {
                    task.abort();
                }
            }
            UNLOAD => drop(lock(&self.plugins).remove(&number(&packet)?)),
            END_SESSION => drop(lock(&self.sessions).remove(&number(&packet)?)),
            FORGET => self.wires.forget(number(&packet)? as u32),
            other => return Err(io::Error::other(format!("the host sent a packet {other}"))),
        }
        Ok(())
    }

    async fn called(self: Arc<Child>, link: &CallLink, packet: Packet) {
        let kind = packet.header.kind;
        let done = match link.open(packet) {
            Ok(message) => match kind {
                LOAD => match message.only() {
                    Ok(load) => done(link, refusable(self.load(load).await), self.counted()),
                    Err(error) => lost(&error),
                },
                MAKE => match message.only() {
                    Ok(make) => done(link, self.clone().make(make).await, self.counted()),
                    Err(error) => lost(&error),
                },
                _ => match message.only() {
                    Ok(start) => self.start(link, start).await,
                    Err(error) => lost(&error),
                },
            },
            Err(error) => lost(&error),
        };
        if let Err(error) = link.send(DONE, &done).await {
            // Without room for the answer there is still room for the reason.
            let _ = link.send(DONE, &lost(&error)).await;
        }
    }

    async fn load(&self, load: Load) -> Result<crate::PluginSignature, SandboxError> {
        let package = info(load.package);
        let plugin = self.sandbox.of_code(package, load.code.0.as_slice()).await?;
        let signature = plugin.signature().clone();
        lock(&self.plugins).insert(load.plugin, plugin);
        Ok(signature)
    }

    async fn make(self: Arc<Child>, make: Make) -> Result<Result<Made, Refusal>, Failed> {
        let package = info(make.package);
        let (runtime, link) = (Handle::current(), CallLink::current());
        let work = move || {
            let made = self.sandbox.make(&package, make.component.0.as_slice());
            match link {
                Some(link) => runtime.block_on(link.scope(made)),
                None => runtime.block_on(made),
            }
        };
        let made = tokio::task::spawn_blocking(work).await;
        let made = made.map_err(|error| host(&error))?;
        refusable(made.map(|(code, files_seen)| Made { code: Bytes::of(code), files_seen }))
    }

    async fn start(&self, link: &CallLink, start: Start) -> Writer {
        let Some(plugin) = lock(&self.plugins).get(&start.plugin).cloned() else {
            return lost(&"the plugin is not loaded");
        };
        let deadline = Instant::now() + start.wall;
        match start.job {
            Job::Process(process) => {
                let processed = self.process(&plugin, deadline, process).await;
                done(link, processed, self.counted())
            }
            Job::Detect => done(link, plugin.detect().await.map_err(of_plugin), self.counted()),
            Job::LoadGraphs => {
                let loaded = plugin.load_records().await.map_err(of_plugin);
                let loaded = loaded.map(|(records, signature, stats)| {
                    let bytes = |(name, record)| (name, Bytes::of(record));
                    let plans = records.into_iter().map(bytes).collect();
                    LoadedGraphs { plans, signature, stats }
                });
                done(link, loaded, self.counted())
            }
            Job::LoadSignature => {
                let signature = plugin.load_signature().await.map_err(of_plugin);
                done(link, signature, self.counted())
            }
            Job::Trace(number, signature, inputs) => {
                let session = plugin.trace_session(&signature, &CompileOptions::default()).await;
                let stage = match session {
                    Ok(mut session) => {
                        let stage = session.outline_of_trace(&inputs).await;
                        let session = Arc::new(tokio::sync::Mutex::new(session));
                        lock(&self.sessions).insert(number, session);
                        stage
                    }
                    Err(error) => Err(error),
                };
                done(link, stage.map_err(of_plugin), self.counted())
            }
            Job::Resume(number, observed) => {
                let session = lock(&self.sessions).get(&number).cloned();
                let Some(session) = session else { return lost(&"the session has ended") };
                let stage = session.lock().await.outline_of_resume(tensors_in(observed)).await;
                done(link, stage.map_err(of_plugin), self.counted())
            }
        }
    }

    async fn process(
        &self,
        plugin: &Plugin,
        deadline: Instant,
        process: Process,
    ) -> Result<Processed, Failed> {
        let Process { tenant, model_version, plans, traced, parameters, inputs } = process;
        let plans = plans.into_iter().map(|(name, plan)| (name, Arc::new(plan))).collect();
        let plans = Arc::new(PlanSet::remote(model_version, RemotePlans { plans, traced }));
        // What it may reach the host knows, and asks it for each time.
        let composition = Composition::default();
        let call = Call { tenant, deadline, plans, composition, parameters };
        let answer = plugin.process(call, tensors_in(inputs)).await.map_err(of_plugin)?;
        Ok(Processed { outputs: tensors_out(&answer.outputs), stats: answer.stats })
    }

    /// What the counters gained since they were asked last.
    fn counted(&self) -> Counted {
        use std::sync::atomic::{AtomicU64, Ordering};
        let gained = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let metrics = self.sandbox.metrics();
        Counted {
            host_calls: gained(&metrics.host_calls),
            bytes_read: gained(&metrics.bytes_read),
            bytes_created: gained(&metrics.bytes_created),
            log_bytes_dropped: gained(&metrics.log_bytes_dropped),
        }
    }
}

/// The number that a packet is about.
fn number(packet: &Packet) -> io::Result<u64> {
    let bytes = Buffer::shared(Arc::new(packet.inline.clone()));
    super::wire::Reader::new(bytes).only().map_err(io::Error::other)
}

/// The last message of a call.
fn done<T: Wire>(link: &CallLink, answer: Result<T, Failed>, counted: Counted) -> Writer {
    let mut message = Writer::default();
    link.resets().put(&mut message);
    counted.put(&mut message);
    answer.put(&mut message);
    message
}

/// The last message of a call that this process could not make.
fn lost(error: &impl ToString) -> Writer {
    let failed: Result<(), Failed> = Err(host(error));
    let mut message = Writer::of(&Vec::<String>::new());
    Counted::default().put(&mut message);
    failed.put(&mut message);
    message
}

fn host(error: &impl ToString) -> Failed {
    Failed { cause: Cause::Host { message: error.to_string() }, backtrace: None }
}

fn of_plugin(error: PluginError) -> Failed {
    Failed { cause: error.cause, backtrace: error.backtrace.map(|trace| trace.to_string()) }
}

/// What became of code that was to be loaded: a refusal is an answer of its own.
fn refusable<T>(loaded: Result<T, SandboxError>) -> Result<Result<T, Refusal>, Failed> {
    match loaded {
        Ok(loaded) => Ok(Ok(loaded)),
        Err(SandboxError::Refused { code, message, .. }) if Refusal::CODES.contains(&code) => {
            Ok(Err(Refusal { code, message }))
        }
        Err(error) => Err(of_sandbox(error)),
    }
}

fn of_sandbox(error: SandboxError) -> Failed {
    match error {
        SandboxError::Plugin(error) => of_plugin(error),
        SandboxError::Image { message, .. } => host(&message),
        SandboxError::Start { .. }
        | SandboxError::Cache { .. }
        | SandboxError::Compiler { .. }
        | SandboxError::Refused { .. } => host(&error),
    }
}

fn info(mut package: Package) -> Arc<PackageInfo> {
    let files = Arc::new(RemoteFiles { files: std::mem::take(&mut package.files) });
    Arc::new(package.into_info(files))
}

/// Files of a package that the host holds: their names, and reads that ask it.
struct RemoteFiles {
    files: Vec<(String, u64)>,
}

impl ModelFiles for RemoteFiles {
    fn list(&self) -> Vec<(String, u64)> {
        self.files.clone()
    }

    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        let (_, len) = self.files.iter().find(|(file, _)| file == name)?;
        Some(Arc::new(RemoteFile { len: *len }))
    }
}

/// A file of the host: its length, which is all that building a graph asks for.
struct RemoteFile {
    len: u64,
}

impl WeightSource for RemoteFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn digest(&self) -> [u8; 32] {
        [0; 32]
    }

    fn read(&self, _range: Range<u64>) -> Result<Buffer, WeightError> {
        Err(WeightError { message: "a worker reads files through its host only".into() })
    }
}
