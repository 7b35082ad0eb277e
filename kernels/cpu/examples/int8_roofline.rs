//! Speed of products of 8-bit integers, as a fraction of what the processor can do, measured in the
//! same run.
//!
//! `cargo run --release -p aimass-cpu --example int8_roofline [-- avx2]`: best of many rounds, at 1
//! thread and at as many as there are cores. An operation is a multiplication or an addition.
#![expect(unsafe_code, reason = "vector instructions, to measure the peak")]

use aimass_cpu::matmul::{IntegerRows, PackedIntegers, ZeroPoints, matmul_integer};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_cpu::view::numbers_mut;
use aimass_cpu::{Level, level, set_level_max};
use aimass_tensor::BufferMut;
use std::hint::black_box;
use std::time::Instant;

/// Columns and length of the sums: the layers of MiniLM, attention's three as one.
const LAYERS: [(usize, usize); 4] = [(384, 384), (1152, 384), (1536, 384), (384, 1536)];
const ROWS: [usize; 8] = [1, 8, 32, 128, 512, 1024, 4096, 8192];

fn main() {
    if std::env::args().any(|argument| argument == "avx2") {
        set_level_max(Level::Avx2);
    }
    let pool = KernelPool::global();
    for threads in [1, pool.threads()] {
        let team = if threads == 1 { Team::alone() } else { pool.team(threads) };
        let peak = dot_peak(team);
        println!("\n{:?}, {threads} threads: dot-product peak {peak:.0} GOP/s", level());
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
    println!("{m:5} x {n:4} x {k:4}  {rate:7.0} GOP/s  {share:3.0} %  {:9.1} us", seconds * 1e6);
}

/// Seconds of the fastest of many rounds.
fn best(team: Team<'_>, mut round: impl FnMut()) -> f64 {
    let clock = if team.threads() == 1 { thread_seconds } else { wall_seconds };
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_millis() < 250 {
        let start = clock();
        round();
        best = best.min(clock() - start);
    }
    best
}

fn wall_seconds() -> f64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64()
}

fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the struct is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
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

/// Independent chains of the widest dot products of bytes, on every thread; 0 without them.
fn dot_peak(team: Team<'_>) -> f64 {
    let chains: fn(usize) -> f64 = match level() {
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
