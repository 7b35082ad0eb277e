//! Speed of linear layers with weights of 8 and 4 bits and f32 rows, beside the same layer in f32.
//!
//! `cargo run --release -p aimass-cpu --example quantized_roofline [-- avx2]`: best of many rounds, at
//! 1 thread and at as many as there are cores. One row is bound by memory: there the bytes of weights
//! a second stand beside those that a plain sum over as large a block reads.

use aimass_cpu::matmul::{
    Epilogue, PackedMatrix, PackedQuantized, QuantizedWeights, WeightBits, matmul_packed,
    matmul_quantized,
};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_cpu::view::{Rows, RowsMut};
use aimass_cpu::{Level, level, set_level_max};
use std::hint::black_box;
use std::time::Instant;

/// Columns and length of the sums: a layer that no cache holds.
const LAYER: (usize, usize) = (8192, 4096);
/// Weights that share a scale.
const GROUP: usize = 32;

fn main() {
    if std::env::args().any(|argument| argument == "avx2") {
        set_level_max(Level::Avx2);
    }
    let pool = KernelPool::global();
    let (n, k) = LAYER;
    let bytes: Vec<u8> = (0..n * k).map(|i| (i * 7919 % 251) as u8).collect();
    let scales: Vec<f32> = (0..n * k / GROUP).map(|i| (i % 13 + 1) as f32 / 4096.0).collect();
    let packed = [(WeightBits::Eight, n * k), (WeightBits::Four, n * k / 2)].map(|(bits, len)| {
        let weights = &bytes[..len];
        let (group, scales) = (GROUP, &scales);
        let zeros = None;
        let own = QuantizedWeights { n, k, group, bits, signed: true, weights, scales, zeros };
        PackedQuantized::pack(own)
    });
    let plain: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 4096.0).collect();
    let plain = PackedMatrix::pack_transposed(k, n, &plain);
    for threads in [1, pool.threads()] {
        let team = if threads == 1 { Team::alone() } else { pool.team(threads) };
        let read = read_rate(team, &bytes);
        println!("\n{:?}, {threads} threads: a sum reads {read:.1} GB/s", level());
        for m in [1, 4, 16, 64, 256, 1024] {
            let x: Vec<f32> = (0..m * k).map(|i| (i % 199) as f32 / 99.5 - 1.0).collect();
            let mut out = vec![0f32; m * n];
            let x = Rows::dense(&x, k);
            let f32s = best(|| {
                let c = RowsMut::dense(&mut out, n);
                matmul_packed(team, x, &plain, c, &Epilogue::default());
            });
            print!("{m:5} rows  f32 {:8.0} us", f32s * 1e6);
            for (name, w) in ["8", "4"].iter().zip(&packed) {
                let seconds =
                    best(|| matmul_quantized(team, x, w, None, RowsMut::dense(&mut out, n)));
                let rate = w.bytes() as f64 / seconds / 1e9;
                let ratio = f32s / seconds;
                print!("  {name} bits {:8.0} us = {ratio:.2} x, {rate:5.1} GB/s", seconds * 1e6);
            }
            println!();
        }
    }
}

/// Seconds of the fastest of many rounds.
fn best(mut round: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_millis() < 400 {
        let start = Instant::now();
        round();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Bytes a second, in units of 10^9, that all threads together read.
fn read_rate(team: Team<'_>, bytes: &[u8]) -> f64 {
    let step = bytes.len().div_ceil(team.threads());
    let seconds = best(|| {
        team.run(team.threads(), &|task| {
            let part = &bytes[task * step..bytes.len().min(task * step + step)];
            let eight = |chunk: &[u8]| {
                chunk.first_chunk().map_or(0, |eight: &[u8; 8]| u64::from_le_bytes(*eight))
            };
            black_box(part.chunks_exact(8).map(eight).fold(0u64, u64::wrapping_add));
        });
    });
    bytes.len() as f64 / seconds / 1e9
}
