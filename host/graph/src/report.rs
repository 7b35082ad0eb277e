//! What a plan does with inputs of given shapes, as plain data: for tools that show or measure it.
//!
//! Counts of operations and bytes are those of the mathematics, not of the machine: a fused step
//! counts what it must read and write, a gather counts the rows that it selects, and memory that
//! stays in cache between the parts of a step counts nothing.

mod labels;
mod work;

pub use labels::OpFamily;

use crate::compile::Place;
use crate::executor::ALIGN;
use crate::graph::ValueId;
use crate::plan::{Plan, Sizes};
use crate::step::{RowKind, Step};
use crate::{Coalescing, Cost, Dim, Rows, RunError, TensorSpec};
use aimass_tensor::{DType, Shape, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A plan with the extents of one run.
#[derive(Debug, Clone)]
pub struct PlanReport {
    /// Inputs, in the order of the signature.
    pub inputs: Vec<TensorSpec>,
    /// Outputs, in the order of the signature.
    pub outputs: Vec<TensorSpec>,
    /// Along what calls are joined, or what stands in the way.
    pub coalescing: Coalescing,
    /// Names the plan by content.
    pub key: [u8; 32],
    /// Threads that a run uses at most.
    pub threads: usize,
    /// Rows and sequences of the run.
    pub rows: Rows,
    /// What the run takes, as it is charged.
    pub cost: Cost,
    /// Slots of the arena, in the order of their offsets.
    pub slots: Vec<SlotReport>,
    /// Bytes of the outputs and written states, which have memory of their own.
    pub result_bytes: u64,
    /// Every value that a step reads or writes, and the outputs, by number.
    pub values: BTreeMap<u32, ValueReport>,
    /// Constants that are read where they lie, or were computed when the plan was compiled.
    pub constants: Vec<ConstantReport>,
    /// Weights in the layout of the product kernels.
    pub matrices: Vec<MatrixReport>,
    /// What runs, in order.
    pub steps: Vec<StepReport>,
    /// What leaves, in the order of `outputs`, and who made it.
    pub results: Vec<ReadReport>,
}

/// A range of the arena that values share, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotReport {
    /// Offset in the arena, a multiple of 64.
    pub offset: u64,
    /// Bytes of its largest value.
    pub bytes: u64,
    /// Values that lie there, in the order in which they are made.
    pub values: Vec<u32>,
}

/// A value of the plan.
#[derive(Debug, Clone)]
pub struct ValueReport {
    /// Name of the input, state or weight; else none.
    pub name: Option<Arc<str>>,
    /// Element type.
    pub dtype: DType,
    /// Extents in this run.
    pub shape: Shape,
    /// Class of axis 0 if calls may be joined along it.
    pub rows: Option<Dim>,
    /// Bytes.
    pub bytes: u64,
    /// Where it lies.
    pub place: ValuePlace,
    /// Step that makes it.
    pub made_by: Option<usize>,
    /// Last step that reads it; after that its slot is free.
    pub last_read: Option<usize>,
}

/// Where the bytes of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValuePlace {
    /// The caller's, by the number of the input.
    Input(usize),
    /// By the number of the constant.
    Constant(usize),
    /// By the number of the state.
    State(usize),
    /// A slot of the arena, by number.
    Slot(usize),
    /// Memory of its own, which leaves the plan.
    Result(usize),
    /// Some columns of the rows of a slot or result.
    Columns {
        /// Slot, or behind the slots result.
        region: usize,
        /// First column.
        start: usize,
        /// Columns of a whole row.
        columns: usize,
    },
    /// Inside a step.
    None,
}

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstantReport {
    /// Name of the weight; none if it was computed while the plan was compiled.
    pub name: Option<Arc<str>>,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
    /// Bytes.
    pub bytes: u64,
}

/// A packed matrix; plans of equal weights share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixReport {
    /// Names of the weights in it, side by side.
    pub names: Vec<Arc<str>>,
    /// Rows: the length of the sums.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// Bytes as packed.
    pub bytes: u64,
}

/// A step.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// What it computes: an op, or the ops that it fuses.
    pub label: String,
    /// What kind of work it is; of a fusion, what its most costly part is.
    pub family: OpFamily,
    /// What it reads, constants included.
    pub reads: Vec<ReadReport>,
    /// What it makes.
    pub writes: Vec<u32>,
    /// Packed matrices that it multiplies with.
    pub matrices: Vec<usize>,
    /// Whether the first output overwrites the first input.
    pub in_place: bool,
    /// Floating-point operations, roughly.
    pub flops: u64,
    /// Bytes of values that it reads, weights included.
    pub bytes_read: u64,
    /// Bytes that it writes.
    pub bytes_written: u64,
    /// Bytes of constants in the layout of this op's kernel, beyond `matrices`.
    pub prepared_bytes: u64,
    /// The ops of a row segment, in order; of other steps none.
    pub parts: Vec<PartReport>,
}

/// A value that a step reads, and who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadReport {
    /// Number of the value.
    pub value: u32,
    /// Step that made what is read; none for inputs, constants and states.
    pub from: Option<usize>,
}

/// One op of a row segment.
#[derive(Debug, Clone)]
pub struct PartReport {
    /// What it computes.
    pub label: String,
    /// What kind of work it is.
    pub family: OpFamily,
    /// Rows that it makes.
    pub rows: u64,
    /// Columns that it makes.
    pub columns: u64,
    /// Floating-point operations, roughly.
    pub flops: u64,
    /// Bytes that it reads from outside the segment and writes for others, weights included.
    pub bytes: u64,
}

impl Plan {
    /// What a run with these inputs does. Nothing runs; of the inputs only shapes count, and the
    /// content of offsets.
    ///
    /// # Errors
    /// As [`Plan::check`], and [`RunError::ArenaLimit`].
    pub fn report(&self, inputs: &[Tensor]) -> Result<PlanReport, RunError> {
        let cost = self.cost(inputs)?;
        let bound = self.extents.bind(&self.signature, inputs)?;
        let sizes = self.sizes(&bound, true)?;
        let mut reporter = Reporter { plan: self, sizes: &sizes, values: BTreeMap::new() };
        let (steps, results) = reporter.steps();
        let values = reporter.values;
        let (slots, left) = sizes.regions.split_at(self.memory.slots.len());
        Ok(PlanReport {
            inputs: self.signature.inputs.clone(),
            outputs: self.signature.outputs.clone(),
            coalescing: self.coalescing().clone(),
            key: self.key(),
            threads: self.threads(),
            rows: self.bound_rows(&bound),
            cost,
            slots: self.slot_reports(slots),
            result_bytes: left.iter().map(|&bytes| bytes as u64).sum(),
            values,
            constants: self.constant_reports(),
            matrices: self.matrix_reports(),
            steps,
            results,
        })
    }

    fn slot_reports(&self, slots: &[usize]) -> Vec<SlotReport> {
        let mut end = 0;
        let slots = slots.iter().zip(&self.memory.slots).map(|(&bytes, values)| {
            let offset = end;
            end += bytes.next_multiple_of(ALIGN) as u64;
            let values = values.iter().map(|value| value.0).collect();
            SlotReport { offset, bytes: bytes as u64, values }
        });
        slots.collect()
    }

    fn constant_reports(&self) -> Vec<ConstantReport> {
        let named = self.constants.iter().zip(&self.names.constants);
        let report = |(tensor, name): (&Tensor, &Option<Arc<str>>)| ConstantReport {
            name: name.clone(),
            dtype: tensor.dtype(),
            shape: *tensor.shape(),
            bytes: tensor.byte_len() as u64,
        };
        named.map(report).collect()
    }

    fn matrix_reports(&self) -> Vec<MatrixReport> {
        let named = self.matrices.iter().zip(&self.names.matrices);
        let report = named.map(|(matrix, names)| MatrixReport {
            names: names.clone(),
            k: matrix.k(),
            n: matrix.n(),
            bytes: matrix.bytes() as u64,
        });
        report.collect()
    }
}

/// A report in progress.
struct Reporter<'p> {
    plan: &'p Plan,
    sizes: &'p Sizes,
    values: BTreeMap<u32, ValueReport>,
}

impl Reporter<'_> {
    /// The steps, and the outputs of the plan.
    fn steps(&mut self) -> (Vec<StepReport>, Vec<ReadReport>) {
        // Step that wrote each region last, and the value that it wrote.
        let mut writers: Vec<Option<(usize, u32)>> = vec![None; self.sizes.regions.len()];
        let mut steps = Vec::with_capacity(self.plan.steps.len());
        for (index, step) in self.plan.steps.iter().enumerate() {
            let mut reads = step.reads();
            let mut seen = std::collections::HashSet::new();
            reads.retain(|value| seen.insert(*value) && self.exists(*value));
            let reads: Vec<ReadReport> =
                reads.into_iter().map(|value| self.read(value, index, &writers)).collect();
            for &value in step.writes() {
                self.add(value);
                if let Some(region) = self.region(value) {
                    writers[region] = Some((index, value.0));
                }
                if let Some(report) = self.values.get_mut(&value.0) {
                    report.made_by = Some(index);
                }
            }
            steps.push(self.step(index, step, reads));
        }
        let mut results = Vec::with_capacity(self.plan.outputs.len());
        for &output in &self.plan.outputs {
            self.add(output);
            let from = self.region(output).and_then(|region| writers[region]);
            results.push(ReadReport { value: output.0, from: from.map(|(step, _)| step) });
        }
        (steps, results)
    }

    /// Whether a value has bytes outside of a step.
    fn exists(&self, value: ValueId) -> bool {
        self.plan.memory.places[value.index()] != Place::None
    }

    fn read(
        &mut self,
        value: ValueId,
        index: usize,
        writers: &[Option<(usize, u32)>],
    ) -> ReadReport {
        self.add(value);
        let made = self.region(value).and_then(|region| writers[region]);
        let written = made.map(|(_, written)| written);
        for id in [Some(value.0), written].into_iter().flatten() {
            if let Some(report) = self.values.get_mut(&id) {
                report.last_read = Some(index);
                report.made_by = report.made_by.or(made.map(|(step, _)| step));
            }
        }
        ReadReport { value: value.0, from: made.map(|(step, _)| step) }
    }

    fn region(&self, value: ValueId) -> Option<usize> {
        match self.plan.memory.places[value.index()] {
            Place::Region(region) | Place::Columns { region, .. } => Some(region),
            Place::None | Place::Input(_) | Place::Constant(_) | Place::State(_) => None,
        }
    }

    fn add(&mut self, value: ValueId) {
        let plan = self.plan;
        let slots = plan.memory.slots.len();
        let place = match plan.memory.places[value.index()] {
            Place::None => ValuePlace::None,
            Place::Input(index) => ValuePlace::Input(index),
            Place::Constant(index) => ValuePlace::Constant(index),
            Place::State(index) => ValuePlace::State(index),
            Place::Region(region) if region < slots => ValuePlace::Slot(region),
            Place::Region(region) => ValuePlace::Result(region - slots),
            Place::Columns { region, start, columns } => {
                ValuePlace::Columns { region, start, columns }
            }
        };
        let name = match place {
            ValuePlace::Input(index) => plan.signature.inputs.get(index).map(|s| s.name.clone()),
            ValuePlace::Constant(index) => plan.names.constants.get(index).cloned().flatten(),
            ValuePlace::State(index) => plan.names.states.get(index).cloned(),
            ValuePlace::Slot(_) | ValuePlace::Columns { .. } | ValuePlace::None => None,
            ValuePlace::Result(_) => {
                let output = plan.outputs.iter().position(|output| *output == value);
                output.and_then(|i| plan.signature.outputs.get(i)).map(|spec| spec.name.clone())
            }
        };
        self.values.entry(value.0).or_insert_with(|| ValueReport {
            name,
            dtype: plan.dtypes[value.index()],
            shape: self.sizes.shapes[value.index()],
            rows: plan.rows[value.index()].clone(),
            bytes: work::bytes(plan, self.sizes, value),
            place,
            made_by: None,
            last_read: None,
        });
    }

    fn step(&self, index: usize, step: &Step, reads: Vec<ReadReport>) -> StepReport {
        let (plan, sizes) = (self.plan, self.sizes);
        let parts = work::parts(plan, sizes, step);
        let matrices = match step {
            Step::Op(_) => Vec::new(),
            Step::Image(step) => step.matrix.into_iter().collect(),
            Step::Rows(segment) => {
                let of = |kind: &RowKind| match kind {
                    RowKind::Linear { matrix, .. } => Some(*matrix),
                    RowKind::Unary(_)
                    | RowKind::Binary { .. }
                    | RowKind::LayerNorm { .. }
                    | RowKind::Normalize { .. }
                    | RowKind::Softmax
                    | RowKind::Gather { .. } => None,
                };
                segment.steps.iter().filter_map(|step| of(&step.kind)).collect()
            }
        };
        let packed: u64 = matrices.iter().map(|&i| plan.matrices[i].bytes() as u64).sum();
        let prepared_bytes = match step {
            Step::Op(step) => step.op.rule().prepared_bytes(),
            Step::Rows(_) | Step::Image(_) => 0,
        };
        let read = work::bytes_read(plan, sizes, step, &reads);
        StepReport {
            label: labels::step(plan, step),
            family: labels::family(step, &parts),
            writes: step.writes().iter().map(|value| value.0).collect(),
            in_place: plan.memory.in_place[index],
            flops: work::flops(plan, sizes, step, &parts),
            bytes_read: read.saturating_add(packed).saturating_add(prepared_bytes),
            bytes_written: step.writes().iter().map(|&v| work::bytes(plan, sizes, v)).sum(),
            prepared_bytes,
            matrices,
            reads,
            parts,
        }
    }
}
