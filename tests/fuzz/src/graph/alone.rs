//! *Batched equals alone*, bit for bit, for a plan that may be joined with others.

use super::inputs::Inputs;
use aimass_graph::{Coalescing, Dim, Plan};
use aimass_tensor::Tensor;

/// Runs every item alone, and a part of several, and requires the bits that they had in the batch.
///
/// # Panics
/// If any bit differs.
pub(super) fn check(plan: &Plan, inputs: &Inputs, outputs: &[Tensor]) {
    match plan.coalescing() {
        Coalescing::Batch | Coalescing::Ragged { .. } => {}
        Coalescing::Alone { .. } => return,
    }
    let signature = plan.signature();
    let batch = inputs.batch();
    let single = (0..batch).map(|item| item..item + 1);
    for items in single.chain((batch > 2).then_some(1..batch)) {
        let own = inputs.part(signature, items.clone());
        let own = plan.run(&own, None);
        let own = own.unwrap_or_else(|error| panic!("{items:?} of {batch} alone: {error}"));
        for ((spec, all), own) in signature.outputs.iter().zip(outputs).zip(&own) {
            let rows = match spec.dims.first() {
                Some(Dim::Batch) => all.rows(items.clone()),
                Some(Dim::Ragged(_)) => all.rows(inputs.rows(items.clone())),
                Some(Dim::Fixed(_) | Dim::Dynamic(_)) | None => all.clone(),
            };
            let when = || format!("{}: {items:?} of {batch} alone", spec.name);
            super::same(plan, &rows, own, when);
        }
    }
}
