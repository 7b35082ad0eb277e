//! The places that requests hold while they are worked on, and the wait for one.
//!
//! While places are free, taking and leaving one are a few atomic operations. [`Queue`] is asked, under
//! a lock, only while somebody waits.

use super::queue::{Arrival, Pace, Queue, Refusal, Rules, Ticket};
use super::service_time::ServiceTimes;
use super::tenant::Tenant;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// All places.
#[derive(Debug)]
pub(crate) struct Door {
    places: usize,
    rules: Rules,
    taken: AtomicUsize,
    waiting: AtomicUsize,
    queue: Mutex<Queue<oneshot::Sender<Place>>>,
    times: ServiceTimes,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    door: Arc<Door>,
    since: Instant,
    /// What was charged in advance, to whom; only for a place that was waited for.
    charged: Option<Charge>,
}

#[derive(Debug)]
struct Charge {
    tenant: Arc<Tenant>,
    weight: u32,
    time: Duration,
}

/// Who waits, and withdraws when it is dropped.
struct Waiting<'a> {
    door: &'a Arc<Door>,
    tenant: &'a Tenant,
    ticket: Ticket,
}

impl Door {
    pub(crate) fn new(places: usize, rules: Rules) -> Arc<Door> {
        Arc::new(Door {
            places,
            rules,
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(Queue::new(rules)),
            times: ServiceTimes::default(),
        })
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What requests take in a place: on average, and nine of ten at most.
    pub(crate) fn times(&self) -> (Duration, Duration) {
        (self.times.mean(), self.times.quantile())
    }

    /// A place, at once or after a wait. Dropping the future withdraws.
    pub(crate) async fn enter(self: &Arc<Self>, arrival: Arrival<'_>) -> Result<Place, Refusal> {
        if self.waiting.load(Ordering::SeqCst) == 0 && self.take() {
            return Ok(Place { door: self.clone(), since: Instant::now(), charged: None });
        }
        let start = Instant::now();
        let (wake, woken) = oneshot::channel();
        let ticket = self.join(&arrival, start, wake)?;
        let waiting = Waiting { door: self, tenant: arrival.tenant, ticket };
        // One may have come free before anybody knew that somebody waits.
        self.grant();
        let until = (start + self.rules.wait_max).min(arrival.deadline);
        let place = tokio::time::timeout_at(until.into(), woken).await;
        drop(waiting);
        match place {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Refusal::WaitedOut { waited: start.elapsed() }),
        }
    }

    fn join(
        &self,
        arrival: &Arrival<'_>,
        now: Instant,
        wake: oneshot::Sender<Place>,
    ) -> Result<Ticket, Refusal> {
        let mut queue = self.queue();
        // Before places are looked at again: a place that comes free from now on is handed on.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let joined = queue.arrive(arrival, &self.pace(), now, wake);
        if joined.is_err() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        joined
    }

    /// Hands free places to whoever is next.
    fn grant(self: &Arc<Self>) {
        while self.waiting.load(Ordering::SeqCst) > 0 && self.take() {
            let now = Instant::now();
            let turn = {
                let mut queue = self.queue();
                let turn = queue.next(&self.pace(), now);
                if turn.is_some() {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                }
                turn
            };
            let Some(turn) = turn else {
                self.taken.fetch_sub(1, Ordering::SeqCst);
                continue;
            };
            let charge = Charge { tenant: turn.tenant, weight: turn.weight, time: turn.charged };
            let place = Place { door: self.clone(), since: now, charged: Some(charge) };
            // Nobody takes it if the request was just cancelled; then dropping it hands it on.
            drop(turn.wake.send(place));
        }
    }

    /// Takes a place if one is free.
    fn take(&self) -> bool {
        let more = |taken: usize| (taken < self.places).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    fn pace(&self) -> Pace {
        let mean = self.times.mean();
        let places = u32::try_from(self.places).unwrap_or(u32::MAX).max(1);
        Pace { gap: mean / places, mean, quantile: self.times.quantile() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Place>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        self.door.times.record(took);
        if let Some(charge) = self.charged.take() {
            self.door.queue().settle(&charge.tenant, charge.weight, charge.time, took);
        }
        self.door.taken.fetch_sub(1, Ordering::SeqCst);
        self.door.grant();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let withdrawn = self.door.queue().withdraw(&self.tenant.name, self.ticket, Instant::now());
        if withdrawn {
            self.door.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
