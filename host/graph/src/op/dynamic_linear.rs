//! Linear layers of weights in 8 bits whose inputs are quantized on the way.

use super::{Call, Infer, OpRule, last_extent, row_count};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::matmul::{Epilogue, Int8Weights, PackedInt8, matmul_int8};
use aimass_cpu::view::{Rows, RowsMut, numbers_mut};
use aimass_tensor::{DType, Shape};

/// `x · w` with `w = (q - zero) * scale`; every 64 columns of a row of `x` become 7-bit integers with a
/// scale of their own, so that the product is one of integers.
///
/// | tensor         | shape          | dtype    |
/// |----------------|----------------|----------|
/// | `x`            | `[.., k]`      | f32      |
/// | `q`            | `[k, n]`       | u8 or i8 |
/// | `scale`        | `[]`, `[n]`    | f32      |
/// | `zero`, if any | `[]`, `[n]`    | as `q`   |
/// | output         | `[.., n]`      | f32      |
///
/// No builder method makes it: the compiler does, of products of dynamically quantized values. A
/// weight less its zero point is an i8. Each output row depends on its row only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DynamicLinear;

impl OpRule for DynamicLinear {
    fn name(&self) -> &'static str {
        "dynamic-linear"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], "f32", |d| d == DType::F32)?;
        cx.rank_at_least(x[0], 1, "at least 1")?;
        cx.dtype(x[1], "u8 or i8", |d| matches!(d, DType::U8 | DType::I8))?;
        let [Dim::Fixed(_), Dim::Fixed(_)] = x[1].dims[..] else {
            let expected = "weights of known extents [k, n]".to_owned();
            return Err(GraphError::Shape { op: cx.op, expected, got: x[1].to_string() });
        };
        let mut dims = x[0].dims.clone();
        let last = dims.len() - 1;
        cx.dims.same(cx.op, &dims[last], &x[1].dims[0])?;
        dims[last] = x[1].dims[1].clone();
        Ok(vec![ValueSpec::new(DType::F32, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        2 * (outputs[0].elements() as u64).saturating_mul(last_extent(&inputs[0]) as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, q, scale) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let (rows, k, n) = (row_count(&x.shape), last_extent(&x.shape), last_extent(&q.shape));
        let zeros = call.inputs.get(3).map_or(&[][..], |zero| zero.bytes);
        let (signed, scales) = (q.dtype == DType::I8, scale.numbers());
        let part = Int8Weights { n, weights: q.bytes, signed, zeros, scales };
        let Some(packed) = PackedInt8::pack(k, &[part]) else {
            return Err(RunError::Internal("a dynamic layer of weights that are no i8"));
        };
        let c = RowsMut::new(numbers_mut(call.outputs[0].bytes), rows, n, n);
        let x = Rows::new(x.numbers(), rows, k, k);
        matmul_int8(call.team, x, &packed, c, &Epilogue::default());
        Ok(())
    }
}
