//! `emit`: streamed answers, which this version has no code for.

use super::{HostError, HostResult};
use crate::state::CallState;
use crate::worlds::bindings::emit::Host;
use crate::worlds::bindings::tensor::NamedTensor;

impl Host for CallState {
    fn emit(&mut self, outputs: Vec<NamedTensor>) -> HostResult<()> {
        self.count_host_call()?;
        for output in outputs {
            self.table.delete(output.value)?;
        }
        Err(HostError::unsupported("emit.emit"))
    }
}
