//! A plan called from a guest beside the same plan called natively, alone and by many at once.

use crate::row::{Row, median, micros};
use crate::support::{call, component, doubling_plan, glue, identity, package, setup};
use aimass_dispatch::{DispatchConfig, Dispatcher, PlanCall, SystemClock};
use aimass_graph::Plan;
use aimass_sandbox::{Call, NoFiles, PlanSet, Plugin, Sandbox, SandboxConfig};
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Calls of one instance, which keeps two handles of each: as many as its limit holds.
const CALLS: u32 = 400;
const ROUNDS: usize = 21;
/// Guests that wait for the plan at once.
const WAITING: usize = 64;
/// Times that so many call, in a round.
const TURNS: usize = 20;
/// Most microseconds that a plan call costs more from a guest.
const GUEST_MAX: f64 = 15.0;
/// Most microseconds of one of the calls that are joined, fresh instance included.
const JOINED_MAX: f64 = 60.0;
const MINUTES: Duration = Duration::from_secs(300);

struct Bench {
    dispatcher: Arc<Dispatcher>,
    plan: Arc<Plan>,
    plans: Arc<PlanSet>,
    glue: Arc<Plugin>,
    bare: Arc<Plugin>,
}

impl Bench {
    async fn new(cache: &std::path::Path) -> Bench {
        let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
        let sandbox = Sandbox::new(SandboxConfig::new(cache), dispatcher.clone()).unwrap();
        let load = async |component: &[u8]| {
            let package = package("model", component, "{}");
            sandbox.load(&package, setup(b"{}", Arc::new(NoFiles))).await.unwrap()
        };
        let glue = load(&glue()).await;
        let bare = load(&component("model", &identity())).await;
        let plan = doubling_plan();
        let plans = Arc::new(PlanSet::new("m", 1, vec![("main".into(), plan.clone())]));
        Bench { dispatcher, plan, plans, glue, bare }
    }

    fn call(&self) -> Call {
        Call { plans: self.plans.clone(), ..call(MINUTES) }
    }

    fn native(&self) -> PlanCall {
        PlanCall {
            plan: self.plan.clone(),
            inputs: vec![input()],
            tenant: "tenant".into(),
            deadline: Instant::now() + MINUTES,
            slot: None,
        }
    }
}

fn input() -> Tensor {
    Tensor::from_slice(&[1, 2], &[1f32, 2.0]).unwrap()
}

pub(crate) async fn rows() {
    let cache = tempfile::tempdir().unwrap();
    let bench = Bench::new(cache.path()).await;
    let [mut added, mut native] = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        let warm = async |plugin: &Plugin| {
            let start = Instant::now();
            plugin.process_warm(bench.call(), vec![("x".into(), input())], CALLS).await.unwrap();
            micros(start.elapsed()) / f64::from(CALLS)
        };
        let with_plan = warm(&bench.glue).await;
        let without = warm(&bench.bare).await;
        let start = Instant::now();
        for _ in 0..CALLS {
            bench.dispatcher.call(bench.native()).await.unwrap();
        }
        let alone = micros(start.elapsed()) / f64::from(CALLS);
        added.push(with_plan - without - alone);
        native.push(alone);
    }
    let peer = ("the same natively, in all", median(&native));
    let name = "plan call, added by calling it from a guest";
    Row::within(name, (median(&added), "us"), peer, GUEST_MAX).print();
    joined(&bench).await;
}

/// Many tasks at once, each with a fresh instance that waits for the plan.
async fn joined(bench: &Bench) {
    let [mut guests, mut native] = [const { Vec::new() }; 2];
    let mut launches = 0;
    for _ in 0..ROUNDS {
        let before = bench.dispatcher.stats().counted.launches;
        let start = Instant::now();
        for _ in 0..TURNS {
            let mut tasks = JoinSet::new();
            for _ in 0..WAITING {
                let (glue, call) = (bench.glue.clone(), bench.call());
                let input = vec![("x".into(), input())];
                tasks.spawn(async move { glue.process(call, input).await.map(|_| ()).unwrap() });
            }
            tasks.join_all().await;
        }
        guests.push(micros(start.elapsed()) / (TURNS * WAITING) as f64);
        launches += bench.dispatcher.stats().counted.launches - before;
        let start = Instant::now();
        for _ in 0..TURNS {
            let mut tasks = JoinSet::new();
            for _ in 0..WAITING {
                let (dispatcher, call) = (bench.dispatcher.clone(), bench.native());
                tasks.spawn(async move { dispatcher.call(call).await.map(|_| ()).unwrap() });
            }
            tasks.join_all().await;
        }
        native.push(micros(start.elapsed()) / (TURNS * WAITING) as f64);
    }
    let calls = ROUNDS * TURNS * WAITING;
    println!("{calls} calls of {WAITING} waiting guests each took {launches} launches");
    let peer = ("the same natively", median(&native));
    let name = format!("joined plan call, fresh instances, {WAITING} guests");
    Row::within(&name, (median(&guests), "us"), peer, JOINED_MAX).print();
}
