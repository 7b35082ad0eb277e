//! Convolutions and pooling: of images with their channels last, as fused layers, and of any values.

use super::product::finish;
use super::{Node, Site, extent, float_form};
use crate::compile::{DenseForm, ImageInst, ImageKind};
use crate::device::call::{DeviceCall, Lowered};
use crate::device::constants::{ConstantError, on_device};
use crate::op::{Conv, ConvTranspose, Pool, PoolKind, Window};
use crate::packing::Constant;
use crate::{PlanError, ValueSpec};
use aimass_cpu::conv::ImagePool;
use aimass_cuda::conv::{
    Axis, ConvOperands, ConvShape, Layout, conv as launch_conv, conv_depthwise as launch_depthwise,
    conv_scratch, conv_transpose as launch_transpose,
};
use aimass_cuda::matmul::Finish;
use aimass_cuda::pool::{PoolShape, average_pool, max_pool};
use aimass_cuda::shape_ops::transpose;
use aimass_cuda::{Device, DeviceError, Form, Memory, Slice};
use aimass_tensor::{DType, Shape};
use std::sync::Arc;

const DEFECT: DeviceError = DeviceError::Defect("images of another rank than four");
/// Parts of scratch memory begin at multiples of this.
const ALIGN: usize = 256;

/// A window over two or more axes, with what is known when a plan is compiled.
#[derive(Clone)]
struct Windows {
    window: Window,
    kernel: Vec<usize>,
}

/// Largest number of a window that kernels take: positions stay far from the ends of their integers.
const WINDOW_MAX: u64 = 1 << 24;

impl Windows {
    /// None for what the kernels do not count: more than three axes, or numbers beyond all images.
    fn new(window: &Window, kernel: Vec<usize>) -> Option<Windows> {
        let Window { strides, pads_before, pads_after, dilations } = window;
        let lists = [strides, pads_before, pads_after, dilations];
        let small = lists.into_iter().flatten().all(|&n| n <= WINDOW_MAX)
            && kernel.iter().all(|&n| n as u64 <= WINDOW_MAX);
        let fits = small && kernel.len() <= 3;
        fits.then(|| Windows { window: window.clone(), kernel })
    }

    /// The kernel's axes, for spatial extents of what the window moves over and of its positions.
    fn axes(&self, input: &[usize], output: &[usize]) -> Result<[Axis; 3], DeviceError> {
        let mut axes = [Axis::ONE; 3];
        let start = axes.len().checked_sub(self.kernel.len()).ok_or(DEFECT)?;
        let small = |n: u64| u32::try_from(n).map_err(|_| DEFECT);
        for (i, axis) in axes[start..].iter_mut().enumerate() {
            *axis = Axis {
                input: extent(&input[i..=i])?,
                output: extent(&output[i..=i])?,
                kernel: extent(&self.kernel[i..=i])?,
                stride: small(self.window.strides[i])?,
                dilation: small(self.window.dilations[i])?,
                before: small(self.window.pads_before[i])?,
            };
        }
        Ok(axes)
    }
}

/// An operation on images with its epilogue.
pub(super) fn image(site: &Site<'_>, inst: &ImageInst) -> Result<Option<Lowered>, ConstantError> {
    if site.spec(inst.out).dtype != DType::F32 {
        return Ok(None);
    }
    let Some(windows) = Windows::new(&inst.window, inst.kernel.to_vec()) else { return Ok(None) };
    let taps = inst.kernel[0] * inst.kernel[1];
    let (weights, groups, transposed, planes) = match &inst.kind {
        ImageKind::Dense { weight, channels, filters, form } => {
            let moved = |from: &[u8]| channels_behind(from, *filters, *channels, taps);
            let planes = *form == DenseForm::Planes;
            (weights(site, weight, "channels last", moved)?, false, false, planes)
        }
        ImageKind::Depthwise { w } => {
            let constant = site.draft.constant(site.draft.root(*w))?;
            (weights(site, constant, "plain", <[u8]>::to_vec)?, true, false, false)
        }
        ImageKind::Spread { weight, .. } => {
            (weights(site, weight, "plain", <[u8]>::to_vec)?, false, true, false)
        }
        ImageKind::Pool(kind) => return Ok(pool_image(*kind, windows, inst)),
    };
    let layer = Layer {
        device: site.device.clone(),
        windows,
        weights,
        depthwise: groups,
        transposed,
        planes,
        has_bias: inst.bias.is_some(),
        has_residual: inst.residual.is_some(),
        has_weights: matches!(inst.kind, ImageKind::Depthwise { .. }),
        finish: finish(&inst.finish),
    };
    let of_scratch = layer.clone();
    let lowered = Lowered::new(move |call| layer.launch(call));
    Ok(Some(lowered.with_scratch(move |inputs, outputs| of_scratch.scratch(inputs, outputs))))
}

/// Weights on the device, as `moved` makes them of the constant's.
fn weights(
    site: &Site<'_>,
    weight: &Constant,
    layout: &str,
    moved: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Result<Arc<Memory>, ConstantError> {
    on_device(site.device, &format!("image {layout}"), &[weight], || {
        let tensor = weight.load()?;
        match tensor.dtype() {
            DType::F32 => Ok(moved(tensor.bytes())),
            _ => Err(PlanError::Internal("weights of images are no f32")),
        }
    })
}

/// `[outer, channels, taps]` of f32 as `[outer, taps, channels]`.
fn channels_behind(from: &[u8], outer: usize, channels: usize, taps: usize) -> Vec<u8> {
    const SIZE: usize = size_of::<f32>();
    let mut to = vec![0; from.len()];
    let item = channels * taps * SIZE;
    if item == 0 {
        return to;
    }
    for (to, from) in to.chunks_exact_mut(item).zip(from.chunks_exact(item)).take(outer) {
        for channel in 0..channels {
            for tap in 0..taps {
                let (place, own) =
                    ((tap * channels + channel) * SIZE, (channel * taps + tap) * SIZE);
                to[place..place + SIZE].copy_from_slice(&from[own..own + SIZE]);
            }
        }
    }
    to
}

/// A convolution of images.
#[derive(Clone)]
struct Layer {
    device: Arc<Device>,
    windows: Windows,
    weights: Arc<Memory>,
    depthwise: bool,
    transposed: bool,
    /// Whether `x` has its channels in front.
    planes: bool,
    has_bias: bool,
    has_residual: bool,
    /// Whether the weights are an input as well.
    has_weights: bool,
    finish: Finish,
}

impl Layer {
    fn shape(&self, x: &Shape, y: &Shape) -> Result<ConvShape, DeviceError> {
        let (&[batch, a, b, c], &[_, height, width, filters]) = (&x[..], &y[..]) else {
            return Err(DEFECT);
        };
        let (rows, columns, channels) = if self.planes { (b, c, a) } else { (a, b, c) };
        let (x, y) = ([rows, columns], [height, width]);
        let (input, output) = if self.transposed { (y, x) } else { (x, y) };
        Ok(ConvShape {
            batch: extent(&[batch])?,
            groups: if self.depthwise { extent(&[channels])? } else { 1 },
            channels: extent(&[channels])?,
            filters: extent(&[filters])?,
            axes: self.windows.axes(&input, &output)?,
            layout: Layout::ChannelsLast,
        })
    }

    /// Bytes of the copy of `x` with its channels behind.
    fn moved_bytes(&self, x: &Shape) -> usize {
        match self.planes {
            true => (x.elements() * size_of::<f32>()).next_multiple_of(ALIGN),
            false => 0,
        }
    }

    fn scratch(&self, inputs: &[Shape], outputs: &[Shape]) -> usize {
        let own = match (self.transposed, self.shape(&inputs[0], &outputs[0])) {
            (false, Ok(shape)) => conv_scratch(&self.device, Form::F32, &shape),
            (true, _) | (_, Err(_)) => 0,
        };
        self.moved_bytes(&inputs[0]).saturating_add(own)
    }

    fn launch(&self, call: &mut DeviceCall<'_, '_, '_>) -> Result<(), DeviceError> {
        let (first, out) = (&call.inputs[0], &call.outputs[0]);
        if out.shape.elements() == 0 {
            return Ok(());
        }
        let shape = self.shape(&first.shape, &out.shape)?;
        let moved = self.moved_bytes(&first.shape);
        let mut x = first.slice;
        if self.planes {
            x = call.scratch.part(0, first.shape.elements() * size_of::<f32>())?;
            let dense = (first.slice, &first.shape[..]);
            transpose(call.queue, size_of::<f32>(), dense, &[0, 2, 3, 1], x)?;
        }
        let mut others = call.inputs[1 + usize::from(self.has_weights)..].iter();
        let mut next = |there: bool| match there {
            true => others.next().map_or_else(Slice::none, |value| value.slice),
            false => Slice::none(),
        };
        let (bias, residual) = (next(self.has_bias), next(self.has_residual));
        let scratch = call.scratch.part(moved, call.scratch.bytes() - moved)?;
        let operands =
            ConvOperands { x, w: self.weights.slice(), bias, residual, y: out.slice, scratch };
        let launch = match (self.transposed, self.depthwise) {
            (true, _) => launch_transpose,
            (false, true) => launch_depthwise,
            (false, false) => launch_conv,
        };
        launch(call.queue, Form::F32, &shape, &operands, self.finish)
    }
}

/// A pooling of images; none with an epilogue.
fn pool_image(kind: ImagePool, windows: Windows, inst: &ImageInst) -> Option<Lowered> {
    if !inst.finish.is_plain() || inst.bias.is_some() {
        return None;
    }
    Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let shape = PoolShape {
            planes: extent(&x.shape[..1])?,
            inner: extent(&x.shape[3..])?,
            axes: windows.axes(&x.shape[1..3], &y.shape[1..3])?,
        };
        match kind {
            ImagePool::Max => max_pool(call.queue, Form::F32, &shape, (x.slice, y.slice)),
            ImagePool::Average { count_pads } => {
                average_pool(call.queue, Form::F32, &shape, count_pads, (x.slice, y.slice))
            }
        }
    }))
}

/// Window extents of weights.
fn kernel_of(w: &ValueSpec) -> Option<Vec<usize>> {
    let known = |dim: &crate::Dim| dim.fixed().and_then(|n| usize::try_from(n).ok());
    w.dims.get(2..)?.iter().map(known).collect()
}

/// A convolution of `[rows, channels, ..]` whose weights may be made in the graph.
pub(super) fn conv(site: &Site<'_>, op: &Conv, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let kernel = kernel_of(site.spec(node.inputs[1]))?;
    let (windows, groups) = (Windows::new(&op.window, kernel)?, op.groups);
    let shape_of = move |x: &Shape, y: &Shape| {
        Ok::<ConvShape, DeviceError>(ConvShape {
            batch: extent(&x[..1])?,
            groups,
            channels: extent(&x[1..2])?,
            filters: extent(&y[1..2])?,
            axes: windows.axes(&x[2..], &y[2..])?,
            layout: Layout::ChannelsFirst,
        })
    };
    let (of_scratch, device) = (shape_of.clone(), site.device.clone());
    let lowered = Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let shape = shape_of(&x.shape, &y.shape)?;
        launch_conv(call.queue, form, &shape, &plain_operands(call), Finish::default())
    });
    Some(lowered.with_scratch(move |inputs, outputs| {
        of_scratch(&inputs[0], &outputs[0]).map_or(0, |shape| conv_scratch(&device, form, &shape))
    }))
}

/// `x`, `w` and perhaps a bias.
fn plain_operands<'m>(call: &DeviceCall<'m, '_, '_>) -> ConvOperands<'m> {
    ConvOperands {
        x: call.inputs[0].slice,
        w: call.inputs[1].slice,
        bias: call.inputs.get(2).map_or_else(Slice::none, |bias| bias.slice),
        residual: Slice::none(),
        y: call.outputs[0].slice,
        scratch: call.scratch,
    }
}

/// A transposed convolution of `[rows, channels, ..]`.
pub(super) fn conv_transpose(
    site: &Site<'_>,
    op: &ConvTranspose,
    node: Node<'_>,
) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    let kernel = kernel_of(site.spec(node.inputs[1]))?;
    let (windows, groups) = (Windows::new(&op.window, kernel)?, op.groups);
    Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let shape = ConvShape {
            batch: extent(&x.shape[..1])?,
            groups,
            channels: extent(&x.shape[1..2])?,
            filters: extent(&y.shape[1..2])?,
            axes: windows.axes(&y.shape[2..], &x.shape[2..])?,
            layout: Layout::ChannelsFirst,
        };
        launch_transpose(call.queue, form, &shape, &plain_operands(call), Finish::default())
    }))
}

/// A pooling of `[rows, channels, ..]`.
pub(super) fn pool(site: &Site<'_>, op: &Pool, node: Node<'_>) -> Option<Lowered> {
    let form = match (op.kind, site.spec(node.inputs[0]).dtype) {
        (PoolKind::Max, DType::I8) => Form::I8,
        (PoolKind::Max, DType::U8) => Form::U8,
        (PoolKind::Max, DType::I32) => Form::I32,
        (PoolKind::Max, DType::I64) => Form::I64,
        (PoolKind::Max | PoolKind::Average { .. }, dtype) => float_form(dtype)?,
    };
    let kernel: Option<Vec<usize>> = op.size.iter().map(|&n| usize::try_from(n).ok()).collect();
    let (windows, kind) = (Windows::new(&op.window, kernel?)?, op.kind);
    Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let shape = PoolShape {
            planes: extent(&x.shape[..2])?,
            inner: 1,
            axes: windows.axes(&x.shape[2..], &y.shape[2..])?,
        };
        match kind {
            PoolKind::Max => max_pool(call.queue, form, &shape, (x.slice, y.slice)),
            PoolKind::Average { count_pads } => {
                average_pool(call.queue, form, &shape, count_pads, (x.slice, y.slice))
            }
        }
    }))
}
