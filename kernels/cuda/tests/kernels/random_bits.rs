//! Random bits by counting.

use crate::placed::Placed;
use crate::reference::{Random, SIZES, device};
use aimass_cuda::Form;
use aimass_cuda::random_bits::random_bits;

/// Threefry-2x32 of 20 rounds as its authors write it down, a key injection every four rounds.
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let schedule = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let (mut x, mut y) = (counter[0].wrapping_add(key[0]), counter[1].wrapping_add(key[1]));
    for round in 1..=20u32 {
        x = x.wrapping_add(y);
        let rotation = [13, 15, 26, 6, 17, 29, 16, 24][(round as usize - 1) % 8];
        y = y.rotate_left(rotation) ^ x;
        if round % 4 == 0 {
            let injection = round / 4;
            x = x.wrapping_add(schedule[injection as usize % 3]);
            y = y.wrapping_add(schedule[(injection as usize + 1) % 3]).wrapping_add(injection);
        }
    }
    [x, y]
}

fn bits(key: [u32; 2], n: usize) -> Vec<u32> {
    let key: Vec<u8> = key.iter().flat_map(|word| word.to_le_bytes()).collect();
    let key = Placed::of_bytes(Form::B32, 1, &key);
    let to = Placed::poisoned(Form::B32, 1, n);
    let mut queue = device().queue().expect("a turn");
    random_bits(&mut queue, key.slice(), to.slice(), n as u32).expect("a launch");
    let words = to.bytes(&mut queue);
    words.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("a word"))).collect()
}

fn check(key: [u32; 2], n: usize) {
    let want: Vec<u32> = (0..n).map(|i| threefry(key, [i as u32 / 2, 0])[i % 2]).collect();
    assert_eq!(bits(key, n), want, "{n}");
}

pub(crate) fn draw_random_bits(random: &mut Random) {
    check([random.bits() as u32, random.bits() as u32], random.extent(3000));
}

#[test]
fn words_are_those_of_their_counters() {
    // Published vectors of the reference implementation, Random123.
    assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
    let (key, counter) = ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]);
    assert_eq!(threefry(key, counter), [0xc492_3a9c, 0x483d_f7a0]);
    for &n in SIZES.iter().chain(&[70_001]) {
        check(key, n);
    }
}
