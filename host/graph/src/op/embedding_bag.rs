//! Sums of rows of a table for each sequence of indices.

use super::gather::{INDEX_DTYPES, check_indices, is_index, with_index};
use super::{Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::embedding::embedding_bag;
use aimass_cpu::view::{Rows, RowsMut};
use aimass_tensor::{DType, Shape};

/// Sum, or mean, of the rows of a table at the indices of each sequence; one without indices gives
/// zeros.
///
/// | tensor    | shape               | dtype           |
/// |-----------|---------------------|-----------------|
/// | `table`   | `[n, columns]`      | f16, bf16, f32  |
/// | `indices` | `[ragged(offsets)]` | i32, i64 or u32 |
/// | `offsets` | the offsets input   | u32             |
/// | output    | `[batch, columns]`  | as `table`      |
///
/// An index outside `0..n` fails the run and names its row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EmbeddingBag {
    pub(crate) mean: bool,
}

impl OpRule for EmbeddingBag {
    fn name(&self) -> &'static str {
        "embedding-bag"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (table, indices, offsets) = (x[0], x[1], x[2]);
        cx.f32_or_narrower(table)?;
        cx.dtype(indices, INDEX_DTYPES, is_index)?;
        if table.rank() != 2 || indices.rank() != 1 {
            let (expected, got) = ("2 of the table and 1 of indices", indices.rank());
            return Err(GraphError::Rank { op: cx.op, expected, got });
        }
        cx.ragged(indices, offsets)?;
        table.dims.iter().try_for_each(|dim| cx.not_rows(dim))?;
        let dims = vec![Dim::Batch, table.dims[1].clone()];
        Ok(vec![ValueSpec::new(table.dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        (inputs[0][1] as u64).saturating_mul(inputs[1].elements() as u64)
    }

    fn widens(&self) -> bool {
        true
    }

    fn indices(&self) -> Option<usize> {
        Some(1)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let [table, indices, offsets] = call.inputs else { return Err(super::DTYPE_DEFECT) };
        let out = &mut call.outputs[0];
        let (rows, columns, bags) = (table.shape[0], table.shape[1], out.shape[0]);
        check_indices(self.name(), indices, rows)?;
        let table = Rows::new(table.numbers(), rows, columns, columns);
        let out = RowsMut::new(out.numbers(), bags, columns, columns);
        with_index!(indices.dtype, I => {
            embedding_bag(table, indices.numbers::<I>(), offsets.numbers(), self.mean, out);
        });
        Ok(())
    }
}
