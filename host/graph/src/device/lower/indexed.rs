//! Ops that select or update by index, and values that are made by counting.

use super::{Node, Site};
use crate::device::call::{DeviceArg, DeviceCall, Lowered};
use crate::op::{
    Gather, GatherElements, GatherNd, Iota, OneHot, ScatterElements, ScatterMode, ScatterNd,
    last_extent,
};
use aimass_cpu::cast::cast;
use aimass_cuda::counting;
use aimass_cuda::gather::{self, ElementsAt, Indices, Lanes, TuplesAt};
use aimass_cuda::scatter::{self, Updates};
use aimass_tensor::DType;

/// Bytes of an element of the first input, if kernels move it.
fn size(site: &Site<'_>, node: Node<'_>) -> Option<usize> {
    site.spec(node.inputs[0]).dtype.size().filter(|size| matches!(size, 1 | 2 | 4 | 8))
}

/// The indices of a call, which are its second input.
fn indices<'a>(call: &DeviceCall<'a, '_, '_>) -> Indices<'a> {
    let own = &call.inputs[1];
    Indices { dtype: own.dtype, slice: own.slice, fault: call.fault }
}

pub(super) fn gather(site: &Site<'_>, op: &Gather, node: Node<'_>) -> Option<Lowered> {
    let (size, axis) = (size(site, node)?, op.axis as usize);
    let lowered = Lowered::new(move |call| {
        let (x, out) = (&call.inputs[0], call.outputs[0].slice);
        let lanes = Lanes {
            outer: x.shape[..axis].iter().product(),
            extent: x.shape[axis],
            inner: x.shape[axis + 1..].iter().product(),
        };
        let index = (indices(call), call.inputs[1].shape.elements());
        gather::gather(call.queue, size, (x.slice, lanes), index, out)
    });
    Some(lowered.with_faults())
}

fn elements_at<'a>(call: &DeviceCall<'_, 'a, '_>, axis: usize) -> ElementsAt<'a> {
    let inputs = call.inputs;
    ElementsAt { shape: &inputs[0].shape, axis, extents: &inputs[1].shape }
}

pub(super) fn gather_elements(
    site: &Site<'_>,
    op: &GatherElements,
    node: Node<'_>,
) -> Option<Lowered> {
    let (size, axis) = (size(site, node)?, op.axis as usize);
    let lowered = Lowered::new(move |call| {
        let (x, out) = (call.inputs[0].slice, call.outputs[0].slice);
        let (at, index) = (elements_at(call, axis), indices(call));
        gather::gather_elements(call.queue, size, (x, at), index, out)
    });
    Some(lowered.with_faults())
}

fn tuples_at<'a>(call: &DeviceCall<'_, 'a, '_>, batch: usize) -> TuplesAt<'a> {
    let inputs: &'a [DeviceArg<'_>] = call.inputs;
    let (x, tuples) = (&inputs[0].shape, &inputs[1].shape);
    let k = last_extent(tuples);
    TuplesAt {
        batch: x[..batch].iter().product(),
        extents: &x[batch..batch + k],
        slice: x[batch + k..].iter().product(),
        tuples: tuples[batch..tuples.rank() - 1].iter().product(),
    }
}

pub(super) fn gather_nd(site: &Site<'_>, op: &GatherNd, node: Node<'_>) -> Option<Lowered> {
    let (size, batch) = (size(site, node)?, op.batch_dims as usize);
    let lowered = Lowered::new(move |call| {
        let (x, out) = (call.inputs[0].slice, call.outputs[0].slice);
        let (at, index) = (tuples_at(call, batch), indices(call));
        gather::gather_tuples(call.queue, size, (x, at), index, out)
    });
    Some(lowered.with_faults())
}

fn mode(mode: ScatterMode) -> scatter::ScatterMode {
    match mode {
        ScatterMode::Replace => scatter::ScatterMode::Replace,
        ScatterMode::Add => scatter::ScatterMode::Add,
        ScatterMode::Mul => scatter::ScatterMode::Mul,
        ScatterMode::Max => scatter::ScatterMode::Max,
        ScatterMode::Min => scatter::ScatterMode::Min,
    }
}

pub(super) fn scatter_elements(
    site: &Site<'_>,
    op: &ScatterElements,
    node: Node<'_>,
) -> Option<Lowered> {
    let (dtype, axis) = (site.spec(node.inputs[0]).dtype, op.axis as usize);
    let mode = mode(op.mode);
    let lowered = Lowered::new(move |call| {
        let out = call.outputs[0].slice;
        call.queue.copy(call.inputs[0].slice, out)?;
        let updates = Updates { dtype, mode, slice: call.inputs[2].slice };
        let (at, index) = (elements_at(call, axis), indices(call));
        scatter::scatter_elements(call.queue, updates, at, index, out)
    });
    scatter::has_mode(mode, dtype).then(|| lowered.with_faults())
}

pub(super) fn scatter_nd(site: &Site<'_>, op: &ScatterNd, node: Node<'_>) -> Option<Lowered> {
    let (dtype, mode) = (site.spec(node.inputs[0]).dtype, mode(op.mode));
    let lowered = Lowered::new(move |call| {
        let out = call.outputs[0].slice;
        call.queue.copy(call.inputs[0].slice, out)?;
        let updates = Updates { dtype, mode, slice: call.inputs[2].slice };
        let (at, index) = (tuples_at(call, 0), indices(call));
        scatter::scatter_tuples(call.queue, updates, at, index, out)
    });
    scatter::has_mode(mode, dtype).then(|| lowered.with_faults())
}

pub(super) fn one_hot(op: &OneHot) -> Option<Lowered> {
    let (depth, dtype) = (op.depth as usize, op.dtype);
    let size = dtype.size().filter(|size| matches!(size, 1 | 2 | 4 | 8))?;
    let mut one = [0u8; 8];
    cast(DType::Bool, &[1], dtype, &mut one[..size]);
    Some(Lowered::new(move |call| {
        let (x, out) = (&call.inputs[0], call.outputs[0].slice);
        let index = (x.slice, x.dtype, x.shape.elements());
        counting::one_hot(call.queue, index, depth, &one[..size], out)
    }))
}

pub(super) fn iota(op: &Iota) -> Option<Lowered> {
    let (axis, start, step) = (op.axis as usize, op.start, op.step);
    Some(Lowered::new(move |call| {
        let out = &call.outputs[0];
        let lanes = [
            out.shape[..axis].iter().product(),
            out.shape[axis],
            out.shape[axis + 1..].iter().product(),
        ];
        counting::iota(call.queue, lanes, (start, step), out.slice)
    }))
}

/// Extents are known when an op is queued: each is a count of one.
pub(super) fn shape_of() -> Lowered {
    Lowered::new(move |call| {
        const SIZE: usize = size_of::<i64>();
        let (x, out) = (&call.inputs[0], call.outputs[0].slice);
        for (axis, &extent) in x.shape.iter().enumerate() {
            let number = i64::try_from(extent).unwrap_or(i64::MAX);
            counting::iota(call.queue, [1, 1, 1], (number, 0), out.part(axis * SIZE, SIZE)?)?;
        }
        Ok(())
    })
}

pub(super) fn positions() -> Option<Lowered> {
    Some(Lowered::new(move |call| {
        let (offsets, out) = (&call.inputs[0], &call.outputs[0]);
        let sequences = offsets.shape.elements().saturating_sub(1);
        let rows = out.shape.elements();
        counting::positions(call.queue, (offsets.slice, sequences), rows, out.slice)
    }))
}
