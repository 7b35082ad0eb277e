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
        let index = |d| matches!(d, DType::I32 | DType::I64 | DType::U32);
        cx.dtype(indices, "indices of i32, i64 or u32", index)?;
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
        check_indices(indices, lanes.n, None)?;
        match indices.dtype {
            DType::I32 => gather(lanes, size, x.bytes, indices.numbers::<i32>(), out.bytes),
            DType::I64 => gather(lanes, size, x.bytes, indices.numbers::<i64>(), out.bytes),
            DType::U32 => gather(lanes, size, x.bytes, indices.numbers::<u32>(), out.bytes),
            _ => return Err(super::DTYPE_DEFECT),
        }
        Ok(())
    }

    fn row_form(&self) -> Option<RowForm> {
        Some(RowForm::Gather { axis: self.axis as usize })
    }
}

/// Checks every index against `extent`; `rows` is the class of axis 0 of the indices.
pub(crate) fn check_indices(
    indices: &Arg<'_>,
    extent: usize,
    rows: Option<&Dim>,
) -> Result<(), RunError> {
    let bad = match indices.dtype {
        DType::I32 => bad_index(indices.numbers::<i32>(), extent),
        DType::I64 => bad_index(indices.numbers::<i64>(), extent),
        DType::U32 => bad_index(indices.numbers::<u32>(), extent),
        _ => return Err(super::DTYPE_DEFECT),
    };
    let Some((position, index)) = bad else { return Ok(()) };
    Err(RunError::Index {
        indices: format!("{} {}", indices.dtype, indices.shape),
        position: position as u64,
        index,
        extent: extent as u64,
        row: rows.and_then(|dim| bad_row(dim, &indices.shape, position)),
    })
}

fn bad_row(dim: &Dim, shape: &Shape, position: usize) -> Option<BadRow> {
    let row = (position / shape.row_elements().max(1)) as u64;
    match dim {
        Dim::Batch => Some(BadRow::Batch(row)),
        Dim::Ragged(_) => Some(BadRow::Ragged(row)),
        Dim::Fixed(_) | Dim::Dynamic(_) => None,
    }
}

fn bad_index<I: Copy + TryInto<usize> + TryInto<i64>>(
    indices: &[I],
    extent: usize,
) -> Option<(usize, i64)> {
    let inside = |index: I| TryInto::<usize>::try_into(index).is_ok_and(|index| index < extent);
    let position = indices.iter().position(|&index| !inside(index))?;
    Some((position, indices[position].try_into().unwrap_or(i64::MAX)))
}
