//! Texts under operators that only move or compare elements.
//!
//! Texts never enter a graph. Such an operator runs on their ranks instead, numbers with the order and
//! the equality of the texts, and its answer is read back as texts.

use super::Lowering;
use crate::content::int_tensor;
use crate::node::{Cx, Inputs};
use crate::value::{R, T, TensorValue, Value};
use aimass_sdk::DType;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Operators that need no more of their elements than rank.
const MOVERS: &[&str] = &[
    "CenterCropPad",
    "Compress",
    "DepthToSpace",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "OneHot",
    "Pad",
    "Reshape",
    "ReverseSequence",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "Slice",
    "SpaceToDepth",
    "Split",
    "SplitToSequence",
    "Squeeze",
    "TensorScatter",
    "Tile",
    "Transpose",
    "Unique",
    "Unsqueeze",
    "Where",
];

/// Whether this operator has texts among its inputs and runs on their ranks.
pub(super) fn apply(domain: &str, op: &str, inputs: Inputs<'_>) -> bool {
    let moves = match domain {
        "" => MOVERS.contains(&op),
        _ => op == "ArrayFeatureExtractor",
    };
    let text = |value: &Option<Value>| matches!(value, Some(Value::Tensor(tensor)) if tensor.dtype == DType::Bytes);
    moves && inputs.0.iter().any(text)
}

/// Runs the lowering on the ranks of all inputs that are texts.
pub(super) fn run(cx: &mut Cx<'_>, inputs: Inputs<'_>, lowering: Lowering) -> R<Vec<Value>> {
    let texts: Vec<&T> = inputs
        .0
        .iter()
        .filter_map(|value| match value {
            Some(Value::Tensor(tensor)) if tensor.dtype == DType::Bytes => Some(tensor),
            _ => None,
        })
        .collect();
    cx.observe(&texts)?;
    let mut lists = Vec::with_capacity(texts.len());
    for text in &texts {
        lists.push(cx.strings(text)?);
    }
    let ranks = Ranks::of(lists.iter().flat_map(|list| list.iter()));
    let mut replaced = Vec::with_capacity(inputs.len());
    let mut lists = lists.iter();
    for value in inputs.0 {
        replaced.push(match value {
            Some(Value::Tensor(tensor)) if tensor.dtype == DType::Bytes => {
                let list = lists.next().map_or(&[][..], |list| list.as_slice());
                let numbers: Vec<i64> = list.iter().map(|text| ranks.rank(text)).collect();
                Some(int_tensor(&tensor.shape()?, &numbers).into())
            }
            other => other.clone(),
        });
    }
    let mut outputs = lowering(cx, Inputs(&replaced))?;
    // The other outputs of `Unique` are places and counts.
    let of_texts = if cx.node.op == "Unique" { 1 } else { outputs.len() };
    let mut numbers = Vec::new();
    outputs[..of_texts.min(outputs.len())].iter().for_each(|value| collect(value, &mut numbers));
    let numbers = cx.keep(|_| Ok(numbers))?;
    cx.observe(&numbers.iter().collect::<Vec<_>>())?;
    let mut back = Vec::with_capacity(numbers.len());
    for tensor in &numbers {
        let list = cx.ints(tensor)?.into_iter().map(|rank| ranks.text(rank)).collect();
        back.push(TensorValue::of_strings(&tensor.shape()?, list));
    }
    let mut back = back.into_iter();
    for value in outputs.iter_mut().take(of_texts) {
        *value = replace(value, &mut back);
    }
    Ok(outputs)
}

/// The tensors of ranks in a value.
fn collect(value: &Value, into: &mut Vec<T>) {
    match value {
        Value::Tensor(tensor) if tensor.dtype == DType::I64 => into.push(tensor.clone()),
        Value::Tensor(_) | Value::Optional(None) => {}
        Value::Sequence(values) => values.iter().for_each(|value| collect(value, into)),
        Value::Optional(Some(value)) => collect(value, into),
    }
}

/// The value with those of [`collect`] replaced, in its order.
fn replace(value: &Value, with: &mut impl Iterator<Item = T>) -> Value {
    match value {
        Value::Tensor(tensor) if tensor.dtype == DType::I64 => match with.next() {
            Some(tensor) => Value::Tensor(tensor),
            None => value.clone(),
        },
        Value::Tensor(_) | Value::Optional(None) => value.clone(),
        Value::Sequence(values) => {
            Value::Sequence(Rc::new(values.iter().map(|value| replace(value, with)).collect()))
        }
        Value::Optional(Some(value)) => Value::Optional(Some(Rc::new(replace(value, with)))),
    }
}

/// Texts in their order, each once. The first is the empty one: what a fill of zeros stands for.
struct Ranks(Vec<Vec<u8>>);

impl Ranks {
    fn of<'a>(texts: impl Iterator<Item = &'a Vec<u8>>) -> Ranks {
        let empty = Vec::new();
        let mut all: BTreeSet<&Vec<u8>> = texts.collect();
        all.insert(&empty);
        Ranks(all.into_iter().cloned().collect())
    }

    fn rank(&self, text: &Vec<u8>) -> i64 {
        self.0.binary_search(text).map_or(0, |rank| rank as i64)
    }

    fn text(&self, rank: i64) -> Vec<u8> {
        usize::try_from(rank).ok().and_then(|rank| self.0.get(rank)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_have_the_order_and_the_equality_of_the_texts() {
        let texts: Vec<Vec<u8>> = ["b", "a", "b", "é"].map(|text| text.as_bytes().to_vec()).into();
        let ranks = Ranks::of(texts.iter());
        let numbers: Vec<i64> = texts.iter().map(|text| ranks.rank(text)).collect();
        assert_eq!(numbers, [2, 1, 2, 3]);
        assert_eq!(ranks.text(3), "é".as_bytes());
        assert_eq!((ranks.text(0), ranks.text(-1), ranks.text(9)), (vec![], vec![], vec![]));
    }
}
