//! The bounded queue of waiting calls.

use crate::dispatcher::{DispatchError, PlanAnswer, PlanCall};
use crate::{DispatchConfig, Waiting, pick_batch};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Calls that may share a launch: equal plan and equal non-row extents.
pub(crate) type Group = ([u8; 32], u64);

/// A call in the queue.
pub(crate) struct Pending {
    pub(crate) call: PlanCall,
    pub(crate) group: Option<Group>,
    pub(crate) rows: usize,
    pub(crate) arrived: Instant,
    pub(crate) answer: oneshot::Sender<Result<PlanAnswer, DispatchError>>,
}

/// Waiting calls in order of arrival.
#[derive(Default)]
pub(crate) struct Queue {
    calls: VecDeque<Pending>,
    of_tenant: HashMap<Arc<str>, usize>,
    pub(crate) closing: bool,
}

impl Queue {
    /// Adds a call.
    ///
    /// # Errors
    /// [`DispatchError::Overloaded`] if the queue, or the tenant's share of it, is full.
    pub(crate) fn push(
        &mut self,
        pending: Pending,
        config: &DispatchConfig,
    ) -> Result<(), DispatchError> {
        let full = |len: usize, max: usize| DispatchError::Overloaded { len, max };
        if self.calls.len() >= config.queue_calls_max {
            return Err(full(self.calls.len(), config.queue_calls_max));
        }
        let share = self.of_tenant.entry(pending.call.tenant.clone()).or_insert(0);
        if *share >= config.queue_calls_tenant_max {
            return Err(full(*share, config.queue_calls_tenant_max));
        }
        *share += 1;
        self.calls.push_back(pending);
        Ok(())
    }

    /// Arrival of the oldest call.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.calls.front().map(|pending| pending.arrived)
    }

    /// Whether one batch cannot grow any more.
    pub(crate) fn fills_a_batch(&self, config: &DispatchConfig) -> bool {
        let rows: usize = self.calls.iter().map(|pending| pending.rows).sum();
        rows >= config.batch_rows_max || self.calls.len() >= config.batch_calls_max
    }

    /// Number of waiting calls.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Takes the next batch. Calls whose caller is gone are dropped, calls past their deadline are
    /// answered so.
    pub(crate) fn take_batch(&mut self, now: Instant, config: &DispatchConfig) -> Vec<Pending> {
        self.drop_dead(now);
        let waiting: Vec<Waiting<Group, &str>> = self
            .calls
            .iter()
            .map(|p| Waiting { group: p.group, tenant: &*p.call.tenant, rows: p.rows })
            .collect();
        let picked = pick_batch(&waiting, config.batch_rows_max, config.batch_calls_max);
        drop(waiting);
        let mut batch = Vec::with_capacity(picked.len());
        for index in picked.into_iter().rev() {
            batch.extend(self.calls.remove(index));
        }
        batch.reverse();
        batch.iter().for_each(|pending| self.forget(&pending.call.tenant.clone()));
        batch
    }

    /// Empties the queue.
    pub(crate) fn drain(&mut self) -> Vec<Pending> {
        self.of_tenant.clear();
        self.calls.drain(..).collect()
    }

    fn drop_dead(&mut self, now: Instant) {
        let dead = |pending: &Pending| pending.answer.is_closed() || pending.call.deadline <= now;
        if !self.calls.iter().any(dead) {
            return;
        }
        let (gone, alive): (Vec<Pending>, Vec<Pending>) =
            self.calls.drain(..).partition(|pending| dead(pending));
        self.calls = alive.into();
        for pending in gone {
            self.forget(&pending.call.tenant);
            // A caller that is gone reads no answer.
            let _ = pending.answer.send(Err(DispatchError::DeadlineExceeded));
        }
    }

    fn forget(&mut self, tenant: &Arc<str>) {
        if let Some(share) = self.of_tenant.get_mut(tenant) {
            *share -= 1;
            if *share == 0 {
                self.of_tenant.remove(tenant);
            }
        }
    }
}
