//! Counters of the sandbox, as plain atomics that whoever exports metrics may read at any time.

use crate::error::CauseKind;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the sandbox has done since it was made. All but `instances_live` only grow.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Calls of plugins, whatever became of them.
    pub calls: AtomicU64,
    /// Instances that are live now.
    pub instances_live: AtomicU64,
    /// Packages refused at admission.
    pub refusals: AtomicU64,
    /// Loads that found their compiled component in the cache.
    pub cache_hits: AtomicU64,
    /// Loads that had to compile.
    pub cache_misses: AtomicU64,
    /// Cache entries that were truncated, forged or of another engine, and were made again.
    pub cache_rejected: AtomicU64,
    /// Initialized images made by running `init`.
    pub images: AtomicU64,
    /// Components compiled in this process or for it: what runs `init`, and images.
    pub compilations: AtomicU64,
    /// Calls of host functions by guests.
    pub host_calls: AtomicU64,
    /// Bytes that guests read from tensors and files.
    pub bytes_read: AtomicU64,
    /// Bytes that guests made tensors of.
    pub bytes_created: AtomicU64,
    /// Bytes of log messages that were dropped.
    pub log_bytes_dropped: AtomicU64,
    /// Worker processes that were given to a tenant and publisher.
    pub workers_started: AtomicU64,
    /// Worker processes that ended by themselves or were killed for what they did.
    pub workers_lost: AtomicU64,
    failures: [AtomicU64; CauseKind::ALL.len()],
}

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, kind: CauseKind) {
        Metrics::add(&self.failures[kind as usize], 1);
    }

    /// Calls that failed for this cause.
    pub fn failures(&self, kind: CauseKind) -> u64 {
        self.failures[kind as usize].load(Ordering::Relaxed)
    }

    /// Calls `visit` with the name and value of each counter that has no label.
    pub fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
        let counters = [
            ("calls", &self.calls),
            ("instances_live", &self.instances_live),
            ("refusals", &self.refusals),
            ("cache_hits", &self.cache_hits),
            ("cache_misses", &self.cache_misses),
            ("cache_rejected", &self.cache_rejected),
            ("images", &self.images),
            ("compilations", &self.compilations),
            ("host_calls", &self.host_calls),
            ("bytes_read", &self.bytes_read),
            ("bytes_created", &self.bytes_created),
            ("log_bytes_dropped", &self.log_bytes_dropped),
            ("workers_started", &self.workers_started),
            ("workers_lost", &self.workers_lost),
        ];
        for (name, counter) in counters {
            visit(name, counter.load(Ordering::Relaxed));
        }
    }
}
