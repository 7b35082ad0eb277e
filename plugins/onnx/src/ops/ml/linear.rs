//! Linear models.

use super::classes::{Labels, Transform, add_columns};
use super::{Table, floats, matrix, one};
use crate::content::{number_tensor, scalar};
use crate::node::{Cx, Inputs};
use crate::value::{R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table =
    &[("LinearClassifier", linear_classifier), ("LinearRegressor", linear_regressor)];

fn widened(values: Option<&[f32]>) -> Vec<f64> {
    values.unwrap_or_default().iter().map(|&value| value.into()).collect()
}

/// `x · coefficientsᵀ + intercepts`: [n, rows] from coefficients of `rows` rows.
fn scores(cx: &mut Cx<'_>, x: &T, rows: Option<u64>) -> R<T> {
    let coefficients = widened(cx.attr_floats_opt("coefficients")?);
    let features = x.extent(1)?;
    let rows = match rows {
        Some(rows) => rows,
        None => (coefficients.len() as u64).checked_div(features).unwrap_or(0),
    };
    if features.checked_mul(rows) != Some(coefficients.len() as u64) || rows == 0 {
        let got = coefficients.len();
        return Err(invalid(format!("expected {rows} x {features} coefficients, got {got}")));
    }
    let (rows, features) = (rows as usize, features as usize);
    let transposed: Vec<f64> = (0..features)
        .flat_map(|feature| (0..rows).map(move |row| row * features + feature))
        .map(|index| coefficients[index])
        .collect();
    let weights = number_tensor(x.dtype, &[features as u64, rows as u64], &transposed)?;
    let scores = cx.matmul(x, &weights)?;
    let intercepts = widened(cx.attr_floats_opt("intercepts")?);
    add_columns(cx, &scores, &intercepts)
}

fn linear_classifier(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = matrix(cx, inputs.tensor(0)?)?;
    let x = floats(cx, &x)?;
    let transform = Transform::of(cx)?;
    let labels = Labels::of(cx, "classlabels_ints", "classlabels_strings")?;
    let scores = scores(cx, &x, None)?;
    let scores = cx.cast(&scores, DType::F32)?;
    if scores.extent(1)? == 1 && labels.len() == 2 {
        let zero = scalar(DType::F32, 0.0)?;
        let second = cx.greater(&scores, &zero)?;
        let label = labels.choose(cx, &second)?;
        return Ok(vec![label, transform.pair(cx, &scores, true)?.into()]);
    }
    if scores.extent(1)? > labels.len() as u64 {
        let (expected, got) = (scores.extent(1)?, labels.len());
        return Err(invalid(format!("expected {expected} labels, got {got}")));
    }
    let label = labels.top(cx, &scores)?;
    Ok(vec![label, transform.apply(cx, &scores)?.into()])
}

fn linear_regressor(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = matrix(cx, inputs.tensor(0)?)?;
    let x = floats(cx, &x)?;
    let transform = Transform::of(cx)?;
    let targets = u64::try_from(cx.attr_int("targets", 1)?).unwrap_or(0);
    let scores = scores(cx, &x, Some(targets))?;
    let scores = cx.cast(&scores, DType::F32)?;
    one(transform.apply(cx, &scores)?)
}
