//! Models whose format plugin traces: stages made when they are first needed, kept by the shapes of
//! the inputs and by what was observed on the way.
//!
//! A request walks down a trie of stages ([`walk`]). Where all stages of its path are kept it never
//! enters the plugin: it looks up, runs plans and adds tensors. Where one is missing, one request
//! ([`flights`]) opens a session, repeats the path so far, and makes the missing stages ([`job`]);
//! the others wait for it. What cannot be made is not tried again for a while ([`failures`]). What is
//! used longest ago goes when a limit is reached ([`trie`]).
//!
//! A stage is a pure function of the shapes and of the observed content, which the plugin promises
//! by calling it reusable; that is why requests of different tenants may share it.

mod failures;
mod flights;
mod inputs;
mod job;
mod names;
mod trie;
mod walk;

pub(crate) use walk::TracedCall;

use crate::EngineError;
use crate::composition::told_guest;
use crate::config::TracedConfig;
use crate::errors::of_plugin;
use crate::metrics::Metrics;
use aimass_dispatch::Dispatcher;
use aimass_graph::CompileOptions;
use aimass_sandbox::{
    Plugin, PluginSignature, TracedAnswer, TracedInput, TracedPlan, TracedPlanCall,
};
use failures::Failures;
use flights::Flights;
use inputs::InputRules;
use job::{Job, Start};
use std::sync::Arc;
use tokio::sync::Semaphore;
use trie::Trie;

/// Name of the step that errors of the format plugin carry.
const STEP: &str = "format";

/// A model whose format plugin traces.
pub(crate) struct TracedModel {
    name: Arc<str>,
    plugin: Arc<Plugin>,
    signature: Arc<PluginSignature>,
    rules: InputRules,
    options: CompileOptions,
    config: TracedConfig,
    trie: Trie,
    flights: Arc<Flights>,
    failures: Failures,
    /// Guest calls and compilations at once.
    tracers: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A traced model as its package's glue runs it: with a dispatcher, and with errors for a guest.
pub(crate) struct TracedForGlue {
    pub(crate) model: Arc<TracedModel>,
    pub(crate) dispatcher: Arc<Dispatcher>,
}

impl TracedPlan for TracedForGlue {
    fn signature(&self) -> &PluginSignature {
        self.model.signature()
    }

    fn run(&self, call: TracedPlanCall) -> TracedAnswer<'_> {
        Box::pin(async move {
            let (tenant, deadline) = (call.tenant, call.deadline);
            let scope = TracedCall { dispatcher: &self.dispatcher, tenant, deadline, step: STEP };
            let answer = self.model.run(&scope, call.inputs).await;
            answer.map_err(|error| told_guest(&error))
        })
    }
}

/// What a traced model is made with.
pub(crate) struct TracedSetup {
    /// Serving name, for metrics.
    pub(crate) name: Arc<str>,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) options: CompileOptions,
    pub(crate) config: TracedConfig,
    pub(crate) metrics: Arc<Metrics>,
}

impl TracedModel {
    /// Asks the plugin for the signature. Where all shapes are known but for the batch, the first
    /// stage of a batch of 1 is made at once, so that weights are packed and errors come to light
    /// before the model is ready.
    ///
    /// # Errors
    /// The plugin's.
    pub(crate) async fn load(setup: TracedSetup) -> Result<Arc<TracedModel>, EngineError> {
        let signature = setup.plugin.load_signature().await;
        let signature = signature.map_err(|error| of_plugin(STEP, &error))?;
        let rules = InputRules::of(&signature);
        let model = Arc::new(TracedModel {
            name: setup.name,
            plugin: setup.plugin,
            signature: Arc::new(signature),
            rules,
            options: setup.options,
            trie: Trie::new(&setup.config),
            flights: Arc::default(),
            failures: Failures::new(setup.config.failures_max, setup.config.failure_kept),
            tracers: Arc::new(Semaphore::new(setup.config.traces_max.max(1))),
            config: setup.config,
            metrics: setup.metrics,
        });
        if let Some(shapes) = model.rules.shapes_of_batch_one() {
            let digest = model.trie.shapes_digest(&model.rules, shapes.iter());
            let start = Start::Fresh { inputs: model.told(&shapes), replay: Vec::new() };
            Job::first(model.clone(), digest, shapes, start).run().await?;
        }
        Ok(model)
    }

    /// Inputs and outputs of the model.
    pub(crate) fn signature(&self) -> &PluginSignature {
        &self.signature
    }

    fn told(&self, shapes: &[aimass_tensor::Shape]) -> Vec<TracedInput> {
        let specs = self.rules.names_and_dtypes();
        let inputs = specs.zip(shapes);
        inputs
            .map(|((name, dtype), shape)| TracedInput { name: name.clone(), dtype, shape: *shape })
            .collect()
    }
}
