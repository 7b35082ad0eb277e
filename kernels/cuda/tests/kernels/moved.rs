//! Operands as bytes: integers of every dtype, places under broadcasting, misaligned slices.

use crate::reference::{Guarded, Random, device};
use aimass_cuda::{DeviceError, Queue, Slice};
use aimass_tensor::DType;

/// Integers of 8 to 64 bits.
pub(crate) const INTEGERS: [DType; 8] =
    [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64];

/// Bytes of an element.
pub(crate) fn size(dtype: DType) -> usize {
    dtype.size().expect("whole bytes")
}

pub(crate) fn is_signed(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64)
}

/// The low bytes of integers.
pub(crate) fn encode_whole(dtype: DType, x: &[i128]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()[..size(dtype)].to_vec()).collect()
}

/// Integers of bytes.
pub(crate) fn decode_whole(dtype: DType, bytes: &[u8]) -> Vec<i128> {
    let number = |bytes: &[u8]| {
        let fill = if is_signed(dtype) && bytes[bytes.len() - 1] > 127 { 0xff } else { 0 };
        let mut all = [fill; 16];
        all[..bytes.len()].copy_from_slice(bytes);
        i128::from_le_bytes(all)
    };
    bytes.chunks_exact(size(dtype)).map(number).collect()
}

/// What is left of `x` in elements of a dtype.
pub(crate) fn wrapped(dtype: DType, x: i128) -> i128 {
    decode_whole(dtype, &encode_whole(dtype, &[x]))[0]
}

/// Integers of a dtype: its extremes, numbers near 0, and any.
pub(crate) fn integers(dtype: DType, n: usize, seed: u64) -> Vec<i128> {
    let bits = 8 * size(dtype) as u32;
    let extremes = [0, -1, 1, 1 << (bits - 1), (1 << (bits - 1)) - 1, 7, -7, i128::from(bits)];
    let mut random = Random::new(seed);
    let mut number = |_| {
        let any = random.bits();
        match any % 3 {
            0 => extremes[(any >> 8) as usize % extremes.len()],
            1 => i128::from((any >> 8) as i8),
            _ => i128::from(any),
        }
    };
    (0..n).map(|i| wrapped(dtype, number(i))).collect()
}

/// The joint shape of shapes that broadcast.
pub(crate) fn joint(shapes: &[&[usize]]) -> Vec<usize> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let extent = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(own) => shape[own],
        None => 1,
    };
    let along = |axis: usize| {
        let all = shapes.iter().map(|shape| extent(shape, axis));
        all.reduce(|a, b| if a == 1 { b } else { a }).unwrap_or(1)
    };
    (0..rank).map(along).collect()
}

/// Which element of a dense value of shape `own` meets element `i` of one of shape `full`.
pub(crate) fn place(own: &[usize], full: &[usize], i: usize) -> usize {
    let (mut rest, mut at, mut stride) = (i, 0, 1);
    for axis in (0..full.len()).rev() {
        if let Some(own_axis) = (axis + own.len()).checked_sub(full.len()) {
            at += if own[own_axis] == 1 { 0 } else { rest % full[axis] * stride };
            stride *= own[own_axis];
        }
        rest /= full[axis];
    }
    at
}

/// An operand that begins `skip` bytes behind an aligned place.
pub(crate) struct Operand {
    memory: Guarded,
    skip: usize,
}

impl Operand {
    pub(crate) fn new(content: &[u8], skip: usize) -> Operand {
        Operand { memory: Guarded::new(&[&vec![0xc3; skip][..], content].concat()), skip }
    }

    pub(crate) fn slice(&self) -> Slice<'_> {
        let all = self.memory.slice();
        all.part(self.skip, all.bytes() - self.skip).expect("a part")
    }
}

/// Runs `work` and returns the `bytes` bytes that it left, `skip` bytes behind an aligned place.
pub(crate) fn bytes_left(
    bytes: usize,
    skip: usize,
    work: impl FnOnce(&mut Queue<'_>, Slice<'_>) -> Result<(), DeviceError>,
) -> Vec<u8> {
    let out = Guarded::poisoned(skip + bytes);
    let mut queue = device().queue().expect("a turn");
    work(&mut queue, out.slice().part(skip, bytes).expect("a part")).expect("launches");
    let mut all = out.content(&mut queue);
    let left = all.split_off(skip);
    assert!(all.iter().all(|&byte| byte == 0xff), "written before the start");
    left
}
