//! Tracing: a live instance that answers the stages of one call, each checked and compiled.

mod values;

use crate::BoxFuture;
use crate::error::{Cause, PluginError};
use crate::host_api::files::granted;
use crate::host_api::tensor::TensorHandle;
use crate::instance::Instance;
use crate::metrics::Metrics;
use crate::package::World;
use crate::plugin::Plugin;
use crate::signature::{NamedTensors, PluginSignature, check_shapes};
use crate::state::CallState;
use crate::worker::messages::{self, Job};
use crate::worker::remote::RemoteSession;
use crate::worker::wire::{Bytes, tensors_in, tensors_out};
use crate::worlds::bindings::types::Error;
use crate::worlds::convert::{dtype_out, signature_in};
use crate::worlds::exports::{self, Exports, Files, LoadedSignature, NamedInput, Stage, Staged};
use aimass_graph::{CompileOptions, Dim, Graph, Plan};
use aimass_tensor::{DType, Shape};
use std::sync::Arc;
use std::time::Instant;
use values::Values;

/// Tensors that one stage may know by itself at most.
const KNOWN_MAX: usize = 256;
/// Bytes in which a stage may say what keeps its trace from being batched.
const BLOCKED_BY_BYTES_MAX: usize = 1_024;

/// An input of a model as one call brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedInput {
    /// Its name in the signature.
    pub name: Arc<str>,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
}

/// A part of a trace, checked and compiled.
#[derive(Clone)]
pub struct TracedStage {
    /// What runs, if anything: its inputs are values that exist, its outputs join them.
    pub plan: Option<Arc<Plan>>,
    /// Values that join the others before the plan runs.
    pub known: NamedTensors,
    /// Values that the trace goes on with, at most 64; none in the last stage.
    pub observe: Vec<Arc<str>>,
    /// Whether the trace serves any extent of the signature's `batch` dimensions; the same in every
    /// stage of a trace.
    pub batched: bool,
    /// Whether later calls of the same shapes and observed content may use the stage.
    pub reusable: bool,
    /// What keeps the trace from being batched, in the plugin's words of at most 1,024 bytes.
    pub blocked_by: Option<Arc<str>>,
}

/// A live instance in the middle of a trace. It goes with the value.
///
/// Each call of the guest has a deadline of its own ([`Limits::trace_wall_max`](crate::Limits)); the
/// other limits hold for the session as a whole, host calls excepted. A session whose call failed, or
/// was dropped before it answered, answers only errors.
pub struct TraceSession {
    plugin: Arc<Plugin>,
    seat: Seat,
    signature: Arc<PluginSignature>,
    options: CompileOptions,
    progress: Progress,
    stages: usize,
}

/// Where the instance of a session lives.
enum Seat {
    /// In this process.
    Here(Box<Instance>),
    /// In a worker.
    Worker(Box<RemoteSession>),
}

/// How far a trace has come.
enum Progress {
    Fresh,
    /// The values so far, and what `resume` must bring.
    Waiting(Values, Vec<Arc<str>>),
    /// The last stage is answered.
    Complete,
    /// A call is under way, or failed.
    Broken,
}

/// A checked stage whose graph is not compiled yet.
struct Outline {
    graph: Option<Graph>,
    /// In a worker: the calls that built the graph.
    record: Vec<u8>,
    known: NamedTensors,
    observe: Vec<Arc<str>>,
    batched: bool,
    reusable: bool,
    blocked_by: Option<Arc<str>>,
}

const TRACE: &str = "trace";
const RESUME: &str = "resume";

impl Plugin {
    /// Inputs and outputs of the model (world `tracing-format`). Every tensor has a dtype, only axis 0
    /// can be `batch`, none is `ragged`, and there is an output.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    pub fn load_signature(&self) -> BoxFuture<'_, Result<PluginSignature, PluginError>> {
        Box::pin(self.ask_signature())
    }

    async fn ask_signature(&self) -> Result<PluginSignature, PluginError> {
        const FUNCTION: &str = "load";
        let wall_max = self.limits().load_wall_max;
        let bad = |message| Cause::BadOutput { message };
        if self.remote().is_some() {
            let signature = self.ask(FUNCTION, wall_max, Job::LoadSignature).await?;
            return PluginSignature::checked(signature)
                .and_then(|signature| check_signature(&signature).map(|()| signature))
                .map_err(|message| self.failed(FUNCTION, bad(message)));
        }
        let Some(Exports::Tracing { load, .. }) = self.exports() else {
            return Err(self.failed(FUNCTION, self.no_such_function(FUNCTION)));
        };
        let mut instance = self.system_instance(FUNCTION, wall_max).await?;
        let files: Files = (granted(instance.store.data()),);
        let (answer,): LoadedSignature = self.run(FUNCTION, &mut instance, load, files).await?;
        answer
            .map_err(|error| self.guest_error(error))
            .and_then(|signature| signature_in(signature).map_err(bad))
            .and_then(|signature| check_signature(&signature).map(|()| signature).map_err(bad))
            .map_err(|cause| self.failed(FUNCTION, cause))
    }

    /// A fresh instance for one trace (world `tracing-format`) of the model with this signature.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    pub fn trace_session<'a>(
        self: &'a Arc<Self>,
        signature: &'a Arc<PluginSignature>,
        options: &'a CompileOptions,
    ) -> BoxFuture<'a, Result<TraceSession, PluginError>> {
        Box::pin(self.start_session(signature, options))
    }

    async fn start_session(
        self: &Arc<Self>,
        signature: &Arc<PluginSignature>,
        options: &CompileOptions,
    ) -> Result<TraceSession, PluginError> {
        if self.world() != World::TracingFormat {
            return Err(self.failed(TRACE, self.no_such_function(TRACE)));
        }
        let seat = match self.remote() {
            Some(remote) => {
                let permit = self.permit().map_err(|cause| self.failed(TRACE, cause))?;
                let deadline = Instant::now() + self.limits().trace_wall_max;
                let session = remote.session(permit, deadline).await;
                let session = session.map_err(|failure| self.failed_with(TRACE, failure))?;
                Seat::Worker(Box::new(session))
            }
            None => {
                let instance = self.system_instance(TRACE, self.limits().trace_wall_max).await?;
                Seat::Here(Box::new(instance))
            }
        };
        Ok(TraceSession {
            plugin: self.clone(),
            seat,
            signature: signature.clone(),
            options: options.clone(),
            progress: Progress::Fresh,
            stages: 0,
        })
    }
}

impl TraceSession {
    /// Starts the trace for inputs of these shapes, one for each of the signature in its order, and
    /// compiles its first stage on a thread for blocking work.
    ///
    /// # Errors
    /// As [`Plugin::process`]; [`Cause::BadInput`] if the inputs do not fit the signature,
    /// [`Cause::BadOutput`] if the stage breaks the contract, [`Cause::Host`] if its graph does not
    /// compile or a trace was started already.
    pub fn trace<'a>(
        &'a mut self,
        inputs: &'a [TracedInput],
    ) -> BoxFuture<'a, Result<TracedStage, PluginError>> {
        Box::pin(async move {
            let outline = self.ask_trace(inputs).await?;
            compile(&self.plugin, TRACE, self.options.clone(), outline).await
        })
    }

    /// Goes on with what the last stage wanted to observe, in its order, and compiles the next.
    ///
    /// # Errors
    /// As [`TraceSession::trace`].
    pub fn resume(
        &mut self,
        observed: NamedTensors,
    ) -> BoxFuture<'_, Result<TracedStage, PluginError>> {
        Box::pin(async move {
            let outline = self.ask_resume(observed).await?;
            compile(&self.plugin, RESUME, self.options.clone(), outline).await
        })
    }

    /// As [`TraceSession::trace`], but compiles nothing: the guest must answer `expected` again.
    ///
    /// # Errors
    /// As [`TraceSession::trace`]; [`Cause::BadOutput`] if it answers anything else.
    pub fn replay_trace<'a>(
        &'a mut self,
        inputs: &'a [TracedInput],
        expected: &'a TracedStage,
    ) -> BoxFuture<'a, Result<(), PluginError>> {
        Box::pin(async move {
            let outline = self.ask_trace(inputs).await?;
            self.compare(TRACE, &outline, expected)
        })
    }

    /// As [`TraceSession::resume`], but compiles nothing: the guest must answer `expected` again.
    ///
    /// # Errors
    /// As [`TraceSession::replay_trace`].
    pub fn replay_resume<'a>(
        &'a mut self,
        observed: NamedTensors,
        expected: &'a TracedStage,
    ) -> BoxFuture<'a, Result<(), PluginError>> {
        Box::pin(async move {
            let outline = self.ask_resume(observed).await?;
            self.compare(RESUME, &outline, expected)
        })
    }

    async fn ask_trace(&mut self, inputs: &[TracedInput]) -> Result<Outline, PluginError> {
        let plugin = self.plugin.clone();
        let Progress::Fresh = std::mem::replace(&mut self.progress, Progress::Broken) else {
            return Err(self.out_of_order(TRACE));
        };
        if let Err(message) = check_shapes(&self.signature.inputs, inputs) {
            return Err(plugin.failed(TRACE, Cause::BadInput { message }));
        }
        let signature = self.signature.clone();
        let start = |outline: &Outline| Values::of_inputs(&signature, inputs, outline.batched);
        let instance = match &mut self.seat {
            Seat::Here(instance) => enter(&plugin, instance),
            Seat::Worker(session) => {
                let job = Job::Trace(session.number(), signature.clone(), inputs.to_vec());
                let answer = session.ask(&plugin, job).await;
                let stage = answer.map_err(|failure| plugin.failed_with(TRACE, failure))?;
                let outline = outline_in(&plugin, stage);
                return self
                    .take(outline, None, start)
                    .map_err(|cause| plugin.failed(TRACE, cause));
            }
        };
        let Some(Exports::Tracing { trace, .. }) = plugin.exports() else {
            return Err(plugin.failed(TRACE, plugin.no_such_function(TRACE)));
        };
        let files = granted(instance.store.data());
        let told = inputs.iter().map(|input| exports::TracedInput {
            name: input.name.clone(),
            dtype: dtype_out(input.dtype),
            shape: input.shape.iter().map(|&extent| extent as u64).collect(),
        });
        let arguments = (files, told.collect());
        let (answer,): Staged = plugin.run(TRACE, instance, trace, arguments).await?;
        let outline = take_answer(&plugin, instance, answer);
        self.take(outline, None, start).map_err(|cause| plugin.failed(TRACE, cause))
    }

    async fn ask_resume(&mut self, observed: NamedTensors) -> Result<Outline, PluginError> {
        let plugin = self.plugin.clone();
        let progress = std::mem::replace(&mut self.progress, Progress::Broken);
        let Progress::Waiting(values, wanted) = progress else {
            return Err(self.out_of_order(RESUME));
        };
        if !wanted.iter().eq(observed.iter().map(|(name, _)| name)) {
            return Err(self.out_of_order(RESUME));
        }
        let batched = values.batched();
        let instance = match &mut self.seat {
            Seat::Here(instance) => enter(&plugin, instance),
            Seat::Worker(session) => {
                let job = Job::Resume(session.number(), tensors_out(&observed));
                let answer = session.ask(&plugin, job).await;
                let stage = answer.map_err(|failure| plugin.failed_with(RESUME, failure))?;
                let outline = outline_in(&plugin, stage);
                return self
                    .take(outline, Some(batched), |_| values)
                    .map_err(|cause| plugin.failed(RESUME, cause));
            }
        };
        let Some(Exports::Tracing { resume, .. }) = plugin.exports() else {
            return Err(plugin.failed(RESUME, plugin.no_such_function(RESUME)));
        };
        let limit = plugin.limits().handles_max as u64;
        let table = &mut instance.store.data_mut().table;
        let observed: Result<Vec<NamedInput>, Cause> = observed
            .into_iter()
            .map(|(name, tensor)| {
                let value = table.push(TensorHandle::given(tensor));
                Ok(NamedInput { name, value: value.map_err(|_| Cause::Handles { limit })? })
            })
            .collect();
        let arguments = (observed.map_err(|cause| plugin.failed(RESUME, cause))?,);
        let (answer,): Staged = plugin.run(RESUME, instance, resume, arguments).await?;
        let outline = take_answer(&plugin, instance, answer);
        self.take(outline, Some(batched), |_| values).map_err(|cause| plugin.failed(RESUME, cause))
    }

    /// In a worker: the first stage, for the host to build again.
    ///
    /// # Errors
    /// As [`TraceSession::trace`].
    pub(crate) async fn outline_of_trace(
        &mut self,
        inputs: &[TracedInput],
    ) -> Result<messages::Stage, PluginError> {
        Ok(outline_out(self.ask_trace(inputs).await?))
    }

    /// In a worker: the next stage, for the host to build again.
    ///
    /// # Errors
    /// As [`TraceSession::trace`].
    pub(crate) async fn outline_of_resume(
        &mut self,
        observed: NamedTensors,
    ) -> Result<messages::Stage, PluginError> {
        Ok(outline_out(self.ask_resume(observed).await?))
    }

    /// Holds a stage against the contract and the limits.
    fn take(
        &mut self,
        outline: Result<Outline, Cause>,
        batched: Option<bool>,
        values: impl FnOnce(&Outline) -> Values,
    ) -> Result<Outline, Cause> {
        let outline = outline?;
        let bad = |message| Cause::BadOutput { message };
        let stages_max = self.plugin.limits().trace_stages_max;
        self.stages += 1;
        if self.stages > stages_max {
            return Err(bad(format!("expected a trace of at most {stages_max} stages, got more")));
        }
        if batched.is_some_and(|batched| batched != outline.batched) {
            return Err(bad("expected `batched` to be the same in every stage".into()));
        }
        let mut values = values(&outline);
        for (name, tensor) in &outline.known {
            values.add_known(name, tensor).map_err(bad)?;
        }
        if let Some(graph) = &outline.graph {
            values.add_graph(graph.signature()).map_err(bad)?;
        }
        values.check_observed(&outline.observe).map_err(bad)?;
        self.progress = if outline.observe.is_empty() {
            values.check_outputs(&self.signature.outputs).map_err(bad)?;
            Progress::Complete
        } else {
            Progress::Waiting(values, outline.observe.clone())
        };
        Ok(outline)
    }

    fn compare(
        &mut self,
        function: &'static str,
        outline: &Outline,
        expected: &TracedStage,
    ) -> Result<(), PluginError> {
        let signature = |plan: &Arc<Plan>| plan.signature().clone();
        let same_known = || {
            let pairs = outline.known.iter().zip(&expected.known);
            let mut pairs = pairs
                .map(|((a, x), (b, y))| a == b && x.dtype() == y.dtype() && x.shape() == y.shape());
            outline.known.len() == expected.known.len() && pairs.all(|same| same)
        };
        let graph = outline.graph.as_ref().map(|graph| graph.signature().clone());
        let same = outline.observe == expected.observe
            && (outline.batched, outline.reusable) == (expected.batched, expected.reusable)
            && graph == expected.plan.as_ref().map(signature)
            && same_known();
        if same {
            return Ok(());
        }
        self.progress = Progress::Broken;
        let message = "expected the stage that was called reusable, got another one";
        Err(self.plugin.failed(function, Cause::BadOutput { message: message.into() }))
    }

    fn out_of_order(&self, function: &'static str) -> PluginError {
        let message = "the trace is broken, has ended, or waits for something else";
        self.plugin.failed(function, Cause::Host { message: message.into() })
    }
}

/// Gives the guest the time and the host calls of one call.
fn enter<'a>(plugin: &Plugin, instance: &'a mut Instance) -> &'a mut Instance {
    let deadline = Instant::now() + plugin.limits().trace_wall_max;
    let state = instance.store.data_mut();
    state.context.deadline = deadline;
    Metrics::add(&state.metrics.host_calls, state.host_calls);
    state.host_calls = 0;
    instance
}

/// Takes a stage out of the guest's hands.
fn take_answer(
    plugin: &Plugin,
    instance: &mut Instance,
    answer: Result<Stage, Error>,
) -> Result<Outline, Cause> {
    let stage = answer.map_err(|error| plugin.guest_error(error))?;
    take_stage(instance.store.data_mut(), stage)
}

/// A stage of a worker, its graph built again here.
fn outline_in(plugin: &Plugin, stage: messages::Stage) -> Result<Outline, Cause> {
    let messages::Stage { graph, known, observe, batched, reusable, blocked_by } = stage;
    let graph = graph.map(|record| plugin.replayed(record.0)).transpose()?;
    check_known(known.len())?;
    check_blocked_by(blocked_by.as_deref(), batched)?;
    let known = tensors_in(known);
    let bytes = known.iter().map(|(_, tensor)| tensor.byte_len() as u64).sum();
    check_bytes(bytes, plugin.limits().output_bytes_max)?;
    Ok(Outline { graph, record: Vec::new(), known, observe, batched, reusable, blocked_by })
}

/// In a worker: a stage on its way to the host.
fn outline_out(outline: Outline) -> messages::Stage {
    let Outline { graph, record, known, observe, batched, reusable, blocked_by } = outline;
    let graph = graph.map(|_| Bytes::of(record));
    messages::Stage { graph, known: tensors_out(&known), observe, batched, reusable, blocked_by }
}

fn check_known(got: usize) -> Result<(), Cause> {
    if got > KNOWN_MAX {
        let message = format!("expected at most {KNOWN_MAX} known values in a stage, got {got}");
        return Err(Cause::BadOutput { message });
    }
    Ok(())
}

fn check_blocked_by(text: Option<&str>, batched: bool) -> Result<(), Cause> {
    let message = match text {
        Some(_) if batched => {
            "expected no `blocked-by` of a trace that is batched, got one".to_owned()
        }
        Some(text) if text.len() > BLOCKED_BY_BYTES_MAX => {
            let got = text.len();
            format!("expected a `blocked-by` of at most {BLOCKED_BY_BYTES_MAX} bytes, got {got}")
        }
        Some(_) | None => return Ok(()),
    };
    Err(Cause::BadOutput { message })
}

fn check_bytes(got_bytes: u64, limit_bytes: u64) -> Result<(), Cause> {
    if got_bytes > limit_bytes {
        return Err(Cause::OutputTooLarge { limit_bytes, got_bytes });
    }
    Ok(())
}

/// Compiles the graph of a stage on a thread for blocking work.
async fn compile(
    plugin: &Plugin,
    function: &'static str,
    options: CompileOptions,
    outline: Outline,
) -> Result<TracedStage, PluginError> {
    let Outline { graph, record: _, known, observe, batched, reusable, blocked_by } = outline;
    let plan = match graph {
        Some(graph) => {
            let compile = move || aimass_graph::compile(graph, &options);
            let compiled = match tokio::task::spawn_blocking(compile).await {
                Ok(compiled) => compiled.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let plan = compiled.map_err(|error| {
                let message = format!("the graph of a stage does not compile: {error}");
                plugin.failed(function, Cause::Host { message })
            })?;
            Some(Arc::new(plan))
        }
        None => None,
    };
    Ok(TracedStage { plan, known, observe, batched, reusable, blocked_by })
}

/// Takes graph and tensors out of the guest's table, within the limits.
fn take_stage(state: &mut CallState, stage: Stage) -> Result<Outline, Cause> {
    let host =
        |error: wasmtime::component::ResourceTableError| Cause::Host { message: error.to_string() };
    let (graph, record) = match stage.graph {
        Some(graph) => {
            state.graphs -= 1;
            let made = state.table.delete(graph).map_err(host)?;
            (Some(made.graph), made.record)
        }
        None => (None, Vec::new()),
    };
    check_known(stage.known.len())?;
    let mut known: NamedTensors = Vec::with_capacity(stage.known.len());
    let mut bytes = 0u64;
    for tensor in stage.known {
        let handle = state.table.delete(tensor.value).map_err(host)?;
        bytes = bytes.saturating_add(handle.tensor.byte_len() as u64);
        known.push((tensor.name.into(), handle.tensor));
    }
    check_bytes(bytes, state.limits().output_bytes_max)?;
    let observe = stage.observe.into_iter().map(Arc::from).collect();
    let (batched, reusable) = (stage.batched, stage.reusable);
    check_blocked_by(stage.blocked_by.as_deref(), batched)?;
    let blocked_by = stage.blocked_by.map(Arc::from);
    Ok(Outline { graph, record, known, observe, batched, reusable, blocked_by })
}

fn check_signature(signature: &PluginSignature) -> Result<(), String> {
    if signature.outputs.is_empty() {
        return Err("expected at least one output, got none".into());
    }
    for spec in signature.inputs.iter().chain(&signature.outputs) {
        let name = &spec.name;
        if spec.dtype.is_none() {
            return Err(format!("`{name}`: expected a dtype, got none"));
        }
        for (axis, dim) in spec.dims.iter().flatten().enumerate() {
            match dim {
                Dim::Fixed(_) | Dim::Dynamic(_) => {}
                Dim::Batch if axis == 0 => {}
                Dim::Batch | Dim::Ragged(_) => {
                    return Err(format!("`{name}`: a model that is traced has no {dim} at {axis}"));
                }
            }
        }
    }
    Ok(())
}
