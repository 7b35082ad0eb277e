//! Counters of the engine, for Prometheus. Labels come from the registry and from closed sets, never
//! from a request, so that nobody can grow them.

use crate::{EngineError, InferResponse};
use aimass_telemetry::call::{Call, current};
use aimass_telemetry::metrics::{Page, catalog};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Label of requests for models that do not exist.
const UNKNOWN_MODEL: &str = "_unknown";
/// Tenants with a counter of their own.
const TENANTS_MAX: usize = 1000;
/// Label of all further tenants.
const OTHER_TENANT: &str = "_other";
/// Upper bounds of the latency buckets, in microseconds: each twice the one before.
const BUCKETS_US: [u64; 20] = {
    let mut bounds = [50; 20];
    let mut index = 1;
    while index < bounds.len() {
        bounds[index] = bounds[index - 1] * 2;
        index += 1;
    }
    bounds
};

#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<String, ModelCounters>>,
    tenants: Mutex<BTreeMap<Arc<str>, u64>>,
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
    plugin_seconds: f64,
    kernel_seconds: f64,
    tokens: u64,
    buckets: [u64; BUCKETS_US.len()],
    /// Steps of every version together; a pipeline has at most 64.
    steps: BTreeMap<Arc<str>, f64>,
    failed: BTreeMap<&'static str, u64>,
    /// Calls by other models' plugins, by outcome.
    called: BTreeMap<&'static str, u64>,
}

impl Metrics {
    /// Counts a request that was answered, and what the present call used for it.
    pub(crate) fn answered(&self, answer: &InferResponse, took: Duration) {
        let used = current(Call::used).unwrap_or_default();
        self.of_model(&answer.model, |counters| {
            counters.answered += 1;
            counters.seconds += took.as_secs_f64();
            counters.plugin_seconds += used.plugin.as_secs_f64();
            counters.kernel_seconds += used.kernel.as_secs_f64();
            counters.tokens += answer.usage.tokens.unwrap_or(0);
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            if let Some(bucket) = BUCKETS_US.iter().position(|&bound| us <= bound) {
                counters.buckets[bucket] += 1;
            }
            for (step, time) in &answer.rooms {
                match counters.steps.get_mut(step) {
                    Some(seconds) => *seconds += time.as_secs_f64(),
                    None => _ = counters.steps.insert(step.clone(), time.as_secs_f64()),
                }
            }
        });
    }

    /// Counts a request of a tenant, whatever becomes of it.
    pub(crate) fn asked_by(&self, tenant: &Arc<str>) {
        let mut tenants = lock(&self.tenants);
        if let Some(count) = tenants.get_mut(tenant) {
            *count += 1;
            return;
        }
        let name = if tenants.len() < TENANTS_MAX { tenant.clone() } else { OTHER_TENANT.into() };
        *tenants.entry(name).or_insert(0) += 1;
    }

    /// Counts a request that was not answered; `model` is `None` if there is no such model.
    pub(crate) fn failed(&self, model: Option<&str>, error: &EngineError) {
        let family = error.family().name();
        self.of_model(model.unwrap_or(UNKNOWN_MODEL), |counters| {
            *counters.failed.entry(family).or_insert(0) += 1;
        });
    }

    /// Counts a call by a plugin of another model.
    pub(crate) fn called(&self, model: &str, answer: &Result<InferResponse, EngineError>) {
        let outcome = answer.as_ref().map_or_else(|error| error.family().name(), |_| "ok");
        self.of_model(model, |counters| *counters.called.entry(outcome).or_insert(0) += 1);
    }

    /// Counts a package that was refused.
    pub(crate) fn refused(&self, code: &str) {
        let mut refusals = lock(&self.refusals);
        *refusals.entry(code.to_owned()).or_insert(0) += 1;
    }

    /// Counts a plugin call that failed, by plugin and cause.
    pub(crate) fn plugin_failed(&self, plugin: &str, cause: &'static str) {
        let mut failures = lock(&self.plugin_failures);
        *failures.entry((plugin.to_owned(), cause)).or_insert(0) += 1;
    }

    /// Counts a stage that a format plugin traced, or failed to; `opened` if it took a session of its
    /// own.
    pub(crate) fn traced(&self, model: &str, opened: bool, took: Duration) {
        let mut traces = lock(&self.traces);
        let counters = traces.entry(model.to_owned()).or_default();
        counters.sessions += u64::from(opened);
        counters.stages += 1;
        counters.seconds += took.as_secs_f64();
    }

    /// Adds everything to a page.
    pub(crate) fn write(&self, page: &mut Page) {
        self.write_requests(page);
        let mut samples = page.start(&catalog::TENANT_REQUESTS);
        for (tenant, count) in &*lock(&self.tenants) {
            samples.add(&[tenant], *count as f64);
        }
        let mut samples = page.start(&catalog::TRUST_REFUSALS);
        for (code, count) in &*lock(&self.refusals) {
            samples.add(&[code], *count as f64);
        }
        let mut samples = page.start(&catalog::PLUGIN_FAILURES);
        for ((plugin, cause), count) in &*lock(&self.plugin_failures) {
            samples.add(&[plugin, cause], *count as f64);
        }
        let traces = lock(&self.traces);
        let mut each = |metric, value: fn(&TraceCounters) -> f64| {
            let mut samples = page.start(metric);
            for (model, counters) in &*traces {
                samples.add(&[model], value(counters));
            }
        };
        each(&catalog::TRACES, |counters| counters.sessions as f64);
        each(&catalog::TRACE_STAGES, |counters| counters.stages as f64);
        each(&catalog::TRACE_SECONDS, |counters| counters.seconds);
    }

    fn write_requests(&self, page: &mut Page) {
        let models = lock(&self.requests);
        let mut samples = page.start(&catalog::REQUESTS);
        for (model, counters) in &*models {
            samples.add(&[model, "ok"], counters.answered as f64);
            for (family, count) in &counters.failed {
                samples.add(&[model, family], *count as f64);
            }
        }
        let mut each = |metric, value: fn(&ModelCounters) -> f64| {
            let mut samples = page.start(metric);
            for (model, counters) in &*models {
                samples.add(&[model], value(counters));
            }
        };
        each(&catalog::REQUEST_SECONDS, |counters| counters.seconds);
        each(&catalog::PLUGIN_SECONDS, |counters| counters.plugin_seconds);
        each(&catalog::KERNEL_SECONDS, |counters| counters.kernel_seconds);
        each(&catalog::TOKENS, |counters| counters.tokens as f64);
        let mut samples = page.start(&catalog::REQUEST_LATENCY);
        for (model, counters) in &*models {
            let buckets = BUCKETS_US.map(|us| us as f64 / 1e6).into_iter().zip(counters.buckets);
            samples.add_histogram(&[model], buckets, counters.answered, counters.seconds);
        }
        let mut samples = page.start(&catalog::MODEL_CALLS);
        for (model, counters) in &*models {
            for (outcome, count) in &counters.called {
                samples.add(&[model, outcome], *count as f64);
            }
        }
        let mut samples = page.start(&catalog::STEP_SECONDS);
        for (model, counters) in &*models {
            for (step, seconds) in &counters.steps {
                samples.add(&[model, step], *seconds);
            }
        }
    }

    fn of_model(&self, model: &str, change: impl FnOnce(&mut ModelCounters)) {
        let mut requests = lock(&self.requests);
        if let Some(counters) = requests.get_mut(model) {
            change(counters);
            return;
        }
        change(requests.entry(model.to_owned()).or_default());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Usage;

    #[test]
    fn requests_are_counted_by_model_and_outcome() {
        let metrics = Metrics::default();
        let answer = InferResponse {
            model: "m".into(),
            version: 1,
            outputs: Vec::new(),
            usage: Usage { tokens: Some(7) },
            rooms: vec![("step".into(), Duration::from_millis(250))],
        };
        metrics.answered(&answer, Duration::from_millis(500));
        for tenant in 0..=TENANTS_MAX {
            metrics.asked_by(&tenant.to_string().into());
        }
        metrics.failed(Some("m"), &EngineError::invalid("x"));
        metrics.failed(None, &EngineError::invalid("x"));
        metrics.called("m", &Ok(answer.clone()));
        metrics.called("m", &Err(EngineError::invalid("x")));
        metrics.refused("AMT-SIG");
        metrics.plugin_failed("a/b", "trap");
        metrics.traced("t", true, Duration::from_millis(500));
        metrics.traced("t", false, Duration::from_millis(500));
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.into_text();
        for line in [
            "aimass_requests_total{model=\"m\",outcome=\"ok\"} 1",
            "aimass_requests_total{model=\"m\",outcome=\"invalid-input\"} 1",
            "aimass_requests_total{model=\"_unknown\",outcome=\"invalid-input\"} 1",
            "aimass_model_calls_total{model=\"m\",outcome=\"ok\"} 1",
            "aimass_model_calls_total{model=\"m\",outcome=\"invalid-input\"} 1",
            "aimass_tokens_total{model=\"m\"} 7",
            "aimass_plugin_failures_total{plugin=\"a/b\",cause=\"trap\"} 1",
            "aimass_trust_refusals_total{code=\"AMT-SIG\"} 1",
            "aimass_traces_total{model=\"t\"} 1",
            "aimass_trace_stages_total{model=\"t\"} 2",
            "aimass_trace_seconds_total{model=\"t\"} 1",
            "aimass_request_latency_seconds_bucket{model=\"m\",le=\"0.4096\"} 0",
            "aimass_request_latency_seconds_bucket{model=\"m\",le=\"0.8192\"} 1",
            "aimass_step_seconds_total{model=\"m\",step=\"step\"} 0.25",
            "aimass_tenant_requests_total{tenant=\"999\"} 1",
            "aimass_tenant_requests_total{tenant=\"_other\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
