//! One version loaded by itself, for tools that look into it: what its steps are, what plans it has,
//! what a traced model does with the shapes of one call.
//!
//! Nothing here is served, and nothing here weakens a check: a version is verified and admitted as
//! it is for serving.

use crate::engine::{Inner, metadata};
use crate::errors::of_registry;
use crate::loader::LoadedModel;
use crate::publish::Candidate;
use crate::traced::TracedCall;
use crate::{
    Engine, EngineError, Family, Fixture, InferRequest, InferResponse, ModelMetadata,
    PackageFolder, Selector,
};
use aimass_graph::{Coalescing, Plan};
use aimass_registry::{RegistryError, Selector as RegistrySelector, StagedModel};
use aimass_sandbox::BoxFuture;
use aimass_sandbox::{NamedTensors, PluginSignature};
use aimass_tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Models that an error about an unknown name lists.
const NAMES_MAX: usize = 20;

/// A loaded version.
pub struct OpenModel {
    inner: Arc<Inner>,
    model: Arc<LoadedModel>,
    /// The files of a package that is not published; removed with it.
    _staged: Option<StagedModel>,
}

/// A step of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSummary {
    /// Its name.
    pub name: Arc<str>,
    /// What it runs.
    pub run: StepRun,
}

/// What a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepRun {
    /// A plugin.
    Plugin {
        /// `publisher/name`.
        name: Arc<str>,
    },
    /// A plan that the format plugin built.
    Plan {
        /// Its name.
        name: Arc<str>,
    },
    /// A model that is traced, call by call.
    Traced,
}

/// A stage of a traced model for one call.
pub struct ModelStage {
    /// What runs, if anything.
    pub plan: Option<Arc<Plan>>,
    /// The inputs of the plan, in the order of its signature.
    pub inputs: Vec<Tensor>,
    /// Values that the plugin computed while it traced.
    pub known: NamedTensors,
    /// Values whose content decides how the trace goes on; none in the last stage.
    pub observe: Vec<Arc<str>>,
    /// Whether the stage serves any batch extent.
    pub batched: bool,
    /// Whether other calls of the same shapes and observed content use the stage, too.
    pub reusable: bool,
    /// What keeps the stage from serving any batch extent, in the format plugin's words.
    pub blocked_by: Option<Arc<str>>,
}

impl ModelStage {
    /// Along what calls of a traced model join that take these stages, or what stands in the way: a
    /// node of the model if the plugin names one, else the first plan that runs alone.
    pub fn coalescing(stages: &[ModelStage]) -> Coalescing {
        if let Some(stage) = stages.iter().find(|stage| !stage.batched) {
            let blocked_by = stage.blocked_by.as_deref();
            let blocked_by = blocked_by.unwrap_or("the format plugin, which does not say why");
            return Coalescing::Alone { blocked_by: blocked_by.to_owned() };
        }
        let plans = stages.iter().filter_map(|stage| stage.plan.as_ref());
        let mut alone = plans.map(|plan| plan.coalescing()).filter(|it| **it != Coalescing::Batch);
        alone.next().cloned().unwrap_or(Coalescing::Batch)
    }
}

impl Engine {
    /// Verifies and loads one version of the registry, and no other.
    ///
    /// # Errors
    /// Not found, with the names that exist; else the first check that failed.
    pub fn open_model<'a>(
        &'a self,
        name: &'a str,
        selector: &'a Selector,
    ) -> BoxFuture<'a, Result<OpenModel, EngineError>> {
        Box::pin(self.opened_model(name, selector))
    }

    async fn opened_model(
        &self,
        name: &str,
        selector: &Selector,
    ) -> Result<OpenModel, EngineError> {
        let selector = match selector {
            Selector::Default => RegistrySelector::Default,
            Selector::Newest => RegistrySelector::Newest,
            Selector::Label(label) => RegistrySelector::Label(label.clone()),
            Selector::Version(version) => RegistrySelector::Version(*version),
        };
        // Resolving is cheap and says exactly what is missing; loading takes long.
        if let Err(RegistryError::ModelNotFound { .. }) = self.registry().resolve(name, &selector) {
            return Err(self.no_such_model(name)?);
        }
        let model = self.inner().load_version(name, &selector).await?;
        Ok(OpenModel { inner: self.inner().clone(), model, _staged: None })
    }

    /// Verifies and loads a signed package folder as publishing would, without publishing it.
    ///
    /// # Errors
    /// As [`Engine::publish_model`], except for fixtures, which are not run.
    pub fn open_package<'a>(
        &'a self,
        serving_name: &'a str,
        package: &'a PackageFolder,
        statement: &'a [u8],
    ) -> BoxFuture<'a, Result<OpenModel, EngineError>> {
        Box::pin(self.opened_package(serving_name, package, statement))
    }

    async fn opened_package(
        &self,
        serving_name: &str,
        package: &PackageFolder,
        statement: &[u8],
    ) -> Result<OpenModel, EngineError> {
        let candidate = self.load_candidate(serving_name, package, statement).await?;
        let Candidate { staged, model, .. } = candidate;
        let inner = self.inner().clone();
        Ok(OpenModel { inner, model: Arc::new(model), _staged: Some(staged) })
    }

    fn no_such_model(&self, name: &str) -> Result<EngineError, EngineError> {
        let models = self.registry().models().map_err(|error| of_registry(&error))?;
        let mut names: Vec<&str> = models.iter().map(|model| &*model.name).collect();
        let more = if names.len() > NAMES_MAX { ", …" } else { "" };
        names.truncate(NAMES_MAX);
        let known = match names.is_empty() {
            true => "the registry is empty; publish one with `aimass model add FOLDER`".to_owned(),
            false => format!("there are {}{more}", names.join(", ")),
        };
        let message = format!("there is no model {name:?}; {known}");
        Ok(EngineError::new(Family::NotFound, "not-found", message))
    }
}

impl OpenModel {
    /// What the model takes and gives. Of the versions it names only its own.
    pub fn metadata(&self) -> ModelMetadata {
        metadata(&self.model, vec![self.model.version], BTreeMap::new())
    }

    /// Steps of the pipeline, in order.
    pub fn steps(&self) -> Vec<StepSummary> {
        self.model.pipeline.steps()
    }

    /// Plans that the format plugin built, by name; none of a traced model.
    pub fn plans(&self) -> Vec<(Arc<str>, Arc<Plan>)> {
        let plans = self.model.pipeline.plans();
        let named = plans.names().filter_map(|name| Some((name, plans.get(name)?.clone())));
        named.map(|(name, plan)| (Arc::from(name), plan)).collect()
    }

    /// Inputs and outputs of a traced model; none if the plans are known without a call.
    pub fn traced_signature(&self) -> Option<&PluginSignature> {
        self.model.pipeline.traced().map(|(_, model)| model.signature())
    }

    /// The package's fixtures.
    pub fn fixtures(&self) -> &[Fixture] {
        &self.model.fixtures
    }

    /// The stages of a traced model for one call: inputs in the order of
    /// [`OpenModel::traced_signature`]. All stages are run but the last, since later ones may depend
    /// on what comes out. None if the model is not traced.
    ///
    /// # Errors
    /// Invalid input, and errors of the plugin and of the plans.
    pub fn stages(
        &self,
        inputs: Vec<Tensor>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Vec<ModelStage>, EngineError>> {
        Box::pin(self.run_stages(inputs, deadline))
    }

    async fn run_stages(
        &self,
        inputs: Vec<Tensor>,
        deadline: Instant,
    ) -> Result<Vec<ModelStage>, EngineError> {
        let Some((step, model)) = self.model.pipeline.traced() else { return Ok(Vec::new()) };
        let tenant = Arc::from("local");
        let call = TracedCall { dispatcher: &self.inner.dispatcher, tenant, deadline, step };
        let stages = model.stages(&call, inputs).await?;
        let stage = stages.into_iter().map(|(stage, inputs)| ModelStage {
            plan: stage.plan,
            inputs,
            known: stage.known,
            observe: stage.observe,
            batched: stage.batched,
            reusable: stage.reusable,
            blocked_by: stage.blocked_by,
        });
        Ok(stage.collect())
    }

    /// Answers a request, whose model and version are not looked at.
    ///
    /// # Errors
    /// As [`Engine::infer`].
    pub fn infer(
        &self,
        request: InferRequest,
    ) -> BoxFuture<'_, Result<InferResponse, EngineError>> {
        Box::pin(self.run(request))
    }

    async fn run(&self, request: InferRequest) -> Result<InferResponse, EngineError> {
        let answer = (self.model.name.clone(), self.model.version);
        if self.model.pipeline.calls_models() {
            self.inner.refresh_catalog()?;
        }
        self.model.pipeline.run(&self.inner.host(), request, answer).await
    }
}
