//! Pooling of images with channels last.

use super::{ImageDims, worth};
use crate::level::leveled;
use crate::pool::Team;

/// What a pooling of images computes; as [`super::max_pool`] and [`super::average_pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePool {
    /// The largest element; NaN wins.
    Max,
    /// The mean, over all elements of the window if pads count.
    Average {
        /// Whether padding counts.
        count_pads: bool,
    },
}

/// Folds the window of every output pixel, channel by channel.
///
/// `x: [batch, rows, columns, channels]`, `y` the same with the extents of the output.
///
/// # Panics
/// If a slice has another size.
pub fn image_pool(team: Team<'_>, kind: ImagePool, dims: &ImageDims, x: &[f32], y: &mut [f32]) {
    dims.check(x.len(), y.len(), None);
    assert_eq!(dims.channels, dims.filters, "channels");
    if y.is_empty() {
        return;
    }
    let line = dims.columns.output * dims.channels;
    worth(team, x.len().max(y.len())).chunks([y], [line], &|index, [y]| {
        pool_line(kind, dims, index, x, y);
    });
}

leveled! {
    fn pool_line(kind: ImagePool, dims: &ImageDims, line: usize, x: &[f32], y: &mut [f32])
        = line_body(kind, dims, line, x, y);
}

#[inline(always)]
fn line_body(kind: ImagePool, dims: &ImageDims, line: usize, x: &[f32], y: &mut [f32]) {
    match kind {
        ImagePool::Max => fold(dims, line, x, y, f32::NEG_INFINITY, crate::vector_math::larger),
        ImagePool::Average { count_pads } => {
            fold(dims, line, x, y, 0.0, |a, b| a + b);
            let inside = dims.rows.taps(line % dims.rows.output).len();
            for (column, y) in y.chunks_exact_mut(dims.channels).enumerate() {
                let all = if count_pads { dims.taps() } else { 0 };
                let count = all.max(inside * dims.columns.taps(column).len()).max(1) as f32;
                y.iter_mut().for_each(|y| *y /= count);
            }
        }
    }
}

#[inline(always)]
fn fold(
    dims: &ImageDims,
    line: usize,
    x: &[f32],
    y: &mut [f32],
    first: f32,
    f: impl Fn(f32, f32) -> f32,
) {
    let (rows, columns, channels) = (&dims.rows, &dims.columns, dims.channels);
    let (item, position) = (line / rows.output, line % rows.output);
    for (column, y) in y.chunks_exact_mut(channels).enumerate() {
        y.fill(first);
        for tap in rows.taps(position) {
            let row = (item * rows.input + rows.at(position, tap)) * columns.input;
            for k in columns.taps(column) {
                let x = &x[(row + columns.at(column, k)) * channels..][..channels];
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(*y, x));
            }
        }
    }
}
