//! Products of matrices beside the multiply-add peak of this processor, one JSON object a row, as
//! `cargo xtask bench engine` reads them.
//!
//! `cargo run --release -p aimass-cpu --example gemm_peak`: the peak is measured before each product,
//! so that a machine that slows down slows both.

#[path = "shared/clock.rs"]
mod clock;
#[path = "shared/peak.rs"]
mod peak;

use aimass_cpu::matmul::{Epilogue, PackedMatrix, matmul_packed};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_cpu::view::{Rows, RowsMut};
use clock::best;
use peak::{multiply_add_peak, numbers};

const ROWS: [usize; 6] = [128, 256, 512, 1024, 2048, 4096];
const WIDTHS: [usize; 2] = [384, 1536];
/// Pairs of peak and product, of which the median counts.
const PAIRS: usize = 3;
/// Share of the peak that is asked for at one thread, and at more.
const SHARES_MIN: [f64; 2] = [0.90, 0.82];

fn main() {
    let pool = KernelPool::global();
    for (threads, share_min) in [1, pool.threads()].into_iter().zip(SHARES_MIN) {
        let team = if threads == 1 { Team::alone() } else { pool.team(threads) };
        let (mut shares, mut peaks) = (Vec::new(), Vec::new());
        for m in ROWS {
            for (n, k) in WIDTHS.into_iter().flat_map(|n| WIDTHS.map(|k| (n, k))) {
                let mut product = product(team, (m, n, k));
                let mut pairs: Vec<(f64, f64)> = (0..PAIRS)
                    .map(|_| {
                        let peak = multiply_add_peak(team);
                        (product() / peak, peak)
                    })
                    .collect();
                pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (share, peak) = pairs[PAIRS / 2];
                println!("{threads} threads, {m} x {n} x {k}: {share:.3} of {peak:.0} GF/s");
                shares.push(share);
                peaks.push(peak);
            }
        }
        let geomean =
            (shares.iter().map(|share| share.ln()).sum::<f64>() / shares.len() as f64).exp();
        let peak = peaks.iter().sum::<f64>() / peaks.len() as f64;
        println!(
            "{{\"name\": \"GEMM f32, geometric mean, {threads} threads\", \"value\": {:.1}, \
             \"unit\": \"GF/s\", \"peer\": \"multiply-add peak\", \"peer_value\": {peak:.1}, \
             \"ratio\": {geomean:.4}, \"goal\": \">= {share_min}\", \"holds\": {}}}",
            geomean * peak,
            geomean >= share_min
        );
    }
}

/// Measures GF/s of `[m, k]` by packed `[k, n]`.
fn product(team: Team<'_>, (m, n, k): (usize, usize, usize)) -> impl FnMut() -> f64 {
    let (a, c) = (&*numbers(m * k), numbers(m * n));
    let b = PackedMatrix::pack(k, n, numbers(k * n));
    let epilogue = Epilogue { bias: None, finish: Default::default(), residual: None };
    move || {
        let seconds = best(team, || {
            matmul_packed(team, Rows::dense(a, k), &b, RowsMut::dense(c, n), &epilogue);
        });
        (2 * m * n * k) as f64 / seconds / 1e9
    }
}
