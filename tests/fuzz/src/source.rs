//! Bytes as a sequence of choices; when they end, every choice is the first one.

/// Extents that arithmetic without checks trips over.
const HOSTILE: [u64; 16] = [
    1_000,
    65_535,
    65_536,
    1 << 20,
    (1 << 24) + 1,
    i32::MAX as u64,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 34,
    1 << 40,
    1 << 53,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];
/// Extents at which kernels change over from one loop to another.
const EDGES: [u64; 16] = [10, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 128, 129];

/// Reads choices off an input.
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
}

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Source<'a> {
        Source { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next byte; 0 behind the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        byte
    }

    /// A number below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// One of `items`.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// An extent: mostly small, sometimes at the edge of a kernel's block, rarely absurd.
    pub(crate) fn extent(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=215 => u64::from(byte % 9),
            byte @ 216..=243 => EDGES[usize::from(byte) % EDGES.len()],
            _ => HOSTILE[self.below(HOSTILE.len())],
        }
    }

    /// Up to five extents.
    pub(crate) fn extents(&mut self) -> Vec<u64> {
        let count = self.below(6);
        (0..count).map(|_| self.extent()).collect()
    }

    /// Exactly so many extents, now and then of another number.
    pub(crate) fn extents_of(&mut self, count: usize) -> Vec<u64> {
        match self.byte() {
            255 => self.extents(),
            _ => (0..count).map(|_| self.extent()).collect(),
        }
    }

    /// Axes below `rank`, now and then beyond.
    pub(crate) fn axis(&mut self, rank: usize) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => rank as u32,
            byte => u32::from(byte) % rank.max(1) as u32,
        }
    }

    /// A float, special ones included.
    pub(crate) fn float(&mut self) -> f32 {
        const FLOATS: [f32; 12] =
            [0.0, 1.0, -1.0, 0.5, 2.0, 1e-5, 6.0, 3.0, f32::NAN, f32::INFINITY, -1e30, 1e-40];
        self.pick(&FLOATS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_end_every_choice_is_the_first() {
        let mut source = Source::new(&[7, 255]);
        assert_eq!((source.byte(), source.axis(2), source.is_empty()), (7, u32::MAX, true));
        assert_eq!((source.below(5), source.extent(), source.axis(0)), (0, 0, 0));
        assert!(source.extents().is_empty() && !source.bit());
    }

    #[test]
    fn extents_reach_both_ends() {
        let mut seen: Vec<u64> = (0..=255)
            .flat_map(|byte| (0..16).map(move |next| Source::new(&[byte, next]).extent()))
            .collect();
        seen.sort_unstable();
        assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&u64::MAX)));
        assert!(seen.contains(&129) && seen.contains(&(1 << 40)));
    }
}
