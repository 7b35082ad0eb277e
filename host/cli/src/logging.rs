//! Logging to standard error, whose level an operator may change while the server runs.

use aimass_gateway::{LogLevel, Observation};
use aimass_telemetry::logs::{LogFormat, LogLayer};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

/// Logging as it was started.
pub(crate) struct Logging {
    /// The filter of the command line, in force again when its level is asked for.
    filter: String,
    started: LogLevel,
    level: Mutex<LogLevel>,
    reload: Reload,
}

/// Puts another filter in force.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Starts logging with this filter and this kind of line.
pub(crate) fn start(filter: &str, format: LogFormat) -> Logging {
    let parsed = EnvFilter::new(filter);
    let level = level_of(&parsed);
    let (parsed, handle) = reload::Layer::new(parsed);
    let lines = LogLayer::new(format, std::io::stderr());
    tracing_subscriber::registry().with(parsed).with(lines).init();
    Logging {
        filter: filter.to_owned(),
        started: level,
        level: Mutex::new(level),
        reload: Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())),
    }
}

fn level_of(filter: &EnvFilter) -> LogLevel {
    match filter.max_level_hint() {
        Some(LevelFilter::OFF) => LogLevel::Off,
        Some(LevelFilter::ERROR) => LogLevel::Error,
        Some(LevelFilter::WARN) => LogLevel::Warn,
        Some(LevelFilter::INFO) => LogLevel::Info,
        Some(LevelFilter::DEBUG) => LogLevel::Debug,
        Some(LevelFilter::TRACE) | None => LogLevel::Trace,
    }
}

impl Observation for Logging {
    fn log_level(&self) -> LogLevel {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_log_level(&self, level: LogLevel) -> Result<(), String> {
        let text = match level {
            level if level == self.started => &self.filter,
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "warn,aimass=info,aimass_engine=info",
            LogLevel::Debug => "info,aimass=debug,aimass_engine=debug,aimass_gateway=debug",
            LogLevel::Trace => "debug,aimass=trace,aimass_engine=trace,aimass_gateway=trace",
        };
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        (self.reload)(EnvFilter::new(text))?;
        *current = level;
        Ok(())
    }

    fn trace_ratio(&self) -> f64 {
        0.0
    }

    fn set_trace_ratio(&self, ratio: f64) -> Result<(), String> {
        if ratio == 0.0 {
            return Ok(());
        }
        let mend = "set gateway.telemetry.traces.endpoint";
        Err(format!("this server was started without a place to send traces to; {mend}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_of_a_filter_is_its_most_talkative() {
        assert_eq!(level_of(&EnvFilter::new("warn,aimass=info")), LogLevel::Info);
        assert_eq!(level_of(&EnvFilter::new("error")), LogLevel::Error);
        assert_eq!(level_of(&EnvFilter::new("off")), LogLevel::Off);
    }
}
