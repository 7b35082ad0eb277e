//! The right side of a product in the order in which the micro-kernel reads it.
#![expect(unsafe_code, reason = "vector instructions; panels read by several threads")]

use crate::level::{Level, level};
use crate::microkernel::PANEL;
use crate::view::{numbers, numbers_mut};
use aimass_tensor::{Buffer, BufferMut};
use std::ops::Range;

/// A `[k, n]` matrix in panels of 16 columns, `[ceil(n / 16)][k][16]`, the last padded with zeros.
///
/// Clones share the memory.
#[derive(Clone)]
pub struct PackedMatrix {
    k: usize,
    n: usize,
    panels: Buffer,
}

impl PackedMatrix {
    /// Packs a row-major `[k, n]` matrix.
    ///
    /// # Panics
    /// If `weights` does not have `k n` elements.
    pub fn pack(k: usize, n: usize, weights: &[f32]) -> PackedMatrix {
        assert_eq!(weights.len(), k * n, "weights of a [{k}, {n}] matrix");
        PackedMatrix::filled(k, n, &mut |p, columns, panel| {
            pack_panel(&weights[p..], n, columns, panel);
        })
    }

    /// Packs a matrix that is stored transposed, row-major `[n, k]`, as linear layers store it.
    ///
    /// # Panics
    /// If `weights` does not have `n k` elements.
    pub fn pack_transposed(k: usize, n: usize, weights: &[f32]) -> PackedMatrix {
        assert_eq!(weights.len(), k * n, "weights of a [{n}, {k}] matrix");
        match k {
            0 => PackedMatrix::pack(0, n, weights),
            _ => PackedMatrix::pack_parts(k, &[weights], true),
        }
    }

    /// Packs several matrices side by side: `[k, n_1 + n_2 + ..]`, as a merged QKV product has them.
    ///
    /// Each part is row-major `[k, n_i]`, or `[n_i, k]` if `transposed`.
    ///
    /// # Panics
    /// If a part is no whole number of columns of `k` elements, or `k` is 0.
    pub fn pack_parts(k: usize, parts: &[&[f32]], transposed: bool) -> PackedMatrix {
        let widths: Vec<usize> = parts.iter().map(|part| part.len() / k).collect();
        assert!(parts.iter().zip(&widths).all(|(part, n)| part.len() == n * k), "[{k}, n] parts");
        let n = widths.iter().sum();
        let mut columns = Vec::with_capacity(n);
        for (part, &width) in parts.iter().zip(&widths) {
            columns.extend((0..width).map(|column| match transposed {
                true => (&part[column * k..], 1),
                false => (&part[column..], width),
            }));
        }
        PackedMatrix::filled(k, n, &mut |first, count, panel| {
            for (lane, &(column, step)) in columns[first..first + count].iter().enumerate() {
                for (row, &value) in panel.chunks_exact_mut(PANEL).zip(column.iter().step_by(step))
                {
                    row[lane] = value;
                }
            }
        })
    }

    /// A matrix over bytes that [`PackedMatrix::buffer`] once gave, on a machine of the same
    /// endianness; nothing is copied.
    ///
    /// # Panics
    /// If the bytes are too few or too many, or misaligned for f32.
    pub fn from_buffer(k: usize, n: usize, panels: Buffer) -> PackedMatrix {
        assert_eq!(numbers::<f32>(panels.as_slice()).len(), n.div_ceil(PANEL) * k * PANEL);
        PackedMatrix { k, n, panels }
    }

    /// Rows: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns, padding not counted.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of panels, `ceil(n / 16)`.
    pub fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Bytes that the panels of a `[k, n]` matrix take.
    pub fn bytes_of(k: usize, n: usize) -> usize {
        n.div_ceil(PANEL) * k * PANEL * size_of::<f32>()
    }

    /// Bytes of memory that the panels take.
    pub fn bytes(&self) -> usize {
        self.panels.as_slice().len()
    }

    /// The packed bytes, to keep them on disk.
    pub fn buffer(&self) -> &Buffer {
        &self.panels
    }

    pub(crate) fn view(&self) -> Panels {
        let ptr = self.panels.as_slice().as_ptr().cast();
        Panels { ptr, k: self.k, n: self.n, panel_steps: self.k }
    }

    fn filled(k: usize, n: usize, fill: &mut dyn FnMut(usize, usize, &mut [f32])) -> PackedMatrix {
        let mut bytes = BufferMut::zeroed(PackedMatrix::bytes_of(k, n));
        if k > 0 {
            let panels = numbers_mut(bytes.as_mut_slice()).chunks_exact_mut(k * PANEL);
            for (index, panel) in panels.enumerate() {
                let first = index * PANEL;
                fill(first, PANEL.min(n - first), panel);
            }
        }
        PackedMatrix { k, n, panels: bytes.freeze() }
    }
}

/// Where the panels of a `[k, n]` matrix lie.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    pub(crate) ptr: *const f32,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Steps from one panel to the next: `k`, unless these are some steps of a longer matrix.
    pub(crate) panel_steps: usize,
}

impl Panels {
    /// These steps of `k` only.
    pub(crate) fn steps(self, steps: Range<usize>) -> Panels {
        assert!(steps.start <= steps.end && steps.end <= self.k, "steps {steps:?}");
        let ptr = self.ptr.wrapping_add(steps.start * PANEL);
        Panels { ptr, k: steps.len(), ..self }
    }
}

// SAFETY: addresses of a matrix that nobody writes while a product reads it.
unsafe impl Sync for Panels {}

/// Copies `columns` (at most 16) columns of a matrix with rows `stride` apart into one panel; the
/// lanes beyond stay as they are.
pub(super) fn pack_panel(matrix: &[f32], stride: usize, columns: usize, panel: &mut [f32]) {
    for (row, panel) in panel.chunks_exact_mut(PANEL).enumerate() {
        panel[..columns].copy_from_slice(&matrix[row * stride..][..columns]);
    }
}

/// Copies `columns` (1 to 16) rows of `matrix`, `stride` apart, into one panel as its columns; the
/// lanes beyond repeat the last row, for products that leave their sums unread.
pub(crate) fn pack_transposed(matrix: &[f32], stride: usize, columns: usize, panel: &mut [f32]) {
    let k = panel.len() / PANEL;
    let squares = match level() {
        Level::Avx512 | Level::Avx2 => k / 8 * 8,
        Level::Scalar | Level::Neon => 0,
    };
    #[cfg(target_arch = "x86_64")]
    if squares > 0 {
        assert!(matrix.len() >= (columns - 1) * stride + k, "{columns} rows of {k}");
        for half in [0, 8] {
            let mut starts = [0; 8];
            for (i, start) in starts.iter_mut().enumerate() {
                *start = (half + i).min(columns - 1) * stride;
            }
            // SAFETY: AVX2 was found; the rows have `k >= squares` elements, and so has the panel.
            unsafe { transpose_rows(matrix, &starts, squares, &mut panel[half..]) };
        }
    }
    for row in squares..k {
        let panel = &mut panel[row * PANEL..][..PANEL];
        for (lane, value) in panel.iter_mut().enumerate() {
            *value = matrix[lane.min(columns - 1) * stride + row];
        }
    }
}

/// Turns eight rows of `len` floats (a multiple of 8) into `len` rows [`PANEL`] apart.
///
/// # Safety
/// AVX2 is there, and so are the elements on both sides.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn transpose_rows(matrix: &[f32], starts: &[usize; 8], len: usize, panel: &mut [f32]) {
    for first in (0..len).step_by(8) {
        // SAFETY: promised by the caller.
        unsafe {
            let from = matrix.as_ptr().add(first);
            transpose_8x8(from, starts, panel.as_mut_ptr().add(first * PANEL));
        }
    }
}

/// Turns eight rows of eight into eight rows [`PANEL`] apart.
///
/// # Safety
/// AVX2 is there, and so are the elements on both sides.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn transpose_8x8(from: *const f32, starts: &[usize; 8], to: *mut f32) {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps,
        _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };
    let mut rows = [_mm256_setzero_ps(); 8];
    for (row, &start) in rows.iter_mut().zip(starts) {
        // SAFETY: promised by the caller.
        *row = unsafe { _mm256_loadu_ps(from.add(start)) };
    }
    let mut pairs = [_mm256_setzero_ps(); 8];
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = [_mm256_setzero_ps(); 8];
    for i in 0..2 {
        let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
        fours[4 * i] = _mm256_shuffle_ps::<0x44>(a, c);
        fours[4 * i + 1] = _mm256_shuffle_ps::<0xee>(a, c);
        fours[4 * i + 2] = _mm256_shuffle_ps::<0x44>(b, d);
        fours[4 * i + 3] = _mm256_shuffle_ps::<0xee>(b, d);
    }
    for i in 0..4 {
        let low = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        let high = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
        // SAFETY: promised by the caller.
        unsafe {
            _mm256_storeu_ps(to.add(i * PANEL), low);
            _mm256_storeu_ps(to.add((i + 4) * PANEL), high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(packed: &PackedMatrix, row: usize, column: usize) -> f32 {
        let data: &[f32] = numbers(packed.buffer().as_slice());
        data[(column / PANEL * packed.k() + row) * PANEL + column % PANEL]
    }

    proptest! {
        #[test]
        fn all_ways_of_packing_agree(k in 1usize..20, n in 1usize..50, cut in 0usize..50) {
            let rows: Vec<f32> = (0..k * n).map(|i| i as f32 + 1.0).collect();
            let columns: Vec<f32> = (0..k * n).map(|i| rows[i % k * n + i / k]).collect();
            let packed = PackedMatrix::pack(k, n, &rows);
            let (left, right) = columns.split_at(cut.min(n) * k);
            let parts = PackedMatrix::pack_parts(k, &[left, right], true);
            prop_assert_eq!(packed.buffer().as_slice(), parts.buffer().as_slice());
            let transposed = PackedMatrix::pack_transposed(k, n, &columns);
            prop_assert_eq!(packed.buffer().as_slice(), transposed.buffer().as_slice());
            for i in 0..k {
                for j in 0..packed.panels() * PANEL {
                    let want = if j < n { rows[i * n + j] } else { 0.0 };
                    prop_assert_eq!(element(&packed, i, j), want);
                }
            }
            let kept = PackedMatrix::from_buffer(k, n, packed.buffer().clone());
            prop_assert_eq!((kept.k(), kept.n(), kept.bytes()), (k, n, n.div_ceil(16) * k * 64));
        }
    }
}
