//! `emit`: streamed answers. An item is checked like the outputs of a call, and then is the sink's.
//!
//! The guest's fiber sleeps while the sink is full, at most until its deadline: a client that reads
//! too slowly ends the call, it does not fill the memory.

use super::{HostError, HostResult};
use crate::composition::{EmittedItem, ItemHeld};
use crate::error::ErrorFamily;
use crate::signature::{NamedTensors, TENSORS_MAX, check_some};
use crate::state::{CallState, LimitHit};
use crate::worlds::bindings::emit::Host;
use crate::worlds::bindings::tensor::NamedTensor;
use crate::worlds::convert::check_name;
use std::time::Instant;

impl Host for CallState {
    async fn emit(&mut self, outputs: Vec<NamedTensor>) -> HostResult<()> {
        self.count_host_call()?;
        let item = self.item(outputs)?;
        self.outside_of_workers("emit.emit")?;
        let Some(sink) = self.outside.composition.items.clone() else {
            let message = "this model answers in a stream: ask with `generate_stream` or the gRPC \
                           method `ModelStreamInfer`";
            return Err(HostError::input("streaming-only", message));
        };
        let sending = tokio::time::timeout_at(self.context.deadline.into(), sink.send(item));
        match sending.await {
            Err(_) => Err(LimitHit::Deadline.into()),
            Ok(Err(gone)) => {
                Err(HostError::answer(ErrorFamily::Cancelled, "cancelled", gone.to_string()))
            }
            Ok(Ok(())) => {
                self.outside.emitted += 1;
                let renewed = self.outside.renewed(self.context.deadline, Instant::now());
                self.context.deadline = renewed;
                Ok(())
            }
        }
    }
}

impl CallState {
    /// Takes an item out of the guest's hands and holds it against description and limits.
    fn item(&mut self, outputs: Vec<NamedTensor>) -> HostResult<EmittedItem> {
        let bad = |message| HostError::answer(ErrorFamily::Internal, "bad-output", message);
        let mut tensors: NamedTensors = Vec::with_capacity(outputs.len().min(TENSORS_MAX));
        let (mut charges, mut bytes, mut fault) = (Vec::new(), 0u64, None);
        for output in outputs {
            // Every handle was given away, whatever becomes of the item.
            let (tensor, charge) = self.table.delete(output.value)?.into_parts();
            if let Err(message) = check_name(&output.name) {
                fault = Some(message);
            } else if tensors.iter().any(|(name, _)| **name == *output.name) {
                fault = Some(format!("expected unique names, got `{}` twice", output.name));
            }
            bytes = bytes.saturating_add(tensor.byte_len() as u64);
            charges.extend(charge);
            tensors.push((output.name.into(), tensor));
        }
        if let Some(message) = fault {
            return Err(bad(message));
        }
        if !(1..=TENSORS_MAX).contains(&tensors.len()) {
            let got = tensors.len();
            return Err(bad(format!("expected 1 to {TENSORS_MAX} outputs, got {got}")));
        }
        let bytes_max = self.limits().output_bytes_max;
        if bytes > bytes_max {
            let message = format!("an item has at most {bytes_max} bytes, got {bytes}");
            return Err(HostError::answer(ErrorFamily::Limit, "output-bytes", message));
        }
        check_some(&self.outside.outputs.outputs, &tensors).map_err(bad)?;
        Ok(EmittedItem { outputs: tensors, held: ItemHeld::new(charges) })
    }
}
