//! Flow control: how much tenants may ask for, and who is served when everybody asks for more than
//! there is. Room 2 asks here for a [`Permit`].
//!
//! In order: requests of the tenant inside or waiting, its rate, a place ([`door`]); then, as the
//! body comes, its rate of bytes and its memory. Plan calls have turns of their own in the
//! dispatcher; `docs/reference/limits-and-overload.md` says how the two compose.

mod calls;
mod circuit;
mod circuits;
mod config;
mod door;
mod fields;
mod gcra;
mod peers;
mod queue;
mod refused;
mod service_time;
mod tenant;

pub(crate) use calls::Call;
pub use circuit::{Circuit, CircuitRules, Pass};
pub use config::{CircuitConfig, FlowConfig, TenantLimits};
pub(crate) use fields::whole_seconds;
pub(crate) use peers::{Connected, Peers};
use refused::{Reason, Refused};
pub(crate) use tenant::{Exceeded, Tenant};

use crate::GatewayConfig;
use crate::failure::Failure;
use crate::serving::Serving;
use aimass_engine::{InferRequest, Selector};
use aimass_telemetry::metrics::{Page, catalog};
use axum::http::HeaderMap;
use circuits::Circuits;
use config::Limits;
use door::{Door, Place};
use queue::{Arrival, Rules};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Room for one request, given back when it is dropped.
pub(crate) struct Permit {
    _place: Place,
    inside: Inside,
    refused: Arc<Refused>,
}

/// A request that is counted as its tenant's.
struct Inside(Arc<Tenant>);

/// The limits that requests share.
pub(crate) struct Flow {
    config: FlowConfig,
    in_flight_per_tenant_max: usize,
    /// Of one tenant: what one tenant claims leaves room for others, and for one whole body.
    bodies_bytes_max: usize,
    door: Arc<Door>,
    refused: Arc<Refused>,
    circuits: Circuits,
    plenty: Duration,
    peers: Arc<Peers>,
}

impl Permit {
    /// Whose room this is.
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.inside.0
    }

    /// Takes a body of `bytes` from the tenant's rate; 429 if it is used up. More than a burst waits
    /// until nothing was taken for long enough, and then is let through whole.
    pub(crate) fn take_body(&self, bytes: usize, now: Instant) -> Result<(), Failure> {
        let taken = self.tenant().take_body(now, bytes);
        taken.map_err(|exceeded| self.exceeded(exceeded, now))
    }

    /// No memory yet.
    pub(crate) fn held(&self) -> Held {
        Held { tenant: self.tenant().clone(), refused: self.refused.clone(), bytes: 0 }
    }

    fn exceeded(&self, exceeded: Exceeded, now: Instant) -> Failure {
        self.refused.of_tenant(self.tenant(), exceeded, Duration::ZERO, now)
    }
}

/// A tenant's memory of one body, until it is dropped.
pub(crate) struct Held {
    tenant: Arc<Tenant>,
    refused: Arc<Refused>,
    bytes: usize,
}

impl Held {
    /// Takes more; 429 if the tenant's bodies have too much.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        let holding = self.tenant.hold_bytes(bytes);
        holding.map_err(|exceeded| {
            self.refused.of_tenant(&self.tenant, exceeded, Duration::ZERO, Instant::now())
        })?;
        self.bytes += bytes;
        Ok(())
    }

    /// Charges bytes whose number was not known when they began to come.
    pub(crate) fn charge(&self, bytes: usize, now: Instant) {
        self.tenant.charge_body(now, bytes);
    }

    /// Gives everything back.
    pub(crate) fn release(&mut self) {
        self.tenant.let_go_bytes(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Flow {
    pub(crate) fn new(config: &GatewayConfig) -> Flow {
        let flow = &config.flow;
        let rules = Rules {
            len_max: flow.queue_max,
            wait_max: Duration::from_millis(flow.queue_ms_max),
            standing_wait: Duration::from_millis(flow.sojourn_target_ms),
            standing_after: Duration::from_millis(flow.sojourn_interval_ms),
        };
        Flow {
            config: flow.clone(),
            in_flight_per_tenant_max: config.in_flight_per_tenant_max,
            bodies_bytes_max: (config.bodies_bytes_max / 2).max(config.body_bytes_max),
            door: Door::new(config.in_flight_max, rules),
            refused: Arc::default(),
            circuits: Circuits::new(&flow.circuit),
            plenty: Duration::from_secs(config.request_seconds) / 2,
            peers: Peers::new(flow.connections_per_peer_max),
        }
    }

    /// Requests inside now.
    pub(crate) fn in_flight(&self) -> usize {
        self.door.taken()
    }

    /// Whether any tenant may have a rate, and answers so the fields that say what is left of it.
    pub(crate) fn limits_rates(&self) -> bool {
        let limits = |one: &TenantLimits| {
            one.requests_per_minute.is_some() || one.body_bytes_per_second.is_some()
        };
        limits(&self.config.default) || self.config.tenant.values().any(limits)
    }

    /// Room for one request, perhaps after a wait, or why there is none: 429 for a limit of its
    /// tenant, 503 if the wait would be too long. Dropping the future withdraws.
    pub(crate) async fn enter(
        &self,
        tenant: Arc<Tenant>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Permit, Failure> {
        let limits = *tenant.limits(|name| self.limits_of(name));
        let counted = tenant.enter(&limits);
        counted.map_err(|exceeded| self.exceeded(&tenant, exceeded, now))?;
        let inside = Inside(tenant);
        let taken = inside.0.take_request(&limits, now);
        taken.map_err(|exceeded| self.exceeded(&inside.0, exceeded, now))?;
        let arrival = Arrival {
            tenant: &inside.0,
            weight: limits.weight,
            len_max: limits.queue_max,
            deadline,
        };
        let place = self.door.enter(arrival).await;
        let place = place.map_err(|refusal| self.refused.of_door(&inside.0, &refusal))?;
        Ok(Permit { _place: place, inside, refused: self.refused.clone() })
    }

    /// Takes a body of `bytes` from the rate of a tenant that asks for room afterwards; 429 if it is used up.
    pub(crate) fn take_body(
        &self,
        tenant: &Arc<Tenant>,
        bytes: usize,
        now: Instant,
    ) -> Result<(), Failure> {
        tenant.limits(|name| self.limits_of(name));
        tenant.take_body(now, bytes).map_err(|exceeded| self.exceeded(tenant, exceeded, now))
    }

    /// Connections by peer.
    pub(crate) fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// Asks the circuit of the model that a request calls.
    ///
    /// # Errors
    /// 503 while it is open.
    pub(crate) fn call<'a>(
        &'a self,
        engine: &'a dyn Serving,
        request: &InferRequest,
    ) -> Result<Call<'a>, Failure> {
        let call = Call::begin(&self.circuits, engine, request, self.plenty);
        call.inspect_err(|_| self.refused.count(Reason::Circuit))
    }

    /// Why calls of a model are refused to `tenant` now, if they are.
    pub(crate) fn closed(
        &self,
        engine: &dyn Serving,
        tenant: &Arc<str>,
        name: &str,
        selector: &Selector,
    ) -> Option<String> {
        if !self.circuits.any() {
            return None;
        }
        let model = engine.model(name, selector).ok()?;
        self.circuits.reason(&(tenant.clone(), model.name, model.version))
    }

    /// A limit of `tenant` that is reached, as its client reads it.
    fn exceeded(&self, tenant: &Tenant, exceeded: Exceeded, now: Instant) -> Failure {
        self.refused.of_tenant(tenant, exceeded, self.door.times().1, now)
    }

    fn limits_of(&self, name: &str) -> Limits {
        self.config.limits_of(name, self.in_flight_per_tenant_max, self.bodies_bytes_max)
    }

    /// Adds its metrics to a page.
    pub(crate) fn write_metrics(&self, page: &mut Page) {
        self.refused.write(page);
        self.circuits.write(page);
        let (open, refused) = self.peers.counts();
        page.single(&catalog::GATEWAY_CONNECTIONS_OPEN, open as f64);
        page.single(&catalog::GATEWAY_CONNECTIONS_REFUSED, refused as f64);
        page.single(&catalog::GATEWAY_WAITING, self.door.waiting() as f64);
        let (mean, quantile) = self.door.times();
        page.single(&catalog::GATEWAY_PLACE_MEAN, mean.as_secs_f64());
        page.single(&catalog::GATEWAY_PLACE_P90, quantile.as_secs_f64());
    }
}

/// Adds the fields that say what a tenant has left, if a rate limits it.
pub(crate) fn rate_fields(tenant: &Tenant, now: Instant, headers: &mut HeaderMap) {
    tenant.rate_fields(now, headers);
}

#[cfg(test)]
mod tests;
