//! A compiled graph: what a dispatcher joins, charges and runs.

use crate::compile::{Memory, Place};
use crate::device::{Placed, Program};
use crate::dim::Dims;
use crate::executor::{Arena, Frame, KEPT_ARENAS_MAX};
use crate::extents::{Bound, Extents};
use crate::graph::{Graph, ValueId};
use crate::op::Op;
use crate::packing::{Constant, Matrix};
use crate::profiler::Profiler;
use crate::step::Step;
use crate::{CompileOptions, Dim, PlanError, PlanState, RunError, Signature};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_tensor::{Buffer, BufferMut, DType, Shape, Tensor};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Along what calls of a plan may be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coalescing {
    /// Axis 0 of every input and output is the batch; other extents must be equal.
    Batch,
    /// Axis 0 is the ragged dimension of these offsets, or the batch with one row a sequence.
    Ragged {
        /// Name of the offsets input.
        offsets: Arc<str>,
    },
    /// Calls run alone.
    Alone {
        /// The op, input, output or state that stands in the way.
        blocked_by: String,
    },
}

/// What a run takes, known before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations, roughly.
    pub flops: u64,
    /// Bytes of intermediate and output values.
    pub arena_bytes: u64,
    /// As [`Rows::rows`].
    pub rows: u64,
}

/// How many rows the inputs of a run have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Extent of the dimension along which calls are joined: items, or tokens of all sequences; 1
    /// for a plan that runs alone.
    pub rows: u64,
    /// Batch extent, which is the number of sequences of a ragged plan; 1 without a batch.
    pub sequences: u64,
}

/// Counters of a plan, for tests.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStats {
    /// Runs that reached the kernels.
    pub runs: u64,
    /// Arenas that were allocated or grown.
    pub arena_allocations: u64,
    /// Slots of the arena.
    pub slots: usize,
    /// Values that lie in a slot.
    pub slot_values: usize,
    /// Steps, and how many of them are row segments.
    pub steps: usize,
    /// Row segments.
    pub segments: usize,
    /// Packed matrices.
    pub matrices: usize,
}

/// A node as far as its cost goes.
#[derive(Debug)]
pub(crate) struct CostNode {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
}

/// What the graph called what the plan holds, for reports.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Of constants; what was folded has none.
    pub(crate) constants: Vec<Option<Arc<str>>>,
    /// Of the weights in each packed matrix.
    pub(crate) matrices: Vec<Vec<Arc<str>>>,
    pub(crate) states: Vec<Arc<str>>,
}

/// What [`crate::compile`] hands over.
pub(crate) struct PlanParts {
    pub(crate) graph: Graph,
    pub(crate) extents: Extents,
    pub(crate) steps: Vec<Step>,
    pub(crate) memory: Memory,
    pub(crate) matrices: Vec<Arc<Matrix>>,
    pub(crate) constants: Vec<Tensor>,
    pub(crate) names: Names,
    pub(crate) costs: Vec<CostNode>,
    pub(crate) coalescing: Coalescing,
    pub(crate) key: [u8; 32],
    pub(crate) options: CompileOptions,
    pub(crate) state_inits: Vec<Constant>,
    pub(crate) constant_bytes: u64,
    pub(crate) program: Option<Result<Program, String>>,
}

/// A compiled graph. Immutable and shared; runs of several threads do not disturb each other.
pub struct Plan {
    pub(crate) signature: Signature,
    pub(crate) steps: Vec<Step>,
    pub(crate) memory: Memory,
    pub(crate) matrices: Vec<Arc<Matrix>>,
    pub(crate) constants: Vec<Tensor>,
    pub(crate) names: Names,
    /// By value.
    pub(crate) dtypes: Vec<DType>,
    /// Class of axis 0, by value.
    pub(crate) rows: Vec<Option<Dim>>,
    pub(crate) stats: Counters,
    pub(crate) extents: Extents,
    pub(crate) costs: Vec<CostNode>,
    pub(crate) outputs: Vec<ValueId>,
    /// For each state, the value that replaces it.
    writes: Vec<Option<ValueId>>,
    initial: Vec<Tensor>,
    coalescing: Coalescing,
    key: [u8; 32],
    options: CompileOptions,
    weights_bytes: u64,
    /// Steps whose op has regions.
    nested: Vec<usize>,
    constant_bytes: u64,
    arenas: Mutex<Vec<Arena>>,
    /// The plan for a device, or why there is none.
    pub(crate) program: Option<Result<Program, String>>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    runs: AtomicU64,
    pub(crate) arena_allocations: AtomicU64,
}

/// Shapes and byte counts of one run.
pub(crate) struct Sizes {
    pub(crate) shapes: Vec<Shape>,
    /// Bytes of every region: slots, then results.
    pub(crate) regions: Vec<usize>,
    pub(crate) total: u64,
}

impl Plan {
    pub(crate) fn assemble(parts: PlanParts) -> Result<Plan, PlanError> {
        let PlanParts { graph, matrices, constants, .. } = parts;
        let mut initial = Vec::with_capacity(parts.state_inits.len());
        for init in &parts.state_inits {
            initial.push(init.load()?);
        }
        let packed = matrices.iter().map(|matrix| matrix.bytes() as u64);
        let plain = constants.iter().map(|tensor| tensor.byte_len() as u64);
        let prepared = parts.steps.iter().map(|step| match step {
            Step::Op(step) => step.op.rule().prepared_bytes(),
            Step::Rows(_) | Step::Image(_) => 0,
        });
        let has_regions = |step: &Step| match step {
            Step::Op(step) => !step.op.rule().regions().is_empty(),
            Step::Rows(_) | Step::Image(_) => false,
        };
        let steps = parts.steps.iter().enumerate();
        let nested = steps.filter(|(_, step)| has_regions(step)).map(|(index, _)| index).collect();
        Ok(Plan {
            nested,
            constant_bytes: parts.constant_bytes,
            weights_bytes: packed.chain(plain).chain(prepared).sum(),
            dtypes: graph.values.iter().map(|value| value.spec.dtype).collect(),
            rows: graph
                .values
                .iter()
                .map(|value| value.spec.dims.first().filter(|dim| dim.is_rows()).cloned())
                .collect(),
            outputs: graph.outputs,
            writes: graph.states.iter().map(|state| state.write).collect(),
            signature: graph.signature,
            steps: parts.steps,
            memory: parts.memory,
            matrices,
            constants,
            names: parts.names,
            stats: Counters::default(),
            extents: parts.extents,
            costs: parts.costs,
            initial,
            coalescing: parts.coalescing,
            key: parts.key,
            options: parts.options,
            arenas: Mutex::new(Vec::new()),
            program: parts.program,
        })
    }

    /// Inputs and outputs, in the order that [`Plan::run`] takes and answers them.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Names the plan by content: graph, weights, state layout and kernel set.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Along what calls may be joined, or what stands in the way.
    pub fn coalescing(&self) -> &Coalescing {
        &self.coalescing
    }

    /// Bytes of weights that the plan holds: packed copies, and constants read in place.
    pub fn weights_bytes(&self) -> u64 {
        self.weights_bytes
    }

    /// Bytes of constants that only this plan holds: those that the graph brought, or that were computed
    /// when it was compiled, and that its steps read as they are.
    pub fn constant_bytes(&self) -> u64 {
        self.constant_bytes
    }

    /// Checks inputs against the signature: number, dtypes, extents, offsets.
    ///
    /// # Errors
    /// [`RunError`] of the input family, which names the input, what was expected and what came.
    pub fn check(&self, inputs: &[Tensor]) -> Result<Rows, RunError> {
        let bound = self.extents.bind(&self.signature, inputs)?;
        Ok(self.bound_rows(&bound))
    }

    /// What a run with these inputs takes.
    ///
    /// # Errors
    /// As [`Plan::check`], and [`RunError::ArenaLimit`].
    pub fn cost(&self, inputs: &[Tensor]) -> Result<Cost, RunError> {
        let bound = self.extents.bind(&self.signature, inputs)?;
        let sizes = self.sizes(&bound, true)?;
        let flops = self.flops(&sizes.shapes);
        Ok(Cost { flops, arena_bytes: sizes.total, rows: self.bound_rows(&bound).rows })
    }

    /// Floating-point operations of a run with these shapes, loops counted as often as they may run.
    pub(crate) fn flops(&self, shapes: &[Shape]) -> u64 {
        let mut flops = 0u64;
        for node in &self.costs {
            let of = |values: &[ValueId]| -> Vec<Shape> {
                values.iter().map(|value| shapes[value.index()]).collect()
            };
            let own = node.op.rule().flops(&of(&node.inputs), &of(&node.outputs));
            flops = flops.saturating_add(own);
        }
        flops
    }

    /// Runs on the kernel pool and blocks until the outputs are there.
    ///
    /// Without `state` a plan starts from its initial states and drops what it writes; with one it
    /// replaces the written states if it succeeds.
    ///
    /// # Errors
    /// [`RunError`]; of the input family before any kernel ran, except for an index out of range,
    /// which is found on the way and names its row.
    pub fn run(
        &self,
        inputs: &[Tensor],
        state: Option<&mut PlanState>,
    ) -> Result<Vec<Tensor>, RunError> {
        self.run_profiled(inputs, state, &())
    }

    /// As [`Plan::run`], watched by `profiler`. The results are the same, bit for bit.
    ///
    /// # Errors
    /// As [`Plan::run`].
    pub fn run_profiled<P: Profiler>(
        &self,
        inputs: &[Tensor],
        state: Option<&mut PlanState>,
        profiler: &P,
    ) -> Result<Vec<Tensor>, RunError> {
        self.run_on(self.team(), inputs, state, profiler)
    }

    /// Threads that a run uses at most.
    pub fn threads(&self) -> usize {
        self.team().threads()
    }

    fn team(&self) -> Team<'static> {
        let pool = KernelPool::global();
        match self.options.threads {
            0 => pool.team(pool.threads()),
            threads => pool.team(threads),
        }
    }

    /// As [`Plan::run`], on the calling thread.
    pub(crate) fn run_alone(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.run_on(Team::alone(), inputs, None, &())
    }

    /// The same plan with its inputs in another order: input `order[i]` is what input `i` was.
    pub(crate) fn with_input_order(mut self, order: &[usize]) -> Plan {
        let moved = |index: usize| order.get(index).copied().unwrap_or(index);
        for place in &mut self.memory.places {
            if let Place::Input(index) = place {
                *index = moved(*index);
            }
        }
        let mut inputs = self.signature.inputs.clone();
        for (index, input) in self.signature.inputs.drain(..).enumerate() {
            inputs[moved(index)] = input;
        }
        self.signature.inputs = inputs;
        self.extents.reorder(&moved);
        if let Some(Ok(program)) = &mut self.program {
            program.reorder(&self.signature, &moved);
        }
        self
    }

    /// Whether the plan declares states, so that what it answers depends on earlier calls.
    pub fn has_state(&self) -> bool {
        !self.initial.is_empty()
    }

    /// A fresh set of states.
    pub fn new_state(&self) -> PlanState {
        PlanState { key: self.key, tensors: self.initial.clone() }
    }

    /// Counters, for tests.
    #[doc(hidden)]
    pub fn stats(&self) -> RunStats {
        RunStats {
            runs: self.stats.runs.load(Ordering::Relaxed),
            arena_allocations: self.arena_allocations(),
            slots: self.memory.slots.len(),
            slot_values: self.memory.slots.iter().map(Vec::len).sum(),
            steps: self.steps.len(),
            segments: self.steps.iter().filter(|step| matches!(step, Step::Rows(_))).count(),
            matrices: self.matrices.len(),
        }
    }

    /// Arenas that were allocated or grown, those of regions included.
    fn arena_allocations(&self) -> u64 {
        let own = self.stats.arena_allocations.load(Ordering::Relaxed);
        let regions = self.nested.iter().flat_map(|&index| match &self.steps[index] {
            Step::Op(step) => step.op.rule().regions(),
            Step::Rows(_) | Step::Image(_) => Vec::new(),
        });
        let plans = regions.filter_map(|region| region.plan.as_ref());
        plans.fold(own, |sum, plan| sum + plan.arena_allocations())
    }

    fn run_on<P: Profiler>(
        &self,
        team: Team<'_>,
        inputs: &[Tensor],
        state: Option<&mut PlanState>,
        profiler: &P,
    ) -> Result<Vec<Tensor>, RunError> {
        if state.as_ref().is_some_and(|state| state.key != self.key) {
            return Err(RunError::WrongState);
        }
        let bound = self.extents.bind(&self.signature, inputs)?;
        let Sizes { shapes, regions, .. } = self.sizes(&bound, true)?;
        // Limits hold wherever it runs.
        let mut state = state;
        if let Some(Ok(program)) = &self.program {
            let states = state.as_mut().map(|state| &mut state.tensors);
            match self.run_on_device(program, inputs, states) {
                Placed::Done(outputs) => return Ok(outputs),
                Placed::Refused(error) => return Err(error),
                Placed::Elsewhere | Placed::TooLarge(_) => {}
            }
        }
        self.stats.runs.fetch_add(1, Ordering::Relaxed);
        let (slots, results) = regions.split_at(self.memory.slots.len());
        let mut results: Vec<BufferMut> =
            results.iter().map(|&bytes| BufferMut::uninit(bytes)).collect();
        let states = match &state {
            Some(state) => &state.tensors,
            None => &self.initial,
        };
        let mut arena = self.take_arena();
        let bytes: Vec<&[u8]> = inputs.iter().map(Tensor::bytes).collect();
        let mut frame = Frame::new(self, &mut arena, slots, &mut results, (shapes, bound));
        frame.inputs = &bytes;
        frame.states = states;
        let outcome = frame.run(team, profiler);
        let shapes = frame.shapes;
        self.give_back(arena);
        outcome?;
        let results: Vec<Buffer> = results.into_iter().map(BufferMut::freeze).collect();
        let value = |value: ValueId| self.tensor(value, inputs, states, &shapes, &results);
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for &output in &self.outputs {
            outputs.push(value(output)?);
        }
        if let Some(state) = state {
            let mut written = Vec::with_capacity(self.writes.len());
            for (write, old) in self.writes.iter().zip(&state.tensors) {
                written.push(match write {
                    Some(write) => {
                        self.tensor(*write, inputs, &state.tensors, &shapes, &results)?
                    }
                    None => old.clone(),
                });
            }
            state.tensors = written;
        }
        Ok(outputs)
    }

    /// A value that leaves the plan.
    fn tensor(
        &self,
        value: ValueId,
        inputs: &[Tensor],
        states: &[Tensor],
        shapes: &[Shape],
        results: &[Buffer],
    ) -> Result<Tensor, RunError> {
        const DEFECT: RunError = RunError::Internal("an output has no memory");
        let (dtype, shape) = (self.dtypes[value.index()], shapes[value.index()]);
        let source = match self.memory.places[value.index()] {
            Place::Input(index) => inputs.get(index),
            Place::Constant(index) => self.constants.get(index),
            Place::State(index) => states.get(index),
            Place::Region(region) => {
                let index = region.checked_sub(self.memory.slots.len()).ok_or(DEFECT)?;
                let buffer = results.get(index).ok_or(DEFECT)?;
                let bytes = dtype.bytes_for(shape.elements()).ok_or(DEFECT)?;
                if bytes < buffer.as_slice().len() {
                    // Of what was reserved for the most, only what is there leaves the plan.
                    let found = &buffer.as_slice()[..bytes];
                    return Tensor::copy_from(dtype, shape, found).map_err(|_| DEFECT);
                }
                return Tensor::new(dtype, shape, buffer.clone()).map_err(|_| DEFECT);
            }
            Place::None | Place::Columns { .. } => None,
        };
        let source = source.ok_or(DEFECT)?;
        if source.dtype() == dtype {
            return source.reshaped(shape).map_err(|_| DEFECT);
        }
        Tensor::copy_from(dtype, shape, source.bytes()).map_err(|_| DEFECT)
    }

    /// As [`Plan::own_sizes`], with what regions take, checked against the limits of a run. Unless
    /// `exact`, extents are the most that they can be.
    pub(crate) fn sizes(&self, bound: &Bound, exact: bool) -> Result<Sizes, RunError> {
        let mut sizes = self.own_sizes(bound)?;
        for &index in &self.nested {
            let Step::Op(step) = &self.steps[index] else { continue };
            let shapes: Vec<Shape> =
                step.inputs.iter().map(|input| sizes.shapes[input.index()]).collect();
            let exact = exact && !step.inputs.iter().any(|&x| self.extents.is_measured(x));
            let own = step.op.rule().scratch_bytes(&shapes, exact)?;
            sizes.total = sizes.total.saturating_add(own);
        }
        let max = self.options.arena_bytes_max;
        if sizes.total > max {
            return Err(RunError::ArenaLimit { got: sizes.total, max });
        }
        if !self.nested.is_empty() {
            let (got, max) = (self.flops(&sizes.shapes), self.options.flops_max);
            if got > max {
                return Err(RunError::FlopsLimit { got, max });
            }
        }
        Ok(sizes)
    }

    /// Shapes and bytes of the plan's own values.
    pub(crate) fn own_sizes(&self, bound: &Bound) -> Result<Sizes, RunError> {
        let shapes = self.extents.shapes(bound)?;
        let bytes = |value: &ValueId| {
            let (dtype, shape) = (self.dtypes[value.index()], shapes[value.index()]);
            dtype.bytes_for(shape.elements()).ok_or_else(|| RunError::Dims {
                what: format!("{dtype} {shape}"),
                reason: "takes too many bytes",
            })
        };
        let mut regions = Vec::with_capacity(self.memory.slots.len() + self.memory.results.len());
        for values in &self.memory.slots {
            let mut size = 0;
            for value in values {
                size = size.max(bytes(value)?);
            }
            regions.push(size);
        }
        for result in &self.memory.results {
            regions.push(bytes(result)?);
        }
        let total = regions.iter().fold(0u64, |sum, &bytes| sum.saturating_add(bytes as u64));
        let max = self.options.arena_bytes_max;
        // Loops over the extents of an empty value run however few bytes it has.
        let hollow = shapes.iter().filter(|shape| shape.elements() == 0);
        let got = hollow.map(|shape| shape.room() as u64).fold(total, u64::max);
        if got > max {
            return Err(RunError::ArenaLimit { got, max });
        }
        Ok(Sizes { shapes, regions, total })
    }

    /// Bytes and shape of an output of a nested run.
    pub(crate) fn nested_output<'a>(
        &'a self,
        index: usize,
        inputs: &[&'a [u8]],
        shapes: &[Shape],
        results: &'a [BufferMut],
    ) -> Result<(&'a [u8], Shape), RunError> {
        const DEFECT: RunError = RunError::Internal("an output of a region has no memory");
        let value = *self.outputs.get(index).ok_or(DEFECT)?;
        let (dtype, shape) = (self.dtypes[value.index()], shapes[value.index()]);
        let source = match self.memory.places[value.index()] {
            Place::Input(index) => inputs.get(index).copied(),
            Place::Constant(index) => self.constants.get(index).map(Tensor::bytes),
            Place::Region(region) => region
                .checked_sub(self.memory.slots.len())
                .and_then(|index| Some(results.get(index)?.as_slice())),
            Place::None | Place::Columns { .. } | Place::State(_) => None,
        };
        let bytes = dtype.bytes_for(shape.elements()).ok_or(DEFECT)?;
        let found = source.and_then(|source| source.get(..bytes)).ok_or(DEFECT)?;
        Ok((found, shape))
    }

    pub(crate) fn extents(&self) -> &Extents {
        &self.extents
    }

    pub(crate) fn bound_rows(&self, bound: &Bound) -> Rows {
        let extent = |dim: &Dim| self.extents.extent_of(dim, bound);
        let sequences = extent(&Dim::Batch);
        let rows = match &self.coalescing {
            Coalescing::Batch => sequences,
            Coalescing::Ragged { offsets } => extent(&Dim::Ragged(offsets.clone())),
            Coalescing::Alone { .. } => 1,
        };
        Rows { rows, sequences }
    }

    pub(crate) fn take_arena(&self) -> Arena {
        if self.memory.slots.is_empty() && self.matrices.is_empty() {
            return Arena::default();
        }
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        arenas.pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, arena: Arena) {
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        if arenas.len() < KEPT_ARENAS_MAX && !arena.is_empty() {
            arenas.push(arena);
        }
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inputs: Vec<String> =
            self.signature.inputs.iter().map(|input| Dims(&input.dims).to_string()).collect();
        write!(f, "Plan({} steps, inputs {})", self.steps.len(), inputs.join(" "))
    }
}
