//! Counters of the sandbox for Prometheus.

use aimass_sandbox::Metrics;
use aimass_telemetry::metrics::{Metric, Page, catalog};
use std::sync::atomic::Ordering;

/// Adds the counters of plugin calls, instances and the cache of compiled components.
pub(crate) fn write(page: &mut Page, metrics: &Metrics) {
    let rows: [(&'static Metric, _); 14] = [
        (&catalog::SANDBOX_CALLS, &metrics.calls),
        (&catalog::SANDBOX_INSTANCES, &metrics.instances_live),
        (&catalog::SANDBOX_REFUSALS, &metrics.refusals),
        (&catalog::SANDBOX_CACHE_HITS, &metrics.cache_hits),
        (&catalog::SANDBOX_CACHE_MISSES, &metrics.cache_misses),
        (&catalog::SANDBOX_CACHE_REJECTED, &metrics.cache_rejected),
        (&catalog::SANDBOX_IMAGES, &metrics.images),
        (&catalog::SANDBOX_COMPILATIONS, &metrics.compilations),
        (&catalog::SANDBOX_HOST_CALLS, &metrics.host_calls),
        (&catalog::SANDBOX_BYTES_READ, &metrics.bytes_read),
        (&catalog::SANDBOX_BYTES_CREATED, &metrics.bytes_created),
        (&catalog::SANDBOX_LOG_DROPPED, &metrics.log_bytes_dropped),
        (&catalog::SANDBOX_WORKERS_STARTED, &metrics.workers_started),
        (&catalog::SANDBOX_WORKERS_LOST, &metrics.workers_lost),
    ];
    for (metric, counter) in rows {
        page.single(metric, counter.load(Ordering::Relaxed) as f64);
    }
}
