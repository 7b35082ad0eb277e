//! Feature preparation.

use super::{Table, floats, one};
use crate::content::{number_tensor, scalar};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, TensorValue, Value, invalid};
use aimass_sdk::DType;
use aimass_sdk::graph::PadMode;

pub(super) const TABLE: Table = &[
    ("ArrayFeatureExtractor", array_feature_extractor),
    ("Binarizer", |cx, inputs| {
        let x = inputs.tensor(0)?;
        // The threshold is a float; whole numbers are compared with it as they are.
        let threshold = scalar(DType::F64, cx.attr_float("threshold", 0.0)?.into())?;
        let above = match x.dtype {
            DType::F32 => {
                let threshold = cx.cast(&threshold, DType::F32)?;
                cx.greater(x, &threshold)?
            }
            _ => {
                let wide = cx.cast(x, DType::F64)?;
                cx.greater(&wide, &threshold)?
            }
        };
        one(cx.cast(&above, x.dtype)?)
    }),
    ("FeatureVectorizer", feature_vectorizer),
    ("Imputer", imputer),
    ("Normalizer", normalizer),
    ("Scaler", scaler),
];

/// Elements of the last axis at these indices; a vector gives a matrix of one row.
fn array_feature_extractor(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let Some(axis) = x.rank().checked_sub(1) else {
        return Err(invalid("expected a tensor with at least one axis"));
    };
    let count = indices.elements()?;
    let indices = cx.reshape_to(indices, &[count])?;
    let picked = cx.gather(x, &indices, axis)?;
    match axis {
        0 => one(cx.unsqueeze(&picked, 0)?),
        _ => one(picked),
    }
}

fn feature_vectorizer(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let widths = cx.attr_ints_opt("inputdimensions")?.unwrap_or_default();
    let mut parts = Vec::with_capacity(inputs.len());
    for (index, x) in inputs.tensors()?.into_iter().enumerate() {
        let x = match x.rank() {
            1 => cx.unsqueeze(x, 0)?,
            2 => x.clone(),
            rank => return Err(invalid(format!("expected a matrix, got rank {rank}"))),
        };
        let x = cx.cast(&x, DType::F32)?;
        let own = x.extent(1)?;
        let width = widths.get(index).map_or(Ok(own), |&width| u64::try_from(width));
        let width = width.map_err(|_| invalid("inputdimensions: a negative extent"))?;
        parts.push(match width {
            width if width < own => cx.slice(&x, 1, (0, width), 1)?,
            width if width > own => {
                cx.pad(&x, (&[0, 0], &[0, width - own]), PadMode::Constant, 0.0)?
            }
            _ => x,
        });
    }
    if parts.is_empty() {
        return Err(invalid("expected at least one input"));
    }
    one(cx.concat(&parts.iter().collect::<Vec<_>>(), 1)?)
}

/// Values of an attribute as a tensor that broadcasts along the last axis of `x`.
fn row(x: &T, values: &[f64], what: &str) -> R<T> {
    let features = match x.dims.last() {
        Some(Extent::Fixed(extent)) => *extent,
        Some(Extent::Batch) | None => 1,
    };
    match values.len() as u64 {
        1 => scalar(x.dtype, values[0]),
        len if len == features => number_tensor(x.dtype, &[features], values),
        len => Err(invalid(format!("{what}: expected 1 or {features} values, got {len}"))),
    }
}

fn imputer(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let whole = !matches!(x.dtype, DType::F32 | DType::F64 | DType::F16);
    if whole {
        let values = cx.attr_ints_opt("imputed_value_int64s")?.unwrap_or_default();
        let values = whole_row(x, values)?;
        let replaced = whole_row(x, &[cx.attr_int("replaced_value_int64", 0)?])?;
        let missing = cx.equal(x, &replaced)?;
        return one(cx.select(&missing, &values, x)?);
    }
    let values = cx.attr_floats_opt("imputed_value_floats")?.unwrap_or_default();
    let values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
    let values = row(x, &values, "imputed_value_floats")?;
    let replaced = cx.attr_float("replaced_value_float", 0.0)?;
    let missing = if replaced.is_nan() {
        cx.is_nan(x)?
    } else {
        let replaced = scalar(x.dtype, replaced.into())?;
        cx.equal(x, &replaced)?
    };
    one(cx.select(&missing, &values, x)?)
}

/// As [`row`] for whole numbers of up to 64 bits, exactly.
fn whole_row(x: &T, values: &[i64]) -> R<T> {
    let features = x.dims.last().and_then(super::super::shape::fixed).unwrap_or(1);
    let size = x.dtype.element_bytes().ok_or_else(|| invalid("expected whole numbers"))? as usize;
    let bytes = values.iter().flat_map(|v| v.to_le_bytes().into_iter().take(size)).collect();
    match values.len() as u64 {
        1 => Ok(TensorValue::of_bytes(x.dtype, &[], bytes)),
        len if len == features => Ok(TensorValue::of_bytes(x.dtype, &[features], bytes)),
        len => Err(invalid(format!("imputed_value_int64s: expected 1 or {features}, got {len}"))),
    }
}

/// Divides each row by its norm; a row whose norm is 0 stays.
fn normalizer(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = cx.cast(inputs.tensor(0)?, DType::F32)?;
    let axis = match x.rank() {
        rank @ (1 | 2) => rank - 1,
        rank => return Err(invalid(format!("expected a vector or a matrix, got rank {rank}"))),
    };
    let norm = match cx.attr_text("norm", "MAX")? {
        "MAX" => cx.reduce_max(&x, &[axis], true)?,
        "L1" => {
            let magnitude = cx.abs(&x)?;
            cx.reduce_sum(&magnitude, &[axis], true)?
        }
        "L2" => {
            let square = cx.mul(&x, &x)?;
            let sum = cx.reduce_sum(&square, &[axis], true)?;
            cx.sqrt(&sum)?
        }
        other => return Err(invalid(format!("norm: expected MAX, L1 or L2, got {other}"))),
    };
    let (zero, unit) = (scalar(DType::F32, 0.0)?, scalar(DType::F32, 1.0)?);
    let empty = cx.equal(&norm, &zero)?;
    let divisor = cx.select(&empty, &unit, &norm)?;
    one(cx.div(&x, &divisor)?)
}

/// `(x - offset) * scale`.
fn scaler(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = floats(cx, inputs.tensor(0)?)?;
    let values = |name: &str, default: f64| -> R<Vec<f64>> {
        let values = cx.attr_floats_opt(name)?.unwrap_or_default();
        match values.is_empty() {
            true => Ok(vec![default]),
            false => Ok(values.iter().map(|&value| value.into()).collect()),
        }
    };
    let (offset, scale) = (values("offset", 0.0)?, values("scale", 1.0)?);
    let (offset, scale) = (row(&x, &offset, "offset")?, row(&x, &scale, "scale")?);
    let moved = cx.sub(&x, &offset)?;
    let scaled = cx.mul(&moved, &scale)?;
    one(cx.cast(&scaled, DType::F32)?)
}
