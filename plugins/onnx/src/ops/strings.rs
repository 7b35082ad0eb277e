//! Operators on texts, which never leave the plugin.

use super::one;
use crate::node::Cx;
use crate::value::{R, T, TensorValue, Value, invalid};
use aimass_sdk::DType;

/// `Equal` on texts, broadcast.
pub(super) fn equal(cx: &mut Cx<'_>, x: &T, y: &T) -> R<Vec<Value>> {
    cx.observe(&[x, y])?;
    let (shape, pairs) = broadcast(&x.shape()?, &y.shape()?)?;
    let (left, right) = (cx.strings(x)?, cx.strings(y)?);
    let equal = pairs.into_iter().map(|(a, b)| u8::from(left[a] == right[b])).collect();
    one(TensorValue::of_bytes(DType::Bool, &shape, equal))
}

/// `Concat` of texts along an axis.
pub(super) fn concat_along(cx: &mut Cx<'_>, tensors: &[&T], axis: usize) -> R<Vec<Value>> {
    cx.observe(tensors)?;
    let mut shape = tensors[0].shape()?;
    shape[axis] = 0;
    let outer: u64 = shape[..axis].iter().product();
    let mut strings = Vec::new();
    for at in 0..outer as usize {
        for tensor in tensors {
            let own = cx.strings(tensor)?;
            let rows = own.len() / (outer.max(1) as usize);
            strings.extend_from_slice(&own[at * rows..(at + 1) * rows]);
        }
    }
    for tensor in tensors {
        shape[axis] += tensor.extent(axis)?;
    }
    one(TensorValue::of_strings(&shape, strings))
}

/// The broadcast shape of two, and which elements of each meet.
pub(super) fn broadcast(x: &[u64], y: &[u64]) -> R<(Vec<u64>, Vec<(usize, usize)>)> {
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
    let elements: u64 = shape.iter().product();
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
