//! A loaded plugin and its calls.

mod graphs;
mod in_worker;
mod warm;

use crate::BoxFuture;
use crate::composition::{Composition, Outside};
use crate::error::{Cause, CauseKind, ErrorFamily, PluginError, SandboxError};
use crate::host_api::HANDLES;
use crate::host_api::files::granted;
use crate::host_api::tensor::TensorHandle;
use crate::instance::{Failure, Instance, Permit, failure};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::package::{PackageInfo, World};
use crate::plans::PlanSet;
use crate::sandbox::Sandbox;
use crate::signature::{NamedTensors, PluginSignature, TENSORS_MAX, check};
use crate::state::{CallContext, CallState};
use crate::worker::messages::Job;
use crate::worker::remote::WorkerPlugin;
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::bindings::types;
use crate::worlds::convert::{check_name, error_in, signature_in};
use crate::worlds::exports::{
    Described, Detected, Export, Exports, Files, Loaded, NamedInput, ProcessArguments, Processed,
};
use aimass_graph::{CompileOptions, Plan};
use aimass_telemetry::call::{in_plugin, room};
use aimass_telemetry::trace::{Attribute, SpanName};
use aimass_trust::{Capability, Grant};
use graphs::{Handles, compile, take_graphs};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{Component, InstancePre};

/// A plugin that is ready to be called, from any task at any time.
pub struct Plugin {
    sandbox: Arc<Sandbox>,
    package: Arc<PackageInfo>,
    body: Body,
    signature: Arc<PluginSignature>,
}

/// Where the instances of a plugin live.
enum Body {
    /// In this process.
    Here { pre: InstancePre<CallState>, exports: Exports },
    /// In worker processes.
    Worker(WorkerPlugin),
}

/// On whose behalf a plugin is called, until when, and with what.
#[derive(Clone)]
pub struct Call {
    /// Who is charged.
    pub tenant: Arc<str>,
    /// When the answer is worth nothing any more.
    pub deadline: Instant,
    /// Plans of the model that the plugin belongs to.
    pub plans: Arc<PlanSet>,
    /// Parameters of the request, by name.
    pub parameters: Vec<(String, Parameter)>,
    /// Other models that it may call, and the client that reads what it emits; the default is neither.
    pub composition: Composition,
}

/// A parameter of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// A truth value.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// Integers.
    Integers(Vec<i64>),
}

/// What a call answers.
#[derive(Debug, Clone)]
pub struct CallResult {
    /// Outputs, in the plugin's order.
    pub outputs: NamedTensors,
    /// What it took.
    pub stats: CallStats,
}

/// What a call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Calls of host functions.
    pub host_calls: u64,
    /// Bytes of log messages.
    pub log_bytes: u64,
    /// Linear memory of the instance at its end, in bytes; it never shrinks during a call.
    pub memory_bytes: u64,
    /// Most host memory that tensors of the call held at once, in bytes. Inputs are not the call's.
    pub host_bytes: u64,
    /// Bytes of all outputs together; of a `load` the bytes of weights that its plans read.
    pub output_bytes: u64,
    /// WebAssembly instructions executed, if the sandbox meters ([`SandboxConfig::metering`]).
    ///
    /// [`SandboxConfig::metering`]: crate::SandboxConfig::metering
    pub instructions: Option<u64>,
    /// From before the instance was made until its outputs were taken.
    pub wall: Duration,
}

/// What a format plugin made of a package's files.
#[derive(Clone)]
pub struct LoadedGraph {
    /// Compiled plans by name; a static model has one, `main`.
    pub plans: Vec<(Arc<str>, Arc<Plan>)>,
    /// Inputs and outputs of the model as a whole.
    pub signature: PluginSignature,
    /// What `load` took, compilation not included.
    pub stats: CallStats,
}

impl Plugin {
    /// Describes the plugin once and checks that its exports have the world's types.
    pub(crate) async fn new(
        sandbox: Arc<Sandbox>,
        package: Arc<PackageInfo>,
        pre: InstancePre<CallState>,
        compiled: &Component,
    ) -> Result<Arc<Plugin>, SandboxError> {
        let exports = Exports::of(compiled, package.world).map_err(|name| {
            let message = format!("expected an exported function `{name}`");
            SandboxError::Refused { plugin: package.name.clone(), code: "export", message }
        })?;
        let body = Body::Here { pre, exports };
        let mut plugin = Plugin { sandbox, package, body, signature: Arc::default() };
        plugin.signature = Arc::new(plugin.describe().await?);
        Ok(Arc::new(plugin))
    }

    /// `publisher/name` of its package.
    pub fn name(&self) -> &Arc<str> {
        &self.package.name
    }

    /// Version of its package.
    pub fn version(&self) -> &Arc<str> {
        &self.package.version
    }

    /// SHA-256 of its component file.
    pub fn digest(&self) -> &[u8; 32] {
        &self.package.digest
    }

    /// The functions of its world; none if they are called in workers.
    pub(crate) fn exports(&self) -> Option<&Exports> {
        match &self.body {
            Body::Here { exports, .. } => Some(exports),
            Body::Worker(_) => None,
        }
    }

    /// Its part in workers, if its instances live there.
    pub(crate) fn remote(&self) -> Option<&WorkerPlugin> {
        match &self.body {
            Body::Here { .. } => None,
            Body::Worker(remote) => Some(remote),
        }
    }

    /// What a call of a worker needs of this side.
    pub(crate) fn sides(&self) -> (&Sandbox, &PackageInfo) {
        (&self.sandbox, &self.package)
    }

    /// Bounds of its calls: the host's, lowered where the manifest asks for less.
    pub fn limits(&self) -> &Limits {
        &self.package.limits
    }

    /// Whether its signed manifest lets it call the model of this serving name, or, for a reference
    /// such as `name@label`, that version of it.
    pub fn may_call(&self, reference: &str) -> bool {
        let name = reference.split('@').next().unwrap_or(reference);
        match self.package.capabilities.get(Capability::Models) {
            Some(Grant::All(_)) => true,
            Some(Grant::Only(names)) => names.iter().any(|own| own == reference || own == name),
            None => false,
        }
    }

    /// Its world.
    pub fn world(&self) -> World {
        self.package.world
    }

    /// Inputs and outputs as it described them for its configuration; empty for the worlds of
    /// formats.
    pub fn signature(&self) -> &PluginSignature {
        &self.signature
    }

    /// Answers one request (worlds `processor` and `model`).
    ///
    /// Inputs are matched with the signature by name; further ones are passed on. Their bytes are
    /// shared with the guest's handles, not copied.
    ///
    /// # Errors
    /// [`PluginError`]; its cause says whether the caller, a limit or the plugin is at fault.
    pub fn process(
        &self,
        call: Call,
        inputs: NamedTensors,
    ) -> BoxFuture<'_, Result<CallResult, PluginError>> {
        Box::pin(async move {
            let attributes = || vec![Attribute::Plugin(self.package.name.clone())];
            let running = pin!(self.process_fresh(call, inputs));
            room(SpanName::Instance, attributes, pin!(in_plugin(running))).await
        })
    }

    async fn process_fresh(
        &self,
        call: Call,
        inputs: NamedTensors,
    ) -> Result<CallResult, PluginError> {
        const FUNCTION: &str = "process";
        let started = Instant::now();
        if let Err(message) = check(&self.signature.inputs, &inputs) {
            return Err(self.failed(FUNCTION, Cause::BadInput { message }));
        }
        let deadline = call.deadline.min(started + self.package.limits.wall_max);
        let context = CallContext { tenant: call.tenant, deadline, plans: call.plans };
        let outside = Outside {
            composition: call.composition,
            outputs: self.signature.clone(),
            window: deadline.saturating_duration_since(started),
            deadline_max: Some(started + self.package.limits.wall_max),
            emitted: 0,
        };
        if let Body::Worker(remote) = &self.body {
            let scope = (context, outside);
            let processed = self.process_remote(remote, scope, call.parameters, inputs);
            let (outputs, stats) =
                Box::pin(processed).await.map_err(|error| self.failed_with(FUNCTION, error))?;
            let stats = CallStats { wall: started.elapsed(), ..stats };
            return Ok(CallResult { outputs, stats });
        }
        let Some(Exports::Process { process, .. }) = self.exports() else {
            return Err(self.failed(FUNCTION, self.no_such_function(FUNCTION)));
        };
        let mut instance = self.instance(FUNCTION, context).await?;
        instance.store.data_mut().outside = outside;
        let before = instance.instructions();
        let arguments = arguments(instance.store.data_mut(), inputs, call.parameters)
            .map_err(|cause| self.failed(FUNCTION, cause))?;
        let (answer,): Processed = self.run(FUNCTION, &mut instance, process, arguments).await?;
        let outputs = answer
            .map_err(|error| self.guest_error(error))
            .and_then(|outputs| self.take_outputs(instance.store.data_mut(), outputs))
            .map_err(|cause| self.failed(FUNCTION, cause))?;
        let mut stats = stats(&instance, before);
        drop(instance);
        stats.output_bytes = outputs.iter().map(|(_, tensor)| tensor.byte_len() as u64).sum();
        stats.wall = started.elapsed();
        Ok(CallResult { outputs, stats })
    }

    /// The format's name if the package's files are of it (worlds of formats).
    ///
    /// # Errors
    /// As [`Plugin::process`].
    pub fn detect(&self) -> BoxFuture<'_, Result<Option<String>, PluginError>> {
        Box::pin(self.ask_format())
    }

    async fn ask_format(&self) -> Result<Option<String>, PluginError> {
        const FUNCTION: &str = "detect";
        if let Body::Worker(_) = &self.body {
            return self.ask(FUNCTION, self.package.limits.wall_max, Job::Detect).await;
        }
        let Some(Exports::Format { detect, .. } | Exports::Tracing { detect, .. }) = self.exports()
        else {
            return Err(self.failed(FUNCTION, self.no_such_function(FUNCTION)));
        };
        let mut instance = self.system_instance(FUNCTION, self.package.limits.wall_max).await?;
        let files: Files = (granted(instance.store.data()),);
        let (name,): Detected = self.run(FUNCTION, &mut instance, detect, files).await?;
        Ok(name)
    }

    /// Builds the graphs of the package's files and compiles them to plans (world `format`).
    ///
    /// Compilation packs weights and can take seconds; it runs on a thread for blocking work.
    ///
    /// # Errors
    /// As [`Plugin::process`]; [`Cause::Host`] if a graph does not compile.
    pub fn load_graph<'a>(
        &'a self,
        options: &'a CompileOptions,
    ) -> BoxFuture<'a, Result<LoadedGraph, PluginError>> {
        Box::pin(self.load_and_compile(options))
    }

    async fn load_and_compile(&self, options: &CompileOptions) -> Result<LoadedGraph, PluginError> {
        const FUNCTION: &str = "load";
        let (graphs, signature, mut stats) = match &self.body {
            Body::Here { .. } => {
                let (graphs, signature, stats) = self.load_handles().await?;
                let graphs = graphs.into_iter().map(|(name, made)| (name, made.graph)).collect();
                (graphs, signature, stats)
            }
            Body::Worker(_) => {
                let wall_max = self.package.limits.load_wall_max;
                let loaded = self.ask(FUNCTION, wall_max, Job::LoadGraphs).await?;
                self.rebuilt(loaded).map_err(|cause| self.failed(FUNCTION, cause))?
            }
        };
        let options = options.clone();
        let compiled = tokio::task::spawn_blocking(move || compile(graphs, &options)).await;
        let compiled =
            compiled.unwrap_or_else(|error| Err(Cause::Host { message: error.to_string() }));
        let plans = compiled.map_err(|cause| self.failed(FUNCTION, cause))?;
        stats.output_bytes = plans.iter().map(|(_, plan)| plan.weights_bytes()).sum();
        Ok(LoadedGraph { plans, signature, stats })
    }

    /// Runs `load` and takes its graphs out of the guest's hands.
    async fn load_handles(&self) -> Result<(Handles, PluginSignature, CallStats), PluginError> {
        const FUNCTION: &str = "load";
        let Some(Exports::Format { load, .. }) = self.exports() else {
            return Err(self.failed(FUNCTION, self.no_such_function(FUNCTION)));
        };
        let started = Instant::now();
        let mut instance =
            self.system_instance(FUNCTION, self.package.limits.load_wall_max).await?;
        let before = instance.instructions();
        let files: Files = (granted(instance.store.data()),);
        let (answer,): Loaded = self.run(FUNCTION, &mut instance, load, files).await?;
        let (graphs, signature) = answer
            .map_err(|error| self.guest_error(error))
            .and_then(|model| take_graphs(instance.store.data_mut(), model))
            .map_err(|cause| self.failed(FUNCTION, cause))?;
        let stats = CallStats { wall: started.elapsed(), ..stats(&instance, before) };
        Ok((graphs, signature, stats))
    }

    async fn describe(&self) -> Result<PluginSignature, SandboxError> {
        const FUNCTION: &str = "describe";
        let wall_max = self.package.limits.init_wall_max;
        let mut instance = self.system_instance(FUNCTION, wall_max).await?;
        let Some(exports) = self.exports() else {
            return Err(self.failed(FUNCTION, self.no_such_function(FUNCTION)).into());
        };
        let typed = exports.check(&mut instance.store, &instance.instance);
        typed.map_err(|error| self.of_another_contract(&error))?;
        let Exports::Process { describe, .. } = exports else {
            return Ok(PluginSignature::default());
        };
        let (signature,): Described = self.run(FUNCTION, &mut instance, describe, ()).await?;
        let signature = signature_in(signature);
        Ok(signature.map_err(|message| self.failed(FUNCTION, Cause::BadOutput { message }))?)
    }

    /// The refusal of a component whose functions have other types than its world here.
    fn of_another_contract(&self, difference: &wasmtime::Error) -> SandboxError {
        let world = self.package.world.as_str();
        let message = format!(
            "its functions have other types than the world {world} of this server's contract \
             ({difference:#}): build it again with this release's SDK and sign it, or run the release \
             that it was built for"
        );
        SandboxError::Refused { plugin: self.package.name.clone(), code: "export", message }
    }

    /// An instance on the server's own behalf.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    pub(crate) async fn system_instance(
        &self,
        function: &'static str,
        wall_max: Duration,
    ) -> Result<Instance, PluginError> {
        self.instance(function, CallContext::system(wall_max)).await
    }

    /// The right to one more live instance of this plugin, counted as a call.
    ///
    /// # Errors
    /// [`Cause::Overloaded`].
    pub(crate) fn permit(&self) -> Result<Permit, Cause> {
        Metrics::add(&self.sandbox.metrics.calls, 1);
        let instances_max = u64::from(self.sandbox.instances_max());
        self.sandbox.permit().ok_or(Cause::Overloaded { instances_max })
    }

    async fn instance(
        &self,
        function: &'static str,
        context: CallContext,
    ) -> Result<Instance, PluginError> {
        let Body::Here { pre, .. } = &self.body else {
            return Err(self.failed(function, self.no_such_function(function)));
        };
        let permit = self.permit().map_err(|cause| self.failed(function, cause))?;
        let fresh = Instance::fresh(&self.sandbox, &self.package, pre, (context, permit));
        fresh
            .await
            .map_err(|(cause, backtrace)| PluginError { backtrace, ..self.failed(function, cause) })
    }

    /// Calls an export of this plugin in an instance of it.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    #[expect(unsafe_code, reason = "types are compared once a component, not once a call")]
    pub(crate) async fn run<A, R>(
        &self,
        function: &'static str,
        instance: &mut Instance,
        export: &Export<A, R>,
        arguments: A,
    ) -> Result<R, PluginError>
    where
        A: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift + 'static,
    {
        // SAFETY: `Plugin::new` gives out no plugin whose exports were not checked, and every
        // instance is of the plugin's one component.
        let called = unsafe { instance.call(export, arguments) };
        called.await.map_err(|error| {
            let (cause, backtrace) = failure(&error, instance.store.data());
            PluginError { backtrace, ..self.failed(function, cause) }
        })
    }

    /// Takes the outputs out of the guest's hands and holds them against description and limits.
    fn take_outputs(
        &self,
        state: &mut CallState,
        outputs: Vec<NamedTensor>,
    ) -> Result<NamedTensors, Cause> {
        let mut tensors: NamedTensors = Vec::with_capacity(outputs.len());
        for output in outputs {
            let handle = state.table.delete(output.value);
            let handle = handle.map_err(|error| Cause::Host { message: error.to_string() })?;
            tensors.push((output.name.into(), handle.tensor));
        }
        self.check_outputs(tensors, state.outside.emitted)
    }

    /// Holds outputs against description and limits, after so many items.
    fn check_outputs(&self, tensors: NamedTensors, emitted: u64) -> Result<NamedTensors, Cause> {
        let bad = |message| Cause::BadOutput { message };
        if tensors.is_empty() && emitted > 0 {
            // All was said in the items before.
            return Ok(tensors);
        }
        if tensors.len() > TENSORS_MAX {
            return Err(bad(format!("expected at most {TENSORS_MAX}, got {}", tensors.len())));
        }
        let mut bytes = 0u64;
        for (at, (name, tensor)) in tensors.iter().enumerate() {
            check_name(name).map_err(bad)?;
            if tensors[..at].iter().any(|(other, _)| other == name) {
                return Err(bad(format!("expected unique names, got `{name}` twice")));
            }
            bytes = bytes.saturating_add(tensor.byte_len() as u64);
        }
        let limit_bytes = self.package.limits.output_bytes_max;
        if bytes > limit_bytes {
            return Err(Cause::OutputTooLarge { limit_bytes, got_bytes: bytes });
        }
        check(&self.signature.outputs, &tensors).map_err(bad)?;
        Ok(tensors)
    }

    /// The guest's error; one that only passes on the host's limit of handles is told as that limit.
    pub(crate) fn guest_error(&self, error: types::Error) -> Cause {
        let error = error_in(error);
        if error.family == ErrorFamily::Limit && error.code == HANDLES {
            return Cause::Handles { limit: self.package.limits.handles_max as u64 };
        }
        Cause::Guest(error)
    }

    /// The cause of calling a function that this plugin's world does not have.
    pub(crate) fn no_such_function(&self, function: &str) -> Cause {
        let world = self.package.world.as_str();
        Cause::Host { message: format!("the world {world} has no {function}") }
    }

    /// An error of this plugin, counted, with where in the guest it came from.
    pub(crate) fn failed_with(
        &self,
        function: &'static str,
        (cause, backtrace): Failure,
    ) -> PluginError {
        PluginError { backtrace, ..self.failed(function, cause) }
    }

    /// An error of this plugin, counted.
    pub(crate) fn failed(&self, function: &'static str, cause: Cause) -> PluginError {
        let kind = cause.kind();
        self.sandbox.metrics.failed(kind);
        let error = self.package.error(function, cause);
        if kind != CauseKind::BadInput && kind != CauseKind::Guest {
            tracing::debug!(%error, "a plugin call failed");
        }
        error
    }
}

/// What an instance used until now; `before` are the instructions that it took to make it.
fn stats(instance: &Instance, before: Option<u64>) -> CallStats {
    let state = instance.store.data();
    let after = instance.instructions();
    CallStats {
        host_calls: state.host_calls,
        log_bytes: state.log_bytes,
        memory_bytes: state.memory.bytes as u64,
        host_bytes: state.host_bytes.peak(),
        instructions: after.zip(before).map(|(after, before)| after - before),
        ..CallStats::default()
    }
}

/// Hands the inputs to the guest.
fn arguments(
    state: &mut CallState,
    inputs: NamedTensors,
    parameters: Vec<(String, Parameter)>,
) -> Result<ProcessArguments, Cause> {
    let limit = state.package.limits.handles_max as u64;
    let inputs = inputs
        .into_iter()
        .map(|(name, tensor)| {
            let value = state.table.push(TensorHandle::given(tensor));
            Ok(NamedInput { name, value: value.map_err(|_| Cause::Handles { limit })? })
        })
        .collect::<Result<_, Cause>>()?;
    let parameters = parameters.into_iter().map(|(name, value)| (name, parameter(value))).collect();
    Ok((inputs, parameters))
}

/// A parameter that a guest gives to another model.
pub(crate) fn parameter_in(parameter: types::Parameter) -> Parameter {
    match parameter {
        types::Parameter::Boolean(value) => Parameter::Boolean(value),
        types::Parameter::Integer(value) => Parameter::Integer(value),
        types::Parameter::Float(value) => Parameter::Float(value),
        types::Parameter::Text(value) => Parameter::Text(value),
        types::Parameter::Integers(values) => Parameter::Integers(values),
    }
}

fn parameter(parameter: Parameter) -> types::Parameter {
    match parameter {
        Parameter::Boolean(value) => types::Parameter::Boolean(value),
        Parameter::Integer(value) => types::Parameter::Integer(value),
        Parameter::Float(value) => types::Parameter::Float(value),
        Parameter::Text(value) => types::Parameter::Text(value),
        Parameter::Integers(values) => types::Parameter::Integers(values),
    }
}
