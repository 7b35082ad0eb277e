//! Runs of a plan inside of another: its memory is taken once and serves every iteration.

use crate::RunError;
use crate::executor::{Arena, Frame};
use crate::extents::Bound;
use crate::plan::Plan;
use aimass_cpu::pool::Team;
use aimass_tensor::{BufferMut, Shape};

/// What starting one step of a region costs at least, in floating-point operations: about as many
/// as a core does meanwhile.
const STEP_FLOPS_MIN: u64 = 1 << 16;

/// A nested plan with its memory, for inputs of shapes that stay.
pub(crate) struct Nested<'p> {
    plan: &'p Plan,
    arena: Arena,
    slots: Vec<usize>,
    results: Vec<BufferMut>,
    /// Before a run, and in it.
    initial: (Vec<Shape>, Bound),
    found: (Vec<Shape>, Bound),
}

impl<'p> Nested<'p> {
    pub(crate) fn new(plan: &'p Plan, shapes: &[Shape]) -> Result<Nested<'p>, RunError> {
        let bound = plan.extents().bind_shapes(shapes, true)?;
        let sizes = plan.own_sizes(&bound)?;
        let (slots, results) = sizes.regions.split_at(plan.memory.slots.len());
        Ok(Nested {
            plan,
            arena: plan.take_arena(),
            slots: slots.to_vec(),
            results: results.iter().map(|&bytes| BufferMut::uninit(bytes)).collect(),
            found: (sizes.shapes.clone(), bound.clone()),
            initial: (sizes.shapes, bound),
        })
    }

    /// Runs the plan once.
    pub(crate) fn run(&mut self, team: Team<'_>, inputs: &[&[u8]]) -> Result<(), RunError> {
        let (mut shapes, mut bound) = std::mem::take(&mut self.found);
        shapes.clone_from(&self.initial.0);
        bound.clone_from(&self.initial.1);
        let (arena, results) = (&mut self.arena, &mut self.results);
        let mut frame = Frame::new(self.plan, arena, &self.slots, results, (shapes, bound));
        frame.inputs = inputs;
        let outcome = frame.run(team, &());
        self.found = (frame.shapes, frame.bound);
        outcome
    }

    /// Bytes and shape of an output of the last run, which had these inputs.
    pub(crate) fn output<'a>(
        &'a self,
        index: usize,
        inputs: &[&'a [u8]],
    ) -> Result<(&'a [u8], Shape), RunError> {
        self.plan.nested_output(index, inputs, &self.found.0, &self.results)
    }

    /// Gives the memory back to the plan.
    pub(crate) fn end(self) {
        self.plan.give_back(self.arena);
    }
}

impl Plan {
    /// Bytes that a nested run takes for inputs of these shapes, or unless `exact` at most these.
    pub(crate) fn nested_bytes(&self, shapes: &[Shape], exact: bool) -> Result<u64, RunError> {
        let bound = self.extents().bind_shapes(shapes, exact)?;
        Ok(self.sizes(&bound, exact)?.total)
    }

    /// Floating-point operations of a nested run with inputs of at most these shapes, with what it
    /// costs to start its steps.
    pub(crate) fn nested_flops(&self, shapes: &[Shape]) -> u64 {
        let bound = self.extents().bind_shapes(shapes, false);
        let shapes = bound.and_then(|bound| self.extents().shapes(&bound));
        // What does not fit is refused where bytes are counted.
        let Ok(shapes) = shapes else { return u64::MAX };
        let starts = STEP_FLOPS_MIN.saturating_mul(self.steps.len() as u64 + 1);
        self.flops(&shapes).saturating_add(starts)
    }
}
