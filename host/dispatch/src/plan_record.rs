//! What is known of each plan that was called: its rows, its costs, its measured times, its counters.

use crate::estimate::{Chance, Estimates, Prediction};
use crate::lock;
use crate::stats::{Counters, PlanStats};
use aimass_graph::{Cost, Plan, RowRule, Rows, RunError, Signature};
use aimass_tensor::Tensor;
use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Costs that are kept of one plan; all are forgotten when there are more.
const COSTS_MAX: usize = 256;
/// Operations that one byte of intermediate values counts as: what a core computes, over what it moves.
const WORK_PER_BYTE: u64 = 8;

/// What one call adds to a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Tokens of a ragged plan, items of a batched one; at least 1.
    pub(crate) rows: usize,
    /// Bytes of intermediate and output values, at most.
    pub(crate) bytes: u64,
    /// What the tenant is charged: floating-point operations, and bytes times [`WORK_PER_BYTE`]; at least
    /// 1.
    pub(crate) work: u64,
}

/// One plan, by its key.
#[derive(Debug)]
pub(crate) struct PlanRecord {
    pub(crate) key: [u8; 32],
    pub(crate) rule: RowRule,
    pub(crate) counters: Counters,
    costs: Mutex<HashMap<CostKey, Known>>,
    estimates: Mutex<Estimates>,
    last_call: AtomicU64,
}

/// Extents other than rows, and the powers of two that rows and sequences lie between.
type CostKey = (u64, u32, u32);

#[derive(Clone, Copy, Debug)]
struct Known {
    cost: Cost,
    rows: Rows,
}

impl PlanRecord {
    /// A plan that was not called yet.
    pub(crate) fn new(key: [u8; 32], signature: &Signature) -> PlanRecord {
        PlanRecord {
            key,
            rule: RowRule::of(signature),
            counters: Counters::default(),
            costs: Mutex::default(),
            estimates: Mutex::default(),
            last_call: AtomicU64::new(0),
        }
    }

    /// What a call adds to a launch. The plan's cost is worked out once for each power of two of rows
    /// and scaled in between; bytes are never less than the call's own.
    ///
    /// # Errors
    /// As [`Plan::cost`].
    pub(crate) fn load(
        &self,
        plan: &Plan,
        inputs: &[Tensor],
        rows: Rows,
        hasher: &RandomState,
    ) -> Result<Load, RunError> {
        let class = self.rule.shape_class(inputs, plan.joins(), hasher);
        let key = (class, bits(rows.rows), bits(rows.sequences));
        let known = lock(&self.costs).get(&key).copied();
        let known = match known {
            Some(known) => known,
            None => {
                let known = Known { cost: plan.cost(inputs)?, rows };
                let mut costs = lock(&self.costs);
                if costs.len() >= COSTS_MAX {
                    costs.clear();
                }
                costs.insert(key, known);
                known
            }
        };
        Ok(known.scaled_to(rows))
    }

    /// Takes a launch into account.
    pub(crate) fn measured(&self, work: u64, took: Duration, now: Instant) {
        lock(&self.estimates).add(work, took, now);
    }

    /// What a launch of `work` units will take, if the plan ever ran.
    pub(crate) fn predict(&self, work: u64, now: Instant) -> Option<Prediction> {
        lock(&self.estimates).predict(work, now)
    }

    /// Whether a call of `work` units can be answered in time.
    pub(crate) fn chance(&self, work: u64, left: Duration, now: Instant) -> Chance {
        lock(&self.estimates).chance(work, left, now)
    }

    /// The least that a call of `work` units takes, if that is known.
    pub(crate) fn least(&self, work: u64) -> Option<Duration> {
        lock(&self.estimates).least(work)
    }

    /// Everything counted and measured.
    pub(crate) fn stats(&self) -> PlanStats {
        PlanStats {
            key: self.key,
            counted: self.counters.read(),
            estimates: lock(&self.estimates).list(),
        }
    }
}

impl Known {
    fn scaled_to(&self, rows: Rows) -> Load {
        let Known { cost, rows: own } = self;
        let work = cost.flops.saturating_add(cost.arena_bytes.saturating_mul(WORK_PER_BYTE));
        // Bytes are a constant part and one that grows with rows or sequences, whichever grows more.
        let bytes = scale(cost.arena_bytes, rows.rows, own.rows)
            .max(scale(cost.arena_bytes, rows.sequences, own.sequences))
            .max(cost.arena_bytes);
        Load {
            rows: usize::try_from(rows.rows).unwrap_or(usize::MAX).max(1),
            bytes,
            work: scale(work, rows.rows, own.rows).max(1),
        }
    }
}

/// `value * to / from`, rounded up.
fn scale(value: u64, to: u64, from: u64) -> u64 {
    if to == from {
        return value;
    }
    let scaled = (u128::from(value) * u128::from(to)).div_ceil(u128::from(from.max(1)));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn bits(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// The records of all plans that are called.
pub(crate) struct PlanBook {
    plans: Mutex<HashMap<[u8; 32], Arc<PlanRecord>>>,
    plans_max: usize,
    calls: AtomicU64,
}

impl PlanBook {
    /// Nothing is known; `plans_max` bounds what will be.
    pub(crate) fn new(plans_max: usize) -> PlanBook {
        PlanBook { plans: Mutex::default(), plans_max, calls: AtomicU64::new(0) }
    }

    /// The record of a plan that is called now.
    pub(crate) fn record(&self, key: [u8; 32], signature: &Signature) -> Arc<PlanRecord> {
        let mut plans = lock(&self.plans);
        if !plans.contains_key(&key) && plans.len() >= self.plans_max {
            forget_oldest(&mut plans, self.plans_max);
        }
        let new = || Arc::new(PlanRecord::new(key, signature));
        let record = plans.entry(key).or_insert_with(new).clone();
        drop(plans);
        record.last_call.store(self.calls.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        record
    }

    /// Everything counted and measured, by plan.
    pub(crate) fn stats(&self) -> Vec<PlanStats> {
        let records: Vec<Arc<PlanRecord>> = lock(&self.plans).values().cloned().collect();
        records.iter().map(|record| record.stats()).collect()
    }
}

/// Makes room for an eighth of the records at once. Records with waiting calls are shared with the
/// queue and stay; there are no more of them than calls may wait.
fn forget_oldest(plans: &mut HashMap<[u8; 32], Arc<PlanRecord>>, max: usize) {
    let mut idle: Vec<(u64, [u8; 32])> = plans
        .iter()
        .filter(|(_, record)| Arc::strong_count(record) == 1)
        .map(|(key, record)| (record.last_call.load(Ordering::Relaxed), *key))
        .collect();
    idle.sort_unstable();
    for (_, key) in idle.iter().take(max / 8 + 1) {
        plans.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: u64, sequences: u64) -> Rows {
        Rows { rows, sequences }
    }

    #[test]
    fn a_cost_is_scaled_and_bytes_are_never_too_few() {
        let cost = Cost { flops: 100, arena_bytes: 50, rows: 4 };
        let known = Known { cost, rows: rows(4, 2) };
        assert_eq!(known.scaled_to(rows(4, 2)), Load { rows: 4, bytes: 50, work: 500 });
        assert_eq!(known.scaled_to(rows(7, 2)), Load { rows: 7, bytes: 88, work: 875 });
        assert_eq!(known.scaled_to(rows(4, 3)), Load { rows: 4, bytes: 75, work: 500 });
        let small = Known { cost, rows: rows(7, 3) };
        assert_eq!(small.scaled_to(rows(4, 2)), Load { rows: 4, bytes: 50, work: 286 });
        let nothing = Known { cost: Cost { flops: 0, arena_bytes: 0, rows: 0 }, rows: rows(0, 1) };
        assert_eq!(nothing.scaled_to(rows(0, 1)), Load { rows: 1, bytes: 0, work: 1 });
    }

    #[test]
    fn the_book_forgets_the_plan_called_longest_ago_but_none_in_use() {
        let book = PlanBook::new(2);
        let signature = Signature { inputs: vec![], outputs: vec![] };
        let record = |byte: u8| book.record([byte; 32], &signature);
        let used = record(1);
        record(2);
        record(3);
        let mut keys: Vec<u8> = book.stats().iter().map(|plan| plan.key[0]).collect();
        keys.sort_unstable();
        assert_eq!(keys, [1, 3]);
        let _both = record(3);
        record(4);
        assert_eq!(book.stats().len(), 3, "plans in use are not forgotten");
        drop(used);
    }
}
