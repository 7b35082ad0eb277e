//! State of a plan: tensors that live in the host between runs.

use aimass_tensor::Tensor;

/// One set of the states that a plan declares; a slot owns one.
#[derive(Debug, Clone)]
pub struct PlanState {
    /// Key of the plan.
    pub(crate) key: [u8; 32],
    /// Content, in the order of declaration.
    pub(crate) tensors: Vec<Tensor>,
}

impl PlanState {
    /// Bytes that the content takes.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.byte_len() as u64).sum()
    }
}
