//! Sequences and optionals, which live in the plugin; their tensors stay where they are.

use super::{Table, concat_texts, one};
use crate::content::int_tensor;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, T, TensorValue, Value, invalid};
use aimass_sdk::{DType, Error};
use std::rc::Rc;

pub(super) const TABLE: Table = &[
    ("ConcatFromSequence", concat_from_sequence),
    ("Optional", optional),
    ("OptionalGetElement", |_, x| match element(x.value(0)?) {
        Some(value) => Ok(vec![value.clone()]),
        None => Err(invalid("expected an optional with an element, got an empty one")),
    }),
    ("OptionalHasElement", |_, x| {
        let has = x.value_opt(0).is_some_and(|value| element(value).is_some());
        one(TensorValue::of_bytes(DType::Bool, &[], vec![u8::from(has)]))
    }),
    ("SequenceAt", |cx, x| {
        let items = x.sequence(0)?;
        let index = position(cx, x.tensor(1)?, items.len(), items.len().saturating_sub(1))?;
        let item = items.get(index).ok_or_else(|| invalid("the sequence is empty"))?;
        Ok(vec![item.clone()])
    }),
    ("SequenceConstruct", |_, x| {
        bounded(x.len())?;
        Ok(vec![sequence(x.tensors()?.into_iter().cloned().map(Value::Tensor).collect())])
    }),
    ("SequenceEmpty", |_, _| Ok(vec![sequence(Vec::new())])),
    ("SequenceErase", |cx, x| {
        let mut items = x.sequence(0)?.to_vec();
        let last = items.len().checked_sub(1).ok_or_else(|| invalid("the sequence is empty"))?;
        let index = match x.tensor_opt(1)? {
            Some(tensor) => position(cx, tensor, items.len(), last)?,
            None => last,
        };
        items.remove(index);
        Ok(vec![sequence(items)])
    }),
    ("SequenceInsert", |cx, x| {
        let items = x.sequence(0)?;
        let index = match x.tensor_opt(2)? {
            Some(tensor) => position(cx, tensor, items.len(), items.len())?,
            None => items.len(),
        };
        bounded(items.len() + 1)?;
        let mut items = items.to_vec();
        items.insert(index, x.tensor(1)?.clone().into());
        Ok(vec![sequence(items)])
    }),
    ("SequenceLength", |_, x| one(int_tensor(&[], &[x.sequence(0)?.len() as i64]))),
    ("SplitToSequence", split_to_sequence),
];

/// Items of one sequence.
const ITEMS_MAX: usize = 100_000;

fn sequence(items: Vec<Value>) -> Value {
    Value::Sequence(Rc::new(items))
}

fn bounded(items: usize) -> R<()> {
    if items > ITEMS_MAX {
        let message = format!("expected at most {ITEMS_MAX} items in a sequence, got {items}");
        return Err(Error::limit("onnx-sequence", message).into());
    }
    Ok(())
}

/// What an optional holds; anything else holds itself.
fn element(value: &Value) -> Option<&Value> {
    match value {
        Value::Optional(inner) => inner.as_deref(),
        Value::Tensor(_) | Value::Sequence(_) => Some(value),
    }
}

/// An optional of an optional is that one: nothing here nests.
fn optional(_: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let inner = inputs.value_opt(0).and_then(element);
    Ok(vec![Value::Optional(inner.map(|value| Rc::new(value.clone())))])
}

/// An index of a sequence of `len` items, at most `max`; negative ones count from the end.
fn position(cx: &mut Cx<'_>, tensor: &T, len: usize, max: usize) -> R<usize> {
    let given = cx.int(tensor)?;
    let index = if given < 0 { given.saturating_add(len as i64) } else { given };
    usize::try_from(index)
        .ok()
        .filter(|index| *index <= max)
        .ok_or_else(|| invalid(format!("expected a position in {len} items, got {given}")))
}

/// Joins tensors along an axis, texts or numbers; parts without elements add nothing.
pub(crate) fn join(emitter: &mut Emitter, tensors: &[&T], axis: usize) -> R<T> {
    match tensors.first() {
        Some(first) if first.dtype == DType::Bytes => concat_texts(emitter, tensors, axis),
        Some(_) => emitter.concat(tensors, axis),
        None => Err(invalid("expected at least one tensor to join")),
    }
}

/// Joins tensors along a new axis.
pub(crate) fn stack(emitter: &mut Emitter, tensors: &[T], axis: usize) -> R<T> {
    let mut rows = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        rows.push(match tensor.dtype {
            DType::Bytes => {
                let mut shape = tensor.shape()?;
                shape.insert(axis.min(shape.len()), 1);
                TensorValue::of_strings(&shape, emitter.strings(tensor)?.to_vec())
            }
            _ => emitter.unsqueeze(tensor, axis)?,
        });
    }
    join(emitter, &rows.iter().collect::<Vec<_>>(), axis)
}

fn concat_from_sequence(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let items = inputs.sequence(0)?;
    let tensors: Vec<T> =
        items.iter().map(|item| crate::node::as_tensor(item).cloned()).collect::<R<_>>()?;
    let rank = tensors.first().map_or(0, |tensor| tensor.rank());
    let axis = cx.attr_int_opt("axis")?.ok_or_else(|| invalid("expected an axis"))?;
    if cx.attr_flag("new_axis")? {
        let axis = axis_of(axis, rank + 1)?;
        return one(stack(cx, &tensors, axis)?);
    }
    if rank == 0 {
        return Err(invalid("expected tensors with an axis to join along"));
    }
    let axis = axis_of(axis, rank)?;
    one(join(cx, &tensors.iter().collect::<Vec<_>>(), axis)?)
}

fn split_to_sequence(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axis = axis_of(cx.attr_int("axis", 0)?, x.rank())?;
    let extent = x.extent(axis)?;
    let (sizes, squeezed) = match inputs.tensor_opt(1)? {
        Some(split) => {
            let given = cx.ints(split)?;
            let given: Vec<u64> = given
                .into_iter()
                .map(|size| u64::try_from(size).map_err(|_| invalid(format!("a size of {size}"))))
                .collect::<R<_>>()?;
            match (split.rank(), given.as_slice()) {
                (0, &[size]) => (chunks(extent, size)?, false),
                _ => (given, false),
            }
        }
        None => (chunks(extent, 1)?, cx.attr_int("keepdims", 1)? == 0),
    };
    bounded(sizes.len())?;
    let total = sizes.iter().fold(0u64, |sum, &size| sum.saturating_add(size));
    if total != extent {
        return Err(invalid(format!("expected sizes of {extent} together, got {total}")));
    }
    let mut parts = Vec::with_capacity(sizes.len());
    // A split has a bound on its parts; many are cut one by one.
    match sizes.len() {
        0 => {}
        1..=SPLIT_MAX => parts = cx.split(x, axis, &sizes)?,
        _ => {
            let mut start = 0;
            for &size in &sizes {
                parts.push(cx.slice(x, axis, (start, start + size), 1)?);
                start += size;
            }
        }
    }
    let mut items = Vec::with_capacity(parts.len());
    for part in parts {
        let part = match squeezed && part.dims.get(axis) == Some(&Extent::Fixed(1)) {
            true => cx.squeeze(&part, axis)?,
            false => part,
        };
        items.push(part.into());
    }
    Ok(vec![sequence(items)])
}

/// Parts of one split.
const SPLIT_MAX: usize = 32;

/// Sizes of equal parts, the last one perhaps smaller.
fn chunks(extent: u64, size: u64) -> R<Vec<u64>> {
    if size == 0 {
        return Err(invalid("expected parts of at least 1 element"));
    }
    bounded(usize::try_from(extent.div_ceil(size)).unwrap_or(usize::MAX))?;
    Ok((0..extent.div_ceil(size)).map(|part| size.min(extent - part * size)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_chunk_takes_what_is_left() {
        assert_eq!(chunks(7, 3).unwrap(), [3, 3, 1]);
        assert_eq!(chunks(0, 3).unwrap(), [0u64; 0]);
        assert!(chunks(7, 0).is_err());
        assert!(chunks(u64::MAX, 1).is_err());
    }
}
