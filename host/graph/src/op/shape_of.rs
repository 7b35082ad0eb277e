//! Extents as numbers.

use super::{Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_tensor::DType;

/// The extents of `x`: i64 `[rank]`. Refuses rows, whose number depends on who else is in a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShapeOf;

impl OpRule for ShapeOf {
    fn name(&self) -> &'static str {
        "shape-of"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        for dim in &x[0].dims {
            cx.not_rows(dim)?;
        }
        Ok(vec![ValueSpec::new(DType::I64, vec![Dim::Fixed(x[0].rank() as u64)])])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let extents = call.inputs[0].shape;
        let out = call.outputs[0].numbers::<i64>();
        out.iter_mut().zip(extents.iter()).for_each(|(out, &extent)| *out = extent as i64);
        Ok(())
    }
}
