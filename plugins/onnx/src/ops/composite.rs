//! Layers that [`crate::composite`] recognized. Each answers none where shapes or dtypes do not fit, and
//! its nodes are walked one by one then.

use super::attention::{Heads, Scoring, as_bias, split_heads};
use super::layer_norm::{layer_norm, rms_norm};
use super::quantize::is_float;
use crate::content::full;
use crate::node::{Cx, Inputs, axes_of, axis_of};
use crate::value::{Extent, R, T, Value};
use aimass_sdk::DType;
use aimass_sdk::graph::GeluForm;

/// The layer's output, if it is one.
///
/// # Errors
/// As those of the layer's own operators.
pub(crate) fn lower_composite(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Option<Vec<Value>>> {
    let y = match cx.node.op.as_str() {
        "Gelu" => gelu(cx, inputs)?,
        "HardSwish" => match elementwise(inputs)? {
            Some(x) => Some(cx.hard_swish(x)?),
            None => None,
        },
        "LayerNorm" => normalized(cx, inputs, true)?,
        "RmsNorm" => normalized(cx, inputs, false)?,
        "ScaledDotProduct" => scaled_dot_product(cx, inputs)?,
        "Swish" => swish(cx, inputs)?,
        _ => None,
    };
    Ok(y.map(|y| vec![y.into()]))
}

/// The input of a float activation; constants of one element do not change its shape.
fn elementwise<'a>(inputs: Inputs<'a>) -> R<Option<&'a T>> {
    let x = inputs.tensor(0)?;
    Ok(Some(x).filter(|x| is_float(x.dtype) && x.rank() > 0))
}

fn gelu(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Option<T>> {
    let Some(x) = elementwise(inputs)? else { return Ok(None) };
    let form = match cx.attr_text("approximate", "none")? {
        "tanh" => GeluForm::Tanh,
        _ => GeluForm::Erf,
    };
    cx.gelu(x, form).map(Some)
}

fn swish(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Option<T>> {
    let Some(x) = elementwise(inputs)? else { return Ok(None) };
    let alpha = cx.attr_float("alpha", 1.0)?;
    if alpha == 1.0 {
        return cx.silu(x).map(Some);
    }
    let scaled = cx.mul_number(x, alpha.into())?;
    let gate = cx.sigmoid(&scaled)?;
    cx.mul(x, &gate).map(Some)
}

/// The first of the axes, if they are all from there on.
fn lane_start(axes: &[i64], rank: usize) -> Option<usize> {
    let axes = axes_of(axes, rank).ok()?;
    let start = *axes.first()?;
    axes.into_iter().eq(start..rank).then_some(start)
}

fn normalized(cx: &mut Cx<'_>, inputs: Inputs<'_>, centered: bool) -> R<Option<T>> {
    let x = inputs.tensor(0)?;
    let axes = cx.attr_ints_opt("axes")?.unwrap_or_default();
    let start = lane_start(axes, x.rank()).filter(|_| is_float(x.dtype));
    let Some(start) = start else { return Ok(None) };
    let lane = &x.dims[start..];
    let fits = |vector: &T| vector.dims == lane && vector.dtype == x.dtype;
    if lane.contains(&Extent::Batch) || !(1..inputs.len()).all(|i| inputs.tensor(i).is_ok_and(fits))
    {
        return Ok(None);
    }
    let epsilon = cx.attr_float("epsilon", 0.0)?;
    let scale = match inputs.tensor_opt(1)? {
        Some(scale) => scale.clone(),
        None => full(x.dtype, &[x.extent(x.rank() - 1)?], 1.0)?,
    };
    match centered {
        true => layer_norm(cx, x, (&scale, inputs.tensor_opt(2)?), start, epsilon).map(Some),
        false => rms_norm(cx, x, &scale, start, epsilon).map(Some),
    }
}

/// Whether queries `[.., m, d]`, transposed keys `[.., d, n]` and values `[.., n, d]` make an attention
/// that the host computes.
fn fits_attention(q: &T, k: &T, v: &T) -> bool {
    let rank = q.rank();
    let like =
        |x: &T| x.rank() == rank && x.dtype == q.dtype && x.dims[..rank - 2] == q.dims[..rank - 2];
    matches!(rank, 3 | 4)
        && matches!(q.dtype, DType::F16 | DType::Bf16 | DType::F32)
        && like(k)
        && like(v)
        && q.dims[1..].iter().all(|dim| *dim != Extent::Batch)
        && q.dims[rank - 1] == k.dims[rank - 2]
        && v.dims[rank - 2] == k.dims[rank - 1]
        && v.dims[rank - 1] == q.dims[rank - 1]
}

fn scaled_dot_product(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Option<T>> {
    let (q, k, v) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    let kinds = cx.attr_ints_opt("masks")?.unwrap_or_default();
    let rank = q.rank();
    let default = if cx.opset < 13 { 1 } else { -1 };
    let axis = axis_of(cx.attr_int("axis", default)?, rank).unwrap_or(0);
    if !fits_attention(q, k, v) || axis + 1 != rank || kinds.len() + 3 != inputs.len() {
        return Ok(None);
    }
    let scores = [&q.dims[..rank - 1], &k.dims[rank - 1..]].concat();
    let mut bias: Option<T> = None;
    for (index, kind) in kinds.iter().enumerate() {
        let mask = inputs.tensor(3 + index)?;
        if !within(&mask.dims, &scores) {
            return Ok(None);
        }
        let Some(own) = mask_bias(cx, mask, *kind, q.dtype)? else { return Ok(None) };
        bias = Some(match bias {
            Some(bias) => cx.add(&bias, &own)?,
            None => own,
        });
    }
    // Three axes: every index of the first is a head of its own sequence.
    let heads_of = |cx: &mut Cx<'_>, x: &T| match rank {
        3 => cx.unsqueeze(x, 1),
        _ => Ok(x.clone()),
    };
    let permutation: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    let k = cx.transpose(k, &permutation)?;
    let heads = Heads { q: heads_of(cx, q)?, k: heads_of(cx, &k)?, v: heads_of(cx, v)? };
    let bias = match bias {
        Some(bias) if bias.rank() == 3 && rank == 3 => Some(cx.unsqueeze(&bias, 1)?),
        bias => bias,
    };
    let scale = f64::from(cx.attr_float("scale", 1.0)?);
    let scoring = Scoring { scale, softcap: 0.0, bias: bias.as_ref(), precision: None };
    let y = heads.native(cx, &scoring, false)?;
    let y = split_heads(cx, &y, heads.q.extent(1)?)?;
    match rank {
        3 => cx.reshape(&y, &q.dims).map(Some),
        _ => Ok(Some(y)),
    }
}

/// Whether a shape broadcasts to another without making it larger.
fn within(dims: &[Extent], full: &[Extent]) -> bool {
    let pairs = dims.iter().rev().zip(full.iter().rev());
    dims.len() <= full.len()
        && pairs.into_iter().all(|(own, full)| own == full || *own == Extent::Fixed(1))
}

/// A mask as numbers to add; none if it is no mask.
fn mask_bias(cx: &mut Cx<'_>, mask: &T, kind: i64, dtype: DType) -> R<Option<T>> {
    match (kind, mask.dtype) {
        (0, own) if own == dtype => Ok(Some(mask.clone())),
        (1, DType::Bool) => as_bias(cx, mask, dtype).map(Some),
        (2, DType::Bool) => {
            let shown = cx.logical_not(mask)?;
            as_bias(cx, &shown, dtype).map(Some)
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_axes_make_a_lane() {
        assert_eq!(lane_start(&[-1], 3), Some(2));
        assert_eq!(lane_start(&[2, 1], 3), Some(1));
        assert_eq!(lane_start(&[1], 3), None);
        assert_eq!(lane_start(&[], 3), None);
    }

    #[test]
    fn masks_stay_within_the_scores() {
        let fixed = |extents: &[u64]| extents.iter().map(|&e| Extent::Fixed(e)).collect::<Vec<_>>();
        assert!(within(&fixed(&[1, 5]), &fixed(&[2, 3, 4, 5])));
        assert!(!within(&fixed(&[2, 4, 5]), &fixed(&[1, 4, 5])));
        assert!(!within(&fixed(&[1, 1, 4, 5]), &fixed(&[3, 4, 5])));
    }
}
