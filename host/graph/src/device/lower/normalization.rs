//! Softmax, norms and rotations: each row or lane by itself.

use super::{Node, Site, float_form, lanes_of, row_extents};
use crate::ValueSpec;
use crate::device::call::{DeviceCall, Lowered};
use crate::device::constants::on_device;
use crate::op::{BatchNorm, GroupNorm, LayerNorm, Normalize, NormalizeKind, Rope, Softmax};
use aimass_cuda::channel_norm::group_norm as launch_group_norm;
use aimass_cuda::channel_norm::{Channels, Statistics, batch_norm as launch_batch_norm};
use aimass_cuda::lanes::Lanes;
use aimass_cuda::norm::{Norm, NormOperands, norm};
use aimass_cuda::rope::{Rope as Rotation, rope as launch_rope, turns};
use aimass_cuda::softmax::softmax as launch_softmax;
use aimass_cuda::{DeviceError, Form, IndexType};
use aimass_tensor::DType;

pub(super) fn softmax(site: &Site<'_>, op: &Softmax, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let (axis, log) = (op.axis as usize, op.log);
    Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let lanes = lanes_of(&x.shape, axis..axis + 1)?;
        launch_softmax(call.queue, lanes, log, form, (x.slice, y.slice))
    }))
}

pub(super) fn layer_norm(site: &Site<'_>, op: &LayerNorm, node: Node<'_>) -> Option<Lowered> {
    rows(site, Norm::Layer, op.epsilon, node)
}

pub(super) fn normalize(site: &Site<'_>, op: &Normalize, node: Node<'_>) -> Option<Lowered> {
    let kind = match op.kind {
        NormalizeKind::Rms => Norm::Rms,
        NormalizeKind::L2 => Norm::Unit,
    };
    rows(site, kind, op.epsilon, node)
}

/// A norm of rows, whose weight and bias are the inputs after the first.
fn rows(site: &Site<'_>, kind: Norm, epsilon: f32, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let (rows, n) = row_extents(&x.shape)?;
        let vector = |index: usize| call.inputs.get(index).map(|input| input.slice);
        let operands = NormOperands {
            x: x.slice,
            added: None,
            sum: None,
            weight: vector(1),
            bias: vector(2),
            y: y.slice,
            rows,
            n,
        };
        norm(call.queue, kind, epsilon, form, &operands)
    }))
}

/// Operands of a norm of channels, whose scale and bias are the second and third input.
fn channels<'a>(call: &DeviceCall<'a, '_, '_>) -> Result<Channels<'a>, DeviceError> {
    let [x, scale, bias] = [0, 1, 2].map(|index| call.inputs[index]);
    let shape: Lanes = lanes_of(&x.shape, 1..2)?;
    let y = call.outputs[0].slice;
    Ok(Channels { shape, x: x.slice, scale: scale.slice, bias: bias.slice, y })
}

pub(super) fn batch_norm(site: &Site<'_>, op: &BatchNorm, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let epsilon = op.epsilon;
    Some(Lowered::new(move |call| {
        let channels = channels(call)?;
        let [mean, variance] = [3, 4].map(|index| call.inputs[index].slice);
        let statistics = Statistics { mean, variance };
        launch_batch_norm(call.queue, statistics, epsilon, form, &channels)
    }))
}

pub(super) fn group_norm(site: &Site<'_>, op: &GroupNorm, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let (groups, epsilon) = (op.groups, op.epsilon);
    Some(Lowered::new(move |call| {
        let channels = channels(call)?;
        launch_group_norm(call.queue, groups, epsilon, form, &channels)
    }))
}

/// Elements of a head, if they are known when the plan is made: its turns are a table.
pub(super) fn head_size(op: &Rope, x: &ValueSpec) -> Option<u32> {
    let columns = u32::try_from(x.dims.last()?.fixed()?).ok()?;
    columns.checked_div(op.heads)
}

pub(super) fn rope(site: &Site<'_>, op: &Rope, node: Node<'_>) -> Option<Lowered> {
    let x = site.spec(node.inputs[0]);
    let form: Form = float_form(x.dtype)?;
    let index_type = index_type(site.spec(node.inputs[1]).dtype)?;
    let size = head_size(op, x)?;
    let (heads, base, interleaved) = (op.heads, op.base, op.interleaved);
    let layout = format!("turns {size} {base}");
    let table = on_device(site.device, &layout, &[], || {
        Ok(turns(size, base).iter().flat_map(|turn| turn.to_le_bytes()).collect())
    });
    let table = table.ok()?;
    Some(Lowered::new(move |call| {
        let ([x, positions], y) = ([call.inputs[0], call.inputs[1]], &call.outputs[0]);
        let (rows, _) = row_extents(&x.shape)?;
        let rotation = Rotation {
            x: x.slice,
            y: y.slice,
            positions: positions.slice,
            index_type,
            positions_count: positions.elements(),
            turns: table.slice(),
            rows,
            heads,
            size,
            interleaved,
        };
        launch_rope(call.queue, form, &rotation)
    }))
}

/// The type of indices on the device.
pub(super) fn index_type(dtype: DType) -> Option<IndexType> {
    match dtype {
        DType::I32 => Some(IndexType::I32),
        DType::I64 => Some(IndexType::I64),
        DType::U32 => Some(IndexType::U32),
        _ => None,
    }
}
