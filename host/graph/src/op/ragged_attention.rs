//! Scaled dot-product attention inside each of several sequences, without padding.

use super::attention::check_widths;
use super::{Call, Infer, OpRule, attention_shape, last_extent};
use crate::{AttentionOptions, GraphError, RunError, ValueSpec};
use aimass_cpu::attention::{AttentionInput, attention_ragged};
use aimass_tensor::Shape;

/// Attention of every token to the tokens of its own sequence (arXiv:2205.14135).
///
/// | tensor    | shape                                | dtype            |
/// |-----------|--------------------------------------|------------------|
/// | `q`       | `[ragged(offsets), heads * size]`    | f16, bf16 or f32 |
/// | `k`, `v`  | `[ragged(offsets), kv_heads * size]` | as `q`           |
/// | `offsets` | `[sequences + 1]`                    | u32              |
/// | output    | as `q`                               | as `q`           |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RaggedAttention {
    pub(crate) options: AttentionOptions,
}

impl OpRule for RaggedAttention {
    fn name(&self) -> &'static str {
        "ragged-attention"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (q, k, v, offsets) = (x[0], x[1], x[2], x[3]);
        for value in [q, k, v] {
            cx.f32_or_narrower(value)?;
            cx.alike(q, value)?;
            cx.ragged(value, offsets)?;
            if value.rank() != 2 {
                return Err(GraphError::Rank { op: cx.op, expected: "2", got: value.rank() });
            }
        }
        check_widths(cx, &self.options, &q.dims[1], &k.dims[1], &v.dims[1])?;
        Ok(vec![ValueSpec::new(q.dtype, q.dims.clone())])
    }

    fn widens(&self) -> bool {
        true
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        // Sequence lengths are not in the shapes; the mean length stands for them.
        let sequences = inputs[3].elements().saturating_sub(1).max(1) as u64;
        let tokens = inputs[0].first().copied().unwrap_or(0) as u64;
        4 * (inputs[0].elements() as u64).saturating_mul(tokens.div_ceil(sequences))
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let [q, k, v, offsets] = call.inputs else { return Err(super::DTYPE_DEFECT) };
        let shape = attention_shape(&self.options, last_extent(&q.shape));
        let input = AttentionInput { q: q.rows(), k: k.rows(), v: v.rows(), mask: None };
        attention_ragged(call.team, &shape, &input, offsets.numbers(), call.outputs[0].rows());
        Ok(())
    }
}
