//! What a call costs: a native function, one warm instance, and a fresh instance for every call.
//!
//! `cargo run --release -p aimass-sandbox --example calls [component.wasm]` (default: an identity in
//! 2 KB of WebAssembly). CPU time of the calling thread for each call; the thread that advances the
//! epoch takes about half a percent of one core while calls run.
#![allow(clippy::unwrap_used, reason = "an example for people who measure")]

#[path = "../tests/support/mod.rs"]
mod support;

use aimass_sandbox::NamedTensors;
use aimass_tensor::Tensor;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{Bench, call, core, identity, package};

const CALLS: u32 = 5_000;
const ROUNDS: usize = 11;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let component = match std::env::args().nth(1) {
        Some(path) => std::fs::read(path).unwrap(),
        None => core(&identity()),
    };
    let bench = Bench::with(|config| config.instances_max = None);
    let started = Instant::now();
    let plugin = bench.load_package(&package("processor", &component, "{}")).await.unwrap();
    println!("load {:?} ({} bytes)", started.elapsed(), component.len());
    let started = Instant::now();
    bench.load_package(&package("processor", &component, "{}")).await.unwrap();
    println!("load of other bytes {:?}", started.elapsed());
    let first = plugin.signature().inputs.first();
    let name = first.map_or("x".into(), |input| input.name.clone());
    let inputs = || vec![(name.clone(), Tensor::from_slice(&[8], &[0f32; 8]).unwrap())];
    let deadline = Duration::from_secs(600);
    let native = median(|| {
        let identity: fn(NamedTensors) -> NamedTensors = black_box(|inputs| inputs);
        for _ in 0..CALLS {
            black_box(identity(inputs()));
        }
    });
    let mut warm = Vec::new();
    let mut fresh = Vec::new();
    for _ in 0..ROUNDS {
        let cpu = cpu_time();
        plugin.process_warm(call(deadline), inputs(), CALLS).await.unwrap();
        warm.push((cpu_time() - cpu) / CALLS);
        let cpu = cpu_time();
        for _ in 0..CALLS {
            black_box(plugin.process(call(deadline), inputs()).await.unwrap());
        }
        fresh.push((cpu_time() - cpu) / CALLS);
    }
    let (warm, fresh) = (middle(warm), middle(fresh));
    println!("native function   {native:>10.2?}");
    println!("warm instance     {warm:>10.2?}");
    println!("fresh instance    {fresh:>10.2?}");
    row("plugin call, fresh instance", fresh, "warm instance", warm);
    row("plugin call, warm instance", warm, "native function", native);
}

/// A line as `cargo xtask bench` reads it; these figures inform, no goal is set for them.
fn row(name: &str, value: Duration, peer: &str, peer_value: Duration) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let ratio = micros(value) / micros(peer_value).max(1e-3);
    println!(
        "{{\"name\":\"{name}\",\"value\":{:.3},\"unit\":\"CPU us\",\"peer\":\"{peer}\",\
         \"peer_value\":{:.3},\"ratio\":{ratio:.2},\"goal\":\"none\",\"holds\":true}}",
        micros(value),
        micros(peer_value)
    );
}

fn median(mut work: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let cpu = cpu_time();
        work();
        (cpu_time() - cpu) / CALLS
    });
    middle(rounds.collect())
}

fn middle(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2]
}

/// CPU time of this thread so far, user and system.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
