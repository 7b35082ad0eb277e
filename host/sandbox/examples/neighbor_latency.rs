//! What an innocent tenant's calls take beside hostile guests that spin for ever, against guests that spin
//! as much but come to an end.
//!
//! `cargo run --release -p aimass-sandbox --example neighbor_latency [in-process|worker] [guests] [seconds]`
//! (default: in-process, 8 guests, 2 seconds a run). Ten pairs of runs; the ratio of each pair, and their
//! median. Both kinds of guests always run, so that their share of the processors is the same.
#![allow(clippy::unwrap_used, reason = "an example for people who measure")]

#[path = "../tests/support/mod.rs"]
mod support;

use aimass_sandbox::{Call, Plugin};
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Bench, call, child_program, core, identity, package_in, processor};

const PAIRS: usize = 10;
const PAUSE: Duration = Duration::from_millis(1);
/// Spins for ever.
const ENDLESS: &str = "(loop $forever (br $forever)) unreachable";
/// Spins for some tens of milliseconds and answers.
const BUSY: &str = "(loop $again (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $i) (i32.const 50000000))))
    (call $return (i32.const 0) (i32.const 0))";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let tier = arguments.next().unwrap_or("in-process".into());
    let guests: usize = arguments.next().map_or(8, |text| text.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(2, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(compare(&tier, guests, Duration::from_secs(seconds)));
}

async fn compare(tier: &str, guests: usize, length: Duration) {
    let bench = Bench::with(|config| {
        config.instances_max = Some(64);
        config.child_program = Some(child_program("child"));
    });
    let load = async |wat: &str| bench.load_package(&package_in(tier, &core(wat))).await.unwrap();
    let neighbor = load(&identity()).await;
    let hostile = load(&processor("", ENDLESS)).await;
    let benign = load(&processor("", BUSY)).await;
    let mut ratios = [Vec::new(), Vec::new()];
    let mut medians = [Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        let mut of_pair = [[0.0; 2]; 2];
        // Each kind goes first as often as the other.
        for kind in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            let beside = [&benign, &hostile][kind];
            of_pair[kind] = run(&neighbor, beside, guests, length).await;
        }
        println!(
            "benign p50 {:.1} p99 {:.1} us, hostile p50 {:.1} p99 {:.1} us",
            of_pair[0][0], of_pair[0][1], of_pair[1][0], of_pair[1][1]
        );
        for percentile in 0..2 {
            ratios[percentile].push(of_pair[1][percentile] / of_pair[0][percentile]);
            medians[percentile].push(of_pair[1][percentile]);
        }
    }
    for ((name, goal), (ratios, values)) in
        [("p50", 1.10), ("p99", 1.5)].into_iter().zip(ratios.into_iter().zip(medians))
    {
        let (ratio, value) = (middle(ratios), middle(values));
        println!(
            "{{\"name\":\"neighbor {name}, {tier}, {guests} endless guests\",\"value\":{value:.1},\"unit\":\"us\",\
             \"peer\":\"as many guests that end\",\"peer_value\":{:.1},\"ratio\":{ratio:.2},\"goal\":\"<= {goal}\",\
             \"holds\":{}}}",
            value / ratio,
            ratio <= goal
        );
    }
}

/// p50 and p99 of the neighbor's calls in microseconds, beside so many guests of this kind.
async fn run(neighbor: &Plugin, beside: &Arc<Plugin>, guests: usize, length: Duration) -> [f64; 2] {
    let others: Vec<_> = (0..guests)
        .map(|_| {
            let beside = beside.clone();
            tokio::spawn(async move {
                loop {
                    let other = Call { tenant: "other".into(), ..call(Duration::from_millis(100)) };
                    let _ = beside.process(other, vec![]).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let x = Tensor::from_slice(&[2], &[1f32, 2.]).unwrap();
    let (mut taken, started) = (Vec::new(), Instant::now());
    while started.elapsed() < length {
        let start = Instant::now();
        let innocent = Call { tenant: "neighbor".into(), ..call(Duration::from_secs(60)) };
        neighbor.process(innocent, vec![("x".into(), x.clone())]).await.unwrap();
        taken.push(start.elapsed().as_secs_f64() * 1e6);
        tokio::time::sleep(PAUSE).await;
    }
    others.iter().for_each(|other| other.abort());
    taken.sort_by(f64::total_cmp);
    [taken[taken.len() / 2], taken[taken.len() * 99 / 100]]
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}
