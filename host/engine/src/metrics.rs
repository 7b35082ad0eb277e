//! Counters of the engine, as Prometheus text. Labels come from the registry and from closed sets, never
//! from a request, so that nobody can grow them.

use crate::EngineError;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Label of requests for models that do not exist.
const UNKNOWN_MODEL: &str = "_unknown";

#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<String, ModelCounters>>,
    refusals: Mutex<BTreeMap<String, u64>>,
    plugin_failures: Mutex<BTreeMap<(String, &'static str), u64>>,
    traces: Mutex<BTreeMap<String, TraceCounters>>,
}

#[derive(Default)]
struct TraceCounters {
    sessions: u64,
    stages: u64,
    seconds: f64,
}

#[derive(Default)]
struct ModelCounters {
    answered: u64,
    seconds: f64,
    tokens: u64,
    failed: BTreeMap<&'static str, u64>,
}

impl Metrics {
    /// Counts a request that was answered.
    pub(crate) fn answered(&self, model: &str, took: Duration, tokens: u64) {
        self.of_model(model, |counters| {
            counters.answered += 1;
            counters.seconds += took.as_secs_f64();
            counters.tokens += tokens;
        });
    }

    /// Counts a request that was not answered; `model` is `None` if there is no such model.
    pub(crate) fn failed(&self, model: Option<&str>, error: &EngineError) {
        let family = error.family().name();
        self.of_model(model.unwrap_or(UNKNOWN_MODEL), |counters| {
            *counters.failed.entry(family).or_insert(0) += 1;
        });
    }

    /// Counts a package that was refused.
    pub(crate) fn refused(&self, code: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(code.to_owned()).or_insert(0) += 1;
    }

    /// Counts a plugin call that failed, by plugin and cause.
    pub(crate) fn plugin_failed(&self, plugin: &str, cause: &'static str) {
        let mut failures = self.plugin_failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry((plugin.to_owned(), cause)).or_insert(0) += 1;
    }

    /// Counts a stage that a format plugin traced, or failed to; `opened` if it took a session of its
    /// own.
    pub(crate) fn traced(&self, model: &str, opened: bool, took: Duration) {
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = traces.entry(model.to_owned()).or_default();
        counters.sessions += u64::from(opened);
        counters.stages += 1;
        counters.seconds += took.as_secs_f64();
    }

    /// Everything as Prometheus text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(
            "# TYPE aimass_requests_total counter\n# TYPE aimass_request_seconds_total counter\n",
        );
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (model, counters) in &*requests {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "aimass_requests_total{{model=\"{model}\",outcome=\"ok\"}} {}\n\
                 aimass_request_seconds_total{{model=\"{model}\"}} {}\n\
                 aimass_tokens_total{{model=\"{model}\"}} {}",
                counters.answered, counters.seconds, counters.tokens
            );
            for (family, count) in &counters.failed {
                let _ = writeln!(
                    text,
                    "aimass_requests_total{{model=\"{model}\",outcome=\"{family}\"}} {count}"
                );
            }
        }
        drop(requests);
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        for (code, count) in &*refusals {
            let _ = writeln!(text, "aimass_trust_refusals_total{{code=\"{code}\"}} {count}");
        }
        drop(refusals);
        let failures = self.plugin_failures.lock().unwrap_or_else(PoisonError::into_inner);
        for ((plugin, cause), count) in &*failures {
            let _ = writeln!(
                text,
                "aimass_plugin_failures_total{{plugin=\"{plugin}\",cause=\"{cause}\"}} {count}"
            );
        }
        drop(failures);
        self.trace_text(&mut text);
        text
    }

    fn trace_text(&self, text: &mut String) {
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        for (model, counters) in &*traces {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "aimass_traces_total{{model=\"{model}\"}} {}\n\
                 aimass_trace_stages_total{{model=\"{model}\"}} {}\n\
                 aimass_trace_seconds_total{{model=\"{model}\"}} {}",
                counters.sessions, counters.stages, counters.seconds
            );
        }
    }

    fn of_model(&self, model: &str, change: impl FnOnce(&mut ModelCounters)) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = requests.get_mut(model) {
            change(counters);
            return;
        }
        change(requests.entry(model.to_owned()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_model_and_outcome() {
        let metrics = Metrics::default();
        metrics.answered("m", Duration::from_millis(500), 7);
        metrics.failed(Some("m"), &EngineError::invalid("x"));
        metrics.failed(None, &EngineError::invalid("x"));
        metrics.refused("AMT-SIG");
        metrics.plugin_failed("a/b", "trap");
        metrics.traced("t", true, Duration::from_millis(500));
        metrics.traced("t", false, Duration::from_millis(500));
        let text = metrics.text();
        for line in [
            "aimass_requests_total{model=\"m\",outcome=\"ok\"} 1",
            "aimass_requests_total{model=\"m\",outcome=\"invalid-input\"} 1",
            "aimass_requests_total{model=\"_unknown\",outcome=\"invalid-input\"} 1",
            "aimass_tokens_total{model=\"m\"} 7",
            "aimass_plugin_failures_total{plugin=\"a/b\",cause=\"trap\"} 1",
            "aimass_trust_refusals_total{code=\"AMT-SIG\"} 1",
            "aimass_traces_total{model=\"t\"} 1",
            "aimass_trace_stages_total{model=\"t\"} 2",
            "aimass_trace_seconds_total{model=\"t\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
