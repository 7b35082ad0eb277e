//! Operators that ONNX has under the same or another name, and those of classic models.

use crate::node::{Cx, Inputs};
use crate::ops::{Lowering, Table, lowerings, one};
use crate::value::{R, Value, invalid, unsupported};
use aimass_sdk::Error;

pub(super) const TABLE: Table = &[
    ("CDist", distances),
    ("ExpandDims", |cx, x| {
        let (x, axis) = (x.tensor(0)?, cx.int(x.tensor(1)?)?);
        one(cx.unsqueeze(x, crate::node::axis_of(axis, x.rank() + 1)?)?)
    }),
    ("GatherND", |cx, x| standard("GatherND")?(cx, x)),
    ("GridSample", |cx, x| standard("GridSample")?(cx, x)),
    ("Pad", |cx, x| standard("Pad")?(cx, x)),
    ("Range", |cx, x| standard("Range")?(cx, x)),
    ("Trilu", |cx, x| standard("Trilu")?(cx, x)),
    ("Unique", |cx, x| standard("Unique")?(cx, x)),
];

/// The operator of this name in ONNX's own domain.
fn standard(op: &'static str) -> R<Lowering> {
    let found = lowerings().get(&("", op)).copied();
    found.ok_or_else(|| Error::internal("onnx-op", format!("{op} has no lowering")).into())
}

/// Distances of the rows of one matrix, `[m, k]`, to those of another, `[n, k]`: `[m, n]`.
fn distances(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
    if a.rank() != 2 || b.rank() != 2 {
        return Err(invalid(format!("expected matrices, got ranks {} and {}", a.rank(), b.rank())));
    }
    let (left, right) = (cx.mul(a, a)?, cx.mul(b, b)?);
    let (left, right) = (cx.reduce_sum(&left, &[1], true)?, cx.reduce_sum(&right, &[1], false)?);
    let turned = cx.transpose(b, &[1, 0])?;
    let product = cx.matmul(a, &turned)?;
    let product = cx.mul_number(&product, -2.0)?;
    let sum = cx.add(&left, &right)?;
    let squares = cx.add(&sum, &product)?;
    // What rounds below nothing is nothing.
    let squares = cx.clamp(&squares, 0.0, f64::INFINITY)?;
    match cx.attr_text("metric", "sqeuclidean")? {
        "sqeuclidean" => one(squares),
        "euclidean" => one(cx.sqrt(&squares)?),
        other => Err(unsupported(format!("metric `{other}`; expected euclidean or sqeuclidean"))),
    }
}
