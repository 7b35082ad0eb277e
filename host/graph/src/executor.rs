//! Runs the steps of a plan: kernel calls in order, on regions of one reused arena.

mod image;
mod segment;

use crate::RunError;
use crate::compile::Place;
use crate::extents::Bound;
use crate::graph::ValueId;
use crate::op::{Arg, Call, Out, bad_row, check_indices};
use crate::plan::Plan;
use crate::profiler::Profiler;
use crate::step::{OpStep, Step};
use aimass_cpu::pool::Team;
use aimass_tensor::{BufferMut, Shape, Tensor};
use segment::SegmentRun;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// Arenas that a plan keeps for its next runs.
pub(crate) const KEPT_ARENAS_MAX: usize = 4;
/// Regions begin at multiples of this: cache lines.
pub(crate) const ALIGN: usize = 64;

/// Memory of one running plan, kept from run to run.
#[derive(Default)]
pub(crate) struct Arena {
    slots: Option<BufferMut>,
    /// Scratch of row blocks; at most one a thread.
    scratch: Mutex<Vec<BufferMut>>,
}

impl Arena {
    pub(crate) fn is_empty(&self) -> bool {
        let Arena { slots, scratch } = self;
        slots.is_none() && scratch.lock().is_ok_and(|scratch| scratch.is_empty())
    }
}

/// A run in progress.
pub(crate) struct Frame<'r> {
    plan: &'r Plan,
    pub(crate) inputs: &'r [&'r [u8]],
    pub(crate) states: &'r [Tensor],
    pub(crate) shapes: Vec<Shape>,
    pub(crate) bound: Bound,
    /// Slots, then results. A region is taken out while a step writes it.
    regions: Vec<&'r mut [u8]>,
    scratch: &'r Mutex<Vec<BufferMut>>,
}

impl<'r> Frame<'r> {
    pub(crate) fn new(
        plan: &'r Plan,
        arena: &'r mut Arena,
        slots: &[usize],
        results: &'r mut [BufferMut],
        (shapes, bound): (Vec<Shape>, Bound),
    ) -> Frame<'r> {
        let total: usize = slots.iter().map(|bytes| bytes.next_multiple_of(ALIGN)).sum();
        let Arena { slots: memory, scratch } = arena;
        let fits = memory.as_ref().is_some_and(|memory| memory.as_slice().len() >= total);
        if !slots.is_empty() && !fits {
            plan.stats.arena_allocations.fetch_add(1, Ordering::Relaxed);
            // The old one goes first, so that both never exist together.
            *memory = None;
            *memory = Some(BufferMut::uninit(total));
        }
        let mut regions = Vec::with_capacity(slots.len() + results.len());
        let mut rest = memory.as_mut().map(BufferMut::as_mut_slice).unwrap_or_default();
        for &bytes in slots {
            let (region, after) = rest.split_at_mut(bytes.next_multiple_of(ALIGN));
            regions.push(region);
            rest = after;
        }
        regions.extend(results.iter_mut().map(BufferMut::as_mut_slice));
        Frame { plan, inputs: &[], states: &[], shapes, bound, regions, scratch }
    }

    /// Runs every step.
    pub(crate) fn run<P: Profiler>(
        &mut self,
        team: Team<'_>,
        profiler: &P,
    ) -> Result<(), RunError> {
        for (index, step) in self.plan.steps.iter().enumerate() {
            let begin = profiler.mark();
            match step {
                Step::Op(step) => self.op(step, self.plan.memory.in_place[index], team)?,
                Step::Rows(segment) => {
                    self.segment(&SegmentRun { segment, index, profiler }, team)?;
                }
                Step::Image(step) => self.image(step, team)?,
            }
            profiler.step(index, begin);
        }
        Ok(())
    }

    /// Bytes of a value.
    fn byte_len(&self, value: ValueId) -> usize {
        let elements = self.shapes[value.index()].elements();
        self.plan.dtypes[value.index()].bytes_for(elements).unwrap_or(0)
    }

    /// A value to read.
    fn arg(&self, value: ValueId) -> Arg<'_> {
        let (bytes, stride): (&[u8], _) = match self.plan.memory.places[value.index()] {
            Place::Input(index) => (self.inputs[index], None),
            Place::Constant(index) => (self.plan.constants[index].bytes(), None),
            Place::State(index) => (self.states[index].bytes(), None),
            Place::Region(region) => {
                let region: &[u8] = self.regions[region];
                (region.get(..self.byte_len(value)).unwrap_or_default(), None)
            }
            Place::Columns { region, start, columns } => {
                let region: &[u8] = self.regions[region];
                (region.get(start * size_of::<f32>()..).unwrap_or_default(), Some(columns))
            }
            Place::None => (&[], None),
        };
        let (dtype, shape) = (self.plan.dtypes[value.index()], self.shapes[value.index()]);
        Arg { dtype, shape, bytes, stride }
    }

    /// The region that a value is written to.
    fn region(&self, value: ValueId) -> Option<usize> {
        match self.plan.memory.places[value.index()] {
            Place::Region(region) => Some(region),
            Place::None
            | Place::Input(_)
            | Place::Constant(_)
            | Place::State(_)
            | Place::Columns { .. } => None,
        }
    }

    fn op(&mut self, step: &OpStep, in_place: bool, team: Team<'_>) -> Result<(), RunError> {
        let mut taken = Vec::with_capacity(step.outputs.len());
        for &output in &step.outputs {
            let region = self.region(output).ok_or(RunError::Internal("no place to write"))?;
            taken.push((region, std::mem::take(&mut self.regions[region])));
        }
        let mut outs = Vec::with_capacity(step.outputs.len());
        for (&output, (_, region)) in step.outputs.iter().zip(&mut taken) {
            let (dtype, shape) = (self.plan.dtypes[output.index()], self.shapes[output.index()]);
            let bytes = region.get_mut(..self.byte_len(output)).unwrap_or_default();
            outs.push(Out { dtype, shape, bytes });
        }
        let args: Vec<Arg<'_>> = step.inputs.iter().map(|&input| self.arg(input)).collect();
        let mut call = Call { inputs: &args, outputs: &mut outs, team, in_place };
        let outcome = step.op.rule().run(&mut call);
        let found: Vec<Shape> = match step.op.rule().measures() {
            true => outs.iter().map(|out| out.shape).collect(),
            false => Vec::new(),
        };
        drop((args, outs));
        for (region, bytes) in taken {
            self.regions[region] = bytes;
        }
        if outcome.is_ok() {
            for (&output, found) in step.outputs.iter().zip(&found) {
                let extents = self.plan.extents();
                extents.measure(&mut self.bound, &mut self.shapes, output, found)?;
            }
        }
        match step.op.rule().indices().and_then(|input| step.inputs.get(input)) {
            Some(&indices) => outcome.map_err(|error| self.with_row(error, indices)),
            None => outcome,
        }
    }

    /// Checks indices before a kernel takes them, and names the row of a bad one.
    fn check_rows(&self, indices: ValueId, extent: usize) -> Result<(), RunError> {
        check_indices("gather", &self.arg(indices), extent)
            .map_err(|error| self.with_row(error, indices))
    }

    /// The error of a bad index with the row that it stands in.
    fn with_row(&self, mut error: RunError, indices: ValueId) -> RunError {
        if let RunError::Index { row, position, .. } = &mut error {
            let rows = self.plan.rows[indices.index()].as_ref();
            *row = bad_row(rows, &self.shapes[indices.index()], *position);
        }
        error
    }
}
