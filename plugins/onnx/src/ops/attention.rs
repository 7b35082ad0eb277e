//! Scaled dot-product attention (ONNX `Attention`, opsets 23 to 25).

mod flex;
mod mask;

use super::Table;
use super::quantize::is_float;
use crate::content::scalar;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::proto::ElementType;
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;
use aimass_sdk::graph::AttentionOptions;
pub(crate) use flex::Flex;
pub(super) use mask::as_bias;
pub(super) use mask::{Mask, Offset};

pub(super) const TABLE: Table = &[("Attention", attention)];

/// Queries, keys and values as `[batch, heads, tokens, size]`.
pub(super) struct Heads {
    pub(super) q: T,
    pub(super) k: T,
    pub(super) v: T,
}

/// What happens between the scores and the probabilities.
pub(super) struct Scoring<'a> {
    /// Factor on the scores.
    pub(super) scale: f64,
    /// 0 for none.
    pub(super) softcap: f32,
    /// Added to the scores; broadcasts to `[batch, heads, queries, keys]`.
    pub(super) bias: Option<&'a T>,
    /// The type that the softmax is computed in, if it is not the scores' own.
    pub(super) precision: Option<DType>,
}

/// Which of the scores' stages the node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Scores,
    Capped,
    Biased,
    Probabilities,
}

/// `[batch, tokens, heads * size]` as `[batch, heads, tokens, size]`.
pub(super) fn split_heads(cx: &mut Emitter, x: &T, heads: u64) -> R<T> {
    let width = x.extent(2)?;
    if heads == 0 || width % heads != 0 {
        return Err(invalid(format!("expected {heads} heads to divide a width of {width}")));
    }
    let dims = [x.dims[0], x.dims[1], Extent::Fixed(heads), Extent::Fixed(width / heads)];
    let split = cx.reshape(x, &dims)?;
    cx.transpose(&split, &[0, 2, 1, 3])
}

/// `[batch, heads, tokens, size]` as `[batch, tokens, heads * size]`.
pub(super) fn join_heads(cx: &mut Emitter, x: &T) -> R<T> {
    let width = x.extent(1)?.saturating_mul(x.extent(3)?);
    let moved = cx.transpose(x, &[0, 2, 1, 3])?;
    cx.reshape(&moved, &[x.dims[0], x.dims[2], Extent::Fixed(width)])
}

impl Heads {
    /// Splits inputs of rank 3; checks that all belong together.
    pub(super) fn new(
        cx: &mut Emitter,
        [q, k, v]: [&T; 3],
        counts: Option<(u64, u64)>,
    ) -> R<Heads> {
        let heads = match (q.rank(), counts) {
            (3, Some((own, shared))) if k.rank() == 3 && v.rank() == 3 => Heads {
                q: split_heads(cx, q, own)?,
                k: split_heads(cx, k, shared)?,
                v: split_heads(cx, v, shared)?,
            },
            (4, _) if k.rank() == 4 && v.rank() == 4 => {
                Heads { q: q.clone(), k: k.clone(), v: v.clone() }
            }
            (3, None) => return Err(invalid("expected q_num_heads and kv_num_heads")),
            _ => {
                let got = format!("{}, {}, {}", q.rank(), k.rank(), v.rank());
                return Err(invalid(format!("expected ranks of 3 or of 4, got {got}")));
            }
        };
        heads.check()?;
        Ok(heads)
    }

    /// Checks that all belong together.
    pub(super) fn check(&self) -> R<()> {
        let (own, shared) = (self.q.extent(1)?, self.k.extent(1)?);
        if shared == 0 || own % shared != 0 || self.v.extent(1)? != shared {
            return Err(invalid(format!("expected {shared} key heads to divide {own} heads")));
        }
        if self.q.extent(3)? != self.k.extent(3)? {
            let (q, k) = (self.q.extent(3)?, self.k.extent(3)?);
            return Err(invalid(format!("expected heads of one size, got {q} and {k}")));
        }
        Ok(())
    }

    /// Query heads of each key head.
    fn group(&self) -> R<u64> {
        Ok(self.q.extent(1)? / self.k.extent(1)?.max(1))
    }

    /// The contract's op: no cap, values as wide as keys, 32 bits at most.
    pub(super) fn native(&self, cx: &mut Emitter, scoring: &Scoring<'_>, causal: bool) -> R<T> {
        let (heads, shared) = (narrow(self.q.extent(1)?)?, narrow(self.k.extent(1)?)?);
        let q = join_heads(cx, &self.q)?;
        let k = join_heads(cx, &self.k)?;
        let v = join_heads(cx, &self.v)?;
        let options = AttentionOptions {
            heads,
            kv_heads: shared,
            scale: Some(scoring.scale as f32),
            causal,
            window: None,
        };
        cx.attention([&q, &k, &v], scoring.bias, options)
    }

    /// Whether [`Heads::native`] computes it.
    pub(super) fn is_native(&self, scoring: &Scoring<'_>) -> bool {
        let size = |x: &T| x.dims.get(3).copied();
        scoring.softcap == 0.0
            && scoring.precision.is_none_or(|precision| precision == DType::F32)
            && matches!(self.q.dtype, DType::F16 | DType::Bf16 | DType::F32)
            && self.k.dtype == self.q.dtype
            && self.v.dtype == self.q.dtype
            && size(&self.q) == size(&self.v)
    }

    /// `scale * q · kᵀ`, `[batch, heads, queries, keys]`.
    fn scores(&self, cx: &mut Emitter, scale: f64) -> R<T> {
        let root = scale.abs().sqrt();
        let q = cx.mul_number(&self.q, root.copysign(scale))?;
        let k = cx.mul_number(&self.k, root)?;
        self.times(cx, &q, &k, true)
    }

    /// The output `[batch, heads, queries, size]`.
    pub(super) fn output(&self, cx: &mut Emitter, scoring: &Scoring<'_>) -> R<T> {
        self.staged(cx, scoring, Stage::Scores).map(|(y, _)| y)
    }

    /// The output `[batch, heads, queries, size]`, and one stage on the way.
    pub(super) fn staged(
        &self,
        cx: &mut Emitter,
        scoring: &Scoring<'_>,
        stage: Stage,
    ) -> R<(T, T)> {
        let scores = self.scores(cx, scoring.scale)?;
        let capped = match scoring.softcap > 0.0 {
            false => scores.clone(),
            true => {
                let cap = f64::from(scoring.softcap);
                let cap = scalar(scores.dtype, cap)?;
                let part = cx.div(&scores, &cap)?;
                let bent = cx.tanh(&part)?;
                cx.mul(&bent, &cap)?
            }
        };
        let biased = match scoring.bias {
            Some(bias) => cx.add(&capped, bias)?,
            None => capped.clone(),
        };
        let wide = cx.cast(&biased, scoring.precision.unwrap_or(biased.dtype))?;
        let probabilities = cx.softmax(&wide, 3)?;
        let probabilities = cx.cast(&probabilities, self.q.dtype)?;
        let weights = cx.cast(&probabilities, self.v.dtype)?;
        let y = self.times(cx, &weights, &self.v, false)?;
        let y = cx.cast(&y, self.q.dtype)?;
        let staged = match stage {
            Stage::Scores => scores,
            Stage::Capped => capped,
            Stage::Biased => biased,
            Stage::Probabilities => probabilities,
        };
        Ok((y, staged))
    }

    /// A product of `[batch, heads, m, ..]` with matrices that groups of heads share.
    pub(super) fn times(&self, cx: &mut Emitter, x: &T, y: &T, transposed: bool) -> R<T> {
        let y = if transposed { cx.transpose(y, &[0, 1, 3, 2])? } else { y.clone() };
        let group = self.group()?;
        if group == 1 {
            return cx.matmul(x, &y);
        }
        let (heads, shared) = (x.extent(1)?, y.extent(1)?);
        let dims = [x.dims[0], Extent::Fixed(shared), Extent::Fixed(group), x.dims[2], x.dims[3]];
        let grouped = cx.reshape(x, &dims)?;
        let single = cx.unsqueeze(&y, 2)?;
        let product = cx.matmul(&grouped, &single)?;
        let last = product.dims[4];
        cx.reshape(&product, &[x.dims[0], Extent::Fixed(heads), x.dims[2], last])
    }
}

fn narrow(count: u64) -> R<u32> {
    u32::try_from(count).map_err(|_| invalid(format!("{count} heads")))
}

/// The attributes q_num_heads and kv_num_heads.
pub(super) fn head_counts(cx: &Cx<'_>) -> R<Option<(u64, u64)>> {
    let count = |name: &str| match cx.attr_int_opt(name)? {
        None => Ok(None),
        Some(count) => match u64::try_from(count) {
            Ok(count @ 1..) => Ok(Some(count)),
            _ => Err(invalid(format!("{name}: expected at least 1, got {count}"))),
        },
    };
    Ok(count("q_num_heads")?.zip(count("kv_num_heads")?))
}

/// The attribute softmax_precision, if it is not the scores' own type.
pub(super) fn precision(cx: &Cx<'_>) -> R<Option<DType>> {
    match cx.attr_int_opt("softmax_precision")? {
        None => Ok(None),
        Some(number) => match ElementType(number).dtype().filter(|dtype| is_float(*dtype)) {
            Some(dtype) => Ok(Some(dtype)),
            None => Err(unsupported(format!("softmax_precision of {number}"))),
        },
    }
}

fn attention(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let qkv = [inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?];
    let flat = qkv[0].rank() == 3;
    let counts = head_counts(cx)?;
    let mut heads = Heads::new(cx, qkv, counts)?;
    let mut past = 0;
    if let (Some(key), Some(value)) = (inputs.tensor_opt(4)?, inputs.tensor_opt(5)?) {
        if key.rank() != 4 || value.rank() != 4 {
            return Err(invalid("past_key, past_value: expected rank 4"));
        }
        past = key.extent(2)?;
        heads.k = cx.concat(&[key, &heads.k], 2)?;
        heads.v = cx.concat(&[value, &heads.v], 2)?;
    }
    let mask = Mask::of(cx, &heads, (inputs.tensor_opt(3)?, inputs.tensor_opt(6)?), past)?;
    let size = heads.q.extent(3)? as f64;
    let scale = cx.attr_float_opt("scale")?.map_or(1.0 / size.sqrt(), f64::from);
    let softcap = cx.attr_float("softcap", 0.0)?;
    let precision = precision(cx)?;
    let scoring = Scoring { scale, softcap, bias: None, precision };
    let stage = match cx.attr_int("qk_matmul_output_mode", 0)? {
        0 => Stage::Scores,
        1 => Stage::Capped,
        2 => Stage::Biased,
        3 => Stage::Probabilities,
        other => return Err(invalid(format!("qk_matmul_output_mode: got {other}"))),
    };
    let staged = cx.wants_output(3);
    let (y, scores) = match heads.is_native(&scoring) && !staged {
        true => {
            let (bias, causal) = mask.native(cx, &heads)?;
            let y = heads.native(cx, &Scoring { bias: bias.as_ref(), ..scoring }, causal)?;
            let y = if flat { y } else { split_heads(cx, &y, heads.q.extent(1)?)? };
            (y, None)
        }
        false => {
            let bias = mask.whole(cx, &heads)?;
            let scoring = Scoring { bias: bias.as_ref(), ..scoring };
            let (y, scores) = heads.staged(cx, &scoring, stage)?;
            (if flat { join_heads(cx, &y)? } else { y }, Some(scores))
        }
    };
    let mut outputs: Vec<Value> = vec![y.into(), heads.k.into(), heads.v.into()];
    outputs.extend(scores.map(Value::from));
    outputs.truncate(cx.output_count());
    Ok(outputs)
}
