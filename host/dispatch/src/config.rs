//! Limits of the dispatcher.

use crate::CallObserver;
use std::sync::Arc;
use std::time::Duration;

/// Limits of the dispatcher. Every queue and batch has one.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// How long the first call of a batch waits for company. Default 0: calls gather while the
    /// batch before them runs.
    pub batch_wait_max: Duration,
    /// Rows (tokens of a ragged plan, items of a batched one) that one launch takes. A single larger
    /// call still runs, alone. Default 1,024: beyond it a CPU gains no throughput, only latency.
    pub batch_rows_max: usize,
    /// Calls that one launch joins. Default 256.
    pub batch_calls_max: usize,
    /// Calls that may wait. Default 4,096; one more is `Overloaded`.
    pub queue_calls_max: usize,
    /// Calls of one tenant that may wait. Default 1,024.
    pub queue_calls_tenant_max: usize,
    /// Slots (sequences with state) that live at once. Default 1,024.
    pub slots_max: usize,
    /// Bytes that the states of all slots may take. Default 1 GiB.
    pub slots_bytes_max: u64,
    /// How long a slot lives without a call. Default 10 minutes.
    pub slot_idle_max: Duration,
    /// Who watches calls come in. Default none.
    pub observer: Option<Arc<dyn CallObserver>>,
}

impl Default for DispatchConfig {
    fn default() -> DispatchConfig {
        DispatchConfig {
            batch_wait_max: Duration::ZERO,
            batch_rows_max: 1024,
            batch_calls_max: 256,
            queue_calls_max: 4096,
            queue_calls_tenant_max: 1024,
            slots_max: 1024,
            slots_bytes_max: 1 << 30,
            slot_idle_max: Duration::from_secs(600),
            observer: None,
        }
    }
}
