//! What classifiers and regressors share: labels, and what becomes of scores.

use crate::content::{int_vector, number_tensor, scalar};
use crate::node::Cx;
use crate::value::{R, T, TensorValue, Value, invalid};
use aimass_sdk::DType;

/// What becomes of raw scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    Nothing,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl Transform {
    /// The attribute `post_transform`, a text or a number.
    pub(super) fn of(cx: &Cx<'_>) -> R<Transform> {
        Ok(match cx.attr_text("post_transform", "NONE")? {
            "NONE" => Transform::Nothing,
            "SOFTMAX" => Transform::Softmax,
            "LOGISTIC" => Transform::Logistic,
            "SOFTMAX_ZERO" => Transform::SoftmaxZero,
            "PROBIT" => Transform::Probit,
            other => return Err(invalid(format!("post_transform: unknown transform {other}"))),
        })
    }

    /// As [`Transform::of`] where the attribute is a number.
    pub(super) fn of_number(cx: &Cx<'_>) -> R<Transform> {
        Ok(match cx.attr_int("post_transform", 0)? {
            0 => Transform::Nothing,
            1 => Transform::Softmax,
            2 => Transform::Logistic,
            3 => Transform::SoftmaxZero,
            4 => Transform::Probit,
            other => return Err(invalid(format!("post_transform: unknown transform {other}"))),
        })
    }

    /// Transforms scores [n, classes].
    pub(super) fn apply(self, cx: &mut Cx<'_>, scores: &T) -> R<T> {
        match self {
            Transform::Nothing => Ok(scores.clone()),
            Transform::Softmax => cx.softmax(scores, 1),
            Transform::Logistic => cx.sigmoid(scores),
            Transform::SoftmaxZero => softmax_zero(cx, scores),
            Transform::Probit => probit(cx, scores),
        }
    }

    /// Scores [n, 2] of two classes from those [n, 1] of the second: `[1 - s, s]` if they are
    /// probabilities, else `[-s, s]`.
    pub(super) fn pair(self, cx: &mut Cx<'_>, score: &T, probability: bool) -> R<T> {
        let second = match self {
            Transform::Logistic => cx.sigmoid(score)?,
            Transform::Probit => probit(cx, score)?,
            Transform::Nothing | Transform::Softmax | Transform::SoftmaxZero => score.clone(),
        };
        let opposite = cx.neg(&second)?;
        let first = match probability || self == Transform::Logistic {
            true => cx.add_number(&opposite, 1.0)?,
            false => opposite,
        };
        cx.concat(&[&first, &second], 1)
    }
}

/// A softmax in which zeros stay zeros.
fn softmax_zero(cx: &mut Cx<'_>, scores: &T) -> R<T> {
    let largest = cx.reduce_max(scores, &[1], true)?;
    let below = cx.sub(scores, &largest)?;
    let powers = cx.exp(&below)?;
    let magnitude = cx.abs(scores)?;
    let (tiny, zero) = (scalar(scores.dtype, 1e-7)?, scalar(scores.dtype, 0.0)?);
    let counts = cx.greater(&magnitude, &tiny)?;
    let powers = cx.select(&counts, &powers, &zero)?;
    let total = cx.reduce_sum(&powers, &[1], true)?;
    let shares = cx.div(&powers, &total)?;
    let none = cx.equal(&total, &zero)?;
    let half = scalar(scores.dtype, 0.5)?;
    cx.select(&none, &half, &shares)
}

/// The inverse of the normal distribution's integral, as ONNX Runtime approximates it.
fn probit(cx: &mut Cx<'_>, scores: &T) -> R<T> {
    let doubled = cx.mul_number(scores, 2.0)?;
    let x = cx.add_number(&doubled, -1.0)?;
    let square = cx.mul(&x, &x)?;
    let negative = cx.neg(&square)?;
    let rest = cx.add_number(&negative, 1.0)?;
    let log = cx.log(&rest)?;
    let half = cx.mul_number(&log, 0.5)?;
    let v = cx.add_number(&half, 2.0 / (std::f64::consts::PI * 0.147))?;
    let v2 = cx.mul_number(&log, 1.0 / 0.147)?;
    let v_square = cx.mul(&v, &v)?;
    let inner = cx.sub(&v_square, &v2)?;
    let root = cx.sqrt(&inner)?;
    let below = cx.sub(&root, &v)?;
    let magnitude = cx.sqrt(&below)?;
    let sign = cx.sign(&x)?;
    let inverse = cx.mul(&sign, &magnitude)?;
    cx.mul_number(&inverse, std::f64::consts::SQRT_2)
}

/// Names of classes.
pub(super) enum Labels {
    Numbers(Vec<i64>),
    Texts(Vec<Vec<u8>>),
}

impl Labels {
    /// The labels that one of two attributes lists.
    pub(super) fn of(cx: &Cx<'_>, numbers: &str, texts: &str) -> R<Labels> {
        if let Some(texts) = cx.attr_texts_opt(texts)?.filter(|texts| !texts.is_empty()) {
            return Ok(Labels::Texts(texts.to_vec()));
        }
        Ok(Labels::Numbers(cx.attr_ints_opt(numbers)?.unwrap_or_default().to_vec()))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Labels::Numbers(numbers) => numbers.len(),
            Labels::Texts(texts) => texts.len(),
        }
    }

    /// The labels of classes: `indices` is i64, each below the number of labels. Texts have to be
    /// known here, so that the indices are observed.
    pub(super) fn pick(&self, cx: &mut Cx<'_>, indices: &T) -> R<Value> {
        match self {
            Labels::Numbers(numbers) if numbers.iter().copied().eq(0..numbers.len() as i64) => {
                Ok(indices.clone().into())
            }
            Labels::Numbers(numbers) => Ok(cx.gather(&int_vector(numbers), indices, 0)?.into()),
            Labels::Texts(texts) => {
                let kept = cx.keep(|_| Ok(vec![indices.clone()]))?;
                let indices = &kept[0];
                let text = |index: i64| {
                    let text = usize::try_from(index).ok().and_then(|index| texts.get(index));
                    text.cloned().ok_or_else(|| invalid("a class has no label"))
                };
                let picked = cx.ints(indices)?.into_iter().map(text).collect::<R<_>>()?;
                Ok(TensorValue::of_strings(&indices.shape()?, picked).into())
            }
        }
    }

    /// The second label where `condition` [n, 1] holds, else the first: [n].
    pub(super) fn choose(&self, cx: &mut Cx<'_>, condition: &T) -> R<Value> {
        let flat = cx.squeeze(condition, 1)?;
        let index = cx.cast(&flat, DType::I64)?;
        self.pick(cx, &index)
    }

    /// The label of the largest score in each row of [n, classes]: [n].
    pub(super) fn top(&self, cx: &mut Cx<'_>, scores: &T) -> R<Value> {
        let index = cx.arg_max(scores, 1, false)?;
        self.pick(cx, &index)
    }
}

/// Adds one number a column, if there are any; one alone counts for all.
pub(super) fn add_columns(cx: &mut Cx<'_>, scores: &T, added: &[f64]) -> R<T> {
    let columns = scores.extent(1)?;
    match added.len() {
        0 => Ok(scores.clone()),
        1 => cx.add_number(scores, added[0]),
        len if len as u64 == columns => {
            let row = number_tensor(scores.dtype, &[columns], added)?;
            cx.add(scores, &row)
        }
        len => Err(invalid(format!("expected {columns} values to add, got {len}"))),
    }
}
