//! Log and trace settings and repository states, in Triton's words.
//!
//! Triton `extension_logging.md`, `extension_trace.md`, `extension_model_repository.md`. What can be
//! changed is what this server has; any other setting is refused by name, never ignored.

use crate::failure::Failure;
use crate::serving::{LogLevel, Observation};
use aimass_engine::{Serviceability, VersionStatus};
use axum::http::StatusCode;

/// The value of a log setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LogSetting {
    Bool(bool),
    Number(u64),
    Text(String),
}

/// The log settings in force.
pub(crate) fn log(observation: &dyn Observation) -> [(&'static str, LogSetting); 6] {
    let level = observation.log_level();
    let verbose = match level {
        LogLevel::Off | LogLevel::Error | LogLevel::Warn | LogLevel::Info => 0,
        LogLevel::Debug => 1,
        LogLevel::Trace => 2,
    };
    [
        ("log_file", LogSetting::Text(String::new())),
        ("log_info", LogSetting::Bool(level >= LogLevel::Info)),
        ("log_warning", LogSetting::Bool(level >= LogLevel::Warn)),
        ("log_error", LogSetting::Bool(level >= LogLevel::Error)),
        ("log_verbose_level", LogSetting::Number(verbose)),
        ("log_format", LogSetting::Text("default".to_owned())),
    ]
}

/// Changes log settings: the most talkative one that is on decides.
///
/// # Errors
/// 400 for a setting that does not exist, cannot be changed, or has the wrong kind of value.
pub(crate) fn set_log(
    observation: &dyn Observation,
    wanted: impl IntoIterator<Item = (String, LogSetting)>,
) -> Result<(), Failure> {
    let level = observation.log_level();
    let mut on = [level >= LogLevel::Error, level >= LogLevel::Warn, level >= LogLevel::Info];
    let mut verbose = u64::from(level >= LogLevel::Debug) + u64::from(level >= LogLevel::Trace);
    let mut changed = false;
    for (name, value) in wanted {
        match (name.as_str(), value) {
            ("log_error", LogSetting::Bool(value)) => on[0] = value,
            ("log_warning", LogSetting::Bool(value)) => on[1] = value,
            ("log_info", LogSetting::Bool(value)) => on[2] = value,
            ("log_verbose_level", LogSetting::Number(value)) => verbose = value,
            // What it is already may be said again.
            ("log_file", LogSetting::Text(value)) if value.is_empty() => {}
            ("log_format", LogSetting::Text(value)) if value == "default" => {}
            ("log_error" | "log_warning" | "log_info", _) => {
                return Err(wrong(&name, "true or false"));
            }
            ("log_verbose_level", _) => return Err(wrong(&name, "a number of 0 and more")),
            ("log_file", _) => {
                let instead = "no file: the log goes to the server's standard error";
                return Err(wrong(&name, instead));
            }
            ("log_format", _) => {
                return Err(wrong(&name, "`default`; start the server with --log-format instead"));
            }
            _ => return Err(unknown("log", &name)),
        }
        changed = true;
    }
    if !changed {
        return Ok(());
    }
    let level = match (verbose, on) {
        (2.., _) => LogLevel::Trace,
        (1, _) => LogLevel::Debug,
        (0, [_, _, true]) => LogLevel::Info,
        (0, [_, true, false]) => LogLevel::Warn,
        (0, [true, false, false]) => LogLevel::Error,
        (0, [false, false, false]) => LogLevel::Off,
    };
    observation.set_log_level(level).map_err(not_here)
}

/// The trace settings in force; a ratio of 0 is `OFF`, and the rate is how many requests one is
/// traced of.
pub(crate) fn trace(observation: &dyn Observation) -> [(&'static str, String); 6] {
    let ratio = observation.trace_ratio();
    let (level, rate) = if ratio > 0.0 {
        ("TIMESTAMPS", (1.0 / ratio).round().max(1.0) as u64)
    } else {
        ("OFF", 0)
    };
    [
        ("trace_file", String::new()),
        ("trace_level", level.to_owned()),
        ("trace_rate", rate.to_string()),
        ("trace_count", "-1".to_owned()),
        ("log_frequency", "0".to_owned()),
        ("trace_mode", "opentelemetry".to_owned()),
    ]
}

/// Changes one trace setting; an empty list of values clears it, which is what it is already for
/// all that cannot be changed.
///
/// # Errors
/// 400 for a setting that does not exist, cannot be changed, or a value out of range.
pub(crate) fn set_trace(
    observation: &dyn Observation,
    name: &str,
    values: &[&str],
) -> Result<(), Failure> {
    match (name, values) {
        ("trace_level", ["OFF"]) => observation.set_trace_ratio(0.0).map_err(not_here),
        ("trace_level", ["TIMESTAMPS"]) if observation.trace_ratio() > 0.0 => Ok(()),
        ("trace_level", ["TIMESTAMPS"]) => observation.set_trace_ratio(1.0).map_err(not_here),
        ("trace_rate", [rate]) => {
            let rate: u64 = rate.parse().map_err(|_| wrong(name, "a number of 0 and more"))?;
            let ratio = if rate == 0 { 0.0 } else { 1.0 / rate as f64 };
            observation.set_trace_ratio(ratio).map_err(not_here)
        }
        ("trace_level", _) => Err(wrong(name, "OFF or TIMESTAMPS")),
        ("trace_rate", _) => Err(wrong(name, "one number")),
        ("trace_file" | "trace_count" | "log_frequency" | "trace_mode", []) => Ok(()),
        ("trace_count", ["-1"]) | ("log_frequency", ["0"]) | ("trace_mode", ["opentelemetry"]) => {
            Ok(())
        }
        ("trace_file" | "trace_count" | "log_frequency" | "trace_mode", _) => {
            Err(wrong(name, "its default: spans leave by OpenTelemetry only"))
        }
        _ => Err(unknown("trace", name)),
    }
}

/// Why one model's trace settings cannot be changed.
pub(crate) fn model_trace() -> Failure {
    Failure::invalid("trace settings hold for every model; change them at /v2/trace/setting")
}

/// Triton's word for a version's state.
pub(crate) fn state(status: &VersionStatus) -> &'static str {
    match status.state {
        Serviceability::Ready => "READY",
        Serviceability::Loading => "LOADING",
        Serviceability::Unavailable => "UNAVAILABLE",
    }
}

/// Whether a version can answer.
pub(crate) fn is_ready(status: &VersionStatus) -> bool {
    status.state == Serviceability::Ready
}

/// Why a load request's parameter is refused.
pub(crate) fn load_parameter(name: &str) -> Failure {
    let name: String = name.chars().take(128).collect();
    Failure::invalid(format!(
        "parameter {name:?}: models are loaded as they were published and signed, without other \
         configuration or files; publish another version instead"
    ))
}

fn wrong(name: &str, expected: &str) -> Failure {
    Failure::invalid(format!("{name}: expected {expected}"))
}

fn unknown(kind: &str, name: &str) -> Failure {
    let name: String = name.chars().take(128).collect();
    Failure::invalid(format!("there is no {kind} setting {name:?}"))
}

fn not_here(reason: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "not-here", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Fake(Mutex<(LogLevel, f64)>);

    impl Observation for Fake {
        fn log_level(&self) -> LogLevel {
            self.0.lock().unwrap().0
        }
        fn set_log_level(&self, level: LogLevel) -> Result<(), String> {
            self.0.lock().unwrap().0 = level;
            Ok(())
        }
        fn trace_ratio(&self) -> f64 {
            self.0.lock().unwrap().1
        }
        fn set_trace_ratio(&self, ratio: f64) -> Result<(), String> {
            self.0.lock().unwrap().1 = ratio;
            Ok(())
        }
    }

    #[test]
    fn the_most_talkative_log_setting_decides() {
        let fake = Fake(Mutex::new((LogLevel::Info, 0.0)));
        let set = |name: &str, value| set_log(&fake, [(name.to_owned(), value)]);
        set("log_verbose_level", LogSetting::Number(1)).unwrap();
        assert_eq!(fake.log_level(), LogLevel::Debug);
        set("log_verbose_level", LogSetting::Number(0)).unwrap();
        set("log_info", LogSetting::Bool(false)).unwrap();
        assert_eq!(fake.log_level(), LogLevel::Warn);
        assert_eq!(log(&fake)[1].1, LogSetting::Bool(false));
        for (name, value) in [
            ("log_file", LogSetting::Text("/tmp/x".into())),
            ("log_format", LogSetting::Text("ISO8601".into())),
            ("log_info", LogSetting::Number(1)),
            ("log_verbose_level", LogSetting::Bool(true)),
            ("log_everything", LogSetting::Bool(true)),
        ] {
            assert_eq!(set(name, value).unwrap_err().status, StatusCode::BAD_REQUEST, "{name}");
        }
        assert_eq!(fake.log_level(), LogLevel::Warn);
    }

    #[test]
    fn the_trace_rate_is_one_of_so_many() {
        let fake = Fake(Mutex::new((LogLevel::Info, 0.0)));
        assert_eq!(trace(&fake)[1].1, "OFF");
        set_trace(&fake, "trace_rate", &["100"]).unwrap();
        assert_eq!(fake.trace_ratio(), 0.01);
        assert_eq!((trace(&fake)[1].1.as_str(), trace(&fake)[2].1.as_str()), ("TIMESTAMPS", "100"));
        set_trace(&fake, "trace_level", &["OFF"]).unwrap();
        assert_eq!(fake.trace_ratio(), 0.0);
        set_trace(&fake, "trace_file", &[]).unwrap();
        for (name, values) in [
            ("trace_rate", &["x"][..]),
            ("trace_rate", &[]),
            ("trace_level", &["TENSORS"]),
            ("trace_file", &["/tmp/x"]),
            ("trace_all", &["1"]),
        ] {
            assert!(set_trace(&fake, name, values).is_err(), "{name}");
        }
    }
}
