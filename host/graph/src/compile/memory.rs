//! Where every value lies while a plan runs: liveness and slots of one arena.

use super::Draft;
use crate::graph::{Origin, ValueId};
use crate::step::{OpStep, Step};
use std::collections::HashMap;

/// Slots among which the best is chosen: those that became free last.
const FREE_SLOTS_SEEN: usize = 64;

/// Where the bytes of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: inside a row segment, or removed.
    None,
    Input(usize),
    Constant(usize),
    State(usize),
    /// A slot of the arena, or behind the slots a result of its own.
    Region(usize),
    /// Columns of a region.
    Columns {
        region: usize,
        start: usize,
        columns: usize,
    },
}

/// The memory plan.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By value.
    pub(crate) places: Vec<Place>,
    /// Values of each slot; the largest one gives its size.
    pub(crate) slots: Vec<Vec<ValueId>>,
    /// Values with memory of their own, which leaves the plan.
    pub(crate) results: Vec<ValueId>,
    /// Constants that steps or outputs read.
    pub(crate) constants: Vec<ValueId>,
    /// For each step, whether its first output lies where its first input did.
    pub(crate) in_place: Vec<bool>,
}

struct Planner<'a> {
    draft: &'a Draft,
    memory: Memory,
    /// Number of the last step that reads a root.
    last_use: HashMap<ValueId, usize>,
    free: Vec<usize>,
    sizes: Vec<u64>,
}

/// What a step does to memory.
pub(crate) struct Use<'s> {
    /// Values that it reads.
    pub(crate) reads: Vec<ValueId>,
    /// Values that it makes.
    pub(crate) writes: &'s [ValueId],
    /// The op, if its first output may lie where its first input does.
    pub(crate) in_place: Option<&'s OpStep>,
}

impl<'s> Use<'s> {
    pub(super) fn of(step: &'s Step) -> Use<'s> {
        let in_place = match step {
            Step::Op(op) => Some(op),
            Step::Rows(_) | Step::Image(_) => None,
        };
        Use { reads: step.reads(), writes: step.writes(), in_place }
    }
}

/// Assigns a place to every value that a step or an output reads.
pub(crate) fn plan(draft: &Draft, steps: &[Use<'_>]) -> Memory {
    let mut planner = Planner {
        draft,
        memory: Memory::default(),
        last_use: HashMap::new(),
        free: Vec::new(),
        sizes: Vec::new(),
    };
    planner.memory.places = vec![Place::None; draft.graph.values.len()];
    for (number, step) in steps.iter().enumerate() {
        for &value in &step.reads {
            let base = planner.base(value);
            planner.last_use.insert(base, number);
        }
    }
    let computed = |value: &&ValueId| {
        matches!(draft.graph.values[value.index()].origin, Origin::Node(_))
            && !draft.constants.contains_key(*value)
    };
    planner.memory.results = draft.results.iter().filter(computed).copied().collect();
    for (number, step) in steps.iter().enumerate() {
        planner.step(number, step);
    }
    planner.finish(steps)
}

impl Planner<'_> {
    fn base(&self, value: ValueId) -> ValueId {
        self.draft.base(value)
    }

    fn step(&mut self, number: usize, step: &Use<'_>) {
        let mut in_place = false;
        for (index, &output) in step.writes.iter().enumerate() {
            if self.memory.results.contains(&output) {
                continue;
            }
            let reused = match step.in_place {
                Some(op) if index == 0 => self.reusable(number, op),
                Some(_) | None => None,
            };
            in_place |= reused.is_some();
            let slot = reused.unwrap_or_else(|| self.take(output));
            self.memory.slots[slot].push(output);
            self.memory.places[output.index()] = Place::Region(slot);
        }
        let mut done: Vec<ValueId> = step.reads.iter().map(|&v| self.base(v)).collect();
        done.extend_from_slice(step.writes);
        done.sort_unstable();
        done.dedup();
        for value in done {
            let over = self.last_use.get(&value).is_none_or(|&last| last <= number);
            let moved = in_place && !step.writes.contains(&value);
            if let (true, Place::Region(slot)) = (over, self.memory.places[value.index()]) {
                let taken_over = moved
                    && step.writes.first().is_some_and(|&output| {
                        self.memory.places[output.index()] == Place::Region(slot)
                    });
                if !taken_over {
                    self.free.push(slot);
                }
            }
        }
        self.memory.in_place.push(in_place);
    }

    /// The slot of input 0, if the op can write its output there.
    fn reusable(&self, number: usize, step: &OpStep) -> Option<usize> {
        let (&x, &out) = (step.inputs.first()?, step.outputs.first()?);
        let root = self.draft.root(x);
        let (from, to) = (self.draft.spec(x), self.draft.spec(out));
        let again = step.inputs[1..].iter().any(|&value| self.base(value) == root);
        if !step.op.rule().in_place()
            || self.last_use.get(&root) != Some(&number)
            || again
            || from.dtype != to.dtype
            || from.dims != to.dims
        {
            return None;
        }
        match self.memory.places[root.index()] {
            Place::Region(slot) => Some(slot),
            Place::None
            | Place::Input(_)
            | Place::Constant(_)
            | Place::State(_)
            | Place::Columns { .. } => None,
        }
    }

    /// A free slot of about the right size, or a new one.
    fn take(&mut self, value: ValueId) -> usize {
        let spec = self.draft.spec(value);
        let size = spec.dtype.size().unwrap_or(1) as u64;
        // Unknown extents count as 64: only the order of sizes matters here.
        let extents = spec.dims.iter().map(|dim| dim.fixed().unwrap_or(64));
        let bytes = extents.fold(size, u64::saturating_mul);
        let late = self.free.len().saturating_sub(FREE_SLOTS_SEEN);
        let best =
            (late..self.free.len()).min_by_key(|&i| self.sizes[self.free[i]].abs_diff(bytes));
        match best {
            Some(index) => {
                let slot = self.free.swap_remove(index);
                self.sizes[slot] = self.sizes[slot].max(bytes);
                slot
            }
            None => {
                self.memory.slots.push(Vec::new());
                self.sizes.push(bytes);
                self.sizes.len() - 1
            }
        }
    }

    /// Places of everything that is not in a slot.
    fn finish(mut self, steps: &[Use<'_>]) -> Memory {
        let slots = self.memory.slots.len();
        for (index, result) in self.memory.results.iter().enumerate() {
            self.memory.places[result.index()] = Place::Region(slots + index);
        }
        let mut read: Vec<ValueId> =
            steps.iter().flat_map(|step| step.reads.iter().copied()).collect();
        read.extend_from_slice(&self.draft.graph.outputs);
        read.extend(self.draft.graph.states.iter().filter_map(|state| state.write));
        for value in read {
            let root = self.draft.root(value);
            let place = match self.draft.views.get(&root) {
                Some(view) => match self.memory.places[view.base.index()] {
                    Place::Region(region) => {
                        let (start, columns) = (view.start, view.columns);
                        Place::Columns { region, start, columns }
                    }
                    other => other,
                },
                None => self.place(root),
            };
            self.memory.places[root.index()] = place;
            self.memory.places[value.index()] = place;
        }
        self.memory
    }

    fn place(&mut self, root: ValueId) -> Place {
        if self.draft.constants.contains_key(&root) {
            if let known @ Place::Constant(_) = self.memory.places[root.index()] {
                return known;
            }
            self.memory.constants.push(root);
            return Place::Constant(self.memory.constants.len() - 1);
        }
        match self.draft.graph.values[root.index()].origin {
            Origin::Input(index) => Place::Input(index),
            Origin::State(index) => Place::State(index),
            Origin::Weight(_) | Origin::Constant(_) | Origin::Node(_) => {
                self.memory.places[root.index()]
            }
        }
    }
}
