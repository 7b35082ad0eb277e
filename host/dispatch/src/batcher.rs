//! Which waiting calls join a launch. A pure function, so that every property of it is a test.

use crate::fairness::Tag;
use crate::plan_record::Load;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The waiting calls of one tenant that may share the launch, in its order.
pub(crate) struct Lane<I> {
    /// The tenant's tag; that of the first call's tenant with the first call charged.
    pub(crate) tag: Tag,
    /// How far one unit of work moves the tag.
    pub(crate) step: Tag,
    /// Its calls, without the first one of the launch.
    pub(crate) calls: I,
}

/// A waiting call, as far as the choice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Names the call.
    pub(crate) id: u64,
    /// What it adds to the launch.
    pub(crate) load: Load,
    /// When its answer is worth nothing any more.
    pub(crate) deadline: Instant,
}

/// What a launch may take.
pub(crate) struct Budget<'a> {
    /// Rows of all calls.
    pub(crate) rows_max: usize,
    /// Number of calls.
    pub(crate) calls_max: usize,
    /// Bytes of all calls.
    pub(crate) bytes_max: u64,
    /// Predicted time; zero sets no limit.
    pub(crate) time_max: Duration,
    /// Tag of the tenant whose turn it is.
    pub(crate) virtual_time: Tag,
    /// When the launch starts.
    pub(crate) now: Instant,
    /// Whether deadlines bound the launch, too.
    pub(crate) keeps_deadlines: bool,
    /// Time that a launch of so much work takes, if it is known.
    pub(crate) predict: &'a dyn Fn(u64) -> Option<Duration>,
}

/// A choice of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picked {
    /// Names of the calls, the first one first.
    pub(crate) ids: Vec<u64>,
    /// Work of all of them.
    pub(crate) work: u64,
    /// Whether there was room for more but for a deadline.
    pub(crate) cramped: bool,
}

/// The calls of a launch that `first` begins.
///
/// The first call is always taken, however large. Others join, each time the next call of the tenant
/// that has been given least, while rows, calls, bytes and time of the launch stay within the budget
/// and no call of it would miss its deadline by the company. A call that does not fit holds back later
/// ones of its tenant, so that small calls do not overtake a large one, but not those of others: they
/// may fill the room, up to where their tenant is ahead of its share by the work of the launch.
pub(crate) fn pick_batch<I: Iterator<Item = Candidate>>(
    first: Candidate,
    lanes: impl Iterator<Item = Lane<I>>,
    budget: &Budget<'_>,
) -> Picked {
    let mut batch = Batch { load: first.load, calls: 1, deadline: first.deadline };
    let (mut ids, mut cramped) = (vec![first.id], false);
    let mut lanes: Vec<Lane<I>> = lanes.collect();
    let mut turns: BinaryHeap<Reverse<(Tag, usize)>> =
        lanes.iter().enumerate().map(|(index, lane)| Reverse((lane.tag, index))).collect();
    while let Some(Reverse((tag, index))) = turns.pop() {
        if batch.full(budget) {
            break;
        }
        let lane = &mut lanes[index];
        let ahead = Tag::from(batch.load.work).saturating_mul(lane.step);
        if tag > budget.virtual_time.saturating_add(ahead) {
            continue;
        }
        let Some(call) = lane.calls.next() else { continue };
        let Some(joined) = batch.with(&call).filter(|joined| joined.fits(budget)) else { continue };
        if budget.keeps_deadlines && !joined.in_time(budget) {
            cramped = true;
            continue;
        }
        batch = joined;
        ids.push(call.id);
        let charged = tag.saturating_add(Tag::from(call.load.work).saturating_mul(lane.step));
        turns.push(Reverse((charged, index)));
    }
    Picked { ids, work: batch.load.work, cramped }
}

/// The calls picked so far.
#[derive(Clone, Copy)]
struct Batch {
    load: Load,
    calls: usize,
    deadline: Instant,
}

impl Batch {
    fn full(&self, budget: &Budget<'_>) -> bool {
        self.calls >= budget.calls_max
            || self.load.rows >= budget.rows_max
            || self.load.bytes >= budget.bytes_max
    }

    fn with(&self, call: &Candidate) -> Option<Batch> {
        Some(Batch {
            load: Load {
                rows: self.load.rows.checked_add(call.load.rows)?,
                bytes: self.load.bytes.checked_add(call.load.bytes)?,
                work: self.load.work.checked_add(call.load.work)?,
            },
            calls: self.calls + 1,
            deadline: self.deadline.min(call.deadline),
        })
    }

    fn fits(&self, budget: &Budget<'_>) -> bool {
        let short = |took: Duration| budget.time_max.is_zero() || took <= budget.time_max;
        self.load.rows <= budget.rows_max
            && self.load.bytes <= budget.bytes_max
            && (budget.predict)(self.load.work).is_none_or(short)
    }

    fn in_time(&self, budget: &Budget<'_>) -> bool {
        let left = self.deadline.saturating_duration_since(budget.now);
        (budget.predict)(self.load.work).is_none_or(|took| took <= left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn call(id: u64, rows: usize, deadline: Instant) -> Candidate {
        let load = Load { rows, bytes: 10 * rows as u64, work: rows as u64 };
        Candidate { id, load, deadline }
    }

    /// Lanes of calls given as rows; ids count from 1 through the lanes.
    fn lanes(
        tags: &[(Tag, &[usize])],
        deadline: Instant,
    ) -> Vec<Lane<std::vec::IntoIter<Candidate>>> {
        let mut id = 0;
        let mut lane = |(tag, rows): &(Tag, &[usize])| {
            let calls: Vec<Candidate> = rows
                .iter()
                .map(|&rows| {
                    id += 1;
                    call(id, rows, deadline)
                })
                .collect();
            Lane { tag: *tag, step: 1, calls: calls.into_iter() }
        };
        tags.iter().map(&mut lane).collect()
    }

    fn picked(rows: usize, tags: &[(Tag, &[usize])], change: impl Fn(&mut Budget<'_>)) -> Vec<u64> {
        let now = Instant::now();
        let mut budget = Budget {
            rows_max: 100,
            calls_max: 10,
            bytes_max: 10_000,
            time_max: Duration::ZERO,
            virtual_time: 100,
            now,
            keeps_deadlines: true,
            predict: &|work| Some(MS * work as u32),
        };
        change(&mut budget);
        let deadline = now + 50 * MS;
        let picked =
            pick_batch(call(0, rows, deadline), lanes(tags, deadline).into_iter(), &budget);
        assert!(!picked.cramped || budget.keeps_deadlines);
        picked.ids
    }

    #[test]
    fn the_tenant_that_has_been_given_least_is_next() {
        assert_eq!(picked(1, &[(3, &[1, 1, 1]), (1, &[1, 1, 1])], |_| {}), [0, 4, 5, 1, 6, 2, 3]);
        let few = picked(1, &[(1, &[1; 50]), (0, &[1])], |budget| budget.calls_max = 3);
        assert_eq!(few, [0, 51, 1], "a flood leaves room for another");
    }

    #[test]
    fn each_limit_holds_to_its_edge() {
        let one: &[(Tag, &[usize])] = &[(0, &[10])];
        assert_eq!(picked(10, one, |budget| budget.rows_max = 20), [0, 1]);
        assert_eq!(picked(10, one, |budget| budget.rows_max = 19), [0]);
        assert_eq!(picked(10, one, |budget| budget.calls_max = 2), [0, 1]);
        assert_eq!(picked(10, one, |budget| budget.calls_max = 1), [0]);
        assert_eq!(picked(10, one, |budget| budget.bytes_max = 200), [0, 1]);
        assert_eq!(picked(10, one, |budget| budget.bytes_max = 199), [0]);
        assert_eq!(picked(10, one, |budget| budget.time_max = 20 * MS), [0, 1]);
        assert_eq!(picked(10, one, |budget| budget.time_max = 19 * MS), [0]);
    }

    #[test]
    fn company_that_would_cost_the_deadline_stays_away() {
        assert_eq!(picked(10, &[(0, &[40])], |_| {}), [0, 1]);
        assert_eq!(picked(10, &[(0, &[41])], |_| {}), [0]);
        assert_eq!(picked(10, &[(0, &[41])], |budget| budget.predict = &|_| None), [0, 1]);
        assert_eq!(picked(10, &[(0, &[41])], |budget| budget.keeps_deadlines = false), [0, 1]);
    }

    #[test]
    fn a_call_above_the_budget_runs_alone_and_one_that_does_not_fit_is_not_overtaken() {
        assert_eq!(picked(500, &[(0, &[1])], |_| {}), [0]);
        let tight = picked(90, &[(0, &[20, 1]), (5, &[5])], |budget| budget.predict = &|_| None);
        assert_eq!(tight, [0, 3], "the other tenant's call fits");
    }

    #[test]
    fn room_that_nobody_else_can_use_does_not_put_a_tenant_far_ahead() {
        let lanes: &[(Tag, &[usize])] = &[(10, &[95]), (105, &[3; 20])];
        let with = |virtual_time| {
            picked(10, lanes, |budget| {
                (budget.virtual_time, budget.calls_max) = (virtual_time, 50);
                budget.predict = &|_| None;
            })
        };
        assert_eq!(with(95).len(), 21, "ahead by 10, as much as the launch takes");
        assert_eq!(with(94), [0]);
    }

    proptest! {
        #[test]
        fn batches_keep_the_budget_and_the_order_of_each_tenant(
            first in 1usize..200,
            tags in prop::collection::vec((0u128..50, prop::collection::vec(1usize..60, 0..20)), 0..6),
            rows_max in 1usize..200,
            calls_max in 1usize..20,
            time_max in 1u32..200,
        ) {
            let tags: Vec<(Tag, &[usize])> = tags.iter().map(|(tag, rows)| (*tag, &**rows)).collect();
            let batch = picked(first, &tags, |budget| {
                (budget.rows_max, budget.calls_max) = (rows_max, calls_max);
                budget.time_max = time_max * MS;
            });
            let of_call: Vec<usize> = [first].into_iter()
                .chain(tags.iter().flat_map(|(_, rows)| rows.iter().copied())).collect();
            let rows: usize = batch.iter().map(|&id| of_call[id as usize]).sum();
            prop_assert_eq!(batch[0], 0);
            prop_assert!(batch.len() <= calls_max);
            prop_assert!(batch.len() == 1 || rows <= rows_max.min(time_max as usize).min(50));
            let mut start = 1;
            for (_, calls) in tags {
                let own = start..start + calls.len() as u64;
                let taken: Vec<u64> = batch.iter().copied().filter(|id| own.contains(id)).collect();
                let expected: Vec<u64> = own.clone().take(taken.len()).collect();
                prop_assert_eq!(taken, expected, "a prefix, in order");
                start = own.end;
            }
        }
    }
}
