//! One tenant: who is charged, and what it has used of its limits.

use super::config::Limits;
use super::fields::{self, Levels};
use super::gcra::Bucket;
use axum::http::HeaderMap;
use axum::http::header::HeaderValue;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Who is charged, and what its requests use. Limits are looked up once, at its first request.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// 1 to 64 of `[a-z0-9._-]`.
    pub(crate) name: Arc<str>,
    terms: OnceLock<Terms>,
    /// Zero of its buckets' clocks.
    start: Instant,
    in_flight: AtomicUsize,
    bodies_bytes: AtomicUsize,
    requests: Bucket,
    body_bytes: Bucket,
    /// Time that its requests held places, divided by its weight ([`super::queue`]).
    pub(super) tag: AtomicU64,
}

/// What applies to a tenant.
#[derive(Debug)]
struct Terms {
    limits: Limits,
    policy: Option<HeaderValue>,
}

/// What a tenant can have too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Requests,
    BodyBytes,
    InFlight,
    BodiesMemory,
}

/// A limit of one tenant that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) limit: Limit,
    /// What the client reads.
    pub(crate) message: String,
    /// When it can be different; unknown where that depends on other requests.
    pub(crate) after: Option<Duration>,
}

impl Tenant {
    /// Its requests inside now.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn new(name: &str) -> Tenant {
        Tenant {
            name: Arc::from(name),
            terms: OnceLock::new(),
            start: Instant::now(),
            in_flight: AtomicUsize::new(0),
            bodies_bytes: AtomicUsize::new(0),
            requests: Bucket::default(),
            body_bytes: Bucket::default(),
            tag: AtomicU64::new(0),
        }
    }

    /// Its limits; `limits` says them the first time.
    pub(super) fn limits(&self, limits: impl FnOnce(&str) -> Limits) -> &Limits {
        let terms = self.terms.get_or_init(|| {
            let limits = limits(&self.name);
            Terms { limits, policy: fields::policy(&limits) }
        });
        &terms.limits
    }

    /// Whether a rate limits it.
    pub(crate) fn is_limited(&self) -> bool {
        self.terms.get().is_some_and(|terms| terms.policy.is_some())
    }

    /// Counts a request in, unless it has too many.
    pub(super) fn enter(&self, limits: &Limits) -> Result<(), Exceeded> {
        let inside = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if inside < limits.in_flight_max {
            return Ok(());
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let max = limits.in_flight_max;
        let message =
            format!("tenant {} has {inside} requests in flight, its limit is {max}", self.name);
        Err(Exceeded { limit: Limit::InFlight, message, after: None })
    }

    /// Counts it out.
    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes one request from its rate.
    pub(super) fn take_request(&self, limits: &Limits, now: Instant) -> Result<(), Exceeded> {
        let Some(rate) = &limits.requests else { return Ok(()) };
        self.requests.take(rate, self.nanos(now), 1).map_err(|wait| {
            let message = format!("tenant {} has used up its rate of requests", self.name);
            Exceeded { limit: Limit::Requests, message, after: Some(wait) }
        })
    }

    /// Takes a body whose length was announced from its rate.
    pub(super) fn take_body(&self, now: Instant, bytes: usize) -> Result<(), Exceeded> {
        let rate = self.terms.get().and_then(|terms| terms.limits.body_bytes.as_ref());
        let Some(rate) = rate else { return Ok(()) };
        self.body_bytes.take(rate, self.nanos(now), bytes as u64).map_err(|wait| {
            let message = format!(
                "tenant {} has used up its rate of body bytes, and this body has {bytes}",
                self.name
            );
            Exceeded { limit: Limit::BodyBytes, message, after: Some(wait) }
        })
    }

    /// Charges bytes that were not announced.
    pub(super) fn charge_body(&self, now: Instant, bytes: usize) {
        if let Some(rate) = self.terms.get().and_then(|terms| terms.limits.body_bytes.as_ref()) {
            self.body_bytes.charge(rate, self.nanos(now), bytes as u64);
        }
    }

    /// Counts memory of a body in, unless its bodies have too much.
    pub(super) fn hold_bytes(&self, bytes: usize) -> Result<(), Exceeded> {
        let max = self.terms.get().map_or(usize::MAX, |terms| terms.limits.bodies_bytes_max);
        let before = self.bodies_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= max {
            return Ok(());
        }
        self.bodies_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let message = format!(
            "request bodies of tenant {} would take {} bytes, its limit is {max}",
            self.name,
            before.saturating_add(bytes)
        );
        Err(Exceeded { limit: Limit::BodiesMemory, message, after: None })
    }

    /// Counts it out.
    pub(super) fn let_go_bytes(&self, bytes: usize) {
        self.bodies_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn nanos(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Adds the fields that say what it has left, if a rate limits it.
    pub(super) fn rate_fields(&self, now: Instant, headers: &mut HeaderMap) {
        let Some(Terms { limits, policy: Some(policy) }) = self.terms.get() else { return };
        let inside = self.in_flight.load(Ordering::Relaxed);
        let now = self.nanos(now);
        let levels = Levels {
            requests: limits.requests.as_ref().map(|rate| self.requests.level(rate, now)),
            body_bytes: limits.body_bytes.as_ref().map(|rate| self.body_bytes.level(rate, now)),
            concurrency: limits.in_flight_max.saturating_sub(inside),
        };
        fields::insert(headers, policy, &levels);
    }
}
