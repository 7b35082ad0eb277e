//! Why a plan call was not answered.

use aimass_graph::RunError;
use std::time::Duration;

/// Why a plan call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The inputs do not fit the plan, or the run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The queue is full: the server has more work than it can take.
    #[error("{got} {what} would wait for the device, at most {max} may ({limit}); try again later")]
    Overloaded {
        /// What is counted: calls, or bytes of inputs.
        what: &'static str,
        /// How much would wait, this call included.
        got: u64,
        /// Limit.
        max: u64,
        /// Name of the limit in [`DispatchConfig`](crate::DispatchConfig).
        limit: &'static str,
    },
    /// The tenant's share of the queue is full.
    #[error(
        "{got} plan calls of this tenant would wait, at most {max} may now \
         (queue_calls_tenant_max, or what is free of queue_calls_max); wait for answers first"
    )]
    Quota {
        /// Calls of the tenant that would wait, this one included.
        got: usize,
        /// Limit: the configured one, or fewer if the queue fills.
        max: usize,
    },
    /// The deadline passed while the call waited or ran.
    #[error("the deadline passed before the plan had run")]
    DeadlineExceeded,
    /// The deadline is nearer than the plan takes, so that running it would be in vain.
    #[error(
        "the deadline is in {left:?}, and this plan was measured at {needed:?} or more for inputs of \
         this size; allow more time or send less"
    )]
    DeadlineTooNear {
        /// Time to the deadline.
        left: Duration,
        /// Time that the plan takes, less twice its usual deviation.
        needed: Duration,
    },
    /// No room for another sequence's state.
    #[error(
        "{slots} of {slots_max} slots are live and {bytes} of {bytes_max} state bytes would be \
         taken; end a sequence or raise the limit"
    )]
    SlotLimit {
        /// Live slots.
        slots: usize,
        /// Limit of slots.
        slots_max: usize,
        /// Bytes that would be taken.
        bytes: u64,
        /// Limit of bytes.
        bytes_max: u64,
    },
    /// The dispatcher is shutting down.
    #[error("the server is shutting down")]
    Closed,
    /// A kernel panicked: a defect of the server. The call is lost, the server goes on.
    #[error("a kernel failed; this is a defect of the server")]
    KernelPanic,
}
