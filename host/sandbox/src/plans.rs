//! The compiled plans of one model version, as its plugins find them by name.

use crate::BoxFuture;
use crate::error::GuestError;
use crate::signature::PluginSignature;
use crate::worker::link::RemotePlans;
use aimass_graph::{Plan, Signature};
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::time::Instant;

/// Name of the plan that a traced model is.
pub(crate) const TRACED: &str = "main";

/// Plans by name, and the model version whose states they keep.
#[derive(Clone, Default)]
pub struct PlanSet {
    model_version: Arc<str>,
    plans: Vec<(Arc<str>, Arc<Plan>)>,
    traced: Option<Arc<dyn TracedPlan>>,
    /// In a worker: plans that the host holds.
    remote: Option<Arc<RemotePlans>>,
}

/// A model that is traced, call by call, as its glue finds it: the plan `main`.
pub trait TracedPlan: Send + Sync {
    /// Its inputs and outputs.
    fn signature(&self) -> &PluginSignature;

    /// Runs it; outputs come in the signature's order. Dropping the future cancels it.
    fn run(&self, call: TracedPlanCall) -> TracedAnswer<'_>;
}

/// The answer of [`TracedPlan::run`], later: outputs in order, or what the guest is told.
pub type TracedAnswer<'a> = BoxFuture<'a, Result<Vec<Tensor>, GuestError>>;

/// A call of a traced model.
pub struct TracedPlanCall {
    /// Inputs in the signature's order.
    pub inputs: Vec<Tensor>,
    /// Who is charged.
    pub tenant: Arc<str>,
    /// When the answer is worth nothing any more.
    pub deadline: Instant,
}

impl PlanSet {
    /// The plans of this version of a model.
    pub fn new(model: &str, version: u64, plans: Vec<(Arc<str>, Arc<Plan>)>) -> PlanSet {
        let model_version = format!("{model}@{version}").into();
        PlanSet { model_version, plans, traced: None, remote: None }
    }

    /// The same with a model that is traced as the plan `main`.
    #[must_use]
    pub fn with_traced(self, traced: Option<Arc<dyn TracedPlan>>) -> PlanSet {
        PlanSet { traced, ..self }
    }

    /// In a worker: plans that the host holds.
    pub(crate) fn remote(model_version: Arc<str>, plans: RemotePlans) -> PlanSet {
        PlanSet { model_version, plans: Vec::new(), traced: None, remote: Some(Arc::new(plans)) }
    }

    /// The plan of this name that the host of this worker holds: its place and its signature.
    pub(crate) fn get_remote(&self, name: &str) -> Option<(u32, Arc<Signature>)> {
        let plans = &self.remote.as_ref()?.plans;
        let at = plans.iter().position(|(known, _)| **known == *name)?;
        Some((u32::try_from(at).ok()?, plans[at].1.clone()))
    }

    /// All plans, in their order.
    pub(crate) fn list(&self) -> &[(Arc<str>, Arc<Plan>)] {
        &self.plans
    }

    /// No plans: for plugins that belong to no model.
    pub fn empty() -> PlanSet {
        PlanSet::default()
    }

    /// The plan of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Plan>> {
        self.plans.iter().find(|(known, _)| **known == *name).map(|(_, plan)| plan)
    }

    /// The model that is traced, if this is its name.
    pub(crate) fn traced(&self, name: &str) -> Option<&Arc<dyn TracedPlan>> {
        self.traced.as_ref().filter(|_| name == TRACED)
    }

    /// The signature of the model that the host of this worker traces, if this is its name.
    pub(crate) fn traced_remote(&self, name: &str) -> Option<&Arc<PluginSignature>> {
        self.remote.as_ref()?.traced.as_ref().filter(|_| name == TRACED)
    }

    /// Names of everything that a guest finds here.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = &str> {
        let traced = self.traced.is_some() || self.traced_remote(TRACED).is_some();
        self.names().chain(traced.then_some(TRACED))
    }

    /// Names of all plans that are compiled once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let remote = self.remote.iter().flat_map(|remote| &remote.plans);
        let remote = remote.map(|(name, _)| &**name);
        self.plans.iter().map(|(name, _)| &**name).chain(remote)
    }

    /// `name@version` of the model.
    pub fn model_version(&self) -> &Arc<str> {
        &self.model_version
    }
}
