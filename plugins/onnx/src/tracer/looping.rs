//! `Loop`.

use super::Tracer;
use super::control::{Kind, bounded, empty_stack};
use super::stack::Stack;
use crate::content::scalar;
use crate::node::{Inputs, as_tensor};
use crate::proto::Node;
use crate::value::{R, Value, invalid};
use aimass_sdk::DType;

/// Iterations so far and what they stacked.
pub(super) struct Loop {
    iteration: u64,
    trips: Option<u64>,
    /// How many values one iteration hands to the next.
    carried: usize,
    stacked: Vec<Stack>,
}

impl Tracer {
    pub(super) fn start_loop(
        &mut self,
        top: usize,
        node: &Node,
        inputs: &[Option<Value>],
    ) -> R<()> {
        let body = self.graph_of(top, node, "body")?;
        let inputs = Inputs(inputs);
        let (trips, condition) = (inputs.tensor_opt(0)?, inputs.tensor_opt(1)?);
        let known: Vec<_> = trips.into_iter().chain(condition).collect();
        self.emitter.observe(&known)?;
        let trips = match trips {
            Some(trips) => Some(u64::try_from(self.emitter.int(trips)?).unwrap_or(0)),
            None => None,
        };
        let go = match condition {
            Some(condition) => self.emitter.int(condition)? != 0,
            None => true,
        };
        let absent = || Value::Optional(None);
        let carried = inputs.0.get(2..).unwrap_or_default();
        let carried: Vec<Value> =
            carried.iter().map(|value| value.clone().unwrap_or_else(absent)).collect();
        let stacked = body.outputs.len().checked_sub(1 + carried.len());
        let stacked = stacked.ok_or_else(|| invalid("the body has too few outputs"))?;
        if !go || trips == Some(0) {
            let stacks = &body.outputs[1 + carried.len()..];
            let mut outputs = carried;
            for output in stacks {
                outputs.push(empty_stack(&output.ty)?.into());
            }
            return self.complete(top, node, outputs);
        }
        let stacked = vec![Stack::default(); stacked];
        let state = Loop { iteration: 0, trips, carried: carried.len(), stacked };
        self.push(&body, Some(top), Kind::Loop(state))?;
        self.iterate(iteration_inputs(0, carried)?)
    }

    pub(super) fn end_loop(&mut self, top: usize, values: Vec<Value>) -> R<Option<Vec<Value>>> {
        // Nothing may change before the condition is known: this runs again then.
        let condition = values.first().ok_or_else(|| invalid("the body has no condition"))?;
        let condition = as_tensor(condition)?.clone();
        let go = self.emitter.int(&condition)? != 0;
        self.observe_texts(&values)?;
        let Kind::Loop(state) = &mut self.frames[top].kind else { return Ok(None) };
        let split = 1 + state.carried;
        for (stack, value) in state.stacked.iter_mut().zip(&values[split..]) {
            stack.push(as_tensor(value)?.clone());
            stack.settle(&mut self.emitter)?;
        }
        state.iteration += 1;
        bounded(state.iteration)?;
        if go && state.trips.is_none_or(|trips| state.iteration < trips) {
            let inputs = iteration_inputs(state.iteration, values[1..split].to_vec())?;
            self.iterate(inputs)?;
            return Ok(None);
        }
        let stacked = std::mem::take(&mut state.stacked);
        let mut outputs = values[1..split].to_vec();
        for rows in stacked {
            outputs.push(rows.finish(&mut self.emitter, 0, false)?.into());
        }
        Ok(Some(outputs))
    }
}

/// Inputs of a loop's body: iteration, condition, carried values.
fn iteration_inputs(iteration: u64, carried: Vec<Value>) -> R<Vec<Value>> {
    let mut values = vec![
        Value::Tensor(scalar(DType::I64, iteration as f64)?),
        Value::Tensor(scalar(DType::Bool, 1.0)?),
    ];
    values.extend(carried);
    Ok(values)
}
