//! Room 6: plan calls of many guests become few launches.
//!
//! Every call is written as if it were alone. Calls of one plan that wait at the same time are
//! joined along the dimension that the plan proved row-independent, run once, and split again;
//! the answer is the same, bit for bit. While one batch runs the next one gathers, so that nobody
//! waits for company on an idle machine.
//!
//! One compute thread runs one batch at a time and is worker 0 of the kernel pool. A full queue
//! answers [`DispatchError::Overloaded`]; nothing here is unbounded.

mod batcher;
mod clock;
mod config;
mod dispatcher;
mod join;
mod observer;
mod queue;
mod slots;

pub use batcher::{Waiting, pick_batch};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::DispatchConfig;
pub use dispatcher::{DispatchError, DispatchStats, Dispatcher, PlanAnswer, PlanCall};
pub use observer::CallObserver;
pub use slots::SlotKey;
