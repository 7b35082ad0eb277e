//! `plans`: running the compiled plans of the model that the plugin belongs to.
//!
//! The guest's fiber sleeps while the dispatcher joins its call with others; no thread waits.

use super::tensor::TensorHandle;
use super::{HostError, HostResult};
use crate::error::ErrorFamily;
use crate::state::{CallState, LimitHit};
use crate::worker::link::CallLink;
use crate::worlds::bindings::plans::{Host, HostPlan, HostSlot};
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::bindings::types::Signature as WitSignature;
use crate::worlds::convert::signature_out;
use aimass_dispatch::{DispatchError, Dispatcher, PlanCall, SlotKey};
use aimass_graph::{Plan, Signature};
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
    plan: FoundPlan,
}

/// Where the plan is.
#[derive(Clone)]
enum FoundPlan {
    Here(Arc<Plan>),
    /// In the host of this worker: its place in the call's list.
    Host(u32, Arc<Signature>),
}

impl FoundPlan {
    fn signature(&self) -> &Signature {
        match self {
            FoundPlan::Here(plan) => plan.signature(),
            FoundPlan::Host(_, signature) => signature,
        }
    }
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
        let plans = &self.context.plans;
        let here = plans.get(&name).cloned().map(FoundPlan::Here);
        let host = || plans.get_remote(&name).map(|(at, spec)| FoundPlan::Host(at, spec));
        let Some(plan) = here.or_else(host) else {
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
    fn signature(&mut self, plan: PlanRef) -> Result<WitSignature> {
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
        let found = self.table.get(&plan)?.plan.clone();
        let inputs = self.ordered(found.signature(), &inputs)?;
        let slot = match slot {
            Some(slot) => Some(self.table.get(&slot)?.key.clone()),
            None => None,
        };
        let names: Vec<String> =
            found.signature().outputs.iter().map(|spec| spec.name.to_string()).collect();
        let (tenant, deadline) = (self.context.tenant.clone(), self.context.deadline);
        let outputs = match found {
            FoundPlan::Here(plan) => {
                let call = PlanCall { plan, inputs, tenant, deadline, slot };
                run_here(self.dispatcher.clone(), call).await?
            }
            FoundPlan::Host(at, _) => run_in_host(at, inputs, slot).await?,
        };
        names
            .into_iter()
            .zip(outputs)
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
        let key = &self.table.get(&slot)?.key;
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.end_slot(key);
        } else if let Some(link) = CallLink::current() {
            link.reset_slot(&key.sequence);
        }
        Ok(())
    }

    fn drop(&mut self, slot: SlotRef) -> Result<()> {
        self.table.delete(slot)?;
        Ok(())
    }
}

async fn run_here(dispatcher: Option<Arc<Dispatcher>>, call: PlanCall) -> HostResult<Vec<Tensor>> {
    let dispatcher = dispatcher.ok_or_else(|| HostError::unsupported("plans.run"))?;
    let answer = room(SpanName::Plans, Vec::new, dispatcher.call(call)).await;
    Ok(answer.map_err(failed)?.outputs)
}

async fn run_in_host(
    plan: u32,
    inputs: Vec<Tensor>,
    slot: Option<SlotKey>,
) -> HostResult<Vec<Tensor>> {
    let link = CallLink::current().ok_or_else(|| HostError::unsupported("plans.run"))?;
    link.run_plan(plan, inputs, slot.map(|key| key.sequence.to_string())).await
}

/// What the guest gets for a plan call that was not answered.
pub(crate) fn failed(error: DispatchError) -> HostError {
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
    fn ordered(&self, signature: &Signature, inputs: &Inputs) -> HostResult<Vec<Tensor>> {
        let specs = &signature.inputs;
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
