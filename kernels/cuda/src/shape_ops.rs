//! Ops that move elements without looking at them, as copies: transpose, slice, repetition, joining.
//!
//! `size` is always the bytes of one element: 1, 2, 4, 8 or 16.

use crate::error::DeviceError;
use crate::memory::Slice;
use crate::queue::Queue;
use crate::strided::{Copy, View, copy};

/// A dense value and its extents.
pub type Dense<'s> = (Slice<'s>, &'s [usize]);

/// Elements from one index of each axis of a dense value to the next.
pub fn dense_strides(shape: &[usize]) -> Vec<isize> {
    let mut stride = 1isize;
    let mut strides = vec![0; shape.len()];
    for (own, &extent) in strides.iter_mut().zip(shape).rev() {
        *own = stride;
        stride = stride.saturating_mul(extent as isize);
    }
    strides
}

/// `out` is `x` with axis `i` taken from axis `permutation[i]`.
///
/// # Errors
/// [`DeviceError::Defect`] if `permutation` is none or an operand is too short; a refused launch.
pub fn transpose(
    queue: &mut Queue<'_>,
    size: usize,
    (x, shape): Dense<'_>,
    permutation: &[usize],
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let mut sorted = permutation.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..shape.len()) {
        return Err(DeviceError::Defect("a permutation has each axis once"));
    }
    let own = dense_strides(shape);
    let extents: Vec<usize> = permutation.iter().map(|&axis| shape[axis]).collect();
    let strides: Vec<isize> = permutation.iter().map(|&axis| own[axis]).collect();
    let from = View { memory: x, start: 0, strides: &strides };
    to_dense(queue, size, &extents, from, out)
}

/// Which elements of each axis a [`slice()`] takes: `starts[i] + j steps[i]` for `j < extents[i]`.
#[derive(Clone, Copy, Debug)]
pub struct SliceSpec<'s> {
    /// First index of every axis.
    pub starts: &'s [usize],
    /// Distance between indices of every axis; negative ones go backwards.
    pub steps: &'s [isize],
    /// Extents of the output.
    pub extents: &'s [usize],
}

/// The part of `x` that `spec` describes.
///
/// # Errors
/// [`DeviceError::Defect`] if an index is outside its axis or an operand is too short; a refused
/// launch.
pub fn slice(
    queue: &mut Queue<'_>,
    size: usize,
    (x, shape): Dense<'_>,
    spec: SliceSpec<'_>,
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let SliceSpec { starts, steps, extents } = spec;
    let inside = |axis: usize| {
        let last = starts[axis] as i128 + steps[axis] as i128 * (extents[axis] as i128 - 1);
        starts[axis] < shape[axis] && (0..shape[axis] as i128).contains(&last)
    };
    let rank = shape.len();
    if [starts.len(), steps.len(), extents.len()] != [rank; 3] {
        return Err(DeviceError::Defect("a slice with another number of axes than its value"));
    }
    if extents.contains(&0) {
        return Ok(());
    }
    if !(0..rank).all(inside) {
        return Err(DeviceError::Defect("a slice outside its value"));
    }
    let own = dense_strides(shape);
    let start = starts.iter().zip(&own).map(|(&start, &stride)| start * stride as usize).sum();
    // One element is reached by no step.
    let step = |axis: usize| if extents[axis] == 1 { 0 } else { own[axis] * steps[axis] };
    let strides: Vec<isize> = (0..rank).map(step).collect();
    to_dense(queue, size, extents, View { memory: x, start, strides: &strides }, out)
}

/// Repeats extents of 1 to `shape`, aligned at the last axis.
///
/// # Errors
/// [`DeviceError::Defect`] if shapes do not fit or an operand is too short; a refused launch.
pub fn broadcast_to(
    queue: &mut Queue<'_>,
    size: usize,
    (x, own): Dense<'_>,
    shape: &[usize],
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    const NO_FIT: DeviceError = DeviceError::Defect("a value cannot be repeated to that shape");
    let lead = shape.len().checked_sub(own.len()).ok_or(NO_FIT)?;
    let mut strides = vec![0; lead];
    for ((&extent, &to), stride) in own.iter().zip(&shape[lead..]).zip(dense_strides(own)) {
        if extent != 1 && extent != to {
            return Err(NO_FIT);
        }
        strides.push(if extent == 1 { 0 } else { stride });
    }
    to_dense(queue, size, shape, View { memory: x, start: 0, strides: &strides }, out)
}

/// Repeats all of `x` `repeats[i]` times along each axis.
///
/// # Errors
/// [`DeviceError::Defect`] if there is not one number an axis or an operand is too short; a refused
/// launch.
pub fn tile(
    queue: &mut Queue<'_>,
    size: usize,
    (x, shape): Dense<'_>,
    repeats: &[usize],
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    if repeats.len() != shape.len() {
        return Err(DeviceError::Defect("a tile needs one number of repeats an axis"));
    }
    let (mut extents, mut strides) = (Vec::new(), Vec::new());
    for ((&repeat, &extent), stride) in repeats.iter().zip(shape).zip(dense_strides(shape)) {
        extents.extend([repeat, extent]);
        strides.extend([0, stride]);
    }
    to_dense(queue, size, &extents, View { memory: x, start: 0, strides: &strides }, out)
}

/// A part of a concatenation: its content, and how many elements belong to each outer index.
pub type ConcatPart<'s> = (Slice<'s>, usize);

/// Parts side by side along an axis: for each of `outer` indices, that index's elements of each part.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short; a refused launch.
pub fn concat(
    queue: &mut Queue<'_>,
    size: usize,
    parts: &[ConcatPart<'_>],
    outer: usize,
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let row: usize = parts.iter().map(|(_, chunk)| chunk).sum();
    let mut start = 0;
    for &(x, chunk) in parts {
        let extents = [outer, chunk];
        let from = View { memory: x, start: 0, strides: &[chunk as isize, 1] };
        let to = View { memory: out, start, strides: &[row as isize, 1] };
        copy(queue, &Copy { size, extents: &extents, from, to })?;
        start += chunk;
    }
    Ok(())
}

fn to_dense(
    queue: &mut Queue<'_>,
    size: usize,
    extents: &[usize],
    from: View<'_>,
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let strides = dense_strides(extents);
    let to = View { memory: out, start: 0, strides: &strides };
    copy(queue, &Copy { size, extents, from, to })
}
