//! Instances that are live at once: their memory, and the one too many.

use crate::row::Row;
use crate::support::{Bench, Never, asking, call, package};
use aimass_sandbox::{Call, Cause, Composition, Machine, Plugin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Live instances: what the kernel's default of `vm.max_map_count` holds, and what 262,144 does.
const LIVE: [usize; 2] = [9_000, 20_000];
/// Most megabytes that they may take.
const MEGABYTES_MAX: f64 = 500.0;
/// Instances that the pool has room for, if the kernel's maps allow as many.
const ASKED: u32 = 20_500;

pub(crate) async fn rows() {
    let machine = Machine::look();
    let bench = Bench::with(|config| config.instances_max = Some(ASKED));
    let cap = bench.sandbox.instances_max() as usize;
    let plugin = bench.load_package(&package("model", &asking(), "{}")).await.unwrap();
    let never = Arc::new(Never::default());
    let mut waiting = JoinSet::new();
    let before = resident_kib();
    for live in LIVE.into_iter().filter(|live| *live <= cap) {
        fill(&plugin, &never, &mut waiting, live).await;
        let megabytes = (resident_kib() - before) * 1024.0 / 1e6;
        let name = format!("memory of {live} live instances, page tables included");
        let peer = ("vm.max_map_count", machine.max_map_count as f64);
        Row::within(&name, (megabytes, "MB"), peer, MEGABYTES_MAX).print();
    }
    fill(&plugin, &never, &mut waiting, cap).await;
    let mut overloaded = 0u32;
    for _ in 0..100 {
        let error = plugin.process(reaching(&never), vec![]).await.unwrap_err();
        overloaded += u32::from(matches!(error.cause, Cause::Overloaded { .. }));
    }
    let name = "calls above the cap that were not told Overloaded, of 100";
    let (value, unit, peer_value) = (100.0 - f64::from(overloaded), "calls", cap as f64);
    let peer = "live instances at the cap";
    Row { name, value, unit, peer, peer_value, ratio: value, ratio_max: 0.0 }.print();
    waiting.shutdown().await;
}

fn reaching(never: &Arc<Never>) -> Call {
    let composition = Composition { models: Some(never.clone()), items: None };
    Call { composition, ..call(Duration::from_secs(300)) }
}

/// Starts calls until so many wait inside the host, each in an instance that has run.
async fn fill(plugin: &Arc<Plugin>, never: &Arc<Never>, waiting: &mut JoinSet<()>, live: usize) {
    while waiting.len() < live {
        let (plugin, call) = (plugin.clone(), reaching(never));
        waiting.spawn(async move {
            let error = plugin.process(call, vec![]).await.unwrap_err();
            println!("a call that should wait for ever ended: {error}");
        });
    }
    let give_up = Instant::now() + Duration::from_secs(120);
    while never.calls.load(Ordering::Relaxed) < live {
        assert!(Instant::now() < give_up, "expected {live} instances that wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Resident memory of this process and its page tables.
fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap()
    };
    of("VmRSS:") + of("VmPTE:")
}
