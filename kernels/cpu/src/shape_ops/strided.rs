//! Copies from a strided source: transpose, slice and broadcast are one loop with other strides.

use crate::conv::worth;
use crate::pool::Team;
use aimass_tensor::RANK_MAX;

/// Rows and columns of the blocks in which two axes are swapped: a cache line of f32 down, and few
/// enough lines across that those of one cache set stay.
const BLOCK: [usize; 2] = [16, 8];

/// `out = x` with axis `i` of the output taken from axis `permutation[i]` of the input.
///
/// # Panics
/// If `permutation` is none, or a slice has another size.
pub fn transpose(
    team: Team<'_>,
    size: usize,
    x: &[u8],
    shape: &[usize],
    permutation: &[usize],
    out: &mut [u8],
) {
    assert_eq!(shape.len(), permutation.len(), "axes of the permutation");
    let mut walk = Walk::new(size, shape.len());
    let strides = strides(size, shape);
    let mut used = [false; RANK_MAX];
    for (axis, &from) in permutation.iter().enumerate() {
        assert!(!std::mem::replace(&mut used[from], true), "{permutation:?} is no permutation");
        walk.extents[axis] = shape[from];
        walk.strides[axis] = strides[from] as isize;
    }
    assert_eq!(x.len(), shape.iter().product::<usize>() * size, "bytes of {shape:?}");
    walk.copy(team, x, out);
}

/// Which elements of each axis a [`slice()`] takes: `starts[i] + j steps[i]` for `j < extents[i]`.
#[derive(Clone, Copy, Debug)]
pub struct SliceSpec<'a> {
    /// First index of every axis.
    pub starts: &'a [usize],
    /// Distance between indices of every axis; negative ones go backwards.
    pub steps: &'a [isize],
    /// Extents of the output.
    pub extents: &'a [usize],
}

/// The part of `x` that `spec` describes.
///
/// # Panics
/// If an index is outside its axis or a slice has another size.
pub fn slice(
    team: Team<'_>,
    size: usize,
    x: &[u8],
    shape: &[usize],
    spec: SliceSpec,
    out: &mut [u8],
) {
    let rank = shape.len();
    let SliceSpec { starts, steps, extents } = spec;
    assert_eq!([starts.len(), steps.len(), extents.len()], [rank; 3], "axes of the slice");
    assert_eq!(x.len(), shape.iter().product::<usize>() * size, "bytes of {shape:?}");
    let mut walk = Walk::new(size, rank);
    let strides = strides(size, shape);
    for axis in 0..rank {
        walk.extents[axis] = extents[axis];
        walk.strides[axis] = strides[axis] as isize * steps[axis];
        if extents.contains(&0) {
            continue;
        }
        let last = starts[axis] as isize + steps[axis] * (extents[axis] - 1) as isize;
        let inside = |index: isize| (0..shape[axis] as isize).contains(&index);
        assert!(inside(starts[axis] as isize) && inside(last), "{spec:?} of {shape:?}");
        walk.start += starts[axis] * strides[axis];
    }
    walk.copy(team, x, out);
}

/// `x` repeated to `out_shape` by the rules of numpy broadcasting.
///
/// # Panics
/// If `shape` does not broadcast to `out_shape` or a slice has another size.
pub fn broadcast_to(
    team: Team<'_>,
    size: usize,
    x: &[u8],
    shape: &[usize],
    out_shape: &[usize],
    out: &mut [u8],
) {
    assert!(shape.len() <= out_shape.len(), "{shape:?} to {out_shape:?}");
    assert_eq!(x.len(), shape.iter().product::<usize>() * size, "bytes of {shape:?}");
    let mut walk = Walk::new(size, out_shape.len());
    let strides = strides(size, shape);
    let missing = out_shape.len() - shape.len();
    for (axis, &extent) in out_shape.iter().enumerate() {
        walk.extents[axis] = extent;
        if axis < missing {
            continue;
        }
        let own = shape[axis - missing];
        assert!(own == extent || own == 1, "{shape:?} to {out_shape:?}");
        walk.strides[axis] = if own == 1 { 0 } else { strides[axis - missing] as isize };
    }
    walk.copy(team, x, out);
}

fn strides(size: usize, shape: &[usize]) -> [usize; RANK_MAX] {
    assert!(shape.len() <= RANK_MAX, "{} axes", shape.len());
    let mut strides = [0; RANK_MAX];
    let mut stride = size;
    for axis in (0..shape.len()).rev() {
        strides[axis] = stride;
        stride *= shape[axis];
    }
    strides
}

/// A walk through a source in the order of a dense output.
#[derive(Clone)]
struct Walk {
    size: usize,
    rank: usize,
    extents: [usize; RANK_MAX],
    /// Bytes from one index to the next of every axis.
    strides: [isize; RANK_MAX],
    /// Byte where the walk begins.
    start: usize,
}

impl Walk {
    fn new(size: usize, rank: usize) -> Walk {
        assert!(rank <= RANK_MAX, "{rank} axes");
        Walk { size, rank, extents: [1; RANK_MAX], strides: [0; RANK_MAX], start: 0 }
    }

    fn copy(mut self, team: Team<'_>, x: &[u8], out: &mut [u8]) {
        let elements: usize = self.extents[..self.rank].iter().product();
        assert_eq!(out.len(), elements * self.size, "bytes of the output");
        if out.is_empty() {
            return;
        }
        self.merge();
        let team = worth(team, elements);
        let outer = if self.rank == 0 { 1 } else { self.extents[0] };
        // Twice as many parts as threads, of whole blocks where two axes are swapped.
        let mut share = outer.div_ceil(2 * team.threads());
        if self.rank == 2 {
            share = share.next_multiple_of(BLOCK[0]);
        }
        if team.threads() == 1 || share >= outer {
            return self.part(x, out);
        }
        let bytes = out.len() / outer;
        team.chunks([out], [share * bytes], &|task, [out]| {
            let mut own = self.clone();
            own.start = (own.start as isize + (task * share) as isize * own.strides[0]) as usize;
            own.extents[0] = out.len() / bytes;
            own.part(x, out);
        });
    }

    /// All of the walk, on the calling thread.
    fn part(&self, x: &[u8], out: &mut [u8]) {
        match self.size {
            1 => self.sized::<1>(x, out),
            2 => self.sized::<2>(x, out),
            4 => self.sized::<4>(x, out),
            8 => self.sized::<8>(x, out),
            16 => self.sized::<16>(x, out),
            _ => self.any_size(x, out),
        }
    }

    /// Drops axes of extent 1 and merges neighbors that lie as one.
    fn merge(&mut self) {
        let mut last = 0;
        for axis in 0..self.rank {
            let (extent, stride) = (self.extents[axis], self.strides[axis]);
            if extent == 1 {
                continue;
            }
            if last > 0 && self.strides[last - 1] == stride * extent as isize {
                self.extents[last - 1] *= extent;
            } else {
                self.extents[last] = extent;
                last += 1;
            }
            self.strides[last - 1] = stride;
        }
        self.rank = last;
    }

    /// Calls `run` with the source of every index of the first `axes` axes, in order.
    fn each(&self, axes: usize, mut run: impl FnMut(usize)) {
        let mut index = [0usize; RANK_MAX];
        let mut at = self.start as isize;
        loop {
            run(at as usize);
            let mut axis = axes;
            loop {
                let Some(next) = axis.checked_sub(1) else {
                    return;
                };
                axis = next;
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.extents[axis] {
                    break;
                }
                at -= self.strides[axis] * self.extents[axis] as isize;
                index[axis] = 0;
            }
        }
    }

    fn sized<const SIZE: usize>(&self, x: &[u8], out: &mut [u8]) {
        let Some(inner) = self.rank.checked_sub(1) else {
            out.copy_from_slice(&x[self.start..][..SIZE]);
            return;
        };
        let (len, step) = (self.extents[inner], self.strides[inner]);
        if step == SIZE as isize {
            let mut runs = out.chunks_exact_mut(len * SIZE);
            self.each(inner, |at| {
                let run = runs.next().expect("one run an index");
                run.copy_from_slice(&x[at..at + len * SIZE]);
            });
            return;
        }
        if inner > 0 && step >= 0 && self.strides[inner - 1] == SIZE as isize {
            let mut planes = out.chunks_exact_mut(self.extents[inner - 1] * len * SIZE);
            self.each(inner - 1, |at| {
                let plane = planes.next().expect("one plane an index");
                swap::<SIZE>(&x[at..], step as usize, len, plane);
            });
            return;
        }
        let mut runs = out.chunks_exact_mut(len * SIZE);
        self.each(inner, |at| {
            let run = runs.next().expect("one run an index");
            for (i, out) in run.chunks_exact_mut(SIZE).enumerate() {
                let at = (at as isize + i as isize * step) as usize;
                out.copy_from_slice(&x[at..at + SIZE]);
            }
        });
    }

    fn any_size(&self, x: &[u8], out: &mut [u8]) {
        let mut elements = out.chunks_exact_mut(self.size);
        self.each(self.rank, |at| {
            let element = elements.next().expect("one element an index");
            element.copy_from_slice(&x[at..at + self.size]);
        });
    }
}

/// `plane[row, column] = x[column, row]`, where the rows of `x` are `stride` bytes apart.
fn swap<const SIZE: usize>(x: &[u8], stride: usize, columns: usize, plane: &mut [u8]) {
    let rows = plane.len() / (columns * SIZE);
    let [down, across] = BLOCK;
    for row_block in (0..rows).step_by(down) {
        for column_block in (0..columns).step_by(across) {
            for row in row_block..rows.min(row_block + down) {
                let end = columns.min(column_block + across);
                let out = &mut plane[(row * columns + column_block) * SIZE..]
                    [..(end - column_block) * SIZE];
                for (i, out) in out.chunks_exact_mut(SIZE).enumerate() {
                    let at = (column_block + i) * stride + row * SIZE;
                    out.copy_from_slice(&x[at..at + SIZE]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Index of element `flat` of `shape`, axis by axis.
    fn index(mut flat: usize, shape: &[usize]) -> Vec<usize> {
        let mut index = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            index[axis] = flat % shape[axis];
            flat /= shape[axis];
        }
        index
    }

    fn flat(index: &[usize], shape: &[usize]) -> usize {
        index.iter().zip(shape).fold(0, |flat, (i, extent)| flat * extent + i)
    }

    /// Elements of `size` bytes that all differ.
    fn elements(count: usize, size: usize) -> Vec<u8> {
        (0..count * size)
            .map(|i| ((i / size * 31) ^ (i % size * 7) ^ (i / size / 256)) as u8)
            .collect()
    }

    fn check(
        size: usize,
        shape: &[usize],
        out: (&[u8], &[usize]),
        source: impl Fn(&[usize]) -> Vec<usize>,
    ) {
        let x = elements(shape.iter().product(), size);
        for (i, element) in out.0.chunks(size).enumerate() {
            let from = flat(&source(&index(i, out.1)), shape) * size;
            assert_eq!(element, &x[from..from + size], "element {i}");
        }
    }

    /// Enough threads that walks are cut, if they are large.
    fn team() -> Team<'static> {
        crate::pool::KernelPool::global().team(3)
    }

    const SIZES: [usize; 6] = [1, 2, 3, 4, 8, 16];

    proptest! {
        #[test]
        fn axes_permute(
            shape in prop::collection::vec(1usize..20, 0..4), order in any::<u64>(), kind in 0usize..6,
        ) {
            let size = SIZES[kind];
            let mut permutation: Vec<usize> = (0..shape.len()).collect();
            permutation.sort_by_key(|&axis| order.rotate_left(axis as u32 * 13) ^ 0x5bd1);
            let x = elements(shape.iter().product(), size);
            let out_shape: Vec<usize> = permutation.iter().map(|&axis| shape[axis]).collect();
            let mut out = vec![0; x.len()];
            transpose(team(), size, &x, &shape, &permutation, &mut out);
            check(size, &shape, (&out, &out_shape), |i| {
                let mut from = vec![0; i.len()];
                permutation.iter().zip(i).for_each(|(&axis, &i)| from[axis] = i);
                from
            });
        }

        #[test]
        fn slices_step_forwards_and_backwards(
            axes in prop::collection::vec((1usize..9, 0usize..9, -3isize..4, 0usize..9), 0..4),
            kind in 0usize..6,
        ) {
            let size = SIZES[kind];
            let (mut shape, mut starts, mut steps, mut extents) = (vec![], vec![], vec![], vec![]);
            for (extent, start, step, count) in axes {
                let (start, step) = (start % extent, if step == 0 { 1 } else { step });
                let room = if step > 0 { extent - 1 - start } else { start };
                shape.push(extent);
                starts.push(start);
                steps.push(step);
                extents.push(count.min(room / step.unsigned_abs() + 1));
            }
            let x = elements(shape.iter().product(), size);
            let mut out = vec![0; extents.iter().product::<usize>() * size];
            let spec = SliceSpec { starts: &starts, steps: &steps, extents: &extents };
            slice(team(), size, &x, &shape, spec, &mut out);
            check(size, &shape, (&out, &extents), |i| {
                (0..i.len()).map(|a| (starts[a] as isize + steps[a] * i[a] as isize) as usize).collect()
            });
        }

        #[test]
        fn extents_of_one_repeat(
            full in prop::collection::vec((1usize..6, any::<bool>()), 0..4), drop in 0usize..4,
            kind in 0usize..6,
        ) {
            let size = SIZES[kind];
            let out_shape: Vec<usize> = full.iter().map(|&(extent, _)| extent).collect();
            let own = full.iter().map(|&(extent, one)| if one { 1 } else { extent });
            let shape: Vec<usize> = own.skip(drop).collect();
            let x = elements(shape.iter().product(), size);
            let mut out = vec![0; out_shape.iter().product::<usize>() * size];
            broadcast_to(team(), size, &x, &shape, &out_shape, &mut out);
            check(size, &shape, (&out, &out_shape), |i| {
                let i = &i[i.len() - shape.len()..];
                shape.iter().zip(i).map(|(&extent, &i)| if extent == 1 { 0 } else { i }).collect()
            });
        }
    }

    /// Large enough that several threads share the work, and no multiple of a block.
    #[test]
    fn what_threads_share_is_what_one_thread_copies() {
        let shape = [37, 3, 911];
        let x = elements(37 * 3 * 911, 4);
        let pool = crate::pool::KernelPool::new(3);
        for permutation in [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let [alone, shared] = [Team::alone(), pool.team(3)].map(|team| {
                let mut out = vec![0; x.len()];
                transpose(team, 4, &x, &shape, &permutation, &mut out);
                out
            });
            assert_eq!(alone, shared, "{permutation:?}");
        }
        let spec = SliceSpec { starts: &[36, 0, 3], steps: &[-1, 1, 1], extents: &[37, 3, 900] };
        let [alone, shared] = [Team::alone(), pool.team(3)].map(|team| {
            let mut out = vec![0; 37 * 3 * 900 * 4];
            slice(team, 4, &x, &shape, spec, &mut out);
            out
        });
        assert_eq!(alone, shared);
        let [alone, shared] = [Team::alone(), pool.team(3)].map(|team| {
            let mut out = vec![0; x.len() * 3];
            broadcast_to(team, 4, &x, &[37, 3, 1, 911], &[37, 3, 3, 911], &mut out);
            out
        });
        assert_eq!(alone, shared);
    }

    #[test]
    fn what_is_outside_panics() {
        let x = [0u8; 6];
        let spec = SliceSpec { starts: &[1, 0], steps: &[1, 1], extents: &[2, 3] };
        let run = || slice(team(), 1, &x, &[2, 3], spec, &mut [0; 6]);
        assert!(std::panic::catch_unwind(run).is_err());
        let run = || transpose(team(), 1, &x, &[2, 3], &[0, 0], &mut [0; 4]);
        assert!(std::panic::catch_unwind(run).is_err());
        let run = || broadcast_to(team(), 1, &x[..2], &[2], &[3], &mut [0; 3]);
        assert!(std::panic::catch_unwind(run).is_err());
    }
}
