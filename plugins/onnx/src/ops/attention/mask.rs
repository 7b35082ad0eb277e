//! Which keys a query sees.

use super::Heads;
use crate::content::scalar;
use crate::node::Cx;
use crate::value::{Extent, R, T, invalid};
use aimass_sdk::DType;

/// How many valid keys lie before the queries.
#[derive(Debug, Clone)]
pub(in crate::ops) enum Offset {
    /// As many in every row.
    Known(i64),
    /// i64 `[batch, 1, 1, 1]`.
    Each(T),
}

/// All that keeps queries from keys.
pub(in crate::ops) struct Mask {
    /// Added to the scores.
    bias: Option<T>,
    /// Number of valid keys, i64 `[batch, 1, 1, 1]`.
    valid: Option<T>,
    offset: Offset,
    /// How far right of its own position a query sees.
    right: Option<i64>,
    /// How far left of its own position a query sees.
    left: Option<i64>,
}

/// A mask as numbers to add: of a bool one, 0 where a query may look and `-inf` elsewhere.
pub(in crate::ops) fn as_bias(cx: &mut Cx<'_>, mask: &T, dtype: DType) -> R<T> {
    if mask.dtype != DType::Bool {
        return cx.cast(mask, dtype);
    }
    let (open, closed) = (scalar(dtype, 0.0)?, scalar(dtype, f64::NEG_INFINITY)?);
    cx.select(mask, &open, &closed)
}

/// The smaller of two bounds of which each may be none.
fn tighter(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Mask {
    /// A mask that is added, and perhaps what is later than `past` keys and the query itself.
    pub(in crate::ops) fn causal(bias: Option<T>, causal: bool, past: u64) -> Mask {
        let right = causal.then_some(0);
        Mask { bias, valid: None, offset: Offset::Known(past as i64), right, left: None }
    }

    /// A mask that is added; what is later than a query, whose first one has `offset` keys before it; and
    /// what is more than `left` before it.
    pub(in crate::ops) fn windowed(bias: Option<T>, offset: Offset, left: Option<i64>) -> Mask {
        Mask { bias, valid: None, offset, right: Some(0), left }
    }

    /// What the node says: its mask, the number of valid keys, `is_causal` and the window.
    pub(super) fn of(
        cx: &mut Cx<'_>,
        heads: &Heads,
        (mask, valid): (Option<&T>, Option<&T>),
        past: u64,
    ) -> R<Mask> {
        let (queries, keys) = (heads.q.extent(2)? as i64, heads.k.extent(2)?);
        let bias = match mask {
            Some(mask) => Some(padded_bias(cx, mask, keys, heads.q.dtype)?),
            None => None,
        };
        let valid = match valid {
            Some(valid) if valid.rank() == 1 => {
                let one = Extent::Fixed(1);
                Some(cx.reshape(valid, &[valid.dims[0], one, one, one])?)
            }
            Some(valid) => {
                let got = valid.rank();
                return Err(invalid(format!("nonpad_kv_seqlen: expected rank 1, got {got}")));
            }
            None => None,
        };
        let offset = match &valid {
            Some(valid) if past == 0 => Offset::Each(cx.add_number(valid, -queries as f64)?),
            _ => Offset::Known(past as i64),
        };
        let bound = |name| match cx.attr_int(name, -1)? {
            -1 => Ok(None),
            bound @ 0.. => Ok(Some(bound)),
            bound => Err(invalid(format!("{name}: expected -1 or more, got {bound}"))),
        };
        let causal = cx.attr_flag("is_causal")?.then_some(0);
        let (left, right) = (bound("left_window_size")?, bound("right_window_size")?);
        Ok(Mask { bias, valid, offset, right: tighter(right, causal), left })
    }

    /// What to add to the scores, and whether the contract's own causal rule does the rest.
    pub(in crate::ops) fn native(&self, cx: &mut Cx<'_>, heads: &Heads) -> R<(Option<T>, bool)> {
        let ahead = heads.k.extent(2)? as i64 - heads.q.extent(2)? as i64;
        let aligned = matches!(self.offset, Offset::Known(offset) if offset == ahead);
        if self.right == Some(0) && self.left.is_none() && self.valid.is_none() && aligned {
            return Ok((self.bias.clone(), true));
        }
        Ok((self.whole(cx, heads)?, false))
    }

    /// What to add to the scores.
    pub(in crate::ops) fn whole(&self, cx: &mut Cx<'_>, heads: &Heads) -> R<Option<T>> {
        let Some(allowed) = self.allowed(cx, heads)? else { return Ok(self.bias.clone()) };
        let positions = as_bias(cx, &allowed, heads.q.dtype)?;
        match &self.bias {
            Some(bias) => cx.add(bias, &positions).map(Some),
            None => Ok(Some(positions)),
        }
    }

    /// By query and key, whether their positions allow a look; none if all do.
    fn allowed(&self, cx: &mut Cx<'_>, heads: &Heads) -> R<Option<T>> {
        let (queries, keys) = (heads.q.dims[2], heads.k.dims[2]);
        let one = Extent::Fixed(1);
        let columns = cx.iota(&[one, keys], 1)?;
        let mut allowed: Option<T> = None;
        if let Some(valid) = &self.valid {
            let valid = cx.cast(valid, DType::I64)?;
            allowed = Some(cx.less(&columns, &valid)?);
        }
        if self.right.is_none() && self.left.is_none() {
            return Ok(allowed);
        }
        let rows = cx.iota(&[queries, one], 0)?;
        let own = match &self.offset {
            Offset::Known(offset) => cx.add_number(&rows, *offset as f64)?,
            Offset::Each(offset) => {
                let offset = cx.cast(offset, DType::I64)?;
                cx.add(&rows, &offset)?
            }
        };
        if let Some(right) = self.right {
            let last = cx.add_number(&own, right as f64)?;
            let sees = cx.less_equal(&columns, &last)?;
            allowed = Some(both(cx, allowed, sees)?);
        }
        if let Some(left) = self.left {
            let first = cx.add_number(&own, -(left as f64))?;
            let sees = cx.greater_equal(&columns, &first)?;
            allowed = Some(both(cx, allowed, sees)?);
        }
        Ok(allowed)
    }
}

fn both(cx: &mut Cx<'_>, a: Option<T>, b: T) -> R<T> {
    match a {
        Some(a) => cx.logical_and(&a, &b),
        None => Ok(b),
    }
}

/// The mask as numbers, its last axis made as long as the keys; what is added is not seen.
fn padded_bias(cx: &mut Cx<'_>, mask: &T, keys: u64, dtype: DType) -> R<T> {
    let bias = as_bias(cx, mask, dtype)?;
    let Some(last) = bias.rank().checked_sub(1) else { return Ok(bias) };
    let own = bias.extent(last)?;
    if own >= keys {
        return cx.slice(&bias, last, (0, keys), 1);
    }
    let mut rest = bias.dims.clone();
    rest[last] = Extent::Fixed(keys - own);
    let closed = cx.broadcast(&scalar(dtype, f64::NEG_INFINITY)?, &rest)?;
    cx.concat(&[&bias, &closed], last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_bound_counts() {
        assert_eq!(tighter(None, None), None);
        assert_eq!(tighter(Some(2), None), Some(2));
        assert_eq!(tighter(Some(2), Some(0)), Some(0));
    }
}
