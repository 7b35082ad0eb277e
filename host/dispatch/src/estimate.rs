//! How long a launch takes: measured, weighted exponentially, by plan and by size of the launch.
//!
//! Mean and mean deviation are smoothed as RFC 6298 §2 smooths round trips. Sizes are powers of two of
//! the plan's work; within one, time is taken to grow with the work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Launches of one size before a call is refused for its deadline.
const SAMPLES_TO_REFUSE: u64 = 3;
/// How long a measurement is trusted where it keeps launches from happening, so that a slow minute
/// does not refuse calls, or bound launches, for ever.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// What launches of one size were measured at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The size: launches of `2^work_log2` and more units of work, fewer than twice that.
    pub work_log2: u32,
    /// Smoothed time of a launch of `2^work_log2` units.
    pub mean: Duration,
    /// Smoothed deviation from it.
    pub deviation: Duration,
    /// Launches measured.
    pub samples: u64,
}

/// Measured times of one plan.
#[derive(Debug, Default)]
pub(crate) struct Estimates {
    /// At most 64 sizes.
    sizes: BTreeMap<u32, Pace>,
}

/// Nanoseconds a unit of work.
#[derive(Clone, Copy, Debug)]
struct Pace {
    mean: f64,
    deviation: f64,
    samples: u64,
    measured: Instant,
    /// When a call was last let through to measure anew.
    probed: Instant,
}

impl Pace {
    fn fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.measured) < TRUSTED_FOR
    }
}

/// What a launch will probably take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prediction {
    /// The smoothed time.
    pub(crate) mean: Duration,
    /// Time that nearly every launch keeps: the mean and twice the deviation.
    pub(crate) late: Duration,
}

/// Whether a call has a chance to be answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chance {
    /// As far as is known.
    Good,
    /// It has none, but nothing was measured lately: it runs to find out.
    Probe,
    /// It takes at least this long.
    None(Duration),
}

impl Estimates {
    /// Takes a launch of `work` units into account.
    pub(crate) fn add(&mut self, work: u64, took: Duration, now: Instant) {
        let sample = took.as_nanos() as f64 / work.max(1) as f64;
        let (mean, deviation) = (sample, sample / 2.0);
        let first = Pace { mean, deviation, samples: 0, measured: now, probed: now };
        let pace = self.sizes.entry(size(work)).or_insert(first);
        if pace.samples > 0 {
            pace.deviation = 0.75 * pace.deviation + 0.25 * (pace.mean - sample).abs();
            pace.mean = 0.875 * pace.mean + 0.125 * sample;
        }
        pace.samples += 1;
        pace.measured = now;
    }

    /// What a launch of `work` units will take: by launches of its size, else of the nearest one that
    /// was measured. Large launches are rarely slower for their work than small ones, so where they
    /// were slower but not lately, the small ones count. `None` if the plan never ran.
    pub(crate) fn predict(&self, work: u64, now: Instant) -> Option<Prediction> {
        let own = size(work);
        let (_, nearest) = self.sizes.iter().min_by_key(|(size, _)| size.abs_diff(own))?;
        let smaller = self.sizes.range(..own).map(|(_, pace)| pace);
        let fresh = smaller.filter(|pace| !nearest.fresh(now) && pace.fresh(now));
        let pace =
            fresh.fold(nearest, |best, pace| if pace.mean < best.mean { pace } else { best });
        let of = |pace: f64| Duration::from_nanos((pace * work as f64) as u64);
        Some(Prediction { mean: of(pace.mean), late: of(pace.mean + 2.0 * pace.deviation) })
    }

    /// Whether a call of `work` units that has `left` to its deadline can be answered in time.
    pub(crate) fn chance(&mut self, work: u64, left: Duration, now: Instant) -> Chance {
        match self.least(work) {
            Some(needed) if left < needed => {
                let Some(pace) = self.sizes.get_mut(&size(work)) else { return Chance::Good };
                let tried = now.saturating_duration_since(pace.probed) < TRUSTED_FOR;
                if !tried && !pace.fresh(now) {
                    pace.probed = now;
                    return Chance::Probe;
                }
                Chance::None(needed)
            }
            Some(_) | None => Chance::Good,
        }
    }

    /// The least that a call of `work` units takes, if enough of its size were measured.
    pub(crate) fn least(&self, work: u64) -> Option<Duration> {
        let pace = self.sizes.get(&size(work)).filter(|pace| pace.samples >= SAMPLES_TO_REFUSE)?;
        let least = (pace.mean - 2.0 * pace.deviation).max(0.0);
        Some(Duration::from_nanos((least * work as f64) as u64))
    }

    /// Everything measured, by size.
    pub(crate) fn list(&self) -> Vec<Estimate> {
        let estimate = |(&work_log2, pace): (&u32, &Pace)| {
            let of = |pace: f64| Duration::from_nanos((pace * (1u64 << work_log2) as f64) as u64);
            Estimate {
                work_log2,
                mean: of(pace.mean),
                deviation: of(pace.deviation),
                samples: pace.samples,
            }
        };
        self.sizes.iter().map(estimate).collect()
    }
}

fn size(work: u64) -> u32 {
    work.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn measured(times: &[u64], now: Instant) -> Estimates {
        let mut estimates = Estimates::default();
        for &ms in times {
            estimates.add(1000, Duration::from_millis(ms), now);
        }
        estimates
    }

    #[test]
    fn a_steady_plan_is_predicted_and_grows_with_its_work() {
        let now = Instant::now();
        let estimates = measured(&[10; 40], now);
        let prediction = estimates.predict(1000, now).unwrap();
        assert_eq!(prediction.mean, 10 * MS);
        assert!(prediction.late < 11 * MS, "{prediction:?}");
        assert_eq!(estimates.predict(4000, now).unwrap().mean, 40 * MS, "the nearest size serves");
        assert_eq!(Estimates::default().predict(1000, now), None);
    }

    #[test]
    fn a_large_launch_that_was_slow_once_is_tried_again() {
        let start = Instant::now();
        let mut estimates = measured(&[10; 40], start);
        estimates.add(16_000, 900 * MS, start);
        assert_eq!(estimates.predict(16_000, start).unwrap().mean, 900 * MS);
        let later = start + TRUSTED_FOR;
        assert_eq!(estimates.predict(16_000, later).unwrap().mean, 900 * MS, "nothing is fresher");
        estimates.add(1000, 10 * MS, later);
        assert_eq!(estimates.predict(16_000, later).unwrap().mean, 160 * MS);
    }

    #[test]
    fn a_cold_first_launch_refuses_nobody() {
        let now = Instant::now();
        let mut estimates = Estimates::default();
        for ms in [500, 5, 5, 5, 5, 5, 5, 5, 5, 5] {
            estimates.add(1000, ms * MS, now);
            assert_eq!(estimates.chance(1000, 6 * MS, now), Chance::Good);
        }
    }

    #[test]
    fn a_hopeless_call_is_refused_and_after_a_second_one_of_them_probes() {
        let start = Instant::now();
        let mut estimates = measured(&[10; 40], start);
        let refused = estimates.chance(1000, 5 * MS, start);
        assert!(matches!(refused, Chance::None(needed) if needed > 9 * MS), "{refused:?}");
        assert_eq!(estimates.chance(1000, 10 * MS, start), Chance::Good);
        assert_eq!(estimates.chance(9000, 5 * MS, start), Chance::Good, "that size never ran");
        let later = start + TRUSTED_FOR;
        assert_eq!(estimates.chance(1000, 5 * MS, later), Chance::Probe);
        assert!(matches!(estimates.chance(1000, 5 * MS, later), Chance::None(_)), "one is enough");
    }

    #[test]
    fn two_launches_are_too_few_to_refuse() {
        let now = Instant::now();
        let mut estimates = Estimates::default();
        let pace = Pace { mean: 1e4, deviation: 0.0, samples: 2, measured: now, probed: now };
        estimates.sizes.insert(size(1000), pace);
        assert_eq!(estimates.chance(1000, MS, now), Chance::Good);
        estimates.sizes.insert(size(1000), Pace { samples: 3, ..pace });
        assert_eq!(estimates.chance(1000, MS, now), Chance::None(10 * MS));
    }
}
