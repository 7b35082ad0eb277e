//! Gathering and scattering single elements along an axis, and slices at index tuples.
//!
//! Elements are any `Copy` word of their size. Updates are taken in row-major order, so that of
//! several updates of one place the last one stays and sums have one order.

use super::Index;
use crate::elementwise::Number;
use aimass_tensor::RANK_MAX;

/// What a scattered update does with the element that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScatterMode {
    /// Takes its place.
    Replace,
    /// Is added to it; integers wrap.
    Add,
    /// Is multiplied with it; integers wrap.
    Mul,
    /// The larger one stays; NaN wins.
    Max,
    /// The smaller one stays; NaN wins.
    Min,
}

impl ScatterMode {
    /// What becomes of an element and its update.
    pub fn combine<T: Number>(self) -> fn(T, T) -> T {
        match self {
            ScatterMode::Replace => |_, update| update,
            ScatterMode::Add => T::add,
            ScatterMode::Mul => T::mul,
            ScatterMode::Max => T::max,
            ScatterMode::Min => T::min,
        }
    }
}

/// Indices along one axis of a tensor, for single elements.
#[derive(Clone, Copy, Debug)]
pub struct ElementIndices<'a, I> {
    /// Extents of the tensor that is indexed, at least one.
    pub shape: &'a [usize],
    /// Axis that the indices replace.
    pub axis: usize,
    /// The indices, row-major.
    pub indices: &'a [I],
    /// Extents of the indices: as many, and but for `axis` none above those of the tensor.
    pub extents: &'a [usize],
}

impl<I: Index> ElementIndices<'_, I> {
    /// Calls `visit(number of the index, place in the tensor)` in row-major order.
    ///
    /// # Panics
    /// If extents do not fit, or an index is not in its axis (the caller has checked them).
    #[inline(always)]
    fn visit(&self, mut visit: impl FnMut(usize, usize)) {
        let ElementIndices { shape, axis, indices, extents } = *self;
        let rank = shape.len();
        assert!(rank == extents.len() && (1..=RANK_MAX).contains(&rank), "{shape:?} {extents:?}");
        let inside = |i: usize| i == axis || extents[i] <= shape[i];
        assert!(axis < rank && (0..rank).all(inside), "{extents:?} in {shape:?}");
        assert_eq!(indices.len(), extents.iter().product::<usize>(), "indices of {extents:?}");
        if indices.is_empty() {
            return;
        }
        let mut strides = [0; RANK_MAX];
        let mut stride = 1;
        for i in (0..rank).rev() {
            strides[i] = stride;
            stride *= shape[i];
        }
        let along = std::mem::take(&mut strides[axis]);
        let (last, n) = (rank - 1, extents[rank - 1]);
        let (mut index, mut base) = ([0; RANK_MAX], 0);
        for (lane, indices) in indices.chunks_exact(n).enumerate() {
            for (j, own) in indices.iter().enumerate() {
                let own = inside_axis(*own, shape[axis]);
                visit(lane * n + j, base + j * strides[last] + own * along);
            }
            for i in (0..last).rev() {
                index[i] += 1;
                base += strides[i];
                if index[i] < extents[i] {
                    break;
                }
                base -= strides[i] * extents[i];
                index[i] = 0;
            }
        }
    }
}

#[inline(always)]
fn inside_axis<I: Index>(index: I, extent: usize) -> usize {
    match index.row().filter(|&index| index < extent) {
        Some(index) => index,
        None => panic!("an index outside an axis of {extent}"),
    }
}

/// `out[i, j, ..] = x[i, indices[i, j, ..], ..]` (ONNX `GatherElements-13`): `out` has the shape of
/// the indices.
///
/// # Panics
/// If sizes do not fit or an index is not in its axis (the caller has checked them).
pub fn gather_elements<T: Copy, I: Index>(at: ElementIndices<I>, x: &[T], out: &mut [T]) {
    assert_eq!((x.len(), out.len()), (at.shape.iter().product(), at.indices.len()), "elements");
    at.visit(|number, place| out[number] = x[place]);
}

/// Writes or combines `updates`, of the shape of the indices, into `x` (ONNX
/// `ScatterElements-18`).
///
/// # Panics
/// As [`gather_elements`].
pub fn scatter_elements<T: Copy, I: Index>(
    at: ElementIndices<I>,
    updates: &[T],
    combine: fn(T, T) -> T,
    x: &mut [T],
) {
    assert_eq!((x.len(), updates.len()), (at.shape.iter().product(), at.indices.len()), "elements");
    at.visit(|number, place| x[place] = combine(x[place], updates[number]));
}

/// Tuples of indices into the leading axes of a tensor (behind its batch axes), for slices.
#[derive(Clone, Copy, Debug)]
pub struct TupleIndices<'a, I> {
    /// Product of the batch extents.
    pub batch: usize,
    /// Extents that one tuple indexes.
    pub extents: &'a [usize],
    /// Elements behind the indexed axes.
    pub slice: usize,
    /// Tuples of one batch item.
    pub tuples: usize,
    /// The components, `[batch, tuples, extents.len()]`.
    pub indices: &'a [I],
}

impl<I: Index> TupleIndices<'_, I> {
    /// Elements of the tensor that is indexed.
    fn elements(&self) -> usize {
        self.batch * self.extents.iter().product::<usize>() * self.slice
    }

    /// Calls `visit(number of the tuple, first element of its slice)` in order.
    #[inline(always)]
    fn visit(&self, mut visit: impl FnMut(usize, usize)) {
        let TupleIndices { batch, extents, slice, tuples, indices } = *self;
        let components = extents.len();
        assert_eq!(indices.len(), batch * tuples * components, "components of {batch} x {tuples}");
        assert!(components > 0, "tuples without components");
        let item = extents.iter().product::<usize>() * slice;
        for (number, tuple) in indices.chunks_exact(components).enumerate() {
            let place = tuple
                .iter()
                .zip(extents)
                .fold(0, |place, (&index, &extent)| place * extent + inside_axis(index, extent));
            visit(number, number / tuples * item + place * slice);
        }
    }
}

/// `out[b, t, :] = x[b, tuple[b, t].., :]` (ONNX `GatherND-13`).
///
/// # Panics
/// If sizes do not fit or a component is not in its axis (the caller has checked them).
pub fn gather_tuples<T: Copy, I: Index>(at: TupleIndices<I>, x: &[T], out: &mut [T]) {
    let slice = at.slice;
    assert_eq!((x.len(), out.len()), (at.elements(), at.batch * at.tuples * slice), "elements");
    if out.is_empty() {
        return;
    }
    at.visit(|number, place| match slice {
        1 => out[number] = x[place],
        _ => out[number * slice..][..slice].copy_from_slice(&x[place..][..slice]),
    });
}

/// Writes or combines `updates`, `[batch, tuples, slice]`, into `x` (ONNX `ScatterND-18`).
///
/// # Panics
/// As [`gather_tuples`].
pub fn scatter_tuples<T: Copy, I: Index>(
    at: TupleIndices<I>,
    updates: &[T],
    combine: fn(T, T) -> T,
    x: &mut [T],
) {
    let slice = at.slice;
    assert_eq!((x.len(), updates.len()), (at.elements(), at.batch * at.tuples * slice), "elements");
    if updates.is_empty() {
        return;
    }
    at.visit(|number, place| {
        let updates = &updates[number * slice..][..slice];
        for (x, &update) in x[place..][..slice].iter_mut().zip(updates) {
            *x = combine(*x, update);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_gathered_and_scattered_along_any_axis() {
        let x = [1, 2, 3, 4, 5, 6];
        let columns =
            ElementIndices { shape: &[2, 3], axis: 1, indices: &[2i64, 0, 1, 1], extents: &[2, 2] };
        let mut out = [0; 4];
        gather_elements(columns, &x, &mut out);
        assert_eq!(out, [3, 1, 5, 5]);
        let rows =
            ElementIndices { shape: &[2, 3], axis: 0, indices: &[1u32, 0], extents: &[1, 2] };
        gather_elements(rows, &x, &mut out[..2]);
        assert_eq!(out[..2], [4, 2]);
        let mut sums = x;
        scatter_elements(columns, &[10, 20, 30, 40], ScatterMode::Add.combine(), &mut sums);
        assert_eq!(sums, [21, 2, 13, 4, 75, 6]);
        let mut last = x;
        scatter_elements(columns, &[10, 20, 30, 40], |_, update| update, &mut last);
        assert_eq!(last, [20, 2, 10, 4, 40, 6]);
    }

    #[test]
    fn tuples_select_slices_of_their_batch_item() {
        let x: Vec<i32> = (0..12).collect();
        let at = TupleIndices {
            batch: 2,
            extents: &[3],
            slice: 2,
            tuples: 2,
            indices: &[2i32, 0, 1, 1],
        };
        let mut out = [0; 8];
        gather_tuples(at, &x, &mut out);
        assert_eq!(out, [4, 5, 0, 1, 8, 9, 8, 9]);
        let mut largest = x.clone();
        scatter_tuples(at, &[7, 0, 7, 0, 7, 0, 9, 10], ScatterMode::Max.combine(), &mut largest);
        assert_eq!(largest, [7, 1, 2, 3, 7, 5, 6, 7, 9, 10, 10, 11]);
    }

    #[test]
    fn indices_outside_panic() {
        let run = |index: i64| {
            let at = ElementIndices { shape: &[2], axis: 0, indices: &[index], extents: &[1] };
            gather_elements(at, &[1u8, 2], &mut [0]);
        };
        run(1);
        assert!(std::panic::catch_unwind(|| run(2)).is_err());
        assert!(std::panic::catch_unwind(|| run(-1)).is_err());
    }
}
