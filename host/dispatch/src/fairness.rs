//! Whose turn it is: start-time fair queueing over tenants.
//!
//! Goyal, Vin, Cheng: Start-time Fair Queuing (SIGCOMM 1996). Each tenant carries a tag, its work so far
//! divided by its weight; the tenant with the smallest tag is next. One that begins to wait starts at
//! the virtual time, so that it saves no credit while it is idle, nor loses the debt that it has.

use crate::config::WEIGHT_MAX;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tenants that do not wait but have been given more than their share; the least debts go first.
const DEBTS_MAX: usize = 4096;
/// How long nothing must wait or run before all debts are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);

/// Work divided by weight, in units of `1 / UNIT`.
pub(crate) type Tag = u128;

/// How far a unit of work moves the tag of a tenant of weight 1; fine enough to divide by any weight.
const UNIT: Tag = 1 << 20;

/// Tags of all tenants that wait or are in debt.
#[derive(Debug, Default)]
pub(crate) struct Fairness {
    weights: BTreeMap<Arc<str>, u32>,
    virtual_time: Tag,
    tenants: HashMap<Arc<str>, Share>,
    /// Tenants that wait, by tag.
    turns: BTreeSet<(Tag, Arc<str>)>,
    /// Tenants that do not, but whose tag is ahead of the virtual time.
    debts: BTreeSet<(Tag, Arc<str>)>,
    idle_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    tag: Tag,
    waiting: usize,
}

impl Fairness {
    /// Nobody waits.
    pub(crate) fn new(weights: BTreeMap<Arc<str>, u32>) -> Fairness {
        Fairness { weights, ..Fairness::default() }
    }

    /// Calls of a tenant that wait.
    pub(crate) fn waiting(&self, tenant: &str) -> usize {
        self.tenants.get(tenant).map_or(0, |share| share.waiting)
    }

    /// A call of `tenant` begins to wait.
    pub(crate) fn arrive(&mut self, tenant: &Arc<str>, now: Instant) {
        let rested = |since| now.saturating_duration_since(since) >= FORGOTTEN_AFTER;
        if self.idle_since.take().is_some_and(rested) && self.turns.is_empty() {
            while let Some((_, name)) = self.debts.pop_first() {
                self.tenants.remove(&name);
            }
        }
        let fresh = Share { tag: self.virtual_time, waiting: 0 };
        let share = self.tenants.entry(tenant.clone()).or_insert(fresh);
        share.waiting += 1;
        if share.waiting == 1 {
            self.debts.remove(&(share.tag, tenant.clone()));
            self.turns.insert((share.tag, tenant.clone()));
        }
    }

    /// A call of `tenant` waits no more: it is launched, cancelled or refused.
    pub(crate) fn leave(&mut self, tenant: &Arc<str>) {
        let Some(share) = self.tenants.get_mut(tenant) else { return };
        share.waiting = share.waiting.saturating_sub(1);
        if share.waiting > 0 {
            return;
        }
        self.turns.remove(&(share.tag, tenant.clone()));
        self.debts.insert((share.tag, tenant.clone()));
        self.forget();
    }

    /// Nothing waits and nothing runs.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
    }

    /// Work is done for `tenant`.
    pub(crate) fn charge(&mut self, tenant: &Arc<str>, work: u64) {
        let step = self.step(tenant, work);
        let fresh = Share { tag: self.virtual_time, waiting: 0 };
        let share = self.tenants.entry(tenant.clone()).or_insert(fresh);
        let order = if share.waiting > 0 { &mut self.turns } else { &mut self.debts };
        order.remove(&(share.tag, tenant.clone()));
        share.tag = share.tag.saturating_add(step);
        order.insert((share.tag, tenant.clone()));
        self.forget();
    }

    /// Tenants that wait, whose turn it is first.
    pub(crate) fn turns(&self) -> impl Iterator<Item = (Tag, &Arc<str>)> {
        self.turns.iter().map(|(tag, tenant)| (*tag, tenant))
    }

    /// Virtual time reaches `tag`: its tenant's turn has come.
    pub(crate) fn advance(&mut self, tag: Tag) {
        self.virtual_time = self.virtual_time.max(tag);
        self.forget();
    }

    /// The tag whose turn has come.
    pub(crate) fn virtual_time(&self) -> Tag {
        self.virtual_time
    }

    /// Tag of a tenant.
    pub(crate) fn tag(&self, tenant: &str) -> Tag {
        self.tenants.get(tenant).map_or(self.virtual_time, |share| share.tag)
    }

    /// By how much `work` moves a tenant's tag.
    pub(crate) fn step(&self, tenant: &str, work: u64) -> Tag {
        let weight = self.weights.get(tenant).copied().unwrap_or(1).clamp(1, WEIGHT_MAX);
        Tag::from(work).saturating_mul(UNIT / Tag::from(weight))
    }

    /// Whether a tenant may take `work` before its turn: if that puts it ahead of the virtual time by
    /// no more than twice that work.
    pub(crate) fn may_go_first(&self, tenant: &str, work: u64) -> bool {
        self.tag(tenant).saturating_sub(self.virtual_time) <= self.step(tenant, work)
    }

    /// Drops tenants that are idle and owe nothing, so that whoever is left is ahead of the virtual time.
    fn forget(&mut self) {
        while let Some((tag, _)) = self.debts.first() {
            if *tag > self.virtual_time && self.debts.len() <= DEBTS_MAX {
                return;
            }
            if let Some((_, tenant)) = self.debts.pop_first() {
                self.tenants.remove(&tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const N: usize>() -> [Arc<str>; N] {
        std::array::from_fn(|index| Arc::from(format!("t{index}")))
    }

    fn next(fairness: &Fairness) -> &str {
        fairness.turns().next().unwrap().1
    }

    #[test]
    fn a_tenant_with_less_work_done_is_next_and_idling_saves_nothing() {
        let [a, b] = names();
        let (mut fairness, now) = (Fairness::default(), Instant::now());
        (0..9).for_each(|_| fairness.arrive(&a, now));
        for _ in 0..3 {
            let tag = fairness.tag(&a);
            fairness.advance(tag);
            fairness.charge(&a, 10);
        }
        fairness.arrive(&b, now);
        assert_eq!(next(&fairness), &*b);
        fairness.charge(&b, 10);
        assert_eq!((fairness.tag(&a), fairness.tag(&b)), (30 * UNIT, 30 * UNIT), "b starts at 20");
    }

    #[test]
    fn a_debt_outlasts_an_empty_queue_but_not_a_second_of_rest() {
        let [a, b] = names();
        let (mut fairness, now) = (Fairness::default(), Instant::now());
        fairness.arrive(&a, now);
        fairness.leave(&a);
        fairness.charge(&a, 50);
        fairness.rest(now);
        let soon = now + FORGOTTEN_AFTER / 2;
        fairness.arrive(&b, soon);
        fairness.arrive(&a, soon);
        assert_eq!(next(&fairness), &*b);
        fairness.leave(&a);
        fairness.leave(&b);
        fairness.rest(soon);
        fairness.arrive(&a, soon + FORGOTTEN_AFTER);
        assert_eq!(fairness.tag(&a), 0);
    }

    #[test]
    fn weights_divide_the_work() {
        let [a, b] = names();
        let fairness = Fairness::new([(a.clone(), 4), (b.clone(), 0)].into());
        assert_eq!(fairness.step(&a, 100), 25 * UNIT);
        assert_eq!(fairness.step(&b, 100), 100 * UNIT, "0 counts as 1");
    }

    #[test]
    fn tenants_that_are_gone_leave_nothing_behind_and_debts_are_bounded() {
        let (mut fairness, now) = (Fairness::default(), Instant::now());
        for index in 0..DEBTS_MAX + 10 {
            let tenant: Arc<str> = Arc::from(format!("{index}"));
            fairness.arrive(&tenant, now);
            fairness.leave(&tenant);
            assert!(fairness.tenants.is_empty() || index > 0);
            fairness.charge(&tenant, 1 + index as u64);
        }
        assert_eq!(fairness.debts.len(), DEBTS_MAX);
        assert_eq!(fairness.tenants.len(), DEBTS_MAX);
        fairness.advance(Tag::MAX);
        assert!(fairness.tenants.is_empty());
    }
}
