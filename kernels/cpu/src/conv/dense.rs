//! Convolution of images as a product: windows gathered block by block, filters packed once.
#![expect(unsafe_code, reason = "tasks write disjoint parts of the result")]

use super::{ImageDims, Shares, direct, worth};
use crate::matmul::{Epilogue, PackedMatrix, product};
use crate::microkernel::PANEL;
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{Rows, RowsMut};
use std::ops::Range;

/// Floats of gathered windows that one task has at a time: half of a second-level cache.
const WINDOW_FLOATS: usize = 96 << 10;
/// Fewest and most pixels of a block.
const BLOCK_PIXELS: Range<usize> = 24..192;
/// Channels of an image that is read plane by plane.
const PLANES_MAX: usize = 4;
/// Pixels a thread below which the filters are split over the threads too.
const SPLIT_PIXELS_MIN: usize = 96;

/// Filters `[filters, channels, rows, columns]` as the matrix that [`conv_packed`] multiplies with,
/// `[rows columns channels, filters]`.
///
/// # Panics
/// If `weights` has another size.
pub fn pack_filters(weights: &[f32], filters: usize, channels: usize, taps: usize) -> PackedMatrix {
    assert_eq!(weights.len(), filters * channels * taps, "weights");
    let mut ordered = vec![0f32; weights.len()];
    for filter in 0..filters {
        for channel in 0..channels {
            for tap in 0..taps {
                let from = (filter * channels + channel) * taps + tap;
                ordered[(filter * taps + tap) * channels + channel] = weights[from];
            }
        }
    }
    PackedMatrix::pack_transposed(taps * channels, filters, &ordered)
}

/// `y = finish(conv(x, w) + bias, residual)` for images in one group.
///
/// | slice      | shape                                       |
/// |------------|---------------------------------------------|
/// | `x`        | `[batch, rows, columns, channels]`          |
/// | `w`        | of [`pack_filters`]                         |
/// | `y`        | `[batch, rows, columns, filters]`           |
///
/// Wide images of few filters are read where they lie, of others windows are gathered. Scratch: at most
/// the larger of 1 MiB and 24 windows a thread.
///
/// # Panics
/// If a slice has another size.
pub fn conv_packed(
    team: Team<'_>,
    dims: &ImageDims,
    x: &[f32],
    w: &PackedMatrix,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    dims.check(x.len(), y.len(), epilogue.residual);
    assert_eq!((w.k(), w.n()), (dims.taps() * dims.channels, dims.filters), "extents of w");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == w.n()), "bias of {} filters", w.n());
    if y.is_empty() {
        return;
    }
    let pixels = dims.pixels();
    let team = worth(team, y.len().saturating_mul(w.k()));
    if direct::fits(dims) {
        return direct::conv_direct(team, dims, (x, false), w, y, epilogue);
    }
    let fit = (WINDOW_FLOATS / w.k().max(1)).clamp(BLOCK_PIXELS.start, BLOCK_PIXELS.end);
    let Shares { splits, block, panels } =
        Shares::of(pixels, fit, SPLIT_PIXELS_MIN, team.threads(), w.panels());
    let all = RowsMut::dense(y, dims.filters).raw();
    let row = w.k().next_multiple_of(PANEL);
    team.run(splits * pixels.div_ceil(block), &|task| {
        let (split, task) = (task % splits, task / splits);
        let part = task * block..pixels.min(task * block + block);
        let own = split * panels..w.panels().min(split * panels + panels);
        let columns = own.start * PANEL..dims.filters.min(own.end * PANEL);
        if columns.is_empty() {
            return;
        }
        let residual = epilogue.residual.map(|all| all.row_range(part.clone()));
        let epilogue = Epilogue { residual, ..*epilogue };
        with_scratch(Slot::Windows, part.len() * row, |windows| {
            gather(dims, x, part.clone(), row, windows);
            let a = Rows::new(windows, part.len(), w.k(), row);
            // SAFETY: every task has pixels and filters of its own, and the run ends before the
            // borrow of `y`.
            let mut own_part = unsafe { all.part(part.clone(), columns.clone()) };
            // SAFETY: parts of extents that were compared above.
            unsafe { product(a, w.view(), own, own_part.raw(), &epilogue) };
        });
    });
}

/// Whether [`conv_planes`] takes a convolution.
pub fn reads_planes(dims: &ImageDims) -> bool {
    direct::fits(dims) && dims.channels <= PLANES_MAX
}

/// As [`conv_packed`] for `x` of `[batch, channels, rows, columns]`, if [`reads_planes`].
///
/// # Panics
/// As [`conv_packed`], and if this is no such convolution.
pub fn conv_planes(
    team: Team<'_>,
    dims: &ImageDims,
    x: &[f32],
    w: &PackedMatrix,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    assert!(reads_planes(dims), "a convolution that reads planes");
    dims.check(x.len(), y.len(), epilogue.residual);
    assert_eq!((w.k(), w.n()), (dims.taps() * dims.channels, dims.filters), "extents of w");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == w.n()), "bias of {} filters", w.n());
    if !y.is_empty() {
        let team = worth(team, y.len().saturating_mul(w.k()));
        direct::conv_direct(team, dims, (x, true), w, y, epilogue);
    }
}

/// The windows of some pixels as rows, `row` floats apart; zeros where a window is outside.
fn gather(dims: &ImageDims, x: &[f32], pixels: Range<usize>, row: usize, windows: &mut [f32]) {
    let ImageDims { rows, columns, channels, .. } = *dims;
    let line = columns.kernel * channels;
    for (pixel, window) in pixels.zip(windows.chunks_exact_mut(row)) {
        let (rest, column) = (pixel / columns.output, pixel % columns.output);
        let (item, position) = (rest / rows.output, rest % rows.output);
        let (inside, across) = (rows.taps(position), columns.taps(column));
        let mut lines = window.chunks_exact_mut(line.max(1));
        for (tap, to) in (0..rows.kernel).zip(&mut lines) {
            if !inside.contains(&tap) || across.is_empty() {
                to.fill(0.0);
                continue;
            }
            let from = item * rows.input + rows.at(position, tap);
            let first = from * columns.input + columns.at(column, across.start);
            let (start, end) = (across.start * channels, across.end * channels);
            to[..start].fill(0.0);
            to[end..].fill(0.0);
            if columns.dilation == 1 {
                to[start..end].copy_from_slice(&x[first * channels..][..end - start]);
                continue;
            }
            let steps = to[start..end].chunks_exact_mut(channels).enumerate();
            for (step, to) in steps {
                let from = (first + step * columns.dilation) * channels;
                to.copy_from_slice(&x[from..][..channels]);
            }
        }
    }
}
