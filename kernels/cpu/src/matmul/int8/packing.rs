//! The weights of an int8 layer in the order in which the tiles read them.

use crate::view::{numbers, numbers_mut};
use aimass_tensor::{Buffer, BufferMut};
use std::ops::Range;

/// Columns of a panel.
pub(super) const PANEL: usize = 16;
/// Steps of `k` that lie side by side: what one dot-product instruction sums.
pub(super) const GROUP: usize = 4;
/// Steps of `k` to whose multiple columns are padded: four groups.
pub(super) const QUAD: usize = 4 * GROUP;
/// Steps of `k` that share a scale of the activations.
pub(super) const BLOCK: usize = 64;

/// How many groups of products of a column with bytes up to 127 are sure to fit 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Span {
    One,
    Two,
    Four,
}

/// 8-bit weights of a linear layer, row-major `[k, n]`; column `j` stands for
/// `(weights[.., j] - zeros[j]) * scales[j]`.
#[derive(Clone, Copy, Debug)]
pub struct Int8Weights<'a> {
    /// Columns.
    pub n: usize,
    /// `[k, n]`; signed ones as their bits.
    pub weights: &'a [u8],
    /// Whether weights and zero points are i8.
    pub signed: bool,
    /// One for all columns or one a column; none for zeros.
    pub zeros: &'a [u8],
    /// One for all columns or one a column.
    pub scales: &'a [f32],
}

impl Int8Weights<'_> {
    fn value(&self, bits: u8) -> i16 {
        if self.signed { i16::from(bits as i8) } else { i16::from(bits) }
    }

    /// The number of a column among those that are one for all or one a column.
    fn of<T: Copy>(all: &[T], column: usize) -> Option<T> {
        match all {
            [one] => Some(*one),
            all => all.get(column).copied(),
        }
    }

    fn check(&self, k: usize) {
        let fits = |len: usize| len == 1 || len == self.n;
        assert_eq!(self.weights.len(), k * self.n, "elements of [{k}, {}]", self.n);
        assert!(fits(self.scales.len()), "scales of {} columns", self.n);
        assert!(self.zeros.is_empty() || fits(self.zeros.len()), "zeros of {} columns", self.n);
    }
}

/// Weights of an int8 layer in panels of 16 columns, `[ceil(n / 16)][ceil(k / 16) 4][16][4]`, zero
/// points subtracted and padded with zeros; sums of every 64 steps of a column; scales.
///
/// Clones share the memory.
#[derive(Clone)]
pub struct PackedInt8 {
    k: usize,
    n: usize,
    panels: Buffer,
    sums: Buffer,
    scales: Buffer,
    spans: Box<[Span]>,
}

impl PackedInt8 {
    /// Packs matrices of `k` rows side by side; none if a weight less its zero point is no i8.
    ///
    /// # Panics
    /// If a slice has another size than its extents say.
    pub fn pack(k: usize, parts: &[Int8Weights<'_>]) -> Option<PackedInt8> {
        let n = parts.iter().map(|part| part.n).sum();
        let (depth, count) = (k.next_multiple_of(QUAD), usize::div_ceil(n, PANEL));
        let blocks = depth.div_ceil(BLOCK);
        let mut panels = BufferMut::zeroed(count * depth * PANEL);
        let mut sums = BufferMut::zeroed(count * blocks * PANEL * size_of::<f32>());
        let mut scales = BufferMut::zeroed(count * PANEL * size_of::<f32>());
        let own_scales: &mut [f32] = numbers_mut(scales.as_mut_slice());
        let mut first = 0;
        for part in parts {
            part.check(k);
            let zero = |column| Int8Weights::of(part.zeros, column);
            let zeros: Vec<i16> =
                (0..part.n).map(|j| zero(j).map_or(0, |zero| part.value(zero))).collect();
            let bytes = panels.as_mut_slice();
            for (step, row) in part.weights.chunks_exact(part.n.max(1)).enumerate() {
                let own = step / GROUP * PANEL * GROUP + step % GROUP;
                for (column, (&bits, zero)) in (first..).zip(row.iter().zip(&zeros)) {
                    let weight = i8::try_from(part.value(bits) - zero).ok()?;
                    let at = column / PANEL * depth * PANEL + own + column % PANEL * GROUP;
                    bytes[at] = weight as u8;
                }
            }
            for column in 0..part.n {
                own_scales[first + column] = Int8Weights::of(part.scales, column)?;
            }
            first += part.n;
        }
        let mut spans = vec![Span::Four; count].into_boxed_slice();
        let own_sums: &mut [f32] = numbers_mut(sums.as_mut_slice());
        for (panel, span) in spans.iter_mut().enumerate() {
            let bytes = &panels.as_slice()[panel * depth * PANEL..][..depth * PANEL];
            *span = span_of(bytes);
            let sums = &mut own_sums[panel * blocks * PANEL..][..blocks * PANEL];
            sum_blocks(bytes, sums);
        }
        let (panels, sums, scales) = (panels.freeze(), sums.freeze(), scales.freeze());
        Some(PackedInt8 { k, n, panels, sums, scales, spans })
    }

    /// Rows: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns, padding not counted.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes of memory that weights, sums and scales take.
    pub fn bytes(&self) -> usize {
        [&self.panels, &self.sums, &self.scales].map(|part| part.as_slice().len()).iter().sum()
    }

    pub(super) fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// `k` in whole quads.
    pub(super) fn depth(&self) -> usize {
        self.k.next_multiple_of(QUAD)
    }

    /// Blocks of a column; the last one may be shorter.
    pub(super) fn blocks(&self) -> usize {
        self.depth().div_ceil(BLOCK)
    }

    /// What 16 bits hold in all of these panels.
    pub(super) fn span(&self, panels: Range<usize>) -> Span {
        self.spans[panels].iter().copied().min().unwrap_or(Span::Four)
    }

    /// Scales of the columns of a panel that exists, and of those that follow.
    pub(super) fn scales(&self, panel: usize) -> &[f32] {
        &numbers(self.scales.as_slice())[panel * PANEL..]
    }

    /// Sums of the blocks of a panel that exists, and of those that follow.
    pub(super) fn sums(&self, panel: usize) -> &[f32] {
        &numbers(self.sums.as_slice())[panel * self.blocks() * PANEL..]
    }

    /// First byte of a panel that exists.
    pub(super) fn panel(&self, index: usize) -> *const i8 {
        self.panels.as_slice()[index * self.depth() * PANEL..].as_ptr().cast()
    }
}

/// What 16 bits hold of a panel. Instructions add neighbors, so that two of the four steps of a
/// group meet in one sum.
fn span_of(panel: &[u8]) -> Span {
    // 127 * 258 is the largest product of a byte of 7 bits that 16 bits hold.
    const LIMIT: u32 = 258;
    let sums = |groups: &[u8]| {
        let mut sums = [0u32; PANEL * 2];
        for group in groups.chunks_exact(PANEL * GROUP) {
            for (sum, two) in sums.iter_mut().zip(group.chunks_exact(2)) {
                *sum += two.iter().map(|&w| u32::from((w as i8).unsigned_abs())).sum::<u32>();
            }
        }
        sums.into_iter().max().unwrap_or(0)
    };
    let fits = |groups: usize| {
        panel.chunks_exact(groups * PANEL * GROUP).all(|groups| sums(groups) <= LIMIT)
    };
    match (fits(4), fits(2)) {
        (true, _) => Span::Four,
        (false, true) => Span::Two,
        (false, false) => Span::One,
    }
}

/// Sums of the columns of every block.
fn sum_blocks(panel: &[u8], sums: &mut [f32]) {
    for (block, sums) in panel.chunks(BLOCK * PANEL).zip(sums.chunks_exact_mut(PANEL)) {
        let mut totals = [0i32; PANEL];
        for group in block.chunks_exact(PANEL * GROUP) {
            for (total, steps) in totals.iter_mut().zip(group.chunks_exact(GROUP)) {
                *total += steps.iter().map(|&w| i32::from(w as i8)).sum::<i32>();
            }
        }
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[i8]) -> PackedInt8 {
        let weights: Vec<u8> = values.iter().map(|&w| w as u8).collect();
        let part =
            Int8Weights { n: 1, weights: &weights, signed: true, zeros: &[], scales: &[1.0] };
        PackedInt8::pack(values.len(), &[part]).unwrap()
    }

    #[test]
    fn spans_are_what_sixteen_bits_hold() {
        let check = |values: &[i8], span| assert_eq!(column(values).span(0..1), span, "{values:?}");
        check(&[-128, -128], Span::Four);
        // Two neighbors of one group and two of the next meet in one sum of two groups.
        check(&[-128, -128, 0, 0, 1, 1], Span::Four);
        check(&[-128, -128, 0, 0, 2, 1], Span::One);
        check(&[-128, -128, 99, 9, 0, 0, 99, 9], Span::Four);
        check(&[65; 4], Span::Four);
        check(&[64; 8], Span::Four);
        check(&[65; 8], Span::One);
        check(&[32; 16], Span::Four);
        check(&[33; 16], Span::Two);
        check(&[], Span::Four);
    }

    #[test]
    fn parts_lie_side_by_side_without_their_zero_points() {
        let weights: Vec<u8> = (0..3 * 18).map(|i| 100 + i).collect();
        let zeros: Vec<u8> = (0..18).map(|i| 110 + i).collect();
        let bytes = Int8Weights {
            n: 18,
            weights: &weights,
            signed: false,
            zeros: &zeros,
            scales: &[0.5; 18],
        };
        let one = Int8Weights { n: 1, weights: &[255, 1, 2], signed: true, ..bytes };
        let one = Int8Weights { zeros: &[], scales: &[2.0], ..one };
        let packed = PackedInt8::pack(3, &[bytes, one]).unwrap();
        assert_eq!((packed.n(), packed.panels(), packed.depth(), packed.blocks()), (19, 2, 16, 1));
        assert_eq!(packed.bytes(), 2 * 16 * 16 + 2 * 16 * 4 + 2 * 16 * 4);
        // Column 17 is 117 + 18 i less 127.
        assert_eq!(packed.panels.as_slice()[256 + 4..][..4], [-10i8 as u8, 8, 26, 0]);
        assert_eq!(packed.panels.as_slice()[256 + 8..][..4], [255, 1, 2, 0]);
        assert_eq!((packed.sums(1)[1], packed.sums(1)[2]), (24.0, 2.0));
        assert_eq!(packed.scales(1)[..4], [0.5, 0.5, 2.0, 0.0]);
    }

    #[test]
    fn weights_that_leave_the_range_are_not_packed() {
        let part = |weights, zeros, signed| {
            PackedInt8::pack(1, &[Int8Weights { n: 1, weights, signed, zeros, scales: &[1.0] }])
        };
        assert!(part(&[255], &[128], false).is_some() && part(&[0], &[128], false).is_some());
        assert!(part(&[255], &[127], false).is_none() && part(&[128], &[], false).is_none());
        assert!(part(&[0x80], &[0], true).is_some() && part(&[0x80], &[1], true).is_none());
    }
}
