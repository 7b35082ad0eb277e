//! Indices as unit vectors.

use super::{Call, Infer, OpRule, is_number};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::cast::cast;
use aimass_tensor::DType;

/// Rows of `depth` elements of which the indexed one is 1; an index outside gives zeros.
///
/// | tensor    | shape         | dtype            |
/// |-----------|---------------|------------------|
/// | `indices` | any           | i32, i64 or u32  |
/// | output    | `[.., depth]` | `dtype`          |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OneHot {
    pub(crate) depth: u64,
    pub(crate) dtype: DType,
}

impl OpRule for OneHot {
    fn name(&self) -> &'static str {
        "one-hot"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let index = |d| matches!(d, DType::I32 | DType::I64 | DType::U32);
        cx.dtype(x[0], "indices of i32, i64 or u32", index)?;
        if !is_number(self.dtype) && self.dtype != DType::Bool {
            let expected = "a number of 8 to 64 bits, f32, f64 or bool";
            return Err(GraphError::DType { op: cx.op, expected, got: self.dtype });
        }
        let mut dims = x[0].dims.clone();
        dims.push(Dim::Fixed(self.depth));
        Ok(vec![ValueSpec::new(self.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (indices, out) = (&call.inputs[0], &mut call.outputs[0]);
        let depth = self.depth as usize;
        let mut one = [0u8; 8];
        let size = self.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        cast(DType::Bool, &[1], self.dtype, &mut one[..size]);
        out.bytes.fill(0);
        let mut set = |row: usize, index: Option<usize>| {
            if let Some(index) = index.filter(|&index| index < depth) {
                let at = (row * depth + index) * size;
                out.bytes[at..at + size].copy_from_slice(&one[..size]);
            }
        };
        macro_rules! all {
            ($t:ty) => {
                for (row, &index) in indices.numbers::<$t>().iter().enumerate() {
                    set(row, usize::try_from(index).ok());
                }
            };
        }
        match indices.dtype {
            DType::I32 => all!(i32),
            DType::I64 => all!(i64),
            DType::U32 => all!(u32),
            _ => return Err(super::DTYPE_DEFECT),
        }
        Ok(())
    }
}
