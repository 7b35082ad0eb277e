//! Who waits for a place, whose turn it is, and who need not wait at all, as pure functions of the
//! queue and the time.
//!
//! Turns: start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996). A tenant's tag is the time for
//! which its requests held places, divided by its weight; the smallest tag is next. A request is
//! charged what requests take on average when it gets its place, and the difference when it leaves.
//!
//! Shedding: as in "controlled delay" (Nichols, Jacobson, ACM Queue 10(5), 2012; Maurer, ACM Queue
//! 13(8), 2015) a queue that has not been empty for an interval is a standing one, and is held to a
//! short wait; a burst may wait longer. Here each tenant has its own queue, and what is held to the
//! limit is the *expected* wait: whoever would wait too long is told so on arrival.

use super::tenant::Tenant;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Places that a standing queue of one tenant may wait for, however long they take to come free:
/// enough that a free place always finds somebody.
const STANDING_LEN: u32 = 4;
/// How long nothing must wait before what tenants have used is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);
/// Assumed for the time in a place while none was measured.
const TIME_UNKNOWN: Duration = Duration::from_millis(1);

/// The limits of all queues together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) len_max: usize,
    pub(crate) wait_max: Duration,
    pub(crate) standing_wait: Duration,
    pub(crate) standing_after: Duration,
}

/// How fast places come free.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Mean time between two of them; zero if unknown.
    pub(crate) gap: Duration,
    /// What a request takes on average once inside; zero if unknown.
    pub(crate) mean: Duration,
    /// What nine of ten requests take at most.
    pub(crate) quantile: Duration,
}

/// Somebody who would wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) tenant: &'a Arc<Tenant>,
    pub(crate) weight: u32,
    /// Requests of this tenant that may wait.
    pub(crate) len_max: usize,
    pub(crate) deadline: Instant,
}

/// Why somebody does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many wait as may.
    Full { max: usize },
    /// As many of this tenant wait as may.
    TenantFull { max: usize },
    /// The expected wait is longer than this tenant may wait now.
    TooLong { expected: Duration, max: Duration },
    /// The deadline would pass before there is an answer.
    TooLate { expected: Duration },
    /// The wait took longer than was expected.
    WaitedOut { waited: Duration },
}

/// A waiting request, as its owner can withdraw it.
pub(crate) type Ticket = u64;

/// Everybody who waits. `W` wakes one of them.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    rules: Rules,
    virtual_time: u64,
    greatest_tag: u64,
    lines: HashMap<Arc<str>, Line<W>>,
    /// Tenants that wait, by tag.
    turns: BTreeSet<(u64, Arc<str>)>,
    weights: u64,
    len: usize,
    tickets: Ticket,
    empty_since: Option<Instant>,
}

#[derive(Debug)]
struct Line<W> {
    tenant: Arc<Tenant>,
    weight: u32,
    waiters: VecDeque<(Ticket, W)>,
    /// When it was empty last.
    since: Instant,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Turn<W> {
    pub(crate) wake: W,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) weight: u32,
    /// What the tenant was charged in advance.
    pub(crate) charged: Duration,
}

impl<W> Queue<W> {
    /// Nobody waits.
    pub(crate) fn new(rules: Rules) -> Queue<W> {
        Queue {
            rules,
            virtual_time: 0,
            greatest_tag: 0,
            lines: HashMap::new(),
            turns: BTreeSet::new(),
            weights: 0,
            len: 0,
            tickets: 0,
            empty_since: None,
        }
    }

    /// Somebody begins to wait, or is told why not.
    pub(crate) fn arrive(
        &mut self,
        arrival: &Arrival<'_>,
        pace: &Pace,
        now: Instant,
        wake: W,
    ) -> Result<Ticket, Refusal> {
        let before = self.lines.get(&arrival.tenant.name).map_or(0, |line| line.waiters.len());
        if before >= arrival.len_max {
            return Err(Refusal::TenantFull { max: arrival.len_max });
        }
        if self.len >= self.rules.len_max {
            return Err(Refusal::Full { max: self.rules.len_max });
        }
        let expected = self.expected(arrival, before, pace);
        let max = self.allowed(arrival, pace, now);
        if expected > max {
            return Err(Refusal::TooLong { expected, max });
        }
        if now + expected + pace.quantile > arrival.deadline {
            return Err(Refusal::TooLate { expected });
        }
        self.tickets += 1;
        let ticket = self.tickets;
        self.line(arrival, now).waiters.push_back((ticket, wake));
        self.len += 1;
        Ok(ticket)
    }

    /// Whoever is next, if somebody waits.
    pub(crate) fn next(&mut self, pace: &Pace, now: Instant) -> Option<Turn<W>> {
        let (tag, name) = self.turns.pop_first()?;
        self.virtual_time = self.virtual_time.max(tag);
        let line = self.lines.get_mut(&name)?;
        let (_, wake) = line.waiters.pop_front()?;
        let charged = if pace.mean.is_zero() { TIME_UNKNOWN } else { pace.mean };
        let after = tag.saturating_add(step(charged, line.weight));
        line.tenant.tag.store(after, Ordering::Relaxed);
        self.greatest_tag = self.greatest_tag.max(after);
        self.len -= 1;
        let (tenant, weight) = (line.tenant.clone(), line.weight);
        if line.waiters.is_empty() {
            self.forget(&name, now);
        } else {
            self.turns.insert((after, name));
        }
        Some(Turn { wake, tenant, weight, charged })
    }

    /// Somebody goes away. False if it is not in the queue any more.
    pub(crate) fn withdraw(&mut self, tenant: &str, ticket: Ticket, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(tenant) else { return false };
        let Ok(at) = line.waiters.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else {
            return false;
        };
        line.waiters.remove(at);
        self.len -= 1;
        if line.waiters.is_empty() {
            let (tag, name) = (line.tenant.tag.load(Ordering::Relaxed), line.tenant.name.clone());
            self.turns.remove(&(tag, name.clone()));
            self.forget(&name, now);
        }
        true
    }

    /// A request that was charged in advance leaves its place after `took`.
    pub(crate) fn settle(
        &mut self,
        tenant: &Tenant,
        weight: u32,
        charged: Duration,
        took: Duration,
    ) {
        let tag = tenant.tag.load(Ordering::Relaxed);
        let settled = tag.saturating_sub(step(charged, weight)).saturating_add(step(took, weight));
        tenant.tag.store(settled, Ordering::Relaxed);
        self.greatest_tag = self.greatest_tag.max(settled);
        if self.turns.remove(&(tag, tenant.name.clone())) {
            self.turns.insert((settled, tenant.name.clone()));
        }
    }

    /// Requests that wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The wait of one more behind `before` others of its tenant: each tenant gets places by its
    /// weight, and nobody waits longer than for everybody.
    fn expected(&self, arrival: &Arrival<'_>, before: usize, pace: &Pace) -> Duration {
        let behind = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
        let all = u32::try_from(self.len).unwrap_or(u32::MAX).saturating_add(1);
        let fair = self.share(arrival, pace).saturating_mul(behind);
        fair.min(pace.gap.saturating_mul(all))
    }

    /// Mean time between two places of this tenant while it waits.
    fn share(&self, arrival: &Arrival<'_>, pace: &Pace) -> Duration {
        let waiting = self.lines.contains_key(&arrival.tenant.name);
        let weights = self.weights + if waiting { 0 } else { u64::from(arrival.weight) };
        let ratio = weights.div_ceil(u64::from(arrival.weight.max(1)));
        pace.gap.saturating_mul(u32::try_from(ratio).unwrap_or(u32::MAX))
    }

    /// The longest wait that this tenant may expect now.
    fn allowed(&self, arrival: &Arrival<'_>, pace: &Pace, now: Instant) -> Duration {
        let line = self.lines.get(&arrival.tenant.name);
        let stands = line.is_some_and(|line| {
            now.saturating_duration_since(line.since) >= self.rules.standing_after
        });
        if !stands {
            return self.rules.wait_max;
        }
        let places = self.share(arrival, pace).saturating_mul(STANDING_LEN);
        self.rules.standing_wait.max(places).min(self.rules.wait_max)
    }

    fn line(&mut self, arrival: &Arrival<'_>, now: Instant) -> &mut Line<W> {
        let rested = |since| now.saturating_duration_since(since) >= FORGOTTEN_AFTER;
        if self.empty_since.take().is_some_and(rested) {
            self.virtual_time = self.greatest_tag;
        }
        let name = &arrival.tenant.name;
        if !self.lines.contains_key(name) {
            let tag = arrival.tenant.tag.load(Ordering::Relaxed).max(self.virtual_time);
            arrival.tenant.tag.store(tag, Ordering::Relaxed);
            self.turns.insert((tag, name.clone()));
            self.weights += u64::from(arrival.weight);
        }
        self.lines.entry(name.clone()).or_insert_with(|| Line {
            tenant: arrival.tenant.clone(),
            weight: arrival.weight,
            waiters: VecDeque::new(),
            since: now,
        })
    }

    /// Drops the line of a tenant of whom nobody waits any more.
    fn forget(&mut self, name: &str, now: Instant) {
        if let Some(line) = self.lines.remove(name) {
            self.weights -= u64::from(line.weight);
        }
        if self.len == 0 {
            self.empty_since = Some(now);
        }
    }
}

fn step(time: Duration, weight: u32) -> u64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    nanos / u64::from(weight.max(1))
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
