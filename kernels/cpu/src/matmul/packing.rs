//! The right side of a product in the order in which the micro-kernel reads it.

use crate::level::leveled;
use crate::microkernel::PANEL;
use crate::view::{numbers, numbers_mut};
use aimass_tensor::{Buffer, BufferMut};

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
        assert!(
            parts
                .iter()
                .zip(&widths)
                .all(|(part, n)| part.len() == n * k),
            "[{k}, n] parts"
        );
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
                for (row, &value) in panel
                    .chunks_exact_mut(PANEL)
                    .zip(column.iter().step_by(step))
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
        assert_eq!(
            numbers::<f32>(panels.as_slice()).len(),
            n.div_ceil(PANEL) * k * PANEL
        );
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

    /// Bytes of memory that the panels take.
    pub fn bytes(&self) -> usize {
        self.panels.as_slice().len()
    }

    /// The packed bytes, to keep them on disk.
    pub fn buffer(&self) -> &Buffer {
        &self.panels
    }

    pub(super) fn view(&self) -> Panels {
        Panels {
            ptr: self.panels.as_slice().as_ptr().cast(),
            k: self.k,
            n: self.n,
        }
    }

    fn filled(k: usize, n: usize, fill: &mut dyn FnMut(usize, usize, &mut [f32])) -> PackedMatrix {
        let mut bytes = BufferMut::zeroed(n.div_ceil(PANEL) * k * PANEL * size_of::<f32>());
        if k > 0 {
            let panels = numbers_mut(bytes.as_mut_slice()).chunks_exact_mut(k * PANEL);
            for (index, panel) in panels.enumerate() {
                let first = index * PANEL;
                fill(first, PANEL.min(n - first), panel);
            }
        }
        PackedMatrix {
            k,
            n,
            panels: bytes.freeze(),
        }
    }
}

/// Where the panels of a `[k, n]` matrix lie.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub(super) ptr: *const f32,
    pub(super) k: usize,
    pub(super) n: usize,
}

/// Copies `columns` (at most 16) columns of a matrix with rows `stride` apart into one panel; the
/// lanes beyond stay as they are.
pub(super) fn pack_panel(matrix: &[f32], stride: usize, columns: usize, panel: &mut [f32]) {
    for (row, panel) in panel.chunks_exact_mut(PANEL).enumerate() {
        panel[..columns].copy_from_slice(&matrix[row * stride..][..columns]);
    }
}

leveled! {
    /// Copies `columns` rows of `matrix`, `stride` apart, into one panel as its columns; the
    /// lanes beyond are 0.
    pub(crate) fn pack_transposed(
        matrix: &[f32], stride: usize, columns: usize, panel: &mut [f32],
    ) = pack_transposed_body(matrix, stride, columns, panel);
}

#[inline(always)]
fn pack_transposed_body(matrix: &[f32], stride: usize, columns: usize, panel: &mut [f32]) {
    let k = panel.len() / PANEL;
    let mut row = 0;
    // Squares of eight stay in registers: the compiler turns them by shuffles.
    while columns == PANEL && row + 8 <= k {
        for half in [0, 8] {
            let square: [[f32; 8]; 8] = std::array::from_fn(|lane| {
                let start = (half + lane) * stride + row;
                let source: &[f32; 8] = matrix[start..start + 8].first_chunk().expect("eight");
                *source
            });
            for i in 0..8 {
                let turned: [f32; 8] = std::array::from_fn(|lane| square[lane][i]);
                panel[(row + i) * PANEL + half..][..8].copy_from_slice(&turned);
            }
        }
        row += 8;
    }
    for row in row..k {
        let panel = &mut panel[row * PANEL..][..PANEL];
        for (lane, value) in panel.iter_mut().enumerate() {
            *value = if lane < columns {
                matrix[lane * stride + row]
            } else {
                0.0
            };
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
