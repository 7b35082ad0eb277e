//! Counters: how many calls, launches and refusals, how long they waited; in all and by plan.

use crate::estimate::Estimate;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Sizes of launches that are told apart: 1 call, 2 and 3, 4 to 7, and so on; the last one is open.
pub const BATCH_SIZES: usize = 10;

/// What was counted since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Launches, failed ones included.
    pub launches: u64,
    /// Launches that split a failed one, to find whose input was at fault.
    pub retries: u64,
    /// Calls that a launch answered, with outputs or with an error of their own.
    pub calls: u64,
    /// Calls among them that got an error.
    pub failed: u64,
    /// Rows of the launches.
    pub rows: u64,
    /// Time of the launches.
    pub busy: Duration,
    /// Time that launched calls had waited, summed.
    pub waited: Duration,
    /// The longest wait of a launched call.
    pub waited_max: Duration,
    /// Launches by number of calls: index `i` counts those of `2^i` calls and more.
    pub batch_sizes: [u64; BATCH_SIZES],
    /// Calls refused because the queue was full.
    pub overloaded: u64,
    /// Calls refused because the tenant's share of the queue was full.
    pub quota: u64,
    /// Calls refused because the plan takes longer than they had time.
    pub too_near: u64,
    /// Calls whose deadline passed while they waited.
    pub late: u64,
    /// Calls that left the queue because the caller went away.
    pub cancelled: u64,
    /// Calls that wait now.
    pub waiting: u64,
}

/// What was counted and measured of one plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanStats {
    /// Key of the plan, as [`aimass_graph::Plan::key`].
    pub key: [u8; 32],
    /// Counters since the plan was first called.
    pub counted: Counted,
    /// Measured times of its launches, by size.
    pub estimates: Vec<Estimate>,
}

/// Counters since start, of all plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DispatchStats {
    /// Counters of all plans.
    pub counted: Counted,
    /// Slots that are live now.
    pub slots: usize,
}

/// Why a call left without a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Overloaded,
    Quota,
    TooNear,
    Late,
    Cancelled,
}

/// The counters that are read as [`Counted`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    launches: AtomicU64,
    retries: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
    rows: AtomicU64,
    busy_ns: AtomicU64,
    waited_ns: AtomicU64,
    waited_ns_max: AtomicU64,
    batch_sizes: [AtomicU64; BATCH_SIZES],
    overloaded: AtomicU64,
    quota: AtomicU64,
    too_near: AtomicU64,
    late: AtomicU64,
    cancelled: AtomicU64,
    waiting: AtomicU64,
}

impl Counters {
    /// A call begins to wait.
    pub(crate) fn arrived(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// A call waits no more and will run.
    pub(crate) fn taken(&self, waited: Duration) {
        let waited = nanoseconds(waited);
        self.waiting.fetch_sub(1, Relaxed);
        self.waited_ns.fetch_add(waited, Relaxed);
        self.waited_ns_max.fetch_max(waited, Relaxed);
    }

    /// A call is refused, or waits no more and will not run.
    pub(crate) fn refused(&self, refusal: Refusal, had_waited: bool) {
        if had_waited {
            self.waiting.fetch_sub(1, Relaxed);
        }
        let counter = match refusal {
            Refusal::Overloaded => &self.overloaded,
            Refusal::Quota => &self.quota,
            Refusal::TooNear => &self.too_near,
            Refusal::Late => &self.late,
            Refusal::Cancelled => &self.cancelled,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// A launch of `calls` calls is over.
    pub(crate) fn launched(&self, calls: usize, rows: u64, took: Duration, retry: bool) {
        self.launches.fetch_add(1, Relaxed);
        self.retries.fetch_add(u64::from(retry), Relaxed);
        self.rows.fetch_add(rows, Relaxed);
        self.busy_ns.fetch_add(nanoseconds(took), Relaxed);
        let size = calls.max(1).ilog2() as usize;
        self.batch_sizes[size.min(BATCH_SIZES - 1)].fetch_add(1, Relaxed);
    }

    /// Calls are answered.
    pub(crate) fn answered(&self, calls: usize, failed: bool) {
        self.calls.fetch_add(calls as u64, Relaxed);
        if failed {
            self.failed.fetch_add(calls as u64, Relaxed);
        }
    }

    /// The counters now. They are read one by one, not at one moment.
    pub(crate) fn read(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Counted {
            launches: read(&self.launches),
            retries: read(&self.retries),
            calls: read(&self.calls),
            failed: read(&self.failed),
            rows: read(&self.rows),
            busy: Duration::from_nanos(read(&self.busy_ns)),
            waited: Duration::from_nanos(read(&self.waited_ns)),
            waited_max: Duration::from_nanos(read(&self.waited_ns_max)),
            batch_sizes: self.batch_sizes.each_ref().map(read),
            overloaded: read(&self.overloaded),
            quota: read(&self.quota),
            too_near: read(&self.too_near),
            late: read(&self.late),
            cancelled: read(&self.cancelled),
            waiting: read(&self.waiting),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
