//! Attention of decoders over a cache (`com.microsoft` `GroupQueryAttention`).

use super::attention::{bias_of, heads_attribute, scored};
use crate::content::scalar;
use crate::node::{Cx, Inputs};
use crate::ops::Table;
use crate::ops::attention::{Heads, Mask, Offset, split_heads};
use crate::ops::rotary::{Angles, rotate};
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("GroupQueryAttention", group_query_attention)];

/// Queries with the keys and values of the call; all `[batch, heads, tokens, size]`.
fn group_query_attention(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    if inputs.len() > 11 && inputs.0[11..].iter().any(Option::is_some) {
        return Err(unsupported("a head sink, or a quantized cache"));
    }
    if cx.attr_int("smooth_softmax", 0)? > 0 || cx.attr_int("qk_output", 0)? != 0 {
        return Err(unsupported("smooth_softmax and qk_output"));
    }
    let count = heads_attribute(cx)?;
    let shared = u64::try_from(cx.attr_int("kv_num_heads", 0)?).unwrap_or(0);
    if shared == 0 || count % shared != 0 {
        return Err(invalid(format!("expected {shared} key heads to divide {count} heads")));
    }
    let [mut q, mut k, v] = projections(cx, inputs, count, shared)?;
    let cache = Cache::of(cx, inputs, &q)?;
    if cx.attr_flag("do_rotary")? {
        let positions = match inputs.tensor_opt(9)? {
            Some(positions) => positions.clone(),
            None => cache.positions(cx, &q)?,
        };
        let caches = (inputs.tensor(7)?, inputs.tensor(8)?);
        let angles = Angles::of(cx, caches, Some(&positions))?;
        let interleaved = cx.attr_flag("rotary_interleaved")?;
        let turned = angles.cos.extent(2)?.saturating_mul(2) as i64;
        q = rotate(cx, &q, &angles, (turned, count as i64), interleaved)?;
        k = rotate(cx, &k, &angles, (turned, shared as i64), interleaved)?;
    }
    let (k, v) = (split_heads(cx, &k, shared)?, split_heads(cx, &v, shared)?);
    let heads = Heads {
        q: split_heads(cx, &q, count)?,
        k: cache.joined(cx, inputs.tensor_opt(3)?, &k)?,
        v: cache.joined(cx, inputs.tensor_opt(4)?, &v)?,
    };
    heads.check()?;
    let y = attended(cx, &heads, &cache, inputs.tensor_opt(10)?)?;
    let mut outputs: Vec<Value> = vec![y.into(), heads.k.into(), heads.v.into()];
    outputs.truncate(cx.output_count());
    Ok(outputs)
}

/// Queries, keys and values `[batch, tokens, width]`, which may come side by side.
fn projections(cx: &mut Cx<'_>, inputs: Inputs<'_>, count: u64, shared: u64) -> R<[T; 3]> {
    let query = inputs.tensor(0)?;
    if query.rank() != 3 {
        return Err(unsupported(format!("queries of rank {}", query.rank())));
    }
    if let (Some(key), Some(value)) = (inputs.tensor_opt(1)?, inputs.tensor_opt(2)?) {
        return Ok([query.clone(), key.clone(), value.clone()]);
    }
    let (width, all) = (query.extent(2)?, count.saturating_add(shared.saturating_mul(2)));
    if width % all != 0 {
        return Err(invalid(format!("expected {all} heads to divide a width of {width}")));
    }
    let size = width / all;
    let parts = cx.split(query, 2, &[count * size, shared * size, shared * size])?;
    <[T; 3]>::try_from(parts).map_err(|_| invalid("expected three parts"))
}

/// Where the tokens of a call stand in the sequence of each row.
struct Cache {
    /// Keys that come with the call, `past` in each row or fewer.
    past: u64,
    /// Keys that the answer holds.
    total: u64,
    /// Valid keys before the call, i64 `[batch, 1]`; none if `past` of them are in every row.
    before: Option<T>,
}

impl Cache {
    fn of(cx: &mut Cx<'_>, inputs: Inputs<'_>, q: &T) -> R<Cache> {
        let tokens = q.extent(1)?;
        let past = match inputs.tensor_opt(3)? {
            Some(cache) if cache.rank() == 4 => cache.extent(2)?,
            Some(cache) => {
                return Err(invalid(format!("past_key: expected rank 4, got {}", cache.rank())));
            }
            None => 0,
        };
        let total = cx.int(inputs.tensor(6)?)?;
        let total = u64::try_from(total).ok().filter(|total| *total >= tokens);
        let total = total.ok_or_else(|| {
            invalid(format!("total_sequence_length: expected {tokens} tokens at least"))
        })?;
        if total > past.saturating_add(tokens) {
            let message = format!("total_sequence_length: got {total} with a cache of {past}");
            return Err(invalid(message));
        }
        let one_row = q.dims[0] == Extent::Fixed(1);
        let grows = total == past.saturating_add(tokens);
        if grows && (one_row || past == 0) {
            return Ok(Cache { past, total, before: None });
        }
        let zero = scalar(DType::I64, 0.0)?;
        let two = [q.dims[0], Extent::Fixed(1)];
        let before = match total == tokens {
            true => cx.broadcast(&zero, &two)?,
            false => {
                let last = cx.reshape(inputs.tensor(5)?, &two)?;
                let last = cx.cast(&last, DType::I64)?;
                cx.add_number(&last, 1.0 - tokens as f64)?
            }
        };
        Ok(Cache { past, total: total.max(past), before: Some(before) })
    }

    /// Positions of the tokens, i64 `[batch, tokens]`.
    fn positions(&self, cx: &mut Cx<'_>, q: &T) -> R<T> {
        let steps = cx.iota(&[Extent::Fixed(1), q.dims[1]], 1)?;
        let places = match &self.before {
            Some(before) => cx.add(&steps, before)?,
            None => cx.add_number(&steps, self.past as f64)?,
        };
        cx.broadcast(&places, &[q.dims[0], q.dims[1]])
    }

    /// The cache with the tokens behind the valid keys of each row, and zeros behind those.
    fn joined(&self, cx: &mut Cx<'_>, past: Option<&T>, new: &T) -> R<T> {
        let all = match past {
            Some(past) if self.past > 0 => cx.concat(&[past, new], 2)?,
            Some(_) | None => new.clone(),
        };
        let Some(before) = &self.before else { return Ok(all) };
        let places = cx.iota(&[Extent::Fixed(1), Extent::Fixed(self.total)], 1)?;
        let after = cx.greater_equal(&places, before)?;
        let end = cx.add_number(before, new.extent(2)? as f64)?;
        let valid = cx.less(&places, &end)?;
        let own = cx.logical_and(&after, &valid)?;
        let kept = cx.sub(&places, before)?;
        let moved = cx.add_number(&kept, self.past as f64)?;
        let from = cx.select(&own, &moved, &places)?;
        let from = cx.clamp(&from, 0.0, all.extent(2)?.saturating_sub(1) as f64)?;
        let indices = cx.unsqueeze(&from, 2)?;
        let rows = cx.transpose(&all, &[0, 2, 1, 3])?;
        let chosen = cx.gather_nd(&rows, &indices, 1)?;
        let chosen = cx.transpose(&chosen, &[0, 2, 1, 3])?;
        let one = Extent::Fixed(1);
        let valid = cx.reshape(&valid, &[valid.dims[0], one, valid.dims[1], one])?;
        cx.select(&valid, &chosen, &scalar(chosen.dtype, 0.0)?)
    }
}

/// The output `[batch, tokens, heads * size]`.
fn attended(cx: &mut Cx<'_>, heads: &Heads, cache: &Cache, bias: Option<&T>) -> R<T> {
    let offset = match &cache.before {
        Some(before) => {
            let one = Extent::Fixed(1);
            Offset::Each(cx.reshape(before, &[before.dims[0], one, one, one])?)
        }
        None => Offset::Known(cache.past as i64),
    };
    let bias = bias_of(cx, bias, heads)?;
    let window = cx.attr_int("local_window_size", -1)?;
    let mask = Mask::windowed(bias, offset, (window > 0).then_some(window - 1));
    let softcap = cx.attr_float("softcap", 0.0)?;
    scored(cx, heads, &mask, softcap)
}
