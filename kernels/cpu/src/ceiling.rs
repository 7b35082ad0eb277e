//! Work that runs as fast as the processor can: what kernels are compared with.
//!
//! These functions compute and count; whoever calls them holds the clock.
#![expect(unsafe_code, reason = "vector instructions, to reach the processor's peak")]

use crate::pool::Team;
use crate::{Level, level};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `rounds` rounds of independent multiply-adds of f32 in registers, on every thread of the
/// team, and answers how many floating-point operations that were: two for each multiply-add.
///
/// Divided by the time that it took, this is the peak of [`level`]'s instructions.
pub fn multiply_adds(team: Team<'_>, rounds: usize) -> u64 {
    let done = AtomicU64::new(0);
    team.run(team.threads(), &|_| {
        done.fetch_add(chains(rounds), Ordering::Relaxed);
    });
    done.into_inner()
}

/// Computes `a[i] = b[i] + 3 c[i]` on every thread of the team, and answers the bytes that were read
/// and written: 12 an element. (STREAM triad, McCalpin 1995.)
///
/// Divided by the time that it took, with slices far beyond the caches, this is the bandwidth of
/// memory as one sees it: writes that first read their cache line are not counted.
///
/// # Panics
/// If the slices have different lengths.
pub fn triad(team: Team<'_>, a: &mut [f32], b: &[f32], c: &[f32]) -> u64 {
    assert!(a.len() == b.len() && a.len() == c.len(), "the slices have different lengths");
    let bytes = 3 * size_of_val(a) as u64;
    let share = a.len().div_ceil(team.threads()).max(1);
    team.chunks([a], [share], &|task, [a]| {
        let range = task * share..task * share + a.len();
        for ((a, b), c) in a.iter_mut().zip(&b[range.clone()]).zip(&c[range]) {
            *a = b + 3.0 * c;
        }
    });
    bytes
}

/// One thread's share of [`multiply_adds`].
fn chains(rounds: usize) -> u64 {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` found AVX-512.
        Level::Avx512 => unsafe { chains_avx512(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` found AVX2 and FMA.
        Level::Avx2 => unsafe { chains_avx2(rounds) },
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx512 | Level::Avx2 => chains_scalar(rounds),
        Level::Scalar | Level::Neon => chains_scalar(rounds),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chains_avx512(rounds: usize) -> u64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let mut sums = [_mm512_set1_ps(0.0); 16];
    let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(a, *sum, b);
        }
    }
    black_box(sums);
    (rounds * 16 * 16 * 2) as u64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(rounds: usize) -> u64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let mut sums = [_mm256_set1_ps(0.0); 12];
    let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(a, *sum, b);
        }
    }
    black_box(sums);
    (rounds * 12 * 8 * 2) as u64
}

/// As the compiler makes it for the target's baseline, which on aarch64 has NEON.
fn chains_scalar(rounds: usize) -> u64 {
    let mut sums = [0f32; 32];
    let (a, b) = (black_box(0.5f32), black_box(0.25f32));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(a, b);
        }
    }
    black_box(sums);
    (rounds * 32 * 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::KernelPool;

    #[test]
    fn every_thread_of_the_team_does_all_rounds() {
        let pool = KernelPool::new(3);
        let alone = multiply_adds(Team::alone(), 10);
        assert!(alone >= 10 * 32 * 2, "{alone}");
        assert_eq!(multiply_adds(pool.team(3), 10), 3 * alone);
    }

    #[test]
    fn a_triad_is_right_and_counts_twelve_bytes_an_element() {
        let pool = KernelPool::new(2);
        for len in [0, 1, 7, 1000] {
            let b: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let c: Vec<f32> = (0..len).map(|i| 0.5 * i as f32).collect();
            let mut a = vec![0f32; len];
            assert_eq!(triad(pool.team(2), &mut a, &b, &c), 12 * len as u64);
            assert!(a.iter().enumerate().all(|(i, &a)| a == 2.5 * i as f32), "{len}");
        }
    }
}
