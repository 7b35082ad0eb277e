//! What a call of the untrusted tier costs beside one in the server's process.

use crate::row::{Row, median, micros};
use crate::support::{Bench, call, child_program, core, identity, package_in};
use aimass_sandbox::Plugin;
use aimass_tensor::Tensor;
use std::time::{Duration, Instant};

const CALLS: u32 = 2_000;
const ROUNDS: usize = 11;
const SMALL_BYTES: usize = 32;
const LARGE_BYTES: usize = 1 << 20;
/// Most microseconds that a worker adds to a small call.
const ADDED_MAX: f64 = 25.0;

pub(crate) async fn rows() {
    let bench = Bench::with(|config| {
        config.child_program = Some(child_program("child"));
        config.instances_max = None;
    });
    let component = core(&identity());
    let here = bench.load_package(&package_in("in-process", &component)).await.unwrap();
    let worker = bench.load_package(&package_in("worker", &component)).await.unwrap();
    let (added, near) = compared([&here, &worker], SMALL_BYTES, CALLS).await;
    let name = format!("worker tier, added to a call of {SMALL_BYTES} bytes");
    Row::within(&name, (added, "us"), ("in process, in all", near), ADDED_MAX).print();
    let (added, near) = compared([&here, &worker], LARGE_BYTES, CALLS / 20).await;
    println!("worker tier, 1 MiB in and out: {added:.1} us more than the {near:.1} us in process");
}

/// Median microseconds that the second plugin's call takes more, and those of the first.
async fn compared([here, worker]: [&Plugin; 2], bytes: usize, calls: u32) -> (f64, f64) {
    let [mut added, mut near] = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        let one = round(here, bytes, calls).await;
        added.push(round(worker, bytes, calls).await - one);
        near.push(one);
    }
    (median(&added), median(&near))
}

async fn round(plugin: &Plugin, bytes: usize, calls: u32) -> f64 {
    let tensor = Tensor::from_slice(&[bytes], &vec![7u8; bytes]).unwrap();
    let start = Instant::now();
    for _ in 0..calls {
        let inputs = vec![("x".into(), tensor.clone())];
        plugin.process(call(Duration::from_secs(600)), inputs).await.unwrap();
    }
    micros(start.elapsed()) / f64::from(calls)
}
