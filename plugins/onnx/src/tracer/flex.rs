//! `FlexAttention`: its graphs are walked between the ops of the attention.

use super::Tracer;
use super::control::Kind;
use crate::node::{Cx, Inputs, as_tensor};
use crate::ops::attention::Flex;
use crate::proto::{Graph, Node};
use crate::value::{R, T, Value, invalid};
use std::rc::Rc;

/// A flex attention whose frame is one of its graphs.
pub(super) struct FlexStage {
    flex: Flex,
    /// What comes behind the softmax, while the scores are changed.
    next: Next,
}

/// What is done with the answer of a flex attention's graph.
enum Next {
    /// They are scores; the graph, if there is one, is for the probabilities.
    Softmax(Option<Rc<Graph>>),
    /// They are probabilities.
    Output,
}

impl Tracer {
    /// Starts with the scores.
    pub(super) fn start_flex(
        &mut self,
        top: usize,
        node: &Node,
        inputs: &[Option<Value>],
    ) -> R<()> {
        let frame = &self.frames[top];
        let attributes = frame.attributes.clone();
        let (opset, function) = (frame.opset, attributes.as_deref());
        let (emitter, names) = (&mut self.emitter, &self.model.names);
        let mut cx = Cx { emitter, node, names, opset, function };
        let (flex, scores) = Flex::start(&mut cx, Inputs(inputs))?;
        let has = |name| crate::node::attribute(node, function, name).is_some();
        let (on_scores, on_probabilities) = (has("score_mod"), has("prob_mod"));
        let last = match on_probabilities {
            true => Some(self.graph_of(top, node, "prob_mod")?),
            false => None,
        };
        if on_scores {
            let graph = self.graph_of(top, node, "score_mod")?;
            let stage = FlexStage { flex, next: Next::Softmax(last) };
            self.push(&graph, Some(top), Kind::Flex(stage))?;
            self.iterate(vec![scores.into()])?;
            return Ok(());
        }
        let probabilities = flex.probabilities(&mut self.emitter, &scores)?;
        if let Some(graph) = last {
            let stage = FlexStage { flex, next: Next::Output };
            self.push(&graph, Some(top), Kind::Flex(stage))?;
            self.iterate(vec![probabilities.into()])?;
            return Ok(());
        }
        let y = flex.output(&mut self.emitter, &probabilities)?;
        self.complete(top, node, vec![y.into()])
    }

    /// Goes on with what a graph answered.
    pub(super) fn end_flex(&mut self, top: usize, values: Vec<Value>) -> R<Option<Vec<Value>>> {
        let changed = values.first().ok_or_else(|| invalid("a graph without outputs"))?;
        let changed: T = as_tensor(changed)?.clone();
        let Kind::Flex(stage) = &mut self.frames[top].kind else { return Ok(None) };
        let probabilities = match &stage.next {
            Next::Output => changed,
            Next::Softmax(last) => {
                let last = last.clone();
                let probabilities = stage.flex.probabilities(&mut self.emitter, &changed)?;
                if let Some(graph) = last {
                    stage.next = Next::Output;
                    self.frames[top].graph = graph;
                    self.iterate(vec![probabilities.into()])?;
                    return Ok(None);
                }
                probabilities
            }
        };
        let y = stage.flex.output(&mut self.emitter, &probabilities)?;
        Ok(Some(vec![y.into()]))
    }
}
