//! Ops that move elements without looking at them.

use super::{Node, Site};
use crate::device::call::{DeviceArg, Lowered};
use crate::op::{Broadcast, Concat, Pad, PadMode, Reverse, Slice, Split, Tile, Transpose};
use aimass_cpu::cast::cast;
use aimass_cuda::pad::{self, PadSpec};
use aimass_cuda::shape_ops::{self, Dense, SliceSpec};
use aimass_cuda::{DeviceError, Queue};
use aimass_tensor::{DType, RANK_MAX};

/// Bytes of an element of the first input, if kernels move it.
fn size(site: &Site<'_>, node: Node<'_>) -> Option<usize> {
    site.spec(node.inputs[0]).dtype.size().filter(|size| matches!(size, 1 | 2 | 4 | 8))
}

fn dense<'a>(x: &'a DeviceArg<'_>) -> Dense<'a> {
    (x.slice, &x.shape)
}

/// The same bytes under another shape or dtype.
pub(super) fn same_bytes() -> Option<Lowered> {
    Some(Lowered::new(|call| call.queue.copy(call.inputs[0].slice, call.outputs[0].slice)))
}

pub(super) fn transpose(site: &Site<'_>, op: &Transpose, node: Node<'_>) -> Option<Lowered> {
    let (size, permutation) = (size(site, node)?, op.permutation.clone());
    Some(Lowered::new(move |call| {
        let (x, out) = (&call.inputs[0], call.outputs[0].slice);
        shape_ops::transpose(call.queue, size, dense(x), &permutation, out)
    }))
}

pub(super) fn broadcast(site: &Site<'_>, _: &Broadcast, node: Node<'_>) -> Option<Lowered> {
    let size = size(site, node)?;
    Some(Lowered::new(move |call| {
        let (x, out) = (&call.inputs[0], &call.outputs[0]);
        shape_ops::broadcast_to(call.queue, size, dense(x), &out.shape, out.slice)
    }))
}

pub(super) fn tile(site: &Site<'_>, op: &Tile, node: Node<'_>) -> Option<Lowered> {
    let size = size(site, node)?;
    let repeats: Vec<usize> = op.repeats.iter().map(|&repeat| repeat as usize).collect();
    Some(Lowered::new(move |call| {
        let (x, out) = (&call.inputs[0], call.outputs[0].slice);
        shape_ops::tile(call.queue, size, dense(x), &repeats, out)
    }))
}

/// The part of `x` that has the shape of `out`, from `start` along `axis` in steps.
fn part(
    queue: &mut Queue<'_>,
    (size, axis): (usize, usize),
    (start, step): (usize, isize),
    x: &DeviceArg<'_>,
    out: &DeviceArg<'_>,
) -> Result<(), DeviceError> {
    let rank = x.shape.rank();
    let (mut starts, mut steps) = ([0; RANK_MAX], [1; RANK_MAX]);
    (starts[axis], steps[axis]) = (start, step);
    let spec = SliceSpec { starts: &starts[..rank], steps: &steps[..rank], extents: &out.shape };
    shape_ops::slice(queue, size, dense(x), spec, out.slice)
}

pub(super) fn slice(site: &Site<'_>, op: &Slice, node: Node<'_>) -> Option<Lowered> {
    let (size, axis, start) = (size(site, node)?, op.axis as usize, op.start as usize);
    // A step beyond the extent takes one element only; how far it goes does not matter then.
    let step = op.step.min(i32::MAX as u64) as isize;
    Some(Lowered::new(move |call| {
        part(call.queue, (size, axis), (start, step), &call.inputs[0], &call.outputs[0])
    }))
}

pub(super) fn reverse(site: &Site<'_>, op: &Reverse, node: Node<'_>) -> Option<Lowered> {
    let (size, axis) = (size(site, node)?, op.axis as usize);
    Some(Lowered::new(move |call| {
        let last = call.inputs[0].shape[axis].saturating_sub(1);
        part(call.queue, (size, axis), (last, -1), &call.inputs[0], &call.outputs[0])
    }))
}

pub(super) fn split(site: &Site<'_>, op: &Split, node: Node<'_>) -> Option<Lowered> {
    let (size, axis) = (size(site, node)?, op.axis as usize);
    Some(Lowered::new(move |call| {
        let mut start = 0;
        for out in call.outputs {
            part(call.queue, (size, axis), (start, 1), &call.inputs[0], out)?;
            start += out.shape[axis];
        }
        Ok(())
    }))
}

pub(super) fn concat(site: &Site<'_>, op: &Concat, node: Node<'_>) -> Option<Lowered> {
    let (size, axis) = (size(site, node)?, op.axis as usize);
    Some(Lowered::new(move |call| {
        let out = &call.outputs[0];
        let outer = out.shape[..axis].iter().product();
        let part = |x: &DeviceArg<'_>| x.shape[axis..].iter().product::<usize>();
        let parts: Vec<_> = call.inputs.iter().map(|x| (x.slice, part(x))).collect();
        shape_ops::concat(call.queue, size, &parts, outer, out.slice)
    }))
}

pub(super) fn pad(site: &Site<'_>, op: &Pad, node: Node<'_>) -> Option<Lowered> {
    let size = size(site, node)?;
    let counts = |pads: &[u64]| pads.iter().map(|&pad| pad as usize).collect::<Vec<usize>>();
    let (before, after, mode) = (counts(&op.before), counts(&op.after), op.mode);
    let mut fill = [0u8; 8];
    let dtype = site.spec(node.inputs[0]).dtype;
    if !cast(DType::F64, &op.fill.to_le_bytes(), dtype, &mut fill[..size]) {
        return None;
    }
    Some(Lowered::new(move |call| {
        let (x, out) = (&call.inputs[0], call.outputs[0].slice);
        let mode = match mode {
            PadMode::Constant => pad::PadMode::Constant(&fill[..size]),
            PadMode::Edge => pad::PadMode::Edge,
            PadMode::Reflect => pad::PadMode::Reflect,
            PadMode::Wrap => pad::PadMode::Wrap,
        };
        let spec = PadSpec { size, shape: &x.shape, before: &before, after: &after, mode };
        pad::pad(call.queue, x.slice, &spec, out)
    }))
}
