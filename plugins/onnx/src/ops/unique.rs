//! `Unique`: the different elements, or slices along an axis. How many there are depends on the
//! content: of elements only their number is looked at, of slices the whole.

use super::index::{flat, places};
use super::{Table, one};
use crate::content::{floats_of, int_vector, ints_of, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{R, T, TensorValue, Value, invalid};
use aimass_sdk::DType;
use aimass_sdk::graph::ScatterMode;
use std::cmp::Ordering;

pub(super) const TABLE: Table = &[("Unique", unique)];

/// Elements of slices that are compared here.
const COMPARED_MAX: u64 = 1 << 21;

/// The operator's outputs.
struct Found {
    y: T,
    /// Where each element of `y` is first.
    first: T,
    /// Which element of `y` each element is.
    inverse: T,
    counts: T,
}

fn unique(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let sorted = cx.attr_int("sorted", 1)? != 0;
    let found = match cx.attr_int_opt("axis")? {
        Some(axis) => of_slices(cx, x, axis_of(axis, x.rank())?, sorted)?,
        None => {
            let x = flat(cx, x)?;
            of_elements(cx, &x, sorted)?
        }
    };
    if !cx.wants_output(1) && !cx.wants_output(2) && !cx.wants_output(3) {
        return one(found.y);
    }
    Ok([found.y, found.first, found.inverse, found.counts].into_iter().map(Value::from).collect())
}

/// Different elements of a vector: those of its sorted elements that differ from the one before.
fn of_elements(cx: &mut Emitter, x: &T, sorted: bool) -> R<Found> {
    let n = x.extent(0)?;
    if n == 0 {
        let none = int_vector(&[]);
        let (first, inverse, counts) = (none.clone(), none.clone(), none);
        return Ok(Found { y: x.clone(), first, inverse, counts });
    }
    let kept = cx.keep(|cx| {
        let own = if x.dtype == DType::Bool { cx.cast(x, DType::U8)? } else { x.clone() };
        let (values, order) = cx.sort(&own, false)?;
        let (before, after) =
            (cx.slice(&values, 0, (0, n - 1), 1)?, cx.slice(&values, 0, (1, n), 1)?);
        let differ = cx.not_equal(&before, &after)?;
        let first = TensorValue::of_bytes(DType::Bool, &[1], vec![1]);
        let starts = cx.concat(&[&first, &differ], 0)?;
        Ok(vec![values, order, starts])
    })?;
    let [values, order, starts] = kept.as_slice() else { return Err(invalid("expected three")) };
    let at = places(cx, starts)?;
    let at = cx.squeeze(&at, 0)?;
    let y = cx.gather(values, &at, 0)?;
    let y = cx.cast(&y, x.dtype)?;
    let first = cx.gather(order, &at, 0)?;
    let found = at.extent(0)?;
    let ends = cx.slice(&at, 0, (1, found), 1)?;
    let ends = cx.concat(&[&ends, &int_vector(&[n as i64])], 0)?;
    let counts = cx.sub(&ends, &at)?;
    let ranks = cx.cast(starts, DType::I64)?;
    let ranks = cx.cumulative_sum(&ranks, 0, (false, false))?;
    let ranks = cx.add_number(&ranks, -1.0)?;
    let inverse = placed(cx, order, &ranks)?;
    if sorted {
        return Ok(Found { y, first, inverse, counts });
    }
    let (first, order) = cx.sort(&first, false)?;
    let index = cx.count_up(found)?;
    let renamed = placed(cx, &order, &index)?;
    Ok(Found {
        y: cx.gather(&y, &order, 0)?,
        first,
        inverse: cx.gather(&renamed, &inverse, 0)?,
        counts: cx.gather(&counts, &order, 0)?,
    })
}

/// `values` at the places of a permutation.
fn placed(cx: &mut Emitter, order: &T, values: &T) -> R<T> {
    let zero = scalar(DType::I64, 0.0)?;
    let zeros = cx.broadcast(&zero, &values.dims)?;
    cx.scatter_elements(&zeros, order, values, (0, ScatterMode::Replace))
}

/// What an element is compared as.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Int(i64),
    Float(f64),
}

impl Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Int(a), Key::Int(b)) => a.cmp(b),
            (Key::Float(a), Key::Float(b)) if a == b => Ordering::Equal,
            (Key::Float(a), Key::Float(b)) => a.total_cmp(b),
            _ => Ordering::Equal,
        }
    }
}

fn keys(cx: &mut Emitter, x: &T) -> R<Vec<Key>> {
    let content = cx.content(x)?;
    Ok(match x.dtype {
        dtype if super::reduce::is_float(dtype) => {
            floats_of(dtype, &content)?.into_iter().map(Key::Float).collect()
        }
        // The upper half comes behind the lower one.
        DType::U64 => {
            let keys = ints_of(DType::U64, &content)?.into_iter();
            keys.map(|key| Key::Int(key ^ i64::MIN)).collect()
        }
        dtype => ints_of(dtype, &content)?.into_iter().map(Key::Int).collect(),
    })
}

/// Different slices along an axis.
fn of_slices(cx: &mut Emitter, x: &T, axis: usize, sorted: bool) -> R<Found> {
    let (shape, elements) = (x.shape()?, x.elements()?);
    if elements > COMPARED_MAX {
        return Err(invalid(format!("expected at most {COMPARED_MAX} elements, got {elements}")));
    }
    let extent = shape.get(axis).copied().ok_or_else(|| invalid("a scalar has no axis"))?;
    if extent > COMPARED_MAX {
        return Err(invalid(format!("expected at most {COMPARED_MAX} slices, got {extent}")));
    }
    let inner: u64 = shape[axis + 1..].iter().fold(1, |all, extent| all.saturating_mul(*extent));
    let keys = keys(cx, x)?;
    let slices = sliced(&keys, (extent as usize, inner as usize));
    let groups = groups(&slices, sorted);
    let first: Vec<i64> = groups.iter().map(|group| group[0] as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|group| group.len() as i64).collect();
    let mut inverse = vec![0; slices.len()];
    for (index, group) in groups.iter().enumerate() {
        for &member in group {
            inverse[member] = index as i64;
        }
    }
    let first = int_vector(&first);
    let y = cx.gather(x, &first, axis)?;
    Ok(Found { y, first, inverse: int_vector(&inverse), counts: int_vector(&counts) })
}

/// The elements of every slice along the middle one of three axes.
fn sliced(keys: &[Key], (extent, inner): (usize, usize)) -> Vec<Vec<&Key>> {
    let mut slices = vec![Vec::new(); extent];
    if keys.is_empty() {
        return slices;
    }
    for (index, run) in keys.chunks(inner.max(1)).enumerate() {
        slices[index % extent].extend(run);
    }
    slices
}

/// Indices of equal slices, in the order of their content or of their first ones.
fn groups(slices: &[Vec<&Key>], sorted: bool) -> Vec<Vec<usize>> {
    let compare = |a: &[&Key], b: &[&Key]| {
        let differ = a.iter().zip(b).map(|(a, b)| a.cmp(b)).find(|order| order.is_ne());
        differ.unwrap_or(Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order.sort_by(|&a, &b| compare(&slices[a], &slices[b]));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        match groups.last_mut() {
            Some(group) if compare(&slices[group[0]], &slices[index]).is_eq() => group.push(index),
            _ => groups.push(vec![index]),
        }
    }
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_grouped_by_content() {
        let keys: Vec<Key> = [1, 0, 0, 1, 0, 0, 2, 3, 4].into_iter().map(Key::Int).collect();
        let rows = sliced(&keys, (3, 3));
        assert_eq!(groups(&rows, true), [vec![0, 1], vec![2]]);
        let columns = sliced(&keys, (3, 1));
        assert_eq!(columns[1], [&Key::Int(0), &Key::Int(0), &Key::Int(3)]);
        let keys: Vec<Key> = [2, 1, 1, 3].into_iter().map(Key::Int).collect();
        let elements = sliced(&keys, (4, 1));
        assert_eq!(groups(&elements, true), [vec![1, 2], vec![0], vec![3]]);
        assert_eq!(groups(&elements, false), [vec![0], vec![1, 2], vec![3]]);
    }
}
