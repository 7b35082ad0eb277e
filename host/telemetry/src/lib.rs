//! What operators see and bill by: usage records, durable before an answer leaves, and traces.
//!
//! Knows no engine and no protocol: callers fill plain records. The clock is a number in each
//! record; the disk is a trait inside, so that every crash is tested on a simulated one.

pub mod backoff;
pub mod call;
pub mod logs;
pub mod metrics;
pub mod trace;
pub mod usage;
