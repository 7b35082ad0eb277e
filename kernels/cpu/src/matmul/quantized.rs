//! Products of f32 rows with weights of 4 or 8 bits, which stay so in memory.
//!
//! A few panels at a time are turned to f32, `(q - zero) * scale`, and multiplied from the cache: the
//! same bits as a packed product with dequantized weights, whatever the rows and threads.

#![expect(unsafe_code, reason = "tiles of raw rows; parts written by several threads")]

use super::packed::SPLIT_WORK_MIN;
use crate::level::leveled;
use crate::microkernel::{Kernel, PANEL, TILE_PANELS_MAX, TILE_ROWS_MAX, Tile};
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{RawRows, Rows, RowsMut, numbers, numbers_mut};
use aimass_tensor::{Buffer, BufferMut};
use std::ops::Range;

/// Steps of `k` done at once.
const K_BLOCK: usize = 384;
/// Rows of the left side that stay in the second-level cache while all panels pass.
const M_BLOCK: usize = 144;
/// Rows from which the rows are split over the threads, not the panels.
const SPLIT_ROWS_MIN: usize = 96;

/// Width of a quantized weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightBits {
    /// Two in a byte, the first in the low half.
    Four,
    /// One a byte.
    Eight,
}

/// Weights of a linear layer, row-major `[n, k]` as they are stored, with a scale and a zero point
/// for each `group` of successive weights of a row; the last group of a row may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedWeights<'a> {
    /// Columns of the product.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Weights that share a scale, at least 1.
    pub group: usize,
    /// Width of weights and zero points.
    pub bits: WeightBits,
    /// Whether they are two's complement.
    pub signed: bool,
    /// `[n, k]`, without gaps between rows.
    pub weights: &'a [u8],
    /// `[n, ceil(k / group)]`.
    pub scales: &'a [f32],
    /// `[n, ceil(k / group)]`, without gaps; none for 0 if signed, else for the middle (8 or 128).
    pub zeros: Option<&'a [u8]>,
}

impl QuantizedWeights<'_> {
    fn groups(&self) -> usize {
        self.k.div_ceil(self.group)
    }

    /// Element `index` of weights or zero points, as it is stored.
    fn stored(&self, data: &[u8], index: usize) -> u8 {
        match self.bits {
            WeightBits::Four => (data[index / 2] >> (index % 2 * 4)) & 15,
            WeightBits::Eight => data[index],
        }
    }

    /// What brings a stored element to unsigned: the top bit, if it is signed.
    fn flip(&self) -> u8 {
        match (self.signed, self.bits) {
            (false, _) => 0,
            (true, WeightBits::Four) => 8,
            (true, WeightBits::Eight) => 128,
        }
    }

    fn check(&self) {
        let bytes = |elements: usize| match self.bits {
            WeightBits::Four => elements.div_ceil(2),
            WeightBits::Eight => elements,
        };
        assert!(self.group > 0, "a group of no weights");
        let scales = self.n * self.groups();
        assert_eq!(self.weights.len(), bytes(self.n * self.k), "bytes of weights");
        assert_eq!(self.scales.len(), scales, "scales");
        assert!(self.zeros.is_none_or(|zeros| zeros.len() == bytes(scales)), "zero points");
    }
}

/// Quantized weights in panels of 16 columns, as unsigned numbers: `[ceil(n / 16)][k][16]` bytes, or
/// `[ceil(n / 16)][ceil(k / 2)][16]` with the even step of `k` in the low half.
///
/// Clones share the memory.
#[derive(Clone)]
pub struct PackedQuantized {
    k: usize,
    n: usize,
    group: usize,
    bits: WeightBits,
    panels: Buffer,
    /// `[panels][groups][2][16]`: scales, zero points.
    scaling: Buffer,
}

impl PackedQuantized {
    /// Packs the weights.
    ///
    /// # Panics
    /// If a slice has another size than the extents say.
    pub fn pack(weights: QuantizedWeights<'_>) -> PackedQuantized {
        weights.check();
        let QuantizedWeights { n, k, group, bits, .. } = weights;
        let (groups, count, flip) = (weights.groups(), n.div_ceil(PANEL), weights.flip());
        let steps = match bits {
            WeightBits::Four => k.div_ceil(2),
            WeightBits::Eight => k,
        };
        let mut panels = BufferMut::zeroed(count * steps * PANEL);
        let mut scaling = BufferMut::zeroed(count * groups * 2 * PANEL * size_of::<f32>());
        let (bytes, numbers) = (panels.as_mut_slice(), numbers_mut::<f32>(scaling.as_mut_slice()));
        let middle = match bits {
            WeightBits::Four => 8,
            WeightBits::Eight => 128,
        };
        for column in 0..n {
            let (panel, lane) = (column / PANEL, column % PANEL);
            for p in 0..k {
                let q = weights.stored(weights.weights, column * k + p) ^ flip;
                match bits {
                    WeightBits::Four => {
                        bytes[(panel * steps + p / 2) * PANEL + lane] |= q << (p % 2 * 4);
                    }
                    WeightBits::Eight => bytes[(panel * steps + p) * PANEL + lane] = q,
                }
            }
            for own in 0..groups {
                let index = column * groups + own;
                let zero =
                    weights.zeros.map_or(middle, |zeros| weights.stored(zeros, index) ^ flip);
                let to = &mut numbers[(panel * groups + own) * 2 * PANEL..][..2 * PANEL];
                to[lane] = weights.scales[index];
                to[PANEL + lane] = f32::from(zero);
            }
        }
        PackedQuantized { k, n, group, bits, panels: panels.freeze(), scaling: scaling.freeze() }
    }

    /// Rows: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns, padding not counted.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes of memory that weights, scales and zero points take.
    pub fn bytes(&self) -> usize {
        self.panels.as_slice().len() + self.scaling.as_slice().len()
    }

    fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Steps `steps` of a panel as f32, `[steps][16]`.
    fn dequantize(&self, panel: usize, steps: Range<usize>, out: &mut [f32]) {
        let groups = self.k.div_ceil(self.group);
        let scaling = &numbers::<f32>(self.scaling.as_slice())[panel * groups * 2 * PANEL..];
        let bytes = self.panels.as_slice();
        let mut done = steps.start;
        while done < steps.end {
            let own = done / self.group;
            let end = steps.end.min((own + 1).saturating_mul(self.group));
            let scaling: &[f32; 2 * PANEL] =
                scaling[own * 2 * PANEL..].first_chunk().expect("every group has its scales");
            let out = &mut out[(done - steps.start) * PANEL..(end - steps.start) * PANEL];
            match self.bits {
                WeightBits::Eight => {
                    let bytes = &bytes[(panel * self.k + done) * PANEL..];
                    bytes_to_f32(bytes, scaling, out);
                }
                WeightBits::Four => {
                    let bytes = &bytes[panel * self.k.div_ceil(2) * PANEL..];
                    halves_to_f32(bytes, done, scaling, out);
                }
            }
            done = end;
        }
    }
}

leveled! {
    fn bytes_to_f32(bytes: &[u8], scaling: &[f32; 2 * PANEL], out: &mut [f32]) = {
        // Arrays of 32-bit integers first: bytes that become floats one by one are no vectors.
        let [scales, zeros] = scaling.as_chunks::<PANEL>().0 else { return };
        let steps = bytes.as_chunks::<PANEL>().0.iter();
        for (bytes, out) in steps.zip(out.as_chunks_mut::<PANEL>().0) {
            let mut wide = [0i32; PANEL];
            for lane in 0..PANEL {
                wide[lane] = i32::from(bytes[lane]);
            }
            for lane in 0..PANEL {
                out[lane] = (wide[lane] as f32 - zeros[lane]) * scales[lane];
            }
        }
    };
}

leveled! {
    fn halves_to_f32(bytes: &[u8], first: usize, scaling: &[f32; 2 * PANEL], out: &mut [f32]) = {
        let (scales, zeros) = scaling.split_at(PANEL);
        for (i, out) in out.chunks_exact_mut(PANEL).enumerate() {
            let (step, shift) = ((first + i) / 2, (first + i) % 2 * 4);
            let bytes = &bytes[step * PANEL..][..PANEL];
            for lane in 0..PANEL {
                let q = (bytes[lane] >> shift) & 15;
                out[lane] = (q as f32 - zeros[lane]) * scales[lane];
            }
        }
    };
}

/// `c = a w + bias` for `a: [m, k]`, packed `w: [k, n]` and `c: [m, n]`; sums start from the bias.
///
/// Small products run on the calling thread; others are split by rows, or by panels while there
/// are few rows. Scratch: 96 KB a thread.
///
/// # Panics
/// If the extents do not fit together.
pub fn matmul_quantized(
    team: Team<'_>,
    a: Rows,
    w: &PackedQuantized,
    bias: Option<&[f32]>,
    mut c: RowsMut,
) {
    let (rows, panels) = (a.rows(), w.panels());
    assert_eq!(a.columns(), w.k(), "columns of a, rows of w");
    assert_eq!((c.rows(), c.columns()), (rows, w.n()), "extents of c");
    assert!(bias.is_none_or(|bias| bias.len() == w.n()), "bias of {} columns", w.n());
    let job = Job { kernel: Kernel::get(), a, w, bias, c: c.raw() };
    let work = rows.saturating_mul(w.k()).saturating_mul(w.n());
    let threads = team.threads().min(work / SPLIT_WORK_MIN);
    if threads <= 1 {
        // SAFETY: all of `c`, which is borrowed here.
        unsafe { job.part(0..rows, 0..panels) };
    } else if rows >= SPLIT_ROWS_MIN.max(threads * 2 * TILE_ROWS_MAX) {
        let step = rows.div_ceil(rows.div_ceil(M_BLOCK).next_multiple_of(threads));
        team.run(rows.div_ceil(step), &|task| {
            let part = task * step..rows.min(task * step + step);
            // SAFETY: every task has rows of its own, and the run ends before the borrow of `c`.
            unsafe { job.part(part, 0..panels) };
        });
    } else {
        let step = panels.div_ceil(threads * 4).next_multiple_of(2);
        team.run(panels.div_ceil(step), &|task| {
            let part = task * step..panels.min(task * step + step);
            // SAFETY: every task has columns of its own, and the run ends before the borrow of `c`.
            unsafe { job.part(0..rows, part) };
        });
    }
}

struct Job<'a> {
    kernel: Kernel,
    a: Rows<'a>,
    w: &'a PackedQuantized,
    bias: Option<&'a [f32]>,
    c: RawRows,
}

// SAFETY: the address of the result is written through by tasks with disjoint parts.
unsafe impl Sync for Job<'_> {}

impl Job<'_> {
    /// Computes these rows and panels.
    ///
    /// # Safety
    /// They are inside the extents, and that part of the result is this thread's alone.
    unsafe fn part(&self, rows: Range<usize>, panels: Range<usize>) {
        let k = self.w.k();
        with_scratch(Slot::Operands, TILE_PANELS_MAX * K_BLOCK * PANEL, |scratch| {
            for first in rows.clone().step_by(M_BLOCK) {
                let block = first..rows.end.min(first + M_BLOCK);
                let tallest = self.kernel.next_rows(block.len());
                let mut panel = panels.start;
                while panel < panels.end {
                    let width = self.kernel.next_panels(tallest, panels.end - panel);
                    for start in (0..k.max(1)).step_by(K_BLOCK) {
                        let steps = start..k.min(start + K_BLOCK);
                        let weights = &mut scratch[..width * steps.len() * PANEL];
                        if !steps.is_empty() {
                            let each = weights.chunks_exact_mut(steps.len() * PANEL);
                            for (i, out) in each.enumerate() {
                                self.w.dequantize(panel + i, steps.clone(), out);
                            }
                        }
                        // SAFETY: promised by the caller; the weights are those of the panels.
                        unsafe { self.tiles(block.clone(), panel, width, steps, weights) };
                    }
                    panel += width;
                }
            }
        });
    }

    /// All rows of a block by a few panels, over one block of `k`.
    ///
    /// # Safety
    /// As [`Job::part`].
    unsafe fn tiles(
        &self,
        rows: Range<usize>,
        panel: usize,
        width: usize,
        steps: Range<usize>,
        weights: &[f32],
    ) {
        const WIDTH: usize = TILE_PANELS_MAX * PANEL;
        let columns = panel * PANEL..self.w.n().min((panel + width) * PANEL);
        let mut wide_bias = [0f32; WIDTH];
        if let Some(bias) = self.bias {
            wide_bias[..columns.len()].copy_from_slice(&bias[columns.clone()]);
        }
        let mut wide = [0f32; TILE_ROWS_MAX * WIDTH];
        let mut row = rows.start;
        while row < rows.end {
            let height = self.kernel.next_rows(rows.end - row);
            let c = self.c.ptr.wrapping_add(row * self.c.stride + columns.start);
            let tile = Tile {
                k: steps.len(),
                segments: 1,
                a_segment: 0,
                last: PANEL,
                a: self.a.as_ptr().wrapping_add(row * self.a.stride() + steps.start),
                a_row: self.a.stride(),
                b: weights.as_ptr(),
                b_row: PANEL,
                b_panel: steps.len() * PANEL,
                c,
                c_row: self.c.stride,
                accumulate: steps.start > 0,
                bias: wide_bias.as_ptr(),
                prefetch: false,
                end: None,
            };
            if columns.len() == width * PANEL {
                // SAFETY: a tile that exists, inside the extents.
                unsafe { self.kernel.tile(&tile, height, width) };
            } else {
                let own = |i: usize| c.wrapping_add(i * self.c.stride);
                for (i, wide) in wide.chunks_exact_mut(WIDTH).take(height).enumerate() {
                    // SAFETY: the columns that exist of a row that exists.
                    unsafe { own(i).copy_to_nonoverlapping(wide.as_mut_ptr(), columns.len()) };
                }
                let inner = Tile { c: wide.as_mut_ptr(), c_row: WIDTH, ..tile };
                // SAFETY: the tile writes to `wide`, which holds the largest one.
                unsafe { self.kernel.tile(&inner, height, width) };
                for (i, wide) in wide.chunks_exact(WIDTH).take(height).enumerate() {
                    // SAFETY: as above.
                    unsafe { own(i).copy_from_nonoverlapping(wide.as_ptr(), columns.len()) };
                }
            }
            row += height;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::matmul::{Epilogue, PackedMatrix, matmul_packed};
    use crate::pool::KernelPool;

    /// Compares with the packed product of dequantized weights.
    fn check(team: Team<'_>, (m, k, n): (usize, usize, usize), group: usize, kind: usize) {
        let (signed, zeros_there, biased) = (kind & 1 != 0, kind & 2 != 0, kind & 4 != 0);
        let bits = if kind & 8 != 0 { WeightBits::Four } else { WeightBits::Eight };
        let groups = k.div_ceil(group);
        let byte = |i: usize| (i * 7919 % 251) as u8;
        let len = |elements: usize| match bits {
            WeightBits::Four => elements.div_ceil(2),
            WeightBits::Eight => elements,
        };
        let weights: Vec<u8> = (0..len(n * k)).map(byte).collect();
        let zeros: Vec<u8> = (0..len(n * groups)).map(|i| byte(i + 9)).collect();
        let scales: Vec<f32> = (0..n * groups).map(|i| (i % 13 + 1) as f32 / 64.0).collect();
        let number = |i: usize| ((i * 104_729) % 199) as f32 / 99.5 - 1.0;
        let (a, bias): (Vec<f32>, Vec<f32>) =
            ((0..m * k).map(number).collect(), (0..n).map(number).collect());
        let zeros = zeros_there.then_some(&zeros[..]);
        let source = QuantizedWeights {
            n,
            k,
            group,
            bits,
            signed,
            weights: &weights,
            scales: &scales,
            zeros,
        };
        let value = |data: &[u8], index: usize| {
            let stored = source.stored(data, index);
            match (signed, bits) {
                (false, _) => f32::from(stored),
                (true, WeightBits::Eight) => f32::from(stored as i8),
                (true, WeightBits::Four) => f32::from((stored << 4) as i8 >> 4),
            }
        };
        let middle = match (signed, bits) {
            (true, _) => 0.0,
            (false, WeightBits::Four) => 8.0,
            (false, WeightBits::Eight) => 128.0,
        };
        let plain: Vec<f32> = (0..n * k)
            .map(|i| {
                let own = i / k * groups + i % k / group;
                let zero = zeros.map_or(middle, |zeros| value(zeros, own));
                (value(&weights, i) - zero) * scales[own]
            })
            .collect();
        let bias = biased.then_some(&bias[..]);
        let (mut want, mut got) = (vec![0f32; m * n], vec![f32::NAN; m * n]);
        let rows = Rows::new(&a, m, k, k);
        let matrix = PackedMatrix::pack_transposed(k, n, &plain);
        let epilogue = Epilogue { bias, ..Default::default() };
        matmul_packed(Team::alone(), rows, &matrix, RowsMut::new(&mut want, m, n, n), &epilogue);
        let packed = PackedQuantized::pack(source);
        matmul_quantized(team, rows, &packed, bias, RowsMut::new(&mut got, m, n, n));
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&got), bits(&want), "[{m}, {k}, {n}] group {group} kind {kind}");
    }

    #[test]
    fn products_have_the_bits_of_dequantized_weights() {
        let pool = KernelPool::new(3);
        for_each_level(|_| {
            let shapes = [(1, 1, 1), (3, 7, 17), (5, 0, 3), (0, 3, 4), (20, 33, 80)];
            for (shape, kind) in shapes.into_iter().flat_map(|s| (0..16).map(move |kind| (s, kind)))
            {
                for group in [1, 4, 32, 1000] {
                    check(pool.team(3), shape, group, kind);
                }
            }
            check(pool.team(3), (200, 2 * K_BLOCK + 3, 40), 128, 3);
            check(pool.team(3), (2, K_BLOCK + 31, 600), 37, 14);
        });
    }
}
