//! Products of bytes against sums in i64.

use crate::reference::{Guarded, Random, device};
use aimass_cuda::Slice;
use aimass_cuda::matmul::ProductDims;
use aimass_cuda::matmul_integer::{ByteMatrix, IntegerEnd, ZeroPoints, matmul_integer};

/// `[batch, m, n, k]`.
const SHAPES: &[[u32; 4]] = &[
    [1, 1, 1, 1],
    [1, 1, 33, 64],
    [1, 5, 7, 63],
    [1, 16, 32, 65],
    [1, 17, 65, 129],
    [1, 70, 64, 200],
    [3, 4, 1, 36],
    [2, 130, 67, 30],
    [2, 3, 4, 0],
    [0, 3, 4, 5],
    [2, 0, 4, 5],
    [2, 3, 0, 5],
];

fn number(bits: u8, signed: bool) -> i64 {
    if signed { i64::from(bits as i8) } else { i64::from(bits) }
}

/// One side: bytes of `batch` matrices (or one), and its zero points.
struct Side {
    signed: bool,
    shared: bool,
    bytes: Vec<u8>,
    each: bool,
    zeros: Vec<u8>,
    /// Elements of a matrix, and zero points of one.
    own: usize,
    len: usize,
}

impl Side {
    fn new(random: &mut Random, dims: [u32; 2], batch: u32, len: u32, kind: u32) -> Side {
        let own = (dims[0] * dims[1]) as usize;
        let (signed, shared) = (kind & 1 == 1, kind & 2 == 2);
        let matrices = if shared { 1 } else { batch as usize };
        let each = kind & 4 == 4;
        let count = match (kind & 8 == 8, each) {
            (true, _) => 0,
            (false, true) => len as usize * batch as usize,
            (false, false) => 1,
        };
        let mut bytes = |n: usize| -> Vec<u8> {
            // Extremes as often as others.
            let byte =
                |bits: u64| [(bits >> 20) as u8, 0, 127, 128, 255][(bits >> 40) as usize % 5];
            (0..n).map(|_| byte(random.bits())).collect()
        };
        let (own_bytes, zeros) = (bytes(own * matrices), bytes(count));
        Side { signed, shared, bytes: own_bytes, each, zeros, own, len: len as usize }
    }

    /// Element `at` of matrix `item` less its zero point, which is number `place`.
    fn at(&self, item: usize, at: usize, place: usize) -> i64 {
        let first = if self.shared { 0 } else { item * self.own };
        let zero = match (self.zeros.len(), self.each) {
            (0, _) => 0,
            (_, true) => number(self.zeros[item * self.len + place], self.signed),
            (_, false) => number(self.zeros[0], self.signed),
        };
        number(self.bytes[first + at], self.signed) - zero
    }

    fn matrix<'m>(&self, data: &'m Guarded, zeros: &'m Guarded) -> ByteMatrix<'m> {
        let zeros = ZeroPoints {
            data: if self.zeros.is_empty() { Slice::none() } else { zeros.slice() },
            each: self.each,
            batch_stride: if self.each { self.len as u64 } else { 0 },
        };
        let batch_stride = if self.shared { 0 } else { self.own as u64 };
        ByteMatrix { data: data.slice(), signed: self.signed, batch_stride, zeros }
    }
}

fn check([batch, m, n, k]: [u32; 4], kinds: [u32; 2], end: usize) {
    let mut random = Random::new(u64::from(m * 7 + n * 3 + k + kinds[0] * 1000 + kinds[1]));
    let a = Side::new(&mut random, [m, k], batch, m, kinds[0]);
    let b = Side::new(&mut random, [k, n], batch, n, kinds[1]);
    let scales: Vec<f32> = (0..n.max(1)).map(|_| random.float() as f32).collect();
    let upload = |side: &Side| [Guarded::new(&side.bytes), Guarded::new(&side.zeros)];
    let ([a_data, a_zeros], [b_data, b_zeros]) = (upload(&a), upload(&b));
    let scale_bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let scale = Guarded::new(&scale_bytes);
    let out = Guarded::poisoned((batch * m * n) as usize * 4);
    let ends = [
        IntegerEnd::I32,
        IntegerEnd::F32,
        IntegerEnd::ScaledByOne(scale.slice()),
        IntegerEnd::ScaledByColumn(scale.slice()),
    ];
    let mut queue = device().queue().expect("a turn");
    let sides = [&a.matrix(&a_data, &a_zeros), &b.matrix(&b_data, &b_zeros)];
    let dims = ProductDims { batch, m, n, k };
    matmul_integer(&mut queue, dims, sides, ends[end], out.slice()).expect("launches");
    let found = out.content(&mut queue);
    let (m, n, k) = (m as usize, n as usize, k as usize);
    for (at, found) in found.as_chunks::<4>().0.iter().enumerate() {
        let (item, row, column) = (at / (m * n), at / n % m, at % n);
        let term = |p: usize| a.at(item, row * k + p, row) * b.at(item, p * n + column, column);
        let sum = (0..k).map(term).sum::<i64>() as i32;
        let expected = match end {
            0 => sum.to_le_bytes(),
            1 => (sum as f32).to_le_bytes(),
            2 => (sum as f32 * scales[0]).to_le_bytes(),
            _ => (sum as f32 * scales[column]).to_le_bytes(),
        };
        assert_eq!(*found, expected, "{dims:?} {kinds:?} end {end}: element {at}, sum {sum}");
    }
}

pub(crate) fn draw_matmul_integer(random: &mut Random) {
    let [batch, m, n, k] = [3, 40, 70, 200].map(|most| random.below(most) as u32);
    let kinds = [random.below(16) as u32, random.below(16) as u32];
    check([batch, m, n, k], kinds, random.below(4));
}

#[test]
fn sums_are_exact_for_every_shape_sign_zero_point_and_end() {
    for (i, &shape) in SHAPES.iter().enumerate() {
        for kinds in 0..16 {
            // Every kind of either side meets others, and every end, over the shapes.
            check(shape, [kinds, (kinds * 5 + i as u32) % 16], (kinds as usize + i) % 4);
        }
    }
}

#[test]
fn sums_wrap_as_those_of_32_bits_do() {
    // 255 * 255 * 66,100 is more than 2^32.
    let k = 66_100u32;
    let bytes = Guarded::new(&vec![255; k as usize]);
    let out = Guarded::poisoned(4);
    let side = ByteMatrix {
        data: bytes.slice(),
        signed: false,
        batch_stride: 0,
        zeros: ZeroPoints::none(),
    };
    let mut queue = device().queue().expect("a turn");
    let dims = ProductDims { batch: 1, m: 1, n: 1, k };
    matmul_integer(&mut queue, dims, [&side, &side], IntegerEnd::I32, out.slice())
        .expect("launches");
    let expected = (255u64 * 255 * u64::from(k)) as u32;
    assert_eq!(out.content(&mut queue), expected.to_le_bytes());
}

#[test]
fn too_short_operands_are_refused() {
    let bytes = Guarded::new(&[1; 32]);
    let out = Guarded::poisoned(64);
    let mut queue = device().queue().expect("a turn");
    let dims = ProductDims { batch: 1, m: 4, n: 4, k: 8 };
    for (data, zeros, result) in [(32, 4, 64), (31, 4, 64), (32, 3, 64), (32, 4, 63)] {
        let part = |memory: &Guarded, len: usize| memory.slice().bytes() >= len;
        assert!(part(&bytes, data) && part(&out, result));
        let zeros = ZeroPoints {
            data: bytes.slice().part(0, zeros).expect("a part"),
            each: true,
            batch_stride: 0,
        };
        let data_slice = bytes.slice().part(0, data).expect("a part");
        let side = ByteMatrix { data: data_slice, signed: true, batch_stride: 0, zeros };
        let c = out.slice().part(0, result).expect("a part");
        let done = matmul_integer(&mut queue, dims, [&side, &side], IntegerEnd::I32, c);
        assert_eq!(done.is_ok(), (data, result) == (32, 64) && zeros.data.bytes() == 4);
    }
}
