//! Speed of products of 8-bit integers, as a fraction of what the processor can do, measured in the
//! same run.
//!
//! `cargo run --release -p aimass-cpu --example int8_roofline [-- avx2] [-- no-vnni]`: best of many
//! rounds, at 1 thread and at as many as there are cores. An operation is a multiplication or an
//! addition. `exact` is the product of bytes, `dynamic` that of f32 rows which are quantized on the
//! way, with weights of 7 bits.
#![expect(unsafe_code, reason = "vector instructions, to measure the peak")]

#[path = "shared/clock.rs"]
mod clock;

use aimass_cpu::matmul::{
    Epilogue, Int8Weights, IntegerRows, PackedInt8, PackedIntegers, ZeroPoints, matmul_int8,
    matmul_integer,
};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_cpu::view::{Rows, RowsMut, numbers_mut};
use aimass_cpu::{Level, level, set_dot_products, set_level_max};
use aimass_tensor::BufferMut;
use clock::best;
use std::hint::black_box;

/// Columns and length of the sums: the layers of MiniLM, attention's three as one.
const LAYERS: [(usize, usize); 4] = [(384, 384), (1152, 384), (1536, 384), (384, 1536)];
const ROWS: [usize; 8] = [1, 8, 32, 128, 512, 1024, 4096, 8192];

fn main() {
    if std::env::args().any(|argument| argument == "avx2") {
        set_level_max(Level::Avx2);
    }
    let plain = std::env::args().any(|argument| argument == "no-vnni");
    set_dot_products(!plain);
    let pool = KernelPool::global();
    for threads in [1, pool.threads()] {
        let team = if threads == 1 { Team::alone() } else { pool.team(threads) };
        let peak = peak(team, plain);
        println!("\n{:?}, {threads} threads: peak {peak:.0} GOP/s", level());
        for (n, k) in LAYERS {
            for m in ROWS {
                product(team, (m, n, k), peak);
            }
        }
    }
}

/// u8 activations with a zero point by i8 weights with none, as dynamic quantization has them.
fn product(team: Team<'_>, (m, n, k): (usize, usize, usize), peak: f64) {
    let a = bytes(m * k);
    let b = PackedIntegers::pack(k, n, bytes(k * n), true);
    let out = numbers_mut::<i32>(block(m * n * size_of::<i32>()));
    let rows = IntegerRows { data: a, rows: m, k, signed: false };
    let zeros = [ZeroPoints::One(121), ZeroPoints::One(0)];
    let seconds = best(team, || matmul_integer(team, rows, &b, zeros, out));
    let rate = 2.0 * (m * n * k) as f64 / seconds / 1e9;
    let share = 100.0 * rate / peak;
    print!("{m:5} x {n:4} x {k:4}  exact {rate:5.0} GOP/s {share:3.0} % {:9.1} us", seconds * 1e6);
    let x = numbers_mut::<f32>(block(m * k * size_of::<f32>()));
    x.iter_mut().enumerate().for_each(|(i, x)| *x = (i * 7919 % 251) as f32 / 100.0 - 1.0);
    let weights: Vec<u8> = (0..k * n).map(weight).collect();
    let part = Int8Weights { n, weights: &weights, signed: true, zeros: &[], scales: &[0.01] };
    let Some(w) = PackedInt8::pack(k, &[part]) else { return };
    let c = numbers_mut::<f32>(block(m * n * size_of::<f32>()));
    let seconds = best(team, || {
        let (x, c) = (Rows::dense(x, k), RowsMut::dense(c, n));
        matmul_int8(team, x, &w, c, &Epilogue::default());
    });
    let rate = 2.0 * (m * n * k) as f64 / seconds / 1e9;
    let share = 100.0 * rate / peak;
    println!("  dynamic {rate:5.0} GOP/s {share:3.0} % {:9.1} us", seconds * 1e6);
}

/// Distributed about as weights are: many small ones, few up to 63.
fn weight(i: usize) -> u8 {
    let part = |i: usize| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as i32 % 32 - 15;
    (0..4).map(|j| part(4 * i + j)).sum::<i32>() as i8 as u8
}

/// Memory that is aligned as tensors are; it is never given back.
fn block(bytes: usize) -> &'static mut [u8] {
    Box::leak(Box::new(BufferMut::uninit(bytes))).as_mut_slice()
}

fn bytes(count: usize) -> &'static [u8] {
    let block = block(count);
    block.iter_mut().enumerate().for_each(|(i, x)| *x = (i * 7919 % 251) as u8);
    block
}

/// Independent chains of the widest dot products of bytes, on every thread; without them, of products
/// of bytes that are summed by fours in 16 bits.
fn peak(team: Team<'_>, plain: bool) -> f64 {
    let chains: fn(usize) -> f64 = match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that there is AVX2.
        Level::Avx512 | Level::Avx2 if plain => |n| unsafe { chains_short(n) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: just found.
        Level::Avx512 if is_x86_feature_detected!("avx512vnni") => |n| unsafe { chains_wide(n) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: just found.
        Level::Avx2 if is_x86_feature_detected!("avxvnni") => |n| unsafe { chains_narrow(n) },
        Level::Avx512 | Level::Avx2 | Level::Neon | Level::Scalar => return 0.0,
    };
    let done = std::sync::Mutex::new(0.0);
    let seconds = best(team, || {
        *done.lock().expect("no panic inside") = 0.0;
        team.run(team.threads(), &|_| {
            let operations = chains(100_000);
            *done.lock().expect("no panic inside") += operations;
        });
    });
    done.into_inner().expect("no panic inside") / seconds / 1e9
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn chains_wide(rounds: usize) -> f64 {
    use std::arch::x86_64::{_mm512_dpbusd_epi32, _mm512_set1_epi32};
    let mut sums = [_mm512_set1_epi32(0); 16];
    let (a, b) = (_mm512_set1_epi32(black_box(3)), _mm512_set1_epi32(black_box(5)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    black_box(sums);
    (rounds * 16 * 64 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avxvnni")]
fn chains_narrow(rounds: usize) -> f64 {
    use std::arch::x86_64::{_mm256_dpbusd_avx_epi32, _mm256_set1_epi32};
    let mut sums = [_mm256_set1_epi32(0); 12];
    let (a, b) = (_mm256_set1_epi32(black_box(3)), _mm256_set1_epi32(black_box(5)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
        }
    }
    black_box(sums);
    (rounds * 12 * 32 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn chains_short(rounds: usize) -> f64 {
    use std::arch::x86_64::{
        _mm256_add_epi16, _mm256_add_epi32, _mm256_madd_epi16, _mm256_maddubs_epi16,
        _mm256_set1_epi8, _mm256_set1_epi16,
    };
    let mut sums = [_mm256_set1_epi16(0); 6];
    let bs = [1, 2, 3, 4, 5, 6].map(|b| _mm256_set1_epi8(black_box(b)));
    let mut a = [1, 2, 3, 4].map(|a| _mm256_set1_epi8(black_box(a)));
    let ones = _mm256_set1_epi16(1);
    for _ in 0..rounds {
        // Other factors in each round, for products of constants would be made once.
        for a in &mut a {
            *a = _mm256_add_epi16(*a, ones);
        }
        for (sum, b) in sums.iter_mut().zip(bs) {
            let mut four = _mm256_maddubs_epi16(a[0], b);
            for &a in &a[1..] {
                four = _mm256_add_epi16(four, _mm256_maddubs_epi16(a, b));
            }
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(four, ones));
        }
    }
    black_box(sums);
    (rounds * 6 * 4 * 32 * 2) as f64
}
