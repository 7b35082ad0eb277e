//! A clock around every step of a plan and every part of a fusion.

use crate::model::figures::median;
use aimass_graph::{Plan, PlanReport, Profiler};
use aimass_tensor::Tensor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Median times of one plan, in microseconds.
pub(crate) struct PlanTimes {
    /// A whole run, with the clock.
    pub(super) run_us: f64,
    /// By step.
    pub(super) steps: Vec<StepTimes>,
}

/// Median times of one step, in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StepTimes {
    pub(super) us: f64,
    /// By part: its share of the step's time, as the threads spent it.
    pub(super) parts_us: Vec<f64>,
}

/// Nanoseconds of one run.
struct Clock {
    steps: Vec<AtomicU64>,
    parts: Vec<Vec<AtomicU64>>,
}

impl Profiler for Clock {
    type Mark = Instant;

    fn mark(&self) -> Instant {
        Instant::now()
    }

    fn step(&self, step: usize, since: Instant) {
        if let Some(sum) = self.steps.get(step) {
            add(sum, since);
        }
    }

    fn part(&self, step: usize, part: usize, since: Instant) {
        if let Some(sum) = self.parts.get(step).and_then(|parts| parts.get(part)) {
            add(sum, since);
        }
    }
}

fn add(sum: &AtomicU64, since: Instant) {
    let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    sum.fetch_add(nanos, Ordering::Relaxed);
}

/// Runs a plan by itself and takes the time of each step: medians over `runs` runs behind one that
/// is not counted. A plan with states starts from its initial ones every time.
///
/// # Errors
/// Those of the run.
pub(super) fn measure(
    plan: &Plan,
    report: &PlanReport,
    inputs: &[Tensor],
    runs: u32,
) -> anyhow::Result<PlanTimes> {
    plan.run(inputs, None)?;
    let clock = Clock {
        steps: report.steps.iter().map(|_| AtomicU64::new(0)).collect(),
        parts: report
            .steps
            .iter()
            .map(|step| step.parts.iter().map(|_| AtomicU64::new(0)).collect())
            .collect(),
    };
    let mut whole = Vec::new();
    let mut steps = vec![Vec::new(); clock.steps.len()];
    let mut parts: Vec<Vec<Vec<f64>>> =
        clock.parts.iter().map(|parts| vec![Vec::new(); parts.len()]).collect();
    for _ in 0..runs {
        let start = Instant::now();
        plan.run_profiled(inputs, None, &clock)?;
        whole.push(start.elapsed().as_secs_f64() * 1e6);
        for (times, sum) in steps.iter_mut().zip(&clock.steps) {
            times.push(taken(sum));
        }
        let sums = parts.iter_mut().flatten().zip(clock.parts.iter().flatten());
        sums.for_each(|(times, sum)| times.push(taken(sum)));
    }
    let steps = steps.iter_mut().zip(&mut parts).map(|(times, parts)| {
        let parts = parts.iter_mut().map(|times| median(times)).collect();
        step_times(median(times), parts)
    });
    Ok(PlanTimes { run_us: median(&mut whole), steps: steps.collect() })
}

/// Microseconds so far; starts anew.
fn taken(sum: &AtomicU64) -> f64 {
    sum.swap(0, Ordering::Relaxed) as f64 / 1e3
}

/// Shares a step's time out between its parts as the threads spent it.
fn step_times(us: f64, parts: Vec<f64>) -> StepTimes {
    let all: f64 = parts.iter().sum();
    let share = |part: f64| if all > 0.0 { us * part / all } else { 0.0 };
    StepTimes { us, parts_us: parts.into_iter().map(share).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_the_time_of_their_step() {
        let times = step_times(10.0, vec![3.0, 9.0]);
        assert_eq!(times, StepTimes { us: 10.0, parts_us: vec![2.5, 7.5] });
        assert_eq!(step_times(10.0, vec![0.0]).parts_us, [0.0]);
        assert!(step_times(10.0, Vec::new()).parts_us.is_empty());
    }
}
