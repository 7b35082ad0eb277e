//! Slots: the states of one sequence, kept between calls within a quota and a time to live.

use crate::{DispatchConfig, DispatchError};
use aimass_graph::{Plan, PlanState};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Whose state it is. Two tenants never share a slot, nor do two versions of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotKey {
    /// Who is charged.
    pub tenant: Arc<str>,
    /// Model and version: `minilm@3`.
    pub model_version: Arc<str>,
    /// Name that the client or the guest gave the sequence.
    pub sequence: Arc<str>,
}

/// All slots, with their quota.
#[derive(Default)]
pub(crate) struct Slots {
    live: HashMap<SlotKey, Slot>,
    bytes: u64,
}

struct Slot {
    plan: [u8; 32],
    state: PlanState,
    last_call: Instant,
}

impl Slots {
    /// The state of `key` for `plan`, made if it is new or belongs to another plan. It shares its bytes
    /// with the slot, so that the slots need not be locked while a run takes.
    ///
    /// # Errors
    /// [`DispatchError::SlotLimit`] if a new slot would exceed the number or the bytes allowed.
    pub(crate) fn lend(
        &mut self,
        key: &SlotKey,
        plan: &Plan,
        now: Instant,
        config: &DispatchConfig,
    ) -> Result<PlanState, DispatchError> {
        self.sweep(now, config);
        if self.live.get(key).is_none_or(|slot| slot.plan != plan.key()) {
            self.remove(key);
            let state = plan.new_state();
            let bytes = self.bytes.saturating_add(state.bytes());
            if self.live.len() >= config.slots_max || bytes > config.slots_bytes_max {
                return Err(DispatchError::SlotLimit {
                    slots: self.live.len(),
                    slots_max: config.slots_max,
                    bytes,
                    bytes_max: config.slots_bytes_max,
                });
            }
            self.bytes = bytes;
            let slot = Slot { plan: plan.key(), state, last_call: now };
            self.live.insert(key.clone(), slot);
        }
        let slot = self.live.get_mut(key).expect("found or inserted above");
        slot.last_call = now;
        Ok(slot.state.clone())
    }

    /// Keeps what a run of a plan has written, unless the slot has ended meanwhile or is another plan's.
    /// A plan runs on one compute thread, so no other run of it has begun the slot anew.
    pub(crate) fn keep(&mut self, key: &SlotKey, plan: &Plan, state: PlanState, now: Instant) {
        if let Some(slot) = self.live.get_mut(key).filter(|slot| slot.plan == plan.key()) {
            slot.state = state;
            slot.last_call = now;
        }
    }

    /// Ends a slot; its next call starts anew.
    pub(crate) fn remove(&mut self, key: &SlotKey) {
        if let Some(slot) = self.live.remove(key) {
            self.bytes -= slot.state.bytes();
        }
    }

    /// Number of live slots.
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    fn sweep(&mut self, now: Instant, config: &DispatchConfig) {
        let idle = |slot: &Slot| now.saturating_duration_since(slot.last_call);
        self.live.retain(|_, slot| idle(slot) <= config.slot_idle_max);
        self.bytes = self.live.values().map(|slot| slot.state.bytes()).sum();
    }
}
