//! A call with a fresh instance, a call of a warm one, and a method of a handle.

use crate::row::{Row, median, micros};
use crate::support::{Bench, NOTHING, call, identity, processor};
use aimass_sandbox::Plugin;
use aimass_tensor::Tensor;
use std::hint::black_box;
use std::time::{Duration, Instant};

const CALLS: u32 = 5_000;
const ROUNDS: usize = 21;
/// Methods of one call, below the limit of host calls.
const METHODS: u32 = 200_000;
/// Most microseconds of a fresh instance, its call and its end. Every call that is served runs on a fiber; this
/// is what a call without one may take, the narrower of the two goals (18 on a fiber).
const FRESH_MAX: f64 = 12.0;
const WARM_MAX: f64 = 0.5;
const METHOD_MAX: f64 = 0.15;

/// Asks the first input so many times for its length.
fn asking() -> String {
    let import = r#"(import "aimass:plugin/tensor@0.1.0" "[method]tensor.byte-len"
        (func $len (param i32) (result i64)))"#;
    let code = format!(
        "(local.set $j (i32.load offset=8 (local.get 0)))
         (loop $next
            (drop (call $len (local.get $j)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const {METHODS})))) {NOTHING}"
    );
    processor(import, &code)
}

pub(crate) async fn rows() {
    let bench = Bench::with(|config| config.instances_max = None);
    let identity = bench.load(&identity()).await.unwrap();
    let nothing = bench.load(&processor("", NOTHING)).await.unwrap();
    let asking = bench.load(&asking()).await.unwrap();
    let [mut fresh, mut warm, mut warm_identity, mut method] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        fresh.push(fresh_call(&identity).await);
        let start = Instant::now();
        nothing.process_warm(call(MINUTES), vec![], CALLS).await.unwrap();
        warm.push(micros(start.elapsed()) / f64::from(CALLS));
        let start = Instant::now();
        identity.process_warm(call(MINUTES), vec![input()], CALLS).await.unwrap();
        warm_identity.push(micros(start.elapsed()) / f64::from(CALLS));
        let start = Instant::now();
        asking.process(call(MINUTES), vec![input()]).await.unwrap();
        method.push(micros(start.elapsed()) / f64::from(METHODS));
    }
    let warm_peer = ("one tensor in and out", median(&warm_identity));
    let name = "fresh instance, call and drop, as served";
    Row::within(name, (median(&fresh), "us"), ("goal", FRESH_MAX), FRESH_MAX).print();
    let name = "warm asynchronous call, nothing in or out";
    Row::within(name, (median(&warm), "us"), warm_peer, WARM_MAX).print();
    let name = "method of a handle";
    Row::within(name, (median(&method), "us"), ("goal", METHOD_MAX), METHOD_MAX).print();
}

const MINUTES: Duration = Duration::from_secs(300);

fn input() -> (std::sync::Arc<str>, Tensor) {
    ("x".into(), Tensor::from_slice(&[8], &[0f32; 8]).unwrap())
}

/// Microseconds of a call that takes and answers one tensor.
async fn fresh_call(plugin: &Plugin) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(plugin.process(call(MINUTES), vec![input()]).await.unwrap());
    }
    micros(start.elapsed()) / f64::from(CALLS)
}
