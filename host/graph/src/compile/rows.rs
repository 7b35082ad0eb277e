//! Row segments: maximal chains of ops that work row by row, to be run block by block in cache.

use super::{DenseForm, Draft, ImageInst, ImageKind, Inst, LinearInst};
use crate::graph::ValueId;
use crate::op::RowForm;
use crate::packing::{FilterForm, MatrixSource};
use crate::step::{
    BUFFERS_MAX, ImageStep, OUTS_MAX, OpStep, Operand, RowKind, RowSegment, RowSource, RowStep,
    Step,
};
use crate::{Dim, PlanError};
use aimass_tensor::DType;
use std::collections::{HashMap, HashSet};

/// Most instructions of one segment: placing its buffers looks at pairs of them.
const INSTS_MAX: usize = 256;

/// The steps of a plan, and the matrices that its linear layers multiply with.
///
/// # Errors
/// [`PlanError::Internal`] if an instruction that works row by row does not become a row step.
pub(super) fn steps(draft: &Draft) -> Result<(Vec<Step>, Vec<MatrixSource>), PlanError> {
    let mut readers: HashMap<ValueId, Vec<usize>> = HashMap::new();
    for (index, inst) in draft.insts.iter().enumerate() {
        for value in inst.inputs() {
            readers.entry(draft.base(value)).or_default().push(index);
        }
    }
    for &value in &draft.results {
        readers.entry(draft.base(value)).or_default().push(usize::MAX);
    }
    let (steps, matrices) = (Vec::new(), Vec::new());
    let mut cutter = Cutter { draft, readers, steps, matrices, open: None, failed: false };
    for (index, inst) in draft.insts.iter().enumerate() {
        cutter.add(index, inst);
    }
    cutter.close();
    match cutter.failed {
        true => Err(PlanError::Internal("an instruction is no row step")),
        false => Ok((cutter.steps, cutter.matrices)),
    }
}

/// A segment that still grows.
struct Open {
    /// Dimensions in front of the columns.
    lead: Vec<Dim>,
    insts: Vec<usize>,
    made: HashSet<ValueId>,
}

struct Cutter<'a> {
    draft: &'a Draft,
    /// Instructions that read each value; `usize::MAX` for the outputs of the plan.
    readers: HashMap<ValueId, Vec<usize>>,
    steps: Vec<Step>,
    matrices: Vec<MatrixSource>,
    open: Option<Open>,
    failed: bool,
}

/// What a row op reads.
struct RowReads {
    /// Row by row.
    rows: Vec<ValueId>,
    /// As a whole.
    whole: Vec<ValueId>,
}

impl Cutter<'_> {
    fn add(&mut self, index: usize, inst: &Inst) {
        let draft = self.draft;
        let Some((reads, out)) = row_reads(draft, inst) else {
            let depends = self.open.as_ref().is_some_and(|open| {
                inst.inputs().iter().any(|&value| open.made.contains(&draft.base(value)))
            });
            // What does not need the open segment runs before it, so that the segment can grow.
            if depends {
                self.close();
            }
            match inst {
                Inst::Op { op, inputs, outputs } => {
                    let (op, inputs, outputs) = (op.clone(), inputs.clone(), outputs.clone());
                    self.steps.push(Step::Op(OpStep { op, inputs, outputs }));
                }
                Inst::Image(image) => self.image(image),
                Inst::Linear(_) => {}
            }
            return;
        };
        let dims = &draft.spec(out).dims;
        let lead = &dims[..dims.len() - 1];
        let fits = self.open.as_ref().is_some_and(|open| {
            let inside = |value: &ValueId| open.made.contains(&draft.base(*value));
            open.lead == lead
                && open.insts.len() < INSTS_MAX
                && !reads.whole.iter().any(inside)
                && reads.rows.iter().all(|value| !inside(value) || open.made.contains(value))
        });
        if !fits {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| Open {
            lead: lead.to_vec(),
            insts: Vec::new(),
            made: HashSet::new(),
        });
        open.insts.push(index);
        open.made.insert(out);
    }

    fn image(&mut self, image: &ImageInst) {
        let taps = image.kernel[0] * image.kernel[1];
        let source = match &image.kind {
            ImageKind::Dense { weight, channels, filters, form } => {
                let form = match form {
                    DenseForm::Windows | DenseForm::Planes => FilterForm::Windows,
                    DenseForm::Tiles => FilterForm::Tiles,
                };
                Some((weight, *channels, *filters, form))
            }
            ImageKind::Spread { weight, channels, filters } => {
                Some((weight, *channels, *filters, FilterForm::Spread))
            }
            ImageKind::Depthwise { .. } | ImageKind::Pool(_) => None,
        };
        let matrix = source.map(|(weight, channels, filters, form)| {
            let weight = weight.clone();
            self.matrices.push(MatrixSource::Filters { weight, channels, filters, taps, form });
            self.matrices.len() - 1
        });
        self.steps.push(Step::Image(ImageStep { inst: image.clone(), matrix }));
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.segment(&open.insts);
        }
    }

    /// Emits a segment, cut in halves where it has too many outputs or buffers.
    fn segment(&mut self, insts: &[usize]) {
        let built = Builder::new(self.draft, insts).build(&self.readers, &mut self.matrices);
        match built {
            Some(segment) => self.steps.push(Step::Rows(segment)),
            None if insts.len() < 2 => self.failed = true,
            None => {
                let (left, right) = insts.split_at(insts.len() / 2);
                self.segment(left);
                self.segment(right);
            }
        }
    }
}

/// What an instruction reads and makes, if it works row by row on f32.
fn row_reads(draft: &Draft, inst: &Inst) -> Option<(RowReads, ValueId)> {
    let reads = |rows: Vec<ValueId>, whole: Vec<ValueId>| RowReads { rows, whole };
    let (op, inputs, outputs) = match inst {
        Inst::Linear(linear) => {
            let LinearInst { x, bias, residual, out, .. } = linear;
            let rows = [Some(*x), *residual].into_iter().flatten().collect();
            return Some((reads(rows, bias.iter().copied().collect()), *out));
        }
        Inst::Op { op, inputs, outputs } => (op, inputs, outputs),
        Inst::Image(_) => return None,
    };
    let out = outputs[0];
    let spec = draft.spec(out);
    let columns = columns(draft, out)?;
    if spec.dtype != DType::F32 || columns == 0 {
        return None;
    }
    let found = match op.rule().row_form()? {
        RowForm::Unary(_) => reads(inputs.clone(), Vec::new()),
        RowForm::LayerNorm { .. } | RowForm::Normalize { .. } => {
            reads(vec![inputs[0]], inputs[1..].to_vec())
        }
        RowForm::Softmax { axis } if axis + 1 == spec.rank() => reads(inputs.clone(), Vec::new()),
        RowForm::Softmax { .. } => return None,
        RowForm::Binary(_) => {
            let (mut rows, mut whole) = (Vec::new(), Vec::new());
            for &input in inputs {
                match draft.spec(input).dims == spec.dims {
                    true => rows.push(input),
                    false if is_whole(draft, input, columns) => whole.push(input),
                    false => return None,
                }
            }
            if rows.is_empty() {
                return None;
            }
            reads(rows, whole)
        }
        RowForm::Gather { axis } => {
            if axis != 0 || draft.spec(inputs[0]).rank() != 2 {
                return None;
            }
            reads(Vec::new(), inputs.clone())
        }
    };
    Some((found, out))
}

/// The known extent of the last axis.
fn columns(draft: &Draft, value: ValueId) -> Option<usize> {
    usize::try_from(draft.spec(value).dims.last()?.fixed()?).ok()
}

/// Whether a value is one row for all rows, or one number.
fn is_whole(draft: &Draft, value: ValueId, columns: usize) -> bool {
    let (last, front) = match draft.spec(value).dims.split_last() {
        Some((last, front)) => (last.clone(), front),
        None => return true,
    };
    let ones = front.iter().all(|dim| *dim == Dim::Fixed(1));
    ones && (last == Dim::Fixed(1) || last == Dim::Fixed(columns as u64))
}

/// Assigns the buffers of one segment.
struct Builder<'a> {
    draft: &'a Draft,
    insts: &'a [usize],
    outs: Vec<ValueId>,
    /// Value that shares the buffer, because a later step works in place on it.
    merged: HashMap<ValueId, ValueId>,
    buffers: HashMap<ValueId, usize>,
    columns: Vec<usize>,
}

impl<'a> Builder<'a> {
    fn new(draft: &'a Draft, insts: &'a [usize]) -> Builder<'a> {
        let (outs, merged, buffers) = (Vec::new(), HashMap::new(), HashMap::new());
        Builder { draft, insts, outs, merged, buffers, columns: Vec::new() }
    }

    /// The segment, or `None` if it has to be cut.
    fn build(
        mut self,
        readers: &HashMap<ValueId, Vec<usize>>,
        matrices: &mut Vec<MatrixSource>,
    ) -> Option<RowSegment> {
        let made: Vec<ValueId> =
            self.insts.iter().map(|&index| self.draft.insts[index].outputs()[0]).collect();
        self.find_outs(&made, readers);
        if self.outs.len() > OUTS_MAX {
            return None;
        }
        let last_use = self.last_uses(&made);
        self.merge_in_place(&made, &last_use);
        self.assign(&made, &last_use);
        if self.columns.len() > BUFFERS_MAX && self.insts.len() > 1 {
            return None;
        }
        let mut row_work = 0;
        let mut steps = Vec::with_capacity(self.insts.len());
        for &index in self.insts {
            let step = self.step(&self.draft.insts[index], matrices)?;
            row_work += match &self.draft.insts[index] {
                Inst::Linear(linear) => linear.parts[0].k * linear.columns(),
                Inst::Op { .. } | Inst::Image(_) => 8 * step.columns,
            };
            steps.push(step);
        }
        Some(RowSegment { steps, outs: self.outs, columns: self.columns, row_work })
    }

    /// Values that something outside the segment reads.
    fn find_outs(&mut self, made: &[ValueId], readers: &HashMap<ValueId, Vec<usize>>) {
        let inside: HashSet<usize> = self.insts.iter().copied().collect();
        let leaves = |value: &ValueId| {
            readers.get(value).is_some_and(|all| all.iter().any(|reader| !inside.contains(reader)))
        };
        self.outs = made.iter().copied().filter(leaves).collect();
    }

    /// Number of the last step of the segment that reads each value.
    fn last_uses(&self, made: &[ValueId]) -> HashMap<ValueId, usize> {
        let mut last: HashMap<ValueId, usize> =
            made.iter().enumerate().map(|(step, &value)| (value, step)).collect();
        for (step, &index) in self.insts.iter().enumerate() {
            for input in self.draft.insts[index].inputs() {
                if let Some(last) = last.get_mut(&input) {
                    *last = step;
                }
            }
        }
        last
    }

    fn merge_in_place(&mut self, made: &[ValueId], last_use: &HashMap<ValueId, usize>) {
        for (step, &index) in self.insts.iter().enumerate() {
            let Inst::Op { op, inputs, outputs } = &self.draft.insts[index] else { continue };
            let in_place = match op.rule().row_form() {
                Some(RowForm::Unary(_) | RowForm::LayerNorm { .. }) => true,
                Some(RowForm::Normalize { .. } | RowForm::Softmax { .. }) => true,
                Some(RowForm::Binary(_) | RowForm::Gather { .. }) | None => false,
            };
            let x = inputs.first().copied().filter(|x| made.contains(x));
            if let (true, Some(x)) = (in_place, x)
                && last_use.get(&x) == Some(&step)
                && !self.outs.contains(&x)
            {
                self.merged.insert(x, outputs[0]);
            }
        }
    }

    /// The value whose buffer a value is in.
    fn owner(&self, mut value: ValueId) -> ValueId {
        while let Some(&next) = self.merged.get(&value) {
            value = next;
        }
        value
    }

    fn assign(&mut self, made: &[ValueId], last_use: &HashMap<ValueId, usize>) {
        let width = |value: ValueId| columns(self.draft, value).unwrap_or(0);
        for (buffer, &out) in self.outs.iter().enumerate() {
            self.buffers.insert(out, buffer);
            self.columns.push(width(out));
        }
        // Last step in which the value of a scratch buffer is read, and the buffer.
        let mut busy: Vec<(usize, usize)> = Vec::new();
        let outs = self.outs.len();
        for (step, &value) in made.iter().enumerate() {
            let owner = self.owner(value);
            if self.buffers.contains_key(&owner) {
                continue;
            }
            let end = last_use.get(&owner).copied().unwrap_or(step);
            let taken: HashSet<usize> =
                busy.iter().filter(|(end, _)| *end >= step).map(|(_, buffer)| *buffer).collect();
            let free = (outs..self.columns.len()).filter(|buffer| !taken.contains(buffer));
            let columns = width(owner);
            let buffer = match free.min_by_key(|&buffer| self.columns[buffer].abs_diff(columns)) {
                Some(buffer) => {
                    self.columns[buffer] = self.columns[buffer].max(columns);
                    buffer
                }
                None => {
                    self.columns.push(columns);
                    self.columns.len() - 1
                }
            };
            busy.push((end, buffer));
            self.buffers.insert(owner, buffer);
        }
    }

    fn source(&self, value: ValueId) -> RowSource {
        match self.buffers.get(&self.owner(value)) {
            Some(&buffer) => RowSource::Buffer(buffer),
            None => RowSource::Value(value),
        }
    }

    fn step(&self, inst: &Inst, matrices: &mut Vec<MatrixSource>) -> Option<RowStep> {
        let to = *self.buffers.get(&self.owner(inst.outputs()[0]))?;
        let (op, inputs) = match inst {
            Inst::Linear(linear) => {
                matrices.push(MatrixSource::Parts(linear.parts.clone()));
                let kind = RowKind::Linear {
                    matrix: matrices.len() - 1,
                    bias: linear.bias,
                    finish: linear.finish,
                    residual: linear.residual.map(|value| self.source(value)),
                };
                let from = self.source(linear.x);
                return Some(RowStep { kind, from, to, columns: linear.parts[0].k });
            }
            Inst::Op { op, inputs, .. } => (op, inputs),
            Inst::Image(_) => return None,
        };
        let columns = columns(self.draft, inst.outputs()[0])?;
        let mut from = self.source(inputs[0]);
        let kind = match op.rule().row_form()? {
            RowForm::Unary(kernel) => RowKind::Unary(kernel),
            RowForm::LayerNorm { epsilon } => {
                RowKind::LayerNorm { scale: inputs[1], bias: inputs.get(2).copied(), epsilon }
            }
            RowForm::Normalize { kind, epsilon } => {
                RowKind::Normalize { kind, scale: inputs.get(1).copied(), epsilon }
            }
            RowForm::Softmax { .. } => RowKind::Softmax,
            RowForm::Binary(op) => {
                let dims = &self.draft.spec(inst.outputs()[0]).dims;
                let operand = |value: ValueId| match self.draft.spec(value).dims == *dims {
                    true => Operand::Rows(self.source(value)),
                    false => Operand::Whole(value),
                };
                let (left, right) = (operand(inputs[0]), operand(inputs[1]));
                RowKind::Binary { op, left, right }
            }
            RowForm::Gather { .. } => {
                from = RowSource::Value(inputs[1]);
                RowKind::Gather { table: inputs[0], indices: inputs[1] }
            }
        };
        Some(RowStep { kind, from, to, columns })
    }
}
