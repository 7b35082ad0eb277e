//! Operators that pick elements by index or condition.

use super::{Table, one};
use crate::content::{int_tensor, int_vector, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("Compress", compress),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("NonZero", non_zero),
    ("OneHot", one_hot),
    ("ReverseSequence", reverse_sequence),
];

/// Known indices up to this many are looked through for negative ones.
const LOOKED_THROUGH_MAX: u64 = 1 << 16;

/// Whether no index is negative, as far as that is known.
fn none_negative(cx: &mut Emitter, indices: &T) -> bool {
    let small = indices.elements().is_ok_and(|elements| elements <= LOOKED_THROUGH_MAX);
    small
        && indices.is_known()
        && cx.ints(indices).is_ok_and(|indices| indices.iter().all(|&index| index >= 0))
}

/// Indices with negative ones counted from the end of an axis; `extent` is a scalar, or a vector for
/// tuples of indices.
fn counted(cx: &mut Emitter, indices: &T, extent: &T) -> R<T> {
    if none_negative(cx, indices) {
        return Ok(indices.clone());
    }
    let extent = cx.cast(extent, indices.dtype)?;
    let zero = scalar(indices.dtype, 0.0)?;
    let below = cx.less(indices, &zero)?;
    let raised = cx.add(indices, &extent)?;
    cx.select(&below, &raised, indices)
}

/// Indices into an axis of this extent, negative ones counted from its end.
pub(super) fn from_start(cx: &mut Emitter, indices: &T, extent: u64) -> R<T> {
    let indices = match indices.dtype {
        DType::I32 | DType::I64 => indices.clone(),
        _ => cx.cast(indices, DType::I64)?,
    };
    counted(cx, &indices, &int_tensor(&[], &[extent as i64]))
}

/// As [`from_start`] for tuples of indices along the last axis, into these axes of `x`.
pub(super) fn tuples_from_start(cx: &mut Emitter, indices: &T, x: &T, first: usize) -> R<T> {
    let Some(Extent::Fixed(count)) = indices.dims.last() else {
        return Err(invalid("expected indices with a known last axis"));
    };
    let mut extents = Vec::new();
    for axis in 0..*count {
        let axis = usize::try_from(axis).unwrap_or(usize::MAX).saturating_add(first);
        extents.push(x.extent(axis)? as i64);
    }
    counted(cx, indices, &int_vector(&extents))
}

fn gather(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let axis = axis_of(cx.attr_int("axis", 0)?, x.rank())?;
    let indices = from_start(cx, indices, x.extent(axis)?)?;
    one(cx.gather(x, &indices, axis)?)
}

fn gather_elements(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let axis = axis_of(cx.attr_int("axis", 0)?, x.rank())?;
    let indices = from_start(cx, indices, x.extent(axis)?)?;
    one(cx.gather_elements(x, &indices, axis)?)
}

fn gather_nd(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let batch_dims = cx.attr_int("batch_dims", 0)?;
    let first = usize::try_from(batch_dims).ok().filter(|&first| first < x.rank());
    let first = first.ok_or_else(|| {
        invalid(format!("batch_dims: expected less than rank {}, got {batch_dims}", x.rank()))
    })?;
    let indices = tuples_from_start(cx, indices, x, first)?;
    one(cx.gather_nd(x, &indices, first as u32)?)
}

/// Where `x` is not zero: i64 [rank, found].
pub(super) fn places(cx: &mut Emitter, x: &T) -> R<T> {
    let found = cx.keep(|cx| cx.non_zero(x).map(|(indices, count)| vec![indices, count]))?;
    let [indices, count] = found.as_slice() else { return Err(invalid("expected two tensors")) };
    let count = u64::try_from(cx.int(count)?).map_err(|_| invalid("a negative count"))?;
    cx.slice(indices, 1, (0, count), 1)
}

fn non_zero(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    one(places(cx, inputs.tensor(0)?)?)
}

fn compress(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, condition) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let (x, axis) = match cx.attr_int_opt("axis")? {
        Some(axis) => (x.clone(), axis_of(axis, x.rank())?),
        None => (flat(cx, x)?, 0),
    };
    let condition = flat(cx, condition)?;
    let indices = places(cx, &condition)?;
    let indices = cx.squeeze(&indices, 0)?;
    one(cx.gather(&x, &indices, axis)?)
}

/// All elements along one axis.
pub(super) fn flat(cx: &mut Emitter, x: &T) -> R<T> {
    let elements = x.elements()?;
    cx.reshape_to(x, &[elements])
}

fn one_hot(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (indices, depth, values) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    let depth = cx.int(depth)?;
    let depth = u64::try_from(depth).map_err(|_| invalid(format!("a depth of {depth}")))?;
    let axis = axis_of(cx.attr_int("axis", -1)?, indices.rank() + 1)?;
    if values.fixed().as_deref() != Some(&[2]) {
        return Err(invalid("values: expected the two values for off and on"));
    }
    let indices = cx.cast(indices, DType::I64)?;
    let indices = from_start(cx, &indices, depth)?;
    let hot = cx.one_hot(&indices, depth, DType::Bool)?;
    let (_, back) = super::reduce::to_end(axis, hot.rank());
    let hot = cx.transpose(&hot, &back)?;
    let (off, on) = (cx.slice(values, 0, (0, 1), 1)?, cx.slice(values, 0, (1, 2), 1)?);
    one(cx.select(&hot, &on, &off)?)
}

/// Within each sequence, step `t` takes step `len - 1 - t`; those behind its end stay.
fn reverse_sequence(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, lens) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let batch = axis_of(cx.attr_int("batch_axis", 1)?, x.rank())?;
    let time = axis_of(cx.attr_int("time_axis", 0)?, x.rank())?;
    if x.rank() < 2 || batch == time || lens.rank() != 1 {
        return Err(invalid("expected two axes for batch and time, and one length a sequence"));
    }
    let rest = (0..x.rank()).filter(|&axis| axis != batch && axis != time);
    let there: Vec<usize> = [batch, time].into_iter().chain(rest).collect();
    let mut back = vec![0; x.rank()];
    for (to, &from) in there.iter().enumerate() {
        back[from] = to;
    }
    let steps = cx.count_up(x.extent(time)?)?;
    let lens = cx.cast(lens, DType::I64)?;
    let lens = cx.unsqueeze(&lens, 1)?;
    let inside = cx.less(&steps, &lens)?;
    let last = cx.add_number(&lens, -1.0)?;
    let mirrored = cx.sub(&last, &steps)?;
    let from = cx.select(&inside, &mirrored, &steps)?;
    let from = cx.unsqueeze(&from, 2)?;
    let sequences = cx.transpose(x, &there)?;
    let reversed = cx.gather_nd(&sequences, &from, 1)?;
    one(cx.transpose(&reversed, &back)?)
}
