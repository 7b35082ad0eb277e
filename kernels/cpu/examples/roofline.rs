//! Speed of the kernels as a fraction of what the processor can do, measured in the same run.
//!
//! `cargo run --release -p aimass-cpu --example roofline [-- avx2|all [attention|gemm]]`: best of many rounds, at 1
//! thread and at as many as there are cores.

#[path = "shared/clock.rs"]
mod clock;
#[path = "shared/peak.rs"]
mod peak;

use aimass_cpu::attention::{AttentionInput, AttentionShape, attention_ragged};
use aimass_cpu::matmul::{Activation, Epilogue, Finish, PackedMatrix, matmul_packed};
use aimass_cpu::norm::{LayerNorm, add_layer_norm};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_cpu::view::{Rows, RowsMut};
use aimass_cpu::{Level, level, set_level_max};
use clock::best;
use peak::{multiply_add_peak, numbers};

/// Rows, columns, and length of the sums.
const GEMMS: [(usize, usize, usize); 14] = [
    (1, 384, 384),
    (8, 384, 384),
    (32, 384, 384),
    (32, 1152, 384),
    (32, 1536, 384),
    (32, 384, 1536),
    (128, 384, 384),
    (128, 1536, 384),
    (128, 384, 1536),
    (256, 256, 256),
    (1024, 1024, 1024),
    (1024, 1536, 384),
    (4096, 384, 1536),
    (100, 1000, 333),
];

/// Sequences and tokens of each, for 12 heads of 32.
const ATTENTIONS: [(usize, usize); 6] = [(8, 8), (4, 32), (1, 128), (1, 256), (1, 512), (1, 2048)];

fn main() {
    if std::env::args().any(|argument| argument == "avx2") {
        set_level_max(Level::Avx2);
    }
    let only = std::env::args().nth(2).unwrap_or_default();
    let pool = KernelPool::global();
    for threads in [1, pool.threads()] {
        let team = if threads == 1 { Team::alone() } else { pool.team(threads) };
        let peak = multiply_add_peak(team);
        println!("\n{:?}, {threads} threads: multiply-add peak {peak:.0} GF/s", level());
        for shape in GEMMS.into_iter().filter(|_| !only.starts_with('a')) {
            gemm(team, shape, Activation::None, peak);
        }
        gemm(team, (128, 1536, 384), Activation::Gelu, peak);
        for shape in ATTENTIONS.into_iter().filter(|_| !only.starts_with('g')) {
            attention(team, shape, peak);
        }
        norm(team);
    }
}

fn gemm(team: Team<'_>, (m, n, k): (usize, usize, usize), activation: Activation, peak: f64) {
    let (a, bias) = (numbers(m * k), numbers(n));
    let b = PackedMatrix::pack(k, n, numbers(k * n));
    let c = numbers(m * n);
    let finish = Finish { activation, ..Finish::default() };
    let epilogue = Epilogue { bias: Some(bias), finish, residual: None };
    let seconds = best(team, || {
        let rows = 4_000_000usize.div_ceil(m * n * k);
        for _ in 0..rows {
            matmul_packed(team, Rows::dense(a, k), &b, RowsMut::dense(c, n), &epilogue);
        }
    }) / 4_000_000usize.div_ceil(m * n * k) as f64;
    let speed = (2 * m * n * k) as f64 / seconds / 1e9;
    let share = 100.0 * speed / peak;
    println!("{m:5} x {n:4} x {k:4} {activation:?}: {speed:6.1} GF/s, {share:3.0} %");
}

fn attention(team: Team<'_>, (sequences, tokens): (usize, usize), peak: f64) {
    let rows = sequences * tokens;
    let qkv = numbers(rows * 1152);
    let part = |first: usize| Rows::new(&qkv[first..], rows, 384, 1152);
    let input = AttentionInput { q: part(0), k: part(384), v: part(768), mask: None };
    let shape =
        AttentionShape { heads: 12, kv_heads: 12, head_dim: 32, scale: 0.177, causal: false };
    let offsets: Vec<u32> = (0..=sequences).map(|i| (i * tokens) as u32).collect();
    let out = numbers(rows * 384);
    let seconds = best(team, || {
        attention_ragged(team, &shape, &input, &offsets, RowsMut::dense(out, 384));
    });
    let speed = (4 * sequences * tokens * tokens * 384) as f64 / seconds / 1e9;
    let share = 100.0 * speed / peak;
    let micros = seconds * 1e6;
    println!(
        "attention {sequences:2} x {tokens:4}: {micros:8.1} us, {speed:6.1} GF/s, {share:3.0} %"
    );
}

fn norm(team: Team<'_>) {
    let (x, y, weight) = (numbers(128 * 384), numbers(128 * 384), numbers(384));
    let norm = LayerNorm { weight, bias: Some(weight), epsilon: 1e-12 };
    let seconds = best(team, || {
        add_layer_norm(RowsMut::dense(x, 384), Rows::dense(y, 384), &norm);
    });
    println!("add + layer norm 128 x 384: {:.1} us", seconds * 1e6);
}
