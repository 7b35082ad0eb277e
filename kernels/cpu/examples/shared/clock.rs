//! How the examples take time.
#![expect(unsafe_code, reason = "the clock of one thread")]

use aimass_cpu::pool::Team;
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
