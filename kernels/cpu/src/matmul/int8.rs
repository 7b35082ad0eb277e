//! Linear layers of f32 rows and 8-bit weights whose rows are quantized on the way (dynamic
//! quantization), multiplied as integers.
//!
//! Every 64 columns of a row get a scale and a zero point of their own and become bytes of 7 bits:
//! `x ≈ (q - zero) scale`. Products of such a block are summed exactly in integers and scaled and added
//! in f32, block after block: `Σ scale (Σ q w - zero Σ w)`. Seven bits leave room in the 16-bit sums of
//! processors without dot products of bytes, which would otherwise saturate; 64 columns make up for
//! the eighth bit (docs/performance.md has the figures). A row depends on itself only, and on every
//! processor it has the same bits.

#![expect(unsafe_code, reason = "tiles of raw rows; parts written by several threads")]

mod packing;
mod rows;
mod tiles;

pub use packing::{Int8Weights, PackedInt8};

use super::packed::{Epilogue, SPLIT_WORK_MIN, finish};
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{RawRows, Rows, RowsMut, bytes_of_mut};
use packing::{BLOCK, GROUP, PANEL};
use rows::quantize_rows;
use std::ops::Range;
use tiles::{Kernel, Tile};

/// Steps of `k` done at once: what keeps two panels in the first-level cache.
const K_BLOCK: usize = 1024;
/// Rows whose bytes stay in the second-level cache while all panels pass.
const M_BLOCK: usize = 144;
/// Rows from which the rows are split over the threads, not the panels.
const SPLIT_ROWS_MIN: usize = 96;

/// `c = finish(a w + bias, residual)` for `a: [m, k]`, packed `w: [k, n]` and `c: [m, n]`, with `a`
/// quantized as the module says.
///
/// Where 64 columns of a row hold a number that is not finite, its row of `c` is NaN. Small products
/// run on the calling thread; others are split by rows, or by panels while there are few rows.
/// Scratch: about `162 k` bytes a thread.
///
/// # Panics
/// If the extents do not fit together.
pub fn matmul_int8(team: Team<'_>, a: Rows, w: &PackedInt8, c: RowsMut, epilogue: &Epilogue) {
    let (mut c, n) = (c, w.n());
    assert_eq!(a.columns(), w.k(), "columns of a, rows of w");
    assert_eq!((c.rows(), c.columns()), (a.rows(), n), "extents of c");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == n), "bias of {n} columns");
    let fits = |r: Rows| (r.rows(), r.columns()) == (a.rows(), n);
    assert!(epilogue.residual.is_none_or(fits), "residual of [{}, {n}]", a.rows());
    let job = Job { kernel: Kernel::get(), a, w, epilogue, c: c.raw() };
    let (rows, panels) = (a.rows(), w.panels());
    let work = rows.saturating_mul(w.k()).saturating_mul(n) / 4;
    let threads = team.threads().min(work / SPLIT_WORK_MIN);
    let most = SPLIT_ROWS_MIN.max(threads * 2 * tiles::ROWS_MAX);
    if threads > 1 && rows >= most {
        let step = rows.div_ceil(rows.div_ceil(M_BLOCK).next_multiple_of(threads));
        team.run(rows.div_ceil(step), &|task| {
            let part = task * step..rows.min(task * step + step);
            job.quantized(part, &|block| {
                // SAFETY: every task has rows of its own, and the run ends before the borrow of `c`.
                unsafe { job.block(block, 0..panels) };
            });
        });
        return;
    }
    let step = panels.div_ceil(threads.max(1)).next_multiple_of(2);
    job.quantized(0..rows, &|block| {
        if threads <= 1 {
            // SAFETY: all columns of `c`, which is borrowed here.
            unsafe { job.block(block, 0..panels) };
            return;
        }
        team.run(panels.div_ceil(step), &|task| {
            let part = task * step..panels.min(task * step + step);
            // SAFETY: every task has columns of its own, and the run ends before the borrow of `c`.
            unsafe { job.block(block, part) };
        });
    });
}

struct Job<'a> {
    kernel: Kernel,
    a: Rows<'a>,
    w: &'a PackedInt8,
    epilogue: &'a Epilogue<'a>,
    c: RawRows,
}

/// Some rows, quantized.
#[derive(Clone, Copy)]
struct RowBlock<'a> {
    first: usize,
    rows: usize,
    /// `[rows, depth]`.
    bytes: &'a [u8],
    /// `[rows, blocks]`.
    scaling: &'a [[f32; 2]],
}

impl Job<'_> {
    /// Quantizes these rows, as many at a time as fit the cache.
    fn quantized(&self, rows: Range<usize>, work: &dyn Fn(RowBlock<'_>)) {
        let (depth, blocks) = (self.w.depth(), self.w.blocks());
        let most = rows.len().min(M_BLOCK);
        with_scratch(Slot::Operands, most * (blocks * 2 + depth / 4), |scratch| {
            let (scaling, bytes) = scratch.split_at_mut(most * blocks * 2);
            let (scaling, bytes) = (scaling.as_chunks_mut().0, bytes_of_mut(bytes));
            for first in rows.clone().step_by(M_BLOCK) {
                let len = M_BLOCK.min(rows.end - first);
                let bytes = &mut bytes[..len * depth];
                let scaling = &mut scaling[..len * blocks];
                quantize_rows(self.a.row_range(first..first + len), depth, bytes, scaling);
                work(RowBlock { first, rows: len, bytes, scaling });
            }
        });
    }

    /// All of `panels` for some rows.
    ///
    /// # Safety
    /// The panels exist, and that part of the result is this thread's alone.
    unsafe fn block(&self, a: RowBlock<'_>, panels: Range<usize>) {
        let (kernel, depth) = (self.kernel, self.w.depth());
        for start in (0..depth.max(1)).step_by(K_BLOCK) {
            let steps = start..depth.min(start + K_BLOCK);
            let mut panel = panels.start;
            while panel < panels.end {
                let width = kernel.next_panels(a.rows, panels.end - panel);
                let columns = panel * PANEL..self.w.n().min((panel + width) * PANEL);
                let mut row = 0;
                while row < a.rows {
                    let height = kernel.next_rows(a.rows - row);
                    let tile = self.tile(a, row, (panel, width), &steps);
                    if depth == 0 {
                        // SAFETY: as below. A tile without steps leaves its sums as they are.
                        let mut c = unsafe {
                            self.c.part(a.first + row..a.first + row + height, columns.clone())
                        };
                        (0..height).for_each(|row| c.row_mut(row).fill(0.0));
                    }
                    // SAFETY: a tile that exists, inside the extents.
                    unsafe { run_tile(&kernel, tile, height, width, columns.len()) };
                    if steps.end == depth {
                        let own = a.first + row..a.first + row + height;
                        // SAFETY: the rows of a tile that this thread has just written.
                        let c = unsafe { self.c.part(own, columns.clone()) };
                        finish(self.epilogue, c, a.first + row, &columns);
                    }
                    row += height;
                }
                panel += width;
            }
        }
    }

    fn tile(
        &self,
        a: RowBlock<'_>,
        row: usize,
        (panel, width): (usize, usize),
        steps: &Range<usize>,
    ) -> Tile {
        let (depth, blocks, c) = (self.w.depth(), self.w.blocks(), self.c);
        let (block, last) = (steps.start / BLOCK, steps.end == depth);
        let first = (a.first + row) * c.stride + panel * PANEL;
        let bias = self.epilogue.bias.filter(|_| last);
        Tile {
            groups: steps.len() / GROUP,
            a: a.bytes.as_ptr().wrapping_add(row * depth + steps.start),
            a_row: depth,
            scaling: a.scaling.as_ptr().wrapping_add(row * blocks + block),
            scaling_row: blocks,
            b: self.w.panel(panel).wrapping_add(steps.start * PANEL),
            b_panel: depth * PANEL,
            sums: self.w.sums(panel).as_ptr().wrapping_add(block * PANEL),
            sums_panel: blocks * PANEL,
            c: c.ptr.wrapping_add(first),
            c_row: c.stride,
            accumulate: steps.start > 0,
            scales: if last { self.w.scales(panel).as_ptr() } else { std::ptr::null() },
            bias: bias.map_or(std::ptr::null(), |bias| bias[panel * PANEL..].as_ptr()),
            span: self.w.span(panel..panel + width),
        }
    }
}

/// Runs a tile; one that sticks out of the matrix goes through a tile of its own.
///
/// # Safety
/// As [`Kernel::tile`], but for the columns from `columns` on.
unsafe fn run_tile(kernel: &Kernel, tile: Tile, height: usize, width: usize, columns: usize) {
    if columns == width * PANEL {
        // SAFETY: promised by the caller.
        unsafe { kernel.tile(&tile, height, width) };
        return;
    }
    const WIDTH: usize = tiles::PANELS_MAX * PANEL;
    let mut wide = [0f32; tiles::ROWS_MAX * WIDTH];
    let mut bias = [0f32; WIDTH];
    if !tile.bias.is_null() {
        // SAFETY: the bias of the columns that exist.
        unsafe { std::ptr::copy_nonoverlapping(tile.bias, bias.as_mut_ptr(), columns) };
    }
    let c = |row: usize| tile.c.wrapping_add(row * tile.c_row);
    if tile.accumulate {
        for (row, wide) in wide.chunks_exact_mut(WIDTH).take(height).enumerate() {
            // SAFETY: the columns that exist of a row that exists.
            unsafe { std::ptr::copy_nonoverlapping(c(row), wide.as_mut_ptr(), columns) };
        }
    }
    let own = if tile.bias.is_null() { tile.bias } else { bias.as_ptr() };
    let inner = Tile { c: wide.as_mut_ptr(), c_row: WIDTH, bias: own, ..tile };
    // SAFETY: the tile writes to `wide`, which holds the largest one.
    unsafe { kernel.tile(&inner, height, width) };
    for (row, wide) in wide.chunks_exact(WIDTH).take(height).enumerate() {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(wide.as_ptr(), c(row), columns) };
    }
}

#[cfg(test)]
mod tests;
