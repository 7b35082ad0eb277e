//! Metering and tracing of requests: what `[gateway.telemetry]` sets.
//!
//! Every inference of every protocol passes [`Telemetry::begin`] before it runs and [`Metered::end`] before its
//! answer leaves: no slot in the journal, no run; no record, no answer.

mod metered;
mod metrics;
mod observing;

pub(crate) use metered::Metered;
pub(crate) use observing::Observing;

use crate::config::ConfigError;
use crate::failure::Failure;
use aimass_engine::InferRequest;
use aimass_telemetry::call::Call;
use aimass_telemetry::metrics::Page;
use aimass_telemetry::trace::{TraceConfig, TraceError, Tracer};
use aimass_telemetry::usage::{
    Meter, UsageConfig, UsageError, UsageKind, UsageQuery, UsageRow, read_usage,
};
use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// What is recorded about requests, and where it goes: `[gateway.telemetry]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Usage records: `[gateway.telemetry.usage]`.
    pub usage: UsageConfig,
    /// Traces: `[gateway.telemetry.traces]`.
    pub traces: TraceConfig,
    /// Whether each request leaves a line in the log. Default false.
    pub access_log: bool,
}

impl TelemetryConfig {
    /// Checks every setting against its range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        // Anything that is no number is out of range.
        let ratio = self.traces.ratio;
        let millionths = if ratio.is_nan() { u64::MAX } else { (ratio * 1e6).ceil() as u64 };
        let millionths = if ratio < 0.0 { u64::MAX } else { millionths };
        let queue = self.traces.queue_len_max as u64;
        let traces = [
            ("telemetry.traces.ratio (in millionths)", millionths, 0, 1_000_000),
            ("telemetry.traces.queue_len_max", queue, 1, 1 << 20),
        ];
        for (field, got, min, max) in self.usage.ranges().into_iter().chain(traces) {
            if got < min || got > max {
                return Err(ConfigError { field, min, max, got });
            }
        }
        Ok(())
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Usage cannot be metered.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Calls cannot be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

/// The meter and the tracer of a gateway.
pub(crate) struct Telemetry {
    meter: Option<Meter>,
    usage_dir: Option<PathBuf>,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) access_log: bool,
}

impl Telemetry {
    /// Opens the journal, if usage is metered and has a folder, and starts the tracer.
    pub(crate) fn open(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
        let dir = config.usage.dir.as_ref().filter(|_| config.usage.enabled);
        let meter = dir.map(|dir| Meter::open(dir, &config.usage)).transpose()?;
        let tracer = Arc::new(Tracer::new(config.traces.clone())?);
        Ok(Telemetry { meter, usage_dir: dir.cloned(), tracer, access_log: config.access_log })
    }

    /// The call of a request with this id and these headers.
    pub(crate) fn call(&self, id: &str, headers: &HeaderMap) -> Arc<Call> {
        let trace = self.tracer.is_on().then(|| {
            let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
            self.tracer.sample(text(TRACE_PARENT), text(TRACE_STATE))
        });
        Call::new(id, trace.flatten())
    }

    /// Makes room for the record of an inference that is about to run; 503 where there is none.
    pub(crate) fn begin(
        &self,
        request: &InferRequest,
        kind: UsageKind,
    ) -> Result<Metered, Failure> {
        let slot = self.meter.as_ref().map(Meter::reserve).transpose();
        let slot = slot.map_err(|error| Failure::overloaded(error.to_string()))?;
        Ok(Metered::new(slot, request, kind))
    }

    /// Why calls cannot be metered now.
    pub(crate) fn failing(&self) -> Option<String> {
        self.meter.as_ref().and_then(Meter::failing)
    }

    /// Sums of usage of all servers on this folder, for whoever may see them. Reads files.
    #[expect(dead_code, reason = "the admin API asks here")]
    pub(crate) fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, UsageError> {
        self.usage_dir.as_ref().map_or_else(|| Ok(Vec::new()), |dir| read_usage(dir, query))
    }

    /// Adds the metrics of meter and tracer.
    pub(crate) fn write_metrics(&self, page: &mut Page) {
        let meter = self.meter.as_ref().map(Meter::stats);
        metrics::write(meter.as_ref(), &self.tracer.stats(), page);
    }
}
