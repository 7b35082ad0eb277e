//! An innocent tenant's latency beside guests that never end, and beside as many that do.
//!
//! Both kinds hold the cores all the time: the hostile ones until they are cut at their deadline, the benign ones
//! for about as long, and each starts again at once.

use crate::row::{Row, median, micros, percentile};
use crate::support::{Bench, NOTHING, call, identity, processor};
use aimass_sandbox::Plugin;
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const PAIRS: usize = 10;
const SPINNING: usize = 8;
/// Time that a guest which runs alone spins.
const SPIN: Duration = Duration::from_millis(20);
/// Calls of the innocent tenant in one run.
const CALLS: usize = 300;
const P50_MAX: f64 = 1.10;
const P99_MAX: f64 = 1.5;
/// Turns of the loop from which its speed is known.
const TURNS_TRIED: u32 = 20_000_000;

fn spinning(turns: u32) -> String {
    let code = format!(
        "(loop $turn (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $turn (i32.lt_u (local.get $i) (i32.const {turns})))) {NOTHING}"
    );
    processor("", &code)
}

pub(crate) async fn rows() {
    let bench = Bench::with(|config| config.instances_max = None);
    let innocent = bench.load(&identity()).await.unwrap();
    let endless = processor("", "(loop $forever (br $forever)) unreachable");
    let endless = bench.load(&endless).await.unwrap();
    let tried = bench.load(&spinning(TURNS_TRIED)).await.unwrap();
    let start = Instant::now();
    tried.process(call(Duration::from_secs(60)), vec![]).await.unwrap();
    let turns = f64::from(TURNS_TRIED) * SPIN.as_secs_f64() / start.elapsed().as_secs_f64();
    let benign = bench.load(&spinning(turns as u32)).await.unwrap();
    let [mut hostile_p50, mut hostile_p99, mut ratio_p50, mut ratio_p99] =
        [const { Vec::new() }; 4];
    for _ in 0..PAIRS {
        // Eight take turns on the cores, so that a deadline ends a loop after the same work.
        let hostile = beside(&innocent, &endless, SPIN * SPINNING as u32 / 2).await;
        let paired = beside(&innocent, &benign, Duration::from_secs(60)).await;
        let at = |figures: &[f64], hundredths| percentile(figures, hundredths);
        hostile_p50.push(at(&hostile, 50));
        hostile_p99.push(at(&hostile, 99));
        ratio_p50.push(at(&hostile, 50) / at(&paired, 50));
        ratio_p99.push(at(&hostile, 99) / at(&paired, 99));
    }
    row("p50", &hostile_p50, &ratio_p50, P50_MAX);
    row("p99", &hostile_p99, &ratio_p99, P99_MAX);
}

fn row(percentile: &str, hostile: &[f64], ratios: &[f64], ratio_max: f64) {
    let (value, ratio) = (median(hostile), median(ratios));
    let name = format!("innocent call beside {SPINNING} endless guests, {percentile}");
    let (unit, peer) = ("us", "beside as many that end");
    Row { name: &name, value, unit, peer, peer_value: value / ratio, ratio, ratio_max }.print();
}

/// Microseconds of the innocent's calls while so many guests of `spinning` are always under way.
async fn beside(innocent: &Plugin, spinning: &Arc<Plugin>, wall: Duration) -> Vec<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let mut guests = JoinSet::new();
    for guest in 0..SPINNING {
        let (spinning, over) = (spinning.clone(), over.clone());
        guests.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let tenant = format!("spinning-{guest}").into();
                let call = aimass_sandbox::Call { tenant, ..call(wall) };
                // Endless ones end with an error.
                let _ = spinning.process(call, vec![]).await;
            }
        });
    }
    tokio::time::sleep(SPIN).await;
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let x = ("x".into(), Tensor::from_slice(&[8], &[0f32; 8]).unwrap());
        let start = Instant::now();
        innocent.process(call(Duration::from_secs(60)), vec![x]).await.unwrap();
        times.push(micros(start.elapsed()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    over.store(true, Ordering::Relaxed);
    guests.join_all().await;
    times
}
