//! Attention of batches, of ragged sequences, and to keys in the pages of a cache.

use super::{Node, Site, extent, float_form};
use crate::AttentionOptions;
use crate::device::call::{DeviceArg, Lowered};
use crate::device::constants::{ConstantError, on_device};
use crate::op::{Attention, RaggedAttention, attention_shape};
use aimass_cuda::attention::{
    AttentionOperands, AttentionShape, Columns, Mask, Sequences, attention as launch_attention,
    attention_scratch,
};
use aimass_cuda::attention_decode::{Decode, Pages, attention_decode, decode_scratch};
use aimass_cuda::gather::{Indices, Lanes, gather};
use aimass_cuda::{Device, DeviceError, Form, Slice};
use aimass_tensor::Shape;
use std::sync::Arc;

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

/// Extents of caches of keys and values whose rows lie in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device) struct CachePages {
    /// Pages of a cache.
    pub(in crate::device) pages: u32,
    /// Keys of a page.
    pub(in crate::device) keys: u32,
}

/// Extents of a call that reads keys by a table.
struct Tabled {
    sequences: u32,
    /// Pages of each sequence.
    each: u32,
    /// Keys of each sequence.
    keys: u32,
}

impl CachePages {
    fn tabled(&self, q: &Shape, table: &Shape) -> Result<Tabled, DeviceError> {
        let sequences = extent(&q[..1])?;
        let each = extent(table)?.checked_div(sequences).unwrap_or(0);
        let keys = extent(&[each as usize, self.keys as usize])?;
        Ok(Tabled { sequences, each, keys })
    }
}

impl Tabled {
    /// Numbers of the table.
    fn numbers(&self) -> usize {
        self.sequences as usize * self.each as usize
    }

    /// Bytes of the table as the kernel reads it, and of that kernel's own scratch memory.
    fn scratch(&self, shape: &AttentionShape) -> [usize; 2] {
        [self.numbers() * size_of::<u32>(), decode_scratch(shape, self.sequences, self.keys)]
    }
}

/// Attention of one query a sequence to keys and values that stay in their pages; reads `q`, the caches
/// of keys and of values, the table, and a mask if there is one.
///
/// What the kernel goes by is gathered from the numbers of all pages: the table in u32, with every number
/// checked as the gather of the pages themselves checks it.
///
/// # Errors
/// [`ConstantError`] if those numbers cannot be brought to the device.
pub(in crate::device) fn in_pages(
    device: &Arc<Device>,
    form: Form,
    options: AttentionOptions,
    cache: CachePages,
) -> Result<Lowered, ConstantError> {
    let content = || Ok((0..cache.pages).flat_map(u32::to_le_bytes).collect());
    let numbers = on_device(device, &format!("numbers below {}", cache.pages), &[], content)?;
    let lowered = Lowered::new(move |call| {
        let [q, k, v, table, ..] = call.inputs else { return Err(DEFECT) };
        let (shape, own) =
            (kernel_shape(&options, last(&q.shape))?, cache.tabled(&q.shape, &table.shape)?);
        let [table_bytes, bytes] = own.scratch(&shape);
        let checked = call.scratch.part(0, table_bytes)?;
        let indices = Indices { dtype: table.dtype, slice: table.slice, fault: call.fault };
        let lanes = Lanes { outer: 1, extent: cache.pages as usize, inner: 1 };
        let index = (indices, own.numbers());
        gather(call.queue, size_of::<u32>(), (numbers.slice(), lanes), index, checked)?;
        let row = extent(&[shape.kv_heads as usize, shape.head_dim as usize])?;
        let rows = extent(&[cache.pages as usize, cache.keys as usize])?;
        let decode = Decode {
            sequences: own.sequences,
            keys: own.keys,
            q: columns(q)?,
            k: Columns { slice: k.slice, row },
            v: Columns { slice: v.slice, row },
            mask: call.inputs.get(4).map(mask).transpose()?,
            y: columns(&call.outputs[0])?,
            lengths: Slice::none(),
            pages: Some(Pages { table: checked, pages: own.each, keys: cache.keys, rows }),
            scratch: call.scratch.part(table_bytes, bytes)?,
        };
        attention_decode(call.queue, form, &shape, &decode)
    });
    let scratch = move |inputs: &[Shape], _: &[Shape]| {
        let [q, _, _, table, ..] = inputs else { return 0 };
        let bytes = kernel_shape(&options, last(q))
            .and_then(|shape| Ok(cache.tabled(q, table)?.scratch(&shape)));
        bytes.map_or(0, |bytes| bytes.iter().sum())
    };
    Ok(lowered.with_scratch(scratch).with_strides().with_faults())
}

const DEFECT: DeviceError = DeviceError::Defect("attention without its operands");
