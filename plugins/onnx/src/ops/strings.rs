//! Operators on texts, which never leave the plugin.

use super::re2::FullMatch;
use super::{Table, one};
use crate::content::int_tensor;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{R, T, TensorValue, Value, invalid};
use aimass_sdk::{DType, Error};

pub(super) const TABLE: Table = &[
    ("RegexFullMatch", regex_full_match),
    ("StringConcat", string_concat),
    ("StringNormalizer", string_normalizer),
    ("StringSplit", string_split),
];

/// Elements of one tensor of texts that an operator makes.
const ELEMENTS_MAX: u64 = 4 << 20;

/// The texts of a tensor as UTF-8.
pub(super) fn utf8(text: &[u8]) -> R<&str> {
    std::str::from_utf8(text).map_err(|_| invalid("a text is not UTF-8"))
}

/// Refuses tensors of texts beyond what the plugin holds.
fn bounded(elements: u64) -> R<()> {
    if elements > ELEMENTS_MAX {
        let message = format!("expected at most {ELEMENTS_MAX} texts in a tensor, got {elements}");
        return Err(Error::limit("onnx-texts", message).into());
    }
    Ok(())
}

fn string_concat(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, y) = (inputs.tensor(0)?, inputs.tensor(1)?);
    cx.observe(&[x, y])?;
    let (shape, pairs) = broadcast(&x.shape()?, &y.shape()?)?;
    let (left, right) = (cx.strings(x)?, cx.strings(y)?);
    let joined = pairs.into_iter().map(|(a, b)| [&*left[a], &*right[b]].concat()).collect();
    one(TensorValue::of_strings(&shape, joined))
}

fn regex_full_match(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let pattern = FullMatch::of(cx.attr_text("pattern", "")?)?;
    let texts = cx.strings(x)?;
    let matches =
        texts.iter().map(|text| Ok(u8::from(pattern.matches(utf8(text)?)))).collect::<R<_>>()?;
    one(TensorValue::of_bytes(DType::Bool, &x.shape()?, matches))
}

/// Removes stop words, then changes case.
fn string_normalizer(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let shape = x.shape()?;
    if !matches!(shape.as_slice(), [_] | [1, _]) {
        return Err(invalid(format!("expected a shape of [C] or [1, C], got {shape:?}")));
    }
    let case = match cx.attr_text("case_change_action", "NONE")? {
        "NONE" => None,
        "LOWER" => Some(Case::Lower),
        "UPPER" => Some(Case::Upper),
        other => {
            return Err(invalid(format!("case_change_action: unknown action {other}")));
        }
    };
    let exact = cx.attr_flag("is_case_sensitive")?;
    let key = |text: &[u8]| -> R<String> {
        let text = utf8(text)?;
        Ok(if exact { text.to_owned() } else { Case::Lower.of(text) })
    };
    let stops = cx.attr_texts_opt("stopwords")?.unwrap_or_default();
    let stops: Vec<String> = stops.iter().map(|stop| key(stop)).collect::<R<_>>()?;
    let mut kept = Vec::new();
    for text in cx.strings(x)?.iter() {
        if !stops.contains(&key(text)?) {
            let text = utf8(text)?;
            kept.push(case.map_or_else(|| text.to_owned(), |case| case.of(text)).into_bytes());
        }
    }
    if kept.is_empty() {
        kept.push(Vec::new());
    }
    let mut shape = shape;
    if let Some(last) = shape.last_mut() {
        *last = kept.len() as u64;
    }
    one(TensorValue::of_strings(&shape, kept))
}

#[derive(Clone, Copy)]
enum Case {
    Lower,
    Upper,
}

impl Case {
    /// The text in this case, character by character; one that would become several stays.
    fn of(self, text: &str) -> String {
        let change = |char: char| {
            let (mut lower, mut upper) = (char.to_lowercase(), char.to_uppercase());
            let (first, more) = match self {
                Case::Lower => (lower.next(), lower.next()),
                Case::Upper => (upper.next(), upper.next()),
            };
            first.filter(|_| more.is_none()).unwrap_or(char)
        };
        text.chars().map(change).collect()
    }
}

fn string_split(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let delimiter = cx.attr_text("delimiter", "")?;
    let splits = cx.attr_int_opt("maxsplit")?.and_then(|splits| usize::try_from(splits).ok());
    let splits = splits.unwrap_or(usize::MAX - 1);
    let texts = cx.strings(x)?;
    let mut parts = Vec::with_capacity(texts.len());
    for text in texts.iter() {
        parts.push(split(utf8(text)?, delimiter, splits));
    }
    let most = parts.iter().map(Vec::len).max().unwrap_or(0);
    let counts: Vec<i64> = parts.iter().map(|parts| parts.len() as i64).collect();
    bounded((most as u64).saturating_mul(parts.len() as u64))?;
    let mut padded = Vec::with_capacity(most * parts.len());
    for parts in parts {
        let missing = most - parts.len();
        padded.extend(parts.into_iter().map(|part| part.as_bytes().to_vec()));
        padded.extend(std::iter::repeat_n(Vec::new(), missing));
    }
    let shape = x.shape()?;
    let mut split_shape = shape.clone();
    split_shape.push(most as u64);
    Ok(vec![
        TensorValue::of_strings(&split_shape, padded).into(),
        int_tensor(&shape, &counts).into(),
    ])
}

/// The parts of a text; an empty delimiter stands for any run of white space.
fn split<'a>(text: &'a str, delimiter: &str, splits: usize) -> Vec<&'a str> {
    if !delimiter.is_empty() {
        return text.splitn(splits.saturating_add(1), delimiter).collect();
    }
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).filter(|_| parts.len() < splits);
        let Some(end) = end else {
            parts.push(rest);
            break;
        };
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    parts
}

/// Joins tensors of texts along an axis.
pub(crate) fn concat_texts(emitter: &mut Emitter, tensors: &[&T], axis: usize) -> R<T> {
    emitter.observe(tensors)?;
    let first = tensors.first().ok_or_else(|| invalid("expected at least one tensor"))?;
    let mut shape = first.shape()?;
    let mut extent = 0u64;
    for tensor in tensors {
        let own = tensor.shape()?;
        let same = own.len() == shape.len()
            && (0..own.len()).all(|other| other == axis || own[other] == shape[other]);
        if !same || axis >= own.len() {
            return Err(invalid(format!("expected extents as {shape:?}, got {own:?}")));
        }
        extent = extent.saturating_add(own[axis]);
    }
    let outer = shape[..axis].iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    shape[axis] = extent;
    let elements = shape.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    bounded(elements)?;
    let mut joined = Vec::with_capacity(elements as usize);
    for row in 0..if elements == 0 { 0 } else { outer as usize } {
        for tensor in tensors {
            let own = emitter.strings(tensor)?;
            let run = own.len() / outer as usize;
            joined.extend_from_slice(&own[row * run..(row + 1) * run]);
        }
    }
    Ok(TensorValue::of_strings(&shape, joined))
}

/// The texts at one index of an axis, without the axis.
pub(crate) fn text_at(emitter: &mut Emitter, x: &T, axis: usize, index: u64) -> R<T> {
    let texts = emitter.strings(x)?;
    let mut shape = x.shape()?;
    let inner = shape[axis + 1..].iter().product::<u64>() as usize;
    let extent = shape.remove(axis) as usize;
    let start = index as usize * inner;
    let runs = texts.chunks(extent * inner.max(1)).map(|run| &run[start..start + inner]);
    let picked = if inner == 0 { Vec::new() } else { runs.flatten().cloned().collect() };
    Ok(TensorValue::of_strings(&shape, picked))
}

/// Which elements of two tensors meet.
type Pairs = Vec<(usize, usize)>;

/// The broadcast shape of two, and which elements of each meet.
fn broadcast(x: &[u64], y: &[u64]) -> R<(Vec<u64>, Pairs)> {
    let rank = x.len().max(y.len());
    let at = |shape: &[u64], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(index) => shape[index],
        None => 1,
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        shape.push(match (at(x, axis), at(y, axis)) {
            (a, b) if a == b => a,
            (1, other) | (other, 1) => other,
            (a, b) => return Err(invalid(format!("extents {a} and {b} do not broadcast"))),
        });
    }
    let elements = shape.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    bounded(elements)?;
    let index_in = |own: &[u64], mut flat: u64| {
        let (mut index, mut stride) = (0, 1);
        for axis in (0..rank).rev() {
            let (at_axis, extent) = (flat % shape[axis].max(1), at(own, axis));
            flat /= shape[axis].max(1);
            if extent != 1 {
                index += at_axis * stride;
            }
            stride *= extent;
        }
        index as usize
    };
    let pairs = (0..elements).map(|flat| (index_in(x, flat), index_in(y, flat))).collect();
    Ok((shape, pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_splits_once_a_run_and_delimiters_every_time() {
        let all = usize::MAX - 1;
        assert_eq!(split("  a b \t c ", "", all), ["a", "b", "c"]);
        assert_eq!(split(" a b  c ", "", 1), ["a", "b  c"]);
        assert_eq!(split("   ", "", all), [""; 0]);
        assert_eq!(split("", "", all), [""; 0]);
        assert_eq!(split("", "-", all), [""]);
        assert_eq!(split("o-n-n--x-", "-", all), ["o", "n", "n", "", "x", ""]);
        assert_eq!(split("a-b-c", "-", 1), ["a", "b-c"]);
        assert_eq!(split("a-b", "-", 0), ["a-b"]);
        assert_eq!(split("a b", "", 0), ["a b"]);
    }

    #[test]
    fn case_changes_keep_the_number_of_characters() {
        assert_eq!(Case::Upper.of("straße é"), "STRAßE É");
        assert_eq!(Case::Lower.of("ÄÉ İ"), "äé İ");
    }

    #[test]
    fn texts_broadcast_as_numbers_do() {
        let (shape, pairs) = broadcast(&[2, 1], &[3]).unwrap();
        assert_eq!(shape, [2, 3]);
        assert_eq!(pairs, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
        assert_eq!(broadcast(&[], &[0]).unwrap(), (vec![0], vec![]));
        assert!(broadcast(&[2], &[3]).is_err());
        assert!(broadcast(&[1 << 40, 1], &[1 << 40]).is_err());
    }
}
