//! What the gateway itself counts, in the Prometheus text format (version 0.0.4).

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS_US: [u64; 9] =
    [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000];

/// Kinds of route, as metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    Health,
    Metadata,
    Infer,
    Embeddings,
    Models,
    Metrics,
    Unknown,
}

impl RouteKind {
    const ALL: [RouteKind; 7] = [
        RouteKind::Health,
        RouteKind::Metadata,
        RouteKind::Infer,
        RouteKind::Embeddings,
        RouteKind::Models,
        RouteKind::Metrics,
        RouteKind::Unknown,
    ];

    /// The kind of a path, also of one that is no route: metrics must not grow with what outsiders
    /// make up.
    pub(crate) fn of(path: &str) -> RouteKind {
        if path.starts_with("/v2/models/") && path.ends_with("/infer") {
            RouteKind::Infer
        } else if path == "/v1/embeddings" {
            RouteKind::Embeddings
        } else if path.starts_with("/v2/health/") {
            RouteKind::Health
        } else if path == "/v2" || path.starts_with("/v2/") {
            RouteKind::Metadata
        } else if path.starts_with("/v1/models") {
            RouteKind::Models
        } else if path == "/metrics" {
            RouteKind::Metrics
        } else {
            RouteKind::Unknown
        }
    }

    fn name(self) -> &'static str {
        match self {
            RouteKind::Health => "health",
            RouteKind::Metadata => "metadata",
            RouteKind::Infer => "infer",
            RouteKind::Embeddings => "embeddings",
            RouteKind::Models => "models",
            RouteKind::Metrics => "metrics",
            RouteKind::Unknown => "unknown",
        }
    }
}

#[derive(Default)]
struct RouteCounters {
    /// By class of status: 1xx to 5xx.
    requests: [AtomicU64; 5],
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS_US.len()],
}

/// Counters of every kind of route.
#[derive(Default)]
pub(crate) struct Counters {
    routes: [RouteCounters; RouteKind::ALL.len()],
    /// Connections accepted since the start.
    pub(crate) connections: AtomicU64,
}

impl Counters {
    /// Counts an answered request.
    pub(crate) fn answered(&self, kind: RouteKind, status: u16, took: Duration) {
        let route = &self.routes[kind as usize];
        let class = usize::from((status / 100).clamp(1, 5) - 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        route.requests[class].fetch_add(1, Ordering::Relaxed);
        route.micros.fetch_add(micros, Ordering::Relaxed);
        if let Some(bucket) = BUCKETS_US.iter().position(|&bound| micros <= bound) {
            route.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Appends the metrics.
    pub(crate) fn write(&self, in_flight: usize, bodies_bytes: usize, out: &mut String) {
        self.write_requests(out);
        self.write_seconds(out);
        let connections = self.connections.load(Ordering::Relaxed);
        let singles = [
            ("aimass_gateway_in_flight", "gauge", "Requests inside now.", in_flight as u64),
            ("aimass_gateway_bodies_bytes", "gauge", "Memory of bodies.", bodies_bytes as u64),
            ("aimass_gateway_connections_total", "counter", "Connections accepted.", connections),
        ];
        for (name, kind, help, value) in singles {
            head(out, name, kind, help);
            line(out, format_args!("{name} {value}"));
        }
    }

    fn write_requests(&self, out: &mut String) {
        let name = "aimass_gateway_requests_total";
        head(out, name, "counter", "Requests answered, by kind of route and class of status.");
        for kind in RouteKind::ALL {
            for (class, count) in self.routes[kind as usize].requests.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let (kind, class) = (kind.name(), class + 1);
                    line(
                        out,
                        format_args!("{name}{{route=\"{kind}\",status=\"{class}xx\"}} {count}"),
                    );
                }
            }
        }
    }

    fn write_seconds(&self, out: &mut String) {
        let name = "aimass_gateway_request_seconds";
        head(out, name, "histogram", "From the request's header to the answer's, in seconds.");
        for kind in RouteKind::ALL {
            let route = &self.routes[kind as usize];
            let total: u64 = route.requests.iter().map(|one| one.load(Ordering::Relaxed)).sum();
            if total == 0 {
                continue;
            }
            let (kind, mut below) = (kind.name(), 0);
            for (bound, count) in BUCKETS_US.iter().zip(&route.buckets) {
                below += count.load(Ordering::Relaxed);
                let bound = *bound as f64 / 1e6;
                line(out, format_args!("{name}_bucket{{route=\"{kind}\",le=\"{bound}\"}} {below}"));
            }
            let seconds = route.micros.load(Ordering::Relaxed) as f64 / 1e6;
            line(out, format_args!("{name}_bucket{{route=\"{kind}\",le=\"+Inf\"}} {total}"));
            line(out, format_args!("{name}_sum{{route=\"{kind}\"}} {seconds}"));
            line(out, format_args!("{name}_count{{route=\"{kind}\"}} {total}"));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_kind_and_class_and_nothing_grows() {
        let counters = Counters::default();
        counters.answered(RouteKind::of("/v2/models/m/infer"), 200, Duration::from_micros(250));
        counters.answered(RouteKind::of("/v2/models/m/infer"), 400, Duration::from_secs(60));
        for path in ["/a", "/b", "/v1/other"] {
            counters.answered(RouteKind::of(path), 404, Duration::ZERO);
        }
        let mut text = String::new();
        counters.write(1, 2, &mut text);
        for expected in [
            "requests_total{route=\"infer\",status=\"2xx\"} 1\n",
            "requests_total{route=\"infer\",status=\"4xx\"} 1\n",
            "requests_total{route=\"unknown\",status=\"4xx\"} 3\n",
            "request_seconds_bucket{route=\"infer\",le=\"0.0001\"} 0\n",
            "request_seconds_bucket{route=\"infer\",le=\"0.0003\"} 1\n",
            "request_seconds_bucket{route=\"infer\",le=\"+Inf\"} 2\n",
            "in_flight 1\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
