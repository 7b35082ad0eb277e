//! The server itself over the admin listener: readiness with reasons, draining, tenants, routes.

use crate::admission::Admitted;
use crate::failure::{Failure, ProblemFailure, json, json_answer};
use crate::identity::IssuerStatus;
use crate::identity::access::Operate;
use crate::router::{Gateway, RouteLine, Shared};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::time::Instant;

#[derive(Serialize)]
struct ReadyWire {
    ready: bool,
    draining: bool,
    /// What is missing, one sentence each.
    reasons: Vec<String>,
    in_flight: usize,
    /// How fresh what the host knows of its marketplaces is: `local`, `fresh` or `stale`.
    trust: &'static str,
    issuers: Vec<IssuerStatus>,
}

#[derive(Serialize)]
struct TenantWire<'a> {
    tenant: &'a str,
    in_flight: usize,
}

#[derive(Serialize)]
struct TenantsWire<'a> {
    tenants: Vec<TenantWire<'a>>,
}

#[derive(Serialize)]
struct RoutesWire<'a> {
    routes: &'a [RouteLine],
}

/// `GET /admin/v1/ready`: 200 in either case, with every reason.
pub(crate) async fn ready(State(gateway): Shared, _admitted: Admitted<Operate>) -> Response<Body> {
    json_answer(json(&state(&gateway)))
}

/// `GET /admin/v1/tenants`: those that have a key or were seen lately.
pub(crate) async fn tenants(State(gateway): Shared, _: Admitted<Operate>) -> Response<Body> {
    let all = gateway.admission.identity().tenants();
    let tenants = all
        .iter()
        .map(|tenant| TenantWire { tenant: &tenant.name, in_flight: tenant.in_flight() })
        .collect();
    json_answer(json(&TenantsWire { tenants }))
}

/// `GET /admin/v1/routes`: every route of both listeners, and the verb that it asks for.
pub(crate) async fn routes(State(gateway): Shared, _admitted: Admitted<Operate>) -> Response<Body> {
    json_answer(json(&RoutesWire { routes: &gateway.routes }))
}

/// `POST /admin/v1/drain`: not ready from now on; with `?stop=true` also shuts down as SIGTERM does.
pub(crate) async fn drain(
    State(gateway): Shared,
    admitted: Admitted<Operate>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, ProblemFailure> {
    let stop = match query.as_deref() {
        None | Some("" | "stop=false") => false,
        Some("stop=true") => true,
        Some(_) => Err(Failure::invalid("query: expected `stop=true`, `stop=false` or nothing"))?,
    };
    gateway.draining.store(true, Ordering::Relaxed);
    tracing::warn!(by = %admitted.tenant(), stop, "draining");
    let mut response = json_answer(json(&state(&gateway)));
    *response.status_mut() = StatusCode::ACCEPTED;
    if stop {
        gateway.stop.notify_one();
    }
    Ok(response)
}

/// `POST /admin/v1/resume`: takes a drain without a stop back.
pub(crate) async fn resume(State(gateway): Shared, admitted: Admitted<Operate>) -> Response<Body> {
    gateway.draining.store(false, Ordering::Relaxed);
    tracing::warn!(by = %admitted.tenant(), "no longer draining");
    json_answer(json(&state(&gateway)))
}

fn state(gateway: &Gateway) -> ReadyWire {
    let draining = gateway.draining.load(Ordering::Relaxed);
    let reasons: Vec<String> = gateway.unready().into_iter().map(|reason| reason.text).collect();
    ReadyWire {
        ready: reasons.is_empty(),
        draining,
        reasons,
        in_flight: gateway.admission.in_flight(),
        trust: gateway.engine.trust_state().as_str(),
        issuers: gateway.admission.identity().issuers(Instant::now()),
    }
}
