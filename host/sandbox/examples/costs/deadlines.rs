//! How soon after its deadline a loop is cut, and how soon a plugin answers again after what went wrong.

use crate::row::{Row, median, millis, percentile};
use crate::support::{Bench, call, child_program, core, package_in, processor};
use aimass_sandbox::{Cause, Plugin};
use aimass_tensor::Tensor;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 51;
const KILLS: usize = 21;
const WALL: Duration = Duration::from_millis(20);
/// Time in which a spare worker starts.
const SPARE: Duration = Duration::from_millis(300);
/// Most milliseconds between a deadline and its error.
const LATE_MAX: f64 = 10.0;
/// Most milliseconds of the first call after a trap, or after its worker died.
const NEXT_MAX: f64 = 5.0;

pub(crate) async fn rows() {
    let bench = Bench::with(|config| {
        config.child_program = Some(child_program("child"));
        config.instances_max = None;
    });
    let endless = core(&processor("", "(loop $forever (br $forever)) unreachable"));
    // Without an input it traps.
    let traps = core(&processor(
        "",
        "(if (i32.eqz (local.get 1)) (then unreachable))
         (call $return (local.get 0) (local.get 1))",
    ));
    for tier in ["in-process", "worker"] {
        let load = async |component: &[u8]| {
            bench.load_package(&package_in(tier, component)).await.unwrap()
        };
        let (endless, traps) = (load(&endless).await, load(&traps).await);
        let late = lateness(&endless).await;
        row(&format!("endless loop, error after the deadline, {tier}"), &late, LATE_MAX);
        let next = after_traps(&traps).await;
        row(&format!("first call after a trap, {tier}"), &next, NEXT_MAX);
        if tier == "worker" {
            let next = after_kills(&bench, &traps).await;
            row("first call after its worker was killed", &next, NEXT_MAX);
        }
    }
}

fn row(name: &str, figures: &[f64], most: f64) {
    let slowest = percentile(figures, 100);
    let peer = format!("slowest of {}", figures.len());
    Row::within(name, (median(figures), "ms"), (&peer, slowest), most).print();
}

async fn lateness(endless: &Arc<Plugin>) -> Vec<f64> {
    let mut late = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let error = endless.process(call(WALL), vec![]).await.unwrap_err();
        assert_eq!(error.cause, Cause::Deadline);
        late.push(millis(start.elapsed().saturating_sub(WALL)));
    }
    late
}

async fn answers(plugin: &Plugin) -> f64 {
    let x = ("x".into(), Tensor::from_slice(&[2], &[1f32, 2.]).unwrap());
    let start = Instant::now();
    plugin.process(call(Duration::from_secs(60)), vec![x]).await.unwrap();
    millis(start.elapsed())
}

async fn after_traps(plugin: &Plugin) -> Vec<f64> {
    let mut next = Vec::new();
    for _ in 0..ROUNDS {
        let error = plugin.process(call(Duration::from_secs(60)), vec![]).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Trap { .. }), "{error}");
        next.push(answers(plugin).await);
    }
    next
}

async fn after_kills(bench: &Bench, plugin: &Plugin) -> Vec<f64> {
    let mut next = Vec::new();
    for _ in 0..KILLS {
        tokio::time::sleep(SPARE).await;
        for pid in bench.sandbox.worker_pids() {
            kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        }
        while !bench.sandbox.worker_pids().is_empty() {
            tokio::task::yield_now().await;
        }
        next.push(answers(plugin).await);
    }
    next
}
