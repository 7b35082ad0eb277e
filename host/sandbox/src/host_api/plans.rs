//! `plans`: running the compiled plans of the model that the plugin belongs to.
//!
//! The guest's fiber sleeps while the dispatcher joins its call with others; no thread waits.

use super::tensor::TensorHandle;
use super::{HostError, HostResult};
use crate::error::ErrorFamily;
use crate::state::{CallState, LimitHit};
use crate::worlds::bindings::plans::{Host, HostPlan, HostSlot};
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::bindings::types::Signature;
use crate::worlds::convert::signature_out;
use aimass_dispatch::{DispatchError, PlanCall, SlotKey};
use aimass_graph::Plan;
use aimass_telemetry::call::room;
use aimass_telemetry::trace::SpanName;
use aimass_tensor::Tensor;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Bytes of a sequence's name at most.
const SEQUENCE_BYTES_MAX: usize = 128;

/// A plan that a guest found by name.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct PlanHandle {
    plan: Arc<Plan>,
}

/// A slot that a guest opened.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct SlotHandle {
    key: SlotKey,
}

type PlanRef = Resource<PlanHandle>;
type SlotRef = Resource<SlotHandle>;
type Inputs = Vec<(String, Resource<TensorHandle>)>;

impl Host for CallState {
    fn get(&mut self, name: String) -> HostResult<PlanRef> {
        self.count_host_call()?;
        let Some(plan) = self.context.plans.get(&name).cloned() else {
            let names: Vec<&str> = self.context.plans.names().collect();
            let message = format!("there is no plan `{name}`; there are: {}", names.join(", "));
            return Err(HostError::answer(ErrorFamily::NotFound, "plan", message));
        };
        Ok(self.table.push(PlanHandle { plan })?)
    }

    fn open_slot(&mut self, plan: PlanRef, sequence: String) -> HostResult<SlotRef> {
        self.count_host_call()?;
        self.table.get(&plan)?;
        if !(1..=SEQUENCE_BYTES_MAX).contains(&sequence.len()) {
            let message =
                format!("expected 1 to {SEQUENCE_BYTES_MAX} bytes, got {}", sequence.len());
            return Err(HostError::input("sequence", message));
        }
        let key = SlotKey {
            tenant: self.context.tenant.clone(),
            model_version: self.context.plans.model_version().clone(),
            sequence: sequence.into(),
        };
        Ok(self.table.push(SlotHandle { key })?)
    }
}

impl HostPlan for CallState {
    fn signature(&mut self, plan: PlanRef) -> Result<Signature> {
        self.count_host_call()?;
        Ok(signature_out(self.table.get(&plan)?.plan.signature()))
    }

    async fn run(
        &mut self,
        plan: PlanRef,
        inputs: Inputs,
        slot: Option<SlotRef>,
    ) -> HostResult<Vec<NamedTensor>> {
        self.count_host_call()?;
        let call = self.plan_call(&plan, &inputs, slot)?;
        let plan = call.plan.clone();
        let answer = room(SpanName::Plans, Vec::new, self.dispatcher.call(call)).await;
        let answer = answer.map_err(failed)?;
        let names = plan.signature().outputs.iter().map(|spec| spec.name.to_string());
        names
            .zip(answer.outputs)
            .map(|(name, tensor)| Ok(NamedTensor { name, value: self.push_made(tensor)? }))
            .collect()
    }

    fn drop(&mut self, plan: PlanRef) -> Result<()> {
        self.table.delete(plan)?;
        Ok(())
    }
}

impl HostSlot for CallState {
    fn len(&mut self, slot: SlotRef) -> Result<u64> {
        self.count_host_call()?;
        self.table.get(&slot)?;
        // Growing states (`state-append`) have no code yet, so no state holds rows.
        Ok(0)
    }

    fn reset(&mut self, slot: SlotRef) -> Result<()> {
        self.count_host_call()?;
        self.dispatcher.end_slot(&self.table.get(&slot)?.key);
        Ok(())
    }

    fn drop(&mut self, slot: SlotRef) -> Result<()> {
        self.table.delete(slot)?;
        Ok(())
    }
}

/// What the guest gets for a plan call that was not answered.
fn failed(error: DispatchError) -> HostError {
    let message = error.to_string();
    match error {
        DispatchError::Run(error) => error.into(),
        DispatchError::Overloaded { .. } | DispatchError::Closed => {
            HostError::answer(ErrorFamily::Unavailable, "overloaded", message)
        }
        DispatchError::Quota { .. } => {
            HostError::answer(ErrorFamily::Unavailable, "tenant-queue", message)
        }
        DispatchError::DeadlineExceeded => LimitHit::Deadline.into(),
        DispatchError::DeadlineTooNear { .. } => {
            HostError::answer(ErrorFamily::Deadline, "deadline-too-near", message)
        }
        DispatchError::SlotLimit { .. } => HostError::answer(ErrorFamily::Limit, "slots", message),
        DispatchError::KernelPanic => HostError::answer(ErrorFamily::Internal, "kernel", message),
    }
}

impl CallState {
    /// The guest's call in the dispatcher's terms: inputs in the order of the plan's signature.
    fn plan_call(
        &self,
        plan: &PlanRef,
        inputs: &Inputs,
        slot: Option<SlotRef>,
    ) -> HostResult<PlanCall> {
        let plan = self.table.get(plan)?.plan.clone();
        let ordered = self.ordered(&plan, inputs)?;
        let slot = match slot {
            Some(slot) => Some(self.table.get(&slot)?.key.clone()),
            None => None,
        };
        Ok(PlanCall {
            plan,
            inputs: ordered,
            tenant: self.context.tenant.clone(),
            deadline: self.context.deadline,
            slot,
        })
    }

    fn ordered(&self, plan: &Plan, inputs: &Inputs) -> HostResult<Vec<Tensor>> {
        let specs = &plan.signature().inputs;
        let known = |name: &str| specs.iter().any(|spec| *spec.name == *name);
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !known(name)) {
            let message = format!("the plan has no input `{name}`");
            return Err(HostError::input("unknown-input", message));
        }
        let find = |name: &str| inputs.iter().find(|(given, _)| given == name);
        specs
            .iter()
            .map(|spec| match find(&spec.name) {
                Some((_, handle)) => self.tensor(handle),
                None => {
                    let message = format!("the plan wants an input `{}`", spec.name);
                    Err(HostError::input("missing-input", message))
                }
            })
            .collect()
    }
}
