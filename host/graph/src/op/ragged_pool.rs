//! One row out of the rows of each sequence.

use super::{Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::double;
use aimass_cpu::reduce::{Pooling, segment_pool};
use aimass_cpu::view::{Rows, RowsMut};
use aimass_tensor::{DType, Shape};

/// Which row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RaggedPoolKind {
    Mean,
    Sum,
    Max,
    First,
    Last,
}

/// `[ragged(offsets), ..]` to `[batch, ..]`; f16, bf16, f32 or f64. A sequence without rows gives zeros.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RaggedPool {
    pub(crate) kind: RaggedPoolKind,
}

impl OpRule for RaggedPool {
    fn name(&self) -> &'static str {
        match self.kind {
            RaggedPoolKind::Mean => "ragged-mean",
            RaggedPoolKind::Sum => "ragged-sum",
            RaggedPoolKind::Max => "ragged-max",
            RaggedPoolKind::First => "ragged-first",
            RaggedPoolKind::Last => "ragged-last",
        }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.float(x[0])?;
        cx.ragged(x[0], x[1])?;
        let mut dims = x[0].dims.clone();
        dims[0] = Dim::Batch;
        Ok(vec![ValueSpec::new(x[0].dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, offsets, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let columns = x.shape.row_elements();
        let (rows, sequences) = (x.shape[0], out.shape[0]);
        let kind = match self.kind {
            RaggedPoolKind::Mean => Pooling::Mean,
            RaggedPoolKind::Sum => Pooling::Sum,
            RaggedPoolKind::Max => Pooling::Max,
            RaggedPoolKind::First => Pooling::First,
            RaggedPoolKind::Last => Pooling::Last,
        };
        if x.dtype == DType::F64 {
            double::segment_pool(kind, columns, x.numbers(), offsets.numbers(), out.numbers());
            return Ok(());
        }
        let x = Rows::new(x.numbers(), rows, columns, columns);
        let out = RowsMut::new(out.numbers(), sequences, columns, columns);
        segment_pool(kind, x, offsets.numbers(), out);
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}
