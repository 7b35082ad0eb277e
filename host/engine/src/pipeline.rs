//! Room 3: the pinned version's steps, run in order over named tensors.

use crate::composition::{Scope, StepModels};
use crate::engine::Inner;
use crate::opened::{StepRun, StepSummary};
use crate::package::{ModelManifest, PortDim, port_dtype};
use crate::streaming::{StepItems, sum};
use crate::traced::{TracedCall, TracedModel};
use crate::{EngineError, Family, InferRequest, InferResponse, Parameter, TensorMetadata, Usage};
use aimass_dispatch::PlanCall;
use aimass_graph::Plan;
use aimass_sandbox::{Call, Composition, ItemSink, ModelCaller, PlanSet, Plugin, World};
use aimass_telemetry::call::room;
use aimass_telemetry::trace::{Attribute, SpanName};
use aimass_tensor::{DType, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A model's steps with every name resolved to a slot.
pub(crate) struct Pipeline {
    inputs: Vec<Port>,
    steps: Vec<Step>,
    outputs: Vec<OutputPort>,
    slots: usize,
    token_slot: Option<usize>,
    plans: Arc<PlanSet>,
    plugins: Arc<[Arc<str>]>,
}

struct Port {
    name: Arc<str>,
    dtype: Option<DType>,
    shape: Option<Vec<PortDim>>,
}

struct OutputPort {
    port: Port,
    slot: usize,
}

struct Step {
    name: Arc<str>,
    run: Run,
    /// Name that the step knows the input by, and the slot that it reads.
    inputs: Vec<(Arc<str>, usize)>,
    /// Outputs that somebody reads, and the slot that they fill.
    outputs: Vec<(Arc<str>, usize)>,
    /// Models that the plugin may call.
    models: Arc<[String]>,
}

enum Run {
    Plugin(Arc<Plugin>),
    Plan(Arc<Plan>),
    Traced(Arc<TracedModel>),
}

/// What the steps run: plugins by step name, plans by plan name, or instead of plans a model that is
/// traced, as the plan `main`.
pub(crate) struct Parts {
    pub(crate) plugins: HashMap<String, Arc<Plugin>>,
    pub(crate) plans: Vec<(Arc<str>, Arc<Plan>)>,
    pub(crate) traced: Option<Arc<TracedModel>>,
    pub(crate) plan_set: Arc<PlanSet>,
}

impl Pipeline {
    /// The plans that steps and glue may run.
    pub(crate) fn plans(&self) -> &PlanSet {
        &self.plans
    }

    /// Resolves every reference of a checked manifest.
    ///
    /// # Errors
    /// A package error naming the step if a plan, or an input of a plan, does not exist.
    pub(crate) fn build(manifest: &ModelManifest, parts: &Parts) -> Result<Pipeline, EngineError> {
        let mut slots: HashMap<String, usize> = HashMap::new();
        for input in &manifest.inputs {
            let next = slots.len();
            slots.insert(input.name.clone(), next);
        }
        let references = manifest
            .steps
            .iter()
            .flat_map(|step| step.inputs.iter().flat_map(BTreeMap::values))
            .chain(manifest.outputs.iter().map(|output| &output.from))
            .chain(&manifest.usage.tokens);
        for reference in references {
            let next = slots.len();
            slots.entry(reference.clone()).or_insert(next);
        }
        let steps: Result<Vec<Step>, EngineError> =
            manifest.steps.iter().map(|step| build_step(manifest, step, parts, &slots)).collect();
        let outputs = manifest.outputs.iter().map(|output| OutputPort {
            port: port(&output.name, &output.dtype, &output.shape),
            slot: slots[&output.from],
        });
        let plugins = parts_in_order(manifest, parts);
        Ok(Pipeline {
            plugins,
            inputs: manifest
                .inputs
                .iter()
                .map(|input| port(&input.name, &input.dtype, &input.shape))
                .collect(),
            steps: steps?,
            outputs: outputs.collect(),
            token_slot: manifest.usage.tokens.as_ref().map(|source| slots[source]),
            slots: slots.len(),
            plans: parts.plan_set.clone(),
        })
    }

    /// Inputs as clients see them.
    pub(crate) fn input_metadata(&self) -> Vec<TensorMetadata> {
        self.inputs.iter().map(metadata).collect()
    }

    /// Outputs as clients see them.
    pub(crate) fn output_metadata(&self) -> Vec<TensorMetadata> {
        self.outputs.iter().map(|output| metadata(&output.port)).collect()
    }

    /// Plugins of the steps, as `publisher/name@version`, in order.
    pub(crate) fn plugins(&self) -> &Arc<[Arc<str>]> {
        &self.plugins
    }

    /// Whether a step may call other models.
    pub(crate) fn calls_models(&self) -> bool {
        self.steps.iter().any(|step| !step.models.is_empty())
    }

    /// What each step runs, in order.
    pub(crate) fn steps(&self) -> Vec<StepSummary> {
        let summary = |step: &Step| {
            let run = match &step.run {
                Run::Plugin(plugin) => StepRun::Plugin { name: plugin.name().clone() },
                Run::Plan(plan) => {
                    let named = self.plans.names().find(|name| {
                        self.plans.get(name).is_some_and(|known| Arc::ptr_eq(known, plan))
                    });
                    StepRun::Plan { name: Arc::from(named.unwrap_or_default()) }
                }
                Run::Traced(_) => StepRun::Traced,
            };
            StepSummary { name: step.name.clone(), run }
        };
        self.steps.iter().map(summary).collect()
    }

    /// Steps from the first that runs a plan to the last; all of them if none does.
    pub(crate) fn plan_steps(&self) -> Range<usize> {
        let runs_plan = |step: &Step| match step.run {
            Run::Plan(_) | Run::Traced(_) => true,
            Run::Plugin(_) => false,
        };
        match self.steps.iter().position(runs_plan) {
            Some(first) => {
                let last = self.steps.iter().rposition(runs_plan).unwrap_or(first);
                first..last + 1
            }
            None => 0..self.steps.len(),
        }
    }

    /// The step that runs a traced model, and the model.
    pub(crate) fn traced(&self) -> Option<(&Arc<str>, &Arc<TracedModel>)> {
        self.steps.iter().find_map(|step| match &step.run {
            Run::Traced(model) => Some((&step.name, model)),
            Run::Plugin(_) | Run::Plan(_) => None,
        })
    }

    /// Runs one request through every step.
    ///
    /// # Errors
    /// The first step's error, which names the step and the plugin.
    pub(crate) async fn run(
        &self,
        host: &Host<'_>,
        request: InferRequest,
        answer: (Arc<str>, u64),
    ) -> Result<InferResponse, EngineError> {
        let wanted = self.wanted(&request.outputs)?;
        let mut values: Vec<Option<Tensor>> = vec![None; self.slots];
        self.bind_inputs(request.inputs, &mut values)?;
        let mut call = CallScope {
            host,
            answer: &answer,
            wanted: &wanted,
            token_slot: self.token_slot,
            tenant: request.tenant,
            window: request.deadline.saturating_duration_since(Instant::now()),
            deadline: request.deadline,
            parameters: request.parameters.into_iter().map(parameter).collect(),
            plans: &self.plans,
        };
        let mut rooms = Vec::with_capacity(self.steps.len());
        let mut emitted = false;
        for step in &self.steps {
            let start = Instant::now();
            let attributes = || vec![Attribute::Step(step.name.clone())];
            if room(SpanName::Step, attributes, pin!(step.run(&call, &mut values))).await? {
                emitted = true;
                call.deadline = call.deadline.max(Instant::now() + call.window);
            }
            rooms.push((step.name.clone(), start.elapsed()));
        }
        let usage = Usage { tokens: self.token_slot.and_then(|slot| sum(values[slot].as_ref()?)) };
        let mut outputs = Vec::with_capacity(wanted.len());
        for output in wanted {
            match values[output.slot].clone() {
                Some(value) => outputs.push((output.port.name.clone(), value)),
                // It came in the items.
                None if emitted => {}
                None => return Err(missing_output(output)),
            }
        }
        let (model, version) = answer;
        Ok(InferResponse { model, version, outputs, usage, rooms })
    }

    fn wanted(&self, names: &[String]) -> Result<Vec<&OutputPort>, EngineError> {
        if names.is_empty() {
            return Ok(self.outputs.iter().collect());
        }
        let find = |name: &String| {
            self.outputs.iter().find(|output| *output.port.name == **name).ok_or_else(|| {
                let known: Vec<&str> = self.outputs.iter().map(|o| &*o.port.name).collect();
                EngineError::new(
                    Family::InvalidInput,
                    "unknown-output",
                    format!("there is no output {name:?}; the model has {}", known.join(", ")),
                )
            })
        };
        names.iter().map(find).collect()
    }

    fn bind_inputs(
        &self,
        inputs: Vec<(String, Tensor)>,
        values: &mut [Option<Tensor>],
    ) -> Result<(), EngineError> {
        let mut extents: HashMap<&str, usize> = HashMap::new();
        for (name, tensor) in inputs {
            let Some(index) = self.inputs.iter().position(|port| *port.name == *name) else {
                let known: Vec<&str> = self.inputs.iter().map(|port| &*port.name).collect();
                return Err(input_error(format!(
                    "unexpected input {name:?}; the model takes {}",
                    known.join(", ")
                )));
            };
            let port = &self.inputs[index];
            port.check(&tensor, &mut extents)?;
            if values[index].replace(tensor).is_some() {
                return Err(input_error(format!("input {name:?} came twice")));
            }
        }
        match self.inputs.iter().zip(values.iter()).find(|(_, value)| value.is_none()) {
            Some((port, _)) => Err(input_error(format!("input {:?} is missing", port.name))),
            None => Ok(()),
        }
    }
}

impl Port {
    fn check<'a>(
        &'a self,
        tensor: &Tensor,
        extents: &mut HashMap<&'a str, usize>,
    ) -> Result<(), EngineError> {
        let name = &self.name;
        if let Some(dtype) = self.dtype.filter(|&dtype| dtype != tensor.dtype()) {
            return Err(input_error(format!(
                "input {name:?} takes {}, got {}",
                dtype.oip_name().unwrap_or(dtype.name()),
                tensor.dtype().oip_name().unwrap_or(tensor.dtype().name()),
            )));
        }
        let Some(dims) = &self.shape else { return Ok(()) };
        let shape = tensor.shape();
        let fits = dims.len() == shape.rank()
            && dims.iter().zip(shape.iter()).all(|(dim, &extent)| match dim {
                PortDim::Fixed(fixed) => *fixed == extent as u64,
                PortDim::Named(named) => *extents.entry(named).or_insert(extent) == extent,
            });
        if fits {
            return Ok(());
        }
        Err(input_error(format!("input {name:?} takes shape [{}], got {shape}", dims_text(dims))))
    }
}

/// What a pipeline runs on.
pub(crate) struct Host<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) scope: Scope,
}

struct CallScope<'a> {
    host: &'a Host<'a>,
    /// Model and version that answer.
    answer: &'a (Arc<str>, u64),
    wanted: &'a [&'a OutputPort],
    token_slot: Option<usize>,
    tenant: Arc<str>,
    /// Time that an item of a stream gives the steps that follow.
    window: Duration,
    deadline: Instant,
    parameters: Vec<(String, aimass_sandbox::Parameter)>,
    plans: &'a Arc<PlanSet>,
}

impl Step {
    /// Runs the step; whether it emitted items.
    async fn run(
        &self,
        scope: &CallScope<'_>,
        values: &mut [Option<Tensor>],
    ) -> Result<bool, EngineError> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (name, slot) in &self.inputs {
            let value = values[*slot].clone().ok_or_else(|| self.missing_input(name))?;
            inputs.push((name.clone(), value));
        }
        let inner = scope.host.inner;
        match &self.run {
            Run::Plugin(plugin) => {
                let items = self.items(scope);
                let call = Call {
                    tenant: scope.tenant.clone(),
                    deadline: scope.deadline,
                    plans: scope.plans.clone(),
                    parameters: scope.parameters.clone(),
                    composition: Composition {
                        models: (plugin.world() == World::Model).then(|| self.callable(scope)),
                        items: items.clone().map(|items| items as Arc<dyn ItemSink>),
                    },
                };
                let answer = plugin.process(call, inputs).await;
                let answer = answer.map_err(|error| {
                    inner.metrics.plugin_failed(plugin.name(), error.cause.kind().as_str());
                    crate::errors::of_plugin(&self.name, &error)
                })?;
                self.fill(answer.outputs.iter().map(|(name, x)| (name, x.clone())), values);
                return Ok(items.is_some_and(|items| items.emitted.load(Ordering::Relaxed)));
            }
            Run::Plan(plan) => {
                let call = PlanCall {
                    plan: plan.clone(),
                    inputs: inputs.into_iter().map(|(_, tensor)| tensor).collect(),
                    tenant: scope.tenant.clone(),
                    deadline: scope.deadline,
                    slot: None,
                };
                let answer = inner.dispatcher.call(call).await;
                let answer =
                    answer.map_err(|error| crate::errors::of_dispatch(&self.name, &error))?;
                let names = plan.signature().outputs.iter().map(|spec| &spec.name);
                self.fill(names.zip(answer.outputs), values);
            }
            Run::Traced(model) => {
                let call = TracedCall {
                    dispatcher: &inner.dispatcher,
                    tenant: scope.tenant.clone(),
                    deadline: scope.deadline,
                    step: &self.name,
                };
                let inputs = inputs.into_iter().map(|(_, tensor)| tensor).collect();
                let outputs = Box::pin(model.run(&call, inputs)).await?;
                let names = model.signature().outputs.iter().map(|spec| &spec.name);
                self.fill(names.zip(outputs), values);
            }
        }
        Ok(false)
    }

    /// The models that the step's plugin may call in this request. Plugins of other worlds have no words
    /// to ask for any.
    fn callable(&self, scope: &CallScope<'_>) -> Arc<dyn ModelCaller> {
        let host = scope.host;
        Arc::new(StepModels {
            inner: host.inner.clone(),
            granted: self.models.clone(),
            ancestry: host.scope.ancestry.with(&scope.answer.0),
            tenant: scope.tenant.clone(),
        })
    }

    /// Where the step's items go, if the request reads a stream.
    fn items(&self, scope: &CallScope<'_>) -> Option<Arc<StepItems>> {
        let sender = scope.host.scope.items.clone()?;
        let of_slot = |slot: usize| {
            let (name, _) = self.outputs.iter().find(|(_, own)| *own == slot)?;
            Some(name.clone())
        };
        let outputs = scope
            .wanted
            .iter()
            .filter_map(|output| Some((output.port.name.clone(), of_slot(output.slot)?)));
        let (model, version) = scope.answer.clone();
        Some(Arc::new(StepItems {
            sender,
            model,
            version,
            outputs: outputs.collect(),
            tokens: scope.token_slot.and_then(of_slot),
            ancestry: scope.host.scope.ancestry.clone(),
            emitted: AtomicBool::new(false),
        }))
    }

    /// Puts outputs where somebody reads them.
    fn fill<'a>(
        &self,
        outputs: impl Iterator<Item = (&'a Arc<str>, Tensor)>,
        values: &mut [Option<Tensor>],
    ) {
        for (name, tensor) in outputs {
            if let Some((_, slot)) = self.outputs.iter().find(|(own, _)| own == name) {
                values[*slot] = Some(tensor);
            }
        }
    }

    fn missing_input(&self, name: &str) -> EngineError {
        EngineError::new(
            Family::Plugin,
            "missing-output",
            format!("step {}: nothing came for its input {name}", self.name),
        )
    }
}

fn parts_in_order(manifest: &ModelManifest, parts: &Parts) -> Arc<[Arc<str>]> {
    let plugins = manifest.steps.iter().filter_map(|step| parts.plugins.get(&step.name));
    plugins.map(|plugin| format!("{}@{}", plugin.name(), plugin.version()).into()).collect()
}

fn build_step(
    manifest: &ModelManifest,
    step: &crate::package::Step,
    parts: &Parts,
    slots: &HashMap<String, usize>,
) -> Result<Step, EngineError> {
    let same_names = || manifest.inputs.iter().map(|i| (i.name.clone(), i.name.clone())).collect();
    let wiring: BTreeMap<String, String> = step.inputs.clone().unwrap_or_else(same_names);
    let mut inputs: Vec<(Arc<str>, usize)> =
        wiring.iter().map(|(name, source)| (Arc::from(&**name), slots[source])).collect();
    let run = match (&step.plugin, &step.plan) {
        (Some(_), _) => Run::Plugin(parts.plugins[&step.name].clone()),
        (None, plan) => {
            let name = plan.as_deref().unwrap_or("main");
            let run = find_plan(&step.name, name, parts)?;
            inputs = in_signature_order(&step.name, &run, inputs)?;
            run
        }
    };
    if let Run::Plugin(plugin) = &run {
        check_models(step, plugin)?;
    }
    let prefix = format!("{}.", step.name);
    let outputs = slots
        .iter()
        .filter_map(|(source, slot)| Some((Arc::from(source.strip_prefix(&prefix)?), *slot)))
        .collect();
    let models = step.models.clone().into();
    Ok(Step { name: Arc::from(&*step.name), run, inputs, outputs, models })
}

/// Both must agree: the package that names the models, and the plugin's signed manifest.
fn check_models(step: &crate::package::Step, plugin: &Plugin) -> Result<(), EngineError> {
    if step.models.is_empty() {
        return Ok(());
    }
    let refused =
        |reason: String| Err(package_error(format!("step {}, `models`: {reason}", step.name)));
    if plugin.world() != World::Model {
        let (name, world) = (plugin.name(), plugin.world());
        return refused(format!(
            "plugin {name} is of the world {world}; only `model` calls models"
        ));
    }
    match step.models.iter().find(|model| !plugin.may_call(model)) {
        Some(model) => refused(format!(
            "the signed manifest of plugin {} does not let it call {model}; give it the capability \
             `models` with that name, or for every model",
            plugin.name()
        )),
        None => Ok(()),
    }
}

fn find_plan(step: &str, name: &str, parts: &Parts) -> Result<Run, EngineError> {
    if let Some((_, plan)) = parts.plans.iter().find(|(own, _)| **own == *name) {
        return Ok(Run::Plan(plan.clone()));
    }
    if let Some(model) = parts.traced.as_ref().filter(|_| name == "main") {
        return Ok(Run::Traced(model.clone()));
    }
    let traced = parts.traced.iter().map(|_| "main");
    let known: Vec<&str> = parts.plans.iter().map(|(own, _)| &**own).chain(traced).collect();
    Err(package_error(format!(
        "step {step} runs plan {name}, but the format plugin built {}",
        known.join(", ")
    )))
}

fn in_signature_order(
    step: &str,
    run: &Run,
    inputs: Vec<(Arc<str>, usize)>,
) -> Result<Vec<(Arc<str>, usize)>, EngineError> {
    let names: Vec<&str> = match run {
        Run::Plan(plan) => plan.signature().inputs.iter().map(|spec| &*spec.name).collect(),
        Run::Traced(model) => model.signature().inputs.iter().map(|spec| &*spec.name).collect(),
        Run::Plugin(_) => return Ok(inputs),
    };
    if let Some((extra, _)) = inputs.iter().find(|(name, _)| !names.contains(&&**name)) {
        return Err(package_error(format!(
            "step {step} feeds input {extra}, but its plan takes {}",
            names.join(", ")
        )));
    }
    let ordered = names.iter().map(|wanted| {
        let found = inputs.iter().find(|(name, _)| **name == **wanted).cloned();
        found.ok_or_else(|| {
            package_error(format!("step {step} does not feed its plan's input {wanted}"))
        })
    });
    ordered.collect()
}

fn port(name: &str, dtype: &str, shape: &Option<Vec<PortDim>>) -> Port {
    Port { name: Arc::from(name), dtype: port_dtype(dtype), shape: shape.clone() }
}

fn metadata(port: &Port) -> TensorMetadata {
    let extent = |dim: &PortDim| match dim {
        PortDim::Fixed(fixed) => i64::try_from(*fixed).unwrap_or(i64::MAX),
        PortDim::Named(_) => -1,
    };
    let shape = port.shape.as_ref().map(|dims| dims.iter().map(extent).collect());
    TensorMetadata { name: port.name.clone(), dtype: port.dtype, shape }
}

fn dims_text(dims: &[PortDim]) -> String {
    let texts: Vec<String> = dims
        .iter()
        .map(|dim| match dim {
            PortDim::Fixed(fixed) => fixed.to_string(),
            PortDim::Named(name) => name.clone(),
        })
        .collect();
    texts.join(", ")
}

fn parameter((name, value): (String, Parameter)) -> (String, aimass_sandbox::Parameter) {
    let value = match value {
        Parameter::Bool(value) => aimass_sandbox::Parameter::Boolean(value),
        Parameter::Int(value) => aimass_sandbox::Parameter::Integer(value),
        Parameter::Float(value) => aimass_sandbox::Parameter::Float(value),
        Parameter::Text(value) => aimass_sandbox::Parameter::Text(value),
    };
    (name, value)
}

fn missing_output(output: &OutputPort) -> EngineError {
    EngineError::new(
        Family::Plugin,
        "missing-output",
        format!("no step gave the model's output {}", output.port.name),
    )
}

fn input_error(message: String) -> EngineError {
    EngineError::new(Family::InvalidInput, "wrong-input", message)
}

fn package_error(message: String) -> EngineError {
    EngineError::new(Family::PackageRefused, "model-package", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(port: &Port, shape: &[usize]) -> Result<(), String> {
        let tensor = Tensor::from_slice(shape, &vec![0f32; shape.iter().product()]).unwrap();
        port.check(&tensor, &mut HashMap::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn ports_check_dtype_rank_and_extents() {
        let shape = Some(vec![PortDim::Named("batch".into()), PortDim::Fixed(3)]);
        let floats = port("x", "FP32", &shape);
        assert!(check(&floats, &[5, 3]).is_ok());
        let text = check(&floats, &[5, 4]).unwrap_err();
        assert!(text.contains("[batch, 3]") && text.contains("[5, 4]"), "{text}");
        assert!(check(&floats, &[3]).is_err());
        let ints = port("x", "INT32", &None);
        let text = check(&ints, &[1]).unwrap_err();
        assert!(text.contains("INT32") && text.contains("FP32"), "{text}");
        assert!(check(&port("x", "ANY", &None), &[1, 2, 3]).is_ok());
    }

    #[test]
    fn equal_names_mean_equal_extents() {
        let square = Some(vec![PortDim::Named("n".into()), PortDim::Named("n".into())]);
        assert!(check(&port("x", "FP32", &square), &[4, 4]).is_ok());
        assert!(check(&port("x", "FP32", &square), &[4, 5]).is_err());
    }
}
