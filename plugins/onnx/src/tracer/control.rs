//! Control flow: branches, loops, scans, functions over sequences.

use super::Tracer;
use super::flex::FlexStage;
use crate::content::{int_vector, scalar};
use crate::node::{Inputs, as_tensor, attribute, axis_of};
use crate::ops::{stack, text_at};
use crate::proto::{AttributeValue, DimProto, Graph, Node, ValueType};
use crate::value::{R, T, TensorValue, Value, invalid, unsupported};
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

/// `Loop`: iterations so far and what they stacked.
pub(super) struct Loop {
    iteration: u64,
    trips: Option<u64>,
    /// How many values one iteration hands to the next.
    carried: usize,
    stacked: Vec<Vec<T>>,
}

/// `Scan`: the slices of every iteration.
pub(super) struct Scan {
    iteration: u64,
    trips: u64,
    states: usize,
    inputs: Vec<ScanInput>,
    outputs: Vec<ScanOutput>,
    stacked: Vec<Vec<T>>,
}

#[derive(Clone)]
struct ScanInput {
    tensor: T,
    axis: usize,
    reverse: bool,
}

#[derive(Clone, Copy)]
struct ScanOutput {
    axis: i64,
    reverse: bool,
}

/// `SequenceMap`: its inputs and what the iterations gave.
pub(super) struct Map {
    iteration: usize,
    inputs: Vec<Value>,
    results: Vec<Vec<Value>>,
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

    fn ints_of(&self, top: usize, node: &Node, name: &str) -> Vec<i64> {
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

    fn start_loop(&mut self, top: usize, node: &Node, inputs: &[Option<Value>]) -> R<()> {
        let body = self.graph_of(top, node, "body")?;
        let inputs = Inputs(inputs);
        let trips = match inputs.tensor_opt(0)? {
            Some(trips) => Some(u64::try_from(self.emitter.int(trips)?).unwrap_or(0)),
            None => None,
        };
        let go = match inputs.tensor_opt(1)? {
            Some(condition) => self.emitter.int(condition)? != 0,
            None => true,
        };
        let carried: Vec<Value> =
            inputs.0.get(2..).unwrap_or_default().iter().flatten().cloned().collect();
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
        let stacked = vec![Vec::new(); stacked];
        let state = Loop { iteration: 0, trips, carried: carried.len(), stacked };
        self.push(&body, Some(top), Kind::Loop(state))?;
        self.iterate(iteration_inputs(0, carried)?);
        Ok(())
    }

    /// Starts the top frame's nodes again, with these inputs.
    pub(super) fn iterate(&mut self, values: Vec<Value>) {
        let top = self.frames.len() - 1;
        let frame = &mut self.frames[top];
        frame.next = 0;
        frame.scope.clear();
        for (input, value) in frame.graph.inputs.iter().zip(values) {
            frame.scope.insert(input.name, value);
        }
    }

    fn end_loop(&mut self, top: usize, values: Vec<Value>) -> R<Option<Vec<Value>>> {
        // Nothing may change before the condition is known: this runs again then.
        let condition = values.first().ok_or_else(|| invalid("the body has no condition"))?;
        let condition = as_tensor(condition)?.clone();
        let go = self.emitter.int(&condition)? != 0;
        let Kind::Loop(state) = &mut self.frames[top].kind else { return Ok(None) };
        let split = 1 + state.carried;
        for (stack, value) in state.stacked.iter_mut().zip(&values[split..]) {
            stack.push(as_tensor(value)?.clone());
        }
        state.iteration += 1;
        bounded(state.iteration)?;
        if go && state.trips.is_none_or(|trips| state.iteration < trips) {
            let inputs = iteration_inputs(state.iteration, values[1..split].to_vec())?;
            self.iterate(inputs);
            return Ok(None);
        }
        let stacked = std::mem::take(&mut state.stacked);
        let mut outputs = values[1..split].to_vec();
        for rows in stacked {
            outputs.push(stack(&mut self.emitter, &rows, 0)?.into());
        }
        Ok(Some(outputs))
    }

    fn start_scan(&mut self, top: usize, node: &Node, inputs: &[Option<Value>]) -> R<()> {
        if self.frames[top].opset < 9 {
            return Err(unsupported("Scan of opset 8; expected opset 9 or later"));
        }
        let body = self.graph_of(top, node, "body")?;
        let scanned = self.ints_of(top, node, "num_scan_inputs");
        let scanned = scanned.first().copied().unwrap_or(0);
        let inputs: Vec<T> = Inputs(inputs).tensors()?.into_iter().cloned().collect();
        let states = usize::try_from(scanned).ok().and_then(|n| inputs.len().checked_sub(n));
        let states = states.ok_or_else(|| invalid("num_scan_inputs is more than the inputs"))?;
        let stacked = body.outputs.len().checked_sub(states);
        let stacked = stacked.ok_or_else(|| invalid("the body has too few outputs"))?;
        let scan_inputs = self.scan_inputs(top, node, &inputs[states..])?;
        let first = scan_inputs.first().ok_or_else(|| invalid("expected a scanned input"))?;
        let trips = first.tensor.extent(first.axis)?;
        bounded(trips)?;
        let axes = self.ints_of(top, node, "scan_output_axes");
        let directions = self.ints_of(top, node, "scan_output_directions");
        let output =
            |index| ScanOutput { axis: at(&axes, index), reverse: at(&directions, index) == 1 };
        let mut initial: Vec<Value> = inputs[..states].iter().cloned().map(Value::Tensor).collect();
        if trips == 0 {
            for output in &body.outputs[states..] {
                initial.push(empty_stack(&output.ty)?.into());
            }
            return self.complete(top, node, initial);
        }
        let outputs = (0..stacked).map(output).collect();
        let stacked = vec![Vec::new(); stacked];
        let scan = Scan { iteration: 0, trips, states, inputs: scan_inputs, outputs, stacked };
        self.push(&body, Some(top), Kind::Scan(scan))?;
        self.next_scan(initial)
    }

    fn scan_inputs(&self, top: usize, node: &Node, tensors: &[T]) -> R<Vec<ScanInput>> {
        let axes = self.ints_of(top, node, "scan_input_axes");
        let directions = self.ints_of(top, node, "scan_input_directions");
        let input = |(index, tensor): (usize, &T)| {
            let axis = axis_of(at(&axes, index), tensor.rank())?;
            let reverse = at(&directions, index) == 1;
            Ok(ScanInput { tensor: tensor.clone(), axis, reverse })
        };
        tensors.iter().enumerate().map(input).collect()
    }

    fn next_scan(&mut self, states: Vec<Value>) -> R<()> {
        let top = self.frames.len() - 1;
        let Kind::Scan(scan) = &self.frames[top].kind else { return Ok(()) };
        let (iteration, trips, inputs) = (scan.iteration, scan.trips, scan.inputs.clone());
        let mut values = states;
        for input in inputs {
            let at = if input.reverse { trips - 1 - iteration } else { iteration };
            values.push(match input.tensor.dtype {
                DType::Bytes => text_at(&mut self.emitter, &input.tensor, input.axis, at)?.into(),
                _ => {
                    let slice = self.emitter.slice(&input.tensor, input.axis, (at, at + 1), 1)?;
                    self.emitter.squeeze(&slice, input.axis)?.into()
                }
            });
        }
        self.iterate(values);
        Ok(())
    }

    fn end_scan(&mut self, top: usize, values: Vec<Value>) -> R<Option<Vec<Value>>> {
        let Kind::Scan(scan) = &mut self.frames[top].kind else { return Ok(None) };
        for (stack, value) in scan.stacked.iter_mut().zip(&values[scan.states..]) {
            stack.push(as_tensor(value)?.clone());
        }
        scan.iteration += 1;
        let mut outputs = values[..scan.states].to_vec();
        if scan.iteration < scan.trips {
            self.next_scan(outputs)?;
            return Ok(None);
        }
        let (stacked, wanted) = (std::mem::take(&mut scan.stacked), scan.outputs.clone());
        for (mut rows, output) in stacked.into_iter().zip(wanted) {
            if output.reverse {
                rows.reverse();
            }
            let rank = rows.first().map_or(0, |tensor| tensor.rank()) + 1;
            outputs.push(stack(&mut self.emitter, &rows, axis_of(output.axis, rank)?)?.into());
        }
        Ok(Some(outputs))
    }

    fn start_map(&mut self, top: usize, node: &Node, inputs: &[Option<Value>]) -> R<()> {
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
        self.iterate(values);
        Ok(())
    }

    fn end_map(&mut self, top: usize, values: Vec<Value>) -> R<Option<Vec<Value>>> {
        let Kind::Map(map) = &mut self.frames[top].kind else { return Ok(None) };
        for (results, value) in map.results.iter_mut().zip(values) {
            results.push(value);
        }
        map.iteration += 1;
        if map.iteration < map.len()? {
            self.next_map()?;
            return Ok(None);
        }
        let results = std::mem::take(&mut map.results);
        Ok(Some(results.into_iter().map(|values| Value::Sequence(Rc::new(values))).collect()))
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

impl Map {
    fn len(&self) -> R<usize> {
        match self.inputs.first() {
            Some(Value::Sequence(items)) => Ok(items.len()),
            _ => Err(invalid("input 0: expected a sequence")),
        }
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

fn at(list: &[i64], index: usize) -> i64 {
    list.get(index).copied().unwrap_or(0)
}

fn bounded(iterations: u64) -> R<()> {
    if iterations > ITERATIONS_MAX {
        let message = format!("expected at most {ITERATIONS_MAX} iterations, got {iterations}");
        return Err(Error::limit("onnx-iterations", message).into());
    }
    Ok(())
}

/// What no iteration stacks: no rows, the other extents as the body's output has them.
fn empty_stack(ty: &ValueType) -> R<T> {
    let ValueType::Tensor(ty) = ty else { return Ok(int_vector(&[])) };
    let mut shape = vec![0];
    for dim in ty.dims.as_deref().unwrap_or_default() {
        shape.push(match dim {
            DimProto::Known(extent) => *extent,
            DimProto::Named(_) | DimProto::Open => 0,
        });
    }
    let dtype = ty.element.dtype().unwrap_or(DType::F32);
    Ok(TensorValue::of_bytes(dtype, &shape, Vec::new()))
}
