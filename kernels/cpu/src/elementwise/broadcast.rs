//! Numpy broadcasting: which element of each input meets which element of the output.

use aimass_tensor::RANK_MAX;

/// How `N` shapes broadcast together, with adjacent axes merged where that changes nothing.
///
/// Shapes are aligned at their last axes; an extent of 1 (or a missing axis) repeats.
#[derive(Clone, Copy, Debug)]
pub struct Broadcast<const N: usize> {
    shape: [usize; RANK_MAX],
    rank: usize,
    /// Merged extents, outermost first.
    extents: [usize; RANK_MAX],
    merged: usize,
    /// Elements from one index to the next of each merged axis.
    strides: [[usize; RANK_MAX]; N],
    /// Elements of each input.
    lengths: [usize; N],
}

impl<const N: usize> Broadcast<N> {
    /// The plan for these shapes, or `None` if they do not broadcast or have more than 8 axes.
    pub fn new(inputs: [&[usize]; N]) -> Option<Broadcast<N>> {
        let rank = inputs.iter().map(|shape| shape.len()).max().unwrap_or(0);
        if rank > RANK_MAX {
            return None;
        }
        let extent = |shape: &[usize], axis: usize| match axis + shape.len() >= rank {
            true => shape[axis + shape.len() - rank],
            false => 1,
        };
        let mut shape = [1; RANK_MAX];
        for (axis, own) in shape.iter_mut().enumerate().take(rank) {
            for input in inputs {
                match (*own, extent(input, axis)) {
                    (_, 1) => {}
                    (1, new) => *own = new,
                    (old, new) if old != new => return None,
                    (_, _) => {}
                }
            }
        }
        let mut strides = [[0; RANK_MAX]; N];
        let mut lengths = [1; N];
        for (j, input) in inputs.iter().enumerate() {
            for axis in (0..rank).rev() {
                let own = extent(input, axis);
                strides[j][axis] = if own == 1 { 0 } else { lengths[j] };
                lengths[j] *= own;
            }
        }
        let mut plan = Broadcast { shape, rank, extents: shape, merged: rank, strides, lengths };
        plan.merge();
        Some(plan)
    }

    /// Extents of the output.
    pub fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    /// Elements of the output.
    pub fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// Drops axes of extent 1 and merges neighbors that every input walks as one.
    fn merge(&mut self) {
        let mut last = 0;
        let (extents, strides) = (self.extents, self.strides);
        for axis in 0..self.rank {
            let extent = extents[axis];
            if extent == 1 {
                continue;
            }
            let joins =
                last > 0 && (0..N).all(|j| self.strides[j][last - 1] == strides[j][axis] * extent);
            if !joins {
                last += 1;
                self.extents[last - 1] = 1;
            }
            self.extents[last - 1] *= extent;
            for (merged, strides) in self.strides.iter_mut().zip(&strides) {
                merged[last - 1] = strides[axis];
            }
        }
        self.merged = last;
    }

    /// Calls `run(output start, input starts, input steps, length)` for every run of the innermost
    /// merged axis, in the order of the output.
    #[inline(always)]
    pub(crate) fn for_each_run(&self, mut run: impl FnMut(usize, [usize; N], [usize; N], usize)) {
        if self.elements() == 0 {
            return;
        }
        let Some(inner) = self.merged.checked_sub(1) else {
            run(0, [0; N], [0; N], 1);
            return;
        };
        let len = self.extents[inner];
        let steps = std::array::from_fn(|j| self.strides[j][inner]);
        let mut index = [0usize; RANK_MAX];
        let mut starts = [0usize; N];
        for out in (0..self.elements()).step_by(len) {
            run(out, starts, steps, len);
            for axis in (0..inner).rev() {
                index[axis] += 1;
                for (start, strides) in starts.iter_mut().zip(&self.strides) {
                    *start += strides[axis];
                }
                if index[axis] < self.extents[axis] {
                    break;
                }
                for (start, strides) in starts.iter_mut().zip(&self.strides) {
                    *start -= strides[axis] * self.extents[axis];
                }
                index[axis] = 0;
            }
        }
    }

    pub(crate) fn check(&self, inputs: [usize; N], out: usize) {
        assert_eq!(inputs, self.lengths, "elements of the inputs");
        assert_eq!(out, self.elements(), "elements of the output {:?}", self.shape());
    }
}

impl Broadcast<2> {
    /// `out = f(a, b)`, with loops of their own for whole runs and repeated scalars.
    #[inline(always)]
    pub(crate) fn zip<T: Copy, R>(&self, a: &[T], b: &[T], out: &mut [R], f: impl Fn(T, T) -> R) {
        self.check([a.len(), b.len()], out.len());
        self.for_each_run(|start, [i, j], steps, len| {
            let out = out[start..start + len].iter_mut();
            match steps {
                [1, 1] => {
                    let (a, b) = (&a[i..i + len], &b[j..j + len]);
                    out.zip(a).zip(b).for_each(|((out, &a), &b)| *out = f(a, b));
                }
                [1, 0] => {
                    let (a, b) = (&a[i..i + len], b[j]);
                    out.zip(a).for_each(|(out, &a)| *out = f(a, b));
                }
                [0, 1] => {
                    let (a, b) = (a[i], &b[j..j + len]);
                    out.zip(b).for_each(|(out, &b)| *out = f(a, b));
                }
                [step_a, step_b] => {
                    let at = |n: usize| f(a[i + n * step_a], b[j + n * step_b]);
                    out.enumerate().for_each(|(n, out)| *out = at(n));
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert!(Broadcast::new([&[2, 3], &[2]]).is_none());
        assert!(Broadcast::new([&[1; 9], &[1]]).is_none());
        assert_eq!(Broadcast::new([&[2, 0], &[1]]).unwrap().shape(), [2, 0]);
        assert!(Broadcast::new([&[2, 0], &[3]]).is_none());
    }

    #[test]
    fn whole_tensors_merge_to_one_run() {
        let plan = Broadcast::new([&[4, 5, 6], &[4, 5, 6]]).unwrap();
        assert_eq!((plan.merged, plan.extents[0]), (1, 120));
        let plan = Broadcast::new([&[4, 5, 6], &[6]]).unwrap();
        assert_eq!((plan.merged, plan.extents[..2].to_vec()), (2, vec![20, 6]));
    }

    proptest! {
        #[test]
        fn every_element_meets_the_right_ones(
            full in prop::collection::vec(1usize..4, 0..5),
            ones in prop::collection::vec(any::<(bool, bool)>(), 5),
            drop in (0usize..5, 0usize..5),
        ) {
            let shape = |pick: fn(&(bool, bool)) -> bool, drop: usize| -> Vec<usize> {
                let reduced = full.iter().zip(&ones).map(|(&d, one)| if pick(one) { 1 } else { d });
                reduced.skip(drop).collect()
            };
            let (a, b) = (shape(|o| o.0, drop.0), shape(|o| o.1, drop.1));
            let plan = Broadcast::new([&a, &b]).unwrap();
            let number = |count: usize| (0..count).map(|i| i as i64).collect::<Vec<_>>();
            let x = number(a.iter().product());
            let y = number(b.iter().product());
            let mut out = vec![(0, 0); plan.elements()];
            plan.zip(&x, &y, &mut out, |a, b| (a, b));
            for (i, &(left, right)) in out.iter().enumerate() {
                let position = |own: &[usize]| {
                    let (mut rest, mut at, mut stride) = (i, 0, 1);
                    for axis in (0..plan.shape().len()).rev() {
                        let index = rest % plan.shape()[axis];
                        rest /= plan.shape()[axis];
                        if axis + own.len() >= plan.shape().len() {
                            let extent = own[axis + own.len() - plan.shape().len()];
                            at += if extent == 1 { 0 } else { index * stride };
                            stride *= extent;
                        }
                    }
                    at as i64
                };
                prop_assert_eq!((left, right), (position(&a), position(&b)));
            }
        }
    }
}
