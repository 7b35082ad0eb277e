//! How often each version answered and where the time went, as the protocols ask for it.

use crate::{EngineError, InferResponse};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timed {
    /// Number of times.
    pub count: u64,
    /// Sum of the times.
    pub time: Duration,
}

/// What one version of a model did since it was first served by this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelStatistics {
    /// Serving name.
    pub model: Arc<str>,
    /// Version.
    pub version: u64,
    /// When the last request was answered, milliseconds since 1970; 0 for never.
    pub last_ms: u64,
    /// Rows of answered requests.
    pub rows: u64,
    /// Launches of the model's plans, or answered requests if it has none.
    pub launches: u64,
    /// Requests answered, from the model's name to its answer.
    pub success: Timed,
    /// Requests that got an error.
    pub fail: Timed,
    /// Time that calls of the model's plans waited for others to be joined with.
    pub queue: Timed,
    /// Steps before the first that runs a plan.
    pub before: Timed,
    /// Steps from the first that runs a plan to the last; all steps if none does.
    pub infer: Timed,
    /// Steps after the last that runs a plan.
    pub after: Timed,
    /// Launches by number of calls: so many of at least `.0` calls.
    pub batches: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
struct TimedCounter {
    count: AtomicU64,
    ns: AtomicU64,
}

impl TimedCounter {
    fn add(&self, took: Duration) {
        self.count.fetch_add(1, Relaxed);
        self.ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn read(&self) -> Timed {
        let time = Duration::from_nanos(self.ns.load(Relaxed));
        Timed { count: self.count.load(Relaxed), time }
    }
}

/// Counters of one version, kept for as long as the registry has it.
#[derive(Debug, Default)]
pub(crate) struct VersionCounters {
    last_ms: AtomicU64,
    rows: AtomicU64,
    success: TimedCounter,
    fail: TimedCounter,
    /// Before, in and after the steps that run plans.
    steps: [TimedCounter; 3],
}

impl VersionCounters {
    /// Counts a request of `rows` rows; `plan_steps` are the steps of its pipeline from the first
    /// that runs a plan to the last.
    pub(crate) fn count(
        &self,
        took: Duration,
        rows: u64,
        result: &Result<InferResponse, EngineError>,
        plan_steps: Range<usize>,
    ) {
        match result {
            Ok(response) => {
                self.success.add(took);
                self.rows.fetch_add(rows, Relaxed);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.last_ms.store(now.as_millis() as u64, Relaxed);
                let mut parts = [Duration::ZERO; 3];
                for (index, (_, took)) in response.rooms.iter().enumerate() {
                    let part = usize::from(index >= plan_steps.start)
                        + usize::from(index >= plan_steps.end);
                    parts[part] += *took;
                }
                for (counter, took) in self.steps.iter().zip(parts) {
                    counter.add(took);
                }
            }
            Err(_) => self.fail.add(took),
        }
    }

    /// What was counted; queue, launches and batches are the dispatcher's to add.
    pub(crate) fn read(&self, model: &str, version: u64) -> ModelStatistics {
        let [before, infer, after] = &self.steps;
        ModelStatistics {
            model: Arc::from(model),
            version,
            last_ms: self.last_ms.load(Relaxed),
            rows: self.rows.load(Relaxed),
            success: self.success.read(),
            fail: self.fail.read(),
            before: before.read(),
            infer: infer.read(),
            after: after.read(),
            ..ModelStatistics::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Usage;

    #[test]
    fn time_is_counted_before_in_and_after_the_plan() {
        let counters = VersionCounters::default();
        let millis = Duration::from_millis;
        let rooms = [1, 10, 100, 1000].map(|ms| (Arc::from("step"), millis(ms))).to_vec();
        let response = InferResponse {
            model: "m".into(),
            version: 1,
            outputs: Vec::new(),
            usage: Usage::default(),
            rooms,
        };
        counters.count(millis(2000), 8, &Ok(response), 1..3);
        counters.count(millis(5), 8, &Err(EngineError::invalid("x")), 0..0);
        let read = counters.read("m", 1);
        assert_eq!((read.before.time, read.infer.time), (millis(1), millis(110)));
        assert_eq!((read.after.time, read.rows), (millis(1000), 8));
        assert_eq!(read.success, Timed { count: 1, time: millis(2000) });
        assert_eq!(read.fail, Timed { count: 1, time: millis(5) });
        assert!(read.last_ms > 1_700_000_000_000);
    }
}
