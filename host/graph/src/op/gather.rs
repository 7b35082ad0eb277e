//! Selecting slices by index.

use super::{Arg, Call, Infer, OpRule, RowForm};
use crate::error::BadRow;
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::reduce::Lanes;
use aimass_cpu::shape_ops::gather;
use aimass_tensor::{DType, Shape};

/// Slices of `x` along `axis` (ONNX `Gather-13`, without negative indices).
///
/// | tensor    | shape                              | dtype            |
/// |-----------|------------------------------------|------------------|
/// | `x`       | `[before.., n, after..]`           | whole bytes      |
/// | `indices` | any; values `0..n`                 | i32, i64 or u32  |
/// | output    | `[before.., indices.., after..]`   | as `x`           |
///
/// An index outside fails the run and names its row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gather {
    pub(crate) axis: u32,
}

impl OpRule for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, indices) = (x[0], x[1]);
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        cx.dtype(indices, INDEX_DTYPES, is_index)?;
        let axis = cx.lane_axis(self.axis, x)?;
        let mut dims: Vec<Dim> = x.dims[..axis].to_vec();
        dims.extend_from_slice(&indices.dims);
        dims.extend_from_slice(&x.dims[axis + 1..]);
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, indices, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        let axis = self.axis as usize;
        let lanes = Lanes::of(&x.shape, axis..axis + 1);
        check_indices(self.name(), indices, lanes.n)?;
        with_index!(indices.dtype, I => {
            gather(lanes, size, x.bytes, indices.numbers::<I>(), out.bytes);
        });
        Ok(())
    }

    fn indices(&self) -> Option<usize> {
        Some(1)
    }

    fn row_form(&self) -> Option<RowForm> {
        Some(RowForm::Gather { axis: self.axis as usize })
    }
}

/// Dtypes of indices, for messages.
pub(super) const INDEX_DTYPES: &str = "indices of i32, i64 or u32";

/// Whether values of a dtype select.
pub(super) fn is_index(dtype: DType) -> bool {
    matches!(dtype, DType::I32 | DType::I64 | DType::U32)
}

/// Runs an expression with `$I` the Rust type of an index dtype.
macro_rules! with_index {
    ($dtype:expr, $I:ident => $body:expr) => {
        match $dtype {
            DType::I32 => {
                type $I = i32;
                $body
            }
            DType::I64 => {
                type $I = i64;
                $body
            }
            DType::U32 => {
                type $I = u32;
                $body
            }
            _ => return Err($crate::op::DTYPE_DEFECT),
        }
    };
}

/// Runs an expression with `$T` an unsigned integer of as many bytes as an element has.
macro_rules! with_word {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.size() {
            Some(1) => {
                type $T = u8;
                $body
            }
            Some(2) => {
                type $T = u16;
                $body
            }
            Some(4) => {
                type $T = u32;
                $body
            }
            Some(8) => {
                type $T = u64;
                $body
            }
            _ => return Err($crate::op::DTYPE_DEFECT),
        }
    };
}
pub(super) use {with_index, with_word};

/// Checks every index of the op of that name against `extent`.
pub(crate) fn check_indices(
    op: &'static str,
    indices: &Arg<'_>,
    extent: usize,
) -> Result<(), RunError> {
    check_tuples(op, indices, &[extent])
}

/// Checks index tuples: the components against one extent each, in turn.
pub(super) fn check_tuples(
    op: &'static str,
    indices: &Arg<'_>,
    extents: &[usize],
) -> Result<(), RunError> {
    let bad = with_index!(indices.dtype, I => bad_index(indices.numbers::<I>(), extents));
    let Some((position, index)) = bad else { return Ok(()) };
    Err(RunError::Index {
        op,
        indices: format!("{} {}", indices.dtype, indices.shape),
        position: position as u64,
        index,
        extent: extents[position % extents.len()] as u64,
        row: None,
    })
}

/// The row of an index, for an error; `rows` is the class of axis 0 of the indices.
pub(crate) fn bad_row(rows: Option<&Dim>, shape: &Shape, position: u64) -> Option<BadRow> {
    let row = position / shape.row_elements().max(1) as u64;
    match rows? {
        Dim::Batch => Some(BadRow::Batch(row)),
        Dim::Ragged(_) => Some(BadRow::Ragged(row)),
        Dim::Fixed(_) | Dim::Dynamic(_) => None,
    }
}

fn bad_index<I: Copy + TryInto<usize> + TryInto<i64>>(
    indices: &[I],
    extents: &[usize],
) -> Option<(usize, i64)> {
    let outside = |index: I, extent: usize| {
        !TryInto::<usize>::try_into(index).is_ok_and(|index| index < extent)
    };
    let position = match extents {
        [extent] => indices.iter().position(|&index| outside(index, *extent)),
        _ => indices.iter().zip(extents.iter().cycle()).position(|(&i, &n)| outside(i, n)),
    }?;
    Some((position, indices[position].try_into().unwrap_or(i64::MAX)))
}
