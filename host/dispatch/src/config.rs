//! Limits of the dispatcher.

use crate::CallObserver;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Limits of the dispatcher. Every queue and batch has one; 0 counts as 1 where nothing else is said.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// GPUs that plans run on, by number. Each has a compute thread and a queue besides the CPU's, with
    /// the limits below for each of them; plans on others run where the CPU's do. Default none.
    pub devices: Vec<usize>,
    /// How long the first call of a batch waits for company, less if its deadline asks for it.
    /// Default 0: calls gather while the batch before them runs.
    pub batch_wait_max: Duration,
    /// Rows (tokens of a ragged plan, items of a batched one) that one launch takes. A single larger
    /// call still runs, alone. Default 1,024: beyond it a CPU gains no throughput, only latency.
    pub batch_rows_max: usize,
    /// Calls that one launch joins. Default 256.
    pub batch_calls_max: usize,
    /// Bytes of intermediate and output values that one launch takes, as the plan's cost says. A
    /// single larger call still runs, alone. Default 1 GiB.
    pub batch_bytes_max: u64,
    /// How long a launch of joined calls may take by what the plan was measured at; others wait for
    /// it meanwhile. A single longer call still runs, alone. Default 100 ms; 0 sets no limit.
    pub batch_time_max: Duration,
    /// Calls that may wait. Default 4,096; one more is `Overloaded`.
    pub queue_calls_max: usize,
    /// Bytes of inputs that may wait. Default 1 GiB; more is `Overloaded`.
    pub queue_bytes_max: u64,
    /// Calls of one tenant that may wait; default 1,024. Never more than there are free places in the
    /// queue, so that a tenant alone gets half of it and many floods together leave a place. One
    /// more is `Quota`.
    pub queue_calls_tenant_max: usize,
    /// Shares of the machine by tenant while several wait, 1 to [`WEIGHT_MAX`]; a tenant that is not
    /// named has 1.
    pub tenant_weights: BTreeMap<Arc<str>, u32>,
    /// Plans of which counters and measured times are kept; default 1,024. What was called longest
    /// ago is forgotten, plans with waiting calls aside.
    pub plans_max: usize,
    /// Slots (sequences with state) that live at once. Default 1,024.
    pub slots_max: usize,
    /// Bytes that the states of all slots may take. Default 1 GiB.
    pub slots_bytes_max: u64,
    /// How long a slot lives without a call. Default 10 minutes.
    pub slot_idle_max: Duration,
    /// Who watches calls come in. Default none.
    pub observer: Option<Arc<dyn CallObserver>>,
}

/// The largest weight of a tenant.
pub const WEIGHT_MAX: u32 = 1000;

impl Default for DispatchConfig {
    fn default() -> DispatchConfig {
        DispatchConfig {
            devices: Vec::new(),
            batch_wait_max: Duration::ZERO,
            batch_rows_max: 1024,
            batch_calls_max: 256,
            batch_bytes_max: 1 << 30,
            batch_time_max: Duration::from_millis(100),
            queue_calls_max: 4096,
            queue_bytes_max: 1 << 30,
            queue_calls_tenant_max: 1024,
            tenant_weights: BTreeMap::new(),
            plans_max: 1024,
            slots_max: 1024,
            slots_bytes_max: 1 << 30,
            slot_idle_max: Duration::from_secs(600),
            observer: None,
        }
    }
}
