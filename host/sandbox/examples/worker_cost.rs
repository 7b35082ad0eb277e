//! What a call of the untrusted tier costs beside one in the server's process, and how long the first call
//! takes after a worker was killed.
//!
//! `cargo run --release -p aimass-sandbox --example worker_cost`, with the example `child` built before.
//! Medians of rounds that alternate between the tiers.
#![allow(clippy::unwrap_used, reason = "an example for people who measure")]

#[path = "../tests/support/mod.rs"]
mod support;

use aimass_sandbox::Plugin;
use aimass_tensor::Tensor;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use support::{Bench, call, child_program, core, identity, package_in};

const CALLS: u32 = 2_000;
const ROUNDS: usize = 11;
const KILLS: usize = 21;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(run());
}

async fn run() {
    let bench = Bench::with(|config| {
        // Beside this program, which is an example too.
        config.child_program = Some(child_program("child"));
        config.instances_max = None;
    });
    let component = core(&identity());
    let here = bench.load_package(&package_in("in-process", &component)).await.unwrap();
    let worker = bench.load_package(&package_in("worker", &component)).await.unwrap();
    for bytes in [32usize, 1 << 20] {
        let (mut near, mut far) = (Vec::new(), Vec::new());
        let calls = if bytes > 4096 { CALLS / 20 } else { CALLS };
        for _ in 0..ROUNDS {
            near.push(round(&here, bytes, calls).await);
            far.push(round(&worker, bytes, calls).await);
        }
        let (near, far) = (middle(near), middle(far));
        println!("{bytes:>8} bytes in and out: in process {near:.2?}, in a worker {far:.2?}");
        row(&format!("worker tier, added a call of {bytes} bytes"), far.saturating_sub(near), near);
    }
    let mut recovered = Vec::new();
    for _ in 0..KILLS {
        // The next spare is ready.
        tokio::time::sleep(Duration::from_millis(200)).await;
        for pid in bench.sandbox.worker_pids() {
            kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        }
        while !bench.sandbox.worker_pids().is_empty() {
            tokio::task::yield_now().await;
        }
        recovered.push(round(&worker, 32, 1).await);
    }
    println!("first call after its worker was killed: {:.2?}", middle(recovered));
}

async fn round(plugin: &Plugin, bytes: usize, calls: u32) -> Duration {
    let tensor = Tensor::from_slice(&[bytes], &vec![7u8; bytes]).unwrap();
    let start = Instant::now();
    for _ in 0..calls {
        let inputs = vec![("x".into(), tensor.clone())];
        plugin.process(call(Duration::from_secs(600)), inputs).await.unwrap();
    }
    start.elapsed() / calls
}

/// A line as `cargo xtask bench` reads it.
fn row(name: &str, value: Duration, peer: Duration) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{{\"name\":\"{name}\",\"value\":{:.3},\"unit\":\"us\",\"peer\":\"in process\",\
         \"peer_value\":{:.3},\"ratio\":{:.2},\"goal\":\"none\",\"holds\":true}}",
        micros(value),
        micros(peer),
        micros(value) / micros(peer)
    );
}

fn middle(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2]
}
