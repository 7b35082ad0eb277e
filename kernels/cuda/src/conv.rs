//! Convolutions over up to three spatial axes (ONNX `Conv-11`, `ConvTranspose-11`); padding counts as 0.
//!
//! f32 is computed in f32. f16 and bf16 are multiplied by tensor cores, summed in f32 and rounded once.
//! Where cuBLASLt is there, those of images with their channels last are products of it where that is faster.

use crate::conv_product::ConvProduct;
use crate::device::Device;
use crate::entries;
use crate::error::DeviceError;
use crate::finish::Finish;
use crate::launch::{Address, Form, Grid};
use crate::memory::Slice;
use crate::parameters;
use crate::queue::Queue;

/// How a window moves along one spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Extent that the window moves over, without padding.
    pub input: u32,
    /// Number of window positions.
    pub output: u32,
    /// Elements of the window.
    pub kernel: u32,
    /// Elements from one position to the next, at least 1.
    pub stride: u32,
    /// Elements from one element of the window to the next, at least 1.
    pub dilation: u32,
    /// Padding in front of the input.
    pub before: u32,
}

impl Axis {
    /// An axis that changes nothing; fewer than three are filled up in front with it.
    pub const ONE: Axis =
        Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0 };
}

/// Where the channels of images lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[batch, channels, spatial..]`, weights `[filters, channels / groups, kernel..]`.
    ChannelsFirst,
    /// `[batch, spatial.., channels]`, weights `[filters, kernel.., channels / groups]`.
    ChannelsLast,
}

/// Extents of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: u32,
    /// Groups; divides both numbers of channels.
    pub groups: u32,
    /// Channels of `x`.
    pub channels: u32,
    /// Channels of the result.
    pub filters: u32,
    /// How the window moves; of a transposed convolution over its *result*.
    pub axes: [Axis; 3],
    /// Of `x`, the result and the residual.
    pub layout: Layout,
}

/// What a convolution reads and writes; all of one type.
#[derive(Clone, Copy, Debug)]
pub struct ConvOperands<'m> {
    /// The images.
    pub x: Slice<'m>,
    /// As the layout says; of a transposed convolution always `[channels, filters / groups, kernel..]`.
    pub w: Slice<'m>,
    /// `[filters]`, or nothing.
    pub bias: Slice<'m>,
    /// Shaped as the result, which it may be, or nothing.
    pub residual: Slice<'m>,
    /// The result.
    pub y: Slice<'m>,
    /// [`conv_scratch`] bytes, 4-byte aligned.
    pub scratch: Slice<'m>,
}

/// Outputs and filters of a tile.
const TILE: u32 = 64;
/// Filters of a group from which on tiles are worth it.
const TILED_FILTERS_MIN: u32 = 16;
/// Outputs of a thread of a depthwise convolution: as in conv_depthwise.cu.
const RUN: u32 = 4;
/// Extents at and beyond which a position would be taken for one that lies nowhere.
const EXTENT_END: u64 = 1 << 28;
/// Blocks that a launch should have: two on each multiprocessor of a large GPU.
const BLOCKS: u64 = 264;
/// Terms of the sum that one block of several takes at least, and most blocks that share a sum.
const SPLIT_TERMS_MIN: u32 = 128;
const SPLITS_MAX: u64 = 32;

/// Bytes of scratch memory that [`conv`] needs on this device.
pub fn conv_scratch(device: &Device, form: Form, shape: &ConvShape) -> usize {
    let windows = match device.may_have_blas() {
        true => ConvProduct::new(device, form, shape).map_or(0, |product| product.scratch(form)),
        false => 0,
    };
    shape.partial_bytes().max(windows)
}

/// `y = finish(conv(x, w) + bias, residual)`.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short for its shape or windows reach over 2^28
/// elements, or a refused launch.
pub fn conv(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &ConvShape,
    operands: &ConvOperands<'_>,
    finish: Finish,
) -> Result<(), DeviceError> {
    shape.check()?;
    let x_extents = shape.axes.map(|axis| axis.input);
    let y_extents = shape.axes.map(|axis| axis.output);
    let mut own = shape.parameters(x_extents, y_extents);
    let Addresses { x, w, bias, residual, y } = operands.addresses(form, shape, false)?;
    let ending = finish.into();
    if shape.results() == 0 {
        return Ok(());
    }
    if let Some(product) = ConvProduct::new(queue.device(), form, shape)
        && product.run(queue, (form, &own), operands, finish)?
    {
        return Ok(());
    }
    let Some((splits, terms)) = shape.splits() else {
        let kernel =
            entries::ConvDirect { x, w, bias, residual, y, shape: own, ending, transposed: 0 };
        return queue.launch(&kernel, form, queue.over(shape.results(), 256));
    };
    let width = 16 / form.bytes() as u32;
    let whole =
        |extent: u32, slice: Slice<'_>| extent.is_multiple_of(width) && slice.is_aligned(16);
    own.x_vectors =
        (shape.layout == Layout::ChannelsLast && whole(own.channels, operands.x)).into();
    own.w_vectors = whole(own.channels * own.taps, operands.w).into();
    (own.splits, own.terms) = (splits, terms);
    let partial = match shape.partial_bytes() as u64 {
        0 => Address(0),
        bytes => operands.scratch.elements(bytes / 4, 4)?,
    };
    let tiles = entries::ConvTiles { x, w, bias, residual, y, partial, shape: own, ending };
    let [across, down] = shape.tiles();
    let grid = Grid { blocks: [across, down, splits], threads: [128, 1, 1], shared: 0 };
    queue.launch(&tiles, form, grid)?;
    if splits == 1 {
        return Ok(());
    }
    let join = entries::ConvJoin { partial, bias, residual, y, shape: own, ending };
    queue.launch(&join, form, queue.over(shape.results(), 256))
}

/// As [`conv`] of images, channels last, where each channel has one filter of its own: channels, filters
/// and groups are the same number, and the first axis is [`Axis::ONE`]. `w` is `[kernel.., channels]`.
///
/// # Errors
/// As [`conv`].
pub fn conv_depthwise(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &ConvShape,
    operands: &ConvOperands<'_>,
    finish: Finish,
) -> Result<(), DeviceError> {
    shape.check()?;
    let ConvShape { groups, channels, filters, axes, layout, .. } = *shape;
    if groups != channels || filters != channels || axes[0] != Axis::ONE {
        return Err(DeviceError::Defect("a depthwise convolution of other than images"));
    }
    if layout != Layout::ChannelsLast {
        return Err(DeviceError::Defect("a depthwise convolution with its channels in front"));
    }
    let Addresses { x, w, bias, residual, y } = operands.addresses(form, shape, false)?;
    if shape.results() == 0 {
        return Ok(());
    }
    let mut own = shape.parameters(axes.map(|axis| axis.input), axes.map(|axis| axis.output));
    let aligned = [operands.x, operands.w, operands.y].iter().all(|slice| slice.is_aligned(16));
    let width = match aligned && channels.is_multiple_of(16 / form.bytes() as u32) {
        true => 16 / form.bytes() as u32,
        false => 1,
    };
    own.x_vectors = (width > 1).into();
    let lines = u64::from(own.images) * u64::from(axes[1].output);
    let threads = lines * u64::from(axes[2].output.div_ceil(RUN)) * u64::from(channels / width);
    let kernel =
        entries::ConvDepthwise { x, w, bias, residual, y, shape: own, ending: finish.into() };
    queue.launch(&kernel, form, queue.over(threads, 128))
}

/// `y = finish(conv_transpose(x, w) + bias, residual)`: every element of `x` adds a scaled window to
/// `y`.
///
/// # Errors
/// As [`conv`].
pub fn conv_transpose(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &ConvShape,
    operands: &ConvOperands<'_>,
    finish: Finish,
) -> Result<(), DeviceError> {
    shape.check()?;
    let x_extents = shape.axes.map(|axis| axis.output);
    let y_extents = shape.axes.map(|axis| axis.input);
    let mut own = shape.parameters(x_extents, y_extents);
    own.w_channel = own.filters * own.taps;
    own.w_filter = own.taps;
    own.w_tap = 1;
    let Addresses { x, w, bias, residual, y } = operands.addresses(form, shape, true)?;
    let results = u64::from(own.images) * u64::from(shape.filters) * product(y_extents);
    if results == 0 {
        return Ok(());
    }
    let ending = finish.into();
    let kernel = entries::ConvDirect { x, w, bias, residual, y, shape: own, ending, transposed: 1 };
    queue.launch(&kernel, form, queue.over(results, 256))
}

fn product(extents: [u32; 3]) -> u64 {
    extents.iter().fold(1u64, |all, &own| all.saturating_mul(own.into()))
}

impl ConvShape {
    /// Elements of the result of a convolution that is not transposed.
    pub(crate) fn results(&self) -> u64 {
        let positions = product(self.axes.map(|axis| axis.output));
        positions.saturating_mul(u64::from(self.batch) * u64::from(self.filters))
    }

    /// Terms of the sum of each output.
    pub(crate) fn terms(&self) -> u64 {
        product(self.axes.map(|axis| axis.kernel))
            .saturating_mul((self.channels / self.groups.max(1)).into())
    }

    /// Tiles over outputs, and over the filters of all groups.
    fn tiles(&self) -> [u32; 2] {
        let positions = u64::from(self.batch) * product(self.axes.map(|axis| axis.output));
        let filters = (self.filters / self.groups.max(1)).div_ceil(TILE) * self.groups;
        [u32::try_from(positions.div_ceil(TILE.into())).unwrap_or(u32::MAX), filters]
    }

    /// Blocks that share the sum of an output, and terms of each; none if there are no tiles.
    fn splits(&self) -> Option<(u32, u32)> {
        let [across, down] = self.tiles();
        let tiled = self.filters / self.groups.max(1) >= TILED_FILTERS_MIN
            && across < 1 << 31
            && down < 1 << 16
            && self.terms() < 1 << 31;
        if !tiled {
            return None;
        }
        let terms = self.terms() as u32;
        let wanted = (BLOCKS / (u64::from(across) * u64::from(down)).max(1)).clamp(1, SPLITS_MAX);
        let splits = (wanted as u32).min(terms / SPLIT_TERMS_MIN).max(1);
        let each = terms.div_ceil(splits).next_multiple_of(32).max(32);
        Some((terms.div_ceil(each).max(1), each))
    }

    /// Bytes of the sums that blocks share.
    fn partial_bytes(&self) -> usize {
        match self.splits() {
            Some((splits, _)) if splits > 1 => splits as usize * self.results() as usize * 4,
            Some(_) | None => 0,
        }
    }

    fn check(&self) -> Result<(), DeviceError> {
        if self.groups == 0
            || !self.channels.is_multiple_of(self.groups)
            || !self.filters.is_multiple_of(self.groups)
        {
            return Err(DeviceError::Defect("groups that do not divide the channels"));
        }
        for axis in self.axes {
            let reach = u64::from(axis.output) * u64::from(axis.stride)
                + u64::from(axis.kernel) * u64::from(axis.dilation)
                + u64::from(axis.before)
                + u64::from(axis.input);
            if axis.stride == 0 || axis.dilation == 0 || reach >= EXTENT_END {
                return Err(DeviceError::Defect("a window that reaches over 2^28 elements"));
            }
        }
        Ok(())
    }

    fn parameters(&self, input: [u32; 3], output: [u32; 3]) -> parameters::ConvShape {
        let (channels, filters) = (self.channels / self.groups, self.filters / self.groups);
        let taps = product(self.axes.map(|axis| axis.kernel)) as u32;
        let (inputs, outputs) = (product(input) as u32, product(output) as u32);
        let last = self.layout == Layout::ChannelsLast;
        // Elements from one position, and from one channel, to the next.
        let (x_step, x_channel) = if last { (self.channels, 1) } else { (1, inputs) };
        let (y_step, y_filter) = if last { (self.filters, 1) } else { (1, outputs) };
        let (w_channel, w_tap) = if last { (1, channels) } else { (taps, 1) };
        parameters::ConvShape {
            groups: self.groups,
            channels,
            filters,
            images: self.batch,
            taps,
            input,
            output,
            kernel: self.axes.map(|axis| axis.kernel),
            stride: self.axes.map(|axis| axis.stride),
            dilation: self.axes.map(|axis| axis.dilation),
            before: self.axes.map(|axis| axis.before),
            x_image: self.channels.wrapping_mul(inputs),
            x_channel,
            x_axis: [
                input[1].wrapping_mul(input[2]).wrapping_mul(x_step),
                input[2] * x_step,
                x_step,
            ],
            y_image: self.filters.wrapping_mul(outputs),
            y_filter,
            y_position: y_step,
            w_filter: channels.wrapping_mul(taps),
            w_channel,
            w_tap,
            last: last.into(),
            x_vectors: 0,
            w_vectors: 0,
            splits: 1,
            terms: 0,
        }
    }
}

struct Addresses {
    x: Address,
    w: Address,
    bias: Address,
    residual: Address,
    y: Address,
}

impl ConvOperands<'_> {
    fn addresses(
        &self,
        form: Form,
        shape: &ConvShape,
        transposed: bool,
    ) -> Result<Addresses, DeviceError> {
        let size = form.bytes();
        let inputs = product(shape.axes.map(|axis| axis.input));
        let outputs = product(shape.axes.map(|axis| axis.output));
        let (inputs, outputs) = if transposed { (outputs, inputs) } else { (inputs, outputs) };
        let images = |channels: u32, extent: u64| {
            let all = (u64::from(shape.batch) * u64::from(channels)).saturating_mul(extent);
            match all < 1 << 31 {
                true => Ok(all),
                false => Err(DeviceError::Defect("a convolution of 2^31 elements or more")),
            }
        };
        let results = images(shape.filters, outputs)?;
        let optional = |slice: &Slice<'_>, count: u64| match slice.bytes() {
            0 => Ok(Address(0)),
            _ => slice.elements(count, size),
        };
        // Transposed or not, each channel meets the filters of its group.
        let pairs = u64::from(shape.channels) * u64::from(shape.filters / shape.groups);
        let weights = product(shape.axes.map(|axis| axis.kernel)).saturating_mul(pairs);
        Ok(Addresses {
            x: self.x.elements(images(shape.channels, inputs)?, size)?,
            w: self.w.elements(weights, size)?,
            bias: optional(&self.bias, shape.filters.into())?,
            residual: optional(&self.residual, results)?,
            y: self.y.elements(results, size)?,
        })
    }
}
