//! `plans`: running the compiled plans of the model that the plugin belongs to.
//!
//! The guest's fiber sleeps while the dispatcher joins its call with others; no thread waits.

use super::tensor::TensorHandle;
use super::{HostError, HostResult};
use crate::error::ErrorFamily;
use crate::plans::{TracedPlan, TracedPlanCall};
use crate::signature::PluginSignature;
use crate::state::{CallState, LimitHit};
use crate::worker::link::CallLink;
use crate::worlds::bindings::plans::{Host, HostPlan, HostSlot};
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::bindings::types::Signature as WitSignature;
use crate::worlds::convert::{error_out, plugin_signature_out, signature_out};
use aimass_dispatch::{DispatchError, Dispatcher, PlanCall, SlotKey};
use aimass_graph::{Plan, Signature};
use aimass_telemetry::call::room;
use aimass_telemetry::trace::SpanName;
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Bytes of a sequence's name at most.
const SEQUENCE_BYTES_MAX: usize = 128;

/// A plan that a guest found by name.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub enum PlanHandle {
    /// Compiled once.
    Compiled(Arc<Plan>),
    /// Compiled once, in the host of this worker: its place in the call's list.
    InHost(u32, Arc<Signature>),
    /// A model that is traced for each call.
    Traced(Arc<dyn TracedPlan>),
    /// A model that the host of this worker traces for each call.
    TracedInHost(Arc<PluginSignature>),
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
        let compiled = plans.get(&name).cloned().map(PlanHandle::Compiled);
        let host = || plans.get_remote(&name).map(|(at, spec)| PlanHandle::InHost(at, spec));
        let traced = || plans.traced(&name).cloned().map(PlanHandle::Traced);
        let traced_in_host = || plans.traced_remote(&name).cloned().map(PlanHandle::TracedInHost);
        let Some(plan) = compiled.or_else(host).or_else(traced).or_else(traced_in_host) else {
            let names: Vec<&str> = plans.all_names().collect();
            let message = format!("there is no plan `{name}`; there are: {}", names.join(", "));
            return Err(HostError::answer(ErrorFamily::NotFound, "plan", message));
        };
        Ok(self.table.push(plan)?)
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
        Ok(match self.table.get(&plan)? {
            PlanHandle::Compiled(plan) => signature_out(plan.signature()),
            PlanHandle::InHost(_, signature) => signature_out(signature),
            PlanHandle::Traced(model) => plugin_signature_out(model.signature()),
            PlanHandle::TracedInHost(signature) => plugin_signature_out(signature),
        })
    }

    async fn run(
        &mut self,
        plan: PlanRef,
        inputs: Inputs,
        slot: Option<SlotRef>,
    ) -> HostResult<Vec<NamedTensor>> {
        self.count_host_call()?;
        let (tenant, deadline) = (self.context.tenant.clone(), self.context.deadline);
        match self.table.get(&plan)? {
            PlanHandle::Compiled(plan) => {
                let plan = plan.clone();
                let (inputs, slot) = self.bound(plan.signature(), &inputs, slot)?;
                let call = PlanCall { plan: plan.clone(), inputs, tenant, deadline, slot };
                let outputs = run_here(self.dispatcher.clone(), call).await?;
                self.answered(output_names(plan.signature()), outputs)
            }
            PlanHandle::InHost(at, signature) => {
                let (at, signature) = (*at, signature.clone());
                let (inputs, slot) = self.bound(&signature, &inputs, slot)?;
                let sequence = slot.map(|key| key.sequence.to_string());
                let outputs = host_of_worker()?.run_plan(at, inputs, sequence).await?;
                self.answered(output_names(&signature), outputs)
            }
            PlanHandle::Traced(model) => {
                let model = model.clone();
                let inputs = self.traced_inputs(model.signature(), &inputs, slot.is_some())?;
                let outputs = run_traced(&*model, TracedPlanCall { inputs, tenant, deadline });
                self.answered(traced_names(model.signature()), outputs.await?)
            }
            PlanHandle::TracedInHost(signature) => {
                let signature = signature.clone();
                let inputs = self.traced_inputs(&signature, &inputs, slot.is_some())?;
                let outputs = host_of_worker()?.run_traced(inputs).await?;
                self.answered(traced_names(&signature), outputs)
            }
        }
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

fn output_names(signature: &Signature) -> impl Iterator<Item = &str> {
    signature.outputs.iter().map(|spec| &*spec.name)
}

async fn run_here(dispatcher: Option<Arc<Dispatcher>>, call: PlanCall) -> HostResult<Vec<Tensor>> {
    let dispatcher = dispatcher.ok_or_else(|| HostError::unsupported("plans.run"))?;
    let answer = room(SpanName::Plans, Vec::new, dispatcher.call(call)).await;
    Ok(answer.map_err(failed)?.outputs)
}

fn traced_names(signature: &PluginSignature) -> impl Iterator<Item = &str> {
    signature.outputs.iter().map(|spec| &*spec.name)
}

fn host_of_worker() -> HostResult<Arc<CallLink>> {
    CallLink::current().ok_or_else(|| HostError::unsupported("plans.run"))
}

/// Runs a traced model.
///
/// # Errors
/// What the guest gets, or the deadline's trap.
pub(crate) async fn run_traced(
    model: &dyn TracedPlan,
    call: TracedPlanCall,
) -> HostResult<Vec<Tensor>> {
    let deadline = call.deadline;
    match room(SpanName::Plans, Vec::new, model.run(call)).await {
        Ok(outputs) => Ok(outputs),
        Err(_) if Instant::now() >= deadline => Err(LimitHit::Deadline.into()),
        Err(error) => Err(HostError::Answer(error_out(error.family, &error.code, error.message))),
    }
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
    /// The guest's call in the dispatcher's terms: inputs in the order of the plan's signature.
    fn bound(
        &self,
        signature: &Signature,
        inputs: &Inputs,
        slot: Option<SlotRef>,
    ) -> HostResult<(Vec<Tensor>, Option<SlotKey>)> {
        let names: Vec<&str> = signature.inputs.iter().map(|spec| &*spec.name).collect();
        let inputs = self.ordered(&names, inputs)?;
        let slot = match slot {
            Some(slot) => Some(self.table.get(&slot)?.key.clone()),
            None => None,
        };
        Ok((inputs, slot))
    }

    /// Inputs of a traced model, in the order of its signature.
    fn traced_inputs(
        &self,
        signature: &PluginSignature,
        inputs: &Inputs,
        has_slot: bool,
    ) -> HostResult<Vec<Tensor>> {
        if has_slot {
            return Err(HostError::unsupported("a slot of a model that is traced"));
        }
        let names: Vec<&str> = signature.inputs.iter().map(|spec| &*spec.name).collect();
        self.ordered(&names, inputs)
    }

    /// Hands the outputs to the guest.
    fn answered<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        outputs: Vec<Tensor>,
    ) -> HostResult<Vec<NamedTensor>> {
        let named = names.zip(outputs);
        named
            .map(|(name, x)| Ok(NamedTensor { name: name.to_owned(), value: self.push_made(x)? }))
            .collect()
    }

    /// What the guest gave, in the order of `names`.
    fn ordered(&self, names: &[&str], inputs: &Inputs) -> HostResult<Vec<Tensor>> {
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !names.contains(&&**name)) {
            let message = format!("the plan has no input `{name}`");
            return Err(HostError::input("unknown-input", message));
        }
        let find = |name: &str| inputs.iter().find(|(given, _)| given == name);
        names
            .iter()
            .map(|name| match find(name) {
                Some((_, handle)) => self.tensor(handle),
                None => {
                    let message = format!("the plan wants an input `{name}`");
                    Err(HostError::input("missing-input", message))
                }
            })
            .collect()
    }
}
