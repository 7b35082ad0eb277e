//! Times of a plan on its GPU, by the GPU's own clock.

use super::text::Work;
use crate::model::figures::median;
use aimass_graph::{DeviceReport, DeviceTimes, Plan, StepPlace};
use aimass_tensor::Tensor;
use anyhow::{bail, ensure};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

/// Median times of one plan on a device, in microseconds.
pub(super) struct DeviceProfile {
    pub(super) report: DeviceReport,
    /// A whole run as it is served, by the host's clock: what can be replayed is.
    pub(super) run_us: f64,
    /// By the device's clock, in runs of one step after the other.
    pub(super) inputs_us: f64,
    pub(super) steps_us: Vec<f64>,
    pub(super) results_us: f64,
}

/// Runs a plan by itself on its device: whole, and step by step. None if the plan is the CPU's alone.
///
/// # Errors
/// What went wrong on the device, so that the CPU would answer.
pub(super) fn measure_on_device(
    plan: &Plan,
    inputs: &[Tensor],
    runs: u32,
) -> anyhow::Result<Option<DeviceProfile>> {
    let Some(Ok(report)) = plan.device_report() else { return Ok(None) };
    // The second run of equal shapes is recorded, later ones are replayed.
    for _ in 0..2 {
        plan.run(inputs, None)?;
    }
    let (mut whole, mut times) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let start = Instant::now();
        plan.run(inputs, None)?;
        whole.push(start.elapsed().as_secs_f64() * 1e6);
        match plan.device_times(inputs) {
            Some(taken) => times.push(taken?),
            None => bail!("the plan left its device"),
        }
    }
    if let Some(error) = plan.device_error() {
        bail!("the device refused a run, which the CPU did instead: {error}");
    }
    let each = |of: &dyn Fn(&DeviceTimes) -> f64| {
        median(&mut times.iter().map(|times| of(times) * 1e6).collect::<Vec<f64>>())
    };
    let steps_us: Vec<f64> =
        (0..report.steps.len()).map(|step| each(&|times| times.steps[step])).collect();
    ensure!(times.iter().all(|times| times.steps.len() == steps_us.len()), "a profile lost a step");
    Ok(Some(DeviceProfile {
        run_us: median(&mut whole),
        inputs_us: each(&|times| times.inputs),
        results_us: each(&|times| times.results),
        steps_us,
        report,
    }))
}

impl DeviceProfile {
    /// A run of one step after the other, transfers included.
    pub(super) fn all_us(&self) -> f64 {
        self.inputs_us + self.steps_us.iter().sum::<f64>() + self.results_us
    }

    /// Every step with its number and place.
    pub(super) fn by_step(&self) -> Vec<(String, Work)> {
        let steps = self.report.steps.iter().zip(&self.steps_us).enumerate();
        let line = |(index, (step, &us)): (usize, (&(Cow<'_, str>, StepPlace), &f64))| {
            let (name, place) = step;
            let label = format!("{index:4}  {name}, {}", place.name());
            (label, Work { calls: 1, us, ..Work::default() })
        };
        steps.map(line).collect()
    }
}

/// Times summed by op and place.
pub(super) fn by_op(profile: &DeviceProfile) -> BTreeMap<String, Work> {
    let mut sums: BTreeMap<String, Work> = BTreeMap::new();
    for ((name, place), us) in profile.report.steps.iter().zip(&profile.steps_us) {
        let sum = sums.entry(format!("{name}, {}", place.name())).or_default();
        sum.calls += 1;
        sum.us += us;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ops_of_equal_places_are_summed() {
        let steps = vec![
            ("gelu".into(), StepPlace::Device),
            ("gelu".into(), StepPlace::Host),
            ("gelu".into(), StepPlace::Device),
        ];
        let profile = DeviceProfile {
            report: DeviceReport { device: "any".into(), steps, recorded: 0 },
            run_us: 9.0,
            inputs_us: 1.0,
            steps_us: vec![2.0, 3.0, 4.0],
            results_us: 5.0,
        };
        assert_eq!(profile.all_us(), 15.0);
        let sums: Vec<(String, usize, f64)> =
            by_op(&profile).into_iter().map(|(label, work)| (label, work.calls, work.us)).collect();
        let expected = [("gelu, cpu", 1, 3.0), ("gelu, device", 2, 6.0)];
        assert_eq!(sums, expected.map(|(label, calls, us)| (label.to_owned(), calls, us)));
        assert_eq!(profile.by_step()[1].0, "   1  gelu, cpu");
    }
}
