//! Attention without a softmax: a matrix that each token updates and reads.

use super::Table;
use super::attention::{head_counts, split_heads};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("LinearAttention", linear_attention)];

/// Tokens of a recurrence that is unrolled.
const TOKENS_MAX: u64 = 2048;

/// How a token updates the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    /// The state fades first.
    gated: bool,
    /// Only what the state does not answer yet is written.
    delta: bool,
}

/// What the tokens bring, `[batch, heads, tokens, ..]` each, in f32.
struct Tokens {
    q: T,
    k: T,
    v: T,
    decay: Option<T>,
    beta: Option<T>,
}

fn linear_attention(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let rule = match cx.attr_text("update_rule", "gated_delta")? {
        "linear" => Rule { gated: false, delta: false },
        "gated" => Rule { gated: true, delta: false },
        "delta" => Rule { gated: false, delta: true },
        "gated_delta" => Rule { gated: true, delta: true },
        other => return Err(invalid(format!("update_rule: got `{other}`"))),
    };
    let counts = head_counts(cx)?;
    let (heads, shared) = counts.ok_or_else(|| invalid("expected q_num_heads and kv_num_heads"))?;
    if heads % shared != 0 {
        return Err(invalid(format!("expected {shared} key heads to divide {heads} heads")));
    }
    let tokens = Tokens::of(cx, inputs, rule, (heads, shared))?;
    let (length, size) = (tokens.q.extent(2)?, tokens.q.extent(3)?);
    if length > TOKENS_MAX {
        return Err(unsupported(format!("expected at most {TOKENS_MAX} tokens, got {length}")));
    }
    let dtype = inputs.tensor(0)?.dtype;
    let past = inputs.tensor_opt(3)?;
    let mut state = match past {
        Some(past) => cx.cast(past, DType::F32)?,
        None => {
            let one = scalar_zero()?;
            let dims = [tokens.k.dims[0], tokens.k.dims[1], tokens.k.dims[3], tokens.v.dims[3]];
            cx.broadcast(&one, &dims)?
        }
    };
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => 1.0 / (size as f64).sqrt(),
        scale => scale.into(),
    };
    let mut outputs = Vec::new();
    for index in 0..length {
        let (next, y) = tokens.step(cx, &state, (index, heads / shared))?;
        state = next;
        outputs.push(cx.mul_number(&y, scale)?);
    }
    let width = Extent::Fixed(heads.saturating_mul(tokens.v.extent(3)?));
    let dims = [tokens.q.dims[0], Extent::Fixed(length), width];
    let y = match outputs.is_empty() {
        true => cx.broadcast(&scalar_zero()?, &dims)?,
        false => cx.concat(&outputs.iter().collect::<Vec<_>>(), 1)?,
    };
    let y = cx.cast(&y, dtype)?;
    let state = cx.cast(&state, past.map_or(dtype, |past| past.dtype))?;
    Ok(vec![y.into(), state.into()])
}

fn scalar_zero() -> R<T> {
    crate::content::scalar(DType::F32, 0.0)
}

impl Tokens {
    fn of(
        cx: &mut Cx<'_>,
        inputs: Inputs<'_>,
        rule: Rule,
        (heads, shared): (u64, u64),
    ) -> R<Tokens> {
        let packed = |cx: &mut Cx<'_>, index: usize, heads: u64| {
            let x = inputs.tensor(index)?;
            if x.rank() != 3 {
                return Err(invalid(format!("input {index}: expected rank 3, got {}", x.rank())));
            }
            let wide = cx.cast(x, DType::F32)?;
            split_heads(cx, &wide, heads)
        };
        let (q, k) = (packed(cx, 0, heads)?, packed(cx, 1, shared)?);
        let v = packed(cx, 2, shared)?;
        let decay = if rule.gated { Some(packed(cx, 4, shared)?) } else { None };
        let beta = match rule.delta {
            true => {
                let last = inputs.tensor(5)?.dims.last().copied();
                let own = if last == Some(Extent::Fixed(1)) { 1 } else { shared };
                Some(packed(cx, 5, own)?)
            }
            false => None,
        };
        Ok(Tokens { q, k, v, decay, beta })
    }

    /// The state after a token, `[batch, heads, key size, value size]`, and what its queries read of
    /// it, `[batch, 1, query heads * value size]`.
    fn step(&self, cx: &mut Cx<'_>, state: &T, (index, group): (u64, u64)) -> R<(T, T)> {
        let at = |cx: &mut Cx<'_>, x: &T| cx.slice(x, 2, (index, index + 1), 1);
        let (q, k, mut v) = (at(cx, &self.q)?, at(cx, &self.k)?, at(cx, &self.v)?);
        let mut state = state.clone();
        let columns = cx.transpose(&k, &[0, 1, 3, 2])?;
        if let Some(decay) = &self.decay {
            let decay = at(cx, decay)?;
            let decay = cx.transpose(&decay, &[0, 1, 3, 2])?;
            let factor = cx.exp(&decay)?;
            state = cx.mul(&state, &factor)?;
        }
        if let Some(beta) = &self.beta {
            let beta = at(cx, beta)?;
            let known = cx.matmul(&k, &state)?;
            let news = cx.sub(&v, &known)?;
            v = cx.mul(&beta, &news)?;
        }
        let written = cx.mul(&columns, &v)?;
        let state = cx.add(&state, &written)?;
        let (heads, shared) = (q.extent(1)?, k.extent(1)?);
        // Queries of a group are rows of one product.
        let grouped = [q.dims[0], Extent::Fixed(shared), Extent::Fixed(group), q.dims[3]];
        let q = cx.reshape(&q, &grouped)?;
        let y = cx.matmul(&q, &state)?;
        let width = Extent::Fixed(heads.saturating_mul(y.extent(3)?));
        let y = cx.reshape(&y, &[q.dims[0], Extent::Fixed(1), width])?;
        Ok((state, y))
    }
}
