//! The Prometheus text format (version 0.0.4), and the one list of every metric there is.
//!
//! A metric that is not in [`catalog`] cannot be written. Values of labels come from the registry, from
//! keys that the operator made, and from closed sets, never from a request.

pub mod catalog;
mod page;
mod process;

pub use page::{Page, Samples};
pub use process::write_process;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, until the server starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations by upper bounds, with their sum and count.
    Histogram,
}

impl MetricKind {
    /// The word of the text format.
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// One metric with all its labels.
#[derive(Debug)]
pub struct Metric {
    /// Name; its unit comes last, before `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it counts, as one sentence.
    pub help: &'static str,
}
