//! Sums of rows of a table, bag by bag.

use crate::level::leveled;
use crate::shape_ops::Index;
use crate::view::{Rows, RowsMut};

/// `out[s]` is the sum of rows `indices[offsets[s]..offsets[s + 1]]` of the table, divided by their
/// number if `mean`; an empty bag gives zeros. Rows are added in the order of their indices: the
/// bits are those of pooling gathered rows.
///
/// # Panics
/// If an index is no row of the table (the caller has checked them), offsets fall or go beyond the
/// indices, or `out` is not `[offsets.len() - 1, columns]`.
pub fn embedding_bag<I: Index>(
    table: Rows,
    indices: &[I],
    offsets: &[u32],
    mean: bool,
    mut out: RowsMut,
) {
    let bags = offsets.len().saturating_sub(1);
    assert_eq!((out.rows(), out.columns()), (bags, table.columns()), "extents of out");
    let row = |index: I| match index.row() {
        Some(index) => table.row(index),
        None => panic!("a negative index"),
    };
    for (bag, pair) in offsets.windows(2).enumerate() {
        let out = out.row_mut(bag);
        let Some((&first, rest)) = indices[pair[0] as usize..pair[1] as usize].split_first() else {
            out.fill(0.0);
            continue;
        };
        out.copy_from_slice(row(first));
        rest.iter().for_each(|&index| add(row(index), out));
        if mean {
            let count = (rest.len() + 1) as f32;
            out.iter_mut().for_each(|x| *x /= count);
        }
    }
}

leveled! {
    fn add(row: &[f32], out: &mut [f32]) = {
        out.iter_mut().zip(row).for_each(|(out, x)| *out += x);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_bag_are_added() {
        let table = [1f32, 10.0, 2.0, 20.0, 4.0, 40.0];
        for (mean, want) in [
            (false, [7.0, 70.0, 0.0, 0.0, 4.0, 40.0]),
            (true, [7.0 / 3.0, 70.0 / 3.0, 0.0, 0.0, 2.0, 20.0]),
        ] {
            let mut out = [f32::NAN; 6];
            let (indices, offsets) = ([0i64, 1, 2, 1, 1], [0, 3, 3, 5]);
            let to = RowsMut::dense(&mut out, 2);
            embedding_bag(Rows::dense(&table, 2), &indices, &offsets, mean, to);
            assert_eq!(out, want);
        }
    }

    #[test]
    fn an_index_outside_panics() {
        for index in [-1, 3] {
            let run = || {
                let mut out = [0f32];
                let to = RowsMut::dense(&mut out, 1);
                embedding_bag(Rows::dense(&[1.0; 3], 1), &[index], &[0, 1], false, to);
            };
            assert!(std::panic::catch_unwind(run).is_err());
        }
    }
}
