//! The bounded queue of waiting calls. Knows no thread and no clock: time is a parameter, so that whole
//! histories of it are tests.
//!
//! Tenants take turns by [`Fairness`]; within a tenant the nearest deadline is first, which among calls
//! of equal time is the order of arrival; calls of one slot keep their order whatever their deadlines.

use crate::batcher::{Budget, Candidate, Lane, Picked, pick_batch};
use crate::fairness::{Fairness, Tag};
use crate::plan_record::{Load, PlanRecord};
use crate::{DispatchConfig, DispatchError, SlotKey};
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls whose deadline is near that are looked at for one launch.
const URGENT_MAX: usize = 16;

/// Calls that may share a launch: equal plan and equal non-row extents.
pub(crate) type Group = ([u8; 32], u64);

/// A call, and what it waits with.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    pub(crate) tenant: Arc<str>,
    /// `None` runs alone.
    pub(crate) group: Option<Group>,
    pub(crate) record: Arc<PlanRecord>,
    pub(crate) load: Load,
    /// Calls of one slot run in order.
    pub(crate) slot: Option<SlotKey>,
    /// Bytes that its inputs hold while it waits.
    pub(crate) input_bytes: u64,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    /// Whether it waits however hopeless it looks, so that the plan is measured again.
    pub(crate) probe: bool,
    pub(crate) item: T,
}

/// What the dispatcher does next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    /// Runs these calls as one, the first of them first; never empty.
    Launch(Vec<Waiting<T>>),
    /// Waits until then, or until a call arrives.
    Wait(Option<Instant>),
}

/// Why a call leaves the queue unlaunched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The deadline has passed.
    Late,
    /// There are `left` to the deadline, and the plan takes `needed`.
    TooNear { left: Duration, needed: Duration },
}

/// Position in an order by time; ties go by arrival.
type ByTime = BTreeSet<(Instant, u64)>;

/// Waiting calls, with an index for each question that is asked of them.
pub(crate) struct Queue<T> {
    config: DispatchConfig,
    calls: HashMap<u64, Entry<T>>,
    next_id: u64,
    input_bytes: u64,
    /// The last launch was smaller than it could be, for the sake of a deadline.
    cramped: bool,
    fairness: Fairness,
    /// By tenant, in the order in which its calls run.
    orders: HashMap<Arc<str>, ByTime>,
    groups: HashMap<Group, GroupQueue>,
    /// By the moment from which a call would probably be late; without calls that have a slot.
    urgent: ByTime,
    /// By the moment at which a call is hopeless.
    hopeless: ByTime,
    /// By slot: the last order given to a call that waits, and how many do.
    slots: HashMap<SlotKey, (Instant, usize)>,
}

struct Entry<T> {
    waiting: Waiting<T>,
    order: Instant,
    /// When it launches even without company.
    ripe_at: Instant,
    start_by: Instant,
    hopeless_at: Instant,
    /// An urgent call went first when it was this one's turn.
    passed_over: bool,
}

#[derive(Default)]
struct GroupQueue {
    lanes: HashMap<Arc<str>, ByTime>,
    ripe: ByTime,
    rows: u128,
    bytes: u128,
}

impl<T> Queue<T> {
    /// Nothing waits.
    pub(crate) fn new(config: DispatchConfig) -> Queue<T> {
        Queue {
            fairness: Fairness::new(config.tenant_weights.clone()),
            config,
            calls: HashMap::new(),
            next_id: 0,
            input_bytes: 0,
            cramped: false,
            orders: HashMap::new(),
            groups: HashMap::new(),
            urgent: ByTime::new(),
            hopeless: ByTime::new(),
            slots: HashMap::new(),
        }
    }

    /// Adds a call and names it.
    ///
    /// # Errors
    /// [`DispatchError::Overloaded`] if the queue is full, [`DispatchError::Quota`] if the tenant's
    /// share of it is.
    pub(crate) fn push(&mut self, waiting: Waiting<T>, now: Instant) -> Result<u64, DispatchError> {
        self.admit(&waiting)?;
        let id = self.next_id;
        self.next_id += 1;
        let entry = self.entry(waiting);
        let Waiting { tenant, group, load, slot, input_bytes, .. } = &entry.waiting;
        self.input_bytes = self.input_bytes.saturating_add(*input_bytes);
        self.fairness.arrive(tenant, now);
        self.orders.entry(tenant.clone()).or_default().insert((entry.order, id));
        self.hopeless.insert((entry.hopeless_at, id));
        match slot {
            Some(slot) => {
                let (last, count) = self.slots.entry(slot.clone()).or_insert((entry.order, 0));
                (*last, *count) = (entry.order, *count + 1);
            }
            None => drop(self.urgent.insert((entry.start_by, id))),
        }
        if let Some(group) = group {
            let queue = self.groups.entry(*group).or_default();
            queue.lanes.entry(tenant.clone()).or_default().insert((entry.order, id));
            queue.ripe.insert((entry.ripe_at, id));
            queue.rows += load.rows as u128;
            queue.bytes += u128::from(load.bytes);
        }
        self.calls.insert(id, entry);
        Ok(id)
    }

    /// Takes a call out, if it still waits.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Waiting<T>> {
        let entry = self.calls.remove(&id)?;
        let Waiting { tenant, group, load, slot, input_bytes, .. } = &entry.waiting;
        self.input_bytes = self.input_bytes.saturating_sub(*input_bytes);
        self.fairness.leave(tenant);
        self.urgent.remove(&(entry.start_by, id));
        self.hopeless.remove(&(entry.hopeless_at, id));
        remove_from(&mut self.orders, tenant, &(entry.order, id));
        if let Some(slot) = slot
            && let Some((_, count)) = self.slots.get_mut(slot)
        {
            *count -= 1;
            if *count == 0 {
                self.slots.remove(slot);
            }
        }
        if let Some(group) = group
            && let Some(queue) = self.groups.get_mut(group)
        {
            remove_from(&mut queue.lanes, tenant, &(entry.order, id));
            queue.ripe.remove(&(entry.ripe_at, id));
            queue.rows -= load.rows as u128;
            queue.bytes -= u128::from(load.bytes);
            if queue.ripe.is_empty() {
                self.groups.remove(group);
            }
        }
        Some(entry.waiting)
    }

    /// Takes out the calls whose deadline has passed, or is too near for what the plan takes.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(Waiting<T>, Expired)> {
        let mut expired = Vec::new();
        while let Some(&(at, id)) = self.hopeless.first().filter(|(at, _)| *at <= now) {
            let Some(entry) = self.calls.get_mut(&id) else { break };
            let hopeless_at = hopeless_at(&entry.waiting);
            if hopeless_at > now {
                // Launches have become faster since it arrived.
                entry.hopeless_at = hopeless_at;
                self.hopeless.remove(&(at, id));
                self.hopeless.insert((hopeless_at, id));
                continue;
            }
            let left = entry.waiting.deadline.saturating_duration_since(now);
            let needed = entry.waiting.record.least(entry.waiting.load.work).unwrap_or_default();
            let why = match left.is_zero() {
                true => Expired::Late,
                false => Expired::TooNear { left, needed },
            };
            expired.extend(self.remove(id).map(|waiting| (waiting, why)));
        }
        expired
    }

    /// Takes the next launch out of the queue and charges its tenants.
    pub(crate) fn next(&mut self, now: Instant) -> Next<T> {
        let Some((tag, turn)) = self.turn(now) else {
            if self.calls.is_empty() {
                self.fairness.rest(now);
            }
            let ripe = self.groups.values().filter_map(|group| group.ripe.first());
            return Next::Wait(ripe.map(|(at, _)| *at).min());
        };
        self.fairness.advance(tag);
        let mut picked = self.pick(turn, now, None);
        if let Some(urgent) = self.urgent(turn, &picked, now) {
            if let Some(entry) = self.calls.get_mut(&turn) {
                entry.passed_over = true;
            }
            picked = self.pick(urgent, now, None);
        }
        if picked.cramped && self.cramped {
            picked = self.roomy(turn, now).unwrap_or(picked);
        }
        self.cramped = picked.cramped;
        let mut launch = Vec::with_capacity(picked.ids.len());
        for id in picked.ids {
            if let Some(Entry { waiting, .. }) = self.calls.get(&id) {
                self.fairness.charge(&waiting.tenant, waiting.load.work);
            }
            launch.extend(self.remove(id));
        }
        Next::Launch(launch)
    }

    /// Charges a tenant for work beyond that of its launched calls.
    pub(crate) fn charge(&mut self, tenant: &Arc<str>, work: u64) {
        self.fairness.charge(tenant, work);
    }

    /// Empties the queue.
    pub(crate) fn drain(&mut self) -> Vec<Waiting<T>> {
        let ids: Vec<u64> = self.calls.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Tag of a tenant: all work charged to it, if it never rested.
    #[cfg(test)]
    pub(crate) fn tag(&self, tenant: &str) -> Tag {
        self.fairness.tag(tenant)
    }

    /// Nothing is left of calls that are gone.
    #[cfg(test)]
    pub(crate) fn assert_empty(&self) {
        assert_eq!((self.calls.len(), self.input_bytes), (0, 0));
        assert_eq!((self.orders.len(), self.groups.len(), self.slots.len()), (0, 0, 0));
        assert_eq!((self.urgent.len(), self.hopeless.len()), (0, 0));
        assert_eq!(self.fairness.turns().count(), 0);
    }

    /// Whether there is room for one more call.
    fn admit(&self, waiting: &Waiting<T>) -> Result<(), DispatchError> {
        let (len, max) = (self.calls.len(), self.config.queue_calls_max.max(1));
        if len >= max {
            return Err(DispatchError::Overloaded {
                what: "plan calls",
                got: len as u64 + 1,
                max: max as u64,
                limit: "queue_calls_max",
            });
        }
        let (bytes, bytes_max) =
            (self.input_bytes.saturating_add(waiting.input_bytes), self.config.queue_bytes_max);
        // A single call has been bounded by whoever read it; alone it always finds room.
        if bytes > bytes_max && len > 0 {
            return Err(DispatchError::Overloaded {
                what: "bytes of inputs",
                got: bytes,
                max: bytes_max,
                limit: "queue_bytes_max",
            });
        }
        let own = self.fairness.waiting(&waiting.tenant);
        let max = self.config.queue_calls_tenant_max.max(1).min(max - len);
        if own >= max {
            return Err(DispatchError::Quota { got: own + 1, max });
        }
        Ok(())
    }

    fn entry(&self, waiting: Waiting<T>) -> Entry<T> {
        let late = waiting.record.predict(waiting.load.work, waiting.arrived);
        let late = late.map(|prediction| prediction.late);
        let time = waiting.deadline.saturating_duration_since(waiting.arrived);
        // A plan that never ran may take half of the time that there is.
        let room = late.map_or(time / 2, |late| time.saturating_sub(late));
        let last = waiting.slot.as_ref().and_then(|slot| self.slots.get(slot));
        Entry {
            order: last.map_or(waiting.deadline, |(order, _)| waiting.deadline.max(*order)),
            ripe_at: waiting.arrived + self.config.batch_wait_max.min(room),
            start_by: waiting.arrived + late.map_or(time, |late| time.saturating_sub(late)),
            hopeless_at: hopeless_at(&waiting),
            passed_over: false,
            waiting,
        }
    }

    /// The call whose turn it is: of the tenant that has been given least, the first that is ripe.
    fn turn(&self, now: Instant) -> Option<(Tag, u64)> {
        let ripe = |(_, id): &&(Instant, u64)| {
            let group = self.calls.get(id).and_then(|entry| entry.waiting.group);
            group.and_then(|group| self.groups.get(&group)).is_none_or(|group| {
                let full = group.ripe.len() >= self.config.batch_calls_max
                    || group.rows >= self.config.batch_rows_max as u128
                    || group.bytes >= u128::from(self.config.batch_bytes_max);
                full || group.ripe.first().is_none_or(|(at, _)| *at <= now)
            })
        };
        self.fairness.turns().find_map(|(tag, tenant)| {
            let (_, id) = self.orders.get(tenant)?.iter().find(ripe)?;
            Some((tag, *id))
        })
    }

    /// A call that would be late if the launch `picked` went first, and may go before it: its tenant is
    /// not ahead of its share, the call whose turn it is was not passed over before, and that call
    /// still has time afterwards.
    fn urgent(&self, turn: u64, picked: &Picked, now: Instant) -> Option<u64> {
        let turn = self.calls.get(&turn).filter(|turn| !turn.passed_over)?;
        let end = now + turn.waiting.record.predict(picked.work, now)?.mean;
        let may_go_first = |entry: &Entry<T>| {
            let Waiting { record, load, tenant, .. } = &entry.waiting;
            let takes = record.predict(load.work, now).map_or(Duration::ZERO, |own| own.late);
            turn.start_by >= now + takes && self.fairness.may_go_first(tenant, load.work)
        };
        let near = self.urgent.iter().take_while(|(start_by, _)| *start_by < end);
        let near = near.take(URGENT_MAX).map(|(_, id)| *id).filter(|id| !picked.ids.contains(id));
        near.into_iter().find(|id| self.calls.get(id).is_some_and(may_go_first))
    }

    /// A launch as large as it can be, without the calls that have no time for that. Two launches in a row
    /// that are small for a deadline's sake would be the beginning of an overload that feeds itself:
    /// the smaller the launches, the more calls come near their deadlines.
    fn roomy(&self, turn: u64, now: Instant) -> Option<Picked> {
        let Waiting { record, tenant, group, .. } = &self.calls.get(&turn)?.waiting;
        let full = self.pick(turn, now, Some(now));
        let floor = now + record.predict(full.work, now)?.mean;
        let lane = self.groups.get(&(*group)?)?.lanes.get(tenant)?;
        let (_, first) = lane.range((floor, 0)..).next()?;
        Some(self.pick(*first, now, Some(floor)))
    }

    /// The calls that share a launch with `first`, each of them in time; or, with a `floor`, those with
    /// a deadline from there on, and no heed of deadlines otherwise.
    fn pick(&self, first: u64, now: Instant, floor: Option<Instant>) -> Picked {
        let Some(entry) = self.calls.get(&first) else { return Picked::default() };
        let Waiting { record, load, tenant, group, deadline, .. } = &entry.waiting;
        let Some(group) = group.and_then(|group| self.groups.get(&group)) else {
            return Picked { ids: vec![first], work: load.work, cramped: false };
        };
        let start = floor.map_or(Bound::Unbounded, |floor| Bound::Included((floor, 0)));
        let lanes = group.lanes.iter().map(|(name, order)| {
            let own = if name == tenant { load.work } else { 0 };
            let calls = order.range((start, Bound::Unbounded));
            Lane {
                tag: self.fairness.tag(name).saturating_add(self.fairness.step(name, own)),
                step: self.fairness.step(name, 1),
                calls: calls
                    .map(|(_, id)| *id)
                    .filter(|id| *id != first)
                    .filter_map(|id| self.candidate(id)),
            }
        });
        let predict = |work| record.predict(work, now).map(|prediction| prediction.mean);
        let budget = Budget {
            // Joined offsets are u32.
            rows_max: self.config.batch_rows_max.min(u32::MAX as usize),
            calls_max: self.config.batch_calls_max,
            bytes_max: self.config.batch_bytes_max,
            time_max: self.config.batch_time_max,
            virtual_time: self.fairness.virtual_time(),
            now,
            keeps_deadlines: floor.is_none(),
            predict: &predict,
        };
        let first = Candidate { id: first, load: *load, deadline: *deadline };
        pick_batch(first, lanes, &budget)
    }

    fn candidate(&self, id: u64) -> Option<Candidate> {
        let Waiting { load, deadline, .. } = &self.calls.get(&id)?.waiting;
        Some(Candidate { id, load: *load, deadline: *deadline })
    }
}

/// When a call can no longer be answered in time.
fn hopeless_at<T>(waiting: &Waiting<T>) -> Instant {
    let least = match waiting.probe {
        true => Duration::ZERO,
        false => waiting.record.least(waiting.load.work).unwrap_or_default(),
    };
    waiting.deadline.checked_sub(least).map_or(waiting.arrived, |at| at.max(waiting.arrived))
}

/// Takes a call out of the order of its tenant, and forgets a tenant without calls.
fn remove_from(orders: &mut HashMap<Arc<str>, ByTime>, tenant: &Arc<str>, call: &(Instant, u64)) {
    if let Some(order) = orders.get_mut(tenant) {
        order.remove(call);
        if order.is_empty() {
            orders.remove(tenant);
        }
    }
}
