//! Scaled dot-product attention over a batch of equally long sequences.

use super::{Arg, Call, Infer, OpRule, last_extent};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::attention::{AttentionInput, AttentionShape, Mask, attention_batched};
use aimass_cpu::pool::Team;
use aimass_cpu::shape_ops::broadcast_to;
use aimass_cpu::view::bytes_of_mut;
use aimass_tensor::Shape;
use std::borrow::Cow;

/// How attention is masked and scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// Query heads; the last axis of `q` is heads * head size.
    pub heads: u32,
    /// Key and value heads; divides `heads` (grouped-query attention, arXiv:2305.13245).
    pub kv_heads: u32,
    /// Factor on the scores; none means `1 / sqrt(head size)`.
    pub scale: Option<f32>,
    /// Whether a token sees only itself and earlier ones of its sequence.
    pub causal: bool,
    /// How many earlier tokens are seen at most; none means all. Not supported yet.
    pub window: Option<u32>,
}

/// `softmax(scale * q · kᵀ + mask) · v` for every head (arXiv:1706.03762 §3.2).
///
/// | tensor   | shape                                         | dtype            |
/// |----------|-----------------------------------------------|------------------|
/// | `q`      | `[batch, queries, heads * size]`              | f16, bf16 or f32 |
/// | `k`, `v` | `[batch, keys, kv_heads * size]`              | as `q`           |
/// | `mask`   | broadcasts to `[batch, heads, queries, keys]` | as `q`           |
/// | output   | as `q`                                        | as `q`           |
///
/// With `causal`, query `i` sees key `j <= i + keys - queries`. A query that sees nothing gives
/// zeros.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attention {
    pub(crate) options: AttentionOptions,
}

/// Checks the options against the widths of `q`, `k` and `v`.
pub(super) fn check_widths(
    cx: &mut Infer<'_>,
    options: &AttentionOptions,
    q: &Dim,
    k: &Dim,
    v: &Dim,
) -> Result<(), GraphError> {
    let AttentionOptions { heads, kv_heads, .. } = *options;
    if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        return Err(cx.argument(
            "kv-heads",
            "a divisor of heads",
            &format!("{kv_heads} of {heads}"),
        ));
    }
    if options.window.is_some() {
        return Err(GraphError::unsupported(cx.op, "a window has no kernel yet"));
    }
    if options.scale.is_some_and(|scale| !scale.is_finite()) {
        return Err(cx.argument("scale", "a finite number", &"none"));
    }
    let (Dim::Fixed(width), Dim::Fixed(_)) = (q, k) else {
        return Err(cx.argument("q", "a fixed last extent", q));
    };
    let size = width / u64::from(heads);
    if size == 0 || size * u64::from(heads) != *width {
        return Err(cx.argument("heads", "a divisor of the last extent of q", &heads));
    }
    let kv = Dim::Fixed(size * u64::from(kv_heads));
    cx.dims.same(cx.op, k, &kv)?;
    cx.dims.same(cx.op, v, &kv).map(drop)
}

/// The kernel's description of these options for queries of this width.
pub(crate) fn attention_shape(options: &AttentionOptions, width: usize) -> AttentionShape {
    let heads = options.heads as usize;
    let head_dim = width / heads;
    AttentionShape {
        heads,
        kv_heads: options.kv_heads as usize,
        head_dim,
        scale: options.scale.unwrap_or(1.0 / (head_dim as f32).sqrt()),
        causal: options.causal,
    }
}

/// A mask whose last axis has one number a key, and its extents aligned to four axes.
struct Spread<'a> {
    data: Cow<'a, [f32]>,
    extents: [usize; 4],
}

/// Aligns a mask to `[batch, heads, queries, keys]`, repeating its last axis where that is 1.
fn keys_axis<'a>(mask: &Arg<'a>, full: &[usize; 4]) -> Result<Spread<'a>, RunError> {
    let mut extents = [1; 4];
    extents[4 - mask.shape.rank()..].copy_from_slice(&mask.shape);
    if extents[3] == full[3] {
        return Ok(Spread { data: Cow::Borrowed(mask.numbers()), extents });
    }
    let from = extents;
    extents[3] = full[3];
    let mut data = vec![0f32; extents.iter().product()];
    broadcast_to(Team::alone(), 4, mask.bytes, &from, &extents, bytes_of_mut(&mut data));
    Ok(Spread { data: Cow::Owned(data), extents })
}

impl Spread<'_> {
    fn as_mask(&self, full: &[usize; 4]) -> Mask<'_> {
        let [batch, heads, queries, keys] = self.extents;
        let stride = |own: usize, all: usize, elements: usize| match own == all && own != 1 {
            true => elements,
            false => 0,
        };
        Mask {
            data: &self.data,
            batch_stride: stride(batch, full[0], heads * queries * keys),
            head_stride: stride(heads, full[1], queries * keys),
            row_stride: stride(queries, full[2], keys),
        }
    }
}

impl OpRule for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (q, k, v, mask) = (x[0], x[1], x[2], x.get(3));
        for value in [q, k, v] {
            cx.f32_or_narrower(value)?;
            cx.alike(q, value)?;
            if value.rank() != 3 {
                return Err(GraphError::Rank { op: cx.op, expected: "3", got: value.rank() });
            }
        }
        for dim in [&q.dims[0], &k.dims[0], &v.dims[0]] {
            if let Dim::Ragged(_) = dim {
                return Err(GraphError::DimClass { op: cx.op, dim: dim.clone(), other: None });
            }
        }
        cx.dims.same(cx.op, &q.dims[0], &k.dims[0])?;
        cx.dims.same(cx.op, &k.dims[0], &v.dims[0])?;
        cx.dims.same(cx.op, &k.dims[1], &v.dims[1])?;
        check_widths(cx, &self.options, &q.dims[2], &k.dims[2], &v.dims[2])?;
        if let Some(mask) = mask {
            cx.alike(q, mask)?;
            let heads = Dim::Fixed(self.options.heads.into());
            let full = [q.dims[0].clone(), heads, q.dims[1].clone(), k.dims[1].clone()];
            let dims = cx.dims.broadcast_all(cx.op, &mask.dims, &full)?;
            for (dim, full) in dims.iter().zip(&full) {
                cx.dims.same(cx.op, dim, full)?;
            }
        }
        Ok(vec![ValueSpec::new(q.dtype, q.dims.clone())])
    }

    fn widens(&self) -> bool {
        true
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let keys = inputs[1].get(1).copied().unwrap_or(1) as u64;
        4 * (inputs[0].elements() as u64).saturating_mul(keys)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let [q, k, v, ..] = call.inputs else { return Err(super::DTYPE_DEFECT) };
        let out = &mut call.outputs[0];
        let shape = attention_shape(&self.options, last_extent(&q.shape));
        let full = [q.shape[0], shape.heads, q.shape[1], k.shape[1]];
        let spread;
        let mask = match call.inputs.get(3) {
            None => None,
            Some(mask) => {
                spread = keys_axis(mask, &full)?;
                Some(spread.as_mask(&full))
            }
        };
        let input = AttentionInput { q: q.rows(), k: k.rows(), v: v.rows(), mask };
        attention_batched(call.team, &shape, q.shape[0], &input, out.rows());
        Ok(())
    }
}
