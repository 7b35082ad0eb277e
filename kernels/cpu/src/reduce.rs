//! Reductions over one axis of `[outer, n, inner]`, scans, and pooling of ragged rows.
//!
//! With `inner == 1` a lane is summed in sixteen fixed lanes, otherwise in the order of the axis;
//! either way the order depends on the extents alone.

mod select;

pub use select::{TopK, arg_max, arg_min, top_k};

use crate::conv::worth;
use crate::elementwise::{Integer, Number};
use crate::level::leveled;
use crate::pool::Team;
use crate::vector_math::{join_lanes, larger};
use crate::view::{Rows, RowsMut};
use std::ops::Range;

/// A tensor seen as `[outer, n, inner]`; the kernel works on the middle axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Product of the extents before the axis.
    pub outer: usize,
    /// Extent of the axis (or of several adjacent ones).
    pub n: usize,
    /// Product of the extents after the axis.
    pub inner: usize,
}

impl Lanes {
    /// The view that has the adjacent `axes` of `shape` in the middle.
    ///
    /// # Panics
    /// If `axes` is not inside the shape.
    pub fn of(shape: &[usize], axes: std::ops::Range<usize>) -> Lanes {
        Lanes {
            outer: shape[..axes.start].iter().product(),
            n: shape[axes.clone()].iter().product(),
            inner: shape[axes.end..].iter().product(),
        }
    }

    /// Elements of the whole tensor.
    pub fn elements(&self) -> usize {
        self.outer * self.n * self.inner
    }

    /// Elements of the tensor without the middle axis.
    pub fn lanes(&self) -> usize {
        self.outer * self.inner
    }
}

/// What becomes of the numbers of a lane.
///
/// An empty lane gives 0 (sums and lengths), 1 (product), NaN (mean), `-inf` (max), `inf` (min).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sum.
    Sum,
    /// Sum divided by the count.
    Mean,
    /// Product.
    Prod,
    /// The largest; NaN if there is one.
    Max,
    /// The smallest; NaN if there is one.
    Min,
    /// Sum of squares.
    SumSquares,
    /// Sum of absolute values.
    L1,
    /// Square root of the sum of squares.
    L2,
}

/// Reduces the middle axis: `x: [outer, n, inner]`, `out: [outer, inner]`. Threads share the lanes, so
/// that none of them changes.
///
/// # Panics
/// If a slice does not have these elements.
pub fn reduce(team: Team<'_>, op: Reduction, lanes: Lanes, x: &[f32], out: &mut [f32]) {
    assert_eq!((x.len(), out.len()), (lanes.elements(), lanes.lanes()), "elements of {lanes:?}");
    let Lanes { outer, n, inner } = lanes;
    let team = worth(team, x.len());
    if team.threads() == 1 || out.len() < 2 {
        return part(op, lanes, 0..inner, x, out);
    }
    if outer > 1 {
        let share = outer.div_ceil(2 * team.threads());
        return team.chunks([out], [share * inner], &|task, [out]| {
            let own = Lanes { outer: out.len() / inner, n, inner };
            let x = &x[task * share * n * inner..][..own.elements()];
            part(op, own, 0..inner, x, out);
        });
    }
    let share = inner.div_ceil(team.threads()).next_multiple_of(CACHE_LINE);
    team.chunks([out], [share], &|task, [out]| {
        part(op, lanes, task * share..task * share + out.len(), x, out);
    });
}

/// Floats of a cache line.
const CACHE_LINE: usize = 16;

leveled! {
    fn part(op: Reduction, lanes: Lanes, columns: Range<usize>, x: &[f32], out: &mut [f32])
        = reduce_body(op, lanes, columns, x, out);
}

#[inline(always)]
fn reduce_body(op: Reduction, lanes: Lanes, columns: Range<usize>, x: &[f32], out: &mut [f32]) {
    let add = |a, b| a + b;
    let lanes = (lanes, columns);
    let count = lanes.0.n as f32;
    match op {
        Reduction::Sum | Reduction::Mean => fold(lanes, x, out, 0.0, add, add),
        Reduction::Prod => fold(lanes, x, out, 1.0, |a, b| a * b, |a, b| a * b),
        Reduction::Max => fold(lanes, x, out, f32::NEG_INFINITY, larger, larger),
        Reduction::Min => fold(lanes, x, out, f32::INFINITY, smaller, smaller),
        Reduction::SumSquares | Reduction::L2 => {
            fold(lanes, x, out, 0.0, |a, x: f32| x.mul_add(x, a), add);
        }
        Reduction::L1 => fold(lanes, x, out, 0.0, |a, x: f32| a + x.abs(), add),
    }
    match op {
        Reduction::Mean => out.iter_mut().for_each(|x| *x /= count),
        Reduction::L2 => out.iter_mut().for_each(|x| *x = x.sqrt()),
        Reduction::Sum
        | Reduction::Prod
        | Reduction::Max
        | Reduction::Min
        | Reduction::SumSquares
        | Reduction::L1 => {}
    }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn fold(
    (lanes, columns): (Lanes, Range<usize>),
    x: &[f32],
    out: &mut [f32],
    start: f32,
    step: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) {
    let Lanes { n, inner, .. } = lanes;
    out.fill(start);
    if x.is_empty() {
        return;
    }
    if inner > 1 {
        for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(columns.len())) {
            for x in x.chunks_exact(inner) {
                let x = &x[columns.clone()];
                out.iter_mut().zip(x).for_each(|(out, &x)| *out = step(*out, x));
            }
        }
        return;
    }
    for (x, out) in x.chunks_exact(n).zip(out) {
        let mut sums = [start; 16];
        for chunk in x.chunks(16) {
            sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum = step(*sum, x));
        }
        *out = join_lanes(sums, &join);
    }
}

/// What becomes of the integers of a lane; sums and products wrap.
///
/// An empty lane gives 0, 1, the lowest or the highest value of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the reduction's usual name")]
pub enum IntReduction {
    Sum,
    Prod,
    Max,
    Min,
}

/// As [`reduce`] for integers.
///
/// # Panics
/// If a slice does not have the elements of `lanes`.
pub fn reduce_int<T: Integer>(op: IntReduction, lanes: Lanes, x: &[T], out: &mut [T]) {
    assert_eq!((x.len(), out.len()), (lanes.elements(), lanes.lanes()), "elements of {lanes:?}");
    let (start, step): (T, fn(T, T) -> T) = match op {
        IntReduction::Sum => (T::wrapped(0), T::add),
        IntReduction::Prod => (T::wrapped(1), T::mul),
        IntReduction::Max => (T::LOWEST, Number::max),
        IntReduction::Min => (T::HIGHEST, Number::min),
    };
    out.fill(start);
    if x.is_empty() {
        return;
    }
    let slabs = x.chunks_exact(lanes.n * lanes.inner);
    for (x, out) in slabs.zip(out.chunks_exact_mut(lanes.inner)) {
        for x in x.chunks_exact(lanes.inner) {
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = step(*out, x));
        }
    }
}

/// Whether any element of a lane (or every one, if not `any`) is true, as 0 or 1.
///
/// # Panics
/// If a slice does not have the elements of `lanes`.
pub fn reduce_bool(any: bool, lanes: Lanes, x: &[u8], out: &mut [u8]) {
    assert_eq!((x.len(), out.len()), (lanes.elements(), lanes.lanes()), "elements of {lanes:?}");
    out.fill(u8::from(!any));
    if x.is_empty() {
        return;
    }
    let slabs = x.chunks_exact(lanes.n * lanes.inner);
    for (x, out) in slabs.zip(out.chunks_exact_mut(lanes.inner)) {
        for x in x.chunks_exact(lanes.inner) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = if (x != 0) == any { u8::from(any) } else { *out };
            }
        }
    }
}

/// How the rows of a segment become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Sum of the rows divided by their number.
    Mean,
    /// Sum of the rows.
    Sum,
    /// Largest of each column; NaN if there is one.
    Max,
    /// The first row.
    First,
    /// The last row.
    Last,
}

/// One row for every segment: `out[s] = pool(x[offsets[s]..offsets[s + 1]])`.
///
/// Rows are taken in their order; an empty segment gives zeros.
///
/// # Panics
/// If the offsets fall or go beyond the rows, or `out` is not `[offsets.len() - 1, columns]`.
pub fn segment_pool(op: Pooling, x: Rows, offsets: &[u32], out: RowsMut) {
    let segments = offsets.len().saturating_sub(1);
    assert_eq!((out.rows(), out.columns()), (segments, x.columns()), "extents of out");
    let mut out = out;
    for (segment, pair) in offsets.windows(2).enumerate() {
        let rows = x.row_range(pair[0] as usize..pair[1] as usize);
        pool_rows(op, rows, out.row_mut(segment));
    }
}

leveled! {
    fn pool_rows(op: Pooling, rows: Rows<'_>, out: &mut [f32]) = pool_rows_body(op, rows, out);
}

#[inline(always)]
fn pool_rows_body(op: Pooling, rows: Rows<'_>, out: &mut [f32]) {
    let Some(last) = rows.rows().checked_sub(1) else {
        out.fill(0.0);
        return;
    };
    out.copy_from_slice(rows.row(if op == Pooling::Last { last } else { 0 }));
    let each = |out: &mut [f32], step: fn(f32, f32) -> f32| {
        for row in 1..=last {
            out.iter_mut().zip(rows.row(row)).for_each(|(out, &x)| *out = step(*out, x));
        }
    };
    match op {
        Pooling::Sum => each(out, |a, b| a + b),
        Pooling::Mean => {
            each(out, |a, b| a + b);
            let count = rows.rows() as f32;
            out.iter_mut().for_each(|x| *x /= count);
        }
        Pooling::Max => each(out, larger),
        Pooling::First | Pooling::Last => {}
    }
}

/// Which numbers a running sum or product includes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Leaves out the number at the place itself.
    pub exclusive: bool,
    /// Begins at the end.
    pub reverse: bool,
}

/// Running results of `step` along the middle axis, from `start` on, in the order of the axis (ONNX
/// `CumSum-14` with `+` from 0).
///
/// # Panics
/// If a slice does not have the elements of `lanes`.
pub fn cumulative<T: Copy>(
    lanes: Lanes,
    scan: Scan,
    (start, step): (T, impl Fn(T, T) -> T),
    x: &[T],
    out: &mut [T],
) {
    let Lanes { n, inner, .. } = lanes;
    assert_eq!((x.len(), out.len()), (lanes.elements(), lanes.elements()), "elements of {lanes:?}");
    if x.is_empty() {
        return;
    }
    for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(n * inner)) {
        for lane in 0..inner {
            let mut so_far = start;
            for place in 0..n {
                let at = lane + inner * if scan.reverse { n - 1 - place } else { place };
                let next = step(so_far, x[at]);
                out[at] = if scan.exclusive { so_far } else { next };
                so_far = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;

    fn reference(op: Reduction, lane: &[f64]) -> f64 {
        let sum = |f: fn(f64) -> f64| lane.iter().map(|&x| f(x)).sum::<f64>();
        match op {
            Reduction::Sum => sum(|x| x),
            Reduction::Mean => sum(|x| x) / lane.len() as f64,
            Reduction::Prod => lane.iter().product(),
            Reduction::Max => lane.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => lane.iter().copied().fold(f64::INFINITY, f64::min),
            Reduction::SumSquares => sum(|x| x * x),
            Reduction::L1 => sum(f64::abs),
            Reduction::L2 => sum(|x| x * x).sqrt(),
        }
    }

    #[test]
    fn threads_share_lanes_and_change_none() {
        let pool = crate::pool::KernelPool::new(3);
        for (outer, n, inner) in [(1, 400, 200), (1, 500, 401), (31, 37, 67), (5, 40_000, 1)] {
            let lanes = Lanes { outer, n, inner };
            let x: Vec<f32> =
                (0..lanes.elements()).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0).collect();
            for op in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::L2] {
                let [alone, shared] = [Team::alone(), pool.team(3)].map(|team| {
                    let mut out = vec![0f32; lanes.lanes()];
                    reduce(team, op, lanes, &x, &mut out);
                    out.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
                });
                assert_eq!(alone, shared, "{op:?} of {lanes:?}");
            }
        }
    }

    #[test]
    fn every_reduction_follows_its_definition_on_every_axis() {
        let ops = [
            Reduction::Sum,
            Reduction::Mean,
            Reduction::Prod,
            Reduction::Max,
            Reduction::Min,
            Reduction::SumSquares,
            Reduction::L1,
            Reduction::L2,
        ];
        let shapes = [(2, 1, 1), (3, 37, 1), (2, 100, 1), (2, 5, 3), (1, 3, 40), (2, 0, 1)];
        for (op, (outer, n, inner)) in ops.iter().flat_map(|&op| shapes.map(|shape| (op, shape))) {
            let lanes = Lanes { outer, n, inner };
            let x: Vec<f32> =
                (0..lanes.elements()).map(|i| ((i * 7919) % 401) as f32 / 200.0 - 1.0).collect();
            let mut first: Option<Vec<u32>> = None;
            for_each_level(|level| {
                let mut out = vec![0f32; lanes.lanes()];
                reduce(Team::alone(), op, lanes, &x, &mut out);
                for (index, &got) in out.iter().enumerate() {
                    let start = index / inner * n * inner + index % inner;
                    let lane: Vec<f64> = (0..n).map(|p| x[start + p * inner] as f64).collect();
                    let want = reference(op, &lane);
                    let near = (got as f64 - want).abs() <= 1e-5 || got as f64 == want;
                    assert!(
                        near || (got.is_nan() && want.is_nan()),
                        "{op:?} {lanes:?} {got} {want}"
                    );
                }
                let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits, "{op:?} {level:?}");
            });
        }
    }

    #[test]
    fn integers_wrap_and_bools_are_any_and_all() {
        let lanes = Lanes { outer: 2, n: 2, inner: 1 };
        let mut out = [0i32; 2];
        reduce_int(IntReduction::Sum, lanes, &[i32::MAX, 1, 2, 3], &mut out);
        assert_eq!(out, [i32::MIN, 5]);
        reduce_int(IntReduction::Prod, lanes, &[4, 5, 2, 3], &mut out);
        assert_eq!(out, [20, 6]);
        let mut bools = [9u8; 2];
        reduce_bool(true, lanes, &[0, 7, 0, 0], &mut bools);
        assert_eq!(bools, [1, 0]);
        reduce_bool(false, lanes, &[0, 1, 1, 7], &mut bools);
        assert_eq!(bools, [0, 1]);
        for any in [true, false] {
            reduce_bool(any, Lanes { outer: 2, n: 0, inner: 1 }, &[], &mut bools);
            assert_eq!(bools, [u8::from(!any); 2]);
        }
    }

    #[test]
    fn segments_pool_by_themselves() {
        let x: Vec<f32> = (0..10).map(|i| i as f32).collect();
        for (op, want) in [
            (Pooling::Mean, [2.0, 3.0, 0.0, 0.0, 7.0, 8.0]),
            (Pooling::Sum, [6.0, 9.0, 0.0, 0.0, 14.0, 16.0]),
            (Pooling::Max, [4.0, 5.0, 0.0, 0.0, 8.0, 9.0]),
            (Pooling::First, [0.0, 1.0, 0.0, 0.0, 6.0, 7.0]),
            (Pooling::Last, [4.0, 5.0, 0.0, 0.0, 8.0, 9.0]),
        ] {
            let mut out = [f32::NAN; 6];
            segment_pool(op, Rows::dense(&x, 2), &[0, 3, 3, 5], RowsMut::dense(&mut out, 2));
            assert_eq!(out, want, "{op:?}");
        }
    }

    #[test]
    fn scans_go_both_ways() {
        let (x, mut out) = ([1f32, 2.0, 3.0, 10.0, 20.0, 30.0], [0f32; 6]);
        let mut check = |lanes, exclusive, reverse, want: [f32; 6]| {
            let sum = (0.0, |a: f32, b: f32| a + b);
            cumulative(lanes, Scan { exclusive, reverse }, sum, &x, &mut out);
            assert_eq!(out, want);
        };
        let rows = Lanes { outer: 2, n: 3, inner: 1 };
        check(rows, false, false, [1.0, 3.0, 6.0, 10.0, 30.0, 60.0]);
        check(rows, true, false, [0.0, 1.0, 3.0, 0.0, 10.0, 30.0]);
        check(rows, false, true, [6.0, 5.0, 3.0, 60.0, 50.0, 30.0]);
        let columns = Lanes { outer: 1, n: 2, inner: 3 };
        check(columns, false, false, [1.0, 2.0, 3.0, 11.0, 22.0, 33.0]);
        let mut products = [0i32; 3];
        cumulative(
            Lanes { outer: 1, ..rows },
            Scan::default(),
            (1, |a, b| a * b),
            &[2, 3, 4],
            &mut products,
        );
        assert_eq!(products, [2, 6, 24]);
    }

    #[test]
    fn adjacent_axes_reduce_together() {
        assert_eq!(Lanes::of(&[2, 3, 4, 5], 1..3), Lanes { outer: 2, n: 12, inner: 5 });
    }
}
