//! Which path leads where, and who may go there. Adding a route is one line in
//! [`ROUTES`], or in [`ADMIN_ROUTES`] for the listener of operators.

use crate::GatewayConfig;
use crate::admission::{Admission, Admitted};
use crate::body::Bodies;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::flow::Tenant;
use crate::identity::access::{Access, Administer, Guarded, Holds, Infer, Open, Operate, Read};
use crate::identity::{Caller, Principal, Verb};
use crate::routes::{
    admin_keys, admin_server, metrics, oip_config, oip_generate, oip_health, oip_infer,
    oip_metadata, oip_repository, oip_settings, oip_shared_memory, oip_statistics,
    openai_embeddings, openai_models, openai_text, openapi,
};
use crate::serving::{Observation, Serving};
use crate::telemetry::Telemetry;
use aimass_engine::{EngineError, Family, InferRequest, InferResponse, UnreadyReason};
use aimass_telemetry::call::current;
use aimass_telemetry::trace::SpanName;
use aimass_telemetry::usage::UsageKind;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode, Uri};
use axum::routing::{MethodFilter, MethodRouter, any, on};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// How long after its deadline the gateway waits for the engine to say so itself.
pub(crate) const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// Everything that handlers share.
pub(crate) struct Gateway {
    pub(crate) engine: Arc<dyn Serving>,
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) admission: Admission,
    pub(crate) bodies: Bodies,
    pub(crate) counters: Counters,
    pub(crate) telemetry: Telemetry,
    pub(crate) observation: Arc<dyn Observation>,
    /// Set once the server shuts down, or an operator asks for it: not ready any more.
    pub(crate) draining: AtomicBool,
    /// Told by an operator to shut down.
    pub(crate) stop: Notify,
    /// Every route of every listener, for operators. Here because a handler cannot name the table
    /// that it is in.
    pub(crate) routes: Vec<RouteLine>,
}

/// What operators read about a route.
#[derive(serde::Serialize)]
pub(crate) struct RouteLine {
    pub(crate) listener: &'static str,
    pub(crate) method: String,
    pub(crate) path: &'static str,
    /// `open` if no identity is asked for.
    pub(crate) verb: &'static str,
}

/// What a handler gets of its gateway.
pub(crate) type Shared = axum::extract::State<Arc<Gateway>>;

/// One route: a path, and what answers one of its methods.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    action: fn() -> Action,
}

/// A method, the verb that it asks for, and a handler that holds the proof of it.
pub(crate) struct Action {
    pub(crate) method: Method,
    /// Absent for a route that is open to everybody.
    pub(crate) verb: Option<Verb>,
    handler: MethodRouter<Arc<Gateway>>,
}

const fn route(path: &'static str, action: fn() -> Action) -> Route {
    Route { path, action }
}

impl Route {
    /// Its method, verb and handler.
    pub(crate) fn action(&self) -> Action {
        (self.action)()
    }
}

fn get<A: Access, H: Handler<T, Arc<Gateway>>, T>(_: A, handler: H) -> Action
where
    T: Holds<A> + 'static,
{
    action::<A, H, T>(Method::GET, MethodFilter::GET, handler)
}

fn post<A: Access, H: Handler<T, Arc<Gateway>>, T>(_: A, handler: H) -> Action
where
    T: Holds<A> + 'static,
{
    action::<A, H, T>(Method::POST, MethodFilter::POST, handler)
}

fn delete<A: Access, H: Handler<T, Arc<Gateway>>, T>(_: A, handler: H) -> Action
where
    T: Holds<A> + 'static,
{
    action::<A, H, T>(Method::DELETE, MethodFilter::DELETE, handler)
}

fn action<A: Access, H: Handler<T, Arc<Gateway>>, T>(
    method: Method,
    filter: MethodFilter,
    handler: H,
) -> Action
where
    T: Holds<A> + 'static,
{
    Action { method, verb: A::VERB, handler: on(filter, handler) }
}

/// Every route. `{version}` is a number, a label, or `newest`. Each names the verb that it asks
/// for, or [`Open`]; a handler that does not take an [`Admitted`] of that verb does not compile.
pub(crate) const ROUTES: &[Route] = &[
    route("/v2/health/live", || get(Open, oip_health::live)),
    route("/v2/health/ready", || get(Open, oip_health::ready)),
    route("/v2", || get(Read, oip_metadata::server)),
    route("/v2/openapi.json", || get(Read, openapi::document)),
    route("/v2/models/{model}", || get(Read, oip_metadata::model)),
    route("/v2/models/{model}/versions/{version}", || get(Read, oip_metadata::model)),
    route("/v2/models/{model}/config", || get(Read, oip_config::config)),
    route("/v2/models/{model}/versions/{version}/config", || get(Read, oip_config::config)),
    route("/v2/models/stats", || get(Read, oip_statistics::all)),
    route("/v2/models/{model}/stats", || get(Read, oip_statistics::model)),
    route("/v2/models/{model}/versions/{version}/stats", || get(Read, oip_statistics::model)),
    route("/v2/repository/index", || post(Read, oip_repository::index)),
    route("/v2/repository/models/{model}/load", || post(Operate, oip_repository::load)),
    route("/v2/repository/models/{model}/unload", || post(Operate, oip_repository::unload)),
    route("/v2/models/{model}/ready", || get(Read, oip_health::model_ready)),
    route("/v2/models/{model}/versions/{version}/ready", || get(Read, oip_health::model_ready)),
    route("/v2/models/{model}/infer", || post(Infer, oip_infer::infer)),
    route("/v2/models/{model}/versions/{version}/infer", || post(Infer, oip_infer::infer)),
    route("/v2/models/{model}/generate", || post(Infer, oip_generate::generate)),
    route("/v2/models/{model}/versions/{version}/generate", || post(Infer, oip_generate::generate)),
    route("/v2/models/{model}/generate_stream", || post(Infer, oip_generate::generate_stream)),
    route("/v2/models/{model}/versions/{version}/generate_stream", || {
        post(Infer, oip_generate::generate_stream)
    }),
    route("/v2/logging", || get(Read, oip_settings::log)),
    route("/v2/logging", || post(Operate, oip_settings::set_log)),
    route("/v2/trace/setting", || get(Read, oip_settings::trace)),
    route("/v2/trace/setting", || post(Operate, oip_settings::set_trace)),
    route("/v2/models/{model}/trace/setting", || get(Read, oip_settings::model_trace)),
    route("/v2/models/{model}/trace/setting", || post(Operate, oip_settings::set_model_trace)),
    route("/v2/systemsharedmemory/status", || get(Read, oip_shared_memory::status)),
    route("/v2/systemsharedmemory/region/{region}/status", || get(Read, oip_shared_memory::status)),
    route("/v2/systemsharedmemory/region/{region}/register", || {
        post(Read, oip_shared_memory::register)
    }),
    route("/v2/systemsharedmemory/region/{region}/unregister", || {
        post(Read, oip_shared_memory::unregister)
    }),
    route("/v2/systemsharedmemory/unregister", || post(Read, oip_shared_memory::unregister)),
    route("/v2/cudasharedmemory/status", || get(Read, oip_shared_memory::status)),
    route("/v2/cudasharedmemory/region/{region}/status", || get(Read, oip_shared_memory::status)),
    route("/v2/cudasharedmemory/region/{region}/register", || {
        post(Read, oip_shared_memory::register)
    }),
    route("/v2/cudasharedmemory/region/{region}/unregister", || {
        post(Read, oip_shared_memory::unregister)
    }),
    route("/v2/cudasharedmemory/unregister", || post(Read, oip_shared_memory::unregister)),
    route("/v1/chat/completions", || post(Infer, openai_text::chat)),
    route("/v1/completions", || post(Infer, openai_text::completions)),
    route("/v1/embeddings", || post(Infer, openai_embeddings::embeddings)),
    route("/v1/models", || get(Read, openai_models::list)),
    route("/v1/models/{model}", || get(Read, openai_models::retrieve)),
    route("/v1/models/{model}", || delete(Operate, openai_models::refuse_delete)),
    route("/metrics", || get(Read, metrics::metrics)),
];

/// Every route of the admin listener.
pub(crate) const ADMIN_ROUTES: &[Route] = &[
    route("/admin/v1/keys", || get(Administer, admin_keys::list)),
    route("/admin/v1/keys", || post(Administer, admin_keys::create)),
    route("/admin/v1/keys/{id}/rotate", || post(Administer, admin_keys::rotate)),
    route("/admin/v1/keys/{id}/revoke", || post(Administer, admin_keys::revoke)),
    route("/admin/v1/tenants", || get(Operate, admin_server::tenants)),
    route("/admin/v1/routes", || get(Operate, admin_server::routes)),
    route("/admin/v1/ready", || get(Operate, admin_server::ready)),
    route("/admin/v1/drain", || post(Operate, admin_server::drain)),
    route("/admin/v1/resume", || post(Operate, admin_server::resume)),
    route("/admin/v1/metrics", || get(Operate, metrics::all)),
];

/// A line for each route of both listeners.
pub(crate) fn lines() -> Vec<RouteLine> {
    let line = |listener: &'static str| {
        move |route: &Route| {
            let action = route.action();
            let verb = action.verb.map_or("open", Verb::as_str);
            RouteLine { listener, method: action.method.to_string(), path: route.path, verb }
        }
    };
    ROUTES.iter().map(line("main")).chain(ADMIN_ROUTES.iter().map(line("admin"))).collect()
}

/// The routes for clients, with JSON answers for everything else.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    of(ROUTES, gateway, any(unknown::<Read>), any(wrong_method::<Read>))
}

/// The routes of the admin listener. Whoever is no operator does not learn what exists.
pub(crate) fn admin_router(gateway: Arc<Gateway>) -> Router {
    of(ADMIN_ROUTES, gateway, any(unknown::<Operate>), any(wrong_method::<Operate>))
}

fn of(
    routes: &[Route],
    gateway: Arc<Gateway>,
    unknown: MethodRouter<Arc<Gateway>>,
    wrong_method: MethodRouter<Arc<Gateway>>,
) -> Router {
    routes
        .iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.action().handler))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(gateway)
}

impl Gateway {
    /// Runs one inference unless the model's circuit is open, and gives up on it soon after its
    /// deadline whatever the engine does.
    pub(crate) async fn infer(&self, request: InferRequest) -> Result<InferResponse, Failure> {
        self.infer_as(UsageKind::Infer, request).await
    }

    /// As [`Gateway::infer`], recorded as another kind of use.
    pub(crate) async fn infer_as(
        &self,
        kind: UsageKind,
        request: InferRequest,
    ) -> Result<InferResponse, Failure> {
        let late = request.deadline + DEADLINE_GRACE;
        let call = self.admission.flow().call(&*self.engine, &request)?;
        let metered = self.telemetry.begin(&request, kind)?;
        let running = metered.call().clone().scope(self.engine.infer(request));
        let result = tokio::time::timeout_at(late.into(), running).await.unwrap_or_else(|_| {
            let message = "the deadline passed before there was an answer";
            Err(EngineError::new(Family::Deadline, "deadline", message))
        });
        call.ended(&result);
        metered.end(&result).await?;
        Ok(result?)
    }

    /// Why requests cannot be answered now; nothing if they can.
    pub(crate) fn unready(&self) -> Vec<UnreadyReason> {
        let engine = self.engine.ready();
        let draining = self.draining.load(Ordering::Relaxed);
        let said = |is_so: bool, sentence| is_so.then(|| UnreadyReason::of_server(sentence));
        let draining = said(draining, "the server is shutting down");
        let unsaid = !engine.ready && engine.reasons.is_empty();
        let unsaid = said(unsaid, "the engine cannot answer");
        let failing = self.telemetry.failing().map(|text| UnreadyReason {
            model: None,
            text,
            in_general: "usage records cannot be written",
        });
        let ours = draining.into_iter().chain(failing).chain(unsaid);
        ours.chain(engine.reasons).collect()
    }

    /// Whether every model can answer and new requests are welcome.
    pub(crate) fn is_ready(&self) -> bool {
        self.unready().is_empty()
    }
}

impl<V: Guarded> FromRequestParts<Arc<Gateway>> for Admitted<V> {
    type Rejection = Response<Body>;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Admitted<V>, Response<Body>> {
        let admit = gateway.admission.admit(caller(parts), Instant::now(), SystemTime::now());
        let trace = current(|call| call.trace().cloned()).flatten();
        let span = trace.map(|trace| trace.enter(SpanName::Admission, Vec::new()));
        let admitted = admit.await.map_err(|failure| answer_at(&parts.uri, &failure))?;
        drop(span);
        if let Some(Asker(asker)) = parts.extensions.get() {
            // Set once: a request is admitted once.
            let _ = asker.set(admitted.permit().tenant().clone());
        }
        Ok(admitted)
    }
}

/// Who asks, on a route that is open to everybody; nobody without a good credential. Takes no room.
pub(crate) struct Recognized(Option<Principal>);

impl Recognized {
    /// What this caller may read of a reason: of a model only who may read that model, of the server
    /// only operators. For anybody else it is a sentence without names.
    pub(crate) fn reads(&self, reason: UnreadyReason) -> String {
        let may = |verb| self.0.as_ref().filter(|principal| principal.verbs.contains(verb));
        let knows = match &reason.model {
            Some(model) => may(Verb::Read).is_some_and(|principal| principal.may_use(model)),
            None => may(Verb::Operate).is_some(),
        };
        if knows { reason.text } else { reason.in_general.to_owned() }
    }

    /// Whether it may read of the server's devices.
    pub(crate) fn may_read(&self) -> bool {
        self.0.as_ref().is_some_and(|principal| principal.verbs.contains(Verb::Read))
    }
}

impl FromRequestParts<Arc<Gateway>> for Recognized {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Recognized, Infallible> {
        let identity = gateway.admission.identity();
        let known = identity.authenticate(caller(parts), Instant::now(), SystemTime::now());
        Ok(Recognized(known.ok()))
    }
}

/// What a request shows of its sender.
fn caller(parts: &Parts) -> Caller<'_> {
    let peer = parts.extensions.get::<Arc<Principal>>().map(Arc::as_ref);
    Caller { headers: &parts.headers, peer }
}

/// In the extensions of a request: who was admitted, for what is said of that tenant's limits once
/// there is an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker(pub(crate) Arc<OnceLock<Arc<Tenant>>>);

/// A failure in the words of the protocol that the path belongs to.
pub(crate) fn answer_at(uri: &Uri, failure: &Failure) -> Response<Body> {
    let path = uri.path();
    if path.starts_with("/v1/") {
        failure.openai()
    } else if path.starts_with("/admin/") {
        failure.problem()
    } else {
        failure.oip()
    }
}

async fn unknown<V: Guarded>(_: Admitted<V>, method: Method, uri: Uri) -> Response<Body> {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("no route {method} {path}");
    answer_at(&uri, &Failure::new(StatusCode::NOT_FOUND, "unknown-route", message))
}

async fn wrong_method<V: Guarded>(_: Admitted<V>, method: Method, uri: Uri) -> Response<Body> {
    let message = format!("{} does not take {method}", uri.path());
    answer_at(&uri, &Failure::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", message))
}
