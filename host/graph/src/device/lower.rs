//! From an op to launches on a device: one place that says for every op whether there is a kernel.

mod attention;
mod elementwise;
mod fourier;
mod images;
mod indexed;
mod integer;
mod moves;
mod normalization;
mod product;
mod quantization;
mod recurrent;
mod reduction;
mod resample;
mod runs;
mod widened;

pub(super) use attention::{CachePages, in_pages};
pub(super) use elementwise::function;

use super::call::Lowered;
use super::constants::ConstantError;
use crate::ValueSpec;
use crate::compile::{Draft, Inst};
use crate::graph::ValueId;
use crate::op::{Op, UnaryKind};
use aimass_cuda::lanes::Lanes;
use aimass_cuda::{Device, DeviceError, Form};
use aimass_tensor::{DType, Shape};
use std::ops::Range;
use std::sync::Arc;

/// What a lowering may look at.
pub(super) struct Site<'a> {
    pub(super) device: &'a Arc<Device>,
    pub(super) draft: &'a Draft,
}

impl<'a> Site<'a> {
    pub(super) fn spec(&self, value: ValueId) -> &'a ValueSpec {
        self.draft.spec(value)
    }
}

/// The values that an op reads.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) inputs: &'a [ValueId],
}

/// The instruction as a device runs it; none if it stays on the CPU.
///
/// # Errors
/// [`ConstantError`] if its constants cannot be brought there.
pub(super) fn lowered(site: &Site<'_>, inst: &Inst) -> Result<Option<Lowered>, ConstantError> {
    match inst {
        Inst::Op { op: Op::Fft(op), inputs, .. } => fourier::fft(site, op, Node { inputs }),
        Inst::Op { op, inputs, .. } => Ok(op_lowered(site, op, Node { inputs })),
        Inst::Linear(linear) => product::linear_layer(site, linear),
        Inst::Image(image) => images::image(site, image),
    }
}

fn op_lowered(site: &Site<'_>, op: &Op, node: Node<'_>) -> Option<Lowered> {
    match op {
        Op::Binary(op) => elementwise::binary(site, op, node),
        Op::Cast(op) => elementwise::cast(site, op, node),
        Op::Clamp(op) => elementwise::clamp(site, op, node),
        Op::Select(op) => elementwise::select(site, op, node),
        Op::ArgExtreme(op) => reduction::arg_extreme(site, op, node),
        Op::BatchNorm(op) => normalization::batch_norm(site, op, node),
        Op::Cumulative(op) => reduction::cumulative(site, op, node),
        Op::Dequantize(op) => quantization::dequantize(site, op, node),
        Op::EmbeddingBag(op) => reduction::embedding_bag(site, op, node),
        Op::GroupNorm(op) => normalization::group_norm(site, op, node),
        Op::LayerNorm(op) => normalization::layer_norm(site, op, node),
        Op::Normalize(op) => normalization::normalize(site, op, node),
        Op::Quantize(op) => quantization::quantize(site, op, node),
        Op::QuantizedLinear(op) => quantization::quantized_linear(site, op, node),
        Op::RaggedPool(op) => reduction::ragged_pool(site, op, node),
        Op::RandomBits(op) => quantization::random_bits(site, op, node),
        Op::Reduce(op) => reduction::reduce(site, op, node),
        Op::Rope(op) => normalization::rope(site, op, node),
        Op::Softmax(op) => normalization::softmax(site, op, node),
        Op::TopK(op) => reduction::top_k(site, op, node),
        Op::Unary(op) => elementwise::unary(site, op, node),
        Op::Bitcast(_) | Op::Reshape(_) => moves::same_bytes(),
        Op::Broadcast(op) => moves::broadcast(site, op, node),
        Op::Concat(op) => moves::concat(site, op, node),
        Op::Pad(op) => moves::pad(site, op, node),
        Op::Reverse(op) => moves::reverse(site, op, node),
        Op::Slice(op) => moves::slice(site, op, node),
        Op::Split(op) => moves::split(site, op, node),
        Op::Tile(op) => moves::tile(site, op, node),
        Op::Transpose(op) => moves::transpose(site, op, node),
        Op::Gather(op) => indexed::gather(site, op, node),
        Op::GatherElements(op) => indexed::gather_elements(site, op, node),
        Op::GatherNd(op) => indexed::gather_nd(site, op, node),
        Op::Iota(op) => indexed::iota(op),
        Op::OneHot(op) => indexed::one_hot(op),
        Op::Positions(_) => indexed::positions(),
        Op::ScatterElements(op) => indexed::scatter_elements(site, op, node),
        Op::ScatterNd(op) => indexed::scatter_nd(site, op, node),
        Op::Attention(op) => attention::batched(site, op, node),
        Op::RaggedAttention(op) => attention::ragged(site, op, node),
        Op::Conv(op) => images::conv(site, op, node),
        Op::ConvTranspose(op) => images::conv_transpose(site, op, node),
        Op::Pool(op) => images::pool(site, op, node),
        Op::DotGeneral(op) => product::dot_general(site, op, node),
        Op::Linear(op) => product::linear(site, op, node),
        Op::MatMul(_) => product::matmul(site, node),
        Op::MatMulInteger(op) => integer::matmul(site, op, node),
        Op::Recurrent(op) => recurrent::recurrent(site, op, node),
        Op::Resample(op) => resample::resample(site, op, node),
        Op::Resize(op) => resample::resize(site, op, node),
        Op::ShapeOf(_) => Some(indexed::shape_of()),
        // Extents or control flow of these are found on the way. Transforms have constants of their own,
        // and layers of 8-bit weights are instructions, but for those without elements.
        Op::DynamicLinear(_)
        | Op::DynamicSlice(_)
        | Op::Fft(_)
        | Op::IfElse(_)
        | Op::NonMaxSuppression(_)
        | Op::NonZero(_)
        | Op::Scan(_)
        | Op::While(_) => None,
    }
}

/// Whether the device has kernels of this op, with these inputs, for floats of 16 bits, so that it need
/// not be widened.
pub(crate) fn computes_narrow(op: &Op, inputs: &[&ValueSpec]) -> bool {
    let always = matches!(
        op,
        Op::ArgExtreme(_)
            | Op::Attention(_)
            | Op::Binary(_)
            | Op::Clamp(_)
            | Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Cumulative(_)
            | Op::Dequantize(_)
            | Op::DotGeneral(_)
            | Op::EmbeddingBag(_)
            | Op::LayerNorm(_)
            | Op::Linear(_)
            | Op::MatMul(_)
            | Op::Normalize(_)
            | Op::Pool(_)
            | Op::Quantize(_)
            | Op::RaggedAttention(_)
            | Op::RaggedPool(_)
            | Op::Recurrent(_)
            | Op::Softmax(_)
    );
    let of_extents = || match (op, inputs) {
        // These take floats of 8 bits too.
        (Op::Unary(op), [x, ..]) if matches!(op.kind, UnaryKind::IsNan | UnaryKind::IsInf) => {
            matches!(x.dtype, DType::F16 | DType::Bf16)
        }
        (Op::Unary(_), _) => true,
        (Op::Reduce(op), [x, ..]) => reduction::reduced_axes(op, x.rank()).is_some(),
        (Op::Rope(op), [x, ..]) => normalization::head_size(op, x).is_some(),
        (Op::TopK(op), [x, ..]) => reduction::is_selected(op, x),
        (_, _) => false,
    };
    always || of_extents()
}

/// Product of extents, for a kernel.
///
/// # Errors
/// [`DeviceError::Defect`] if it counts in more than 32 bits.
pub(super) fn extent(extents: &[usize]) -> Result<u32, DeviceError> {
    extents
        .iter()
        .try_fold(1usize, |all, &extent| all.checked_mul(extent))
        .and_then(|all| u32::try_from(all).ok())
        .ok_or(DeviceError::Defect("an extent of more than 32 bits"))
}

/// The shape with these axes in the middle.
///
/// # Errors
/// As [`extent`].
pub(super) fn lanes_of(shape: &Shape, axes: Range<usize>) -> Result<Lanes, DeviceError> {
    Ok(Lanes {
        outer: extent(&shape[..axes.start])?,
        n: extent(&shape[axes.clone()])?,
        inner: extent(&shape[axes.end..])?,
    })
}

/// Rows, and elements of a row of the last axis.
///
/// # Errors
/// As [`extent`].
pub(super) fn row_extents(shape: &Shape) -> Result<(u32, u32), DeviceError> {
    let last = shape.rank().saturating_sub(1);
    Ok((extent(&shape[..last])?, extent(&shape[last..])?))
}

/// The form of kernels that compute with this dtype; none if there are none.
pub(super) fn float_form(dtype: DType) -> Option<Form> {
    match dtype {
        DType::F32 => Some(Form::F32),
        DType::F16 => Some(Form::F16),
        DType::Bf16 => Some(Form::Bf16),
        _ => None,
    }
}
