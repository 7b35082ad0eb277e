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
use crate::node::{Cx, Inputs};
use crate::value::{R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

/// The families of the domain.
pub(super) const TABLES: &[Table] =
    &[encode::TABLE, features::TABLE, linear::TABLE, svm::TABLE, trees::TABLE, MAPS];

/// Operators on maps. No value of this plugin is one: the scores of a `ZipMap` stay the tensor that they are.
const MAPS: Table = &[
    ("CastMap", |_, _| Err(unsupported("maps; expected tensors"))),
    ("DictVectorizer", |_, _| Err(unsupported("maps; expected tensors"))),
    ("ZipMap", zip_map),
];

/// The scores, one a class in the order of the labels.
fn zip_map(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let scores = inputs.tensor(0)?;
    let ints = cx.attr_ints_opt("classlabels_int64s")?.map(<[i64]>::len);
    let texts = cx.attr_texts_opt("classlabels_strings")?.map(<[Vec<u8>]>::len);
    let labels = ints.or(texts).ok_or_else(|| invalid("expected labels of the classes"))? as u64;
    let last =
        scores.rank().checked_sub(1).ok_or_else(|| invalid("expected scores, got one number"))?;
    match scores.extent(last)? {
        own if own == labels => one(cx.cast(scores, DType::F32)?),
        own => Err(invalid(format!("expected {own} labels for as many scores, got {labels}"))),
    }
}

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
