//! Kernels that move elements without looking at them: any element type, as bytes.
//!
//! `size` is always the bytes of one element; 1, 2, 4, 8 and 16 have loops of their own.

mod indexed;
mod pad;
mod strided;

pub use indexed::{
    ElementIndices, ScatterMode, TupleIndices, gather_elements, gather_tuples, scatter_elements,
    scatter_tuples,
};
pub use pad::{PadMode, PadSpec, pad};
pub use strided::{SliceSpec, broadcast_to, slice, transpose};

use crate::reduce::Lanes;

/// Integer that numbers rows.
pub trait Index: Copy {
    /// The row, or `None` for a negative number.
    fn row(self) -> Option<usize>;
}

macro_rules! indices {
    ($($t:ty),*) => {$(
        impl Index for $t {
            fn row(self) -> Option<usize> { usize::try_from(self).ok() }
        }
    )*};
}

indices!(i32, i64, u32, u64, usize);

/// `out[i] = table[indices[i]]` for rows of `row_bytes` bytes.
///
/// # Panics
/// If an index is no row of the table (the caller has checked them) or `out` has another size.
pub fn gather_rows<I: Index>(table: &[u8], row_bytes: usize, indices: &[I], out: &mut [u8]) {
    let n = table.len().checked_div(row_bytes).unwrap_or(0);
    gather(Lanes { outer: 1, n, inner: row_bytes }, 1, table, indices, out);
}

/// `out[o, i, :] = x[o, indices[i], :]` (ONNX `Gather` along the middle axis).
///
/// `x: [outer, n, inner]`, `out: [outer, indices, inner]`, elements of `size` bytes.
///
/// # Panics
/// If an index is not in `0..n` (the caller has checked them) or a slice has another size.
pub fn gather<I: Index>(lanes: Lanes, size: usize, x: &[u8], indices: &[I], out: &mut [u8]) {
    let Lanes { outer, n, inner } = lanes;
    let row = inner * size;
    assert_eq!(x.len(), outer * n * row, "bytes of {lanes:?}");
    assert_eq!(out.len(), outer * indices.len() * row, "bytes of the output");
    if out.is_empty() {
        return;
    }
    for (outer, out) in out.chunks_exact_mut(indices.len() * row).enumerate() {
        let x = &x[outer * n * row..][..n * row];
        for (out, index) in out.chunks_exact_mut(row).zip(indices) {
            let index = index.row().filter(|&index| index < n);
            let Some(index) = index else { panic!("an index outside an axis of {n}") };
            out.copy_from_slice(&x[index * row..][..row]);
        }
    }
}

/// A part of a concatenation: its bytes, and how many of them belong to each outer index.
pub type ConcatPart<'a> = (&'a [u8], usize);

/// Parts side by side along an axis: for every outer index, that index's bytes of each part.
///
/// # Panics
/// If a part does not have `outer` times its bytes, or `out` has another size.
pub fn concat(parts: &[ConcatPart<'_>], outer: usize, out: &mut [u8]) {
    for (bytes, chunk) in parts {
        assert_eq!(bytes.len(), outer * chunk, "bytes of a part");
    }
    let row: usize = parts.iter().map(|(_, chunk)| chunk).sum();
    assert_eq!(out.len(), outer * row, "bytes of the output");
    if row == 0 {
        return;
    }
    for (index, mut out) in out.chunks_exact_mut(row).enumerate() {
        for &(bytes, chunk) in parts {
            let (own, rest) = out.split_at_mut(chunk);
            own.copy_from_slice(&bytes[index * chunk..][..chunk]);
            out = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{bytes_of, bytes_of_mut};

    #[test]
    fn rows_are_gathered_along_any_axis() {
        let x: Vec<i32> = (0..12).collect();
        let mut out = [0i32; 8];
        gather_rows(bytes_of(&x), 16, &[2u32, 0], bytes_of_mut(&mut out));
        assert_eq!(out, [8, 9, 10, 11, 0, 1, 2, 3]);
        let lanes = Lanes { outer: 2, n: 3, inner: 2 };
        gather(lanes, 4, bytes_of(&x), &[2i64, 1], bytes_of_mut(&mut out));
        assert_eq!(out, [4, 5, 2, 3, 10, 11, 8, 9]);
    }

    #[test]
    fn an_index_outside_the_table_panics() {
        for index in [-1i64, 3] {
            let run = || gather_rows(&[1u8, 2, 3], 1, &[index], &mut [0u8]);
            assert!(std::panic::catch_unwind(run).is_err());
        }
    }

    #[test]
    fn parts_are_joined_for_every_outer_index() {
        let mut out = [0u8; 8];
        concat(&[(&[1, 2], 1), (&[], 0), (&[3, 4, 5, 6, 7, 8], 3)], 2, &mut out);
        assert_eq!(out, [1, 3, 4, 5, 2, 6, 7, 8]);
    }
}
