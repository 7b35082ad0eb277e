//! Where a tensor is not zero, padded to the extent that is known beforehand.

use super::{Call, Infer, OpRule, is_number};
use crate::dim::DimRule;
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_tensor::{DType, RANK_MAX};

/// Indices of the elements that are not zero, in row-major order (ONNX `NonZero-13`, padded).
///
/// | tensor  | shape              | dtype                                     |
/// |---------|--------------------|-------------------------------------------|
/// | `x`     | any, without rows  | bool or number                            |
/// | indices | `[rank, elements]` | i64; columns from `count` on are 0        |
/// | count   | `[]`               | i64                                       |
///
/// NaN is not zero, -0 is. Rows are refused: how many elements count would depend on all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NonZero;

impl OpRule for NonZero {
    fn name(&self) -> &'static str {
        "non-zero"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        let halves = |d| matches!(d, DType::F16 | DType::Bf16);
        cx.dtype(x, "bool or a number", |d| d == DType::Bool || is_number(d) || halves(d))?;
        let (mut fixed, mut unknown) = (1u64, Vec::new());
        for dim in &x.dims {
            cx.not_rows(dim)?;
            match dim.fixed() {
                Some(extent) => {
                    fixed = fixed.checked_mul(extent).ok_or(GraphError::Elements { op: cx.op })?;
                }
                None => unknown.push(dim.clone()),
            }
        }
        let elements = match unknown.is_empty() {
            true => Dim::Fixed(fixed),
            false => cx.dims.derive(DimRule::Product(fixed, unknown)),
        };
        let indices = vec![Dim::Fixed(x.rank() as u64), elements];
        let (indices, count) = (ValueSpec::new(DType::I64, indices), Vec::new());
        Ok(vec![indices, ValueSpec::new(DType::I64, count)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let x = &call.inputs[0];
        let [indices, count] = call.outputs else { return Err(super::DTYPE_DEFECT) };
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        // The sign bit of a float zero does not count.
        let mask = if x.dtype.is_float() { 0x7f } else { 0xff };
        let is_set = |element: &[u8]| {
            let (last, rest) = element.split_last().unwrap_or((&0, &[]));
            last & mask != 0 || rest.iter().any(|&byte| byte != 0)
        };
        let (rank, columns) = (x.shape.rank(), x.shape.elements());
        let (indices, mut index, mut found) = (indices.numbers::<i64>(), [0usize; RANK_MAX], 0);
        indices.fill(0);
        for element in x.bytes.chunks_exact(size) {
            if is_set(element) {
                for (axis, &own) in index[..rank].iter().enumerate() {
                    indices[axis * columns + found] = own as i64;
                }
                found += 1;
            }
            for axis in (0..rank).rev() {
                index[axis] += 1;
                if index[axis] < x.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        count.numbers::<i64>()[0] = found as i64;
        Ok(())
    }
}
