//! `emit`: streamed answers. An item is checked like the outputs of a call, and then is the sink's.
//!
//! The guest's fiber sleeps while the sink is full, at most until its deadline: a client that reads
//! too slowly ends the call, it does not fill the memory.

use super::{HostError, HostResult};
use crate::composition::{EmittedItem, ItemHeld, ItemSink};
use crate::error::ErrorFamily;
use crate::limits::Limits;
use crate::signature::{NamedTensors, PluginSignature, TENSORS_MAX, check_some};
use crate::state::{CallState, Charge, LimitHit};
use crate::worker::link::CallLink;
use crate::worlds::bindings::emit::Host;
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::convert::check_name;
use std::sync::Arc;
use std::time::Instant;

impl Host for CallState {
    async fn emit(&mut self, outputs: Vec<NamedTensor>) -> HostResult<()> {
        self.count_host_call()?;
        let (outputs, charges) = self.taken(outputs)?;
        check_item(&self.outside.outputs, self.limits(), &outputs)?;
        match CallLink::current() {
            Some(link) => link.emit(&outputs).await?,
            None => {
                let sink = self.outside.composition.items.clone();
                let item = EmittedItem { outputs, held: ItemHeld::new(charges) };
                send_item(sink, item, self.context.deadline).await?;
            }
        }
        self.context.deadline = self.outside.item_sent(self.context.deadline, Instant::now());
        Ok(())
    }
}

/// Holds an item against description and limits.
///
/// # Errors
/// `internal/bad-output` and `limit/output-bytes`.
pub(crate) fn check_item(
    described: &PluginSignature,
    limits: &Limits,
    outputs: &NamedTensors,
) -> HostResult<()> {
    let bad = |message| HostError::answer(ErrorFamily::Internal, "bad-output", message);
    if !(1..=TENSORS_MAX).contains(&outputs.len()) {
        let got = outputs.len();
        return Err(bad(format!("expected 1 to {TENSORS_MAX} outputs, got {got}")));
    }
    let mut bytes = 0u64;
    for (at, (name, tensor)) in outputs.iter().enumerate() {
        check_name(name).map_err(bad)?;
        if outputs[..at].iter().any(|(other, _)| other == name) {
            return Err(bad(format!("expected unique names, got `{name}` twice")));
        }
        bytes = bytes.saturating_add(tensor.byte_len() as u64);
    }
    let bytes_max = limits.output_bytes_max;
    if bytes > bytes_max {
        let message = format!("an item has at most {bytes_max} bytes, got {bytes}");
        return Err(HostError::answer(ErrorFamily::Limit, "output-bytes", message));
    }
    check_some(&described.outputs, outputs).map_err(bad)
}

/// Gives an item to the client that reads, if one does.
///
/// # Errors
/// What the guest gets, or the deadline's trap.
pub(crate) async fn send_item(
    sink: Option<Arc<dyn ItemSink>>,
    item: EmittedItem,
    deadline: Instant,
) -> HostResult<()> {
    let Some(sink) = sink else {
        let message = "this model answers in a stream: ask with `generate_stream` or the gRPC \
                       method `ModelStreamInfer`";
        return Err(HostError::input("streaming-only", message));
    };
    match tokio::time::timeout_at(deadline.into(), sink.send(item)).await {
        Err(_) => Err(LimitHit::Deadline.into()),
        Ok(Err(gone)) => {
            Err(HostError::answer(ErrorFamily::Cancelled, "cancelled", gone.to_string()))
        }
        Ok(Ok(())) => Ok(()),
    }
}

impl CallState {
    /// Takes an item out of the guest's hands, and what its tensors hold of the call's host memory.
    fn taken(&mut self, outputs: Vec<NamedTensor>) -> HostResult<(NamedTensors, Vec<Arc<Charge>>)> {
        let mut tensors: NamedTensors = Vec::with_capacity(outputs.len().min(TENSORS_MAX));
        let mut charges = Vec::new();
        for output in outputs {
            // Every handle was given away, whatever becomes of the item.
            let (tensor, charge) = self.table.delete(output.value)?.into_parts();
            charges.extend(charge);
            tensors.push((output.name.into(), tensor));
        }
        Ok((tensors, charges))
    }
}
