//! What host and worker say to each other.
//!
//! Every call has a number, given by the host. The host opens a call ([`LOAD`], [`MAKE`], [`CALL`]); the worker
//! may ask for something in its name ([`REQUEST`], [`GROW`]) and gets an answer ([`ANSWER`], [`SEGMENT`]) before
//! it goes on; [`DONE`] ends it. A call has at most one segment, which either side writes only when it is its
//! turn to speak.

use super::wire::{
    Bytes, Malformed, NamedTensor, Reader, Taken, Wire, Writer, wire_enum, wire_struct,
};
use crate::error::{Cause, ErrorFamily, GuestError};
use crate::limits::Limits;
use crate::package::{PackageInfo, World};
use crate::plugin::{CallStats, Parameter};
use crate::signature::{PluginSignature, PluginTensorSpec};
use crate::trace::TracedInput;
use aimass_graph::Signature;
use aimass_trust::{Capabilities, Capability, Grant};
use std::sync::Arc;
use std::time::Duration;

/// Host: instantiates compiled code as a plugin; [`Load`]. Done: [`PluginSignature`].
pub(crate) const LOAD: u8 = 1;
/// Host: runs `init` and compiles; [`Make`]. Done: [`Made`].
pub(crate) const MAKE: u8 = 2;
/// Host: calls a function of a plugin; [`Start`]. Done: as [`Job`] says.
pub(crate) const CALL: u8 = 3;
/// Host: answers a request.
pub(crate) const ANSWER: u8 = 4;
/// Host: the call is not wanted any more; nothing is answered.
pub(crate) const CANCEL: u8 = 5;
/// Host: the plugin of this number, a u64, is not called again.
pub(crate) const UNLOAD: u8 = 6;
/// Host: the session of this number, a u64, has ended.
pub(crate) const END_SESSION: u8 = 7;
/// Host: the call's segment is now the one of the header, which is as long as it says.
pub(crate) const SEGMENT: u8 = 8;
/// Host: the segment of this number, a u32, is not used again.
pub(crate) const FORGET: u8 = 9;
/// Worker: it has walls and an engine, and waits.
pub(crate) const READY: u8 = 32;
/// Worker: the end of a call; `Result<_, Failed>`.
pub(crate) const DONE: u8 = 33;
/// Worker: a guest wants something of the host; [`Request`].
pub(crate) const REQUEST: u8 = 34;
/// Worker: a guest's message to the operator; [`Logged`].
pub(crate) const LOG: u8 = 35;
/// Worker: the call needs a segment of so many bytes, a u64.
pub(crate) const GROW: u8 = 36;

/// [`LOAD`].
pub(crate) struct Load {
    pub(crate) plugin: u64,
    pub(crate) package: Package,
    pub(crate) code: Bytes,
}

/// [`MAKE`].
pub(crate) struct Make {
    pub(crate) package: Package,
    pub(crate) component: Bytes,
}

/// What [`MAKE`] answers: code that runs in workers of this publisher only.
pub(crate) struct Made {
    pub(crate) code: Bytes,
    pub(crate) files_seen: bool,
}

/// [`CALL`].
pub(crate) struct Start {
    pub(crate) plugin: u64,
    /// Time until the deadline.
    pub(crate) wall: Duration,
    pub(crate) job: Job,
}

/// The function that is called, and with what.
pub(crate) enum Job {
    /// Done: [`Processed`].
    Process(Process),
    /// Done: `Option<String>`.
    Detect,
    /// Done: [`LoadedGraphs`].
    LoadGraphs,
    /// Done: [`PluginSignature`].
    LoadSignature,
    /// Opens a session under this number. Done: [`Stage`].
    Trace(u64, Arc<PluginSignature>, Vec<TracedInput>),
    /// Done: [`Stage`].
    Resume(u64, Vec<NamedTensor>),
}

/// Arguments of `process`.
pub(crate) struct Process {
    pub(crate) tenant: Arc<str>,
    pub(crate) model_version: Arc<str>,
    /// Plans that the guest finds by name; it calls them by their place in this list.
    pub(crate) plans: Vec<(Arc<str>, Signature)>,
    /// The plan `main`, if it is a model that is traced.
    pub(crate) traced: Option<Arc<PluginSignature>>,
    pub(crate) parameters: Vec<(String, Parameter)>,
    pub(crate) inputs: Vec<NamedTensor>,
}

/// What `process` answers.
pub(crate) struct Processed {
    pub(crate) outputs: Vec<NamedTensor>,
    pub(crate) stats: CallStats,
}

/// What `load` of the world `format` answers: graphs as the calls that built them.
pub(crate) struct LoadedGraphs {
    pub(crate) plans: Vec<(String, Bytes)>,
    pub(crate) signature: PluginSignature,
    pub(crate) stats: CallStats,
}

/// What `trace` and `resume` answer.
pub(crate) struct Stage {
    pub(crate) graph: Option<Bytes>,
    pub(crate) known: Vec<NamedTensor>,
    pub(crate) observe: Vec<Arc<str>>,
    pub(crate) batched: bool,
    pub(crate) reusable: bool,
    pub(crate) blocked_by: Option<Arc<str>>,
}

/// What a guest wants of the host.
pub(crate) enum Request {
    /// Runs the plan at this place in the call's list. Answer: `Result<Vec<Tensor>, Refused>`.
    Run(RunPlan),
    /// Reads a file of the package. Answer: `Result<Bytes, String>`.
    Read(ReadFile),
    /// Runs the traced model that is the call's plan `main`, with inputs in the order of its signature.
    /// Answer: `Result<Vec<Tensor>, Refused>`.
    RunTraced(Vec<aimass_tensor::Tensor>),
    /// Calls another model. Answer: `Result<Vec<NamedTensor>, Refused>`.
    Infer(InferModel),
    /// An item of a stream. Answer, once there is room for it: `Result<(), Refused>`.
    Emit(Vec<NamedTensor>),
}

/// Arguments of a call of another model; its deadline is the call's.
pub(crate) struct InferModel {
    pub(crate) model: String,
    pub(crate) inputs: Vec<NamedTensor>,
    pub(crate) parameters: Vec<(String, Parameter)>,
}

/// Arguments of a plan call.
pub(crate) struct RunPlan {
    pub(crate) plan: u32,
    /// In the order of the plan's signature.
    pub(crate) inputs: Vec<aimass_tensor::Tensor>,
    /// Sequence whose slot it runs in.
    pub(crate) slot: Option<String>,
    /// Sequences whose slots end before.
    pub(crate) resets: Vec<String>,
}

/// Arguments of a read.
pub(crate) struct ReadFile {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Why the host does not serve a request.
pub(crate) enum Refused {
    /// The guest gets this.
    Answer(GuestError),
    /// The deadline has passed: the guest is stopped.
    Deadline,
}

/// [`LOG`].
pub(crate) struct Logged {
    /// 0 for an error to 4 for a trace.
    pub(crate) level: u8,
    pub(crate) message: String,
}

/// What has been counted since the worker told last.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) host_calls: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_created: u64,
    pub(crate) log_bytes_dropped: u64,
}

/// Why a call failed.
pub(crate) struct Failed {
    pub(crate) cause: Cause,
    pub(crate) backtrace: Option<String>,
}

/// Why a worker loads no code of a component: it may not run here.
pub(crate) struct Refusal {
    /// One of [`Refusal::CODES`].
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    /// Codes of refusals that are found where the component is linked.
    pub(crate) const CODES: [&str; 2] = ["import", "export"];
}

/// Everything about a package that its plugin needs in a worker.
pub(crate) struct Package {
    name: Arc<str>,
    version: Arc<str>,
    digest: [u8; 32],
    world: World,
    capabilities: Vec<(Capability, Option<Vec<String>>)>,
    limits: Limits,
    config: Bytes,
    /// Names and sizes of the files that it may read.
    pub(crate) files: Vec<(String, u64)>,
}

impl Package {
    /// The package as it crosses.
    pub(crate) fn of(package: &PackageInfo) -> Package {
        let grant = |grant: &Grant| match grant {
            Grant::All(_) => None,
            Grant::Only(names) => Some(names.clone()),
        };
        let files = package.files.list().into_iter();
        Package {
            name: package.name.clone(),
            version: package.version.clone(),
            digest: package.digest,
            world: package.world,
            capabilities: package.capabilities.iter().map(|(one, of)| (one, grant(of))).collect(),
            limits: package.limits.clone(),
            config: Bytes::of(package.config.to_vec()),
            files: files.filter(|(name, _)| package.may_read(name)).collect(),
        }
    }

    /// The package in the worker.
    pub(crate) fn into_info(self, files: Arc<dyn crate::ModelFiles>) -> PackageInfo {
        let mut capabilities = Capabilities::default();
        for (capability, names) in self.capabilities {
            let grant = names.map_or(Grant::All(Default::default()), Grant::Only);
            capabilities.insert(capability, grant);
        }
        PackageInfo {
            name: self.name,
            version: self.version,
            digest: self.digest,
            world: self.world,
            capabilities,
            limits: self.limits,
            config: self.config.0.as_slice().into(),
            files,
        }
    }
}

wire_struct! {
    Load { plugin, package, code }
    Make { package, component }
    Made { code, files_seen }
    Start { plugin, wall, job }
    Process { tenant, model_version, plans, traced, parameters, inputs }
    Processed { outputs, stats }
    CallStats { host_calls, log_bytes, memory_bytes, host_bytes, output_bytes, instructions, wall }
    LoadedGraphs { plans, signature, stats }
    Stage { graph, known, observe, batched, reusable, blocked_by }
    RunPlan { plan, inputs, slot, resets }
    ReadFile { file, offset, len }
    InferModel { model, inputs, parameters }
    Logged { level, message }
    Counted { host_calls, bytes_read, bytes_created, log_bytes_dropped }
    Failed { cause, backtrace }
    Package { name, version, digest, world, capabilities, limits, config, files }
    Limits {
        memory_bytes_max, host_bytes_max, output_bytes_max, handles_max, host_calls_max,
        host_copy_bytes_max, read_bytes_max, log_bytes_max, wall_max, init_wall_max, load_wall_max,
        trace_wall_max, trace_stages_max, graphs_max, image_pixels_max, audio_samples_max,
    }
    PluginSignature { inputs, outputs }
    PluginTensorSpec { name, dtype, dims, description }
    TracedInput { name, dtype, shape }
    GuestError { family, code, message }
}

wire_enum! {
    ErrorFamily {
        Input, NotFound, Limit, Unsupported, Forbidden, Cancelled, Deadline, Unavailable, Internal,
    }
    Capability {
        Config, Tensor, Graph, Plans, Files, Media, Models, Log, Clock, Random, Emit,
    }
}

impl Wire for Duration {
    fn put(&self, to: &mut Writer) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).put(to);
    }

    fn take(from: &mut Reader) -> Taken<Duration> {
        Ok(Duration::from_nanos(u64::take(from)?))
    }
}

impl Wire for [u8; 32] {
    fn put(&self, to: &mut Writer) {
        to.raw(self);
    }

    fn take(from: &mut Reader) -> Taken<[u8; 32]> {
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            *byte = u8::take(from)?;
        }
        Ok(bytes)
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, to: &mut Writer) {
        T::put(self, to);
    }

    fn take(from: &mut Reader) -> Taken<Arc<T>> {
        Ok(Arc::new(T::take(from)?))
    }
}

impl Wire for Parameter {
    fn put(&self, to: &mut Writer) {
        match self {
            Parameter::Boolean(value) => (0u8, *value).put(to),
            Parameter::Integer(value) => (1u8, *value).put(to),
            Parameter::Float(value) => (2u8, *value).put(to),
            Parameter::Text(value) => (3u8, value.clone()).put(to),
            Parameter::Integers(value) => (4u8, value.clone()).put(to),
        }
    }

    fn take(from: &mut Reader) -> Taken<Parameter> {
        Ok(match u8::take(from)? {
            0 => Parameter::Boolean(Wire::take(from)?),
            1 => Parameter::Integer(Wire::take(from)?),
            2 => Parameter::Float(Wire::take(from)?),
            3 => Parameter::Text(Wire::take(from)?),
            4 => Parameter::Integers(Wire::take(from)?),
            _ => return Err(Malformed { expected: "a parameter" }),
        })
    }
}

impl Wire for Job {
    fn put(&self, to: &mut Writer) {
        match self {
            Job::Process(process) => {
                0u8.put(to);
                process.put(to);
            }
            Job::Detect => 1u8.put(to),
            Job::LoadGraphs => 2u8.put(to),
            Job::LoadSignature => 3u8.put(to),
            Job::Trace(session, signature, inputs) => {
                (4u8, *session).put(to);
                signature.put(to);
                inputs.put(to);
            }
            Job::Resume(session, observed) => {
                (5u8, *session).put(to);
                observed.put(to);
            }
        }
    }

    fn take(from: &mut Reader) -> Taken<Job> {
        Ok(match u8::take(from)? {
            0 => Job::Process(Wire::take(from)?),
            1 => Job::Detect,
            2 => Job::LoadGraphs,
            3 => Job::LoadSignature,
            4 => Job::Trace(Wire::take(from)?, Wire::take(from)?, Wire::take(from)?),
            5 => Job::Resume(Wire::take(from)?, Wire::take(from)?),
            _ => return Err(Malformed { expected: "a call" }),
        })
    }
}

impl Wire for Request {
    fn put(&self, to: &mut Writer) {
        match self {
            Request::Run(run) => {
                0u8.put(to);
                run.put(to);
            }
            Request::Read(read) => {
                1u8.put(to);
                read.put(to);
            }
            Request::RunTraced(inputs) => {
                2u8.put(to);
                inputs.put(to);
            }
            Request::Infer(call) => {
                3u8.put(to);
                call.put(to);
            }
            Request::Emit(outputs) => {
                4u8.put(to);
                outputs.put(to);
            }
        }
    }

    fn take(from: &mut Reader) -> Taken<Request> {
        Ok(match u8::take(from)? {
            0 => Request::Run(Wire::take(from)?),
            1 => Request::Read(Wire::take(from)?),
            2 => Request::RunTraced(Wire::take(from)?),
            3 => Request::Infer(Wire::take(from)?),
            4 => Request::Emit(Wire::take(from)?),
            _ => return Err(Malformed { expected: "a request" }),
        })
    }
}

impl Wire for Refused {
    fn put(&self, to: &mut Writer) {
        match self {
            Refused::Answer(error) => {
                0u8.put(to);
                error.put(to);
            }
            Refused::Deadline => 1u8.put(to),
        }
    }

    fn take(from: &mut Reader) -> Taken<Refused> {
        Ok(match u8::take(from)? {
            0 => Refused::Answer(Wire::take(from)?),
            1 => Refused::Deadline,
            _ => return Err(Malformed { expected: "a refusal" }),
        })
    }
}

impl Wire for Refusal {
    fn put(&self, to: &mut Writer) {
        let code = Refusal::CODES.iter().position(|code| *code == self.code).unwrap_or(usize::MAX);
        (code as u64).put(to);
        self.message.put(to);
    }

    fn take(from: &mut Reader) -> Taken<Refusal> {
        let code = usize::try_from(u64::take(from)?).ok().and_then(|at| Refusal::CODES.get(at));
        let code = code.ok_or(Malformed { expected: "the code of a refusal" })?;
        Ok(Refusal { code, message: text(from)? })
    }
}

/// Bytes of a text in a [`Cause`] or [`Refusal`] at most; a guest's own error has bounds of the contract.
const TEXT_BYTES_MAX: usize = 4096;

fn text(from: &mut Reader) -> Taken<String> {
    Ok(crate::worlds::convert::cut(String::take(from)?, TEXT_BYTES_MAX))
}

impl Wire for Cause {
    fn put(&self, to: &mut Writer) {
        match self {
            Cause::Trap { message } => (0u8, message.clone()).put(to),
            Cause::Deadline => 1u8.put(to),
            Cause::Memory { limit_bytes } => (2u8, *limit_bytes).put(to),
            Cause::Handles { limit } => (3u8, *limit).put(to),
            Cause::HostCalls { limit } => (4u8, *limit).put(to),
            Cause::HostCopy { limit_bytes } => (5u8, *limit_bytes).put(to),
            Cause::OutputTooLarge { limit_bytes, got_bytes } => {
                (6u8, (*limit_bytes, *got_bytes)).put(to);
            }
            Cause::BadOutput { message } => (7u8, message.clone()).put(to),
            Cause::BadInput { message } => (8u8, message.clone()).put(to),
            Cause::Guest(error) => {
                9u8.put(to);
                error.put(to);
            }
            Cause::Overloaded { instances_max } => (10u8, *instances_max).put(to),
            Cause::Host { message } => (11u8, message.clone()).put(to),
            // What only the host can say of a worker never crosses as such.
            Cause::WorkerLost { .. } | Cause::NoWorker { .. } => (11u8, self.to_string()).put(to),
        }
    }

    fn take(from: &mut Reader) -> Taken<Cause> {
        Ok(match u8::take(from)? {
            0 => Cause::Trap { message: text(from)? },
            1 => Cause::Deadline,
            2 => Cause::Memory { limit_bytes: Wire::take(from)? },
            3 => Cause::Handles { limit: Wire::take(from)? },
            4 => Cause::HostCalls { limit: Wire::take(from)? },
            5 => Cause::HostCopy { limit_bytes: Wire::take(from)? },
            6 => Cause::OutputTooLarge {
                limit_bytes: Wire::take(from)?,
                got_bytes: Wire::take(from)?,
            },
            7 => Cause::BadOutput { message: text(from)? },
            8 => Cause::BadInput { message: text(from)? },
            9 => {
                let error: GuestError = Wire::take(from)?;
                let message = crate::worlds::convert::cut(error.message, TEXT_BYTES_MAX);
                let code = crate::worlds::convert::cut(error.code, 64);
                Cause::Guest(GuestError { message, code, ..error })
            }
            10 => Cause::Overloaded { instances_max: Wire::take(from)? },
            11 => Cause::Host { message: text(from)? },
            _ => return Err(Malformed { expected: "a cause" }),
        })
    }
}
