//! What a call costs: a native function, one warm instance, and a fresh instance for every call.
//!
//! `cargo run --release -p aimass-sandbox --example calls [component.wasm]` (default: an identity in
//! 2 KB of WebAssembly). One thread that never waits, so wall time a call: the median of several
//! rounds. The thread that advances the epoch takes about half a percent of one core meanwhile.
#![allow(clippy::unwrap_used, reason = "an example for people who measure")]

#[path = "../tests/support/mod.rs"]
mod support;

use aimass_sandbox::NamedTensors;
use aimass_tensor::{DType, Shape, Strings, Tensor};
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{Bench, call, core, identity, package};

/// Calls of a round: as many as take a second, at most this.
const CALLS_MAX: u32 = 10_000;
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
    let package = package("processor", &component, "{}");
    let started = Instant::now();
    bench.load_package(&package).await.unwrap();
    println!("load, compiled    {:>10.2?} ({} bytes)", started.elapsed(), component.len());
    let started = Instant::now();
    let plugin = bench.load_package(&package).await.unwrap();
    println!("load, kept        {:>10.2?}", started.elapsed());
    let first = plugin.signature().inputs.first();
    let name = first.map_or("x".into(), |input| input.name.clone());
    let is_text = first.is_some_and(|input| input.dtype == Some(DType::Bytes));
    let inputs = || {
        let strings = || Strings::from_slices(&["a secret"]).unwrap();
        let text = || Tensor::from_strings(Shape::new(&[1]).unwrap(), strings()).unwrap();
        let floats = || Tensor::from_slice(&[8], &[0f32; 8]).unwrap();
        vec![(name.clone(), if is_text { text() } else { floats() })]
    };
    let started = Instant::now();
    plugin.process(call(Duration::from_secs(600)), inputs()).await.unwrap();
    let first_call = started.elapsed();
    println!("first call        {first_call:>10.2?}");
    let calls = (1.0 / first_call.as_secs_f64()).clamp(10.0, f64::from(CALLS_MAX)) as u32;
    let deadline = Duration::from_secs(600);
    let native = median(calls, || {
        let identity: fn(NamedTensors) -> NamedTensors = black_box(|inputs| inputs);
        for _ in 0..calls {
            black_box(identity(inputs()));
        }
    });
    let mut warm = Vec::new();
    let mut fresh = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        plugin.process_warm(call(deadline), inputs(), calls).await.unwrap();
        warm.push(start.elapsed() / calls);
        let start = Instant::now();
        for _ in 0..calls {
            black_box(plugin.process(call(deadline), inputs()).await.unwrap());
        }
        fresh.push(start.elapsed() / calls);
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
    let ratio = micros(value) / micros(peer_value);
    println!(
        "{{\"name\":\"{name}\",\"value\":{:.3},\"unit\":\"us\",\"peer\":\"{peer}\",\
         \"peer_value\":{:.3},\"ratio\":{ratio:.2},\"goal\":\"none\",\"holds\":true}}",
        micros(value),
        micros(peer_value)
    );
}

fn median(calls: u32, mut work: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed() / calls
    });
    middle(rounds.collect())
}

fn middle(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2]
}
