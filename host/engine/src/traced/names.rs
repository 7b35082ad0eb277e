//! Values of a trace by name while it is made, and by slot once it is kept.

use aimass_sandbox::{PluginSignature, TracedStage};
use std::collections::HashMap;
use std::sync::Arc;

/// Slots of the values of a trace. A request numbers them as it comes by: inputs, then for each
/// stage what it knows and what its plan answers.
#[derive(Clone, Default)]
pub(crate) struct Names {
    slots: HashMap<Arc<str>, usize>,
}

/// Where a stage finds its values.
#[derive(Default)]
pub(crate) struct Slots {
    /// Inputs of the plan, in its order.
    pub(crate) inputs: Vec<usize>,
    /// What is observed.
    pub(crate) observe: Vec<usize>,
    /// Outputs of the model, in its order; only the last stage has them.
    pub(crate) outputs: Vec<usize>,
}

impl Names {
    /// The inputs of the model.
    pub(crate) fn of_inputs(signature: &PluginSignature) -> Names {
        let mut names = Names::default();
        for spec in &signature.inputs {
            names.push(&spec.name);
        }
        names
    }

    /// Adds the values of a stage that the sandbox has checked, and answers where it finds its own;
    /// `None` if a name does not exist.
    pub(crate) fn add(
        &mut self,
        stage: &TracedStage,
        signature: &PluginSignature,
    ) -> Option<Slots> {
        for (name, _) in &stage.known {
            self.push(name);
        }
        let mut slots = Slots::default();
        if let Some(plan) = &stage.plan {
            let signature = plan.signature();
            slots.inputs = self.find(signature.inputs.iter().map(|input| &input.name))?;
            for output in &signature.outputs {
                self.push(&output.name);
            }
        }
        slots.observe = self.find(stage.observe.iter())?;
        if stage.observe.is_empty() {
            slots.outputs = self.find(signature.outputs.iter().map(|output| &output.name))?;
        }
        Some(slots)
    }

    fn push(&mut self, name: &Arc<str>) {
        let next = self.slots.len();
        self.slots.insert(name.clone(), next);
    }

    fn find<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) -> Option<Vec<usize>> {
        names.map(|name| self.slots.get(name).copied()).collect()
    }
}
