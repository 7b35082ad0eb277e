//! `models`: calls of other models. Who may call what, how deep and how often is the caller object's to
//! say ([`ModelCaller`](crate::ModelCaller)); here handles become tensors and back.
//!
//! The guest's fiber sleeps until the other model has answered.

use super::tensor::TensorHandle;
use super::{HostError, HostResult};
use crate::composition::ModelCall;
use crate::error::ErrorFamily;
use crate::plugin::parameter_in;
use crate::signature::TENSORS_MAX;
use crate::state::{CallState, LimitHit};
use crate::worlds::bindings::models::Host;
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::bindings::types::Parameter;
use crate::worlds::convert::{check_name, error_out};
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
        self.outside_of_workers("models.infer")?;
        let Some(models) = self.outside.composition.models.clone() else {
            let message = "this call may reach no other model";
            return Err(HostError::answer(ErrorFamily::Forbidden, "model", message));
        };
        let call = self.model_call(model, &inputs, parameters)?;
        let deadline = call.deadline;
        let answer = tokio::time::timeout_at(deadline.into(), models.call(call)).await;
        let outputs = match answer {
            Err(_) => return Err(LimitHit::Deadline.into()),
            Ok(Err(_)) if Instant::now() >= deadline => return Err(LimitHit::Deadline.into()),
            Ok(Err(error)) => {
                let error = error_out(error.family, &error.code, error.message);
                return Err(HostError::Answer(error));
            }
            Ok(Ok(outputs)) => outputs,
        };
        let named = outputs.into_iter();
        named
            .map(|(name, x)| Ok(NamedTensor { name: name.to_string(), value: self.push_made(x)? }))
            .collect()
    }
}

impl CallState {
    fn model_call(
        &self,
        model: String,
        inputs: &Inputs,
        parameters: Vec<(String, Parameter)>,
    ) -> HostResult<ModelCall> {
        if model.len() > REFERENCE_BYTES_MAX {
            let got = model.len();
            let message = format!("expected a model of at most 128 bytes, got {got}");
            return Err(HostError::input("model-name", message));
        }
        if inputs.len() > TENSORS_MAX || parameters.len() > TENSORS_MAX {
            let message = format!(
                "expected at most {TENSORS_MAX} inputs and parameters each, got {} and {}",
                inputs.len(),
                parameters.len()
            );
            return Err(HostError::input("inputs", message));
        }
        let shared = inputs.iter().map(|(name, handle)| {
            check_name(name).map_err(|message| HostError::input("inputs", message))?;
            Ok((name.as_str().into(), self.tensor(handle)?))
        });
        Ok(ModelCall {
            model,
            inputs: shared.collect::<HostResult<_>>()?,
            parameters: parameters
                .into_iter()
                .map(|(name, value)| (name, parameter_in(value)))
                .collect(),
            deadline: self.context.deadline,
        })
    }
}
