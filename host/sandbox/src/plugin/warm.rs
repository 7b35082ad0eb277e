//! Several calls in one instance: what a benchmark subtracts.

use super::{Call, Plugin, Processed, arguments};
use crate::BoxFuture;
use crate::error::PluginError;
use crate::signature::NamedTensors;
use crate::state::CallContext;
use crate::worlds::exports::Exports;

impl Plugin {
    /// Calls `process` so many times in one instance, and takes the inputs and outputs of each call.
    ///
    /// Only for measuring what a fresh instance costs: requests never share one.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    pub fn process_warm(
        &self,
        call: Call,
        inputs: NamedTensors,
        times: u32,
    ) -> BoxFuture<'_, Result<(), PluginError>> {
        Box::pin(self.process_times(call, inputs, times))
    }

    async fn process_times(
        &self,
        call: Call,
        inputs: NamedTensors,
        times: u32,
    ) -> Result<(), PluginError> {
        const FUNCTION: &str = "process";
        let Some(Exports::Process { process, .. }) = self.exports() else {
            return Err(self.failed(FUNCTION, self.no_such_function(FUNCTION)));
        };
        let context =
            CallContext { tenant: call.tenant, deadline: call.deadline, plans: call.plans };
        let mut instance = self.instance(FUNCTION, context).await?;
        for _ in 0..times {
            let state = instance.store.data_mut();
            let arguments = arguments(state, inputs.clone(), call.parameters.clone())
                .map_err(|cause| self.failed(FUNCTION, cause))?;
            let (answer,): Processed =
                self.run(FUNCTION, &mut instance, process, arguments).await?;
            answer
                .map_err(|error| self.guest_error(error))
                .and_then(|outputs| self.take_outputs(instance.store.data_mut(), outputs))
                .map_err(|cause| self.failed(FUNCTION, cause))?;
        }
        Ok(())
    }
}
