//! Values that are made by counting.

use crate::moved::{INTEGERS, Operand, bytes_left, encode_whole, is_signed};
use crate::reference::{Random, SIZES};
use aimass_cuda::counting::{iota, one_hot, positions};
use aimass_tensor::DType;

fn check_one_hot(dtype: DType, index: &[i128], skip: usize, (size, depth): (usize, usize)) {
    let n = index.len();
    let x = Operand::new(&encode_whole(dtype, index), skip * crate::moved::size(dtype));
    let one = &[0x80, 0x3f, 1, 2, 3, 4, 5, 6][..size];
    let found = bytes_left(n * depth * size, skip * size, |queue, out| {
        one_hot(queue, (x.slice(), dtype, n), depth, one, out)
    });
    for (place, found) in found.chunks(size).enumerate() {
        let hot = index[place / depth] == (place % depth) as i128;
        let expected = if hot { one.to_vec() } else { vec![0; size] };
        assert_eq!(found, expected, "{dtype} {place} of depth {depth}");
    }
}

#[test]
fn indices_become_unit_rows() {
    for dtype in INTEGERS {
        let outside = if is_signed(dtype) { -1 } else { 200 };
        let index: Vec<i128> = (0..33).map(|i| if i % 5 == 4 { outside } else { i % 9 }).collect();
        for of in [(1, 7usize), (2, 8), (4, 1), (8, 40)] {
            check_one_hot(dtype, &index, 0, of);
        }
    }
}

pub(crate) fn draw_one_hot(random: &mut Random) {
    let dtype = random.of(&INTEGERS);
    let depth = random.extent(40);
    let outside = if is_signed(dtype) { -1 } else { 127 };
    let n = random.extent(300);
    let mut index = || match random.below(9) {
        0 => outside,
        _ => random.below(depth + 1) as i128,
    };
    let index: Vec<i128> = (0..n).map(|_| index()).collect();
    check_one_hot(dtype, &index, random.below(3), (random.of(&[1, 2, 4, 8]), depth));
}

fn check_iota(lanes: [usize; 3], start: i64, step: i64) {
    let [outer, extent, inner] = lanes;
    let elements = outer * extent * inner;
    let found = bytes_left(elements * 8, 0, |queue, out| iota(queue, lanes, (start, step), out));
    let expected: Vec<u8> = (0..elements)
        .map(|i| start.wrapping_add(step.wrapping_mul((i / inner % extent) as i64)))
        .flat_map(i64::to_le_bytes)
        .collect();
    assert_eq!(found, expected, "{lanes:?}");
}

#[test]
fn numbers_count_along_an_axis() {
    for &n in SIZES {
        check_iota([1, n, 1], -3, 7);
        check_iota([2, 5, n], i64::MAX - 2, 3);
    }
}

pub(crate) fn draw_iota(random: &mut Random) {
    let lanes = [random.below(4), random.extent(1100), random.below(4)];
    check_iota(lanes, random.bits() as i64, random.bits() as i64);
}

fn check_positions(lengths: &[usize]) {
    let mut offsets = vec![0u32];
    for &length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length as u32);
    }
    let bytes: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let x = Operand::new(&bytes, 0);
    let rows: usize = lengths.iter().sum();
    let found = bytes_left(rows * 4, 0, |queue, out| {
        positions(queue, (x.slice(), lengths.len()), rows, out)
    });
    let expected: Vec<u8> =
        lengths.iter().flat_map(|&n| 0..n as u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(found, expected, "{lengths:?}");
}

pub(crate) fn draw_positions(random: &mut Random) {
    let lengths: Vec<usize> = (0..random.below(9)).map(|_| random.extent(400)).collect();
    check_positions(&lengths);
}

#[test]
fn rows_know_their_place_in_their_sequence() {
    for lengths in [vec![], vec![0usize], vec![5], vec![1, 0, 129, 300, 0, 2], vec![1; 257]] {
        check_positions(&lengths);
    }
    // Offsets beyond the rows write nothing behind them.
    let x = Operand::new(&[0u32, 2, 1000].map(u32::to_le_bytes).concat(), 0);
    let found = bytes_left(16, 0, |queue, out| positions(queue, (x.slice(), 2), 4, out));
    assert_eq!(found, [0u32, 1, 0, 1].map(u32::to_le_bytes).concat());
}
