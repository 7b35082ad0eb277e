//! Reductions, extremes, running sums, pooling and the best elements.

use super::normalization::index_type;
use super::widened::Widened;
use super::{Node, Site, extent, float_form, lanes_of, row_extents};
use crate::device::call::Lowered;
use crate::op::{
    ArgExtreme, Cumulative, CumulativeKind, EmbeddingBag, RaggedPool, RaggedPoolKind, Reduce,
    ReduceKind, TopK,
};
use crate::{Dim, ValueSpec};
use aimass_cuda::arg_extreme::arg_extreme as launch_arg_extreme;
use aimass_cuda::cumulative::{Scan, cumulative as launch_cumulative};
use aimass_cuda::ragged_pool::ragged_pool_named;
use aimass_cuda::ragged_pool::{Named, Pooling, Ragged, ragged_pool as launch_ragged_pool};
use aimass_cuda::reduce::scratch_bytes;
use aimass_cuda::reduce::{ReduceOperands, Reduced, Reduction, reduce as launch_reduce};
use aimass_cuda::top_k::{TopK as Selection, takes, top_k as launch_top_k};
use aimass_cuda::{DeviceError, Form};
use aimass_tensor::{DType, Shape};
use std::ops::Range;

/// The form in which sums and products of these numbers are those of their type.
fn number_form(dtype: DType) -> Option<Form> {
    match dtype {
        DType::I32 | DType::U32 => Some(Form::I32),
        DType::I64 | DType::U64 => Some(Form::I64),
        float => float_form(float),
    }
}

/// The form in which comparisons of these numbers are those of their type.
fn ordered_form(dtype: DType) -> Option<Form> {
    match dtype {
        DType::I32 => Some(Form::I32),
        DType::I64 => Some(Form::I64),
        float => float_form(float),
    }
}

/// The ranges of axes that are reduced, at most two; none if there are more.
pub(super) fn reduced_axes(op: &Reduce, rank: usize) -> Option<[Range<usize>; 2]> {
    let gone = |axis: usize| op.axes.is_empty() || op.axes.contains(&(axis as u32));
    let run = |from: usize| {
        let start = (from..rank).find(|&axis| gone(axis)).unwrap_or(rank);
        let end = (start..rank).find(|&axis| !gone(axis)).unwrap_or(rank);
        start..end
    };
    let first = run(0);
    let last = run(first.end);
    run(last.end).is_empty().then_some([first, last])
}

/// The shape as a reduction of these axes sees it.
fn reduced(shape: &Shape, [first, last]: &[Range<usize>; 2]) -> Result<Reduced, DeviceError> {
    Ok(Reduced {
        outer: extent(&shape[..first.start])?,
        first: extent(&shape[first.clone()])?,
        between: extent(&shape[first.end..last.start])?,
        last: extent(&shape[last.clone()])?,
        inner: extent(&shape[last.end..])?,
    })
}

pub(super) fn reduce(site: &Site<'_>, op: &Reduce, node: Node<'_>) -> Option<Lowered> {
    let x = site.spec(node.inputs[0]);
    let (wrapping, ordered) = (Widened::wrapping(x.dtype), Widened::ordered(x.dtype));
    let (kind, widened, form) = match (op.kind, x.dtype) {
        (ReduceKind::Sum, _) => (Reduction::Sum, wrapping, number_form(wrapping.computed)?),
        (ReduceKind::Prod, _) => (Reduction::Prod, wrapping, number_form(wrapping.computed)?),
        (ReduceKind::Mean, dtype) => (Reduction::Mean, wrapping, float_form(dtype)?),
        (ReduceKind::Max, DType::Bool) => (Reduction::Max, ordered, Form::U8),
        (ReduceKind::Min, DType::Bool) => (Reduction::Min, ordered, Form::U8),
        (ReduceKind::Max, _) => (Reduction::Max, ordered, ordered_form(ordered.computed)?),
        (ReduceKind::Min, _) => (Reduction::Min, ordered, ordered_form(ordered.computed)?),
    };
    let axes = reduced_axes(op, x.rank())?;
    let own = axes.clone();
    let lowered = Lowered::new(move |call| {
        let shape = reduced(&call.inputs[0].shape, &axes)?;
        let operands = widened.enter(call)?;
        let (x, y, scratch) = (operands.x, operands.y, operands.scratch);
        launch_reduce(call.queue, kind, form, &ReduceOperands { shape, x, y, scratch })?;
        if matches!(kind, Reduction::Max | Reduction::Min) && call.inputs[0].elements() == 0 {
            widened.bound(call, &operands)?;
        }
        widened.leave(call, &operands)
    });
    // A shape that the device does not take is refused by the launch.
    Some(lowered.with_scratch(move |inputs, outputs| {
        let own = reduced(&inputs[0], &own).and_then(|shape| scratch_bytes(shape, form));
        own.unwrap_or(0).saturating_add(widened.bytes(&inputs[0], &outputs[0]))
    }))
}

pub(super) fn arg_extreme(site: &Site<'_>, op: &ArgExtreme, node: Node<'_>) -> Option<Lowered> {
    let widened = Widened::ordered(site.spec(node.inputs[0]).dtype);
    let form = ordered_form(widened.computed)?;
    let (axis, largest) = (op.axis as usize, op.largest);
    let lowered = Lowered::new(move |call| {
        let lanes = lanes_of(&call.inputs[0].shape, axis..axis + 1)?;
        let y = call.outputs[0];
        if lanes.n == 0 && y.shape.elements() > 0 {
            return call.refuse();
        }
        // Places have a dtype of their own.
        let x = widened.enter(call)?.x;
        launch_arg_extreme(call.queue, lanes, largest, form, (x, y.slice))
    });
    let scratch = move |inputs: &[Shape], outputs: &[Shape]| widened.bytes(&inputs[0], &outputs[0]);
    Some(lowered.with_scratch(scratch).with_faults())
}

pub(super) fn cumulative(site: &Site<'_>, op: &Cumulative, node: Node<'_>) -> Option<Lowered> {
    let widened = Widened::wrapping(site.spec(node.inputs[0]).dtype);
    let form = number_form(widened.computed)?;
    let axis = op.axis as usize;
    let product = match op.kind {
        CumulativeKind::Sum => false,
        CumulativeKind::Prod => true,
    };
    let scan = Scan { product, exclusive: op.exclusive, reverse: op.reverse };
    let lowered = Lowered::new(move |call| {
        let lanes = lanes_of(&call.inputs[0].shape, axis..axis + 1)?;
        let operands = widened.enter(call)?;
        launch_cumulative(call.queue, lanes, scan, form, (operands.x, operands.y))?;
        widened.leave(call, &operands)
    });
    Some(lowered.with_scratch(move |inputs, outputs| widened.bytes(&inputs[0], &outputs[0])))
}

pub(super) fn ragged_pool(site: &Site<'_>, op: &RaggedPool, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let kind = match op.kind {
        RaggedPoolKind::Mean => Pooling::Mean,
        RaggedPoolKind::Sum => Pooling::Sum,
        RaggedPoolKind::Max => Pooling::Max,
        RaggedPoolKind::First => Pooling::First,
        RaggedPoolKind::Last => Pooling::Last,
    };
    Some(Lowered::new(move |call| {
        let ([x, offsets], y) = ([call.inputs[0], call.inputs[1]], &call.outputs[0]);
        let ragged = Ragged {
            x: x.slice,
            offsets: offsets.slice,
            y: y.slice,
            rows: extent(&x.shape[..1])?,
            columns: extent(&x.shape[1..])?,
            sequences: extent(&y.shape[..1])?,
        };
        launch_ragged_pool(call.queue, kind, form, &ragged)
    }))
}

pub(super) fn embedding_bag(site: &Site<'_>, op: &EmbeddingBag, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let index_type = index_type(site.spec(node.inputs[1]).dtype)?;
    let kind = if op.mean { Pooling::Mean } else { Pooling::Sum };
    let lowered = Lowered::new(move |call| {
        let [table, indices, offsets] = [0, 1, 2].map(|index| call.inputs[index]);
        let y = &call.outputs[0];
        let (rows, columns) = row_extents(&table.shape)?;
        let (offsets, sequences) = (offsets.slice, extent(&y.shape[..1])?);
        let ragged = Ragged { x: table.slice, offsets, y: y.slice, rows, columns, sequences };
        let (count, fault) = (indices.elements(), call.fault);
        let named = Named { indices: indices.slice, index_type, count, fault };
        ragged_pool_named(call.queue, kind, form, &ragged, &named)
    });
    Some(lowered.with_faults())
}

/// Whether a device selects this many of the last axis of `x`, whatever the other extents are.
pub(super) fn is_selected(op: &TopK, x: &ValueSpec) -> bool {
    let of = |extent: u64| u32::try_from(extent).unwrap_or(u32::MAX);
    let n = x.dims.last().and_then(Dim::fixed).map_or(u32::MAX, of);
    takes(n, op.k.map_or(n, of))
}

pub(super) fn top_k(site: &Site<'_>, op: &TopK, node: Node<'_>) -> Option<Lowered> {
    let x = site.spec(node.inputs[0]);
    let widened = Widened::wrapping(x.dtype);
    let form = match widened.computed {
        DType::I32 => Form::I32,
        float => float_form(float)?,
    };
    if !is_selected(op, x) {
        return None;
    }
    let largest = op.largest;
    let lowered = Lowered::new(move |call| {
        let [values, indices] = [call.outputs[0], call.outputs[1]];
        let ((rows, n), (_, k)) =
            (row_extents(&call.inputs[0].shape)?, row_extents(&values.shape)?);
        let operands = widened.enter(call)?;
        let (x, values, indices) = (operands.x, operands.y, indices.slice);
        let selection = Selection { x, values, indices, rows, n, k, largest };
        launch_top_k(call.queue, form, &selection)?;
        widened.leave(call, &operands)
    });
    Some(lowered.with_scratch(move |inputs, outputs| widened.bytes(&inputs[0], &outputs[0])))
}
