//! Indices as unit vectors.

use super::{Call, Infer, OpRule, is_integer, with_integer};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::cast::{cast, castable};
use aimass_tensor::DType;

/// Rows of `depth` elements of which the indexed one is 1; an index outside gives zeros.
///
/// | tensor    | shape         | dtype                                     |
/// |-----------|---------------|-------------------------------------------|
/// | `indices` | any           | integer of 8 to 64 bits                   |
/// | output    | `[.., depth]` | `dtype`: bool or a number of whole bytes  |
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
        cx.dtype(x[0], "indices of 8 to 64 bits", is_integer)?;
        if self.dtype.size().is_none() || !castable(DType::Bool, self.dtype) {
            let expected = "bool or a number of whole bytes";
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
        with_integer!(indices.dtype, T => {
            for (row, &index) in indices.numbers::<T>().iter().enumerate() {
                set(row, place(index));
            }
        }, else return Err(super::DTYPE_DEFECT));
        Ok(())
    }
}

fn place(index: impl TryInto<usize>) -> Option<usize> {
    index.try_into().ok()
}
