//! Strides move up: where every reader of an image skips pixels, the skipped ones are not made.
//!
//! Bottlenecks of residual networks end in sums that the next stage reads through convolutions of one
//! pixel and stride 2. Three quarters of that sum, and of the convolutions that made it, are never
//! looked at. What is left is computed as before, bit by bit.

use super::patterns::arithmetic;
use super::{Draft, Inst};
use crate::Dim;
use crate::graph::ValueId;
use crate::op::{Conv, Op, Pool, PoolKind, Window};
use aimass_tensor::DType;
use std::collections::HashMap;

/// Steps down and across.
type Steps = [u64; 2];

/// Moves strides of windows of one pixel into the convolutions before them, through sums, functions of
/// one number and batch norms.
pub(super) fn into_makers(draft: &mut Draft) {
    let insts = std::mem::take(&mut draft.insts);
    let mut pass = Pass { draft, backward: Vec::new(), readers: HashMap::new() };
    for inst in insts.into_iter().rev() {
        pass.inst(inst);
    }
    let kept = pass.backward.into_iter().rev().flatten();
    draft.insts = kept.collect();
}

struct Pass<'a> {
    draft: &'a mut Draft,
    /// Instructions from the last one on; `None` where one turned out to change nothing.
    backward: Vec<Option<Inst>>,
    /// Instructions in `backward` that read each root.
    readers: HashMap<ValueId, Vec<usize>>,
}

impl Pass<'_> {
    fn inst(&mut self, inst: Inst) {
        let Some((out, steps)) = self.skipped(&inst) else { return self.push(inst) };
        let Inst::Op { op, inputs, .. } = inst else { return };
        let dims = self.thinned(out, steps);
        let small = self.draft.add_value(DType::F32, dims);
        self.redirect(out, small);
        if let Op::Conv(conv) = op {
            let strides = conv.window.strides.iter().zip(steps).map(|(own, more)| own * more);
            let window = Window { strides: strides.collect(), ..conv.window };
            let op = Op::Conv(Conv { window, groups: conv.groups });
            return self.push(Inst::Op { op, inputs, outputs: vec![small] });
        }
        let mut picked = Vec::new();
        let whole = self.draft.spec(out).dims.clone();
        let thin = |input: &ValueId| match self.draft.spec(*input).dims == whole {
            true => {
                let dims = self.thinned(*input, steps);
                let part = self.draft.add_value(DType::F32, dims);
                picked.push((*input, part));
                part
            }
            false => *input,
        };
        let inputs = inputs.iter().map(thin).collect();
        self.push(Inst::Op { op, inputs, outputs: vec![small] });
        for (from, part) in picked {
            self.push(Inst::Op { op: pick(steps), inputs: vec![from], outputs: vec![part] });
        }
    }

    fn push(&mut self, inst: Inst) {
        for input in inst.inputs() {
            self.readers.entry(self.draft.root(input)).or_default().push(self.backward.len());
        }
        self.backward.push(Some(inst));
    }

    /// The image that an instruction makes and the steps in which all its readers go over it, if the
    /// instruction can leave out the rest.
    fn skipped(&self, inst: &Inst) -> Option<(ValueId, Steps)> {
        let Inst::Op { op, inputs, outputs } = inst else { return None };
        let &[out] = &outputs[..] else { return None };
        let spec = self.draft.spec(out);
        let known = spec.rank() == 4 && spec.dims[2..].iter().all(|dim| dim.fixed().is_some());
        if spec.dtype != DType::F32 || !known || self.draft.results.contains(&out) {
            return None;
        }
        let mut steps = None;
        for &reader in self.readers.get(&out)? {
            let own = self.steps(self.backward[reader].as_ref()?, out)?;
            if *steps.get_or_insert(own) != own {
                return None;
            }
        }
        let steps = steps.filter(|steps| *steps != [1, 1])?;
        let fits = match op {
            Op::Conv(conv) => {
                let mut pairs = conv.window.strides.iter().zip(steps);
                pairs.all(|(own, more)| own.checked_mul(more).is_some())
            }
            Op::Unary(_) | Op::Clamp(_) => true,
            Op::BatchNorm(_) => self.draft.spec(inputs[0]).dims == spec.dims,
            _ => arithmetic(op).is_some() && inputs.iter().all(|&x| self.by_pixel(x, out)),
        };
        fits.then_some((out, steps))
    }

    /// Whether an operand has `out`'s pixels, or one for all of them.
    fn by_pixel(&self, operand: ValueId, out: ValueId) -> bool {
        let [dims, whole] = [operand, out].map(|value| &self.draft.spec(value).dims);
        let spatial = &dims[dims.len().saturating_sub(2)..];
        dims == whole || spatial.iter().all(|dim| *dim == Dim::Fixed(1))
    }

    /// The steps of a window of one pixel that an instruction moves over `image`, and over nothing else.
    fn steps(&self, reader: &Inst, image: ValueId) -> Option<Steps> {
        let Inst::Op { op, inputs, outputs } = reader else { return None };
        let spec = |value: ValueId| self.draft.spec(value);
        let (window, one) = match op {
            Op::Conv(conv) => {
                (&conv.window, spec(inputs[1]).dims[2..].iter().all(|dim| *dim == Dim::Fixed(1)))
            }
            Op::Pool(pool) if pool.kind == PoolKind::Max => {
                let kept = self.draft.results.contains(&outputs[0]);
                (&pool.window, pool.size.iter().all(|&size| size == 1) && !kept)
            }
            _ => return None,
        };
        let padded = window.pads_before.iter().chain(&window.pads_after).any(|&pad| pad != 0);
        let elsewhere = inputs[1..].iter().any(|&input| self.draft.root(input) == image);
        if !one || padded || elsewhere || inputs[0] != image {
            return None;
        }
        window.strides[..].try_into().ok()
    }

    /// Dimensions of an image of which only every so many pixels are left.
    fn thinned(&self, image: ValueId, steps: Steps) -> Vec<Dim> {
        let mut dims = self.draft.spec(image).dims.clone();
        for (dim, step) in dims[2..].iter_mut().zip(steps) {
            if let Dim::Fixed(extent) = dim {
                *extent = extent.div_ceil(step);
            }
        }
        dims
    }

    /// Lets the readers of `image` read all pixels of `small` instead.
    fn redirect(&mut self, image: ValueId, small: ValueId) {
        let readers = self.readers.remove(&image).unwrap_or_default();
        for reader in readers {
            let Some(Inst::Op { op, inputs, outputs }) = &mut self.backward[reader] else {
                continue;
            };
            if let Op::Conv(conv) = op {
                conv.window.strides.fill(1);
                inputs[0] = small;
                continue;
            }
            self.draft.alias.insert(outputs[0], small);
            self.backward[reader] = None;
        }
    }
}

/// The op that picks every so many pixels.
fn pick([down, across]: Steps) -> Op {
    let window = Window {
        strides: vec![down, across],
        pads_before: vec![0; 2],
        pads_after: vec![0; 2],
        dilations: vec![1; 2],
    };
    Op::Pool(Pool { kind: PoolKind::Max, size: vec![1; 2], window })
}
