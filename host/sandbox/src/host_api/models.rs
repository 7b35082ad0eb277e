//! `models`: calls of other models, which this version has no code for.

use super::tensor::TensorHandle;
use super::{HostError, HostResult};
use crate::state::CallState;
use crate::worlds::bindings::models::Host;
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::bindings::types::Parameter;
use wasmtime::component::Resource;

impl Host for CallState {
    fn infer(
        &mut self,
        _model: String,
        _inputs: Vec<(String, Resource<TensorHandle>)>,
        _parameters: Vec<(String, Parameter)>,
    ) -> HostResult<Vec<NamedTensor>> {
        self.count_host_call()?;
        Err(HostError::unsupported("models.infer"))
    }
}
