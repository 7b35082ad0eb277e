//! Random bits by counting: Threefry-2x32 with 20 rounds (Salmon et al., SC11).

use crate::level::leveled;

/// Bits that a word is rotated by, round for round, twice over.
const ROTATIONS: [u32; 8] = [13, 15, 26, 6, 17, 29, 16, 24];
/// What makes the third word of a key.
const PARITY: u32 = 0x1BD1_1BDA;

/// The two words of a counter.
#[inline(always)]
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], PARITY ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for group in 0..5 {
        for round in 0..4 {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(ROTATIONS[(group * 4 + round) % 8]) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(group + 1) % 3]);
        x[1] = x[1].wrapping_add(keys[(group + 2) % 3]).wrapping_add(group as u32 + 1);
    }
    x
}

leveled! {
    /// Words `2 i` and `2 i + 1` are those of the counter `i`, its low half first; of an odd number
    /// the last word is left out.
    pub fn random_bits(key: [u32; 2], out: &mut [u32]) = random_bits_body(key, out);
}

#[inline(always)]
fn random_bits_body(key: [u32; 2], out: &mut [u32]) {
    let counter = |i: usize| [i as u32, (i as u64 >> 32) as u32];
    let mut pairs = out.chunks_exact_mut(2);
    let mut count = 0;
    for (i, pair) in pairs.by_ref().enumerate() {
        pair.copy_from_slice(&threefry(key, counter(i)));
        count = i + 1;
    }
    if let [last] = pairs.into_remainder() {
        *last = threefry(key, counter(count))[0];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;

    #[test]
    fn published_vectors() {
        // Of the reference implementation, Random123.
        assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        let (key, counter) = ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]);
        assert_eq!(threefry(key, counter), [0xc492_3a9c, 0x483d_f7a0]);
    }

    #[test]
    fn words_follow_their_counters() {
        for_each_level(|_| {
            let mut out = [0u32; 77];
            random_bits([1, 2], &mut out);
            for (i, word) in out.into_iter().enumerate() {
                assert_eq!(word, threefry([1, 2], [i as u32 / 2, 0])[i % 2]);
            }
        });
    }
}
