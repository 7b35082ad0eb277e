//! Softmax and its like.

use super::{Table, one};
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, T, Value};

pub(super) const TABLE: Table = &[
    ("Hardmax", |cx, x| along(cx, x, hardmax)),
    ("LogSoftmax", |cx, x| along(cx, x, |cx, x, axis| cx.log_softmax(x, axis))),
    ("Softmax", |cx, x| along(cx, x, |cx, x, axis| cx.softmax(x, axis))),
];

/// Along one axis, or before opset 13 along all axes from one on as if they were one.
fn along(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    op: fn(&mut Cx<'_>, &T, usize) -> R<T>,
) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let default = if cx.opset < 13 { 1 } else { -1 };
    let axis = cx.attr_int("axis", default)?;
    if x.rank() == 0 {
        let line = cx.reshape_to(x, &[1])?;
        let y = op(cx, &line, 0)?;
        return one(cx.reshape_to(&y, &[])?);
    }
    // Before opset 13 the axis may be the rank, and the default is.
    let axis = if cx.opset < 13 && axis == x.rank() as i64 {
        None
    } else {
        Some(axis_of(axis, x.rank())?)
    };
    let Some(axis) = axis else {
        let mut dims = x.dims.clone();
        dims.push(Extent::Fixed(1));
        let columns = cx.reshape(x, &dims)?;
        let y = op(cx, &columns, x.rank())?;
        return one(cx.reshape(&y, &x.dims)?);
    };
    if cx.opset >= 13 || x.dims[axis + 1..].iter().all(|dim| *dim == Extent::Fixed(1)) {
        return one(op(cx, x, axis)?);
    }
    let mut elements = 1u64;
    for index in axis..x.rank() {
        elements = elements.saturating_mul(x.extent(index)?);
    }
    let mut dims = x.dims[..axis].to_vec();
    dims.push(Extent::Fixed(elements));
    let flat = cx.reshape(x, &dims)?;
    let y = op(cx, &flat, axis)?;
    one(cx.reshape(&y, &x.dims)?)
}

/// 1 at the first largest element, 0 elsewhere.
fn hardmax(cx: &mut Cx<'_>, x: &T, axis: usize) -> R<T> {
    let largest = cx.arg_max(x, axis, true)?;
    let mut dims = vec![Extent::Fixed(1); x.rank()];
    dims[axis] = Extent::Fixed(x.extent(axis)?);
    let places = cx.iota(&dims, axis)?;
    let is_largest = cx.equal(&places, &largest)?;
    cx.cast(&is_largest, x.dtype)
}
