//! Room 6: plan calls of many guests become few launches.
//!
//! Every call is written as if it were alone. Calls of one plan that wait at the same time, whoever
//! made them, are joined along the dimension that the plan proved row-independent, run once, and split
//! again; the answer is the same, bit for bit. While one batch runs the next one gathers, so that
//! nobody waits for company on an idle machine.
//!
//! - A launch is bounded by rows, calls, bytes and time, as the plan's cost and its measured times say.
//! - Tenants take turns by the work that they cause, not by the number of their calls.
//! - The nearest deadline of a tenant is first. A call that cannot be in time is refused early, and
//!   company never makes one late.
//! - A launch that fails is split until the calls at fault stand alone; their tenants pay for it.
//!
//! The CPU and each GPU have a queue and a compute thread that runs one batch at a time; the CPU's is
//! worker 0 of the kernel pool. A full queue answers [`DispatchError::Overloaded`] or
//! [`DispatchError::Quota`]; nothing here is unbounded.

mod batcher;
mod clock;
mod config;
mod dispatcher;
mod error;
mod estimate;
mod fairness;
mod launch;
mod observer;
mod plan_record;
mod queue;
#[cfg(test)]
mod simulation;
mod slots;
mod stats;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{DispatchConfig, WEIGHT_MAX};
pub use dispatcher::{Dispatcher, PlanAnswer, PlanCall};
pub use error::DispatchError;
pub use estimate::Estimate;
pub use observer::CallObserver;
pub use slots::SlotKey;
pub use stats::{BATCH_SIZES, Counted, DispatchStats, PlanStats};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, even after a panic: what is locked here is whole at every step that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
