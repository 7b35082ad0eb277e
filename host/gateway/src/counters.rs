//! What the gateway itself counts, for Prometheus.

use aimass_telemetry::metrics::{Page, catalog};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS_US: [u64; 9] =
    [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000];

/// Classes of status, as metrics name them.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

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

    pub(crate) fn name(self) -> &'static str {
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

    /// Adds the counters to a page.
    pub(crate) fn write(&self, in_flight: usize, bodies_bytes: usize, page: &mut Page) {
        self.write_requests(page);
        self.write_seconds(page);
        let connections = self.connections.load(Ordering::Relaxed);
        page.single(&catalog::GATEWAY_IN_FLIGHT, in_flight as f64);
        page.single(&catalog::GATEWAY_BODIES, bodies_bytes as f64);
        page.single(&catalog::GATEWAY_CONNECTIONS, connections as f64);
    }

    fn write_requests(&self, page: &mut Page) {
        let mut samples = page.start(&catalog::GATEWAY_REQUESTS);
        for kind in RouteKind::ALL {
            for (class, count) in self.routes[kind as usize].requests.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    samples.add(&[kind.name(), CLASSES[class]], count as f64);
                }
            }
        }
    }

    fn write_seconds(&self, page: &mut Page) {
        let mut samples = page.start(&catalog::GATEWAY_SECONDS);
        for kind in RouteKind::ALL {
            let route = &self.routes[kind as usize];
            let total: u64 = route.requests.iter().map(|one| one.load(Ordering::Relaxed)).sum();
            if total == 0 {
                continue;
            }
            let counts = route.buckets.iter().map(|count| count.load(Ordering::Relaxed));
            let bounds = BUCKETS_US.iter().map(|bound| *bound as f64 / 1e6);
            let seconds = route.micros.load(Ordering::Relaxed) as f64 / 1e6;
            samples.add_histogram(&[kind.name()], bounds.zip(counts), total, seconds);
        }
    }
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
        let mut page = Page::default();
        counters.write(1, 2, &mut page);
        let text = page.into_text();
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
