//! What a refused client reads, when it may come back, and how often each happened.

use super::queue::Refusal;
use super::tenant::{Exceeded, Limit, Tenant};
use crate::failure::{Failure, Retry};
use aimass_telemetry::metrics::{Page, catalog};
use axum::http::{HeaderMap, StatusCode};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Least time after which a refused client is asked to come back.
const BACK_AFTER_MIN: Duration = Duration::from_millis(50);
/// Greatest, where it is only an estimate.
const BACK_AFTER_MAX: Duration = Duration::from_secs(30);

/// Why requests are refused, as metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The tenant's rate of requests.
    RequestRate,
    /// Its rate of body bytes.
    BodyRate,
    /// Its requests inside or waiting.
    InFlight,
    /// Memory of its bodies.
    BodiesMemory,
    /// Its requests that wait.
    TenantQueue,
    /// All requests that wait.
    Queue,
    /// The wait would be too long.
    Shed,
    /// The deadline would pass first.
    Deadline,
    /// The wait was longer than expected.
    WaitedOut,
    /// The model failed too often.
    Circuit,
}

impl Reason {
    const ALL: [Reason; 10] = [
        Reason::RequestRate,
        Reason::BodyRate,
        Reason::InFlight,
        Reason::BodiesMemory,
        Reason::TenantQueue,
        Reason::Queue,
        Reason::Shed,
        Reason::Deadline,
        Reason::WaitedOut,
        Reason::Circuit,
    ];

    fn name(self) -> &'static str {
        match self {
            Reason::RequestRate => "request-rate",
            Reason::BodyRate => "body-rate",
            Reason::InFlight => "in-flight",
            Reason::BodiesMemory => "bodies-memory",
            Reason::TenantQueue => "tenant-queue",
            Reason::Queue => "queue",
            Reason::Shed => "shed",
            Reason::Deadline => "deadline",
            Reason::WaitedOut => "waited-out",
            Reason::Circuit => "circuit",
        }
    }
}

/// Requests that were refused, by reason.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    counts: [AtomicU64; Reason::ALL.len()],
    spread: AtomicU32,
}

impl Refused {
    /// Counts one.
    pub(crate) fn count(&self, reason: Reason) {
        self.counts[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A limit of a tenant. `service` is what requests usually take: when one of the tenant's own
    /// may be over.
    pub(super) fn of_tenant(
        &self,
        tenant: &Tenant,
        exceeded: Exceeded,
        service: Duration,
        now: Instant,
    ) -> Failure {
        let (reason, code) = match exceeded.limit {
            Limit::Requests => (Reason::RequestRate, "rate-limit"),
            Limit::BodyBytes => (Reason::BodyRate, "rate-limit"),
            Limit::InFlight => (Reason::InFlight, "quota"),
            Limit::BodiesMemory => (Reason::BodiesMemory, "quota"),
        };
        self.count(reason);
        let after = exceeded.after.unwrap_or_else(|| estimate(service));
        let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, code, exceeded.message);
        with_fields(Failure { retry: Retry::After(after), ..failure }, tenant, now)
    }

    /// A refusal at the door.
    pub(super) fn of_door(&self, tenant: &Tenant, refusal: &Refusal) -> Failure {
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        let (reason, status, after, message) = match *refusal {
            Refusal::TenantFull { max } => {
                let message = format!("{max} requests of tenant {} wait, its limit", tenant.name);
                (Reason::TenantQueue, StatusCode::TOO_MANY_REQUESTS, BACK_AFTER_MIN, message)
            }
            Refusal::Full { max } => {
                let message = format!("as many requests wait as may, {max}");
                (Reason::Queue, busy, BACK_AFTER_MAX / 30, message)
            }
            Refusal::TooLong { expected, max } => {
                let message = format!(
                    "the server is busy: the wait would be about {} ms, now {} ms are allowed",
                    expected.as_millis(),
                    max.as_millis()
                );
                (Reason::Shed, busy, expected, message)
            }
            Refusal::TooLate { expected } => {
                let wait = expected.as_millis();
                let message = format!("the deadline would pass first: the wait is about {wait} ms");
                (Reason::Deadline, busy, expected, message)
            }
            Refusal::WaitedOut { waited } => {
                let message = format!("no place came free in {} ms", waited.as_millis());
                (Reason::WaitedOut, busy, waited, message)
            }
        };
        self.count(reason);
        let code = if status == busy { "overloaded" } else { "tenant-queue" };
        let retry = Retry::After(self.spread(estimate(after)));
        let failure = Failure { retry, ..Failure::new(status, code, message) };
        with_fields(failure, tenant, Instant::now())
    }

    /// Between half and one and a half times `after`: who is refused together does not come back
    /// together. Successive multiples of the golden ratio fill the range evenly.
    fn spread(&self, after: Duration) -> Duration {
        let count = self.spread.fetch_add(1, Ordering::Relaxed);
        let part = count.wrapping_mul(0x9e37_79b9);
        after / 2 + after.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }

    /// Adds the metric to a page.
    pub(super) fn write(&self, page: &mut Page) {
        let mut samples = page.start(&catalog::GATEWAY_REFUSED);
        for reason in Reason::ALL {
            let count = self.counts[reason as usize].load(Ordering::Relaxed);
            samples.add(&[reason.name()], count as f64);
        }
    }
}

fn estimate(after: Duration) -> Duration {
    after.clamp(BACK_AFTER_MIN, BACK_AFTER_MAX)
}

fn with_fields(failure: Failure, tenant: &Tenant, now: Instant) -> Failure {
    if !tenant.is_limited() {
        return failure;
    }
    let mut fields = HeaderMap::new();
    tenant.rate_fields(now, &mut fields);
    Failure { fields: Some(Box::new(fields)), ..failure }
}
