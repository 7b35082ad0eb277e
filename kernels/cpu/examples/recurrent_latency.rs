//! Time of recurrent layers, a token at a time and many at once.
//!
//! `cargo run --release -p aimass-cpu --example recurrent_latency`: best of many rounds, processor
//! time of one thread.
#![expect(unsafe_code, reason = "the clock of a thread")]

use aimass_cpu::pool::Team;
use aimass_cpu::recurrent::{
    PackedRecurrent, Recurrence, RecurrentRun, RecurrentWeights, recurrent,
};
use std::time::Instant;

fn main() {
    for kind in [Recurrence::Lstm, Recurrence::Gru, Recurrence::Tanh] {
        for (tokens, batch, hidden) in
            [(1, 1, 128), (31, 1, 128), (100, 1, 128), (100, 8, 128), (100, 1, 512)]
        {
            latency(kind, tokens, batch, hidden);
        }
    }
}

fn latency(kind: Recurrence, tokens: usize, batch: usize, hidden: usize) {
    let columns = kind.gates() * hidden;
    let numbers = |count: usize| -> Vec<f32> {
        (0..count).map(|i| ((i * 7919) % 2003) as f32 / 10_015.0 - 0.1).collect()
    };
    let (w, r, bias) = (numbers(columns * hidden), numbers(columns * hidden), numbers(2 * columns));
    let weights = RecurrentWeights { input: hidden, hidden, w: &w, r: &r, bias: Some(&bias) };
    let packed = PackedRecurrent::pack(kind, weights);
    let x = numbers(tokens * batch * hidden);
    let state = batch * hidden;
    let (mut h, mut out) = (vec![0f32; state], vec![0f32; tokens * state]);
    let mut c = vec![0f32; if kind == Recurrence::Lstm { state } else { 0 }];
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_millis() < 300 {
        let start = thread_seconds();
        let (h, c, out) = (&mut h[..], &mut c[..], &mut out[..]);
        recurrent(
            Team::alone(),
            &packed,
            RecurrentRun { x: &x, tokens, batch, reverse: false, h, c, out },
        );
        best = best.min(thread_seconds() - start);
    }
    let flops = (4 * tokens * batch * columns * hidden) as f64;
    let (all, each) = (best * 1e6, best * 1e6 / tokens as f64);
    println!(
        "{kind:?} {tokens:3} tokens x {batch} of {hidden}: {all:8.1} us, {each:6.2} us a token, {:5.1} GF/s",
        flops / best / 1e9
    );
}

fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the struct is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
