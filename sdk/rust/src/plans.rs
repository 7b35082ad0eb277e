//! Running the compiled plans of the model that a `model` plugin belongs to. Needs the grant `plans`.

pub use crate::bindings::model::aimass::plugin::plans::{Plan, Slot, get, open_slot};

use crate::call::Outputs;
use crate::error::Result;
use crate::tensor::Tensor;

impl Plan {
    /// Runs the plan on these inputs, in any order, and answers its outputs by name.
    ///
    /// The host may join this call with others of the same plan; the answer is the same, bit for
    /// bit.
    ///
    /// # Errors
    /// Those of [`Plan::run`].
    pub fn call(&self, inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        self.call_in(inputs, None)
    }

    /// As [`Plan::call`], with the states of a slot.
    ///
    /// # Errors
    /// Those of [`Plan::run`].
    pub fn call_in(&self, inputs: &[(&str, &Tensor)], slot: Option<&Slot>) -> Result<Outputs> {
        let inputs: Vec<_> = inputs.iter().map(|(name, x)| ((*name).to_owned(), *x)).collect();
        self.run(&inputs, slot).map(Outputs::from)
    }
}
