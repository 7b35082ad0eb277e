//! Convolution of images with one filter a channel.
#![expect(unsafe_code, reason = "vectors of channels by address; tasks write disjoint parts")]

use super::{ImageDims, worth};
use crate::activation::{Finish, finish_rows};
use crate::level::leveled;
use crate::matmul::Epilogue;
use crate::pool::Team;
use crate::view::{RawRows, RowsMut};
use std::ops::Range;

/// Floats of the output that one task makes: what stays in a second-level cache with its input.
const TASK_FLOATS: usize = 48 << 10;

/// Filters `[channels, 1, rows, columns]` with channels last, `[rows columns, channels]`.
///
/// # Panics
/// If `weights` has another size.
pub fn pack_depthwise(weights: &[f32], channels: usize, taps: usize) -> Vec<f32> {
    assert_eq!(weights.len(), channels * taps, "weights");
    let at = |i: usize| weights[i % channels * taps + i / channels];
    (0..weights.len()).map(at).collect()
}

/// `y = finish(conv(x, w) + bias, residual)` for images with one filter a channel.
///
/// | slice      | shape                                       |
/// |------------|---------------------------------------------|
/// | `x`, `y`   | `[batch, rows, columns, channels]`          |
/// | `w`        | of [`pack_depthwise`]                       |
///
/// # Panics
/// If a slice has another size.
pub fn conv_depthwise(
    team: Team<'_>,
    dims: &ImageDims,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    dims.check(x.len(), y.len(), epilogue.residual);
    assert_eq!((dims.channels, w.len()), (dims.filters, dims.taps() * dims.filters), "weights");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == dims.filters), "elements of the bias");
    if y.is_empty() {
        return;
    }
    let team = worth(team, y.len().saturating_mul(dims.taps()));
    let lines = dims.batch * dims.rows.output;
    let line = dims.columns.output * dims.filters;
    let tasks = lines.div_ceil((TASK_FLOATS / line).max(1)).next_multiple_of(team.threads());
    let block = lines.div_ceil(tasks);
    let all = RowsMut::dense(y, dims.filters).raw();
    let job = Job { dims, x, w, epilogue, y: all };
    team.run(lines.div_ceil(block), &|task| {
        rows(&job, task * block..lines.min(task * block + block));
    });
}

/// What all tasks share.
struct Job<'a> {
    dims: &'a ImageDims,
    x: &'a [f32],
    w: &'a [f32],
    epilogue: &'a Epilogue<'a>,
    y: RawRows,
}

leveled! {
    fn rows(job: &Job<'_>, lines: Range<usize>) = rows_body(job, lines);
}

#[inline(always)]
fn rows_body(job: &Job<'_>, lines: Range<usize>) {
    let channels = job.dims.channels;
    let mut channel = 0;
    while channel + 16 <= channels {
        block::<16>(job, lines.clone(), channel);
        channel += 16;
    }
    if channel + 8 <= channels {
        block::<8>(job, lines.clone(), channel);
        channel += 8;
    }
    while channel < channels {
        block::<1>(job, lines.clone(), channel);
        channel += 1;
    }
}

/// `L` channels of some lines of the output.
#[inline(always)]
fn block<const L: usize>(job: &Job<'_>, lines: Range<usize>, channel: usize) {
    let (rows, columns) = (&job.dims.rows, &job.dims.columns);
    for line in lines {
        match (columns.kernel, columns.stride, columns.dilation) {
            (3, 1, 1) => across::<L, 3, 1>(job, line, channel),
            (3, 2, 1) => across::<L, 3, 2>(job, line, channel),
            (5, 1, 1) => across::<L, 5, 1>(job, line, channel),
            (5, 2, 1) => across::<L, 5, 2>(job, line, channel),
            _ => {
                for column in 0..columns.output {
                    let at = Place { line, column, channel };
                    single::<L>(job, &at, rows.taps(line % rows.output));
                }
            }
        }
        let Epilogue { finish, residual, .. } = job.epilogue;
        if *finish == Finish::default() && residual.is_none() {
            continue;
        }
        let pixels = line * columns.output..(line + 1) * columns.output;
        let own = channel..channel + L;
        let residual = residual.map(|all| all.row_range(pixels.clone()).column_range(own.clone()));
        // SAFETY: the pixels of this line are this task's alone.
        finish_rows(finish, unsafe { job.y.part(pixels, own) }, residual);
    }
}

/// An output pixel and its first channel.
struct Place {
    line: usize,
    column: usize,
    channel: usize,
}

impl Job<'_> {
    fn bias<const L: usize>(&self, channel: usize) -> [f32; L] {
        match self.epilogue.bias {
            Some(bias) => std::array::from_fn(|lane| bias[channel + lane]),
            None => [0.0; L],
        }
    }

    /// First input row of the window's row `tap` for a line.
    fn input_row(&self, line: usize, tap: usize) -> usize {
        let rows = &self.dims.rows;
        line / rows.output * rows.input + rows.at(line % rows.output, tap)
    }

    fn store<const L: usize>(&self, at: &Place, sums: [f32; L]) {
        let pixel = at.line * self.dims.columns.output + at.column;
        // SAFETY: the pixel's line is this task's alone, and it has these channels.
        unsafe { *self.y.ptr.add(pixel * self.y.stride + at.channel).cast::<[f32; L]>() = sums };
    }
}

/// A line of the output for a window of `K` columns: four pixels at a time where the window is inside.
#[inline(always)]
fn across<const L: usize, const K: usize, const S: usize>(
    job: &Job<'_>,
    line: usize,
    channel: usize,
) {
    let (rows, columns) = (&job.dims.rows, &job.dims.columns);
    let inside = rows.taps(line % rows.output);
    // Columns of the output whose whole window is inside.
    let safe = columns.positions(0).start..columns.positions(K - 1).end;
    let mut column = 0;
    while column < columns.output {
        let at = Place { line, column, channel };
        if column >= safe.start && column + 4 <= safe.end && !inside.is_empty() {
            // SAFETY: the windows of these four pixels are inside the image's columns.
            unsafe { four::<L, K, S>(job, &at, inside.clone()) };
            column += 4;
        } else {
            single::<L>(job, &at, inside.clone());
            column += 1;
        }
    }
}

/// Four pixels whose windows are inside the columns.
///
/// # Safety
/// As said; `K` and `S` are the window's columns and stride, the dilation is 1, `inside` the rows of
/// the window that are on the image.
#[inline(always)]
unsafe fn four<const L: usize, const K: usize, const S: usize>(
    job: &Job<'_>,
    at: &Place,
    inside: Range<usize>,
) {
    let ImageDims { columns, channels, .. } = *job.dims;
    let mut sums = [job.bias::<L>(at.channel); 4];
    for tap in inside {
        let first = job.input_row(at.line, tap) * columns.input + columns.at(at.column, 0);
        // SAFETY: promised by the caller.
        unsafe {
            let x = job.x.as_ptr().add(first * channels + at.channel);
            let w = job.w.as_ptr().add(tap * K * channels + at.channel);
            for k in 0..K {
                let w = *w.add(k * channels).cast::<[f32; L]>();
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let x = *x.add((pixel * S + k) * channels).cast::<[f32; L]>();
                    for lane in 0..L {
                        sums[lane] = x[lane].mul_add(w[lane], sums[lane]);
                    }
                }
            }
        }
    }
    for (pixel, sums) in sums.into_iter().enumerate() {
        job.store(&Place { column: at.column + pixel, ..*at }, sums);
    }
}

/// One pixel of any window.
#[inline(always)]
fn single<const L: usize>(job: &Job<'_>, at: &Place, inside: Range<usize>) {
    let ImageDims { columns, channels, .. } = *job.dims;
    let mut sums = job.bias::<L>(at.channel);
    for tap in inside {
        let row = job.input_row(at.line, tap) * columns.input;
        for k in columns.taps(at.column) {
            let x = &job.x[(row + columns.at(at.column, k)) * channels + at.channel..][..L];
            let w = &job.w[(tap * columns.kernel + k) * channels + at.channel..][..L];
            for lane in 0..L {
                sums[lane] = x[lane].mul_add(w[lane], sums[lane]);
            }
        }
    }
    job.store(at, sums);
}
