//! `Scan`: of opset 9 along chosen axes, of opset 8 along axis 1 of each row of a batch.

use super::Tracer;
use super::control::{Kind, at, bounded, empty_stack};
use super::stack::Stack;
use crate::node::{Inputs, as_tensor, axis_of};
use crate::ops::text_at;
use crate::proto::{Graph, Node};
use crate::value::{R, T, Value, invalid};
use aimass_sdk::DType;
use aimass_sdk::graph::PadMode;

/// The slices of every iteration, and what came of them.
pub(super) struct Scan {
    iteration: u64,
    /// How many values one iteration hands to the next.
    states: usize,
    /// What is scanned now; the others come after it. Opset 9 has one.
    row: usize,
    rows: Vec<Row>,
    outputs: Vec<ScanOutput>,
    stacked: Vec<Stack>,
    /// Of opset 8: iterations of the longest row, and the outputs of the rows so far.
    batch: Option<(u64, Vec<Vec<T>>)>,
}

/// One scan.
struct Row {
    trips: u64,
    initial: Vec<Value>,
    inputs: Vec<ScanInput>,
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

impl Tracer {
    pub(super) fn start_scan(
        &mut self,
        top: usize,
        node: &Node,
        inputs: &[Option<Value>],
    ) -> R<()> {
        let body = self.graph_of(top, node, "body")?;
        let batched = self.frames[top].opset < 9;
        let (lens, inputs) = match inputs.split_first() {
            Some((lens, inputs)) if batched => (lens.as_ref(), inputs),
            _ => (None, inputs),
        };
        let scanned = at(&self.ints_of(top, node, "num_scan_inputs"), 0);
        let inputs: Vec<T> = Inputs(inputs).tensors()?.into_iter().cloned().collect();
        let states = usize::try_from(scanned).ok().and_then(|n| inputs.len().checked_sub(n));
        let states = states.filter(|states| *states < inputs.len());
        let states = states.ok_or_else(|| invalid("num_scan_inputs does not fit the inputs"))?;
        let stacked = body.outputs.len().checked_sub(states);
        let stacked = stacked.ok_or_else(|| invalid("the body has too few outputs"))?;
        let mut scan = Scan {
            iteration: 0,
            states,
            row: 0,
            rows: Vec::new(),
            outputs: self.scan_outputs(top, node, stacked),
            stacked: vec![Stack::default(); stacked],
            batch: None,
        };
        if batched {
            let lens = lens.map(as_tensor).transpose()?;
            self.batch_rows(top, node, &mut scan, (&inputs, lens))?;
        } else {
            let scan_inputs = self.scan_inputs(top, node, &inputs[states..])?;
            let first = &scan_inputs[0];
            let trips = first.tensor.extent(first.axis)?;
            let initial = inputs[..states].iter().cloned().map(Value::Tensor).collect();
            scan.rows.push(Row { trips, initial, inputs: scan_inputs });
        }
        bounded(scan.rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.trips)))?;
        if scan.rows.iter().any(|row| row.trips == 0) || scan.rows.is_empty() {
            return self.scan_nothing(top, node, &body, scan);
        }
        let initial = scan.rows[0].initial.clone();
        self.push(&body, Some(top), Kind::Scan(scan))?;
        self.next_scan(initial)
    }

    /// What a scan without iterations answers.
    fn scan_nothing(&mut self, top: usize, node: &Node, body: &Graph, scan: Scan) -> R<()> {
        let [row] = scan.rows.as_slice() else {
            return Err(invalid("a scan of a batch with an empty row"));
        };
        if scan.batch.is_some() {
            return Err(invalid("a scan of a batch with an empty row"));
        }
        let mut outputs = row.initial.clone();
        for output in &body.outputs[scan.states..] {
            outputs.push(empty_stack(&output.ty)?.into());
        }
        self.complete(top, node, outputs)
    }

    fn scan_outputs(&self, top: usize, node: &Node, count: usize) -> Vec<ScanOutput> {
        let axes = self.ints_of(top, node, "scan_output_axes");
        let directions = self.ints_of(top, node, "scan_output_directions");
        let output =
            |index| ScanOutput { axis: at(&axes, index), reverse: at(&directions, index) == 1 };
        (0..count).map(output).collect()
    }

    fn scan_inputs(&self, top: usize, node: &Node, tensors: &[T]) -> R<Vec<ScanInput>> {
        let axes = self.ints_of(top, node, "scan_input_axes");
        let directions = self.ints_of(top, node, "scan_input_directions");
        let mut extent = None;
        let mut inputs = Vec::with_capacity(tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            if tensor.rank() == 0 {
                return Err(invalid("expected a scanned input with an axis, got a scalar"));
            }
            let axis = axis_of(at(&axes, index), tensor.rank())?;
            let own = tensor.extent(axis)?;
            if *extent.get_or_insert(own) != own {
                return Err(invalid("the scanned inputs have different extents"));
            }
            let reverse = at(&directions, index) == 1;
            inputs.push(ScanInput { tensor: tensor.clone(), axis, reverse });
        }
        Ok(inputs)
    }

    /// Fills in the rows of a batch (opset 8).
    fn batch_rows(
        &mut self,
        top: usize,
        node: &Node,
        scan: &mut Scan,
        (inputs, lens): (&[T], Option<&T>),
    ) -> R<()> {
        let directions = self.ints_of(top, node, "directions");
        let first = &inputs[scan.states];
        let (rows, most) = (first.extent(0)?, first.extent(1)?);
        bounded(rows)?;
        let lens = match lens {
            Some(lens) => self.emitter.ints(lens)?,
            None => vec![most as i64; rows as usize],
        };
        if lens.len() as u64 != rows || lens.iter().any(|&len| !(0..=most as i64).contains(&len)) {
            return Err(invalid(format!("expected {rows} lengths of at most {most}")));
        }
        for (row, &len) in lens.iter().enumerate() {
            let mut own = Vec::with_capacity(inputs.len());
            for tensor in inputs {
                if tensor.extent(0)? != rows {
                    return Err(invalid("the inputs have different numbers of rows"));
                }
                let range = (row as u64, row as u64 + 1);
                let slice = self.emitter.slice(tensor, 0, range, 1)?;
                own.push(self.emitter.squeeze(&slice, 0)?);
            }
            let mut scanned = Vec::new();
            for (index, tensor) in own.split_off(scan.states).into_iter().enumerate() {
                if tensor.extent(0)? != most {
                    return Err(invalid("the scanned inputs have different extents"));
                }
                scanned.push(ScanInput { tensor, axis: 0, reverse: at(&directions, index) == 1 });
            }
            let initial = own.into_iter().map(Value::Tensor).collect();
            scan.rows.push(Row { trips: len as u64, initial, inputs: scanned });
        }
        scan.batch = Some((most, vec![Vec::new(); scan.states + scan.outputs.len()]));
        Ok(())
    }

    fn next_scan(&mut self, states: Vec<Value>) -> R<()> {
        let top = self.frames.len() - 1;
        let Kind::Scan(scan) = &self.frames[top].kind else { return Ok(()) };
        let row = &scan.rows[scan.row];
        let (iteration, trips, inputs) = (scan.iteration, row.trips, row.inputs.clone());
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
        self.iterate(values)
    }

    pub(super) fn end_scan(&mut self, top: usize, values: Vec<Value>) -> R<Option<Vec<Value>>> {
        self.observe_texts(&values)?;
        let Kind::Scan(scan) = &mut self.frames[top].kind else { return Ok(None) };
        for (stack, value) in scan.stacked.iter_mut().zip(&values[scan.states..]) {
            stack.push(as_tensor(value)?.clone());
            stack.settle(&mut self.emitter)?;
        }
        scan.iteration += 1;
        let states = values[..scan.states].to_vec();
        if scan.iteration < scan.rows[scan.row].trips {
            self.next_scan(states)?;
            return Ok(None);
        }
        let mut outputs = states;
        for (rows, output) in std::mem::take(&mut scan.stacked).iter().zip(&scan.outputs) {
            let axis = axis_of(output.axis, rows.rank()?)?;
            outputs.push(rows.finish(&mut self.emitter, axis, output.reverse)?.into());
        }
        let Some((most, done)) = &mut scan.batch else { return Ok(Some(outputs)) };
        for (index, (rows, output)) in done.iter_mut().zip(&outputs).enumerate() {
            let mut tensor = as_tensor(output)?.clone();
            let missing = if index < scan.states { 0 } else { *most - scan.iteration };
            if missing > 0 {
                let (mut before, mut after) = (vec![0; tensor.rank()], vec![0; tensor.rank()]);
                (before[0], after[0]) = (0, missing);
                let pads = (before.as_slice(), after.as_slice());
                tensor = self.emitter.pad(&tensor, pads, PadMode::Constant, 0.0)?;
            }
            rows.push(tensor);
        }
        scan.row += 1;
        scan.iteration = 0;
        if let Some(row) = scan.rows.get(scan.row) {
            let initial = row.initial.clone();
            scan.stacked = vec![Stack::default(); scan.outputs.len()];
            self.next_scan(initial)?;
            return Ok(None);
        }
        let mut outputs = Vec::with_capacity(done.len());
        for rows in std::mem::take(done) {
            outputs.push(crate::ops::stack(&mut self.emitter, &rows, 0)?.into());
        }
        Ok(Some(outputs))
    }
}
