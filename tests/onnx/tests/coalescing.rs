//! Which real models join calls, and that joined calls have the bits of calls alone.

use aimass_dispatch::{DispatchConfig, Dispatcher, PlanCall, SystemClock};
use aimass_engine::{DeviceChoice, ModelStage};
use aimass_graph::{Coalescing, CompileOptions, Dim, GraphBuilder, GraphLimits, Plan, compile};
use aimass_onnx_tests::{Case, Site, Suite, Test, TestModel, prepared};
use aimass_tensor::{DType, Shape, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Kernel threads that each model runs on; more than most test machines have cores, since what counts is
/// how rows are cut.
const THREADS: [usize; 3] = [1, 2, 4];
/// Cases of a model, each with other extents, that are grouped.
const CASES: usize = 2;
/// Rows of a case that are asked alone, and in groups.
const ROWS: usize = 7;
/// Groupings of them on each number of threads.
const ROUNDS: usize = 2;
const LIMIT: Duration = Duration::from_secs(600);
/// How long a launch waits for the calls that are on their way to it.
const WAIT: Duration = Duration::from_millis(20);
/// Head of the page.
const HEAD: &str = "\
# Models that coalesce

Calls of a model *coalesce* where one launch answers several of them with the same bits as each alone. A model that does
not is served call by call. Written by `AIMASS_BLESS=1 cargo test --workspace --test coalescing`
from the real models of `tests/onnx/packages`; the test fails when a model changes sides. Each that coalesces is asked
row by row, then in random groups of calls by several tenants beside another plan, on 1, 2 and 4 threads, and every bit
is compared. `aimass model inspect` says the same of any model.

| model | coalesces over | or what stands in the way |
|---|---|---|
";

/// The xorshift of Marsaglia.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Rows of a plan, each with what it answers alone.
struct Alone {
    rows: Vec<Vec<Tensor>>,
    answers: Vec<Vec<Tensor>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_that_coalesces_answers_in_any_company_as_alone() {
    aimass_cpu::pool::KernelPool::init_global(THREADS[THREADS.len() - 1]);
    let (tests, seed) = chosen();
    let plugin = prepared("AIMASS_PLUGINS_DIR").join("onnx.wasm");
    let first = Site::open(&plugin, THREADS[0], &DeviceChoice::Cpu).await.expect("an engine");
    let mut sites = vec![first];
    for threads in &THREADS[1..] {
        sites.push(sites[0].again(*threads).await.expect("another engine"));
    }
    let mut random = Random(seed | 1);
    let mut found = BTreeMap::new();
    for test in &tests {
        let columns = model(&sites, test, &mut random).await;
        println!("{}: {columns}", test.name);
        found.insert(test.name.clone(), columns);
    }
    hold(&found);
}

/// Asks a model in groups if it coalesces; answers the columns of its row in the page.
async fn model(sites: &[Site], test: &Test, random: &mut Random) -> String {
    let cases = cases(test);
    let mut verdicts = Vec::new();
    let mut alone = Vec::new();
    let mut together = 0;
    for (at, site) in sites.iter().enumerate() {
        let opened = site.open_model(test).await.unwrap_or_else(|error| panic!("{error:#}"));
        for (case, inputs) in cases.iter().enumerate() {
            let stages = stages(&opened, inputs, &test.name).await;
            verdicts.push(columns(&ModelStage::coalescing(&stages)));
            let [ModelStage { plan: Some(plan), inputs, .. }] = &stages[..] else { continue };
            if *plan.coalescing() != Coalescing::Batch {
                continue;
            }
            if at == 0 {
                alone.push(alone_of(plan, inputs));
            }
            for _ in 0..ROUNDS {
                together = together.max(grouped(plan, &alone[case], random).await);
            }
        }
        if alone.is_empty() {
            break;
        }
    }
    assert!(alone.is_empty() || together > 1, "{}: no two calls shared a launch", test.name);
    verdicts.dedup();
    let [verdict] = &verdicts[..] else { panic!("{}: {verdicts:?}", test.name) };
    verdict.clone()
}

fn columns(coalescing: &Coalescing) -> String {
    match coalescing {
        Coalescing::Batch => "batch axis 0 |".to_owned(),
        Coalescing::Ragged { offsets } => format!("ragged({offsets}) |"),
        // A plan's number of a node depends on the extents of the case.
        Coalescing::Alone { blocked_by } => {
            format!("| {}", blocked_by.split(" (node ").next().unwrap_or_default())
        }
    }
}

async fn stages(opened: &TestModel, inputs: &[(String, Tensor)], name: &str) -> Vec<ModelStage> {
    let stages = opened.stages(inputs, Instant::now() + LIMIT).await;
    stages.unwrap_or_else(|error| panic!("{name}: {error:#}"))
}

/// Inputs of the first step of cases whose rows have different extents.
fn cases(test: &Test) -> Vec<Vec<(String, Tensor)>> {
    let mut cases: Vec<Vec<(String, Tensor)>> = Vec::new();
    for file in &test.cases {
        let steps = Case::read(file).and_then(|case| case.load()).expect("a case");
        let inputs = steps.into_iter().next().expect("a step").inputs;
        let rests = |inputs: &[(String, Tensor)]| {
            let rest = |(_, x): &(String, Tensor)| x.shape().iter().skip(1).copied().collect();
            inputs.iter().map(rest).collect::<Vec<Vec<usize>>>()
        };
        if cases.iter().all(|known| rests(known) != rests(&inputs)) {
            cases.push(inputs);
        }
    }
    cases.truncate(CASES);
    cases
}

/// Rows made of the first row of `inputs`, each turned by another number of elements, asked one by one.
fn alone_of(plan: &Plan, inputs: &[Tensor]) -> Alone {
    let row = |turn: usize| inputs.iter().map(|x| turned(x, turn)).collect::<Vec<Tensor>>();
    let rows: Vec<Vec<Tensor>> = (0..ROWS).map(row).collect();
    let answers = rows.iter().map(|row| plan.run(row, None).expect("a row alone")).collect();
    Alone { rows, answers }
}

/// Row 0 of a tensor, its elements turned by so many.
fn turned(x: &Tensor, turn: usize) -> Tensor {
    let mut shape = x.shape().to_vec();
    let row_bytes = x.bytes().len() / shape[0].max(1);
    let mut bytes = x.bytes()[..row_bytes].to_vec();
    let element = row_bytes / shape[1..].iter().product::<usize>().max(1);
    bytes.rotate_left((turn * element) % row_bytes.max(1));
    shape[0] = 1;
    tensor(x.dtype(), &shape, &bytes)
}

/// Rows one after the other as one tensor.
fn joined(rows: &[&Tensor]) -> Tensor {
    let mut shape = rows[0].shape().to_vec();
    shape[0] = rows.iter().map(|row| row.shape()[0]).sum();
    let bytes: Vec<u8> = rows.iter().flat_map(|row| row.bytes().to_vec()).collect();
    tensor(rows[0].dtype(), &shape, &bytes)
}

fn tensor(dtype: DType, shape: &[usize], bytes: &[u8]) -> Tensor {
    let shape = Shape::new(shape).expect("a shape");
    Tensor::copy_from(dtype, shape, bytes).expect("as many bytes as the shape has")
}

/// A plan of others: twice `x`, f32 `[batch, 3]`.
fn others() -> Arc<Plan> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(3)]).expect("an input");
    let y = builder.add(x, x).expect("a sum");
    builder.output("y", y).expect("an output");
    let graph = builder.finish().expect("a graph");
    Arc::new(compile(graph, &CompileOptions::default()).expect("a plan"))
}

/// A call of one of three tenants.
fn call(plan: &Arc<Plan>, inputs: Vec<Tensor>, random: &mut Random) -> PlanCall {
    let tenant = ["a", "b", "c"][random.below(3)].into();
    PlanCall { plan: plan.clone(), inputs, tenant, deadline: Instant::now() + LIMIT, slot: None }
}

/// Asks the rows in calls of one or several, by three tenants at once, who call another plan as often;
/// answers how many calls shared a launch at most.
async fn grouped(plan: &Arc<Plan>, alone: &Alone, random: &mut Random) -> usize {
    let mut order: Vec<usize> = (0..ROWS).collect();
    (1..ROWS).rev().for_each(|at| order.swap(at, random.below(at + 1)));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut left = &order[..];
    while !left.is_empty() {
        let (group, rest) = left.split_at(1 + random.below(left.len().min(3)));
        groups.push(group.to_vec());
        left = rest;
    }
    let config = DispatchConfig {
        batch_wait_max: WAIT,
        batch_calls_max: groups.len(),
        batch_rows_max: usize::MAX,
        batch_bytes_max: u64::MAX,
        batch_time_max: Duration::ZERO,
        ..DispatchConfig::default()
    };
    let dispatcher = Dispatcher::new(config, Arc::new(SystemClock));
    let ask = |call: PlanCall| {
        let dispatcher = dispatcher.clone();
        tokio::spawn(async move { dispatcher.call(call).await })
    };
    let (other, ones) = (others(), Tensor::from_slice(&[1, 3], &[1f32; 3]).expect("three"));
    let mut calls = Vec::new();
    for group in &groups {
        let columns = (0..alone.rows[0].len()).map(|input| {
            let rows: Vec<&Tensor> = group.iter().map(|&row| &alone.rows[row][input]).collect();
            joined(&rows)
        });
        let beside = ask(call(&other, vec![ones.clone()], random));
        calls.push((ask(call(plan, columns.collect(), random)), beside));
    }
    let mut together = 0;
    for (group, (call, beside)) in groups.iter().zip(calls) {
        let beside = beside.await.expect("no panic").expect("an answer");
        assert_eq!(beside.outputs[0].as_slice::<f32>().expect("f32"), [2.0; 3]);
        let answer = call.await.expect("no panic").expect("an answer");
        together = together.max(answer.batch_calls);
        for (output, got) in answer.outputs.iter().enumerate() {
            let rows: Vec<&Tensor> = group.iter().map(|&row| &alone.answers[row][output]).collect();
            let expected = joined(&rows);
            assert_eq!(got.shape(), expected.shape());
            assert!(got.bytes()[..] == expected.bytes()[..], "{plan:?}: {groups:?}, {group:?}");
        }
    }
    together
}

/// The models, and the seed of their groups.
fn chosen() -> (Vec<Test>, u64) {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages");
    let suite = Suite::read(&prepared("AIMASS_ONNX_CASES").join("models")).expect("the models");
    let tests = suite.with_packages(&packages).tests;
    let seed = std::env::var("AIMASS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    });
    println!("{} models; again with AIMASS_SEED={seed}", tests.len());
    (tests, seed)
}

/// Holds what was found against the page, or writes the page.
fn hold(found: &BTreeMap<String, String>) {
    let rows = found.iter().map(|(name, columns)| format!("| {name} | {columns} |\n"));
    let rows: Vec<String> = rows.collect();
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/coalescing.md");
    if std::env::var("AIMASS_BLESS").is_ok_and(|bless| bless == "1") {
        std::fs::write(&path, format!("{HEAD}{}", rows.concat())).expect("the page is written");
        return;
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<&String> = rows.iter().filter(|row| !page.contains(row.as_str())).collect();
    let known = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| model"));
    let known = known.count();
    assert!(
        missing.is_empty() && known == rows.len(),
        "{} has {known} models, and lacks these rows:\n{missing:?}",
        path.display()
    );
}
