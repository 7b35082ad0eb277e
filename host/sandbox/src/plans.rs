//! The compiled plans of one model version, as its plugins find them by name.

use aimass_graph::Plan;
use std::sync::Arc;

/// Plans by name, and the model version whose states they keep.
#[derive(Clone, Default)]
pub struct PlanSet {
    model_version: Arc<str>,
    plans: Vec<(Arc<str>, Arc<Plan>)>,
}

impl PlanSet {
    /// The plans of this version of a model.
    pub fn new(model: &str, version: u64, plans: Vec<(Arc<str>, Arc<Plan>)>) -> PlanSet {
        PlanSet { model_version: format!("{model}@{version}").into(), plans }
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
        self.plans.iter().map(|(name, _)| &**name)
    }

    /// `name@version` of the model.
    pub fn model_version(&self) -> &Arc<str> {
        &self.model_version
    }
}
