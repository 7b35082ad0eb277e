//! Control flow: branches, and what loops, scans and maps over sequences share.

use super::Tracer;
use super::flex::FlexStage;
use super::looping::Loop;
use super::map::Map;
use super::scan::Scan;
use crate::node::{Inputs, attribute};
use crate::proto::{AttributeValue, DimProto, Graph, Node, ValueType};
use crate::value::{R, T, TensorValue, Value, invalid};
use aimass_sdk::{DType, Error};
use std::rc::Rc;

/// Iterations of one loop.
const ITERATIONS_MAX: u64 = 100_000;

/// Outputs of a frame; a function may leave some open.
pub(super) type Bound = Vec<Option<Value>>;

/// What a frame is, and what it needs to be left.
pub(super) enum Kind {
    Root,
    Function,
    Branch,
    Loop(Loop),
    Scan(Scan),
    Map(Map),
    Flex(FlexStage),
}

impl Tracer {
    /// Handles a node of control flow. False if it is none.
    pub(super) fn control(&mut self, top: usize, node: &Node, inputs: &[Option<Value>]) -> R<bool> {
        match node.op.as_str() {
            "If" => self.branch(top, node, inputs)?,
            "Loop" => self.start_loop(top, node, inputs)?,
            "Scan" => self.start_scan(top, node, inputs)?,
            "SequenceMap" => self.start_map(top, node, inputs)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn graph_of(&self, top: usize, node: &Node, name: &str) -> R<Rc<Graph>> {
        let function = self.frames[top].attributes.clone();
        match attribute(node, function.as_deref(), name) {
            Some(AttributeValue::Graph(graph)) => Ok(graph.clone()),
            _ => Err(invalid(format!("attribute {name}: expected a graph"))),
        }
    }

    pub(super) fn ints_of(&self, top: usize, node: &Node, name: &str) -> Vec<i64> {
        let function = self.frames[top].attributes.clone();
        match attribute(node, function.as_deref(), name) {
            Some(AttributeValue::Ints(values)) => values.clone(),
            Some(AttributeValue::Int(value)) => vec![*value],
            _ => Vec::new(),
        }
    }

    fn branch(&mut self, top: usize, node: &Node, inputs: &[Option<Value>]) -> R<()> {
        let condition = Inputs(inputs).tensor(0)?.clone();
        let taken = self.emitter.int(&condition)? != 0;
        let name = if taken { "then_branch" } else { "else_branch" };
        let graph = self.graph_of(top, node, name)?;
        self.push(&graph, Some(top), Kind::Branch)?;
        Ok(())
    }

    /// Starts the top frame's nodes again, with these inputs.
    pub(super) fn iterate(&mut self, values: Vec<Value>) -> R<()> {
        let top = self.frames.len() - 1;
        let frame = &mut self.frames[top];
        let (expected, got) = (frame.graph.inputs.len(), values.len());
        // A body may leave the last inputs out, if it does not name them.
        if expected > got {
            return Err(invalid(format!("the body expects {expected} inputs, got {got}")));
        }
        frame.next = 0;
        frame.scope.clear();
        for (input, value) in frame.graph.inputs.iter().zip(values) {
            frame.scope.insert(input.name, value);
        }
        Ok(())
    }

    /// Asks for texts that are about to be joined, before anything changes.
    pub(super) fn observe_texts(&mut self, values: &[Value]) -> R<()> {
        let text = |value: &'_ Value| match value {
            Value::Tensor(tensor) if tensor.dtype == DType::Bytes => Some(tensor.clone()),
            _ => None,
        };
        let texts: Vec<T> = values.iter().filter_map(text).collect();
        self.emitter.observe(&texts.iter().collect::<Vec<_>>())
    }

    /// What a frame's node answers, or none if the frame goes on with another iteration.
    pub(super) fn leave(&mut self, top: usize, values: Bound) -> R<Option<Vec<Value>>> {
        let absent = || Value::Optional(None);
        let values: Vec<Value> =
            values.into_iter().map(|value| value.unwrap_or_else(absent)).collect();
        match self.frames[top].kind {
            Kind::Root | Kind::Function | Kind::Branch => Ok(Some(values)),
            Kind::Loop(_) => self.end_loop(top, values),
            Kind::Scan(_) => self.end_scan(top, values),
            Kind::Map(_) => self.end_map(top, values),
            Kind::Flex(_) => self.end_flex(top, values),
        }
    }
}

/// The element of a list of numbers that may be too short.
pub(super) fn at(list: &[i64], index: usize) -> i64 {
    list.get(index).copied().unwrap_or(0)
}

/// Refuses loops that do not end in time.
pub(super) fn bounded(iterations: u64) -> R<()> {
    if iterations > ITERATIONS_MAX {
        let message = format!("expected at most {ITERATIONS_MAX} iterations, got {iterations}");
        return Err(Error::limit("onnx-iterations", message).into());
    }
    Ok(())
}

/// What no iteration stacks: no rows, the other extents as the body's output has them.
pub(super) fn empty_stack(ty: &ValueType) -> R<T> {
    let ValueType::Tensor(ty) = ty else {
        return Ok(TensorValue::of_bytes(DType::F32, &[0], Vec::new()));
    };
    let mut shape = vec![0];
    for dim in ty.dims.as_deref().unwrap_or_default() {
        shape.push(match dim {
            DimProto::Known(extent) => *extent,
            DimProto::Named(_) | DimProto::Open => 0,
        });
    }
    match ty.element.dtype().unwrap_or(DType::F32) {
        DType::Bytes => Ok(TensorValue::of_strings(&shape, Vec::new())),
        dtype => Ok(TensorValue::of_bytes(dtype, &shape, Vec::new())),
    }
}
