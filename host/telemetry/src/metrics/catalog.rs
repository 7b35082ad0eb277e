//! Every metric of the server. `docs/reference/metrics.md` is this list; a test compares them.

use super::{Metric, MetricKind};

macro_rules! metrics {
    ($($(#[$doc:meta])* $constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Metric = Metric {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// Every metric, in the order of the reference.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    REQUESTS: Counter "aimass_requests_total" ["model", "outcome"]
        "Inferences by outcome: ok, or the family of the error.";
    REQUEST_SECONDS: Counter "aimass_request_seconds_total" ["model"]
        "Time of answered inferences.";
    REQUEST_LATENCY: Histogram "aimass_request_latency_seconds" ["model"]
        "Time of answered inferences in the engine.";
    TENANT_REQUESTS: Counter "aimass_tenant_requests_total" ["tenant"]
        "Inferences by tenant; those of tenants beyond the 1000th as _other.";
    TOKENS: Counter "aimass_tokens_total" ["model"]
        "Tokens of answered inferences, where the model counts them.";
    PLUGIN_SECONDS: Counter "aimass_plugin_seconds_total" ["model"]
        "Time on a thread inside plugins, of inferences that came by the gateway.";
    KERNEL_SECONDS: Counter "aimass_kernel_seconds_total" ["model"]
        "Shares of the launches that computed plans, of inferences that came by the gateway.";
    MODEL_CALLS: Counter "aimass_model_calls_total" ["model", "outcome"]
        "Calls of the model by plugins of other models: ok, or the family of the error.";
    STEP_SECONDS: Counter "aimass_step_seconds_total" ["model", "step"]
        "Time of answered inferences in each step of their pipeline.";
    PLUGIN_FAILURES: Counter "aimass_plugin_failures_total" ["plugin", "cause"]
        "Plugin calls that failed: trap, deadline, memory and other causes.";
    TRUST_REFUSALS: Counter "aimass_trust_refusals_total" ["code"]
        "Packages that were refused.";
    TRUST_STALE: Gauge "aimass_trust_stale" ["market"]
        "1 while a marketplace's metadata is older than it may be, else 0.";
    TRUST_STOPPED: Gauge "aimass_trust_stopped_plugins" []
        "Plugins that were revoked and get no calls.";
    TRACES: Counter "aimass_traces_total" ["model"]
        "Sessions of format plugins that trace.";
    TRACE_STAGES: Counter "aimass_trace_stages_total" ["model"]
        "Stages that format plugins traced.";
    TRACE_SECONDS: Counter "aimass_trace_seconds_total" ["model"]
        "Time of sessions and of the compilation of their stages.";
    DISPATCH_BATCHES: Counter "aimass_dispatch_batches_total" []
        "Launches, failed ones included.";
    DISPATCH_RETRIES: Counter "aimass_dispatch_retries_total" []
        "Launches that split a failed one, to find whose input was at fault.";
    DISPATCH_CALLS: Counter "aimass_dispatch_calls_total" []
        "Calls that a launch answered.";
    DISPATCH_FAILED: Counter "aimass_dispatch_failed_total" []
        "Calls that a launch answered with an error.";
    DISPATCH_ROWS: Counter "aimass_dispatch_rows_total" []
        "Rows of the launches.";
    DISPATCH_BUSY: Counter "aimass_dispatch_busy_seconds_total" []
        "Time of the launches.";
    DISPATCH_WAITED: Counter "aimass_dispatch_waited_seconds_total" []
        "Time that launched calls waited, summed.";
    DISPATCH_WAITED_MAX: Gauge "aimass_dispatch_waited_seconds_max" []
        "The longest wait of a launched call.";
    DISPATCH_WAITING: Gauge "aimass_dispatch_waiting" []
        "Calls that wait now.";
    DISPATCH_SLOTS: Gauge "aimass_dispatch_slots" []
        "Sequences whose state is kept.";
    DISPATCH_REFUSED: Counter "aimass_dispatch_refused_total" ["reason"]
        "Calls refused before a launch.";
    DISPATCH_BATCH_CALLS: Histogram "aimass_dispatch_batch_calls" []
        "Calls that shared a launch.";
    PLAN_LAUNCHES: Counter "aimass_plan_launches_total" ["model", "version", "plan"]
        "Launches of a plan, failed ones included.";
    PLAN_RETRIES: Counter "aimass_plan_retries_total" ["model", "version", "plan"]
        "Launches of a plan that split a failed one.";
    PLAN_CALLS: Counter "aimass_plan_calls_total" ["model", "version", "plan"]
        "Calls of a plan that a launch answered.";
    PLAN_FAILED: Counter "aimass_plan_failed_total" ["model", "version", "plan"]
        "Calls of a plan that a launch answered with an error.";
    PLAN_ROWS: Counter "aimass_plan_rows_total" ["model", "version", "plan"]
        "Rows of a plan's launches.";
    PLAN_BUSY: Counter "aimass_plan_busy_seconds_total" ["model", "version", "plan"]
        "Time of a plan's launches.";
    PLAN_WAITED: Counter "aimass_plan_waited_seconds_total" ["model", "version", "plan"]
        "Time that launched calls of a plan waited, summed.";
    PLAN_WAITED_MAX: Gauge "aimass_plan_waited_seconds_max" ["model", "version", "plan"]
        "The longest wait of a launched call of a plan.";
    PLAN_WAITING: Gauge "aimass_plan_waiting" ["model", "version", "plan"]
        "Calls of a plan that wait now.";
    PLAN_REFUSED: Counter "aimass_plan_refused_total" ["model", "version", "plan", "reason"]
        "Calls of a plan refused before a launch.";
    PLAN_LAUNCH_SECONDS: Gauge "aimass_plan_launch_seconds" ["model", "version", "plan", "work_log2"]
        "Measured time of a launch of this size.";
    SANDBOX_CALLS: Counter "aimass_sandbox_calls_total" []
        "Calls of plugins, whatever became of them.";
    SANDBOX_INSTANCES: Gauge "aimass_sandbox_instances_live" []
        "Instances that are live now.";
    SANDBOX_REFUSALS: Counter "aimass_sandbox_refusals_total" []
        "Packages refused at admission.";
    SANDBOX_CACHE_HITS: Counter "aimass_sandbox_cache_hits_total" []
        "Loads that found their compiled component in the cache.";
    SANDBOX_CACHE_MISSES: Counter "aimass_sandbox_cache_misses_total" []
        "Loads that had to compile.";
    SANDBOX_CACHE_REJECTED: Counter "aimass_sandbox_cache_rejected_total" []
        "Cache entries that were damaged or of another engine.";
    SANDBOX_IMAGES: Counter "aimass_sandbox_images_total" []
        "Initialized images made.";
    SANDBOX_COMPILATIONS: Counter "aimass_sandbox_compilations_total" []
        "Components compiled: what runs init, once, and an image for each configuration.";
    SANDBOX_HOST_CALLS: Counter "aimass_sandbox_host_calls_total" []
        "Calls of host functions by guests.";
    SANDBOX_BYTES_READ: Counter "aimass_sandbox_bytes_read_total" []
        "Bytes that guests read from tensors and files.";
    SANDBOX_BYTES_CREATED: Counter "aimass_sandbox_bytes_created_total" []
        "Bytes that guests made tensors of.";
    SANDBOX_LOG_DROPPED: Counter "aimass_sandbox_log_bytes_dropped_total" []
        "Bytes of log messages that were dropped.";
    SANDBOX_WORKERS_STARTED: Counter "aimass_sandbox_workers_started_total" []
        "Worker processes that were given to a tenant and publisher.";
    SANDBOX_WORKERS_LOST: Counter "aimass_sandbox_workers_lost_total" []
        "Worker processes that crashed, hung or broke the protocol.";
    DEVICE_WORKS: Gauge "aimass_device_works" ["device"]
        "1 while plans run on the GPU, 0 once it is lost.";
    DEVICE_MEMORY: Gauge "aimass_device_memory_bytes" ["device"]
        "Bytes of GPU memory in use.";
    DEVICE_MEMORY_MAX: Gauge "aimass_device_memory_bytes_max" ["device"]
        "Most bytes of GPU memory to use.";
    DEVICE_RUNS: Counter "aimass_device_runs_total" ["device"]
        "Runs of plans that finished on the GPU, each part of a batch counted.";
    DEVICE_SPLIT: Counter "aimass_device_split_batches_total" ["device"]
        "Batches that ran on the GPU in parts, because its memory did not suffice for the whole.";
    DEVICE_FALLBACKS: Counter "aimass_device_fallbacks_total" ["device"]
        "Runs of plans that the CPU did because something went wrong on the GPU.";
    DEVICE_FUSIONS_REFUSED: Counter "aimass_device_fusions_refused_total" ["device"]
        "Groups of elementwise ops for which no kernel could be made at run time.";
    GATEWAY_REQUESTS: Counter "aimass_gateway_requests_total" ["route", "status"]
        "Requests answered, by kind of route and class of status.";
    GATEWAY_SECONDS: Histogram "aimass_gateway_request_seconds" ["route"]
        "From the request's header to the answer's.";
    GATEWAY_IN_FLIGHT: Gauge "aimass_gateway_in_flight" []
        "Requests inside now.";
    GATEWAY_BODIES: Gauge "aimass_gateway_bodies_bytes" []
        "Memory of request bodies.";
    GATEWAY_CONNECTIONS: Counter "aimass_gateway_connections_total" []
        "Connections accepted.";
    GATEWAY_CONNECTIONS_OPEN: Gauge "aimass_gateway_connections" []
        "Open connections.";
    GATEWAY_CONNECTIONS_REFUSED: Counter "aimass_gateway_connections_refused_total" []
        "Connections closed at once: their peer has too many.";
    GATEWAY_WAITING: Gauge "aimass_gateway_waiting" []
        "Requests that wait for a place.";
    GATEWAY_REFUSED: Counter "aimass_gateway_refused_total" ["reason"]
        "Requests that flow control refused, by reason.";
    GATEWAY_PLACE_MEAN: Gauge "aimass_gateway_place_seconds_mean" []
        "How long recent requests held places.";
    GATEWAY_PLACE_P90: Gauge "aimass_gateway_place_seconds_p90" []
        "How long nine of ten recent requests held places at most.";
    GATEWAY_CIRCUITS_OPENED: Counter "aimass_gateway_circuits_opened_total" []
        "Circuits of models that opened.";
    GATEWAY_CIRCUITS_OPEN: Gauge "aimass_gateway_circuits_open" ["model", "version"]
        "Tenants to whom a version is closed now; at most 256 versions.";
    USAGE_RECORDS: Counter "aimass_usage_records_total" []
        "Usage records written.";
    USAGE_WRITES: Counter "aimass_usage_writes_total" []
        "Writes that held usage records.";
    USAGE_HANDED_OVER: Counter "aimass_usage_handed_over_total" []
        "Usage records that waited for the writing thread, as all do on a slow disk.";
    USAGE_REFUSED: Counter "aimass_usage_refused_total" []
        "Calls refused for want of room for their record.";
    USAGE_LOST: Counter "aimass_usage_lost_total" []
        "Records that could not be written; their calls got no answer.";
    USAGE_SLOTS: Gauge "aimass_usage_slots" []
        "Calls that run or wait for their record.";
    USAGE_JOURNAL: Gauge "aimass_usage_journal_bytes" []
        "Size of the usage journal.";
    USAGE_LAG: Gauge "aimass_usage_export_lag_records" []
        "Records that some exporter has not passed on.";
    USAGE_EXPORT_FAILURES: Counter "aimass_usage_export_failures_total" []
        "Attempts to export that failed.";
    SPANS_EXPORTED: Counter "aimass_spans_exported_total" []
        "Traced requests that the collector took.";
    SPANS_DROPPED: Counter "aimass_spans_dropped_total" []
        "Traced requests dropped before the collector had them.";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "CPU time of the process.";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" []
        "Memory of the process that is in RAM.";
    PROCESS_THREADS: Gauge "process_threads" []
        "Threads of the process.";
    PROCESS_FDS: Gauge "process_open_fds" []
        "Open file descriptors.";
    PROCESS_FDS_MAX: Gauge "process_max_fds" []
        "Most open file descriptors that the system allows.";
}

/// The list as the table of `docs/reference/metrics.md`.
pub fn table() -> String {
    let row = |metric: &&Metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
        format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
    };
    let head = "| metric | type | labels | what it says |\n|---|---|---|---|\n";
    head.to_owned() + &ALL.iter().map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_follow_the_rules_of_prometheus() {
        let names: HashSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let total = metric.name.ends_with("_total");
            assert_eq!(metric.kind == MetricKind::Counter, total, "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(metric.name.chars().all(good));
            assert!(!metric.labels.contains(&"le"));
        }
    }

    #[test]
    fn the_reference_lists_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let expected = table();
        assert!(text.contains(&expected), "docs/reference/metrics.md must hold\n{expected}");
    }
}
