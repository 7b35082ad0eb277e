//! Transposed convolution of images whose windows lie side by side: a product whose rows are cut up.
#![expect(unsafe_code, reason = "tasks write disjoint parts of the result")]

use super::{ImageDims, worth};
use crate::activation::{Finish, finish_rows};
use crate::matmul::{Epilogue, PackedMatrix, product};
use crate::microkernel::PANEL;
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{Rows, RowsMut};

/// Floats of the product that one task has at a time.
const BLOCK_FLOATS: usize = 64 << 10;

/// Filters `[channels, filters, rows, columns]` as the matrix that [`conv_spread`] multiplies with,
/// `[channels, rows columns filters]`.
///
/// # Panics
/// If `weights` has another size.
pub fn pack_spread(weights: &[f32], channels: usize, filters: usize, taps: usize) -> PackedMatrix {
    assert_eq!(weights.len(), filters * channels * taps, "weights");
    let n = taps * filters;
    let at = |i: usize| {
        let (channel, tap, filter) = (i / n, i % n / filters, i % filters);
        weights[(channel * filters + filter) * taps + tap]
    };
    let ordered: Vec<f32> = (0..weights.len()).map(at).collect();
    PackedMatrix::pack(channels, n, &ordered)
}

/// `y = finish(conv_transpose(x, w) + bias)` for strides equal to the window, without padding.
///
/// `x: [batch, rows, columns, channels]`, `y: [batch, rows kernel, columns kernel, filters]`; the
/// positions of `dims` are the pixels of `x`. Scratch: the larger of 256 KiB and one line of the
/// product a thread.
///
/// # Panics
/// If a slice has another size or windows do not lie side by side.
pub fn conv_spread(
    team: Team<'_>,
    dims: &ImageDims,
    x: &[f32],
    w: &PackedMatrix,
    y: &mut [f32],
    (bias, finish): (Option<&[f32]>, Finish),
) {
    let ImageDims { batch, rows, columns, channels, filters } = *dims;
    for axis in [rows, columns] {
        let beside = axis.stride == axis.kernel && axis.before == 0 && axis.dilation == 1;
        assert!(beside && axis.input == axis.output * axis.kernel, "windows side by side");
    }
    assert_eq!(x.len(), dims.pixels() * channels, "elements of x");
    assert_eq!(y.len(), dims.pixels() * dims.taps() * filters, "elements of y");
    assert_eq!((w.k(), w.n()), (channels, dims.taps() * filters), "extents of w");
    if y.is_empty() {
        return;
    }
    let repeated = bias.map(|bias| bias.repeat(dims.taps()));
    let epilogue = Epilogue { bias: repeated.as_deref(), ..Epilogue::default() };
    let team = worth(team, x.len().saturating_mul(w.n()));
    let part = columns.kernel * filters;
    if part.is_multiple_of(PANEL) {
        let epilogue = Epilogue { bias: repeated.as_deref(), finish, residual: None };
        return spread_lines(team, dims, x, w, y, &epilogue);
    }
    let lines = batch * rows.output;
    let line = columns.output * w.n();
    let tasks = lines.div_ceil((BLOCK_FLOATS / line).max(1)).next_multiple_of(team.threads());
    let block = lines.div_ceil(tasks);
    team.chunks([y], [block * line], &|task, [y]| {
        let own = y.len() / line * columns.output;
        let x = &x[task * block * columns.output * channels..][..own * channels];
        with_scratch(Slot::Windows, y.len(), |made| {
            let mut c = RowsMut::dense(&mut made[..], w.n());
            let a = Rows::new(x, own, channels, channels);
            // SAFETY: `c` has all rows and columns of the product and is this task's scratch.
            unsafe { product(a, w.view(), 0..w.panels(), c.raw(), &epilogue) };
            for (made, y) in made.chunks_exact(line).zip(y.chunks_exact_mut(line)) {
                for (tap, y) in y.chunks_exact_mut(columns.output * part).enumerate() {
                    let pixels = made.chunks_exact(w.n()).map(|made| &made[tap * part..][..part]);
                    match part {
                        2 => pixels.zip(y.as_chunks_mut::<2>().0).for_each(|(made, y)| {
                            y.copy_from_slice(made);
                        }),
                        _ => pixels.zip(y.chunks_exact_mut(part)).for_each(|(made, y)| {
                            y.copy_from_slice(made);
                        }),
                    }
                }
                finish_rows(&finish, RowsMut::new(y, 1, line, line), None);
            }
        });
    });
}

/// As [`conv_spread`], where a line of a window is whole panels: each of them goes to the image at once.
fn spread_lines(
    team: Team<'_>,
    dims: &ImageDims,
    x: &[f32],
    w: &PackedMatrix,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    let ImageDims { rows, columns, channels, filters, .. } = *dims;
    let part = columns.kernel * filters;
    let (pixels, panels) = (columns.output, part / PANEL);
    team.chunks([y], [pixels * part * rows.kernel], &|task, [y]| {
        let x = &x[task * pixels * channels..][..pixels * channels];
        let a = Rows::new(x, pixels, channels, channels);
        for (tap, y) in y.chunks_exact_mut(pixels * part).enumerate() {
            let mut c = RowsMut::dense(y, part);
            let own = tap * panels..(tap + 1) * panels;
            // SAFETY: `c` has the pixels of `a` and the columns of these panels and is this task's.
            unsafe { product(a, w.view(), own, c.raw(), epilogue) };
        }
    });
}
