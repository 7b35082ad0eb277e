//! What happened between two looks, as tables or JSON.

use super::sample::Sample;
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

const LATENCY: &str = "aimass_request_latency_seconds";
const BATCH: &str = "aimass_dispatch_batch_calls";

/// What a server did in an interval.
#[derive(Debug, Serialize)]
pub(super) struct View {
    requests_per_s: f64,
    errors_per_s: f64,
    /// Milliseconds, interpolated within the histogram's bucket; null without requests.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    in_flight: f64,
    queued: f64,
    /// Calls that shared a launch, mean; null without launches.
    batch_calls: Option<f64>,
    /// Plugin calls that failed since the server started.
    plugin_failures: f64,
    resident_bytes: f64,
    cpu_percent: f64,
    usage_export_lag: f64,
    models: Vec<ModelView>,
    tenants: Vec<TenantView>,
}

#[derive(Debug, Serialize)]
struct ModelView {
    model: String,
    requests_per_s: f64,
    errors_per_s: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    tokens_per_s: f64,
}

#[derive(Debug, Serialize)]
struct TenantView {
    tenant: String,
    requests_per_s: f64,
}

impl View {
    /// The difference of two looks that are `time` apart.
    pub(super) fn between(before: &Sample, after: &Sample, time: Duration) -> View {
        let seconds = time.as_secs_f64().max(1e-9);
        // A counter that went down belongs to a server that started again.
        let grown = |name: &str, labels: &[(&str, &str)]| {
            let (old, new) = (before.sum(name, labels), after.sum(name, labels));
            if new >= old { new - old } else { new }
        };
        let rate = |name: &str, labels: &[(&str, &str)]| grown(name, labels) / seconds;
        let quantile = |quantile: f64, labels: &[(&str, &str)]| {
            let (old, new) = (before.histogram(LATENCY, labels), after.histogram(LATENCY, labels));
            quantile_of(&difference(&old, &new), quantile).map(|seconds| seconds * 1e3)
        };
        let requests = "aimass_requests_total";
        let launches = grown(&format!("{BATCH}_count"), &[]);
        let calls = grown(&format!("{BATCH}_sum"), &[]);
        let model = |model: &str| {
            let of = [("model", model)];
            let ok = [("model", model), ("outcome", "ok")];
            ModelView {
                model: model.to_owned(),
                requests_per_s: rate(requests, &of),
                errors_per_s: (rate(requests, &of) - rate(requests, &ok)).max(0.0),
                p50_ms: quantile(0.5, &of),
                p99_ms: quantile(0.99, &of),
                tokens_per_s: rate("aimass_tokens_total", &of),
            }
        };
        let tenant = |tenant: &str| TenantView {
            tenant: tenant.to_owned(),
            requests_per_s: rate("aimass_tenant_requests_total", &[("tenant", tenant)]),
        };
        let tenants = after.values("aimass_tenant_requests_total", "tenant");
        let models = after.values(requests, "model");
        View {
            requests_per_s: rate(requests, &[]),
            errors_per_s: (rate(requests, &[]) - rate(requests, &[("outcome", "ok")])).max(0.0),
            p50_ms: quantile(0.5, &[]),
            p99_ms: quantile(0.99, &[]),
            in_flight: after.sum("aimass_gateway_in_flight", &[]),
            queued: after.sum("aimass_dispatch_waiting", &[]),
            batch_calls: (launches > 0.0).then(|| calls / launches),
            plugin_failures: after.sum("aimass_plugin_failures_total", &[]),
            resident_bytes: after.sum("process_resident_memory_bytes", &[]),
            cpu_percent: rate("process_cpu_seconds_total", &[]) * 100.0,
            usage_export_lag: after.sum("aimass_usage_export_lag_records", &[]),
            models: models.into_iter().map(model).collect(),
            tenants: tenants.into_iter().map(tenant).collect(),
        }
    }

    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    /// Tables for people.
    pub(super) fn text(&self, url: &str) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{url}\n{:>10.1} requests/s  {:.1} errors/s  p50 {} ms  p99 {} ms\n{:>10} in flight  {} queued  \
             {} calls a launch  {} plugin failures\n{:>10.1} MiB resident  {:.0} % CPU  {} usage records to \
             export\n",
            self.requests_per_s,
            self.errors_per_s,
            some(self.p50_ms),
            some(self.p99_ms),
            self.in_flight,
            self.queued,
            some(self.batch_calls),
            self.plugin_failures,
            self.resident_bytes / f64::from(1 << 20),
            self.cpu_percent,
            self.usage_export_lag,
        );
        let width = self.models.iter().map(|model| model.model.len()).max().unwrap_or(0).max(8);
        let _ = writeln!(
            text,
            "{:width$}  requests/s  errors/s    p50 ms    p99 ms  tokens/s",
            "model"
        );
        for model in &self.models {
            let _ = writeln!(
                text,
                "{:width$}  {:>10.1}  {:>8.1}  {:>8}  {:>8}  {:>8.1}",
                model.model,
                model.requests_per_s,
                model.errors_per_s,
                some(model.p50_ms),
                some(model.p99_ms),
                model.tokens_per_s
            );
        }
        let _ = writeln!(text, "\n{:width$}  requests/s", "tenant");
        for tenant in &self.tenants {
            let _ = writeln!(text, "{:width$}  {:>10.1}", tenant.tenant, tenant.requests_per_s);
        }
        text
    }
}

fn some(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// Observations between two looks, below each bound.
fn difference(old: &[(f64, f64)], new: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let before = |bound: f64| old.iter().find(|(own, _)| *own == bound).map_or(0.0, |(_, n)| *n);
    let restarted = new.iter().any(|(bound, count)| *count < before(*bound));
    let grown = |(bound, count): &(f64, f64)| {
        (*bound, if restarted { *count } else { *count - before(*bound) })
    };
    new.iter().map(grown).collect()
}

/// A quantile, interpolated within its bucket as `histogram_quantile` does; observations above the last
/// bound count as that bound.
fn quantile_of(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = quantile * total;
    let (mut low, mut below) = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= rank && count > below {
            if bound.is_infinite() {
                return Some(low);
            }
            return Some(low + (bound - low) * (rank - below) / (count - below));
        }
        (low, below) = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(requests: u64, fast: u64) -> Sample {
        let text = format!(
            "aimass_requests_total{{model=\"m\",outcome=\"ok\"}} {requests}\n\
             aimass_requests_total{{model=\"m\",outcome=\"plugin\"}} 4\n\
             aimass_tenant_requests_total{{tenant=\"acme\"}} {requests}\n\
             {LATENCY}_bucket{{model=\"m\",le=\"0.1\"}} {fast}\n\
             {LATENCY}_bucket{{model=\"m\",le=\"0.2\"}} {requests}\n\
             {LATENCY}_bucket{{model=\"m\",le=\"+Inf\"}} {requests}\n\
             {BATCH}_sum {requests}\n{BATCH}_count 1\n\
             process_resident_memory_bytes 1048576\n"
        );
        Sample::parse(&text).unwrap()
    }

    #[test]
    fn rates_and_quantiles_are_of_the_interval() {
        let view = View::between(&page(100, 100), &page(120, 110), Duration::from_secs(2));
        assert_eq!((view.requests_per_s, view.errors_per_s), (10.0, 0.0));
        // Ten of the twenty were below 0.1 s, ten between 0.1 and 0.2.
        assert_eq!(view.p50_ms, Some(100.0));
        assert!((view.p99_ms.unwrap() - 198.0).abs() < 1e-6);
        assert_eq!((view.batch_calls, view.models.len()), (None, 1));
        assert_eq!(view.tenants[0].requests_per_s, 10.0);
        let json: serde_json::Value = serde_json::from_str(&view.json()).unwrap();
        assert_eq!(json["models"][0]["model"], "m");
        let text = view.text("http://h");
        assert!(text.contains("10.0 requests/s") && text.contains("acme"), "{text}");
        assert!(text.contains("1.0 MiB"), "{text}");
    }

    #[test]
    fn a_server_that_started_again_counts_from_zero() {
        let view = View::between(&page(100, 100), &page(10, 10), Duration::from_secs(1));
        // Ten answered, and the four that failed.
        assert_eq!(view.requests_per_s, 14.0);
        assert!(view.p50_ms.unwrap() <= 100.0);
        let idle = View::between(&page(10, 10), &page(10, 10), Duration::from_secs(1));
        assert_eq!((idle.p50_ms, idle.requests_per_s), (None, 0.0));
    }
}
