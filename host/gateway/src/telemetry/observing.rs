//! What operators see and change of logging and tracing: logging as the binary started it, and the
//! gateway's own tracer.

use crate::serving::{LogLevel, Observation};
use aimass_telemetry::trace::Tracer;
use std::sync::Arc;

/// Logging of whoever started the gateway, with the tracer in place of its own.
pub(crate) struct Observing {
    logs: Arc<dyn Observation>,
    tracer: Arc<Tracer>,
}

impl Observing {
    pub(crate) fn new(logs: Arc<dyn Observation>, tracer: Arc<Tracer>) -> Observing {
        Observing { logs, tracer }
    }
}

impl Observation for Observing {
    fn log_level(&self) -> LogLevel {
        self.logs.log_level()
    }

    fn set_log_level(&self, level: LogLevel) -> Result<(), String> {
        self.logs.set_log_level(level)
    }

    fn trace_ratio(&self) -> f64 {
        if self.tracer.is_on() { self.tracer.ratio() } else { self.logs.trace_ratio() }
    }

    fn set_trace_ratio(&self, ratio: f64) -> Result<(), String> {
        if !self.tracer.is_on() {
            return self.logs.set_trace_ratio(ratio);
        }
        self.tracer.set_ratio(ratio);
        Ok(())
    }
}
