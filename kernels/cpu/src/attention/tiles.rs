//! One head of one sequence, tile by tile.

use super::{AttentionInput, AttentionShape};
use crate::level::leveled;
use crate::matmul::pack_transposed;
use crate::microkernel::{Kernel, PANEL, Tile};
use crate::scratch::{Slot, with_scratch};
use crate::vector_math::{exp_negative, exponentials, max};
use crate::view::{Rows, RowsMut};

/// Queries of a tile.
const QUERIES: usize = 12;
/// Keys of a block; the last block of a sequence may be shorter.
const KEYS: usize = 512;

/// Computes `head` into `out`, `[queries, head_dim]`.
pub(super) fn one_head(
    shape: &AttentionShape,
    input: &AttentionInput,
    head: usize,
    mut out: RowsMut,
) {
    let (queries, keys) = (input.q.rows(), input.k.rows());
    if queries == 0 || keys == 0 || shape.head_dim == 0 {
        (0..queries).for_each(|row| out.row_mut(row).fill(0.0));
        return;
    }
    let block = KEYS.min(keys).next_multiple_of(PANEL);
    let width = shape.head_dim.next_multiple_of(PANEL);
    let tile = QUERIES.min(queries);
    let lengths = [
        block * shape.head_dim,
        if width == shape.head_dim { 0 } else { block * width },
        tile * shape.head_dim,
        tile * block,
        tile * width,
        queries,
        queries,
    ];
    // Each part is padded to whole cache lines.
    let padded = lengths.map(|len| len.next_multiple_of(PANEL));
    with_scratch(Slot::Attention, padded.iter().sum(), |mut rest| {
        let parts: [&mut [f32]; 7] = std::array::from_fn(|i| {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(padded[i]);
            rest = tail;
            &mut part[..lengths[i]]
        });
        let [keys, values, q, scores, products, maxima, sums] = parts;
        maxima.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        let scratch = Scratch { keys, values, q, scores, products, maxima, sums };
        Head { shape, input, head, kernel: Kernel::get(), block, width, scratch }.run(&mut out);
    });
}

struct Scratch<'a> {
    /// Keys of the block as panels, `[block / 16][head_dim][16]`.
    keys: &'a mut [f32],
    /// Values of the block as panels, only if `head_dim` is no whole number of panels.
    values: &'a mut [f32],
    /// Scaled queries of the tile, `[tile, head_dim]`.
    q: &'a mut [f32],
    /// `[tile, block]`.
    scores: &'a mut [f32],
    /// Weighted sums of values, `[tile, width]`.
    products: &'a mut [f32],
    /// Largest score of every query so far.
    maxima: &'a mut [f32],
    /// Sum of exponentials of every query so far.
    sums: &'a mut [f32],
}

struct Head<'a> {
    shape: &'a AttentionShape,
    input: &'a AttentionInput<'a>,
    head: usize,
    kernel: Kernel,
    /// Keys of a full block, in whole panels.
    block: usize,
    /// `head_dim` in whole panels.
    width: usize,
    scratch: Scratch<'a>,
}

/// A tile's queries and a block's keys.
#[derive(Clone, Copy)]
struct Place {
    query: usize,
    queries: usize,
    key: usize,
    /// Keys of the block that some query of the tile sees.
    keys: usize,
}

impl Head<'_> {
    fn run(mut self, out: &mut RowsMut) {
        let (queries, keys) = (self.input.q.rows(), self.input.k.rows());
        for key in (0..keys).step_by(KEYS) {
            let count = KEYS.min(keys - key);
            self.pack(key, count);
            for query in (0..queries).step_by(QUERIES) {
                let tile = QUERIES.min(queries - query);
                let seen = self.visible(query + tile - 1, key, count);
                if seen > 0 {
                    self.tile(Place { query, queries: tile, key, keys: seen }, out);
                } else if key == 0 {
                    (query..query + tile).for_each(|row| out.row_mut(row).fill(0.0));
                }
            }
        }
        if keys > KEYS {
            for row in 0..queries {
                let sum = self.scratch.sums[row];
                let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
                out.row_mut(row).iter_mut().for_each(|x| *x *= factor);
            }
        }
    }

    /// How many of the block's keys query `query` sees.
    fn visible(&self, query: usize, key: usize, count: usize) -> usize {
        if !self.shape.causal {
            return count;
        }
        let end = (query + 1 + self.input.k.rows()).saturating_sub(self.input.q.rows());
        end.saturating_sub(key).min(count)
    }

    fn kv_column(&self) -> usize {
        self.head / (self.shape.heads / self.shape.kv_heads) * self.shape.head_dim
    }

    fn pack(&mut self, key: usize, count: usize) {
        let (d, column) = (self.shape.head_dim, self.kv_column());
        let columns = column..column + d;
        let k = self.input.k.row_range(key..key + count).column_range(columns.clone());
        for (index, panel) in self.scratch.keys.chunks_exact_mut(d * PANEL).enumerate() {
            let first = index * PANEL;
            if first < count {
                let rows = PANEL.min(count - first);
                pack_transposed(k.row_range(first..count).data(), k.stride(), rows, panel);
            }
        }
        if self.scratch.values.is_empty() {
            return;
        }
        let v = self.input.v.row_range(key..key + count).column_range(columns);
        for (index, panel) in self.scratch.values.chunks_exact_mut(self.block * PANEL).enumerate() {
            let columns = index * PANEL..d.min(index * PANEL + PANEL);
            for (row, panel) in panel.chunks_exact_mut(PANEL).take(count).enumerate() {
                panel.fill(0.0);
                panel[..columns.len()].copy_from_slice(&v.row(row)[columns.clone()]);
            }
        }
    }

    fn tile(&mut self, place: Place, out: &mut RowsMut) {
        self.score(place);
        let mut visible = [0; QUERIES];
        for (row, visible) in visible.iter_mut().take(place.queries).enumerate() {
            *visible = self.visible(place.query + row, place.key, place.keys);
        }
        self.add_mask(place);
        let rows = place.query..place.query + place.queries;
        let mut factors = [0f32; QUERIES];
        let mut softmax = SoftmaxTile {
            scores: self.scratch.scores,
            stride: self.block,
            keys: place.keys,
            visible: &visible[..place.queries],
            maxima: &mut self.scratch.maxima[rows.clone()],
            sums: &mut self.scratch.sums[rows.clone()],
            factors: &mut factors,
        };
        softmax_tile(&mut softmax);
        self.weigh(place);
        let finish = match (self.input.k.rows() <= KEYS, place.key) {
            (true, _) => Finish::Divide(&self.scratch.sums[rows.clone()]),
            (false, 0) => Finish::Store,
            (false, _) => Finish::Add(&factors),
        };
        finish_tile(finish, self.scratch.products, self.width, out.reborrow().row_range(rows));
    }

    /// `scores = scale Q K^T`.
    fn score(&mut self, place: Place) {
        let (d, column) = (self.shape.head_dim, self.head * self.shape.head_dim);
        let q = self.input.q.column_range(column..column + d);
        let q = q.row_range(place.query..place.query + place.queries);
        scale_rows(q, self.shape.scale, self.scratch.q);
        let tile = Tile {
            segments: 1,
            a_segment: 0,
            last: PANEL,
            k: d,
            a: self.scratch.q.as_ptr(),
            a_row: d,
            b: self.scratch.keys.as_ptr(),
            b_row: PANEL,
            b_panel: d * PANEL,
            c: self.scratch.scores.as_mut_ptr(),
            c_row: self.block,
            accumulate: false,
            bias: std::ptr::null(),
            prefetch: false,
            end: None,
        };
        // SAFETY: the scratch holds `queries` rows of q and scores and the panels of `keys`.
        unsafe { self.tiles(tile, place.queries, place.keys.div_ceil(PANEL)) };
    }

    fn add_mask(&mut self, place: Place) {
        let Some(mask) = self.input.mask else { return };
        for (row, scores) in self.scratch.scores.chunks_exact_mut(self.block).enumerate() {
            if row == place.queries {
                break;
            }
            let start =
                self.head * mask.head_stride + (place.query + row) * mask.row_stride + place.key;
            let mask = &mask.data[start..start + place.keys];
            scores.iter_mut().zip(mask).for_each(|(score, &mask)| *score += mask);
        }
    }

    /// `products = scores V`.
    fn weigh(&mut self, place: Place) {
        let column = self.kv_column();
        let v = self.input.v.row_range(place.key..place.key + place.keys);
        let v = v.column_range(column..column + self.shape.head_dim);
        let (b, b_row, b_panel) = match self.scratch.values.is_empty() {
            true => (v.as_ptr(), v.stride(), PANEL),
            false => (self.scratch.values.as_ptr(), PANEL, self.block * PANEL),
        };
        let tile = Tile {
            segments: 1,
            a_segment: 0,
            last: PANEL,
            k: place.keys,
            a: self.scratch.scores.as_ptr(),
            a_row: self.block,
            b,
            b_row,
            b_panel,
            c: self.scratch.products.as_mut_ptr(),
            c_row: self.width,
            accumulate: false,
            bias: std::ptr::null(),
            prefetch: false,
            end: None,
        };
        // SAFETY: the scratch holds `queries` rows; the values have `keys` rows of `width` columns,
        // in place if `head_dim` is a whole number of panels and packed otherwise.
        unsafe { self.tiles(tile, place.queries, self.width / PANEL) };
    }

    /// A whole product as tiles.
    ///
    /// # Safety
    /// As [`Kernel::tile`] for each of them.
    unsafe fn tiles(&self, whole: Tile, rows: usize, panels: usize) {
        let tallest = self.kernel.next_rows(rows);
        let mut panel = 0;
        while panel < panels {
            let width = self.kernel.next_panels(tallest, panels - panel);
            let mut row = 0;
            while row < rows {
                let height = self.kernel.next_rows(rows - row);
                let tile = Tile {
                    a: whole.a.wrapping_add(row * whole.a_row),
                    b: whole.b.wrapping_add(panel * whole.b_panel),
                    c: whole.c.wrapping_add(row * whole.c_row + panel * PANEL),
                    ..whole
                };
                // SAFETY: promised by the caller; heights after the first are no larger.
                unsafe { self.kernel.tile(&tile, height, width) };
                row += height;
            }
            panel += width;
        }
    }
}

struct SoftmaxTile<'a> {
    scores: &'a mut [f32],
    stride: usize,
    keys: usize,
    /// Keys that each query sees.
    visible: &'a [usize],
    maxima: &'a mut [f32],
    sums: &'a mut [f32],
    /// By how much earlier sums of each query shrink.
    factors: &'a mut [f32],
}

leveled! {
    /// Turns scores into exponentials, moving maxima and sums on.
    fn softmax_tile(tile: &mut SoftmaxTile<'_>) = softmax_tile_body(tile);
}

#[inline(always)]
fn softmax_tile_body(tile: &mut SoftmaxTile<'_>) {
    for (row, &visible) in tile.visible.iter().enumerate() {
        // Whole lanes: what is beyond the visible keys becomes 0 like any hidden key.
        let keys = tile.keys.next_multiple_of(PANEL);
        let scores = &mut tile.scores[row * tile.stride..][..keys];
        scores[visible..].fill(f32::NEG_INFINITY);
        let before = tile.maxima[row];
        let here = max(scores);
        let largest = if here > before { here } else { before };
        // What has not begun, or has its maximum already, does not shrink.
        let same = before == largest || before == f32::NEG_INFINITY;
        let factor = if same { 1.0 } else { exp_negative(before - largest) };
        tile.maxima[row] = largest;
        tile.sums[row] = tile.sums[row].mul_add(factor, exponentials(scores, largest));
        tile.factors[row] = factor;
    }
}

leveled! {
    /// `out = x factor`, dense.
    fn scale_rows(x: Rows<'_>, factor: f32, out: &mut [f32]) = scale_rows_body(x, factor, out);
}

#[inline(always)]
fn scale_rows_body(x: Rows<'_>, factor: f32, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(x.columns()).take(x.rows()).enumerate() {
        out.iter_mut().zip(x.row(row)).for_each(|(out, &x)| *out = x * factor);
    }
}

/// What becomes of a tile's weighted sums.
enum Finish<'a> {
    /// They are all there is: divide by the sums of exponentials.
    Divide(&'a [f32]),
    /// They are the first of several.
    Store,
    /// They are added to the earlier ones, which shrink by these factors.
    Add(&'a [f32]),
}

leveled! {
    fn finish_tile(finish: Finish<'_>, products: &[f32], width: usize, out: RowsMut<'_>)
        = finish_tile_body(finish, products, width, out);
}

#[inline(always)]
fn finish_tile_body(finish: Finish<'_>, products: &[f32], width: usize, mut out: RowsMut<'_>) {
    for row in 0..out.rows() {
        let out = out.row_mut(row);
        let products = &products[row * width..][..out.len()];
        match finish {
            Finish::Divide(sums) => {
                let factor = if sums[row] == 0.0 { 0.0 } else { 1.0 / sums[row] };
                out.iter_mut().zip(products).for_each(|(out, &x)| *out = x * factor);
            }
            Finish::Store => out.copy_from_slice(products),
            Finish::Add(factors) => {
                let factor = factors[row];
                out.iter_mut().zip(products).for_each(|(out, &x)| *out = out.mul_add(factor, x));
            }
        }
    }
}
