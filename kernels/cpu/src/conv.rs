//! Convolutions and pooling over up to three spatial axes.
//!
//! Semantics: ONNX `Conv-11`, `ConvTranspose-11`, `MaxPool-12` and `AveragePool-19`. Padding counts
//! as 0 (for the maximum: as below every number). The sum of one output element begins with the bias
//! and goes on over channels, then over the window in row-major order.
//!
//! The fast kernels work on images in f32 with channels last, `[batch, rows, columns, channels]`. There
//! the sum goes over the window in row-major order, then over channels, or by tiles of four outputs.

mod dense;
mod depthwise;
mod direct;
mod image;
mod image_pool;
mod plain;
mod pooling;
mod spread;
#[cfg(test)]
mod tests;
mod tiled;

pub use dense::{conv_packed, conv_planes, pack_filters, reads_planes};
pub use depthwise::{conv_depthwise, pack_depthwise};
pub use image::ImageDims;
pub use image_pool::{ImagePool, image_pool};
pub use plain::{ConvDims, Float, conv, conv_transpose};
pub use pooling::{PoolDims, average_pool, max_pool};
pub use spread::{conv_spread, pack_spread};
pub use tiled::{conv_tiled, pack_tiles, takes_tiles, tile_rows};

use crate::pool::Team;
use std::ops::Range;

/// Spatial axes that a kernel takes; fewer are filled up in front with [`Axis::ONE`].
pub const SPATIAL_AXES: usize = 3;

/// How a window moves along one spatial axis. The caller has checked that extents, pads and steps
/// fit 63 bits together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Extent that the window moves over, without padding.
    pub input: usize,
    /// Number of window positions.
    pub output: usize,
    /// Elements of the window.
    pub kernel: usize,
    /// Elements from one position to the next, at least 1.
    pub stride: usize,
    /// Elements from one element of the window to the next, at least 1.
    pub dilation: usize,
    /// Padding in front of the input.
    pub before: usize,
}

impl Axis {
    /// An axis that changes nothing.
    pub const ONE: Axis =
        Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0 };

    /// Window positions at which element `tap` of the window lies on the input.
    pub(crate) fn positions(&self, tap: usize) -> Range<usize> {
        let offset = tap * self.dilation;
        let start = self.before.saturating_sub(offset).div_ceil(self.stride);
        let end = (self.input + self.before).saturating_sub(offset).div_ceil(self.stride);
        let end = end.min(self.output);
        start.min(end)..end
    }

    /// Where element `tap` of the window at `position` lies; the caller knows that it is inside.
    pub(crate) fn at(&self, position: usize, tap: usize) -> usize {
        position * self.stride + tap * self.dilation - self.before
    }

    /// Elements of the window at `position` that lie on the input.
    pub(crate) fn taps(&self, position: usize) -> Range<usize> {
        let first = position * self.stride;
        let start = self.before.saturating_sub(first).div_ceil(self.dilation);
        let end = (self.input + self.before).saturating_sub(first).div_ceil(self.dilation);
        let end = end.min(self.kernel);
        start.min(end)..end
    }
}

/// Operations below which waking another thread costs more than it brings.
const PARALLEL_WORK_MIN: usize = 64 * 1024;

/// How the rows and panels of a convolution's product are shared out to tasks.
pub(crate) struct Shares {
    /// Tasks beside each other on the same rows, each with filters of its own.
    pub(crate) splits: usize,
    /// Rows of a task.
    pub(crate) block: usize,
    /// Panels of a task.
    pub(crate) panels: usize,
}

impl Shares {
    /// For `rows` (at least one), `fit` of which a task takes at most; below `rows_min` a thread the filters are split.
    pub(crate) fn of(
        rows: usize,
        fit: usize,
        rows_min: usize,
        threads: usize,
        panels: usize,
    ) -> Shares {
        let (splits, blocks) = match rows < threads * rows_min && threads > 1 {
            true => (threads.min(panels), rows.div_ceil(fit)),
            false => (1, rows.div_ceil(fit).next_multiple_of(threads)),
        };
        Shares { splits, block: rows.div_ceil(blocks), panels: panels.div_ceil(splits) }
    }
}

/// The team, or the calling thread alone for little work.
pub(crate) fn worth(team: Team<'_>, work: usize) -> Team<'_> {
    if work < PARALLEL_WORK_MIN { Team::alone() } else { team }
}
