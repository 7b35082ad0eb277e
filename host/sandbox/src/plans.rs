//! The compiled plans of one model version, as its plugins find them by name.

use crate::worker::link::RemotePlans;
use aimass_graph::{Plan, Signature};
use std::sync::Arc;

/// Plans by name, and the model version whose states they keep.
#[derive(Clone, Default)]
pub struct PlanSet {
    model_version: Arc<str>,
    plans: Vec<(Arc<str>, Arc<Plan>)>,
    /// In a worker: plans that the host holds.
    remote: Option<Arc<RemotePlans>>,
}

impl PlanSet {
    /// The plans of this version of a model.
    pub fn new(model: &str, version: u64, plans: Vec<(Arc<str>, Arc<Plan>)>) -> PlanSet {
        PlanSet { model_version: format!("{model}@{version}").into(), plans, remote: None }
    }

    /// In a worker: plans that the host holds.
    pub(crate) fn remote(model_version: Arc<str>, plans: RemotePlans) -> PlanSet {
        PlanSet { model_version, plans: Vec::new(), remote: Some(Arc::new(plans)) }
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

    /// Names of all plans.
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
