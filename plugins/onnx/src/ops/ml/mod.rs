//! Operators of `ai.onnx.ml`.

mod classes;
mod encode;
mod features;
mod forest;
mod linear;
mod mapping;
mod svm;
mod trees;

use super::{Table, one};
use crate::node::Cx;
use crate::value::{R, T, invalid, unsupported};
use aimass_sdk::DType;

/// The families of the domain.
pub(super) const TABLES: &[Table] =
    &[encode::TABLE, features::TABLE, linear::TABLE, svm::TABLE, trees::TABLE, MAPS];

/// Operators on maps, which no model of this plugin has.
const MAPS: Table = &[
    ("CastMap", |_, _| Err(unsupported("maps; expected tensors"))),
    ("DictVectorizer", |_, _| Err(unsupported("maps; expected tensors"))),
    ("ZipMap", |_, _| {
        Err(unsupported(
            "a sequence of maps; expected a tensor of scores (skl2onnx: options `zipmap=False`)",
        ))
    }),
];

/// The input as floats: f64 stays, all else becomes f32.
fn floats(cx: &mut Cx<'_>, x: &T) -> R<T> {
    match x.dtype {
        DType::F64 => Ok(x.clone()),
        _ => cx.cast(x, DType::F32),
    }
}

/// A batch of feature vectors: [features] becomes [1, features].
fn matrix(cx: &mut Cx<'_>, x: &T) -> R<T> {
    match x.rank() {
        1 => cx.unsqueeze(x, 0),
        2 => Ok(x.clone()),
        rank => Err(invalid(format!("expected a matrix, got a tensor of rank {rank}"))),
    }
}
