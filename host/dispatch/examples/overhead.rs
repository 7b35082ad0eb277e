//! Microseconds that the dispatcher adds to a call, and what a quiet tenant feels of a flood.
//!
//! ```text
//! cargo run --release -p aimass-dispatch --example overhead
//! ```
//!
//! The plan of the first part looks one row up in a table, so that a call costs little else than its
//! way. The baseline runs it directly on one thread. Callers send their next call when the last one is
//! answered. In the second part, one tenant keeps 512 calls in the queue; another sends one at a time, and
//! the launches are counted that end before it is answered, its own included.

use aimass_dispatch::{DispatchConfig, Dispatcher, PlanCall, SystemClock};
use aimass_graph::{CompileOptions, Dim, GraphBuilder, GraphLimits, Plan, compile};
use aimass_tensor::{DType, Tensor};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const CALLS: usize = 20_000;
const WIDTH: usize = 256;
const FLOOD: usize = 512;
const QUIET_CALLS: usize = 1000;

#[tokio::main]
async fn main() -> Result<()> {
    overhead().await?;
    flood().await
}

async fn overhead() -> Result<()> {
    let plan = lookup()?;
    let inputs = [Tensor::from_slice(&[1], &[2i32])?];
    println!("one row looked up           us a call   calls a launch");
    let mut direct = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            plan.run(&inputs, None)?;
        }
        direct.push(per_call(start.elapsed(), CALLS));
    }
    let direct = median(&mut direct);
    println!("  direct, one thread        {direct:9.2}");
    for callers in [1, 8, 64] {
        let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
        let (mut times, mut batches) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let batch = closed_loop(&dispatcher, &plan, &inputs, callers).await?;
            times.push(per_call(start.elapsed(), CALLS));
            batches.push(batch);
        }
        let (time, batch) = (median(&mut times), median(&mut batches));
        println!("  {callers:2} callers               {time:9.2}   {batch:14.1}");
    }
    Ok(())
}

/// Mean number of calls that shared a launch.
async fn closed_loop(
    dispatcher: &Arc<Dispatcher>,
    plan: &Arc<Plan>,
    inputs: &[Tensor],
    callers: usize,
) -> Result<f64> {
    let caller = |_| {
        let (dispatcher, call) = (dispatcher.clone(), call(plan, inputs, "t"));
        tokio::spawn(async move {
            let mut launches = 0.0;
            for _ in 0..CALLS / callers {
                let deadline = Instant::now() + Duration::from_secs(60);
                let answer = dispatcher.call(PlanCall { deadline, ..call.clone() }).await?;
                launches += 1.0 / answer.batch_calls as f64;
            }
            anyhow::Ok(launches)
        })
    };
    let tasks: Vec<_> = (0..callers).map(caller).collect();
    let mut launches = 0.0;
    for task in tasks {
        launches += task.await??;
    }
    Ok((CALLS / callers * callers) as f64 / launches)
}

async fn flood() -> Result<()> {
    let (plan, other) = (layers(0.01)?, layers(0.02)?);
    let inputs = [Tensor::from_slice(&[8, WIDTH], &vec![0.5f32; 8 * WIDTH])?];
    println!(
        "\na quiet tenant, 8 rows a call        p50 us     p99 us     max us   launches p50 / max"
    );
    let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
    let launches = || dispatcher.stats().counted.launches;
    let direct = async || {
        plan.run(&inputs, None)?;
        Ok(())
    };
    report("direct", quiet(launches, direct).await?);
    let own = async |plan: &Arc<Plan>| {
        let dispatched = async || {
            dispatcher.call(call(plan, &inputs, "quiet")).await?;
            Ok(())
        };
        quiet(launches, dispatched).await
    };
    report("alone", own(&plan).await?);
    let stop = Arc::new(AtomicBool::new(false));
    let flooding = |_| {
        let (dispatcher, stop) = (dispatcher.clone(), stop.clone());
        let (plan, inputs) = (plan.clone(), inputs.clone());
        tokio::spawn(async move {
            let mut ran = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = dispatcher.call(call(&plan, &inputs, "flood")).await?;
                ran.push(answer.ran.as_secs_f64() * 1e6);
            }
            anyhow::Ok(ran)
        })
    };
    let tasks: Vec<_> = (0..FLOOD).map(flooding).collect();
    while dispatcher.stats().counted.waiting < FLOOD as u64 / 2 {
        tokio::task::yield_now().await;
    }
    report("flood on the same plan", own(&plan).await?);
    report("flood on another plan", own(&other).await?);
    stop.store(true, Ordering::Relaxed);
    let mut ran = Vec::new();
    for task in tasks {
        ran.extend(task.await??);
    }
    let answered = ran.len();
    println!(
        "  a launch of the flood          {:9.0}   ({answered} calls answered)",
        median(&mut ran)
    );
    Ok(())
}

/// Of calls one after the other: microseconds, and launches that ended meanwhile, each sorted.
async fn quiet(
    launches: impl Fn() -> u64,
    call: impl AsyncFn() -> Result<()>,
) -> Result<[Vec<f64>; 2]> {
    let (mut times, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..QUIET_CALLS {
        let (start, before) = (Instant::now(), launches());
        call().await?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        ended.push((launches() - before) as f64);
    }
    times.sort_by(f64::total_cmp);
    ended.sort_by(f64::total_cmp);
    Ok([times, ended])
}

fn report(name: &str, [times, ended]: [Vec<f64>; 2]) {
    let at = |values: &[f64], share: usize| values[(values.len() - 1) * share / 100];
    let time = |share| at(&times, share);
    let ended = (at(&ended, 50), at(&ended, 100));
    println!(
        "  {name:30} {:9.0}  {:9.0}  {:9.0}   {:3.0} / {:3.0}",
        time(50),
        time(99),
        time(100),
        ended.0,
        ended.1
    );
}

fn call(plan: &Arc<Plan>, inputs: &[Tensor], tenant: &str) -> PlanCall {
    PlanCall {
        plan: plan.clone(),
        inputs: inputs.to_vec(),
        tenant: Arc::from(tenant),
        deadline: Instant::now() + Duration::from_secs(60),
        slot: None,
    }
}

/// Rows of a table of four: ids [batch] -> [batch, 2].
fn lookup() -> Result<Arc<Plan>> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let ids = builder.input("ids", DType::I32, &[Dim::Batch])?;
    let table = builder.constant(Tensor::from_slice(&[4, 2], &[1f32; 8])?)?;
    let found = builder.gather(table, ids, 0)?;
    builder.output("found", found)?;
    compiled(builder)
}

/// Four linear layers: [batch, WIDTH] -> [batch, WIDTH].
fn layers(weight: f32) -> Result<Arc<Plan>> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let mut x = builder.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(WIDTH as u64)])?;
    let weights = Tensor::from_slice(&[WIDTH, WIDTH], &vec![weight; WIDTH * WIDTH])?;
    for _ in 0..4 {
        let weights = builder.constant(weights.clone())?;
        x = builder.linear(x, weights, None, false)?;
    }
    builder.output("y", x)?;
    compiled(builder)
}

fn compiled(builder: GraphBuilder) -> Result<Arc<Plan>> {
    let graph = builder.finish()?;
    Ok(Arc::new(compile(graph, &CompileOptions::default()).context("the plan compiles")?))
}

fn per_call(time: Duration, calls: usize) -> f64 {
    time.as_secs_f64() * 1e6 / calls as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
