//! Convolution of images with one filter a channel.
#![expect(unsafe_code, reason = "vectors of channels by address; tasks write disjoint parts")]

use super::{ImageDims, worth};
use crate::activation::{Ending, finish_rows};
use crate::level::{Level, level, leveled};
use crate::matmul::Epilogue;
use crate::pool::Team;
use crate::view::{RawRows, Rows, RowsMut};
use std::ops::Range;

/// Floats of the output that one task makes: what stays in a second-level cache with its input.
const TASK_FLOATS: usize = 48 << 10;
/// Floats of filters that pass a group of pixels at a time: a part of a first-level cache.
const FILTER_FLOATS: usize = 4 << 10;
/// Pixels of a group at most: as many sums as keep two multiply-add units busy.
const GROUP: usize = 8;

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
    let plain = epilogue.finish.is_plain() && epilogue.residual.is_none();
    let ending = if plain { None } else { Ending::of(&epilogue.finish) };
    let finished = plain || ending.is_some();
    let groups = match level() {
        Level::Avx512 => [GROUP, GROUP / 2],
        Level::Avx2 | Level::Neon | Level::Scalar => [GROUP / 2; 2],
    };
    let job = Job { dims, x, w, epilogue, ending, finished, groups, y: all };
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
    /// What is done to sums before they are stored.
    ending: Option<Ending>,
    /// Whether nothing is left to do to stored sums.
    finished: bool,
    /// Pixels of a group, the first choice first; sixteen channels of each are sums in registers.
    groups: [usize; 2],
    y: RawRows,
}

leveled! {
    fn rows(job: &Job<'_>, lines: Range<usize>) = rows_body(job, lines);
}

#[inline(always)]
fn rows_body(job: &Job<'_>, lines: Range<usize>) {
    let ImageDims { columns, channels, .. } = job.dims;
    let most = (FILTER_FLOATS / job.dims.taps()).next_multiple_of(64);
    for line in lines {
        for first in (0..*channels).step_by(most) {
            let part = first..(first + most).min(*channels);
            match (columns.kernel, columns.stride, columns.dilation) {
                (3, 1, 1) => across::<3, 1>(job, line, part),
                (3, 2, 1) => across::<3, 2>(job, line, part),
                (5, 1, 1) => across::<5, 1>(job, line, part),
                (5, 2, 1) => across::<5, 2>(job, line, part),
                (7, 1, 1) => across::<7, 1>(job, line, part),
                (7, 2, 1) => across::<7, 2>(job, line, part),
                _ => edge(job, line, 0..columns.output, part),
            }
        }
        if job.finished {
            continue;
        }
        let pixels = line * columns.output..(line + 1) * columns.output;
        let residual = job.epilogue.residual.map(|all| all.row_range(pixels.clone()));
        // SAFETY: the pixels of this line are this task's alone.
        let own = unsafe { job.y.part(pixels, 0..*channels) };
        finish_rows(&job.epilogue.finish, own.joined(), residual.map(Rows::joined));
    }
}

/// An output pixel and its first channel.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
    channel: usize,
}

impl Job<'_> {
    #[inline(always)]
    fn bias<const L: usize>(&self, channel: usize) -> [f32; L] {
        match self.epilogue.bias {
            Some(bias) => *bias[channel..].first_chunk().expect("a bias a channel"),
            None => [0.0; L],
        }
    }

    /// First input row of the window's row `tap` for a line.
    #[inline(always)]
    fn input_row(&self, line: usize, tap: usize) -> usize {
        let rows = &self.dims.rows;
        line / rows.output * rows.input + rows.at(line % rows.output, tap)
    }

    #[inline(always)]
    fn store<const L: usize>(&self, at: &Place, sums: [f32; L]) {
        let pixel = at.line * self.dims.columns.output + at.column;
        let sums = match &self.ending {
            Some(ending) => {
                let residual = self.epilogue.residual.map(|all| {
                    let row = &all.row(pixel)[at.channel..];
                    *row.first_chunk().expect("a number a channel")
                });
                ending.apply(sums, residual)
            }
            None => sums,
        };
        // SAFETY: the pixel's line is this task's alone, and it has these channels.
        unsafe { *self.y.ptr.add(pixel * self.y.stride + at.channel).cast::<[f32; L]>() = sums };
    }
}

/// Some channels of a line of the output for a window of `K` columns: groups of pixels where the
/// window is inside, the last of which repeats pixels of the one before it.
#[inline(always)]
fn across<const K: usize, const S: usize>(job: &Job<'_>, line: usize, channels: Range<usize>) {
    let (rows, columns) = (&job.dims.rows, &job.dims.columns);
    // Columns of the output whose whole window is inside.
    let safe = columns.positions(0).start..columns.positions(K - 1).end;
    let size = job.groups.into_iter().find(|&size| size <= safe.len());
    let (Some(size), false) = (size, rows.taps(line % rows.output).is_empty()) else {
        return edge(job, line, 0..columns.output, channels);
    };
    edge(job, line, 0..safe.start, channels.clone());
    let mut column = safe.start;
    while column < safe.end {
        let at = Place { line, column: column.min(safe.end - size), channel: channels.start };
        match size {
            // SAFETY: the windows of these pixels are inside the image's columns.
            GROUP => unsafe { group::<K, S, GROUP>(job, at, channels.end) },
            // SAFETY: as above.
            _ => unsafe { group::<K, S, { GROUP / 2 }>(job, at, channels.end) },
        }
        column = at.column + size;
    }
    edge(job, line, safe.end..columns.output, channels);
}

/// Channels up to `end` of `N` pixels.
///
/// # Safety
/// As [`beside`].
#[inline(always)]
unsafe fn group<const K: usize, const S: usize, const N: usize>(
    job: &Job<'_>,
    mut at: Place,
    end: usize,
) {
    // SAFETY: promised by the caller.
    unsafe {
        while at.channel + 16 <= end {
            beside::<16, K, S, N>(job, &at);
            at.channel += 16;
        }
        if at.channel + 8 <= end {
            beside::<8, K, S, N>(job, &at);
            at.channel += 8;
        }
        while at.channel < end {
            beside::<1, K, S, N>(job, &at);
            at.channel += 1;
        }
    }
}

/// `L` channels of `N` pixels.
///
/// # Safety
/// The windows of the pixels are inside the columns, `K` and `S` are the window's columns and stride, the
/// dilation is 1.
#[inline(always)]
unsafe fn beside<const L: usize, const K: usize, const S: usize, const N: usize>(
    job: &Job<'_>,
    at: &Place,
) {
    let ImageDims { rows, columns, channels, .. } = *job.dims;
    let mut sums = [job.bias::<L>(at.channel); N];
    for tap in rows.taps(at.line % rows.output) {
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
    for (pixel, sums) in sums.iter().enumerate() {
        job.store(&Place { column: at.column + pixel, ..*at }, *sums);
    }
}

/// Some channels of single pixels, for any window.
#[inline(always)]
fn edge(job: &Job<'_>, line: usize, pixels: Range<usize>, channels: Range<usize>) {
    for column in pixels {
        let mut at = Place { line, column, channel: channels.start };
        while at.channel + 64 <= channels.end {
            single::<16, 4>(job, &at);
            at.channel += 64;
        }
        while at.channel + 16 <= channels.end {
            single::<16, 1>(job, &at);
            at.channel += 16;
        }
        while at.channel < channels.end {
            single::<1, 1>(job, &at);
            at.channel += 1;
        }
    }
}

/// `B` times `L` channels of a pixel.
#[inline(always)]
fn single<const L: usize, const B: usize>(job: &Job<'_>, at: &Place) {
    let ImageDims { rows, columns, channels, .. } = *job.dims;
    let mut sums = [[0f32; L]; B];
    for (i, sums) in sums.iter_mut().enumerate() {
        *sums = job.bias(at.channel + i * L);
    }
    for tap in rows.taps(at.line % rows.output) {
        let row = job.input_row(at.line, tap) * columns.input;
        for k in columns.taps(at.column) {
            let x = &job.x[(row + columns.at(at.column, k)) * channels + at.channel..][..L * B];
            let w = &job.w[(tap * columns.kernel + k) * channels + at.channel..][..L * B];
            for (i, sums) in sums.iter_mut().enumerate() {
                for lane in 0..L {
                    sums[lane] = x[i * L + lane].mul_add(w[i * L + lane], sums[lane]);
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        job.store(&Place { channel: at.channel + i * L, ..*at }, *sums);
    }
}
