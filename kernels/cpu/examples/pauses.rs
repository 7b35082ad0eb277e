//! What a run on two threads takes after a pause, in which the worker has parked.
//!
//! `cargo run --release -p aimass-cpu --example pauses`: median of 40 runs behind each pause, and how much
//! of a second thread's worth is left, 2 being all of it. Half the work on one thread is the physical limit.

use aimass_cpu::pool::{KernelPool, Team};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Tasks of a run, some 100 us each, as the steps of a small network have.
const TASKS: usize = 100;
const RUNS: usize = 40;

/// Work that stays in registers.
fn task(index: usize) {
    let mut x = [index as f32; 64];
    for _ in 0..black_box(650) {
        x.iter_mut().for_each(|x| *x = x.mul_add(0.999, 0.5));
    }
    black_box(x);
}

fn median(mut run: impl FnMut(), pause: Duration) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            std::thread::sleep(pause);
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

fn main() {
    let pool = KernelPool::new(2);
    let alone = median(|| (0..TASKS).for_each(task), Duration::ZERO);
    println!("one thread            {alone:8.2?}");
    for pause in [0, 2, 10, 30, 100, 300].map(Duration::from_millis) {
        let team: Team<'_> = pool.team(2);
        // A step of a plan is a run of its own.
        let steps = || (0..TASKS / 4).for_each(|step| team.run(4, &|i| task(4 * step + i)));
        let took = median(steps, pause);
        let speed = alone.as_secs_f64() / took.as_secs_f64();
        println!("two, after {pause:>6.0?}     {took:8.2?}  {speed:.2} times as fast");
    }
}
