//! Circuits of models: one for each tenant and model version that failed lately.
//!
//! Of one tenant, because a plugin may fail on what one tenant sends: its inputs must not close the
//! model to others. While nothing has failed for ten seconds there are none, and nothing is looked up.

use super::circuit::{Circuit, CircuitRules, Pass};
use super::config::CircuitConfig;
use crate::failure::{Failure, Retry};
use aimass_engine::{EngineError, Family};
use aimass_telemetry::metrics::{Page, catalog};
use axum::http::StatusCode;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most circuits; failures of further tenants and versions open none.
const CIRCUITS_MAX: usize = 4096;
/// Most model versions with a metric of their own.
const SERIES_MAX: usize = 256;
/// How often circuits that nobody needs are dropped.
const SWEPT_EVERY: Duration = Duration::from_secs(5);
/// Longest reason that is kept, in characters.
const REASON_MAX: usize = 200;

/// Whose circuit: tenant, model, version.
pub(crate) type Key = (Arc<str>, Arc<str>, u64);

/// All circuits of models.
#[derive(Debug)]
pub(crate) struct Circuits {
    rules: Option<CircuitRules>,
    table: Mutex<Table>,
    len: AtomicUsize,
    opened: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    circuits: HashMap<Key, Tracked>,
    swept: Option<Instant>,
}

#[derive(Debug, Default)]
struct Tracked {
    circuit: Circuit,
    reason: String,
}

/// How a call ended, as its circuit sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// It was answered, or refused through its caller's fault.
    Good,
    /// The model failed, for this reason.
    Bad(&'a str),
    /// It was cancelled, or never got to the model.
    Unsaid,
}

impl Circuits {
    pub(crate) fn new(config: &CircuitConfig) -> Circuits {
        let rules = (config.failures_in_a_row > 0).then(|| CircuitRules {
            failures_in_a_row: config.failures_in_a_row,
            failures_percent: config.failures_percent,
            calls_min: config.calls_min,
            open: Duration::from_secs(config.open_seconds),
            open_max: Duration::from_secs(config.open_seconds_max),
            probes: config.probes,
        });
        let table = Mutex::default();
        Circuits { rules, table, len: AtomicUsize::new(0), opened: AtomicU64::new(0) }
    }

    /// Whether any model failed lately. If not, every call may go on.
    pub(crate) fn any(&self) -> bool {
        self.len.load(Ordering::Relaxed) > 0
    }

    /// Lets a call through, or says why it is not tried: 503 until a probe shows that the model works.
    pub(crate) fn admit(&self, key: &Key, now: Instant) -> Result<(), Failure> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let mut table = self.table();
        self.sweep(&mut table, now);
        let Some(tracked) = table.circuits.get_mut(key) else { return Ok(()) };
        match tracked.circuit.admit(rules, now) {
            Pass::Call | Pass::Probe => Ok(()),
            Pass::Refused(wait) => Err(open(key, &tracked.reason, wait)),
        }
    }

    /// Why calls of `key` are refused now, if they are.
    pub(crate) fn reason(&self, key: &Key) -> Option<String> {
        let table = self.table();
        let tracked = table.circuits.get(key).filter(|tracked| tracked.circuit.is_open())?;
        Some(message(key, &tracked.reason))
    }

    /// A call ended.
    pub(crate) fn ended(&self, key: &Key, outcome: Outcome<'_>, now: Instant) {
        let Some(rules) = &self.rules else { return };
        let mut table = self.table();
        match outcome {
            Outcome::Good => {
                if let Some(tracked) = table.circuits.get_mut(key) {
                    tracked.circuit.succeeded(rules, now);
                }
            }
            Outcome::Unsaid => {
                if let Some(tracked) = table.circuits.get_mut(key) {
                    tracked.circuit.unsaid();
                }
            }
            Outcome::Bad(reason) => {
                if table.circuits.len() >= CIRCUITS_MAX && !table.circuits.contains_key(key) {
                    return;
                }
                let tracked = table.circuits.entry(key.clone()).or_default();
                tracked.reason = reason.chars().take(REASON_MAX).collect();
                if tracked.circuit.failed(rules, now) {
                    self.opened.fetch_add(1, Ordering::Relaxed);
                    let (tenant, model, version) = key;
                    tracing::warn!(%tenant, %model, version, reason, "circuit opened");
                }
            }
        }
        self.len.store(table.circuits.len(), Ordering::Relaxed);
    }

    /// Adds its metrics to a page.
    pub(crate) fn write(&self, page: &mut Page) {
        let mut open: BTreeMap<(Arc<str>, u64), usize> = BTreeMap::new();
        for ((_, model, version), tracked) in &self.table().circuits {
            let key = (model.clone(), *version);
            if tracked.circuit.is_open() && (open.len() < SERIES_MAX || open.contains_key(&key)) {
                *open.entry(key).or_default() += 1;
            }
        }
        let opened = self.opened.load(Ordering::Relaxed);
        page.single(&catalog::GATEWAY_CIRCUITS_OPENED, opened as f64);
        let mut samples = page.start(&catalog::GATEWAY_CIRCUITS_OPEN);
        for ((model, version), tenants) in open {
            samples.add(&[&*model, &version.to_string()], tenants as f64);
        }
    }

    fn sweep(&self, table: &mut Table, now: Instant) {
        let recent = |swept| now.saturating_duration_since(swept) < SWEPT_EVERY;
        if table.swept.is_some_and(recent) {
            return;
        }
        table.swept = Some(now);
        table.circuits.retain(|_, tracked| !tracked.circuit.is_idle(now));
        self.len.store(table.circuits.len(), Ordering::Relaxed);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error says that the model does not work. What its caller sent, what its tenant may not
/// do and what is full for the moment does not; a deadline does only if the call had `plenty` of time.
pub(crate) fn blames_model(error: &EngineError, plenty: bool) -> bool {
    match error.family() {
        Family::Plugin => true,
        Family::Unavailable => !matches!(error.code(), "overloaded" | "closing" | "registry-busy"),
        Family::Deadline => plenty,
        Family::InvalidInput
        | Family::Forbidden
        | Family::NotFound
        | Family::TooLarge
        | Family::PackageRefused
        | Family::Quota => false,
    }
}

fn message((tenant, model, version): &Key, reason: &str) -> String {
    format!("model {model} version {version} keeps failing for tenant {tenant}, last: {reason}")
}

fn open(key: &Key, reason: &str, wait: Duration) -> Failure {
    let text = message(key, reason);
    let message = format!("{text}; it is tried again in {:.1} s", wait.as_secs_f64());
    let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "circuit-open", message);
    Failure { retry: Retry::After(wait), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, version: u64) -> Key {
        (tenant.into(), "m".into(), version)
    }

    fn failing(circuits: &Circuits, key: &Key, times: usize, now: Instant) {
        for _ in 0..times {
            assert!(circuits.admit(key, now).is_ok());
            circuits.ended(key, Outcome::Bad("plugin acme/bad trapped"), now);
        }
    }

    #[test]
    fn a_model_is_closed_to_the_tenant_and_version_that_failed_alone() {
        let (circuits, now) = (Circuits::new(&CircuitConfig::default()), Instant::now());
        assert!(!circuits.any());
        failing(&circuits, &key("a", 1), 5, now);
        let failure = circuits.admit(&key("a", 1), now).unwrap_err();
        assert_eq!((failure.status.as_u16(), &*failure.code), (503, "circuit-open"));
        assert_eq!(failure.retry, Retry::After(Duration::from_secs(5)));
        assert!(failure.message.contains("acme/bad trapped; it is tried again in 5.0 s"));
        assert!(circuits.reason(&key("a", 1)).is_some());
        for other in [key("b", 1), key("a", 2)] {
            assert!(circuits.admit(&other, now).is_ok());
            assert_eq!(circuits.reason(&other), None);
        }
        let mut page = Page::default();
        circuits.write(&mut page);
        let text = page.into_text();
        assert!(text.contains("circuits_opened_total 1\n"), "{text}");
        assert!(text.contains("circuits_open{model=\"m\",version=\"1\"} 1\n"), "{text}");
    }

    #[test]
    fn circuits_that_nobody_needs_are_dropped() {
        let (circuits, now) = (Circuits::new(&CircuitConfig::default()), Instant::now());
        failing(&circuits, &key("a", 1), 1, now);
        circuits.ended(&key("a", 1), Outcome::Good, now);
        assert!(circuits.any());
        assert!(circuits.admit(&key("b", 1), now + Duration::from_secs(10)).is_ok());
        assert!(!circuits.any());
    }

    #[test]
    fn their_number_is_limited() {
        let (circuits, now) = (Circuits::new(&CircuitConfig::default()), Instant::now());
        for version in 0..CIRCUITS_MAX as u64 + 10 {
            circuits.ended(&key("a", version), Outcome::Bad("x"), now);
        }
        assert_eq!(circuits.len.load(Ordering::Relaxed), CIRCUITS_MAX);
    }

    #[test]
    fn the_series_of_open_ones_are_limited() {
        let (circuits, now) = (Circuits::new(&CircuitConfig::default()), Instant::now());
        let series = || {
            let mut page = Page::default();
            circuits.write(&mut page);
            page.into_text().matches("circuits_open{").count()
        };
        let most = SERIES_MAX as u64;
        (0..most).for_each(|version| failing(&circuits, &key("a", version), 5, now));
        assert_eq!(series(), SERIES_MAX);
        failing(&circuits, &key("a", most), 5, now);
        assert_eq!(series(), SERIES_MAX);
    }

    #[test]
    fn only_what_the_model_is_to_blame_for_counts() {
        let error = |family, code| EngineError::new(family, code, "text");
        let blamed: Vec<Family> = Family::ALL
            .into_iter()
            .filter(|family| blames_model(&error(*family, "x"), false))
            .collect();
        assert_eq!(blamed, [Family::Plugin, Family::Unavailable]);
        assert!(!blames_model(&error(Family::Unavailable, "overloaded"), true));
        assert!(blames_model(&error(Family::Deadline, "deadline"), true));
    }

    #[test]
    fn circuits_can_be_switched_off() {
        let config = CircuitConfig { failures_in_a_row: 0, ..CircuitConfig::default() };
        let (circuits, now) = (Circuits::new(&config), Instant::now());
        failing(&circuits, &key("a", 1), 50, now);
        assert!(!circuits.any());
    }
}
