//! How much may be inside at once, for everybody and for one tenant.

use crate::GatewayConfig;
use crate::failure::{Failure, Retry};
use axum::http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who is charged, and how many of its requests are being worked on.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// 1 to 64 of `[a-z0-9._-]`.
    pub(crate) name: Arc<str>,
    in_flight: AtomicUsize,
}

impl Tenant {
    pub(crate) fn new(name: &str) -> Tenant {
        Tenant { name: Arc::from(name), in_flight: AtomicUsize::new(0) }
    }

    /// Its requests inside now.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Room for one request, given back when it is dropped.
pub(crate) struct Permit {
    in_flight: Arc<AtomicUsize>,
    tenant: Arc<Tenant>,
}

impl Permit {
    /// Whose room this is.
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.tenant.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The limits that requests share.
pub(crate) struct Flow {
    in_flight: Arc<AtomicUsize>,
    in_flight_max: usize,
    in_flight_per_tenant_max: usize,
}

impl Flow {
    pub(crate) fn new(config: &GatewayConfig) -> Flow {
        Flow {
            in_flight: Arc::new(AtomicUsize::new(0)),
            in_flight_max: config.in_flight_max,
            in_flight_per_tenant_max: config.in_flight_per_tenant_max,
        }
    }

    /// Requests inside now.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Room for one request, or why there is none: 429 if its tenant has too many requests inside,
    /// 503 if everybody has.
    pub(crate) fn enter(&self, tenant: Arc<Tenant>) -> Result<Permit, Failure> {
        let all = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let of_tenant = tenant.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Permit { in_flight: self.in_flight.clone(), tenant };
        if of_tenant >= self.in_flight_per_tenant_max {
            let message = format!(
                "tenant {} has {of_tenant} requests in flight, its limit is {}",
                permit.tenant.name, self.in_flight_per_tenant_max
            );
            let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "quota", message);
            return Err(Failure { retry: Retry::After(1), ..failure });
        }
        if all >= self.in_flight_max {
            let max = self.in_flight_max;
            return Err(Failure::overloaded(format!("{max} requests are in flight; try again")));
        }
        Ok(permit)
    }
}
