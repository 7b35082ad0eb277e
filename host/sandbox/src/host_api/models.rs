//! `models`: calls of other models. Who may call what, how deep and how often is the caller object's to
//! say ([`ModelCaller`]); here handles become tensors and back.
//!
//! The guest's fiber sleeps until the other model has answered.

use super::tensor::TensorHandle;
use super::{HostError, HostResult};
use crate::composition::{ModelCall, ModelCaller};
use crate::error::ErrorFamily;
use crate::plugin::parameter_in;
use crate::signature::{NamedTensors, TENSORS_MAX};
use crate::state::{CallState, LimitHit};
use crate::worker::link::CallLink;
use crate::worlds::bindings::models::Host;
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::bindings::types::Parameter;
use crate::worlds::convert::{check_name, error_out};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::Resource;

/// Bytes of a model's reference at most: two names of the registry and the `@` between them.
const REFERENCE_BYTES_MAX: usize = 128;

type Inputs = Vec<(String, Resource<TensorHandle>)>;

impl Host for CallState {
    async fn infer(
        &mut self,
        model: String,
        inputs: Inputs,
        parameters: Vec<(String, Parameter)>,
    ) -> HostResult<Vec<NamedTensor>> {
        self.count_host_call()?;
        let call = self.model_call(model, &inputs, parameters)?;
        let outputs = match CallLink::current() {
            Some(link) => link.infer(call).await?,
            None => call_model(self.outside.composition.models.clone(), call).await?,
        };
        let named = outputs.into_iter();
        named
            .map(|(name, x)| Ok(NamedTensor { name: name.to_string(), value: self.push_made(x)? }))
            .collect()
    }
}

/// Calls another model, if this call may reach any.
///
/// # Errors
/// What the guest gets, or the deadline's trap.
pub(crate) async fn call_model(
    models: Option<Arc<dyn ModelCaller>>,
    call: ModelCall,
) -> HostResult<NamedTensors> {
    let Some(models) = models else {
        let message = "this call may reach no other model";
        return Err(HostError::answer(ErrorFamily::Forbidden, "model", message));
    };
    let deadline = call.deadline;
    match tokio::time::timeout_at(deadline.into(), models.call(call)).await {
        Err(_) => Err(LimitHit::Deadline.into()),
        Ok(Err(_)) if Instant::now() >= deadline => Err(LimitHit::Deadline.into()),
        Ok(Err(error)) => {
            Err(HostError::Answer(error_out(error.family, &error.code, error.message)))
        }
        Ok(Ok(outputs)) => Ok(outputs),
    }
}

/// The call, if it keeps the bounds of the contract.
///
/// # Errors
/// `input/model-name` and `input/inputs`.
pub(crate) fn checked(call: ModelCall) -> HostResult<ModelCall> {
    if call.model.len() > REFERENCE_BYTES_MAX {
        let got = call.model.len();
        let message = format!("expected a model of at most 128 bytes, got {got}");
        return Err(HostError::input("model-name", message));
    }
    if call.inputs.len() > TENSORS_MAX || call.parameters.len() > TENSORS_MAX {
        let message = format!(
            "expected at most {TENSORS_MAX} inputs and parameters each, got {} and {}",
            call.inputs.len(),
            call.parameters.len()
        );
        return Err(HostError::input("inputs", message));
    }
    for (name, _) in &call.inputs {
        check_name(name).map_err(|message| HostError::input("inputs", message))?;
    }
    Ok(call)
}

impl CallState {
    fn model_call(
        &self,
        model: String,
        inputs: &Inputs,
        parameters: Vec<(String, Parameter)>,
    ) -> HostResult<ModelCall> {
        let shared = inputs.iter();
        let shared = shared.map(|(name, handle)| Ok((name.as_str().into(), self.tensor(handle)?)));
        let parameters = parameters.into_iter();
        checked(ModelCall {
            model,
            inputs: shared.collect::<HostResult<_>>()?,
            parameters: parameters.map(|(name, value)| (name, parameter_in(value))).collect(),
            deadline: self.context.deadline,
        })
    }
}
