//! Convolution along one axis by tiles of four outputs, with fewer multiplications than windows have
//! elements: 8 a tile instead of 20 for windows of five (Toom and Cook's products of polynomials, after
//! Winograd, *Arithmetic Complexity of Computations*, 1980).
//!
//! For `n = taps + 3` points a_0 to a_(n-2) and one at infinity, a tile of four outputs of `n` inputs d
//! is `y = A ((G g) * (B d))`. The filters G g are made once, when they are packed; B d and A cost little
//! beside the product of `[tiles, channels]` with `[channels, filters]` at each point. Rounding grows
//! with the points.
#![expect(unsafe_code, reason = "tasks write disjoint parts of the result")]

use super::{Axis, ImageDims, Shares, worth};
use crate::activation::finish_rows;
use crate::level::leveled;
use crate::matmul::{Epilogue, PackedMatrix, product};
use crate::microkernel::PANEL;
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{RawRows, Rows, RowsMut};
use std::ops::Range;

/// Outputs of a tile.
const OUTPUTS: usize = 4;
/// Windows that there are points for.
const TAPS: std::ops::RangeInclusive<usize> = 3..=5;
/// The finite points, of which a window takes the first `taps + 2`.
const POINTS: [f64; 7] = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5];
const POINTS_MAX: usize = POINTS.len() + 1;
/// Fewest channels and filters, and elements of all filters (1 MiB), for which tiles are worth while: what
/// is smaller stays in the second-level cache and is read as it is.
const CHANNELS_MIN: usize = 32;
const FILTERS_MIN: usize = 64;
const WEIGHTS_MIN: usize = 256 << 10;
/// Floats of transformed inputs that one task has at a time: half of a second-level cache.
const TASK_FLOATS: usize = 128 << 10;
/// Panels of filters that are done with at a time.
const GROUP_PANELS: usize = 4;
/// Tiles a thread below which the filters are split over the threads too.
const SPLIT_TILES_MIN: usize = 24;

/// Whether [`conv_tiled`] takes windows of `taps` elements along a line that move from element to element,
/// and is worth its larger filters.
pub fn takes_tiles(taps: usize, channels: usize, filters: usize) -> bool {
    let weights = channels.saturating_mul(filters).saturating_mul(taps);
    TAPS.contains(&taps)
        && channels >= CHANNELS_MIN
        && filters >= FILTERS_MIN
        && weights >= WEIGHTS_MIN
}

/// Rows of the matrix that [`pack_tiles`] makes, of filters of `taps` elements.
pub fn tile_rows(channels: usize, taps: usize) -> usize {
    (taps + OUTPUTS - 1) * channels
}

/// Filters `[filters, channels, taps]` as the matrix that [`conv_tiled`] multiplies with, `[points channels,
/// filters]`.
///
/// # Panics
/// If `weights` has another size, or `taps` is not 3 to 5.
pub fn pack_tiles(weights: &[f32], filters: usize, channels: usize, taps: usize) -> PackedMatrix {
    assert_eq!(weights.len(), filters * channels * taps, "weights");
    let points = Points::of(taps);
    let mut tiles = vec![0f32; filters * tile_rows(channels, taps)];
    for (filter, to) in tiles.chunks_exact_mut(tile_rows(channels, taps)).enumerate() {
        for channel in 0..channels {
            let from = &weights[(filter * channels + channel) * taps..][..taps];
            for point in 0..points.count {
                let factors = points.filter(point, taps);
                let sum: f64 = factors.zip(from).map(|(factor, &w)| factor * f64::from(w)).sum();
                to[point * channels + channel] = sum as f32;
            }
        }
    }
    PackedMatrix::pack_transposed(tile_rows(channels, taps), filters, &tiles)
}

/// `y = finish(conv(x, w) + bias, residual)` for images in one group, and windows of one line or, in images of
/// one column, of that column.
///
/// | slice      | shape                                       |
/// |------------|---------------------------------------------|
/// | `x`        | `[batch, rows, columns, channels]`          |
/// | `w`        | of [`pack_tiles`]                           |
/// | `y`        | `[batch, rows, columns, filters]`           |
///
/// Scratch: at most the larger of 1 MiB and 12 tiles a thread, of `points (channels + 64)` floats each.
///
/// # Panics
/// If a slice has another size, or windows are not 3 to 5 elements of a line, one element apart.
pub fn conv_tiled(
    team: Team<'_>,
    dims: &ImageDims,
    x: &[f32],
    w: &PackedMatrix,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    dims.check(x.len(), y.len(), epilogue.residual);
    // The only column of an image lies in memory as a line does.
    let turned = ImageDims { rows: dims.columns, columns: dims.rows, ..*dims };
    let dims = if dims.columns == Axis::ONE { &turned } else { dims };
    let taps = dims.columns.kernel;
    assert!(dims.rows.kernel == 1 && TAPS.contains(&taps), "windows of one line");
    assert_eq!((dims.columns.stride, dims.columns.dilation), (1, 1), "dense windows");
    assert_eq!((w.k(), w.n()), (tile_rows(dims.channels, taps), dims.filters), "extents of w");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == w.n()), "bias of {} filters", w.n());
    if y.is_empty() {
        return;
    }
    let points = Points::of(taps);
    let line = dims.columns.output.div_ceil(OUTPUTS);
    let tiles = dims.batch * dims.rows.output * line;
    let team = worth(team, y.len().saturating_mul(w.k()));
    let fit = (TASK_FLOATS / w.k().max(1)).clamp(12, 192);
    let Shares { splits, block, panels } =
        Shares::of(tiles, fit, SPLIT_TILES_MIN, team.threads(), w.panels());
    let y = RowsMut::dense(y, dims.filters).raw();
    let job = Job { dims, points, line, x, w, epilogue, y };
    team.run(splits * tiles.div_ceil(block), &|task| {
        let (split, task) = (task % splits, task / splits);
        let own = split * panels..w.panels().min(split * panels + panels);
        if !own.is_empty() {
            job.tiles(task * block..tiles.min(task * block + block), own);
        }
    });
}

/// What all tasks share.
struct Job<'a> {
    dims: &'a ImageDims,
    points: Points,
    /// Tiles of a line.
    line: usize,
    x: &'a [f32],
    w: &'a PackedMatrix,
    epilogue: &'a Epilogue<'a>,
    y: RawRows,
}

impl Job<'_> {
    /// Some tiles, for the filters of some panels.
    fn tiles(&self, tiles: Range<usize>, panels: Range<usize>) {
        let (count, channels) = (self.points.count, self.dims.channels);
        let at_point = tiles.len() * channels;
        let sums_len = count * tiles.len() * GROUP_PANELS * PANEL;
        with_scratch(Slot::Windows, count * at_point + sums_len, |scratch| {
            let (inputs, sums) = scratch.split_at_mut(count * at_point);
            self.transform(tiles.clone(), inputs);
            for first in panels.clone().step_by(GROUP_PANELS) {
                let group = first..panels.end.min(first + GROUP_PANELS);
                let columns = first * PANEL..self.dims.filters.min(group.end * PANEL);
                let sums = &mut sums[..count * tiles.len() * columns.len()];
                for (point, sums) in sums.chunks_exact_mut(tiles.len() * columns.len()).enumerate()
                {
                    let a = &inputs[point * at_point..][..at_point];
                    let a = Rows::new(a, tiles.len(), channels, channels);
                    let own = self.w.view().steps(point * channels..(point + 1) * channels);
                    let mut c = RowsMut::dense(sums, columns.len());
                    // SAFETY: `own` has as many steps as `a` has columns, and `c` their extents.
                    unsafe { product(a, own, group.clone(), c.raw(), &Epilogue::default()) };
                }
                self.finish(tiles.clone(), columns, sums);
            }
        });
    }

    /// B d of every tile, `[points, tiles, channels]`.
    fn transform(&self, tiles: Range<usize>, inputs: &mut [f32]) {
        let ImageDims { rows, columns, channels, .. } = *self.dims;
        let (count, step) = (self.points.count, tiles.len() * channels);
        for (index, tile) in tiles.enumerate() {
            let (line, first) = (tile / self.line, tile % self.line * OUTPUTS);
            let (item, position) = (line / rows.output, line % rows.output);
            let row = (position * rows.stride).checked_sub(rows.before);
            let row = row.filter(|&row| row < rows.input).map(|row| item * rows.input + row);
            let mut from: [&[f32]; POINTS_MAX] = [&[]; POINTS_MAX];
            for (tap, from) in from.iter_mut().take(count).enumerate() {
                let column = (first + tap).checked_sub(columns.before);
                let column = column.filter(|&column| column < columns.input);
                if let (Some(row), Some(column)) = (row, column) {
                    *from = &self.x[(row * columns.input + column) * channels..][..channels];
                }
            }
            transform_tile(&self.points, &from, channels, &mut inputs[index * channels..], step);
        }
    }

    /// The outputs of tiles, whose `sums` are `[points, tiles, columns]`.
    fn finish(&self, tiles: Range<usize>, columns: Range<usize>, sums: &[f32]) {
        let width = self.dims.columns.output;
        let bias = self.epilogue.bias.map(|bias| &bias[columns.clone()]);
        let step = tiles.len() * columns.len();
        for (index, tile) in tiles.enumerate() {
            let (line, first) = (tile / self.line, tile % self.line * OUTPUTS);
            let pixels = line * width + first..line * width + width.min(first + OUTPUTS);
            // SAFETY: every task has pixels and filters of its own, and the run ends before the
            // borrow of `y`.
            let mut own = unsafe { self.y.part(pixels.clone(), columns.clone()) };
            let sums = &sums[index * columns.len()..];
            for output in 0..own.rows() {
                output_row(&self.points, output, bias, (sums, step), own.row_mut(output));
            }
            let residual = self.epilogue.residual.map(|all| all.row_range(pixels));
            let residual = residual.map(|all| all.column_range(columns.clone()));
            if !self.epilogue.finish.is_plain() || residual.is_some() {
                finish_rows(&self.epilogue.finish, own, residual);
            }
        }
    }
}

/// The points of a length of windows, with what they make of inputs and sums.
struct Points {
    /// How many, infinity included.
    count: usize,
    /// B: factors of the inputs for each point.
    inputs: [[f32; POINTS_MAX]; POINTS_MAX],
    /// A: factors of the points for each output.
    outputs: [[f32; POINTS_MAX]; OUTPUTS],
}

impl Points {
    fn of(taps: usize) -> Points {
        assert!(TAPS.contains(&taps), "windows of {taps} elements");
        let count = taps + OUTPUTS - 1;
        let finite = &POINTS[..count - 1];
        let mut points = Points {
            count,
            inputs: [[0.0; POINTS_MAX]; POINTS_MAX],
            outputs: [[0.0; POINTS_MAX]; OUTPUTS],
        };
        for (point, factors) in points.inputs.iter_mut().take(count).enumerate() {
            // The product of (x - a) over all other finite points.
            let mut product = [0f64; POINTS_MAX];
            product[0] = 1.0;
            for (_, a) in finite.iter().enumerate().filter(|(other, _)| *other != point) {
                for power in (0..POINTS_MAX).rev() {
                    let below = if power == 0 { 0.0 } else { product[power - 1] };
                    product[power] = below - a * product[power];
                }
            }
            *factors = product.map(|factor| factor as f32);
        }
        for (output, factors) in points.outputs.iter_mut().enumerate() {
            for (factor, a) in factors.iter_mut().zip(finite) {
                *factor = a.powi(output as i32) as f32;
            }
            factors[count - 1] = if output == OUTPUTS - 1 { 1.0 } else { 0.0 };
        }
        points
    }

    /// A line of G: the factors of a filter's elements at a point.
    fn filter(&self, point: usize, taps: usize) -> impl Iterator<Item = f64> {
        let finite = &POINTS[..self.count - 1];
        let others = finite.iter().enumerate().filter(move |(other, _)| *other != point);
        let infinity = point == finite.len();
        let a = if infinity { 0.0 } else { POINTS[point] };
        let scale: f64 = others.map(|(_, other)| a - other).product();
        (0..taps).map(move |tap| match infinity {
            true => f64::from(u8::from(tap + 1 == taps)),
            false => a.powi(tap as i32) / scale,
        })
    }
}

leveled! {
    /// B d of one tile: `to[point * step + channel]`; an input that is empty is one of zeros.
    fn transform_tile(
        points: &Points,
        from: &[&[f32]; POINTS_MAX],
        channels: usize,
        to: &mut [f32],
        step: usize,
    ) = transform_tile_body(points, from, channels, to, step);
}

#[inline(always)]
fn transform_tile_body(
    points: &Points,
    from: &[&[f32]; POINTS_MAX],
    channels: usize,
    to: &mut [f32],
    step: usize,
) {
    for first in (0..channels).step_by(PANEL) {
        let width = PANEL.min(channels - first);
        let mut d = [[0f32; PANEL]; POINTS_MAX];
        for (d, from) in d.iter_mut().zip(from) {
            match from.get(first..first + PANEL) {
                Some(all) => d.copy_from_slice(all),
                None if from.is_empty() => {}
                None => d[..width].copy_from_slice(&from[first..]),
            }
        }
        for (point, factors) in points.inputs.iter().take(points.count).enumerate() {
            let mut sum = [0f32; PANEL];
            for (d, &factor) in d.iter().zip(factors) {
                for (sum, &d) in sum.iter_mut().zip(d) {
                    *sum = factor.mul_add(d, *sum);
                }
            }
            to[point * step + first..][..width].copy_from_slice(&sum[..width]);
        }
    }
}

leveled! {
    /// One line of A: `to = bias + sum of factor * sums[point * step ..]`.
    fn output_row(
        points: &Points,
        output: usize,
        bias: Option<&[f32]>,
        sums: (&[f32], usize),
        to: &mut [f32],
    ) = output_row_body(points, output, bias, sums, to);
}

#[inline(always)]
fn output_row_body(
    points: &Points,
    output: usize,
    bias: Option<&[f32]>,
    (sums, step): (&[f32], usize),
    to: &mut [f32],
) {
    match bias {
        Some(bias) => to.copy_from_slice(bias),
        None => to.fill(0.0),
    }
    for (point, &factor) in points.outputs[output].iter().take(points.count).enumerate() {
        if factor != 0.0 {
            for (to, &sum) in to.iter_mut().zip(&sums[point * step..]) {
                *to = factor.mul_add(sum, *to);
            }
        }
    }
}
