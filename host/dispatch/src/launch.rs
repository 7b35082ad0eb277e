//! A launch: joined inputs, one run of the plan, split answers; and what happens when it fails.
//!
//! A failed launch of several calls is split, and its parts run again, until the calls at fault stand
//! alone. The row that an error names is set apart first; after that the rest is halved, so that the
//! retries of a launch of n calls do at most `3 + log2(n)` times its work, however many are at fault.

use crate::DispatchError;
use crate::dispatcher::{Job, Lane, PlanAnswer, PlanCall, Shared};
use crate::lock;
use crate::queue::Waiting;
use aimass_graph::{BadRow, RowExtent};
use aimass_tensor::Tensor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// How often the call that an error names is set apart before the rest is halved.
const NAMED_MAX: usize = 2;

/// Why a launch has no outputs.
struct Failure {
    error: Box<DispatchError>,
    /// The call at fault, if the error names one.
    call: Option<usize>,
}

impl Shared {
    /// Runs calls as one and answers each.
    pub(crate) fn launch(&self, lane: &Lane, calls: Vec<Waiting<Job>>) {
        let now = self.clock.now();
        for call in &calls {
            let waited = now.saturating_duration_since(call.arrived);
            self.count(&call.record, |counters| counters.taken(waited));
        }
        self.settle(lane, calls, 0);
    }

    /// Runs calls as one, or in parts if that fails, and answers each. The tenants of those that failed
    /// are charged for the launches that failed with them, and returned.
    fn settle(&self, lane: &Lane, mut calls: Vec<Waiting<Job>>, splits: usize) -> Vec<Arc<str>> {
        if splits > 0 {
            calls.retain(|call| !call.item.answer.is_closed());
        }
        let Some(record) = calls.first().map(|call| call.record.clone()) else { return Vec::new() };
        let work = calls.iter().fold(0u64, |sum, call| sum.saturating_add(call.load.work));
        let rows = calls.iter().map(|call| call.load.rows as u64).sum();
        let start = self.clock.now();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.attempt(&calls, start)));
        let end = self.clock.now();
        let ran = end.saturating_duration_since(start);
        self.count(&record, |counters| counters.launched(calls.len(), rows, ran, splits > 0));
        let failure = match outcome {
            Ok(Ok(outputs)) => {
                record.measured(work, ran, end);
                self.count(&record, |counters| counters.answered(calls.len(), false));
                answer_all(calls, outputs, start, end);
                return Vec::new();
            }
            Ok(Err(failure)) => failure,
            Err(_panic) => Failure { error: Box::new(DispatchError::KernelPanic), call: None },
        };
        if calls.len() > 1 {
            let parts = split(calls, failure.call, splits);
            let at_fault: Vec<Arc<str>> =
                parts.into_iter().flat_map(|part| self.settle(lane, part, splits + 1)).collect();
            charge(lane, work, &at_fault);
            return at_fault;
        }
        self.count(&record, |counters| counters.answered(1, true));
        let Some(call) = calls.pop() else { return Vec::new() };
        // A caller that is gone reads no answer.
        let _ = call.item.answer.send(Err(*failure.error));
        vec![call.tenant]
    }

    /// Outputs of each call.
    fn attempt(&self, calls: &[Waiting<Job>], now: Instant) -> Result<Vec<Vec<Tensor>>, Failure> {
        let alone = |error| Failure { error: Box::new(error), call: Some(0) };
        if let [one] = calls {
            return Ok(vec![self.run_alone(&one.item.call, now).map_err(alone)?]);
        }
        let rule = &calls[0].record.rule;
        let inputs: Vec<&[Tensor]> = calls.iter().map(|call| &*call.item.call.inputs).collect();
        let parts = rule.parts(&inputs);
        let joined = rule.join(&inputs, &parts);
        let outputs = (self.run)(&calls[0].item.call.plan, &joined, None).map_err(|error| {
            let call = error.bad_row().and_then(|row| call_of(row, &parts));
            Failure { error: Box::new(error.into()), call }
        })?;
        Ok(parts.iter().map(|part| rule.split(&outputs, part)).collect())
    }

    fn run_alone(&self, call: &PlanCall, now: Instant) -> Result<Vec<Tensor>, DispatchError> {
        let Some(key) = &call.slot else {
            return Ok((self.run)(&call.plan, &call.inputs, None)?);
        };
        let mut state = lock(&self.slots).lend(key, &call.plan, now, &self.config)?;
        let outputs = (self.run)(&call.plan, &call.inputs, Some(&mut state))?;
        lock(&self.slots).keep(key, &call.plan, state, self.clock.now());
        Ok(outputs)
    }
}

/// Divides the work of a failed launch among those at fault. If nobody turned out to be, it is the
/// server's own.
fn charge(lane: &Lane, work: u64, at_fault: &[Arc<str>]) {
    let mut state = lock(&lane.state);
    for tenant in at_fault {
        state.queue.charge(tenant, work / at_fault.len() as u64);
    }
}

fn answer_all(calls: Vec<Waiting<Job>>, outputs: Vec<Vec<Tensor>>, start: Instant, end: Instant) {
    let batch_calls = calls.len();
    let ran = end.saturating_duration_since(start);
    for (call, outputs) in calls.into_iter().zip(outputs) {
        let queued = start.saturating_duration_since(call.arrived);
        // A caller that is gone reads no answer.
        let _ = call.item.answer.send(Ok(PlanAnswer { outputs, batch_calls, queued, ran }));
    }
}

/// The parts in which a failed launch runs again.
fn split(
    mut calls: Vec<Waiting<Job>>,
    at_fault: Option<usize>,
    splits: usize,
) -> [Vec<Waiting<Job>>; 2] {
    match at_fault {
        Some(index) if splits < NAMED_MAX && index < calls.len() => {
            let call = calls.remove(index);
            [vec![call], calls]
        }
        Some(_) | None => {
            let second = calls.split_off(calls.len() / 2);
            [calls, second]
        }
    }
}

/// The call that a row of the joined inputs belongs to.
fn call_of(row: BadRow, parts: &[RowExtent]) -> Option<usize> {
    let holds = |part: &RowExtent| match row {
        BadRow::Batch(row) => (part.batch.start as u64..part.batch.end as u64).contains(&row),
        BadRow::Ragged(row) => (part.ragged.start as u64..part.ragged.end as u64).contains(&row),
    };
    parts.iter().position(holds)
}
