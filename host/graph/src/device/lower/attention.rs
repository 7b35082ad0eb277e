//! Attention of batches and of ragged sequences.

use super::{Node, Site, extent, float_form};
use crate::AttentionOptions;
use crate::device::call::{DeviceArg, Lowered};
use crate::op::{Attention, RaggedAttention, attention_shape};
use aimass_cuda::attention::{
    AttentionOperands, AttentionShape, Columns, Mask, Sequences, attention as launch_attention,
    attention_scratch,
};
use aimass_cuda::{DeviceError, Slice};
use aimass_tensor::Shape;

/// The kernel's description of these options for queries of this width.
fn kernel_shape(options: &AttentionOptions, width: usize) -> Result<AttentionShape, DeviceError> {
    let shape = attention_shape(options, width);
    Ok(AttentionShape {
        heads: extent(&[shape.heads])?,
        kv_heads: extent(&[shape.kv_heads])?,
        head_dim: extent(&[shape.head_dim])?,
        scale: shape.scale,
        causal: shape.causal,
    })
}

fn last(shape: &Shape) -> usize {
    shape.last().copied().unwrap_or(1)
}

/// The rows of a value, which may be columns of a wider matrix.
fn columns<'m>(arg: &DeviceArg<'m>) -> Result<Columns<'m>, DeviceError> {
    let row = arg.stride.unwrap_or_else(|| last(&arg.shape));
    Ok(Columns { slice: arg.slice, row: extent(&[row])? })
}

/// Sequences of a batch.
fn equal<'m>(q: &Shape, k: &Shape) -> Result<Sequences<'m>, DeviceError> {
    let [count, queries] = [extent(&q[..1])?, extent(&q[1..2])?];
    Ok(Sequences::Equal { count, queries, keys: extent(&k[1..2])? })
}

/// A mask that broadcasts to `[batch, heads, queries, keys]`.
fn mask<'m>(arg: &DeviceArg<'m>) -> Result<Mask<'m>, DeviceError> {
    let rank = arg.shape.rank();
    let stride = |axis: usize| match (axis + rank).checked_sub(4) {
        Some(own) if arg.shape[own] != 1 => extent(&arg.shape[own + 1..]),
        Some(_) | None => Ok(0),
    };
    let (sequence, head, query, key) = (stride(0)?, stride(1)?, stride(2)?, stride(3)?);
    Ok(Mask { slice: arg.slice, sequence, head, query, key })
}

/// Attention on `[batch, tokens, heads * size]`.
pub(super) fn batched(site: &Site<'_>, op: &Attention, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let (options, of_scratch) = (op.options, op.options);
    let lowered = Lowered::new(move |call| {
        let [q, k, v, ..] = call.inputs else { return Err(DEFECT) };
        let out = &call.outputs[0];
        let operands = AttentionOperands {
            q: columns(q)?,
            k: columns(k)?,
            v: columns(v)?,
            mask: call.inputs.get(3).map(mask).transpose()?,
            y: columns(out)?,
            scratch: call.scratch,
        };
        let shape = kernel_shape(&options, last(&q.shape))?;
        launch_attention(call.queue, form, &shape, &equal(&q.shape, &k.shape)?, &operands)
    });
    let scratch = move |inputs: &[Shape], _: &[Shape]| {
        let [q, k, ..] = inputs else { return 0 };
        let bytes = kernel_shape(&of_scratch, last(q))
            .and_then(|shape| Ok(attention_scratch(&shape, &equal(q, k)?)));
        bytes.unwrap_or(0)
    };
    Some(lowered.with_scratch(scratch).with_strides())
}

/// Attention inside each sequence of `[tokens of all, heads * size]`.
pub(super) fn ragged(site: &Site<'_>, op: &RaggedAttention, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let options = op.options;
    let lowered = Lowered::new(move |call| {
        let [q, k, v, offsets] = call.inputs else { return Err(DEFECT) };
        let shape = kernel_shape(&options, last(&q.shape))?;
        let sequences = Sequences::Ragged {
            offsets: offsets.slice,
            count: offsets.elements().saturating_sub(1),
            rows: extent(&q.shape[..1])?,
        };
        let operands = AttentionOperands {
            q: columns(q)?,
            k: columns(k)?,
            v: columns(v)?,
            mask: None,
            y: columns(&call.outputs[0])?,
            scratch: Slice::none(),
        };
        launch_attention(call.queue, form, &shape, &sequences, &operands)
    });
    Some(lowered.with_strides())
}

const DEFECT: DeviceError = DeviceError::Defect("attention without its operands");
