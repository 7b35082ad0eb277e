//! Images that are enlarged by repetition of their pixels: a reshape, a broadcast and a reshape for each
//! axis, as formats without an op for it spell ONNX `Resize` with `nearest`, become one broadcast with
//! channels last.

use super::Pass;
use crate::Dim;
use crate::compile::Inst;
use crate::graph::ValueId;
use crate::op::{Broadcast, Op};
use aimass_tensor::DType;

/// How an image was enlarged.
#[derive(Clone, Copy)]
pub(super) struct Repeat {
    /// The image before, channels last.
    from: ValueId,
    /// How often each row and each column is repeated.
    factors: [u64; 2],
}

impl Pass<'_> {
    /// Takes the repetition of rows or columns of an image; false for every other broadcast.
    pub(super) fn repeated(&mut self, x: ValueId, out: ValueId) -> bool {
        let Some((axis, factor)) = self.repeated_axis(x, out) else { return false };
        let Some(dims) = self.enlarged(out, axis) else { return false };
        let source = self.draft.root(x);
        let Some(twin) = self.known_twin(source) else { return false };
        let views = self.views.get(&out).into_iter().flatten().copied();
        let large = views.filter(|&view| self.draft.spec(view).dims == dims).min();
        let large = large.unwrap_or_else(|| self.draft.add_value(DType::F32, dims));
        // The bytes are the large image's now, whatever else looks at them.
        self.draft.alias.remove(&large);
        self.draft.alias.insert(out, large);
        self.draft.results.iter_mut().filter(|root| **root == out).for_each(|root| *root = large);
        let read = self.uses.get(&out).copied().unwrap_or(0);
        self.uses.insert(large, read);
        let mut repeat = Repeat { from: twin, factors: [1, 1] };
        if let Some(earlier) = self.unfinished(source, twin) {
            repeat = earlier;
        }
        repeat.factors[axis - 2] *= factor;
        let twin = self.repeat(large, repeat);
        self.made(large, twin);
        self.repeats.insert(large, repeat);
        true
    }

    /// Which axis of the image `x` is another view of gets repeated, and how often: an extent of 1 right
    /// behind it grows.
    fn repeated_axis(&self, x: ValueId, out: ValueId) -> Option<(usize, u64)> {
        let (from, to) = (&self.draft.spec(x).dims, &self.draft.spec(out).dims);
        if from.len() != 5 || to.len() != 5 {
            return None;
        }
        let mut grown = (0..5).filter(|&axis| from[axis] != to[axis]);
        let (axis, None) = (grown.next()?, grown.next()) else { return None };
        if axis < 3 || from[axis] != Dim::Fixed(1) {
            return None;
        }
        let mut image = from.clone();
        image.remove(axis);
        let source = self.draft.root(x);
        let whole = self.is_image(source) && self.draft.spec(source).dims == image;
        Some((axis - 1, to[axis].fixed()?)).filter(|_| whole)
    }

    /// Extents of the image that `out` is another view of, whose `axis` is repeated.
    fn enlarged(&self, out: ValueId, axis: usize) -> Option<Vec<Dim>> {
        let mut dims = self.draft.spec(out).dims.clone();
        let factor = dims.remove(axis + 1).fixed()?;
        dims[axis] = Dim::Fixed(dims[axis].fixed()?.checked_mul(factor)?);
        Some(dims)
    }

    /// The repetition that made `twin` of `source`, taken back because only this one reads it.
    fn unfinished(&mut self, source: ValueId, twin: ValueId) -> Option<Repeat> {
        let earlier = *self.repeats.get(&source)?;
        let made = self.draft.root(twin);
        let last = self.draft.insts.last()?;
        if self.uses.get(&source) != Some(&1) || last.outputs() != [made] {
            return None;
        }
        self.draft.insts.pop();
        self.twins.remove(&source);
        self.absent.remove(&source);
        Some(earlier)
    }

    /// Emits the repetition that makes the twin of `large`.
    fn repeat(&mut self, large: ValueId, repeat: Repeat) -> ValueId {
        let [rows, columns] = repeat.factors;
        let dims = self.draft.spec(repeat.from).dims.clone();
        let apart = |down: u64, across: u64| {
            let (down, across) = (Dim::Fixed(down), Dim::Fixed(across));
            let [n, h, w, c] = [0, 1, 2, 3].map(|axis: usize| dims[axis].clone());
            vec![n, h, down, w, across, c]
        };
        let (small, full) = (apart(1, 1), apart(rows, columns));
        let x = self.draft.add_value(DType::F32, small);
        self.draft.alias.insert(x, repeat.from);
        let made = self.draft.add_value(DType::F32, full.clone());
        let op = Op::Broadcast(Broadcast { dims: full });
        self.draft.insts.push(Inst::Op { op, inputs: vec![x], outputs: vec![made] });
        let twin = self.new_twin(large);
        self.draft.alias.insert(twin, made);
        twin
    }
}
