//! The right side of an integer product in the order in which the tiles read it.

use crate::view::{numbers, numbers_mut};
use aimass_tensor::{Buffer, BufferMut};
use std::ops::Range;

/// Columns of a panel.
pub(super) const PANEL: usize = 16;
/// Steps of `k` that lie side by side: what one dot-product instruction sums.
pub(super) const GROUP: usize = 4;

/// A `[k, n]` matrix of 8-bit integers as i8 in panels of 16 columns,
/// `[ceil(n / 16)][ceil(k / 4)][16][4]`, padded with zeros, and the sums of its columns.
///
/// Clones share the memory.
#[derive(Clone)]
pub struct PackedIntegers {
    k: usize,
    n: usize,
    /// What was subtracted from every element: 128 for u8.
    shift: i32,
    panels: Buffer,
    sums: Buffer,
    /// Of each panel, whether no two neighbors in a column can overflow 16 bits with u8 factors.
    narrow: Box<[bool]>,
}

impl PackedIntegers {
    /// Packs a row-major `[k, n]` matrix of u8, or of i8 (as their bits) if `signed`.
    ///
    /// # Panics
    /// If `elements` does not have `k n` of them.
    pub fn pack(k: usize, n: usize, elements: &[u8], signed: bool) -> PackedIntegers {
        assert_eq!(elements.len(), k * n, "elements of a [{k}, {n}] matrix");
        let flip = if signed { 0 } else { 0x80 };
        let depth = k.next_multiple_of(GROUP);
        let count = n.div_ceil(PANEL);
        let mut panels = BufferMut::zeroed(count * depth * PANEL);
        let mut sums = BufferMut::zeroed(count * PANEL * size_of::<i32>());
        let mut narrow = vec![true; count].into_boxed_slice();
        let all_sums: &mut [i32] = numbers_mut(sums.as_mut_slice());
        if depth > 0 {
            let chunks = panels.as_mut_slice().chunks_exact_mut(depth * PANEL);
            for (index, panel) in chunks.enumerate() {
                let columns = index * PANEL..n.min(index * PANEL + PANEL);
                fill_panel(panel, elements, n, columns, flip);
                let own = &mut all_sums[index * PANEL..][..PANEL];
                narrow[index] = measure(panel, own);
            }
        }
        let shift = if signed { 0 } else { 128 };
        PackedIntegers { k, n, shift, panels: panels.freeze(), sums: sums.freeze(), narrow }
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

    /// Bytes of memory that the panels and sums take.
    pub fn bytes(&self) -> usize {
        self.panels.as_slice().len() + self.sums.as_slice().len()
    }

    /// `k` in whole groups.
    pub(super) fn depth(&self) -> usize {
        self.k.next_multiple_of(GROUP)
    }

    pub(super) fn shift(&self) -> i32 {
        self.shift
    }

    /// Sum of every column as it is packed.
    pub(super) fn sums(&self) -> &[i32] {
        numbers(self.sums.as_slice())
    }

    pub(super) fn is_narrow(&self, panels: Range<usize>) -> bool {
        self.narrow[panels].iter().all(|&narrow| narrow)
    }

    /// First byte of a panel that exists.
    pub(super) fn panel(&self, index: usize) -> *const i8 {
        self.panels.as_slice()[index * self.depth() * PANEL..].as_ptr().cast()
    }
}

/// Rows of four at a time: each column's four elements go side by side.
fn fill_panel(panel: &mut [u8], elements: &[u8], n: usize, columns: Range<usize>, flip: u8) {
    for (group, out) in panel.chunks_exact_mut(PANEL * GROUP).enumerate() {
        let rows = elements.chunks_exact(n).skip(group * GROUP).take(GROUP);
        for (step, row) in rows.enumerate() {
            for (column, &element) in row[columns.clone()].iter().enumerate() {
                out[column * GROUP + step] = element ^ flip;
            }
        }
    }
}

/// Sums the columns of a panel; whether it is narrow.
fn measure(panel: &[u8], sums: &mut [i32]) -> bool {
    let mut narrow = true;
    for group in panel.chunks_exact(PANEL * GROUP) {
        for (sum, steps) in sums.iter_mut().zip(group.chunks_exact(GROUP)) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| i32::from(steps[i] as i8));
            *sum = sum.wrapping_add(a + b + c + d);
            // 255 * 128 is the largest product of a u8 that 16 bits hold.
            narrow &= a.abs() + b.abs() <= 128 && c.abs() + d.abs() <= 128;
        }
    }
    narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_sums_and_narrowness() {
        let elements: Vec<u8> = (0..5 * 18).map(|i| (i * 37 % 256) as u8).collect();
        for signed in [false, true] {
            let packed = PackedIntegers::pack(5, 18, &elements, signed);
            assert_eq!((packed.panels(), packed.depth(), packed.bytes()), (2, 8, 256 + 128));
            for (row, column) in (0..5).flat_map(|i| (0..18).map(move |j| (i, j))) {
                let at = (column / 16) * 128 + (row / 4) * 64 + (column % 16) * 4 + row % 4;
                let own = packed.panels.as_slice()[at];
                let expected = elements[row * 18 + column] ^ if signed { 0 } else { 0x80 };
                assert_eq!(own, expected);
            }
            let sum: i32 = (0..5)
                .map(|row| {
                    let bits = elements[row * 18 + 17];
                    if signed { i32::from(bits as i8) } else { i32::from(bits) - 128 }
                })
                .sum();
            assert_eq!(packed.sums()[17], sum);
        }
        let narrow = |values: &[i8]| {
            let bits: Vec<u8> = values.iter().map(|&x| x as u8).collect();
            PackedIntegers::pack(values.len(), 1, &bits, true).is_narrow(0..1)
        };
        assert!(narrow(&[64, -64, 0, -128]) && !narrow(&[64, -65]) && narrow(&[1, 127, 127, 1]));
    }
}
