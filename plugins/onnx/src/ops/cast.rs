//! Conversions between element types.

use super::reduce::is_float;
use super::{Table, one};
use crate::emit::Emitter;
use crate::node::Cx;
use crate::proto::ElementType;
use crate::value::{R, T, TensorValue, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("BitCast", |cx, x| {
        let to = target(cx)?;
        one(bit_cast(cx, x.tensor(0)?, to)?)
    }),
    ("Cast", |cx, x| {
        let to = target(cx)?;
        let saturate = cx.attr_int("saturate", 1)? != 0;
        one(convert(cx, x.tensor(0)?, to, saturate)?)
    }),
    ("CastLike", |cx, x| {
        let saturate = cx.attr_int("saturate", 1)? != 0;
        one(convert(cx, x.tensor(0)?, x.tensor(1)?.dtype, saturate)?)
    }),
];

fn target(cx: &Cx<'_>) -> R<DType> {
    let to = cx.attr_int_opt("to")?.ok_or_else(|| invalid("attribute to: expected a type"))?;
    let to = ElementType(to);
    to.dtype().ok_or_else(|| unsupported(format!("elements of type {}", to.name())))
}

/// The largest number of an 8-bit float.
fn largest(dtype: DType) -> Option<f64> {
    match dtype {
        DType::F8E4m3 => Some(448.0),
        DType::F8E4m3Fnuz => Some(240.0),
        DType::F8E5m2 | DType::F8E5m2Fnuz => Some(57_344.0),
        _ => None,
    }
}

/// Converts every element; with `saturate`, what is too large for an 8-bit float is its largest
/// number.
pub(super) fn convert(cx: &mut Emitter, x: &T, to: DType, saturate: bool) -> R<T> {
    if x.dtype == to {
        return Ok(x.clone());
    }
    match (x.dtype, to) {
        (DType::Bytes, to) => return super::text_cast::from_texts(cx, x, to, saturate),
        (_, DType::Bytes) => return super::text_cast::to_texts(cx, x),
        _ => {}
    }
    match largest(to).filter(|_| saturate) {
        Some(largest) => {
            let wide = if is_float(x.dtype) { x.dtype } else { DType::F64 };
            let x = cx.cast(x, wide)?;
            let x = cx.clamp(&x, -largest, largest)?;
            cx.cast(&x, to)
        }
        None => cx.cast(x, to),
    }
}

fn bit_cast(cx: &mut Emitter, x: &T, to: DType) -> R<T> {
    if matches!(x.dtype, DType::I4 | DType::U4) && matches!(to, DType::I4 | DType::U4) {
        let content = cx.content(x)?;
        return Ok(TensorValue::of_bytes(to, &x.shape()?, content.to_vec()));
    }
    cx.bitcast(x, to)
}
