//! Weighted sums along an axis, and resizes, whose weights are made on the device.

use super::{Node, Site, extent, float_form};
use crate::device::call::{DeviceArg, DeviceCall, Lowered};
use crate::op::{Resample, Resize, ResizeMode};
use aimass_cuda::resample::{
    self as kernels, ResampleShape, ResizeAxis, Taps, resample as launch_resample, resize_taps,
};
use aimass_cuda::{DeviceError, Form, Slice};

/// Parts of scratch memory begin at multiples of this.
const ALIGN: usize = 256;

fn lanes(
    x: &DeviceArg<'_>,
    y: &DeviceArg<'_>,
    axis: usize,
    taps: usize,
) -> Result<ResampleShape, DeviceError> {
    Ok(ResampleShape {
        outer: extent(&x.shape[..axis])?,
        n: extent(&x.shape[axis..=axis])?,
        inner: extent(&x.shape[axis + 1..])?,
        extent: extent(&y.shape[axis..=axis])?,
        taps: extent(&[taps])?,
    })
}

pub(super) fn resample(site: &Site<'_>, op: &Resample, node: Node<'_>) -> Option<Lowered> {
    let (form, axis) = (float_form(site.spec(node.inputs[0]).dtype)?, op.axis as usize);
    let lowered = Lowered::new(move |call| {
        let ([x, indices, weights], y) =
            ([0, 1, 2].map(|input: usize| call.inputs[input]), &call.outputs[0]);
        let shape = lanes(&x, y, axis, indices.shape[1])?;
        if shape.n == 0 && indices.shape.elements() > 0 {
            return call.refuse();
        }
        let table = Taps { indices: indices.slice, weights: weights.slice, fault: call.fault };
        launch_resample(call.queue, form, &shape, &table, (x.slice, y.slice))
    });
    Some(lowered.with_faults())
}

/// Bytes of the indices of a resize from `n` elements, and as many of its weights.
fn table_bytes(op: &Resize, n: usize) -> usize {
    let entries = op.taps(n).saturating_mul(usize::try_from(op.extent).unwrap_or(usize::MAX));
    entries.saturating_mul(4).checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX / 4)
}

pub(super) fn resize(site: &Site<'_>, op: &Resize, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let (own, of_scratch) = (op.clone(), op.clone());
    let lowered = Lowered::new(move |call| resize_call(call, form, &own)).with_faults();
    Some(lowered.with_scratch(move |inputs, _| {
        2 * table_bytes(&of_scratch, inputs[0][of_scratch.axis as usize])
    }))
}

fn resize_call(
    call: &mut DeviceCall<'_, '_, '_>,
    form: Form,
    op: &Resize,
) -> Result<(), DeviceError> {
    let (x, y, axis) = (&call.inputs[0], &call.outputs[0], op.axis as usize);
    let n = x.shape[axis];
    if y.shape.elements() == 0 {
        return Ok(());
    }
    if n == 0 {
        return call.refuse();
    }
    if x.shape == y.shape {
        // Every sample falls on its own element, whatever the filter.
        return call.queue.copy(x.slice, y.slice);
    }
    let shape = lanes(x, y, axis, op.taps(n))?;
    let samples = ResizeAxis {
        mode: match op.mode {
            ResizeMode::Nearest => kernels::ResizeMode::Nearest,
            ResizeMode::Bilinear => kernels::ResizeMode::Linear,
            ResizeMode::Bicubic => kernels::ResizeMode::Cubic,
        },
        antialias: op.antialias,
        align_corners: op.align_corners,
        n: shape.n,
        extent: shape.extent,
        taps: shape.taps,
        step: op.step(n),
        widening: op.widening(n),
        reach: op.reach(n),
    };
    let bytes = table_bytes(op, n);
    let [indices, weights] = [call.scratch.part(0, bytes)?, call.scratch.part(bytes, bytes)?];
    let table = Taps { indices, weights, fault: Slice::none() };
    resize_taps(call.queue, &samples, &table)?;
    launch_resample(call.queue, form, &shape, &table, (x.slice, y.slice))
}
