//! Normalization of channels of `[batch, channels, inner]` (ONNX `BatchNormalization-15`,
//! `GroupNormalization-21`); with a group for each channel, instance norm.

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::{Lanes, is_vector};
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::parameters::ChannelRows;
use crate::queue::Queue;

/// Operands of a normalization, all of one form of floats.
#[derive(Clone, Copy, Debug)]
pub struct Channels<'m> {
    /// `[batch, channels, inner]` as outer, n and inner.
    pub shape: Lanes,
    /// Of `shape`.
    pub x: Slice<'m>,
    /// `[channels]`, by which the normalized element is multiplied.
    pub scale: Slice<'m>,
    /// `[channels]`, added at the end.
    pub bias: Slice<'m>,
    /// Of `shape`; may be `x`.
    pub y: Slice<'m>,
}

/// Stored statistics of a batch norm, `[channels]` each.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'m> {
    /// Subtracted.
    pub mean: Slice<'m>,
    /// Whose root, after epsilon is added, divides.
    pub variance: Slice<'m>,
}

/// Threads of a block of batch norm.
const THREADS: u32 = 256;

impl Channels<'_> {
    fn rows(&self, form: Form) -> Result<ChannelRows, DeviceError> {
        let (elements, size) = (self.shape.elements()?, form.bytes());
        let Lanes { n: channels, inner, .. } = self.shape;
        Ok(ChannelRows {
            x: self.x.elements(elements, size)?,
            scale: self.scale.elements(channels.into(), size)?,
            bias: self.bias.elements(channels.into(), size)?,
            y: self.y.elements(elements, size)?,
            channels,
            inner,
        })
    }

    /// Whether each channel can be read 16 bytes at a time.
    fn is_vector(&self, form: Form) -> bool {
        is_vector(form, self.shape.inner, self.x.is_aligned(16) && self.y.is_aligned(16))
    }
}

/// `y = (x - mean) / sqrt(variance + epsilon) * scale + bias` with stored statistics.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn batch_norm(
    queue: &mut Queue<'_>,
    statistics: Statistics<'_>,
    epsilon: f32,
    form: Form,
    channels: &Channels<'_>,
) -> Result<(), DeviceError> {
    let rows = channels.rows(form)?;
    let elements = channels.shape.elements()?;
    let vector = channels.is_vector(form);
    let kernel = entries::BatchNorm {
        rows,
        means: statistics.mean.elements(rows.channels.into(), form.bytes())?,
        variances: statistics.variance.elements(rows.channels.into(), form.bytes())?,
        epsilon,
        n: elements as u32,
        vector: vector.into(),
    };
    let each = if vector { 16 / form.bytes() as u64 } else { 1 };
    match elements {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, queue.over(elements.div_ceil(each), THREADS)),
    }
}

/// As layer norm, over each of `groups` groups of channels of an item, with scale and bias by
/// channel.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short or the groups do not divide the channels, or
/// a refused launch.
pub fn group_norm(
    queue: &mut Queue<'_>,
    groups: u32,
    epsilon: f32,
    form: Form,
    channels: &Channels<'_>,
) -> Result<(), DeviceError> {
    let rows = channels.rows(form)?;
    if groups == 0 || !rows.channels.is_multiple_of(groups) {
        return Err(DeviceError::Defect("groups that do not divide the channels"));
    }
    if channels.shape.elements()? == 0 {
        return Ok(());
    }
    let n = rows.channels / groups * rows.inner;
    let vector = channels.is_vector(form).into();
    let part = 16 / form.bytes() as u32;
    let threads = n.div_ceil(part).next_multiple_of(32).min(1024);
    let kernel = entries::GroupNorm { rows, groups, epsilon, n, vector };
    queue.launch(&kernel, form, Grid::linear(channels.shape.outer * groups, threads))
}
