//! Functions of two numbers, and choices.

use crate::moved::{
    INTEGERS, Operand, bytes_left, decode_whole, encode_whole, integers, is_signed, joint, place,
    size, wrapped,
};
use crate::reference::{Random, SIZES, close, decode, encode, epsilon, rounded};
use aimass_cuda::Form;
use aimass_cuda::binary::{
    Arithmetic, BitOp, Comparison, Logical, Operands, arithmetic, bitwise, compare, logical,
};
use aimass_cuda::select::{Choice, select};
use aimass_tensor::DType;

const FLOATS: [(DType, Form); 3] =
    [(DType::F32, Form::F32), (DType::F16, Form::F16), (DType::Bf16, Form::Bf16)];
const ARITHMETIC: [Arithmetic; 8] = [
    Arithmetic::Add,
    Arithmetic::Sub,
    Arithmetic::Mul,
    Arithmetic::Div,
    Arithmetic::Rem,
    Arithmetic::Pow,
    Arithmetic::Max,
    Arithmetic::Min,
];
const BIT_OPS: [BitOp; 5] =
    [BitOp::And, BitOp::Or, BitOp::Xor, BitOp::ShiftLeft, BitOp::ShiftRight];
const COMPARISONS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessEqual,
    Comparison::Greater,
    Comparison::GreaterEqual,
];

/// Pairs of shapes: equal ones, scalars, rows, columns, and axes that repeat in turn.
fn shapes() -> Vec<[Vec<usize>; 2]> {
    let equal = SIZES.iter().map(|&n| [vec![n], vec![n]]);
    let mixed: [[&[usize]; 2]; 14] = [
        [&[], &[]],
        [&[33], &[]],
        [&[], &[64]],
        [&[7, 64], &[64]],
        [&[64], &[7, 64]],
        [&[5, 33], &[33]],
        [&[9, 32], &[9, 1]],
        [&[9, 1], &[1, 32]],
        [&[3, 1, 20], &[4, 1]],
        [&[2, 3, 1, 8], &[2, 1, 5, 8]],
        [&[2, 3, 4, 5], &[3, 1, 5]],
        [&[1, 0], &[3, 1]],
        [&[1, 2, 1, 2, 1, 2, 1, 4], &[2, 1, 2, 1, 2, 1, 2, 1]],
        [&[257, 1, 4], &[3, 4]],
    ];
    equal.chain(mixed.map(|pair| pair.map(<[usize]>::to_vec))).collect()
}

fn real(op: Arithmetic, a: f64, b: f64) -> f64 {
    match op {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div => a / b,
        Arithmetic::Rem => a % b,
        Arithmetic::Pow => a.powf(b),
        Arithmetic::Max if a.is_nan() || b.is_nan() => f64::NAN,
        Arithmetic::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Arithmetic::Max => a.max(b),
        Arithmetic::Min => a.min(b),
    }
}

fn holds<T: PartialOrd>(op: Comparison, a: T, b: T) -> bool {
    match op {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        Comparison::Less => a < b,
        Comparison::LessEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterEqual => a >= b,
    }
}

/// Floats of a form with numbers that are special at the start.
fn floats(form: Form, n: usize, seed: u64) -> Vec<f64> {
    let special = [f64::NAN, f64::INFINITY, 0.0, -0.0, f64::NEG_INFINITY, 1.0, 2.0, -1.0];
    let mut x = Random::new(seed).floats(form, n);
    let turn = seed as usize % special.len();
    if n > 8 {
        x.iter_mut().zip(special.iter().cycle().skip(turn)).take(12).for_each(|(x, s)| *x = *s);
    }
    x
}

fn check_arithmetic(float: (DType, Form), [left, right]: [&[usize]; 2], seed: u64, skip: usize) {
    let (dtype, form) = float;
    let full = joint(&[left, right]);
    let n: usize = full.iter().product();
    let a = floats(form, left.iter().product(), seed);
    let b = floats(form, right.iter().product(), seed + 100);
    let x = Operand::new(&encode(form, &a), skip);
    let y = Operand::new(&encode(form, &b), 0);
    for op in ARITHMETIC {
        let found = bytes_left(n * form.bytes(), skip, |queue, out| {
            let (a, b) = ((x.slice(), left), (y.slice(), right));
            arithmetic(queue, op, &Operands { dtype, a, b, out })
        });
        let at = |i| real(op, a[place(left, &full, i)], b[place(right, &full, i)]);
        let expected: Vec<f64> = (0..n).map(|i| rounded(form, at(i))).collect();
        let tolerance = epsilon(form).max(2e-6);
        let what = format!("{op:?} {form:?} {left:?} {right:?} behind {skip}");
        close(&what, &decode(form, &found), &expected, tolerance);
    }
}

#[test]
fn arithmetic_of_floats_broadcasts() {
    for float in FLOATS {
        for (index, [left, right]) in shapes().iter().enumerate() {
            for skip in [0, float.1.bytes()] {
                check_arithmetic(float, [left, right], index as u64, skip);
            }
        }
    }
}

fn check_comparisons(float: (DType, Form), [left, right]: [&[usize]; 2], seed: u64, skip: usize) {
    let (dtype, form) = float;
    let full = joint(&[left, right]);
    let n: usize = full.iter().product();
    let a = floats(form, left.iter().product(), seed);
    let b = floats(form, right.iter().product(), seed + 3);
    let x = Operand::new(&encode(form, &a), 0);
    let y = Operand::new(&encode(form, &b), skip);
    for op in COMPARISONS {
        let found = bytes_left(n, 0, |queue, out| {
            let (a, b) = ((x.slice(), left), (y.slice(), right));
            compare(queue, op, &Operands { dtype, a, b, out })
        });
        let at = |i| holds(op, a[place(left, &full, i)], b[place(right, &full, i)]);
        let expected: Vec<u8> = (0..n).map(|i| at(i).into()).collect();
        assert_eq!(found, expected, "{op:?} {form:?} {left:?} {right:?}");
    }
}

#[test]
fn comparisons_of_floats_broadcast() {
    for float in FLOATS {
        for (index, [left, right]) in shapes().iter().enumerate() {
            check_comparisons(float, [left, right], index as u64, 0);
        }
    }
}

/// Shapes that broadcast, of at most about 2,000 elements together.
fn drawn_shapes<const N: usize>(random: &mut Random) -> [Vec<usize>; N] {
    let mut room = 2000;
    let mut full = Vec::new();
    for _ in 0..random.below(6) {
        let extent = random.extent(room);
        full.push(extent);
        room /= extent.max(1);
    }
    std::array::from_fn(|_| {
        let skipped = if random.below(2) == 0 { 0 } else { random.below(full.len() + 1) };
        let one = |&extent: &usize| if random.below(3) == 0 { 1 } else { extent };
        full[skipped..].iter().map(one).collect()
    })
}

/// Bytes to begin behind an aligned place.
fn drawn_skip(random: &mut Random, size: usize) -> usize {
    random.below(3) * size
}

pub(crate) fn draw_arithmetic(random: &mut Random) {
    let [left, right] = drawn_shapes(random);
    let seed = random.bits() >> 1;
    if random.below(2) == 0 {
        let float = random.of(&FLOATS);
        return check_arithmetic(float, [&left, &right], seed, drawn_skip(random, float.1.bytes()));
    }
    let (dtype, op) = (random.of(&INTEGERS), random.of(&ARITHMETIC));
    let a = integers(dtype, left.iter().product(), seed);
    let mut b = integers(dtype, right.iter().product(), seed + 1);
    if op == Arithmetic::Pow {
        let least = if is_signed(dtype) { -3 } else { 0 };
        b.iter_mut().for_each(|b| *b = (*b % 70).max(least));
    }
    let run = |queue: &mut Queued<'_>, both: &Operands<'_>| arithmetic(queue, op, both);
    let expected = |a, b| whole(op, dtype, a, b);
    check_whole(&format!("{op:?}"), dtype, [&a, &b], [&left, &right], run, expected);
}

pub(crate) fn draw_bitwise(random: &mut Random) {
    let [left, right] = drawn_shapes(random);
    let (dtype, seed) = (random.of(&INTEGERS), random.bits() >> 1);
    let op = random.of(&BIT_OPS);
    let a = integers(dtype, left.iter().product(), seed);
    let b = integers(dtype, right.iter().product(), seed + 1);
    let run = |queue: &mut Queued<'_>, both: &Operands<'_>| bitwise(queue, op, both);
    let expected = |a, b| shifted(op, dtype, a, b);
    check_whole(&format!("{op:?}"), dtype, [&a, &b], [&left, &right], run, expected);
}

pub(crate) fn draw_compare(random: &mut Random) {
    let [left, right] = drawn_shapes(random);
    let seed = random.bits() >> 1;
    match random.below(2) {
        0 => {
            let float = random.of(&FLOATS);
            let skip = drawn_skip(random, float.1.bytes());
            check_comparisons(float, [&left, &right], seed, skip);
        }
        _ => check_comparisons_of_integers(random.of(&INTEGERS), [&left, &right], seed),
    }
}

pub(crate) fn draw_logical(random: &mut Random) {
    let [left, right] = drawn_shapes(random);
    let mut bytes = |shape: &[usize]| -> Vec<u8> {
        let n = shape.iter().product();
        (0..n).map(|_| random.of(&[0, 0, 1, 2, 128, 255])).collect()
    };
    let (a, b) = (bytes(&left), bytes(&right));
    let op = random.of(&[Logical::And, Logical::Or, Logical::Xor]);
    let (x, y) = (Operand::new(&a, random.below(5)), Operand::new(&b, random.below(5)));
    let full = joint(&[&left, &right]);
    let n: usize = full.iter().product();
    let found = bytes_left(n, random.below(5), |queue, out| {
        let (a, b) = ((x.slice(), &left[..]), (y.slice(), &right[..]));
        logical(queue, op, &Operands { dtype: DType::Bool, a, b, out })
    });
    let each = |i| {
        let (a, b) = (a[place(&left, &full, i)] != 0, b[place(&right, &full, i)] != 0);
        u8::from(match op {
            Logical::And => a && b,
            Logical::Or => a || b,
            Logical::Xor => a != b,
        })
    };
    let expected: Vec<u8> = (0..n).map(each).collect();
    assert_eq!(found, expected, "{op:?} {left:?} {right:?}");
}

pub(crate) fn draw_select(random: &mut Random) {
    let [condition, left, right] = drawn_shapes(random);
    let size = random.of(&[1, 2, 4, 8]);
    check_choice([&condition, &left, &right], size, drawn_skip(random, size));
}

fn whole(op: Arithmetic, dtype: DType, a: i128, b: i128) -> i128 {
    let result = match op {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a.wrapping_mul(b),
        Arithmetic::Div | Arithmetic::Rem if b == 0 => 0,
        Arithmetic::Div => a / b,
        Arithmetic::Rem => a % b,
        Arithmetic::Pow if b < 0 => match a {
            1 => 1,
            -1 => 1 - 2 * (b & 1),
            _ => 0,
        },
        Arithmetic::Pow => (0..b).fold(1, |power, _| wrapped(dtype, a.wrapping_mul(power))),
        Arithmetic::Max => a.max(b),
        Arithmetic::Min => a.min(b),
    };
    wrapped(dtype, result)
}

fn shifted(op: BitOp, dtype: DType, a: i128, b: i128) -> i128 {
    let bits = 8 * size(dtype) as i128;
    let result = match op {
        BitOp::And => a & b,
        BitOp::Or => a | b,
        BitOp::Xor => a ^ b,
        BitOp::ShiftLeft if (0..bits).contains(&b) => a << b,
        BitOp::ShiftLeft => 0,
        BitOp::ShiftRight if (0..bits).contains(&b) => a >> b,
        BitOp::ShiftRight => a >> 127,
    };
    wrapped(dtype, result)
}

type Queued<'d> = aimass_cuda::Queue<'d>;

/// Runs an op of integers on these shapes and compares with `expected` of each pair.
fn check_whole(
    what: &str,
    dtype: DType,
    [a, b]: [&[i128]; 2],
    [left, right]: [&[usize]; 2],
    run: impl Fn(&mut Queued<'_>, &Operands<'_>) -> Result<(), aimass_cuda::DeviceError>,
    expected: impl Fn(i128, i128) -> i128,
) {
    let full = joint(&[left, right]);
    let n: usize = full.iter().product();
    let expected: Vec<i128> =
        (0..n).map(|i| expected(a[place(left, &full, i)], b[place(right, &full, i)])).collect();
    for skip in [0, size(dtype)] {
        let x = Operand::new(&encode_whole(dtype, a), 0);
        let y = Operand::new(&encode_whole(dtype, b), skip);
        let found = bytes_left(n * size(dtype), skip, |queue, out| {
            run(queue, &Operands { dtype, a: (x.slice(), left), b: (y.slice(), right), out })
        });
        let found = decode_whole(dtype, &found);
        for i in 0..n {
            let pair = (a[place(left, &full, i)], b[place(right, &full, i)]);
            assert_eq!(found[i], expected[i], "{what} {dtype} {left:?} {right:?} {i}: {pair:?}");
        }
    }
}

#[test]
fn arithmetic_and_bits_of_every_integer() {
    for dtype in INTEGERS {
        for (index, [left, right]) in shapes().iter().enumerate() {
            let a = integers(dtype, left.iter().product(), index as u64);
            let b = integers(dtype, right.iter().product(), index as u64 + 50);
            let shapes: [&[usize]; 2] = [left, right];
            for op in ARITHMETIC {
                // Exponents that a loop can count.
                let least = if is_signed(dtype) { -3 } else { 0 };
                let small: Vec<i128> = b.iter().map(|b| (b % 70).max(least)).collect();
                let b = if op == Arithmetic::Pow { &small } else { &b };
                let run = |queue: &mut Queued<'_>, both: &Operands<'_>| arithmetic(queue, op, both);
                let expected = |a, b| whole(op, dtype, a, b);
                check_whole(&format!("{op:?}"), dtype, [&a, b], shapes, run, expected);
            }
            for op in BIT_OPS {
                let run = |queue: &mut Queued<'_>, both: &Operands<'_>| bitwise(queue, op, both);
                let expected = |a, b| shifted(op, dtype, a, b);
                check_whole(&format!("{op:?}"), dtype, [&a, &b], shapes, run, expected);
            }
        }
    }
}

fn check_comparisons_of_integers(dtype: DType, shapes: [&[usize]; 2], seed: u64) {
    let [a, b] = [0, 1].map(|j: usize| {
        let all = integers(dtype, shapes[j].iter().product(), seed + j as u64);
        encode_whole(dtype, &all)
    });
    let (x, y) = (Operand::new(&a, 0), Operand::new(&b, 0));
    let (a, b) = (decode_whole(dtype, &a), decode_whole(dtype, &b));
    let full = joint(&shapes);
    let n: usize = full.iter().product();
    for op in COMPARISONS {
        let found = bytes_left(n, 0, |queue, out| {
            let (a, b) = ((x.slice(), shapes[0]), (y.slice(), shapes[1]));
            compare(queue, op, &Operands { dtype, a, b, out })
        });
        let pair = |i| (a[place(shapes[0], &full, i)], b[place(shapes[1], &full, i)]);
        for (i, &found) in found.iter().enumerate() {
            let expected = u8::from(holds(op, pair(i).0, pair(i).1));
            assert_eq!(found, expected, "{op:?} {dtype} {i}: {:?}", pair(i));
        }
    }
}

#[test]
fn comparisons_of_every_integer() {
    for dtype in INTEGERS.into_iter().chain([DType::Bool]) {
        for shapes in [[&[257usize][..], &[257]], [&[5, 64], &[64]], [&[33, 1], &[5]]] {
            check_comparisons_of_integers(dtype, shapes, 0);
        }
    }
}

#[test]
fn connectives_take_any_other_byte_than_0_as_true() {
    let (a, b) = ([0u8, 0, 4, 1, 255, 0, 2], [0u8, 2, 0, 3, 255, 128, 1]);
    let (x, y) = (Operand::new(&a, 0), Operand::new(&b, 0));
    for (op, expected) in [
        (Logical::And, [0, 0, 0, 1, 1, 0, 1]),
        (Logical::Or, [0, 1, 1, 1, 1, 1, 1]),
        (Logical::Xor, [0, 1, 1, 0, 0, 1, 0]),
    ] {
        let found = bytes_left(7, 0, |queue, out| {
            let (a, b) = ((x.slice(), &[7usize][..]), (y.slice(), &[7usize][..]));
            logical(queue, op, &Operands { dtype: DType::Bool, a, b, out })
        });
        assert_eq!(found, expected, "{op:?}");
    }
}

#[test]
fn choices_broadcast_three_ways() {
    let cases: [[&[usize]; 3]; 7] = [
        [&[257], &[257], &[257]],
        [&[1], &[64], &[]],
        [&[], &[33], &[33]],
        [&[2, 1, 1, 32], &[2, 3, 5, 32], &[]],
        [&[4, 1], &[8], &[4, 8]],
        [&[3, 1], &[5], &[]],
        [&[0], &[1], &[1]],
    ];
    for shapes in cases {
        for size in [1, 2, 4, 8] {
            [0, size].into_iter().for_each(|skip| check_choice(shapes, size, skip));
        }
    }
}

fn check_choice([condition, left, right]: [&[usize]; 3], size: usize, skip: usize) {
    let full = joint(&[condition, left, right]);
    let n: usize = full.iter().product();
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut random = Random::new(n as u64);
    let which: Vec<u8> = (0..count(condition)).map(|_| (random.bits() % 3) as u8).collect();
    let mut bytes = |n: usize| (0..n * size).map(|_| random.bits() as u8).collect();
    let (a, b): (Vec<u8>, Vec<u8>) = (bytes(count(left)), bytes(count(right)));
    let mut expected = Vec::new();
    for i in 0..n {
        let (from, own) = match which[place(condition, &full, i)] {
            0 => (&b, right),
            _ => (&a, left),
        };
        expected.extend_from_slice(&from[place(own, &full, i) * size..][..size]);
    }
    let c = Operand::new(&which, 0);
    let (x, y) = (Operand::new(&a, skip), Operand::new(&b, 0));
    let found = bytes_left(n * size, skip, |queue, out| {
        let condition = (c.slice(), condition);
        let (x, y) = ((x.slice(), left), (y.slice(), right));
        select(queue, &Choice { size, condition, x, y, out })
    });
    assert_eq!(found, expected, "{condition:?} {left:?} {right:?} of {size} bytes");
}
