//! `C = finish(A B + bias, residual)` for a packed B.
#![expect(unsafe_code, reason = "tiles of views; panels written by several threads")]

use super::packing::{PackedMatrix, Panels};
use crate::activation::{Ending, Finish, finish_rows};
use crate::microkernel::{Kernel, PANEL, TILE_PANELS_MAX, TILE_ROWS_MAX, Tile, TileEnd};
use crate::pool::Team;
use crate::view::{RawRows, Rows, RowsMut};
use std::ops::Range;

/// Steps of `k` done at once: what keeps two panels in the first-level cache.
const K_BLOCK: usize = 384;
/// Rows of A, and of C between blocks of `k`, that stay in the second-level cache while all panels
/// pass.
const M_BLOCK: usize = 144;
/// Multiply-adds below which a second thread costs more than it does.
pub(super) const SPLIT_WORK_MIN: usize = 64 * 1024;
/// Rows from which the rows are split over the threads, not the panels.
const SPLIT_ROWS_MIN: usize = 96;

/// What happens to a product on its way to memory.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[n]`, where the sums start from.
    pub bias: Option<&'a [f32]>,
    /// Applied to product and bias.
    pub finish: Finish,
    /// `[m, n]`, added as `finish` says.
    pub residual: Option<Rows<'a>>,
}

/// `c = finish(a b + bias, residual)`, for `a: [m, k]`, `b: [k, n]` and `c: [m, n]`.
///
/// Small products run on the calling thread; others are split by rows, or by panels while there
/// are few rows.
///
/// # Panics
/// If the extents do not fit together.
pub fn matmul_packed(team: Team<'_>, a: Rows, b: &PackedMatrix, c: RowsMut, epilogue: &Epilogue) {
    let (rows, panels, mut c) = (a.rows(), b.panels(), c);
    check(a, b, &c, b.n(), epilogue);
    let work = rows * b.k() * b.n();
    let threads = team.threads().min(work / SPLIT_WORK_MIN);
    if threads <= 1 {
        // SAFETY: `check` compared the extents.
        unsafe { product(a, b.view(), 0..panels, c.raw(), epilogue) };
        return;
    }
    let raw = c.raw();
    if rows >= SPLIT_ROWS_MIN.max(threads * 2 * TILE_ROWS_MAX) {
        let step = rows.div_ceil(rows.div_ceil(M_BLOCK).next_multiple_of(threads));
        team.run(rows.div_ceil(step), &|task| {
            let part = task * step..rows.min(task * step + step);
            let residual = epilogue.residual.map(|all| all.row_range(part.clone()));
            let epilogue = Epilogue { residual, ..*epilogue };
            // SAFETY: every task has rows of its own, and the run ends before the borrow of `c`.
            let mut own = unsafe { raw.part(part.clone(), 0..raw.columns) };
            // SAFETY: parts of extents that `check` compared.
            unsafe { product(a.row_range(part), b.view(), 0..panels, own.raw(), &epilogue) };
        });
        return;
    }
    let step = panels.div_ceil(threads).next_multiple_of(2);
    team.run(panels.div_ceil(step), &|task| {
        let part = task * step..panels.min(task * step + step);
        let columns = part.start * PANEL..raw.columns.min(part.end * PANEL);
        // SAFETY: every task has columns of its own, and the run ends before the borrow of `c`.
        let mut own = unsafe { raw.part(0..rows, columns) };
        // SAFETY: parts of extents that `check` compared.
        unsafe { product(a, b.view(), part, own.raw(), epilogue) };
    });
}

/// The columns of some panels only, on the calling thread.
///
/// `c` has just these columns, `[m, min(n, 16 end) - 16 start]`; bias and residual have all.
///
/// # Panics
/// If the extents do not fit together.
pub fn matmul_packed_panels(
    a: Rows,
    b: &PackedMatrix,
    panels: Range<usize>,
    c: RowsMut,
    epilogue: &Epilogue,
) {
    assert!(panels.start <= panels.end && panels.end <= b.panels(), "panels {panels:?}");
    let columns = b.n().min(panels.end * PANEL).saturating_sub(panels.start * PANEL);
    let mut c = c;
    check(a, b, &c, columns, epilogue);
    // SAFETY: `check` compared the extents.
    unsafe { product(a, b.view(), panels, c.raw(), epilogue) };
}

fn check(a: Rows, b: &PackedMatrix, c: &RowsMut, columns: usize, epilogue: &Epilogue) {
    assert_eq!(a.columns(), b.k(), "columns of a, rows of b");
    assert_eq!((c.rows(), c.columns()), (a.rows(), columns), "extents of c");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == b.n()), "bias of {} columns", b.n());
    let fits = |r: Rows| (r.rows(), r.columns()) == (a.rows(), b.n());
    assert!(epilogue.residual.is_none_or(fits), "residual of [{}, {}]", a.rows(), b.n());
}

/// # Safety
/// `a` has `b.k` columns, `b` has all panels that its extents say, `c` has the rows of `a` and the columns of `panels` and is this
/// thread's alone, bias and residual have the extents of the whole product.
pub(crate) unsafe fn product(
    a: Rows,
    b: Panels,
    panels: Range<usize>,
    c: RawRows,
    epilogue: &Epilogue,
) {
    let kernel = Kernel::get();
    let ending = kernel.ends(&epilogue.finish, epilogue.residual.is_some());
    let block = Block { kernel, a, b, c, epilogue, ending, first: panels.start };
    let k_blocks = b.k.div_ceil(K_BLOCK).max(1);
    for start in (0..a.rows()).step_by(M_BLOCK) {
        let rows = start..a.rows().min(start + M_BLOCK);
        for k_block in 0..k_blocks {
            let depth = Depth {
                start: k_block * K_BLOCK,
                len: K_BLOCK.min(b.k - k_block * K_BLOCK),
                first: k_block == 0,
                last: k_block + 1 == k_blocks,
            };
            // SAFETY: promised by the caller.
            unsafe { block.row_block(rows.clone(), panels.clone(), &depth) };
        }
    }
}

struct Block<'a> {
    kernel: Kernel,
    a: Rows<'a>,
    b: Panels,
    c: RawRows,
    epilogue: &'a Epilogue<'a>,
    /// What tiles do at the end, so that nothing is left to do in memory.
    ending: Option<Ending>,
    /// Panel in which `c` begins.
    first: usize,
}

/// One block of `k`.
struct Depth {
    start: usize,
    len: usize,
    first: bool,
    last: bool,
}

impl Block<'_> {
    /// All of `panels` for `rows`, over one block of `k`.
    ///
    /// # Safety
    /// As [`product`].
    unsafe fn row_block(&self, rows: Range<usize>, panels: Range<usize>, depth: &Depth) {
        let tallest = self.kernel.next_rows(rows.len());
        let mut panel = panels.start;
        while panel < panels.end {
            let width = self.kernel.next_panels(tallest, panels.end - panel);
            let columns = (panel * PANEL)..self.b.n.min((panel + width) * PANEL);
            let mut row = rows.start;
            while row < rows.end {
                let height = self.kernel.next_rows(rows.end - row);
                let last = row + height == rows.end;
                let tile = Tile { prefetch: last, ..self.tile(row, &columns, depth) };
                // SAFETY: `next_rows` and `next_panels` give tiles that exist, inside the extents.
                unsafe { self.run_tile(tile, height, width, &columns) };
                if depth.last && self.ending.is_none() {
                    // SAFETY: the tile's part of `c` is this thread's alone.
                    let own = unsafe { self.c.part(row..row + height, self.own(&columns)) };
                    finish(self.epilogue, own, row, &columns);
                }
                row += height;
            }
            panel += width;
        }
    }

    /// Columns of `c` for columns of the product.
    fn own(&self, columns: &Range<usize>) -> Range<usize> {
        columns.start - self.first * PANEL..columns.end - self.first * PANEL
    }

    fn tile(&self, row: usize, columns: &Range<usize>, depth: &Depth) -> Tile {
        let (a, c) = (self.a, self.c);
        let steps = self.b.panel_steps;
        Tile {
            k: depth.len,
            segments: 1,
            a_segment: 0,
            last: columns.len() - (columns.len() - 1) / PANEL * PANEL,
            a: a.as_ptr().wrapping_add(row * a.stride() + depth.start),
            a_row: a.stride(),
            b: self.b.ptr.wrapping_add(columns.start * steps + depth.start * PANEL),
            b_row: PANEL,
            b_panel: steps * PANEL,
            c: c.ptr.wrapping_add(row * c.stride + self.own(columns).start),
            c_row: c.stride,
            accumulate: !depth.first,
            bias: self.epilogue.bias.map_or(std::ptr::null(), |b| b[columns.start..].as_ptr()),
            prefetch: false,
            end: self.ending.filter(|_| depth.last).map(|ending| self.end(ending, row, columns)),
        }
    }

    fn end(&self, ending: Ending, row: usize, columns: &Range<usize>) -> TileEnd {
        let (residual, residual_row) = match self.epilogue.residual {
            Some(all) => {
                let at = row * all.stride() + columns.start;
                (all.as_ptr().wrapping_add(at), all.stride())
            }
            None => (std::ptr::null(), 0),
        };
        TileEnd { ending, residual, residual_row }
    }

    /// Runs a tile; one that sticks out of the matrix goes through a tile of its own.
    ///
    /// # Safety
    /// As [`Kernel::tile`], but for columns from `columns.end` on.
    unsafe fn run_tile(&self, tile: Tile, height: usize, width: usize, columns: &Range<usize>) {
        if columns.len() == width * PANEL || self.kernel.cuts() {
            // SAFETY: promised by the caller.
            unsafe { self.kernel.tile(&tile, height, width) };
            return;
        }
        const WIDTH: usize = TILE_PANELS_MAX * PANEL;
        let mut wide = [0f32; TILE_ROWS_MAX * WIDTH];
        let mut bias = [0f32; WIDTH];
        if let Some(all) = self.epilogue.bias {
            bias[..columns.len()].copy_from_slice(&all[columns.clone()]);
        }
        let c = |row: usize| tile.c.wrapping_add(row * tile.c_row);
        if tile.accumulate {
            for (row, wide) in wide.chunks_exact_mut(WIDTH).take(height).enumerate() {
                // SAFETY: the columns that exist of a row that exists.
                unsafe { std::ptr::copy_nonoverlapping(c(row), wide.as_mut_ptr(), columns.len()) };
            }
        }
        let inner =
            Tile { last: PANEL, c: wide.as_mut_ptr(), c_row: WIDTH, bias: bias.as_ptr(), ..tile };
        // SAFETY: the tile writes to `wide`, which holds the largest one.
        unsafe { self.kernel.tile(&inner, height, width) };
        for (row, wide) in wide.chunks_exact(WIDTH).take(height).enumerate() {
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(wide.as_ptr(), c(row), columns.len()) };
        }
    }
}

/// Activation and residual for a tile that is complete, still in the first-level cache.
pub(super) fn finish(epilogue: &Epilogue, c: RowsMut, first_row: usize, columns: &Range<usize>) {
    if epilogue.finish.is_plain() && epilogue.residual.is_none() {
        return;
    }
    let rows = first_row..first_row + c.rows();
    let residual = epilogue.residual.map(|all| all.row_range(rows).column_range(columns.clone()));
    finish_rows(&epilogue.finish, c, residual);
}

#[cfg(test)]
mod tests;
