//! Instruction after instruction against the host's arithmetic.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::PushKernelArg;
use device::{Device, random_bits, shape};

const ARITHMETIC: &str = include_str!("kernels/arithmetic.compute_80.ptx");
const N: usize = 512;

/// Edge values, then random ones.
fn words(seed: u32) -> Vec<u32> {
    const EDGES: &[u32] =
        &[0, 1, 2, 7, 31, 32, 33, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX, 0xffff_8000];
    let mut random = random_bits(seed);
    (0..N)
        .map(|i| if i < 200 { EDGES[random() as usize % EDGES.len()] } else { random() })
        .collect()
}

fn singles(seed: u32) -> Vec<f32> {
    let mut random = random_bits(seed);
    let mut next = || f32::from_bits(random() & 0x87ff_ffff | 0x3c00_0000) * 3.0;
    (0..N).map(|_| next()).collect()
}

/// Runs `kernel` on three inputs; gives `results` outputs of every thread.
fn run<T: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits + Clone>(
    kernel: &str,
    inputs: [&[T]; 3],
    results: usize,
) -> Vec<Vec<T>> {
    let settings = Settings { checks: Checks::Memory, ..Settings::default() };
    let device = Device::new(&settings, ARITHMETIC);
    let [a, b, c] = inputs.map(|input| device.stream.clone_htod(input).unwrap());
    let mut out = device.stream.alloc_zeros::<T>(results * N).unwrap();
    let function = device.function(kernel);
    let n = N as u32;
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&a).arg(&b).arg(&c).arg(&mut out).arg(&n);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(4, 128)) }.unwrap();
    let out = device
        .stream
        .clone_dtoh(&out)
        .unwrap_or_else(|e| panic!("{e:?} {:?}", device.vgpu.findings()));
    out.chunks(N).map(<[T]>::to_vec).collect()
}

fn bytes(value: u32, signed: bool) -> [i64; 4] {
    value.to_le_bytes().map(|byte| if signed { i64::from(byte as i8) } else { i64::from(byte) })
}

fn dot(a: u32, b: u32, c: u32, signed: bool) -> u32 {
    let products = bytes(a, signed).into_iter().zip(bytes(b, signed)).map(|(a, b)| a * b);
    c.wrapping_add(products.sum::<i64>() as u32)
}

fn find_bit(value: u32) -> u32 {
    if value == 0 { u32::MAX } else { 31 - value.leading_zeros() }
}

fn field(a: u32, b: u32, c: u32, signed: bool) -> u32 {
    let (start, length) = (b & 0xff, c & 0xff);
    let wide = if signed { i64::from(a as i32) } else { i64::from(a) };
    let moved = wide >> start.min(32);
    match length {
        0 => 0,
        1..32 if signed => (((moved as u64) << (64 - length)) as i64 >> (64 - length)) as u32,
        1..32 => moved as u32 & ((1 << length) - 1),
        _ => moved as u32,
    }
}

fn permuted(a: u32, b: u32, c: u32) -> u32 {
    let all: Vec<u8> = a.to_le_bytes().into_iter().chain(b.to_le_bytes()).collect();
    let byte = |at: u32| {
        let selector = c >> (4 * at) & 15;
        let value = all[(selector & 7) as usize];
        if selector & 8 == 0 {
            value
        } else if value & 128 != 0 {
            255
        } else {
            0
        }
    };
    u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
}

fn integer_results(a: u32, b: u32, c: u32) -> Vec<u32> {
    let (sa, sb, sc) = (a as i32, b as i32, c as i32);
    let shift = |by: u32, value: u32| if by > 31 { 0 } else { value };
    let w = u64::from(a).wrapping_mul(u64::from(b)).wrapping_add(u64::from(c));
    vec![
        a.wrapping_add(b),
        a.wrapping_sub(b),
        a.wrapping_mul(b),
        ((u64::from(a) * u64::from(b)) >> 32) as u32,
        ((i64::from(sa) * i64::from(sb)) >> 32) as u32,
        a.checked_div(b).unwrap_or(u32::MAX),
        if b == 0 { u32::MAX } else { sa.wrapping_div(sb) as u32 },
        a.checked_rem(b).unwrap_or(a),
        if b == 0 { a } else { sa.wrapping_rem(sb) as u32 },
        sa.min(sb) as u32,
        a.max(b),
        shift(b, a.wrapping_shl(b)),
        shift(b, a.wrapping_shr(b)),
        (sa >> b.min(31)) as u32,
        sa.saturating_add(sb) as u32,
        a.count_ones(),
        a.leading_zeros(),
        a.reverse_bits(),
        find_bit(a),
        find_bit(if sa < 0 { !a } else { a }),
        sa.wrapping_abs() as u32,
        !a,
        a.wrapping_mul(b).wrapping_add(c),
        (((i64::from(sa) * i64::from(sb)) >> 32) as u32).wrapping_add(c),
        field(a, b, c, false),
        field(a, b, c, true),
        permuted(a, b, c),
        ((u64::from(b) << 32 | u64::from(a)) << (c & 31) >> 32) as u32,
        ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32,
        dot(a, b, c, true),
        dot(a, b, c, false),
        (i64::from(sa).abs_diff(i64::from(sb)) as u32).wrapping_add(sc as u32),
        (a & 0x1ff) << 7 | b & !(0x1ff << 7),
        a ^ c,
        (w >> 32) as u32,
        (w / u64::from(c | 1)) as u32,
        ((i64::from(sa) * i64::from(sb)) >> 17) as u32,
        ((u128::from(w) * 0x0123_4567_89ab_cdef) >> 64) as u32,
        (i32::from(a as i16) as u32).wrapping_mul(b & 0xff),
        if a < b {
            c
        } else if sa >= sb {
            7
        } else {
            9
        },
    ]
}

#[test]
fn integer_instructions_give_the_hosts_bits() {
    let inputs = [words(1), words(2), words(3)];
    let got = run("integers", [&inputs[0], &inputs[1], &inputs[2]], 40);
    for i in 0..N {
        let (a, b, c) = (inputs[0][i], inputs[1][i], inputs[2][i]);
        for (k, expected) in integer_results(a, b, c).into_iter().enumerate() {
            let result = got[k][i];
            assert_eq!(result, expected, "result {k} of {a:#x} {b:#x} {c:#x}: {result:#x}");
        }
    }
}

/// Where a correctly rounded result lies.
#[derive(Clone, Copy, Debug)]
enum Side {
    Nearest,
    Zero,
    Down,
    Up,
}

/// Whether `got` is `exact` rounded to the given side; `exact` has 29 bits more than `got`.
fn rounded(got: f32, exact: f64, side: Side) -> bool {
    let value = f64::from(got);
    match side {
        Side::Nearest => got == exact as f32,
        Side::Down => value <= exact && f64::from(got.next_up()) > exact,
        Side::Up => value >= exact && f64::from(got.next_down()) < exact,
        Side::Zero if exact >= 0.0 => rounded(got, exact, Side::Down),
        Side::Zero => rounded(got, exact, Side::Up),
    }
}

#[test]
fn single_precision_rounds_to_the_side_it_names() {
    let inputs = [singles(4), singles(5), singles(6)];
    let got = run("floats", [&inputs[0], &inputs[1], &inputs[2]], 40);
    for i in 0..N {
        let [a, b, c] = [0, 1, 2].map(|at: usize| f64::from(inputs[at][i]));
        let exact = [
            (0, a + b, Side::Nearest),
            (1, a + b, Side::Zero),
            (2, a + b, Side::Down),
            (3, a + b, Side::Up),
            (4, a * b, Side::Nearest),
            (5, a * b, Side::Zero),
            (6, a * b, Side::Down),
            (7, a * b, Side::Up),
            (8, a / b, Side::Nearest),
            (9, a / b, Side::Down),
            (10, a / b, Side::Up),
            (11, a.abs().sqrt(), Side::Nearest),
            (12, a.abs().sqrt(), Side::Down),
            (13, a.abs().sqrt(), Side::Up),
            (14, a * b + c, Side::Nearest),
            (15, a * b + c, Side::Down),
            (16, a * b + c, Side::Up),
            (35, a * b + 1.0, Side::Nearest),
            (36, a.abs().sqrt(), Side::Nearest),
            (37, a / b, Side::Nearest),
        ];
        for (k, exact, side) in exact {
            assert!(rounded(got[k][i], exact, side), "result {k}: {} of {exact}", got[k][i]);
        }
        let plain = [
            (17, a.min(b)),
            (18, a.max(b)),
            (19, a.clamp(0.0, 1.0)),
            (20, a.copysign(b)),
            (29, a.floor()),
            (30, a.round_ties_even()),
            (31, a.trunc()),
            (32, a.round_ties_even()),
            (33, a.floor()),
            (34, a.max(0.0).trunc()),
        ];
        for (k, exact) in plain {
            assert_eq!(f64::from(got[k][i]), exact, "result {k} of {a}, {b}");
        }
        let close = [
            (21, a.abs().sqrt().recip()),
            (22, a.exp2()),
            (23, a.abs().log2()),
            (24, a.sin()),
            (25, a.cos()),
            (26, a.tanh()),
            (27, a.exp()),
            (28, a / b),
            (38, a.tanh()),
            (39, (inputs[0][i] * 1000.0).into()),
        ];
        for (k, exact) in close {
            let exact = if k == 39 { f64::sin(exact) } else { exact };
            let error = (f64::from(got[k][i]) - exact).abs();
            assert!(error <= 1e-6 * exact.abs().max(1.0), "result {k}: {} of {exact}", got[k][i]);
        }
    }
}

/// `value` in a format of so many bits of mantissa, to nearest. The inputs are normal in it.
fn nearest(value: f64, bits: i32) -> f64 {
    if value == 0.0 {
        return value;
    }
    let unit = 2f64.powi((value.abs().log2().floor() as i32).max(-14) - bits);
    (value / unit).round_ties_even() * unit
}

#[test]
fn half_precision_rounds_once() {
    let inputs = [singles(7), singles(8), singles(9)];
    let got = run("halves", [&inputs[0], &inputs[1], &inputs[2]], 24);
    for i in 0..N {
        let x = [0, 1, 2].map(|at: usize| f64::from(inputs[at][i]));
        let [a, b, c] = x.map(|value| nearest(value, 10));
        let [d, e, f] = x.map(|value| nearest(value, 7));
        let expected = [
            (0, a),
            (1, nearest(a + b, 10)),
            (2, nearest(a * b, 10)),
            (3, nearest(a * b + c, 10)),
            (7, nearest(a * b + c, 10)),
            (8, nearest(b * c + a, 10)),
            (9, a.max(b)),
            (10, f64::from(u8::from(a < b))),
            (11, d),
            (12, nearest(d + e, 7)),
            (13, nearest(d * e, 7)),
            (14, nearest(d * e + f, 7)),
            (15, nearest(d * e, 7)),
            (16, nearest(e * f, 7)),
            (17, a.round_ties_even()),
            (18, x[0].trunc()),
            (19, a),
            (20, b),
            (22, -a),
            (23, a.abs()),
        ];
        for (k, expected) in expected {
            assert_eq!(f64::from(got[k][i]), expected, "result {k} of {x:?}");
        }
        let (zero, down, up) = (got[4][i], got[5][i], got[6][i]);
        let inside = f64::from(down) <= x[0] && x[0] <= f64::from(up);
        assert!(inside && (zero == down || zero == up) && zero.abs() <= inputs[0][i].abs());
        let error = (f64::from(got[21][i]) - a.exp2()).abs();
        assert!(error <= 1e-3 * a.exp2(), "exp2({a}) = {}", got[21][i]);
    }
}
