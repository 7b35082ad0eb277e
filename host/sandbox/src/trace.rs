//! Tracing: a live instance that answers the stages of one call, each checked and compiled.

mod values;

use crate::error::{Cause, PluginError};
use crate::host_api::files::granted;
use crate::host_api::tensor::TensorHandle;
use crate::instance::Instance;
use crate::metrics::Metrics;
use crate::plugin::Plugin;
use crate::signature::{NamedTensors, PluginSignature, check_shapes};
use crate::state::CallState;
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
}

/// A live instance in the middle of a trace. It goes with the value.
///
/// Each call of the guest has a deadline of its own ([`Limits::trace_wall_max`](crate::Limits)); the
/// other limits hold for the session as a whole, host calls excepted. A session whose call failed, or
/// was dropped before it answered, answers only errors.
pub struct TraceSession {
    plugin: Arc<Plugin>,
    instance: Instance,
    signature: Arc<PluginSignature>,
    options: CompileOptions,
    progress: Progress,
    stages: usize,
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
    known: NamedTensors,
    observe: Vec<Arc<str>>,
    batched: bool,
    reusable: bool,
}

const TRACE: &str = "trace";
const RESUME: &str = "resume";

impl Plugin {
    /// Inputs and outputs of the model (world `tracing-format`). Every tensor has a dtype, only axis 0
    /// can be `batch`, none is `ragged`, and there is an output.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    pub async fn load_signature(&self) -> Result<PluginSignature, PluginError> {
        const FUNCTION: &str = "load";
        let Exports::Tracing { load, .. } = self.exports() else {
            return Err(self.failed(FUNCTION, self.no_such_function(FUNCTION)));
        };
        let wall_max = self.limits().load_wall_max;
        let mut instance = self.system_instance(FUNCTION, wall_max).await?;
        let files: Files = (granted(instance.store.data()),);
        let (answer,): LoadedSignature = self.run(FUNCTION, &mut instance, load, files).await?;
        let bad = |message| Cause::BadOutput { message };
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
    pub async fn trace_session(
        self: &Arc<Self>,
        signature: &Arc<PluginSignature>,
        options: &CompileOptions,
    ) -> Result<TraceSession, PluginError> {
        let Exports::Tracing { .. } = self.exports() else {
            return Err(self.failed(TRACE, self.no_such_function(TRACE)));
        };
        let instance = self.system_instance(TRACE, self.limits().trace_wall_max).await?;
        Ok(TraceSession {
            plugin: self.clone(),
            instance,
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
    pub async fn trace(&mut self, inputs: &[TracedInput]) -> Result<TracedStage, PluginError> {
        let outline = self.ask_trace(inputs).await?;
        compile(&self.plugin, TRACE, self.options.clone(), outline).await
    }

    /// Goes on with what the last stage wanted to observe, in its order, and compiles the next.
    ///
    /// # Errors
    /// As [`TraceSession::trace`].
    pub async fn resume(&mut self, observed: NamedTensors) -> Result<TracedStage, PluginError> {
        let outline = self.ask_resume(observed).await?;
        compile(&self.plugin, RESUME, self.options.clone(), outline).await
    }

    /// As [`TraceSession::trace`], but compiles nothing: the guest must answer `expected` again.
    ///
    /// # Errors
    /// As [`TraceSession::trace`]; [`Cause::BadOutput`] if it answers anything else.
    pub async fn replay_trace(
        &mut self,
        inputs: &[TracedInput],
        expected: &TracedStage,
    ) -> Result<(), PluginError> {
        let outline = self.ask_trace(inputs).await?;
        self.compare(TRACE, &outline, expected)
    }

    /// As [`TraceSession::resume`], but compiles nothing: the guest must answer `expected` again.
    ///
    /// # Errors
    /// As [`TraceSession::replay_trace`].
    pub async fn replay_resume(
        &mut self,
        observed: NamedTensors,
        expected: &TracedStage,
    ) -> Result<(), PluginError> {
        let outline = self.ask_resume(observed).await?;
        self.compare(RESUME, &outline, expected)
    }

    async fn ask_trace(&mut self, inputs: &[TracedInput]) -> Result<Outline, PluginError> {
        let plugin = self.plugin.clone();
        let Exports::Tracing { trace, .. } = plugin.exports() else {
            return Err(plugin.failed(TRACE, plugin.no_such_function(TRACE)));
        };
        let Progress::Fresh = std::mem::replace(&mut self.progress, Progress::Broken) else {
            return Err(self.out_of_order(TRACE));
        };
        if let Err(message) = check_shapes(&self.signature.inputs, inputs) {
            return Err(plugin.failed(TRACE, Cause::BadInput { message }));
        }
        self.enter();
        let files = granted(self.instance.store.data());
        let told = inputs.iter().map(|input| exports::TracedInput {
            name: input.name.clone(),
            dtype: dtype_out(input.dtype),
            shape: input.shape.iter().map(|&extent| extent as u64).collect(),
        });
        let arguments = (files, told.collect());
        let (answer,): Staged = plugin.run(TRACE, &mut self.instance, trace, arguments).await?;
        let signature = self.signature.clone();
        let start = |stage: &Stage| Values::of_inputs(&signature, inputs, stage.batched);
        self.take(answer, None, start).map_err(|cause| plugin.failed(TRACE, cause))
    }

    async fn ask_resume(&mut self, observed: NamedTensors) -> Result<Outline, PluginError> {
        let plugin = self.plugin.clone();
        let Exports::Tracing { resume, .. } = plugin.exports() else {
            return Err(plugin.failed(RESUME, plugin.no_such_function(RESUME)));
        };
        let progress = std::mem::replace(&mut self.progress, Progress::Broken);
        let Progress::Waiting(values, wanted) = progress else {
            return Err(self.out_of_order(RESUME));
        };
        if !wanted.iter().eq(observed.iter().map(|(name, _)| name)) {
            return Err(self.out_of_order(RESUME));
        }
        self.enter();
        let limit = plugin.limits().handles_max as u64;
        let table = &mut self.instance.store.data_mut().table;
        let observed: Result<Vec<NamedInput>, Cause> = observed
            .into_iter()
            .map(|(name, tensor)| {
                let value = table.push(TensorHandle::given(tensor));
                Ok(NamedInput { name, value: value.map_err(|_| Cause::Handles { limit })? })
            })
            .collect();
        let arguments = (observed.map_err(|cause| plugin.failed(RESUME, cause))?,);
        let (answer,): Staged = plugin.run(RESUME, &mut self.instance, resume, arguments).await?;
        let batched = values.batched();
        self.take(answer, Some(batched), |_| values).map_err(|cause| plugin.failed(RESUME, cause))
    }

    /// Gives the guest the time and the host calls of one call.
    fn enter(&mut self) {
        let deadline = Instant::now() + self.plugin.limits().trace_wall_max;
        let state = self.instance.store.data_mut();
        state.context.deadline = deadline;
        Metrics::add(&state.metrics.host_calls, state.host_calls);
        state.host_calls = 0;
    }

    /// Takes a stage out of the guest's hands and holds it against the contract and the limits.
    fn take(
        &mut self,
        answer: Result<Stage, Error>,
        batched: Option<bool>,
        values: impl FnOnce(&Stage) -> Values,
    ) -> Result<Outline, Cause> {
        let stage = answer.map_err(|error| self.plugin.guest_error(error))?;
        let bad = |message| Cause::BadOutput { message };
        let stages_max = self.plugin.limits().trace_stages_max;
        self.stages += 1;
        if self.stages > stages_max {
            return Err(bad(format!("expected a trace of at most {stages_max} stages, got more")));
        }
        if batched.is_some_and(|batched| batched != stage.batched) {
            return Err(bad("expected `batched` to be the same in every stage".into()));
        }
        let mut values = values(&stage);
        let outline = take_stage(self.instance.store.data_mut(), stage)?;
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

/// Compiles the graph of a stage on a thread for blocking work.
async fn compile(
    plugin: &Plugin,
    function: &'static str,
    options: CompileOptions,
    outline: Outline,
) -> Result<TracedStage, PluginError> {
    let Outline { graph, known, observe, batched, reusable } = outline;
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
    Ok(TracedStage { plan, known, observe, batched, reusable })
}

/// Takes graph and tensors out of the guest's table, within the limits.
fn take_stage(state: &mut CallState, stage: Stage) -> Result<Outline, Cause> {
    let bad = |message| Cause::BadOutput { message };
    let host =
        |error: wasmtime::component::ResourceTableError| Cause::Host { message: error.to_string() };
    let graph = match stage.graph {
        Some(graph) => {
            state.graphs -= 1;
            Some(state.table.delete(graph).map_err(host)?.graph)
        }
        None => None,
    };
    if stage.known.len() > KNOWN_MAX {
        let got = stage.known.len();
        return Err(bad(format!(
            "expected at most {KNOWN_MAX} known values in a stage, got {got}"
        )));
    }
    let mut known: NamedTensors = Vec::with_capacity(stage.known.len());
    let mut bytes = 0u64;
    for tensor in stage.known {
        let handle = state.table.delete(tensor.value).map_err(host)?;
        bytes = bytes.saturating_add(handle.tensor.byte_len() as u64);
        known.push((tensor.name.into(), handle.tensor));
    }
    let limit_bytes = state.limits().output_bytes_max;
    if bytes > limit_bytes {
        return Err(Cause::OutputTooLarge { limit_bytes, got_bytes: bytes });
    }
    let observe = stage.observe.into_iter().map(Arc::from).collect();
    Ok(Outline { graph, known, observe, batched: stage.batched, reusable: stage.reusable })
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
