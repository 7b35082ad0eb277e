//! Convolution of wide images as a product that reads windows where they lie: a row of the product is a
//! pixel, a segment of its sum one line of the window, which is contiguous with channels last.
#![expect(unsafe_code, reason = "tiles of views; tasks write disjoint parts of the result")]

use super::ImageDims;
use crate::activation::{Ending, finish_rows};
use crate::matmul::{Epilogue, PackedMatrix, Panels};
use crate::microkernel::{Kernel, PANEL, TILE_PANELS_MAX, TILE_ROWS_MAX, Tile, TileEnd};
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{RawRows, Rows, RowsMut};
use std::ops::Range;

/// Floats of padded lines and of the output that one task has at a time: about half of a second-level
/// cache.
const TASK_FLOATS: usize = 112 << 10;
/// Fewest pixels of a line for which this is worth while.
const COLUMNS_MIN: usize = 24;
/// Filters from which gathering the windows costs little beside the product.
const FILTERS_MAX: usize = 128;

/// Whether this kernel takes the convolution.
pub(super) fn fits(dims: &ImageDims) -> bool {
    dims.columns.dilation == 1
        && dims.columns.output >= COLUMNS_MIN
        && dims.filters <= FILTERS_MAX
        && dims.channels > 0
        && line_floats(dims)
            .and_then(|line| line.checked_mul(dims.rows.kernel))
            .is_some_and(|window| window <= 2 * TASK_FLOATS)
}

/// Floats of one padded line of the input.
fn line_floats(dims: &ImageDims) -> Option<usize> {
    let columns = &dims.columns;
    let reach = (columns.output - 1).checked_mul(columns.stride)?.checked_add(columns.kernel)?;
    reach.checked_mul(dims.channels)
}

/// What all tasks share.
struct Job<'a> {
    dims: &'a ImageDims,
    x: &'a [f32],
    /// Whether `x` has its channels in front.
    planes: bool,
    w: Panels,
    epilogue: &'a Epilogue<'a>,
    /// What tiles do at the end, so that nothing is left to do in memory.
    ending: Option<Ending>,
    y: RawRows,
    /// Floats of a padded line.
    line: usize,
}

/// As [`super::conv_packed`], for what [`fits`]; `planes` if `x` is `[batch, channels, rows, columns]`.
pub(super) fn conv_direct(
    team: Team<'_>,
    dims: &ImageDims,
    (x, planes): (&[f32], bool),
    w: &PackedMatrix,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    let (rows, outputs) = (dims.rows.output, dims.columns.output * dims.filters);
    let Some(line) = line_floats(dims) else { return };
    let own = line * dims.rows.stride.min(dims.rows.kernel) + outputs;
    let fit = (TASK_FLOATS.saturating_sub(line * dims.rows.kernel) / own).clamp(1, rows);
    let tasks = rows.div_ceil(fit).next_multiple_of(team.threads());
    let block = rows.div_ceil(tasks);
    let y = RowsMut::dense(y, dims.filters).raw();
    let ending = Kernel::get().ends(&epilogue.finish, epilogue.residual.is_some());
    let job = Job { dims, x, planes, w: w.view(), epilogue, ending, y, line };
    let blocks = rows.div_ceil(block);
    team.run(dims.batch * blocks, &|task| {
        let (item, first) = (task / blocks, task % blocks * block);
        job.lines(item, first..rows.min(first + block));
    });
}

impl Job<'_> {
    /// Some lines of the output of one item.
    fn lines(&self, item: usize, lines: Range<usize>) {
        let rows = &self.dims.rows;
        // Lines of the padded input: every line that a window touches, or one a line of the window
        // where windows do not touch each other.
        let dense = rows.dilation == 1 && rows.stride <= rows.kernel;
        let count = match dense {
            true => (lines.len() - 1) * rows.stride + rows.kernel,
            false => lines.len() * rows.kernel,
        };
        with_scratch(Slot::Windows, count * self.line, |padded| {
            for (i, to) in padded.chunks_exact_mut(self.line).enumerate() {
                let (line, tap) = if dense { (0, i) } else { (i / rows.kernel, i % rows.kernel) };
                let at = (lines.start + line) * rows.stride + tap * rows.dilation;
                let at = at.checked_sub(rows.before).filter(|&at| at < rows.input);
                match at {
                    Some(at) => self.pad(item, at, to),
                    None => to.fill(0.0),
                }
            }
            let step = if dense { rows.stride } else { rows.kernel };
            self.products(item, lines, step, padded);
        });
    }

    /// One line of the input with its padding, channels last.
    fn pad(&self, item: usize, row: usize, to: &mut [f32]) {
        let ImageDims { rows, columns, channels, .. } = *self.dims;
        let before = (columns.before * channels).min(to.len());
        let (front, to) = to.split_at_mut(before);
        front.fill(0.0);
        let (to, behind) = to.split_at_mut(to.len().min(columns.input * channels));
        behind.fill(0.0);
        if !self.planes {
            let from = (item * rows.input + row) * columns.input * channels;
            to.copy_from_slice(&self.x[from..][..to.len()]);
            return;
        }
        for channel in 0..channels {
            let from = ((item * channels + channel) * rows.input + row) * columns.input;
            let from = &self.x[from..][..to.len() / channels];
            let to = to[channel..].iter_mut().step_by(channels);
            to.zip(from).for_each(|(to, &from)| *to = from);
        }
    }

    fn products(&self, item: usize, lines: Range<usize>, step: usize, padded: &[f32]) {
        let ImageDims { rows, columns, filters, .. } = *self.dims;
        let (kernel, panels) = (Kernel::get(), filters.div_ceil(PANEL));
        let tallest = kernel.next_rows(columns.output);
        let mut panel = 0;
        while panel < panels {
            let width = kernel.next_panels(tallest, panels - panel);
            for (i, line) in lines.clone().enumerate() {
                let pixel = (item * rows.output + line) * columns.output;
                let mut column = 0;
                while column < columns.output {
                    let height = kernel.next_rows(columns.output - column);
                    let a = &padded[i * step * self.line..];
                    // SAFETY: the padded lines hold the windows of these pixels, which are this task's.
                    unsafe { self.tile(&kernel, a, [pixel, column], (panel, [height, width])) };
                    column += height;
                }
            }
            panel += width;
        }
        self.finish(item * rows.output + lines.start..item * rows.output + lines.end);
    }

    /// Sums of some pixels of a line in some panels.
    ///
    /// # Safety
    /// `a` begins with the padded lines of the window of the line, the pixels are this task's alone.
    unsafe fn tile(
        &self,
        kernel: &Kernel,
        a: &[f32],
        [pixel, column]: [usize; 2],
        (panel, [height, width]): (usize, [usize; 2]),
    ) {
        let ImageDims { rows, columns, channels, filters, .. } = *self.dims;
        let first = panel * PANEL;
        let own = first..filters.min(first + width * PANEL);
        let c = self.y.ptr.wrapping_add((pixel + column) * self.y.stride + first);
        let tile = Tile {
            k: columns.kernel * channels,
            segments: rows.kernel,
            a_segment: self.line,
            a: a.as_ptr().wrapping_add(column * columns.stride * channels),
            a_row: columns.stride * channels,
            b: self.w.ptr.wrapping_add(first * self.w.k),
            b_row: PANEL,
            b_panel: self.w.k * PANEL,
            c,
            c_row: self.y.stride,
            accumulate: false,
            bias: self.epilogue.bias.map_or(std::ptr::null(), |bias| bias[first..].as_ptr()),
            last: own.len() - (own.len() - 1) / PANEL * PANEL,
            prefetch: false,
            end: self.ending.map(|ending| self.end(ending, pixel + column, first)),
        };
        if tile.last == PANEL || kernel.cuts() {
            // SAFETY: promised by the caller.
            unsafe { kernel.tile(&tile, height, width) };
            return;
        }
        const WIDTH: usize = TILE_PANELS_MAX * PANEL;
        let (mut wide, mut bias) = ([0f32; TILE_ROWS_MAX * WIDTH], [0f32; WIDTH]);
        if let Some(all) = self.epilogue.bias {
            bias[..own.len()].copy_from_slice(&all[own.clone()]);
        }
        let inner = Tile { c: wide.as_mut_ptr(), c_row: WIDTH, bias: bias.as_ptr(), ..tile };
        let inner = Tile { last: PANEL, ..inner };
        // SAFETY: the tile writes to `wide`, which holds the largest one.
        unsafe { kernel.tile(&inner, height, width) };
        for (row, wide) in wide.chunks_exact(WIDTH).take(height).enumerate() {
            let c = c.wrapping_add(row * self.y.stride);
            // SAFETY: the columns that exist of a pixel that exists.
            unsafe { std::ptr::copy_nonoverlapping(wide.as_ptr(), c, own.len()) };
        }
    }

    fn end(&self, ending: Ending, pixel: usize, first: usize) -> TileEnd {
        let (residual, residual_row) = match self.epilogue.residual {
            Some(all) => (all.as_ptr().wrapping_add(pixel * all.stride() + first), all.stride()),
            None => (std::ptr::null(), 0),
        };
        TileEnd { ending, residual, residual_row }
    }

    /// Activation and residual of complete lines.
    fn finish(&self, lines: Range<usize>) {
        let Epilogue { finish, residual, .. } = self.epilogue;
        if self.ending.is_some() || finish.is_plain() && residual.is_none() {
            return;
        }
        let columns = self.dims.columns.output;
        for line in lines {
            let pixels = line * columns..(line + 1) * columns;
            // SAFETY: the pixels of this line are this task's alone.
            let own = unsafe { self.y.part(pixels.clone(), 0..self.y.columns) };
            let residual: Option<Rows<'_>> = residual.map(|all| all.row_range(pixels));
            finish_rows(finish, own.joined(), residual.map(Rows::joined));
        }
    }
}
