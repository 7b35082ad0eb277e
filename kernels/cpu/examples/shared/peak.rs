//! What this processor can do at most, and how the examples take time.
#![expect(unsafe_code, reason = "vector instructions, to measure the peak")]

use aimass_cpu::pool::Team;
use aimass_cpu::view::numbers_mut;
use aimass_cpu::{Level, level};
use aimass_tensor::BufferMut;
use std::hint::black_box;
use std::time::Instant;

/// Seconds of the fastest of many rounds: of processor time for one thread, so that a busy machine
/// disturbs less, else of wall time.
pub(crate) fn best(team: Team<'_>, mut round: impl FnMut()) -> f64 {
    let clock = if team.threads() == 1 { thread_seconds } else { wall_seconds };
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_millis() < 400 {
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

/// Numbers in memory that is aligned as tensors are; it is never given back.
pub(crate) fn numbers(count: usize) -> &'static mut [f32] {
    let block = Box::leak(Box::new(BufferMut::uninit(count * size_of::<f32>())));
    let numbers = numbers_mut::<f32>(block.as_mut_slice());
    for (i, x) in numbers.iter_mut().enumerate() {
        *x = ((i * 7919) % 2003) as f32 / 1001.5 - 1.0;
    }
    numbers
}

/// Independent chains of multiply-adds in registers, on every thread.
pub(crate) fn multiply_add_peak(team: Team<'_>) -> f64 {
    let chains: fn(usize) -> f64 = match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` found AVX-512.
        Level::Avx512 => |rounds| unsafe { chains_avx512(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` found AVX2 and FMA.
        Level::Avx2 => |rounds| unsafe { chains_avx2(rounds) },
        _ => chains_scalar,
    };
    let done = std::sync::Mutex::new(0.0);
    let seconds = best(team, || {
        *done.lock().expect("no panic inside") = 0.0;
        team.run(team.threads(), &|_| {
            let flops = chains(100_000);
            *done.lock().expect("no panic inside") += flops;
        });
    });
    done.into_inner().expect("no panic inside") / seconds / 1e9
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chains_avx512(rounds: usize) -> f64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let mut sums = [_mm512_set1_ps(0.0); 16];
    let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(a, *sum, b);
        }
    }
    black_box(sums);
    (rounds * 16 * 16 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(rounds: usize) -> f64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let mut sums = [_mm256_set1_ps(0.0); 12];
    let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(a, *sum, b);
        }
    }
    black_box(sums);
    (rounds * 12 * 8 * 2) as f64
}

fn chains_scalar(rounds: usize) -> f64 {
    let mut sums = [0f32; 32];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(black_box(0.5), 0.25);
        }
    }
    black_box(sums);
    (rounds * 32 * 2) as f64
}
