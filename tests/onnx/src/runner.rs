//! Runs tests on a few tasks, each test with a time limit.

use crate::site::Published;
use crate::{Case, Outcome, Report, Site, Step, Test, Verdict, compare};
use aimass_tensor::Tensor;
use anyhow::{Context, anyhow};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How tests run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Tests that run at once.
    pub workers: usize,
    /// Time that one test may take.
    pub limit: Duration,
    /// Times that the last call of each test is asked once more, for its time; 0 for none.
    pub repeat: usize,
}

/// Tests that wait, by number.
type Queue = Arc<Mutex<std::iter::Enumerate<std::vec::IntoIter<Test>>>>;

/// Time in which a plugin is compiled, on a machine however busy.
const COMPILE_MAX: Duration = Duration::from_secs(300);

/// Runs all tests; what they came to is in their order.
///
/// The first test that can run also runs once before them all: no test's time holds the compilation
/// of the plugin, which it and all others then share.
pub async fn run(site: &Arc<Site>, tests: Vec<Test>, plan: Plan) -> Report {
    let first = tests.iter().find(|test| test.is_tensor_valued());
    if let Some(first) = first {
        // What comes of it, a panic too, is told when it runs again.
        let once = Plan { limit: COMPILE_MAX, repeat: 0, ..plan };
        let once = check(site.clone(), first.clone(), "first".to_owned(), once);
        let _ = tokio::spawn(once).await;
    }
    let queue: Queue = Arc::new(Mutex::new(tests.into_iter().enumerate()));
    let mut workers = JoinSet::new();
    for worker in 0..plan.workers {
        workers.spawn(work(site.clone(), queue.clone(), worker, plan));
    }
    let mut outcomes: Vec<(usize, Outcome)> =
        workers.join_all().await.into_iter().flatten().collect();
    outcomes.sort_by_key(|(index, _)| *index);
    Report { outcomes: outcomes.into_iter().map(|(_, outcome)| outcome).collect() }
}

async fn work(site: Arc<Site>, queue: Queue, worker: usize, plan: Plan) -> Vec<(usize, Outcome)> {
    let limit = plan.limit;
    let mut outcomes = Vec::new();
    let mut serving_name = format!("worker-{worker}");
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((index, test)) = next else { return outcomes };
        let start = Instant::now();
        let mut call = None;
        let (verdict, case) = match test.first_case() {
            Ok(case) if !case.tensors => (Verdict::NotTensors, Some(case)),
            Ok(case) => {
                let task = check(site.clone(), test.clone(), serving_name.clone(), plan);
                let mut task = tokio::spawn(task);
                let verdict = match tokio::time::timeout(limit, &mut task).await {
                    Ok(Ok(Ok(median))) => {
                        call = median;
                        Verdict::Passed
                    }
                    Ok(Ok(Err(error))) => Verdict::failed(&format!("{error:#}")),
                    Ok(Err(panic)) => Verdict::failed(&panic_text(panic)),
                    Err(_) => {
                        task.abort();
                        Verdict::failed(&format!("no answer within {limit:?}"))
                    }
                };
                (verdict, Some(case))
            }
            Err(error) => (Verdict::failed(&format!("{error:#}")), None),
        };
        if matches!(verdict, Verdict::Failed(_)) {
            // What is left of the failed one keeps its name to itself.
            serving_name = format!("worker-{worker}-{index}");
        }
        let time = start.elapsed();
        let (op, opset) = case.map_or(("?".to_owned(), 0), |case| (case.op, case.opset));
        outcomes.push((index, Outcome { name: test.name, op, opset, verdict, time, call }));
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the test was aborted".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a text"))
}

/// Publishes the model, runs its cases, and removes it again whatever came of them. Answers the median
/// time of a call, if it is asked for.
async fn check(
    site: Arc<Site>,
    test: Test,
    serving_name: String,
    plan: Plan,
) -> anyhow::Result<Option<Duration>> {
    let deadline = Instant::now() + plan.limit;
    let first = test.first_case()?;
    // Cases whose tensors the contract cannot say fail before anything is published.
    let steps = first.load()?;
    let model = site.publish(&serving_name, &test, &first).await?;
    let rules = (deadline, plan.repeat);
    let mut result = run_case(&site, &model, (&first, steps), rules).await;
    for file in &test.cases[1..] {
        if result.is_err() {
            break;
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        result = async {
            let case = Case::read(file)?;
            let steps = case.load()?;
            run_case(&site, &model, (&case, steps), rules).await
        }
        .await
        .with_context(|| format!("case {name}"));
    }
    site.remove(&model)?;
    result
}

async fn run_case(
    site: &Site,
    model: &Published,
    (case, steps): (&Case, Vec<Step>),
    (deadline, repeat): (Instant, usize),
) -> anyhow::Result<Option<Duration>> {
    let mut last = Vec::new();
    let several = steps.len() > 1;
    let mut before: BTreeMap<String, Tensor> = BTreeMap::new();
    for (index, step) in steps.into_iter().enumerate() {
        let mut inputs = step.inputs;
        for (name, value) in &mut inputs {
            let carried = case.carry.get(name).and_then(|output| before.get(output));
            if let Some(carried) = carried {
                *value = carried.clone();
            }
        }
        if repeat > 0 {
            last.clone_from(&inputs);
        }
        let answer = site.infer(model, inputs, deadline).await?;
        let place = |name: &str| match several {
            true => format!("{name}, step {index}"),
            false => name.to_owned(),
        };
        for (name, expected) in &step.outputs {
            let got = answer.get(name).with_context(|| format!("there is no output {name}"))?;
            compare(expected, got, case.tolerance)
                .map_err(|reason| anyhow!("{}: {reason}", place(name)))?;
        }
        before = answer;
    }
    let mut times = Vec::with_capacity(repeat);
    for _ in 0..repeat {
        let (start, inputs) = (Instant::now(), last.clone());
        site.infer(model, inputs, deadline).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(repeat / 2).copied())
}

/// `count` of the tests, chosen by `seed`, in their order. The same seed chooses the same tests, and
/// most of them again when tests are added.
pub fn sample(tests: Vec<Test>, count: usize, seed: u64) -> Vec<Test> {
    let mut ranked: Vec<(u64, usize)> =
        tests.iter().enumerate().map(|(index, test)| (rank(&test.name, seed), index)).collect();
    ranked.sort_unstable();
    ranked.truncate(count);
    let chosen: BTreeSet<usize> = ranked.into_iter().map(|(_, index)| index).collect();
    let numbered = tests.into_iter().enumerate();
    numbered.filter(|(index, _)| chosen.contains(index)).map(|(_, test)| test).collect()
}

fn rank(name: &str, seed: u64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tests: &[Test]) -> Vec<&str> {
        tests.iter().map(|test| test.name.as_str()).collect()
    }

    #[test]
    fn a_seed_chooses_the_same_tests_again() {
        let test = |index: usize| Test {
            name: format!("test_{index}"),
            package: Vec::new(),
            cases: Vec::new(),
        };
        let tests: Vec<Test> = (0..100).map(test).collect();
        let first = sample(tests.clone(), 10, 7);
        assert_eq!(names(&first), names(&sample(tests.clone(), 10, 7)));
        assert_ne!(names(&first), names(&sample(tests.clone(), 10, 8)));
        assert_eq!(sample(tests, 200, 7).len(), 100);
    }
}
