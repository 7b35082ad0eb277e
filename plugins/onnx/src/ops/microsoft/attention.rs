//! Attention with its projections, caches and masks.

use crate::content::scalar;
use crate::node::{Cx, Inputs};
use crate::ops::Table;
use crate::ops::attention::{Heads, Mask, Scoring, join_heads, split_heads};
use crate::ops::quantized::matmul_integer;
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("Attention", |cx, x| {
        let (input, weights) = (x.tensor(0)?, x.tensor(1)?);
        let projected = cx.linear(input, weights, x.tensor_opt(2)?, false)?;
        let more = More { mask: x.tensor_opt(3)?, past: x.tensor_opt(4)?, bias: x.tensor_opt(5)? };
        packed(cx, &projected, more)
    }),
    ("MultiHeadAttention", multi_head_attention),
    ("QAttention", q_attention),
];

/// Inputs beside the projections.
struct More<'a> {
    mask: Option<&'a T>,
    /// `[2, batch, heads, tokens, size]`.
    past: Option<&'a T>,
    /// Added to the scores.
    bias: Option<&'a T>,
}

pub(super) fn heads_attribute(cx: &Cx<'_>) -> R<u64> {
    match u64::try_from(cx.attr_int("num_heads", 0)?) {
        Ok(heads @ 1..) => Ok(heads),
        _ => Err(invalid("num_heads: expected at least 1")),
    }
}

/// Attention of queries, keys and values side by side, `[batch, tokens, width]`.
fn packed(cx: &mut Cx<'_>, projected: &T, more: More<'_>) -> R<Vec<Value>> {
    if cx.attr_flag("do_rotary")? || cx.attr_flag("past_present_share_buffer")? {
        return Err(unsupported("do_rotary and past_present_share_buffer"));
    }
    let width = projected.extent(2)?;
    let widths = match cx.attr_ints_opt("qkv_hidden_sizes")? {
        Some([q, k, v]) => {
            let width = |own: i64| u64::try_from(own).map_err(|_| invalid("qkv_hidden_sizes"));
            [width(*q)?, width(*k)?, width(*v)?]
        }
        Some(other) => return Err(invalid(format!("qkv_hidden_sizes: got {other:?}"))),
        None => [width / 3; 3],
    };
    if widths.iter().fold(0u64, |sum, &own| sum.saturating_add(own)) != width {
        return Err(invalid(format!("expected widths that add up to {width}, got {widths:?}")));
    }
    let parts = cx.split(projected, 2, &widths)?;
    let [q, k, v] = parts.as_slice() else { return Err(invalid("expected three parts")) };
    let count = heads_attribute(cx)?;
    let mut heads = Heads::new(cx, [q, k, v], Some((count, count)))?;
    let mut past = 0;
    if let Some(cache) = more.past {
        if cache.rank() != 5 {
            return Err(invalid(format!("past: expected rank 5, got {}", cache.rank())));
        }
        past = cache.extent(3)?;
        for (index, own) in [(0, &mut heads.k), (1, &mut heads.v)] {
            let part = cx.slice(cache, 0, (index, index + 1), 1)?;
            let part = cx.squeeze(&part, 0)?;
            *own = cx.concat(&[&part, own], 2)?;
        }
    }
    let y = attend(cx, &heads, (more.mask, more.bias), past)?;
    let mut outputs = vec![y.into()];
    if cx.wants_output(1) {
        let (k, v) = (cx.unsqueeze(&heads.k, 0)?, cx.unsqueeze(&heads.v, 0)?);
        outputs.push(cx.concat(&[&k, &v], 0)?.into());
    }
    Ok(outputs)
}

/// The output `[batch, tokens, heads * size]`.
fn attend(
    cx: &mut Cx<'_>,
    heads: &Heads,
    (mask, bias): (Option<&T>, Option<&T>),
    past: u64,
) -> R<T> {
    let filter = f64::from(cx.attr_float("mask_filter_value", -10_000.0)?);
    let mask = match mask {
        Some(mask) => Some(mask_bias(cx, mask, heads, filter)?),
        None => None,
    };
    let bias = match (mask, bias) {
        (Some(mask), Some(bias)) => Some(cx.add(&mask, bias)?),
        (mask, bias) => mask.or(bias.cloned()),
    };
    let causal = cx.attr_flag("unidirectional")?;
    scored(cx, heads, &Mask::causal(bias, causal, past), 0.0)
}

/// The output `[batch, tokens, heads * size]` under this mask, with the attribute `scale`.
pub(super) fn scored(cx: &mut Cx<'_>, heads: &Heads, mask: &Mask, softcap: f32) -> R<T> {
    let size = heads.q.extent(3)? as f64;
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => 1.0 / size.sqrt(),
        scale => scale.into(),
    };
    let scoring = Scoring { scale, softcap, bias: None, precision: None };
    if heads.is_native(&scoring) {
        let (bias, causal) = mask.native(cx, heads)?;
        return heads.native(cx, &Scoring { bias: bias.as_ref(), ..scoring }, causal);
    }
    let bias = mask.whole(cx, heads)?;
    let y = heads.output(cx, &Scoring { bias: bias.as_ref(), ..scoring })?;
    join_heads(cx, &y)
}

/// What is added to the scores, cut to the keys that there are.
pub(super) fn bias_of(cx: &mut Cx<'_>, bias: Option<&T>, heads: &Heads) -> R<Option<T>> {
    let Some(bias) = bias else { return Ok(None) };
    if bias.rank() != 4 {
        return Err(invalid(format!("attention_bias: expected rank 4, got {}", bias.rank())));
    }
    let keys = heads.k.extent(2)?;
    match bias.extent(3)? {
        own if own > keys => cx.slice(bias, 3, (0, keys), 1).map(Some),
        _ => Ok(Some(bias.clone())),
    }
}

/// A mask of keys as numbers to add to `[batch, heads, queries, keys]`.
fn mask_bias(cx: &mut Cx<'_>, mask: &T, heads: &Heads, filter: f64) -> R<T> {
    let (keys, one) = (heads.k.dims[2], Extent::Fixed(1));
    let zero = scalar(mask.dtype, 0.0)?;
    let shown = match (mask.rank(), mask.dims.first()) {
        (1, Some(rows)) if *rows == heads.q.dims[0] => {
            let lengths = cx.reshape(mask, &[*rows, one, one, one])?;
            let lengths = cx.cast(&lengths, DType::I64)?;
            let places = cx.iota(&[one, one, one, keys], 3)?;
            cx.less(&places, &lengths)?
        }
        (2, Some(rows)) => {
            let shown = cx.not_equal(mask, &zero)?;
            cx.reshape(&shown, &[*rows, one, one, keys])?
        }
        (3, Some(rows)) => {
            let shown = cx.not_equal(mask, &zero)?;
            cx.reshape(&shown, &[*rows, one, mask.dims[1], keys])?
        }
        (rank, _) => return Err(unsupported(format!("a mask of rank {rank} and {:?}", mask.dims))),
    };
    let dtype = heads.q.dtype;
    let (open, closed) = (scalar(dtype, 0.0)?, scalar(dtype, filter)?);
    cx.select(&shown, &open, &closed)
}

/// Queries, keys and values by themselves, or keys and values as heads already.
fn multi_head_attention(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (query, key, value) = (inputs.tensor(0)?, inputs.tensor_opt(1)?, inputs.tensor_opt(2)?);
    let (Some(key), Some(value)) = (key, value) else {
        return Err(unsupported("queries, keys and values in one tensor"));
    };
    if query.rank() != 3 {
        return Err(unsupported(format!("queries of rank {}", query.rank())));
    }
    let count = heads_attribute(cx)?;
    let mut parts = [query.clone(), key.clone(), value.clone()];
    if let Some(bias) = inputs.tensor_opt(3)? {
        let mut start = 0;
        for part in parts.iter_mut().filter(|part| part.rank() == 3) {
            let width = part.extent(2)?;
            let own = cx.slice(bias, 0, (start, start.saturating_add(width)), 1)?;
            *part = cx.add(part, &own)?;
            start = start.saturating_add(width);
        }
    }
    let [q, k, v] = &parts;
    let mut heads = Heads {
        q: split_heads(cx, q, count)?,
        k: if k.rank() == 4 { k.clone() } else { split_heads(cx, k, count)? },
        v: if v.rank() == 4 { v.clone() } else { split_heads(cx, v, count)? },
    };
    let mut past = 0;
    if let (Some(key), Some(value)) = (inputs.tensor_opt(6)?, inputs.tensor_opt(7)?) {
        past = key.extent(2)?;
        heads.k = cx.concat(&[key, &heads.k], 2)?;
        heads.v = cx.concat(&[value, &heads.v], 2)?;
    }
    heads.check()?;
    let y = attend(cx, &heads, (inputs.tensor_opt(4)?, inputs.tensor_opt(5)?), past)?;
    let mut outputs: Vec<Value> = vec![y.into(), heads.k.into(), heads.v.into()];
    if cx.output_count() > outputs.len() {
        return Err(unsupported("the scores as an output"));
    }
    outputs.truncate(cx.output_count());
    Ok(outputs)
}

/// As `Attention`, with input and weights in bytes.
fn q_attention(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let sums = matmul_integer(cx, (x, inputs.tensor_opt(6)?), (w, inputs.tensor_opt(7)?))?;
    let bias = inputs.tensor(2)?;
    let sums = cx.cast(&sums, bias.dtype)?;
    let x_scale = cx.reshape_to(inputs.tensor(3)?, &[])?;
    let factor = cx.mul(&x_scale, inputs.tensor(4)?)?;
    let scaled = cx.mul(&sums, &factor)?;
    let projected = cx.add(&scaled, bias)?;
    let more = More { mask: inputs.tensor_opt(5)?, past: inputs.tensor_opt(8)?, bias: None };
    packed(cx, &projected, more)
}
