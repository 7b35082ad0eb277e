//! Linear layers.

use super::{Call, Infer, OpRule, last_extent, row_count};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::matmul::{MatmulDims, Operand, matmul_dynamic};
use aimass_tensor::{DType, Shape};

/// `x · w + bias` over the last axis of `x`.
///
/// | tensor | shape                                     | dtype                        |
/// |--------|-------------------------------------------|------------------------------|
/// | `x`    | `[.., k]`                                 | f32                          |
/// | `w`    | `[k, n]`, or `[n, k]` with `transposed`   | f32; constants f16, bf16 too |
/// | `bias` | `[n]`                                     | f32                          |
/// | output | `[.., n]`                                 | f32                          |
///
/// A constant `w` is packed when the plan is compiled. Each output row depends on its row only.
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
        cx.f32(x)?;
        cx.rank_at_least(x, 1, "at least 1")?;
        let halves = |d| matches!(d, DType::F16 | DType::Bf16);
        let constant = w.constant;
        cx.dtype(w, "f32, or f16 and bf16 constants (use cast)", |d| {
            d == DType::F32 || constant && halves(d)
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
            cx.vector(bias, n)?;
        }
        let mut dims: Vec<Dim> = x.dims.clone();
        dims[last] = n.clone();
        Ok(vec![ValueSpec::new(DType::F32, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        2 * (outputs[0].elements() as u64).saturating_mul(last_extent(&inputs[0]) as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, w, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let (k, n) = (last_extent(&x.shape), last_extent(&out.shape));
        let dims = MatmulDims { batch: 1, m: row_count(&x.shape), k, n };
        if w.dtype != DType::F32 {
            return Err(super::DTYPE_DEFECT);
        }
        let weights = match self.transposed {
            true => Operand::dense_transposed(w.numbers(), k, n),
            false => Operand::dense(w.numbers(), k, n),
        };
        let left = Operand::dense(x.numbers(), dims.m, k);
        matmul_dynamic(call.team, dims, left, weights, out.numbers());
        if let Some(bias) = call.inputs.get(2) {
            let bias = bias.numbers::<f32>();
            for row in out.numbers::<f32>().chunks_exact_mut(n.max(1)) {
                row.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
        Ok(())
    }
}
