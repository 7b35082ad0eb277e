//! `Det`: determinants of square matrices, by elimination with the largest pivot.

use super::reduce::is_half;
use super::{Table, one};
use crate::content::scalar;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("Det", det)];

/// Rows of a matrix; every row is a dozen ops.
const ROWS_MAX: u64 = 128;

fn det(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let Some(batch) = x.rank().checked_sub(2) else {
        return Err(invalid(format!("expected matrices, got rank {}", x.rank())));
    };
    let (rows, columns) = (x.extent(batch)?, x.extent(batch + 1)?);
    if rows != columns || rows > ROWS_MAX {
        let message =
            format!("expected square matrices of at most {ROWS_MAX} rows, got {rows}x{columns}");
        return Err(invalid(message));
    }
    let wide = if is_half(x.dtype) { DType::F32 } else { x.dtype };
    let mut rest = cx.cast(x, wide)?;
    let ones = scalar(wide, 1.0)?;
    let mut product = cx.broadcast(&ones, &x.dims[..batch])?;
    for _ in 0..rows {
        let (pivot, smaller) = eliminate(cx, &rest)?;
        product = cx.mul(&product, &pivot)?;
        rest = smaller;
    }
    one(cx.cast(&product, x.dtype)?)
}

/// Takes one row and one column off: the signed pivot [..], and the matrices that are left.
fn eliminate(cx: &mut Emitter, x: &T) -> R<(T, T)> {
    let (row_axis, column_axis) = (x.rank() - 2, x.rank() - 1);
    let n = x.extent(row_axis)?;
    let column = cx.slice(x, column_axis, (0, 1), 1)?;
    let magnitudes = cx.abs(&column)?;
    let place = cx.arg_max(&magnitudes, row_axis, true)?;
    let rows = cx.count_up(n)?;
    let rows = cx.unsqueeze(&rows, 1)?;
    let is_pivot = cx.equal(&rows, &place)?;
    let zero = scalar(x.dtype, 0.0)?;
    let chosen = cx.select(&is_pivot, x, &zero)?;
    let chosen = cx.reduce_sum(&chosen, &[row_axis], true)?;
    let first = cx.slice(x, row_axis, (0, 1), 1)?;
    // The first row takes the pivot's place, which changes the sign.
    let swapped = cx.select(&is_pivot, &first, x)?;
    let others = cx.slice(&swapped, row_axis, (1, n), 1)?;
    let pivot = cx.slice(&chosen, column_axis, (0, 1), 1)?;
    let stays = cx.equal(&place, &scalar(DType::I64, 0.0)?)?;
    let negative = cx.neg(&pivot)?;
    let signed = cx.select(&stays, &pivot, &negative)?;
    let singular = cx.equal(&pivot, &zero)?;
    let divisor = cx.select(&singular, &scalar(x.dtype, 1.0)?, &pivot)?;
    let factors = cx.slice(&others, column_axis, (0, 1), 1)?;
    let factors = cx.div(&factors, &divisor)?;
    let own = cx.slice(&chosen, column_axis, (1, n), 1)?;
    let taken = cx.mul(&factors, &own)?;
    let left = cx.slice(&others, column_axis, (1, n), 1)?;
    let left = cx.sub(&left, &taken)?;
    let dims: Vec<Extent> = x.dims[..row_axis].to_vec();
    Ok((cx.reshape(&signed, &dims)?, left))
}
