//! Products of 8-bit integers in 32 bits, with zero points (ONNX `MatMulInteger-10`).
//!
//! Sums are exact modulo 2^32 in whatever order, so every path gives the same bits. The left side
//! is brought to u8 and the right side to i8 by flipping top bits, which moves their zero points
//! by 128:
//! `Σ (a - za)(b - zb) = Σ a b - za (Σ b - k zb) - zb Σ a`.
//! Products may leave as f32, each number times a scale.

#![expect(unsafe_code, reason = "tiles of raw rows; parts written by several threads")]

mod packing;
mod tiles;

pub use packing::PackedIntegers;

use super::packed::SPLIT_WORK_MIN;
use crate::level::leveled;
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{bytes_of_mut, numbers_mut};
use packing::{GROUP, PANEL};
use std::ops::Range;
use tiles::{Kernel, Tile};

/// Steps of `k` done at once: what keeps two panels in the first-level cache.
const K_BLOCK: usize = 1024;
/// Rows whose left side stays in the second-level cache while all panels pass.
const M_BLOCK: usize = 144;
/// Rows from which the rows are split over the threads, not the panels.
const SPLIT_ROWS_MIN: usize = 96;

/// The dense left side of a product: `[rows, k]` 8-bit integers.
#[derive(Clone, Copy, Debug)]
pub struct IntegerRows<'a> {
    /// The elements; signed ones as their bits.
    pub data: &'a [u8],
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub k: usize,
    /// Whether they are i8.
    pub signed: bool,
}

/// What is subtracted from the elements of a side before they are multiplied.
#[derive(Clone, Copy, Debug)]
pub enum ZeroPoints<'a> {
    /// One number for all.
    One(i32),
    /// A number for every row of the left side or every column of the right one.
    Each(&'a [i32]),
}

impl ZeroPoints<'_> {
    fn at(&self, index: usize) -> i32 {
        match self {
            ZeroPoints::One(zero) => *zero,
            ZeroPoints::Each(all) => all[index],
        }
    }

    fn check(&self, len: usize, side: &str) {
        match self {
            ZeroPoints::One(_) => {}
            ZeroPoints::Each(all) => assert_eq!(all.len(), len, "zero points of the {side} side"),
        }
    }
}

/// What a product in f32 is multiplied by.
#[derive(Clone, Copy, Debug)]
pub enum ProductScale<'a> {
    /// One number for all.
    One(f32),
    /// A number for every column.
    Each(&'a [f32]),
}

/// As [`matmul_integer`], with every number converted to f32 and multiplied by its scale.
///
/// # Panics
/// If the extents do not fit together.
pub fn matmul_integer_scaled(
    team: Team<'_>,
    a: IntegerRows<'_>,
    b: &PackedIntegers,
    zeros: [ZeroPoints<'_>; 2],
    scale: ProductScale<'_>,
    out: &mut [f32],
) {
    match scale {
        ProductScale::One(_) => {}
        ProductScale::Each(all) => assert_eq!(all.len(), b.n(), "scales of the columns"),
    }
    // The sums are converted where they lie.
    let out = numbers_mut(bytes_of_mut(out));
    run(team, Job { a, b, zeros, scale: Some(scale), c: C::none() }, out);
}

/// `out[i, j] = Σ (a[i, p] - za[i]) (b[p, j] - zb[j])`, wrapping, for `a: [m, k]`, `b: [k, n]` and a
/// dense `out: [m, n]`; zero points are those of the left and of the right side.
///
/// Small products run on the calling thread; others are split by rows, or by panels while there
/// are few rows. Scratch: about `144 k + 12 n` bytes a thread.
///
/// # Panics
/// If the extents do not fit together.
pub fn matmul_integer(
    team: Team<'_>,
    a: IntegerRows<'_>,
    b: &PackedIntegers,
    zeros: [ZeroPoints<'_>; 2],
    out: &mut [i32],
) {
    run(team, Job { a, b, zeros, scale: None, c: C::none() }, out);
}

fn run(team: Team<'_>, job: Job<'_>, out: &mut [i32]) {
    let Job { a, b, zeros, .. } = job;
    let (rows, k, n) = (a.rows, a.k, b.n());
    assert_eq!(a.data.len(), rows * k, "elements of [{rows}, {k}]");
    assert_eq!((k, out.len()), (b.k(), rows * n), "extents of the product");
    zeros[0].check(rows, "left");
    zeros[1].check(n, "right");
    if out.is_empty() {
        return;
    }
    let job = Job { c: C { ptr: out.as_mut_ptr(), stride: n }, ..job };
    let work = rows.saturating_mul(k).saturating_mul(n) / 4;
    let threads = team.threads().min(work / SPLIT_WORK_MIN);
    if threads <= 1 {
        // SAFETY: all of `out`, which is borrowed here.
        unsafe { job.part(0..rows, 0..b.panels()) };
        return;
    }
    if rows >= SPLIT_ROWS_MIN.max(threads * 2 * tiles::ROWS_MAX) {
        let step = rows.div_ceil(rows.div_ceil(M_BLOCK).next_multiple_of(threads));
        team.run(rows.div_ceil(step), &|task| {
            let part = task * step..rows.min(task * step + step);
            // SAFETY: every task has rows of its own, and the run ends before the borrow of `out`.
            unsafe { job.part(part, 0..b.panels()) };
        });
        return;
    }
    let step = b.panels().div_ceil(threads).next_multiple_of(2);
    team.run(b.panels().div_ceil(step), &|task| {
        let part = task * step..b.panels().min(task * step + step);
        // SAFETY: every task has columns of its own, and the run ends before the borrow of `out`.
        unsafe { job.part(0..rows, part) };
    });
}

/// Where the result lies.
#[derive(Clone, Copy)]
struct C {
    ptr: *mut i32,
    stride: usize,
}

// SAFETY: a plain address; whoever writes through it promises disjoint parts.
unsafe impl Sync for C {}

impl C {
    /// Nowhere yet.
    fn none() -> C {
        C { ptr: std::ptr::null_mut(), stride: 0 }
    }
}

struct Job<'a> {
    a: IntegerRows<'a>,
    b: &'a PackedIntegers,
    zeros: [ZeroPoints<'a>; 2],
    scale: Option<ProductScale<'a>>,
    c: C,
}

impl Job<'_> {
    /// Computes these rows and panels.
    ///
    /// # Safety
    /// They are inside the extents, and that part of the result is this thread's alone.
    unsafe fn part(&self, rows: Range<usize>, panels: Range<usize>) {
        let (k, depth) = (self.a.k, self.b.depth());
        let width = panels.len() * PANEL;
        // The left side is read where it lies if it is u8 and its rows are whole groups.
        let copied = depth > 0 && (self.a.signed || k != depth);
        let own = if copied { M_BLOCK * depth } else { 0 };
        with_scratch(Slot::Operands, 3 * width + M_BLOCK + own.div_ceil(4), |scratch| {
            let (numbers, copy) = scratch.split_at_mut(3 * width + M_BLOCK);
            let numbers: &mut [i32] = numbers_mut(bytes_of_mut(numbers));
            let (terms, sums) = numbers.split_at_mut(3 * width);
            let terms = self.terms(panels.clone(), terms);
            for start in rows.clone().step_by(M_BLOCK) {
                let block = start..rows.end.min(start + M_BLOCK);
                let source = &self.a.data[block.start * k..block.end * k];
                let source = match copied {
                    true => {
                        let copy = &mut bytes_of_mut(copy)[..block.len() * depth];
                        copy_rows(source, k, depth, self.a.signed, copy);
                        &*copy
                    }
                    false => source,
                };
                sums[..block.len()].fill(0);
                if terms.right {
                    row_sums(source, depth, &mut sums[..block.len()]);
                }
                // SAFETY: promised by the caller; the rows were brought to whole groups.
                unsafe { self.block(source, block, panels.clone(), (&terms, sums)) };
            }
        });
    }

    /// What zero points change in the columns of these panels.
    fn terms<'t>(&self, panels: Range<usize>, numbers: &'t mut [i32]) -> Terms<'t> {
        let (k, shift) = (self.a.k as i32, self.b.shift());
        let (start, rest) = numbers.split_at_mut(panels.len() * PANEL);
        let (products, zeros) = rest.split_at_mut(panels.len() * PANEL);
        let flip = if self.a.signed { 128 } else { 0 };
        let same = match self.zeros[0] {
            ZeroPoints::One(zero) => zero.wrapping_add(flip),
            ZeroPoints::Each(_) => 0,
        };
        for (i, column) in (panels.start * PANEL..panels.end * PANEL).enumerate() {
            // Columns of the padding are zeros all through.
            let zero = if column < self.b.n() { self.zeros[1].at(column) } else { shift };
            zeros[i] = zero.wrapping_sub(shift);
            products[i] = self.b.sums()[column].wrapping_sub(k.wrapping_mul(zeros[i]));
            start[i] = same.wrapping_mul(products[i]).wrapping_neg();
        }
        let left = matches!(self.zeros[0], ZeroPoints::Each(_));
        let right = zeros.iter().any(|&zero| zero != 0);
        Terms { start, products, zeros, left, right, flip, first: panels.start * PANEL }
    }

    /// All of `panels` for a block of rows, whose sums follow the terms.
    ///
    /// # Safety
    /// As [`Job::part`]; `source` has `depth` bytes for each of `rows`.
    unsafe fn block(
        &self,
        source: &[u8],
        rows: Range<usize>,
        panels: Range<usize>,
        (terms, sums): (&Terms<'_>, &[i32]),
    ) {
        let (kernel, depth, stride) = (Kernel::get(), self.b.depth(), self.c.stride);
        for start in (0..depth.max(1)).step_by(K_BLOCK) {
            let len = K_BLOCK.min(depth - start);
            let mut panel = panels.start;
            while panel < panels.end {
                let width = kernel.next_panels(rows.len(), panels.end - panel);
                let columns = panel * PANEL..self.b.n().min((panel + width) * PANEL);
                let own = (panel - panels.start) * PANEL;
                let mut row = 0;
                while row < rows.len() {
                    let height = kernel.next_rows(rows.len() - row);
                    let first = (rows.start + row) * stride + columns.start;
                    let tile = Tile {
                        groups: len / GROUP,
                        a: source.as_ptr().wrapping_add(row * depth + start),
                        a_row: depth,
                        b: self.b.panel(panel).wrapping_add(start * PANEL),
                        b_panel: depth * PANEL,
                        c: self.c.ptr.wrapping_add(first),
                        c_row: stride,
                        accumulate: start > 0,
                        start: terms.start[own..].as_ptr(),
                        narrow: self.b.is_narrow(panel..panel + width),
                    };
                    // SAFETY: a tile that exists, inside the extents.
                    unsafe { run_tile(&kernel, tile, height, width, columns.len()) };
                    if start + len == depth && (terms.left || terms.right || self.scale.is_some()) {
                        let done =
                            Done { tile: &tile, rows: row..row + height, columns: columns.clone() };
                        // SAFETY: the rows of a tile that this thread has just written.
                        unsafe { self.finish(done, rows.start, terms, sums) };
                    }
                    row += height;
                }
                panel += width;
            }
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
    let mut wide = [0i32; tiles::ROWS_MAX * WIDTH];
    let c = |row: usize| tile.c.wrapping_add(row * tile.c_row);
    if tile.accumulate {
        for (row, wide) in wide.chunks_exact_mut(WIDTH).take(height).enumerate() {
            // SAFETY: the columns that exist of a row that exists.
            unsafe { std::ptr::copy_nonoverlapping(c(row), wide.as_mut_ptr(), columns) };
        }
    }
    let inner = Tile { c: wide.as_mut_ptr(), c_row: WIDTH, ..tile };
    // SAFETY: the tile writes to `wide`, which holds the largest one.
    unsafe { kernel.tile(&inner, height, width) };
    for (row, wide) in wide.chunks_exact(WIDTH).take(height).enumerate() {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(wide.as_ptr(), c(row), columns) };
    }
}

/// What zero points change in the columns of a part.
struct Terms<'a> {
    /// `-za (Σ b - k zb)` if all rows have one `za`, else 0.
    start: &'a [i32],
    /// `Σ b - k zb`.
    products: &'a [i32],
    /// `zb` as packed.
    zeros: &'a [i32],
    /// Whether rows have a `za` each.
    left: bool,
    /// Whether any `zb` is not 0.
    right: bool,
    /// Added to every `za`.
    flip: i32,
    /// The column in which the part begins.
    first: usize,
}

/// A complete tile: rows of its block, columns of the product.
struct Done<'a> {
    tile: &'a Tile,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Job<'_> {
    /// What the tile has left out: zero points of rows and of columns, and the scale.
    ///
    /// # Safety
    /// The tile is this thread's alone.
    unsafe fn finish(&self, done: Done<'_>, first: usize, terms: &Terms<'_>, sums: &[i32]) {
        let Done { tile, rows, columns } = done;
        let own = columns.start - terms.first..columns.end - terms.first;
        let c = |i: usize| {
            let c = tile.c.wrapping_add(i * tile.c_row);
            // SAFETY: promised by the caller.
            unsafe { std::slice::from_raw_parts_mut(c, columns.len()) }
        };
        for (i, row) in rows.clone().enumerate().filter(|_| terms.left || terms.right) {
            if terms.left {
                let zero = self.zeros[0].at(first + row).wrapping_add(terms.flip);
                subtract(c(i), zero, &terms.products[own.clone()]);
            }
            if terms.right {
                subtract(c(i), sums[row], &terms.zeros[own.clone()]);
            }
        }
        let all =
            RawTile { c: tile.c, stride: tile.c_row, rows: rows.len(), columns: columns.len() };
        match self.scale {
            None => {}
            Some(ProductScale::One(scale)) => scale_all(all, scale),
            Some(ProductScale::Each(scales)) => scale_columns(all, &scales[columns.clone()]),
        }
    }
}

/// A tile that one thread has for itself, as long as it exists.
#[derive(Clone, Copy)]
struct RawTile {
    c: *mut i32,
    stride: usize,
    rows: usize,
    columns: usize,
}

impl RawTile {
    #[inline(always)]
    fn row(&mut self, index: usize) -> &mut [i32] {
        assert!(index < self.rows);
        // SAFETY: a row that exists, of a tile that is this thread's alone.
        unsafe { std::slice::from_raw_parts_mut(self.c.add(index * self.stride), self.columns) }
    }
}

leveled! {
    /// Numbers become the bits of floats.
    fn scale_all(tile: RawTile, scale: f32) = {
        let mut tile = tile;
        for row in 0..tile.rows {
            for c in tile.row(row) {
                *c = (*c as f32 * scale).to_bits() as i32;
            }
        }
    };
}

leveled! {
    fn scale_columns(tile: RawTile, scales: &[f32]) = {
        let mut tile = tile;
        for row in 0..tile.rows {
            for (c, scale) in tile.row(row).iter_mut().zip(scales) {
                *c = (*c as f32 * scale).to_bits() as i32;
            }
        }
    };
}

leveled! {
    /// `c -= factor * terms`, wrapping.
    fn subtract(c: &mut [i32], factor: i32, terms: &[i32]) = {
        for (c, &term) in c.iter_mut().zip(terms) {
            *c = c.wrapping_sub(factor.wrapping_mul(term));
        }
    };
}

leveled! {
    /// Rows of `k` as u8, padded with zeros to `depth`.
    fn copy_rows(source: &[u8], k: usize, depth: usize, signed: bool, out: &mut [u8]) = {
        let flip = if signed { 0x80 } else { 0 };
        for (row, out) in out.chunks_exact_mut(depth).enumerate() {
            let (own, pad) = out.split_at_mut(k);
            own.iter_mut().zip(&source[row * k..]).for_each(|(out, &x)| *out = x ^ flip);
            pad.fill(0);
        }
    };
}

leveled! {
    fn row_sums(source: &[u8], depth: usize, sums: &mut [i32]) = {
        for (row, sum) in source.chunks_exact(depth.max(1)).zip(sums) {
            *sum = row.iter().map(|&x| u32::from(x)).fold(0u32, u32::wrapping_add) as i32;
        }
    };
}

#[cfg(test)]
mod tests;
