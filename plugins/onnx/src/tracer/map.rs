//! `SequenceMap`.

use super::Tracer;
use super::control::Kind;
use crate::node::as_tensor;
use crate::proto::Node;
use crate::value::{R, Value, invalid};
use std::rc::Rc;

/// Its inputs and what the iterations gave.
pub(super) struct Map {
    iteration: usize,
    inputs: Vec<Value>,
    results: Vec<Vec<Value>>,
}

impl Tracer {
    pub(super) fn start_map(&mut self, top: usize, node: &Node, inputs: &[Option<Value>]) -> R<()> {
        let body = self.graph_of(top, node, "body")?;
        let inputs: Vec<Value> = inputs.iter().flatten().cloned().collect();
        let results = vec![Vec::new(); body.outputs.len()];
        let map = Map { iteration: 0, inputs, results };
        if map.len()? == 0 {
            let empty = || Value::Sequence(Rc::new(Vec::new()));
            return self.complete(top, node, body.outputs.iter().map(|_| empty()).collect());
        }
        self.push(&body, Some(top), Kind::Map(map))?;
        self.next_map()
    }

    fn next_map(&mut self) -> R<()> {
        let top = self.frames.len() - 1;
        let Kind::Map(map) = &self.frames[top].kind else { return Ok(()) };
        let mut values = Vec::new();
        for input in &map.inputs {
            values.push(match input {
                Value::Sequence(items) => items
                    .get(map.iteration)
                    .cloned()
                    .ok_or_else(|| invalid("the sequences have different lengths"))?,
                Value::Tensor(_) | Value::Optional(_) => input.clone(),
            });
        }
        self.iterate(values)
    }

    pub(super) fn end_map(&mut self, top: usize, values: Vec<Value>) -> R<Option<Vec<Value>>> {
        let Kind::Map(map) = &mut self.frames[top].kind else { return Ok(None) };
        for (results, value) in map.results.iter_mut().zip(values) {
            results.push(as_tensor(&value)?.clone().into());
        }
        map.iteration += 1;
        if map.iteration < map.len()? {
            self.next_map()?;
            return Ok(None);
        }
        let results = std::mem::take(&mut map.results);
        Ok(Some(results.into_iter().map(|values| Value::Sequence(Rc::new(values))).collect()))
    }
}

impl Map {
    fn len(&self) -> R<usize> {
        match self.inputs.first() {
            Some(Value::Sequence(items)) => Ok(items.len()),
            _ => Err(invalid("input 0: expected a sequence")),
        }
    }
}
