//! Images get their channels last, from the first convolution of constant weights to where something
//! needs them in front again: rewritten values have a twin `[rows, height, width, channels]`.

mod convert;
mod repeat;

use super::{Draft, Inst};
use crate::graph::ValueId;
use crate::op::{Op, Transpose};
use crate::{Dim, PlanError};
use aimass_tensor::DType;
use repeat::Repeat;
use std::collections::{HashMap, HashSet};

/// Channels to the end, and back.
const LAST: [usize; 4] = [0, 2, 3, 1];
const FRONT: [usize; 4] = [0, 3, 1, 2];

/// Rewrites convolutions and what lies between them.
///
/// # Errors
/// [`PlanError`] if a weight cannot be read.
pub(super) fn channels_last(draft: &mut Draft) -> Result<(), PlanError> {
    let (uses, views) = (draft.uses(), views(draft));
    let insts = std::mem::take(&mut draft.insts);
    let (twins, absent, repeats) = (HashMap::new(), HashSet::new(), HashMap::new());
    let mut pass = Pass { draft, uses, views, twins, absent, repeats };
    for inst in insts {
        pass.inst(inst)?;
    }
    for value in pass.draft.results.clone() {
        pass.materialize(value);
    }
    Ok(())
}

struct Pass<'a> {
    draft: &'a mut Draft,
    /// How often each root is read.
    uses: HashMap<ValueId, usize>,
    /// What each value is also looked at as.
    views: HashMap<ValueId, Vec<ValueId>>,
    /// Value with channels last, by root.
    twins: HashMap<ValueId, ValueId>,
    /// Roots that only their twin holds so far.
    absent: HashSet<ValueId>,
    /// Images of repeated pixels, by root.
    repeats: HashMap<ValueId, Repeat>,
}

/// Values by the value whose bytes they are.
fn views(draft: &Draft) -> HashMap<ValueId, Vec<ValueId>> {
    let mut views: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
    for (&view, &of) in &draft.alias {
        views.entry(of).or_default().push(view);
    }
    views
}

impl Pass<'_> {
    fn inst(&mut self, inst: Inst) -> Result<(), PlanError> {
        if self.convert(&inst)? {
            return Ok(());
        }
        for value in inst.inputs() {
            self.materialize(value);
        }
        self.draft.insts.push(inst);
        Ok(())
    }

    /// Makes sure that a value exists with its channels in front.
    fn materialize(&mut self, value: ValueId) {
        let root = self.draft.root(value);
        if !self.absent.remove(&root) {
            return;
        }
        if let Some(&twin) = self.twins.get(&root) {
            self.transpose(twin, root, &FRONT);
        }
    }

    fn transpose(&mut self, from: ValueId, to: ValueId, permutation: &[usize; 4]) {
        let op = Op::Transpose(Transpose { permutation: permutation.to_vec() });
        self.draft.insts.push(Inst::Op { op, inputs: vec![from], outputs: vec![to] });
    }

    /// The twin of a value, if it has one and is not looked at in another shape.
    fn known_twin(&self, value: ValueId) -> Option<ValueId> {
        let root = self.draft.root(value);
        let same = self.draft.spec(root).dims == self.draft.spec(value).dims;
        self.twins.get(&root).copied().filter(|_| same)
    }

    /// The twin of an f32 value of four dimensions, made if there is none.
    fn twin(&mut self, value: ValueId) -> ValueId {
        if let Some(twin) = self.known_twin(value) {
            return twin;
        }
        self.materialize(value);
        let twin = self.new_twin(value);
        self.transpose(value, twin, &LAST);
        if self.draft.root(value) == value {
            self.twins.insert(value, twin);
        }
        twin
    }

    fn new_twin(&mut self, value: ValueId) -> ValueId {
        let dims = last(&self.draft.spec(value).dims);
        self.draft.add_value(DType::F32, dims)
    }

    /// Notes that `twin` is what the instructions so far make of `value`.
    fn made(&mut self, value: ValueId, twin: ValueId) {
        self.twins.insert(value, twin);
        self.absent.insert(value);
    }

    fn is_image(&self, value: ValueId) -> bool {
        let spec = self.draft.spec(value);
        spec.dtype == DType::F32 && spec.rank() == 4
    }

    fn is_constant(&self, value: ValueId) -> bool {
        self.draft.constants.contains_key(&self.draft.root(value))
    }
}

/// Dimensions with channels last.
fn last(dims: &[Dim]) -> Vec<Dim> {
    LAST.iter().map(|&axis| dims[axis].clone()).collect()
}

/// Where an axis goes when channels go last.
fn moved(axis: u32) -> u32 {
    LAST.iter().position(|&from| from == axis as usize).unwrap_or(0) as u32
}
