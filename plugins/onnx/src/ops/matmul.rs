//! Matrix products.

use super::{Table, one};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid};

pub(super) const TABLE: Table =
    &[("Gemm", gemm), ("MatMul", |cx, x| one(product(cx, x.tensor(0)?, x.tensor(1)?)?))];

/// Matrix product; the host packs a constant matrix on the right.
pub(super) fn product(cx: &mut Cx<'_>, x: &T, y: &T) -> R<T> {
    if x.rank() == 0 || y.rank() == 0 {
        return Err(invalid("expected two tensors of at least one axis"));
    }
    if !is_matrix(y) {
        return cx.matmul(x, y);
    }
    // Weights that the model transposes first are read as they lie.
    match cx.transposed_from(y) {
        Some((source, _)) => cx.linear(x, &source, None, true),
        None => cx.linear(x, y, None, false),
    }
}

/// Whether a tensor may be the weights of a linear layer.
pub(super) fn is_matrix(w: &T) -> bool {
    w.rank() == 2 && w.fixed().is_some()
}

fn gemm(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (a, b, c) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
    if a.rank() != 2 || b.rank() != 2 {
        return Err(invalid(format!(
            "expected two matrices, got ranks {}, {}",
            a.rank(),
            b.rank()
        )));
    }
    let (alpha, beta) = (cx.attr_float("alpha", 1.0)?, cx.attr_float("beta", 1.0)?);
    let (trans_a, trans_b) = (cx.attr_flag("transA")?, cx.attr_flag("transB")?);
    let c = match c.filter(|_| beta != 0.0) {
        Some(c) if beta != 1.0 => Some(cx.mul_number(c, beta.into())?),
        c => c.cloned(),
    };
    let a = if trans_a { cx.transpose(a, &[1, 0])? } else { a.clone() };
    let columns = b.dims[usize::from(!trans_b)];
    let row = match &c {
        Some(c) if alpha == 1.0 && is_row(c, columns) => Some(cx.reshape(c, &[columns])?),
        _ => None,
    };
    let product = match b.fixed() {
        Some(_) => cx.linear(&a, b, row.as_ref(), trans_b)?,
        None if trans_b => {
            let b = cx.transpose(b, &[1, 0])?;
            cx.matmul(&a, &b)?
        }
        None => cx.matmul(&a, b)?,
    };
    let scaled = match alpha == 1.0 {
        true => product,
        false => cx.mul_number(&product, alpha.into())?,
    };
    one(match c.filter(|_| row.is_none() || b.fixed().is_none()) {
        Some(c) => cx.add(&scaled, &c)?,
        None => scaled,
    })
}

/// Whether `c` is one number a column.
fn is_row(c: &T, columns: Extent) -> bool {
    columns != Extent::Batch
        && matches!(c.dims.as_slice(), [own] | [Extent::Fixed(1), own] if *own == columns)
}
