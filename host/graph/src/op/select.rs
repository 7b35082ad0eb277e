//! Choice between two values, element by element.

use super::{Call, Infer, OpRule};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::elementwise::{Broadcast, select};
use aimass_tensor::DType;

/// `condition ? x : y` (ONNX `Where-16`).
///
/// | tensor      | shape                     | dtype             |
/// |-------------|---------------------------|-------------------|
/// | `condition` | broadcasts with the others| bool              |
/// | `x`, `y`    | broadcast                 | any, the same     |
/// | output      | broadcast of all three    | as `x`            |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Select;

impl OpRule for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (condition, x, y) = (x[0], x[1], x[2]);
        cx.dtype(condition, "a bool condition", |d| d == DType::Bool)?;
        if x.dtype != y.dtype {
            return Err(GraphError::DTypes { op: cx.op, left: x.dtype, right: y.dtype });
        }
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        let both = cx.dims.broadcast_all(cx.op, &x.dims, &y.dims)?;
        let dims = cx.dims.broadcast_all(cx.op, &condition.dims, &both)?;
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let [condition, x, y] = call.inputs else { return Err(super::DTYPE_DEFECT) };
        let out = &mut call.outputs[0];
        let Some(plan) = Broadcast::new([&condition.shape, &x.shape, &y.shape]) else {
            return Err(RunError::Internal("shapes that do not broadcast were inferred"));
        };
        let condition = condition.bytes;
        match x.dtype.size() {
            Some(1) => select(&plan, condition, x.bytes, y.bytes, out.bytes),
            Some(2) => select(&plan, condition, x.numbers::<u16>(), y.numbers(), out.numbers()),
            Some(4) => select(&plan, condition, x.numbers::<u32>(), y.numbers(), out.numbers()),
            Some(8) => select(&plan, condition, x.numbers::<u64>(), y.numbers(), out.numbers()),
            _ => return Err(super::DTYPE_DEFECT),
        }
        Ok(())
    }
}
