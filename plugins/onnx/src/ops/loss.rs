//! Losses.

use super::Table;
use crate::content::scalar;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid};

pub(super) const TABLE: Table = &[
    ("NegativeLogLikelihoodLoss", |cx, x| {
        let loss = likelihood_loss(cx, x.tensor(0)?, x.tensor(1)?, x.tensor_opt(2)?)?;
        super::one(loss)
    }),
    ("SoftmaxCrossEntropyLoss", softmax_cross_entropy),
];

fn softmax_cross_entropy(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let scores = inputs.tensor(0)?;
    if scores.rank() < 2 {
        return Err(invalid(format!("expected [N, C, ..], got rank {}", scores.rank())));
    }
    let likelihoods = cx.log_softmax(scores, 1)?;
    let loss = likelihood_loss(cx, &likelihoods, inputs.tensor(1)?, inputs.tensor_opt(2)?)?;
    Ok(vec![loss.into(), likelihoods.into()])
}

/// `-x[n, target, ..] * weight[target]`, reduced; targets of `ignore_index` count nothing.
fn likelihood_loss(cx: &mut Cx<'_>, x: &T, target: &T, weight: Option<&T>) -> R<T> {
    if x.rank() < 2 || target.rank() + 1 != x.rank() {
        let got = format!("ranks {} and {}", x.rank(), target.rank());
        return Err(invalid(format!("expected [N, C, ..] and [N, ..], got {got}")));
    }
    let (mut target, mut counts) = (target.clone(), None);
    if let Some(ignored) = cx.attr_int_opt("ignore_index")? {
        let ignored = scalar(target.dtype, ignored as f64)?;
        let zero = scalar(target.dtype, 0.0)?;
        let counted = cx.not_equal(&target, &ignored)?;
        target = cx.select(&counted, &target, &zero)?;
        counts = Some(cx.cast(&counted, x.dtype)?);
    }
    let column = {
        let mut dims = target.dims.clone();
        dims.insert(1, Extent::Fixed(1));
        cx.reshape(&target, &dims)?
    };
    let chosen = cx.gather_elements(x, &column, 1)?;
    let chosen = cx.reshape(&chosen, &target.dims)?;
    let mut loss = cx.neg(&chosen)?;
    if let Some(weight) = weight {
        let own = cx.gather(weight, &target, 0)?;
        counts = Some(match counts {
            Some(counts) => cx.mul(&counts, &own)?,
            None => own,
        });
    }
    if let Some(counts) = &counts {
        let zero = scalar(x.dtype, 0.0)?;
        let none = cx.equal(counts, &zero)?;
        let weighted = cx.mul(&loss, counts)?;
        loss = cx.select(&none, &zero, &weighted)?;
    }
    let axes: Vec<usize> = (0..loss.rank()).collect();
    match (cx.attr_text("reduction", "mean")?, counts) {
        ("none", _) => Ok(loss),
        ("sum", _) => cx.reduce_sum(&loss, &axes, false),
        ("mean", None) => cx.reduce_mean(&loss, &axes, false),
        ("mean", Some(counts)) => {
            let sum = cx.reduce_sum(&loss, &axes, false)?;
            let counts = cx.reduce_sum(&counts, &axes, false)?;
            cx.div(&sum, &counts)
        }
        (other, _) => Err(invalid(format!("reduction: got `{other}`"))),
    }
}
