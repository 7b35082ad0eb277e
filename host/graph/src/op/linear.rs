//! Linear layers.

use super::products::{Product, Side, multiplies};
use super::{Call, Infer, OpRule, last_extent, row_count};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::matmul::MatmulDims;
use aimass_tensor::{DType, Shape};

/// `x · w + bias` over the last axis of `x`.
///
/// | tensor | shape                                     | dtype                                  |
/// |--------|-------------------------------------------|----------------------------------------|
/// | `x`    | `[.., k]`                                 | number                                 |
/// | `w`    | `[k, n]`, or `[n, k]` with `transposed`   | as `x`; constants f16, bf16 beside f32 |
/// | `bias` | `[n]`                                     | as `x`                                 |
/// | output | `[.., n]`                                 | as `x`                                 |
///
/// A constant `w` of floats up to 32 bits is packed when the plan is compiled. Halves are computed
/// in f32 and rounded once, integers wrap. Each output row depends on its row only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linear {
    pub(crate) transposed: bool,
}

impl OpRule for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, w, bias) = (x[0], x[1], x.get(2));
        cx.dtype(x, "a number", multiplies)?;
        cx.rank_at_least(x, 1, "at least 1")?;
        let halves = |d| matches!(d, DType::F16 | DType::Bf16);
        let constant = w.constant && x.dtype == DType::F32;
        cx.dtype(w, "the dtype of x, or f16 and bf16 constants beside f32 (use cast)", |d| {
            d == x.dtype || constant && halves(d)
        })?;
        if w.rank() != 2 {
            return Err(GraphError::Rank { op: cx.op, expected: "2 (of w)", got: w.rank() });
        }
        for dim in &w.dims {
            cx.not_rows(dim)?;
        }
        let (k, n) = match self.transposed {
            true => (&w.dims[1], &w.dims[0]),
            false => (&w.dims[0], &w.dims[1]),
        };
        let last = x.rank() - 1;
        cx.not_rows(&x.dims[last])?;
        cx.dims.same(cx.op, &x.dims[last], k)?;
        if let Some(bias) = bias {
            if bias.dtype != x.dtype {
                return Err(GraphError::DTypes { op: cx.op, left: x.dtype, right: bias.dtype });
            }
            cx.extent_vector(bias, n)?;
        }
        let mut dims: Vec<Dim> = x.dims.clone();
        dims[last] = n.clone();
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        2 * (outputs[0].elements() as u64).saturating_mul(last_extent(&inputs[0]) as u64)
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, w, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let (k, n) = (last_extent(&x.shape), last_extent(&out.shape));
        let dims = MatmulDims { batch: 1, m: row_count(&x.shape), k, n };
        if w.dtype != x.dtype {
            return Err(super::DTYPE_DEFECT);
        }
        let weights = match self.transposed {
            true => Side::dense_transposed(w.bytes, k, n),
            false => Side::dense(w.bytes, k, n),
        };
        let sides = [Side::dense(x.bytes, dims.m, k), weights];
        let bias = call.inputs.get(2).map(|bias| bias.bytes);
        Product { dtype: x.dtype, dims, sides, bias }.run(call.team, out.bytes)
    }
}
