//! Reductions over axes, running totals, extremes and their places.

use super::shape::ints_from;
use super::{Table, one};
use crate::content::scalar;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axes_of, axis_of};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("ArgMax", |cx, x| arg_extreme(cx, x, true)),
    ("ArgMin", |cx, x| arg_extreme(cx, x, false)),
    ("CumProd", |cx, x| cumulative(cx, x, |e, x, axis, how| e.cumulative_prod(x, axis, how))),
    ("CumSum", |cx, x| cumulative(cx, x, |e, x, axis, how| e.cumulative_sum(x, axis, how))),
    ("ReduceL1", |cx, x| reduce(cx, x, l1)),
    ("ReduceL2", |cx, x| reduce(cx, x, l2)),
    ("ReduceLogSum", |cx, x| reduce(cx, x, log_sum)),
    ("ReduceLogSumExp", |cx, x| reduce(cx, x, log_sum_exp)),
    ("ReduceMax", |cx, x| reduce(cx, x, |e, x, over| extreme(e, x, over, Plain::Max))),
    ("ReduceMean", |cx, x| reduce(cx, x, mean)),
    ("ReduceMin", |cx, x| reduce(cx, x, |e, x, over| extreme(e, x, over, Plain::Min))),
    ("ReduceProd", |cx, x| reduce(cx, x, |e, x, over| plain(e, x, over, Plain::Prod))),
    ("ReduceSum", |cx, x| reduce(cx, x, |e, x, over| plain(e, x, over, Plain::Sum))),
    ("ReduceSumSquare", |cx, x| reduce(cx, x, sum_square)),
    ("TopK", top_k),
];

/// The axes of a reduction, and whether they stay with extent 1.
struct Over {
    axes: Vec<usize>,
    keep: bool,
}

/// The contract's reductions that ONNX needs.
#[derive(Clone, Copy)]
enum Plain {
    Sum,
    Prod,
    Max,
    Min,
}

pub(super) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
}

pub(super) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16)
}

fn is_unsigned(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64)
}

fn reduce(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    compute: impl Fn(&mut Emitter, &T, &Over) -> R<T>,
) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let keep = cx.attr_int("keepdims", 1)? != 0;
    let axes = ints_from(cx, inputs, 1, "axes")?.unwrap_or_default();
    let mut axes = match axes.is_empty() {
        false => axes_of(&axes, x.rank())?,
        true if cx.attr_flag("noop_with_empty_axes")? => Vec::new(),
        true => (0..x.rank()).collect(),
    };
    axes.retain(|&axis| axis < x.rank());
    one(compute(cx, x, &Over { axes, keep })?)
}

/// What is left of `dims`.
fn reduced(dims: &[Extent], over: &Over) -> Vec<Extent> {
    let left = |(axis, dim): (usize, &Extent)| match (over.axes.contains(&axis), over.keep) {
        (false, _) => Some(*dim),
        (true, true) => Some(Extent::Fixed(1)),
        (true, false) => None,
    };
    dims.iter().enumerate().filter_map(left).collect()
}

/// A reduction of the contract; over no axes it changes nothing, over no elements it gives the
/// neutral one.
fn plain(cx: &mut Emitter, x: &T, over: &Over, kind: Plain) -> R<T> {
    if over.axes.is_empty() {
        return Ok(x.clone());
    }
    if over.axes.iter().any(|&axis| x.dims[axis] == Extent::Fixed(0)) {
        let neutral = match kind {
            Plain::Sum => 0.0,
            Plain::Prod => 1.0,
            Plain::Max => f64::NEG_INFINITY,
            Plain::Min => f64::INFINITY,
        };
        let neutral = scalar(x.dtype, neutral)?;
        return cx.broadcast(&neutral, &reduced(&x.dims, over));
    }
    match kind {
        Plain::Sum => cx.reduce_sum(x, &over.axes, over.keep),
        Plain::Prod => cx.reduce_prod(x, &over.axes, over.keep),
        Plain::Max => cx.reduce_max(x, &over.axes, over.keep),
        Plain::Min => cx.reduce_min(x, &over.axes, over.keep),
    }
}

fn extreme(cx: &mut Emitter, x: &T, over: &Over, kind: Plain) -> R<T> {
    if x.dtype != DType::Bool {
        return plain(cx, x, over, kind);
    }
    let bytes = cx.cast(x, DType::U8)?;
    let found = plain(cx, &bytes, over, kind)?;
    // The smallest of nothing is 255 here, which is true.
    cx.cast(&found, DType::Bool)
}

fn mean(cx: &mut Emitter, x: &T, over: &Over) -> R<T> {
    if over.axes.is_empty() {
        return Ok(x.clone());
    }
    if is_float(x.dtype) && over.axes.iter().all(|&axis| x.dims[axis] != Extent::Fixed(0)) {
        return cx.reduce_mean(x, &over.axes, over.keep);
    }
    let mut count = 1u64;
    for &axis in &over.axes {
        count = count.saturating_mul(x.extent(axis)?);
    }
    let total = plain(cx, x, over, Plain::Sum)?;
    let count = scalar(x.dtype, count as f64)?;
    cx.div(&total, &count)
}

/// Computes in a type in which squares, exponentials and roots exist and fit.
fn widely(cx: &mut Emitter, x: &T, compute: impl FnOnce(&mut Emitter, &T) -> R<T>) -> R<T> {
    let wide = match x.dtype {
        DType::F32 | DType::F64 => x.dtype,
        DType::F16 | DType::Bf16 => DType::F32,
        _ => DType::F64,
    };
    let own = cx.cast(x, wide)?;
    let y = compute(cx, &own)?;
    cx.cast(&y, x.dtype)
}

fn l1(cx: &mut Emitter, x: &T, over: &Over) -> R<T> {
    if is_unsigned(x.dtype) {
        return plain(cx, x, over, Plain::Sum);
    }
    let magnitudes = cx.abs(x)?;
    plain(cx, &magnitudes, over, Plain::Sum)
}

fn squares(cx: &mut Emitter, x: &T, over: &Over) -> R<T> {
    let squares = cx.mul(x, x)?;
    plain(cx, &squares, over, Plain::Sum)
}

fn l2(cx: &mut Emitter, x: &T, over: &Over) -> R<T> {
    widely(cx, x, |cx, x| {
        let total = squares(cx, x, over)?;
        cx.sqrt(&total)
    })
}

fn sum_square(cx: &mut Emitter, x: &T, over: &Over) -> R<T> {
    match is_half(x.dtype) {
        true => widely(cx, x, |cx, x| squares(cx, x, over)),
        false => squares(cx, x, over),
    }
}

fn log_sum(cx: &mut Emitter, x: &T, over: &Over) -> R<T> {
    widely(cx, x, |cx, x| {
        let total = plain(cx, x, over, Plain::Sum)?;
        cx.log(&total)
    })
}

/// `log(Σ exp(x - m)) + m`, where `m` is the largest element, or 0 if that is infinite.
fn log_sum_exp(cx: &mut Emitter, x: &T, over: &Over) -> R<T> {
    widely(cx, x, |cx, x| {
        let kept = Over { axes: over.axes.clone(), keep: true };
        let largest = plain(cx, x, &kept, Plain::Max)?;
        let zero = scalar(x.dtype, 0.0)?;
        let infinite = cx.is_inf(&largest)?;
        let shift = cx.select(&infinite, &zero, &largest)?;
        let shifted = cx.sub(x, &shift)?;
        let powers = cx.exp(&shifted)?;
        let total = plain(cx, &powers, over, Plain::Sum)?;
        let total = cx.log(&total)?;
        let shift = cx.reshape(&shift, &total.dims.clone())?;
        cx.add(&total, &shift)
    })
}

fn arg_extreme(cx: &mut Cx<'_>, inputs: Inputs<'_>, largest: bool) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axis = axis_of(cx.attr_int("axis", 0)?, x.rank())?;
    let keep = cx.attr_int("keepdims", 1)? != 0;
    if x.rank() == 0 {
        return Err(invalid("expected a tensor with axes, got a scalar"));
    }
    let find = |cx: &mut Emitter, x: &T| match largest {
        true => cx.arg_max(x, axis, keep),
        false => cx.arg_min(x, axis, keep),
    };
    if !cx.attr_flag("select_last_index")? {
        return one(find(cx, x)?);
    }
    let last = scalar(DType::I64, x.extent(axis)?.saturating_sub(1) as f64)?;
    let reversed = cx.reverse(x, axis)?;
    let from_end = find(cx, &reversed)?;
    one(cx.sub(&last, &from_end)?)
}

fn cumulative(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    compute: impl Fn(&mut Emitter, &T, usize, (bool, bool)) -> R<T>,
) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axis = axis_of(cx.int(inputs.tensor(1)?)?, x.rank())?;
    let how = (cx.attr_flag("exclusive")?, cx.attr_flag("reverse")?);
    if !is_half(x.dtype) {
        return one(compute(cx, x, axis, how)?);
    }
    one(widely(cx, x, |cx, x| compute(cx, x, axis, how))?)
}

/// The permutation that moves `axis` to the end, and the one that moves it back.
pub(super) fn to_end(axis: usize, rank: usize) -> (Vec<usize>, Vec<usize>) {
    let there: Vec<usize> = (0..rank).filter(|&own| own != axis).chain([axis]).collect();
    let mut back = vec![0; rank];
    for (to, &from) in there.iter().enumerate() {
        back[from] = to;
    }
    (there, back)
}

fn top_k(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let k = match inputs.tensor_opt(1)? {
        Some(k) => cx.int(k)?,
        None => cx.attr_int_opt("k")?.ok_or_else(|| invalid("expected k"))?,
    };
    let k = u64::try_from(k).map_err(|_| invalid(format!("expected k of at least 0, got {k}")))?;
    let axis = axis_of(cx.attr_int("axis", -1)?, x.rank())?;
    let largest = cx.attr_int("largest", 1)? != 0;
    if x.rank() == 0 {
        return Err(invalid("expected a tensor with axes, got a scalar"));
    }
    let extent = x.extent(axis)?;
    if k > extent {
        return Err(invalid(format!("expected k of at most {extent}, got {k}")));
    }
    let (there, back) = to_end(axis, x.rank());
    let lanes = cx.transpose(x, &there)?;
    let (values, indices) = cx.top_k(&lanes, k, largest)?;
    let (values, indices) = (cx.transpose(&values, &back)?, cx.transpose(&indices, &back)?);
    Ok(vec![values.into(), indices.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_moves_to_the_end_and_back() {
        assert_eq!(to_end(1, 4), (vec![0, 2, 3, 1], vec![0, 3, 1, 2]));
        assert_eq!(to_end(2, 3), (vec![0, 1, 2], vec![0, 1, 2]));
    }

    #[test]
    fn reduced_axes_go_or_stay_with_extent_1() {
        let dims = [Extent::Batch, Extent::Fixed(2), Extent::Fixed(3)];
        let over = |keep| Over { axes: vec![2], keep };
        assert_eq!(reduced(&dims, &over(false)), dims[..2]);
        assert_eq!(reduced(&dims, &over(true))[2], Extent::Fixed(1));
    }
}
