//! The largest elements of every lane, in order.

use super::{Call, Infer, NUMERIC, OpRule, is_numeric, last_extent, with_number};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::reduce;
use aimass_tensor::{DType, Shape};

/// The `k` largest (or smallest) elements along the last axis, sorted, and their indices; all of
/// them (a sort) without `k`. Equal elements keep their order (ONNX `TopK-11`).
///
/// | tensor  | shape     | dtype  |
/// |---------|-----------|--------|
/// | `x`     | `[.., n]` | number |
/// | values  | `[.., k]` | as `x` |
/// | indices | `[.., k]` | i64    |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopK {
    pub(crate) k: Option<u64>,
    pub(crate) largest: bool,
}

impl OpRule for TopK {
    fn name(&self) -> &'static str {
        if self.k.is_some() { "top-k" } else { "sort" }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, NUMERIC, is_numeric)?;
        cx.rank_at_least(x, 1, "at least 1")?;
        let last = x.rank() - 1;
        cx.not_rows(&x.dims[last])?;
        let mut dims = x.dims.clone();
        if let Some(k) = self.k {
            // Of a dynamic extent the first k elements are a slice, which must not come out short.
            let part = cx.dims.strided(&dims[last], 0, k, 1);
            if cx.dims.same(cx.op, &part, &Dim::Fixed(k)).is_err() {
                return Err(cx.argument("k", &format!("at most {}", dims[last]), &k));
            }
            dims[last] = Dim::Fixed(k);
        }
        Ok(vec![ValueSpec::new(x.dtype, dims.clone()), ValueSpec::new(DType::I64, dims)])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let log = u64::from(last_extent(&inputs[0]).max(2).ilog2());
        (inputs[0].elements() as u64).saturating_mul(log)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, n) = (&call.inputs[0], last_extent(&call.inputs[0].shape));
        let [values, indices] = call.outputs else { return Err(super::DTYPE_DEFECT) };
        let k = last_extent(&values.shape);
        if values.bytes.is_empty() {
            return Ok(());
        }
        let lanes = reduce::TopK { n, k, largest: self.largest };
        with_number!(x.dtype, T => {
            reduce::top_k::<T>(lanes, x.numbers(), values.numbers(), indices.numbers());
        }, else return Err(super::DTYPE_DEFECT));
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}
