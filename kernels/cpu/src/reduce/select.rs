//! Which elements of a lane are the largest.

use super::Lanes;
use crate::elementwise::Number;

/// Index of the largest element of every lane; the first of equals, and a NaN before any number.
///
/// `x: [outer, n, inner]`, `out: [outer, inner]`; an empty lane gives 0.
///
/// # Panics
/// If a slice does not have these elements.
pub fn arg_max<T: Number>(lanes: Lanes, x: &[T], out: &mut [i64]) {
    arg_best(lanes, x, out, |new, old| new > old);
}

/// Index of the smallest element of every lane; otherwise as [`arg_max`].
///
/// # Panics
/// As [`arg_max`].
pub fn arg_min<T: Number>(lanes: Lanes, x: &[T], out: &mut [i64]) {
    arg_best(lanes, x, out, |new, old| new < old);
}

#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
fn arg_best<T: Number>(lanes: Lanes, x: &[T], out: &mut [i64], better: fn(T, T) -> bool) {
    let Lanes { n, inner, .. } = lanes;
    assert_eq!((x.len(), out.len()), (lanes.elements(), lanes.lanes()), "elements of {lanes:?}");
    out.fill(0);
    if x.is_empty() {
        return;
    }
    for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(inner)) {
        for (lane, out) in out.iter_mut().enumerate() {
            let mut best = x[lane];
            for index in 1..n {
                let value = x[index * inner + lane];
                if best == best && (better(value, best) || value != value) {
                    best = value;
                    *out = index as i64;
                }
            }
        }
    }
}

/// The `k` largest (or smallest) elements of every row of `x: [outer, n]`, best first.
///
/// `values` and `indices` are `[outer, k]`. Equal elements come in the order of their indices; NaN
/// counts as larger than any number.
///
/// # Panics
/// If `k > n`, `n` is 0 or a slice has other extents.
pub fn top_k<T: Number>(lanes: TopK, x: &[T], values: &mut [T], indices: &mut [i64]) {
    let TopK { n, k, largest } = lanes;
    assert!(k <= n && n > 0, "the best {k} of {n}");
    assert!(x.len().is_multiple_of(n), "{} elements in rows of {n}", x.len());
    assert_eq!((values.len(), indices.len()), (x.len() / n * k, x.len() / n * k), "rows of {k}");
    if k == 0 {
        return;
    }
    let rows = values.chunks_exact_mut(k).zip(indices.chunks_exact_mut(k));
    for (x, (values, indices)) in x.chunks_exact(n).zip(rows) {
        let mut heap = Heap { values, indices, len: 0, largest };
        for (index, &value) in x.iter().enumerate() {
            heap.offer(value, index as i64);
        }
        heap.sort();
    }
}

/// What [`top_k`] selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// Elements of a row.
    pub n: usize,
    /// Elements to keep.
    pub k: usize,
    /// Whether the largest are kept, not the smallest.
    pub largest: bool,
}

/// The best elements so far as a binary heap in the output itself, the worst at the root.
struct Heap<'a, T> {
    values: &'a mut [T],
    indices: &'a mut [i64],
    len: usize,
    largest: bool,
}

impl<T: Number> Heap<'_, T> {
    /// Whether the first element is to come before the second.
    #[inline(always)]
    fn before(&self, a: (T, i64), b: (T, i64)) -> bool {
        self.is_better(a.0, b.0) || !self.is_better(b.0, a.0) && a.1 < b.1
    }

    /// Whether `new` is the better value, whatever the indices.
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    #[inline(always)]
    fn is_better(&self, new: T, old: T) -> bool {
        match self.largest {
            true => new > old || new != new && old == old,
            false => new < old || old != old && new == new,
        }
    }

    #[inline(always)]
    fn at(&self, place: usize) -> (T, i64) {
        (self.values[place], self.indices[place])
    }

    #[inline(always)]
    fn put(&mut self, place: usize, (value, index): (T, i64)) {
        self.values[place] = value;
        self.indices[place] = index;
    }

    #[inline(always)]
    fn offer(&mut self, value: T, index: i64) {
        let new = (value, index);
        if self.len == self.values.len() {
            if self.is_better(value, self.values[0]) {
                self.sink(0, new);
            }
            return;
        }
        let mut place = self.len;
        self.len += 1;
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.before(new, self.at(parent)) {
                break;
            }
            self.put(place, self.at(parent));
            place = parent;
        }
        self.put(place, new);
    }

    /// Puts `new` at `place` or below, whichever keeps worse elements above better ones.
    fn sink(&mut self, mut place: usize, new: (T, i64)) {
        loop {
            let mut child = 2 * place + 1;
            if child >= self.len {
                break;
            }
            let second = child + 1;
            if second < self.len && self.before(self.at(child), self.at(second)) {
                child = second;
            }
            if !self.before(new, self.at(child)) {
                break;
            }
            self.put(place, self.at(child));
            place = child;
        }
        self.put(place, new);
    }

    fn sort(&mut self) {
        while self.len > 1 {
            self.len -= 1;
            let (worst, last) = (self.at(0), self.at(self.len));
            self.sink(0, last);
            self.put(self.len, worst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_of_equals_and_any_nan_wins() {
        let lanes = Lanes { outer: 1, n: 3, inner: 2 };
        let mut out = [9i64; 2];
        arg_max(lanes, &[1.0, 5.0, 3.0, f32::NAN, 3.0, 7.0], &mut out);
        assert_eq!(out, [1, 1]);
        arg_min(lanes, &[4i32, 5, 3, 5, 3, 7], &mut out);
        assert_eq!(out, [1, 0]);
    }

    proptest! {
        #[test]
        fn top_k_is_a_stable_sort_cut_off(
            x in prop::collection::vec(-4i8..4, 1..40), part in 0.0f64..=1.0, largest: bool,
        ) {
            let mut x: Vec<f32> = x.into_iter().map(f32::from).collect();
            if x.len().is_multiple_of(3) {
                x[0] = f32::NAN;
            }
            let k = (x.len() as f64 * part) as usize;
            let (mut values, mut indices) = (vec![0f32; k], vec![0i64; k]);
            top_k(TopK { n: x.len(), k, largest }, &x, &mut values, &mut indices);
            let mut want: Vec<usize> = (0..x.len()).collect();
            let key = |i: usize| if x[i].is_nan() { f32::INFINITY } else { x[i] };
            want.sort_by(|&a, &b| {
                let order = key(a).total_cmp(&key(b));
                if largest { order.reverse() } else { order }
            });
            for (i, &want) in want[..k].iter().enumerate() {
                prop_assert_eq!(indices[i], want as i64);
                prop_assert_eq!(values[i].to_bits(), x[want].to_bits());
            }
        }
    }
}
