//! What this machine can do, measured.

use aimass_cpu::ceiling::{multiply_adds, triad};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_cpu::{Level, level};
use std::time::{Duration, Instant};

/// How long each peak is looked for.
const SEARCH: Duration = Duration::from_millis(300);
/// Rounds of multiply-adds of one measurement: well below a millisecond.
const ROUNDS: usize = 50_000;
/// Numbers of each of the three slices of the triad: beyond any cache.
const TRIAD_LEN: usize = 24 << 20;

/// Peaks of this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Machine {
    /// Threads that were measured.
    pub(super) threads: usize,
    /// Instructions that kernels use.
    pub(super) level: Level,
    /// Floating-point operations a second: multiply-adds of f32 in registers.
    pub(super) flops: f64,
    /// Bytes a second: triad through memory.
    pub(super) bandwidth: f64,
}

/// How near a step comes to what the machine can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// Between 0 and 1, of the peak that it comes nearer to; above 1 where data lie in cache.
    pub(super) of_peak: f64,
    /// Whether that is the peak of arithmetic; else that of memory.
    pub(super) of_compute: bool,
}

impl Machine {
    /// The best of many measurements on this many threads.
    pub(super) fn measure(threads: usize) -> Machine {
        let team = match threads {
            0 | 1 => Team::alone(),
            more => KernelPool::global().team(more),
        };
        let flops = best(|| multiply_adds(team, ROUNDS));
        let mut a = vec![0f32; TRIAD_LEN];
        let (b, c) = (vec![1f32; TRIAD_LEN], vec![2f32; TRIAD_LEN]);
        let bandwidth = best(|| triad(team, &mut a, &b, &c));
        Machine { threads: team.threads(), level: level(), flops, bandwidth }
    }

    /// The share of the peaks that this much work in this time is; none without work or time.
    pub(super) fn share(&self, flops: u64, bytes: u64, micros: f64) -> Option<Share> {
        if micros <= 0.0 || (flops == 0 && bytes == 0) {
            return None;
        }
        let seconds = micros / 1e6;
        let compute = flops as f64 / seconds / self.flops;
        let memory = bytes as f64 / seconds / self.bandwidth;
        let of_compute = compute >= memory;
        Some(Share { of_peak: compute.max(memory), of_compute })
    }
}

/// The most work a second in any round.
fn best(mut round: impl FnMut() -> u64) -> f64 {
    let mut best = 0f64;
    let begin = Instant::now();
    while begin.elapsed() < SEARCH {
        let start = Instant::now();
        let work = round() as f64;
        best = best.max(work / start.elapsed().as_secs_f64().max(1e-9));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_names_the_peak_that_is_nearer() {
        let machine = Machine { threads: 2, level: Level::Scalar, flops: 1e9, bandwidth: 1e8 };
        let compute = machine.share(500, 1, 1.0).unwrap();
        assert_eq!(compute, Share { of_peak: 0.5, of_compute: true });
        let memory = machine.share(1, 25, 1.0).unwrap();
        assert_eq!(memory, Share { of_peak: 0.25, of_compute: false });
        assert_eq!(machine.share(0, 0, 1.0), None);
        assert_eq!(machine.share(1, 1, 0.0), None);
    }
}
