//! The server: its listeners, what every request passes before its route, and the drain.

use crate::admission::Admission;
use crate::batch;
use crate::body::Bodies;
use crate::config::{GatewayConfig, SettingError};
use crate::counters::{Counters, RouteKind};
use crate::failure::Failure;
use crate::flow::rate_fields;
use crate::framing::Framing;
use crate::grpc::{GRPC_STATUS, Grpc, http_status};
use crate::identity::{Identity, IdentityError, Principal};
use crate::listener::{Answers, Listening, Protocol, Stage};
use crate::router::{Asker, Gateway, admin_router, answer_at, lines, router};
use crate::serving::{Observation, Serving};
use crate::telemetry::{Observing, Telemetry, TelemetryError};
use crate::tls::{Tls, TlsError};
use aimass_engine::EngineError;
use aimass_telemetry::call::Call;
use aimass_telemetry::trace::{Attribute, SpanName};
use axum::Router;
use axum::body::Body;
use axum::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue,
};
use axum::http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

/// W3C Trace Context level 2: which trace this request became.
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from the client.
const REQUEST_ID_LEN_MAX: usize = 128;
/// Most open connections of the admin listener.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Why the gateway cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] SettingError),
    /// API keys or keys of issuers cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate of the server cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Usage cannot be metered, or calls cannot be traced.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Jobs cannot be kept.
    #[error(transparent)]
    Jobs(#[from] EngineError),
    /// The operating system has no random numbers for request ids.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
}

/// Where the gateway listens.
pub struct Listeners {
    /// OIP v2 and OpenAI over HTTP/1.1 and, with TLS, HTTP/2.
    pub http: TcpListener,
    /// OIP v2 over gRPC; none for no gRPC.
    pub grpc: Option<TcpListener>,
    /// The admin API; none for none.
    pub admin: Option<TcpListener>,
}

/// What [`serve`] serves, where, and how.
pub struct Setup {
    /// Answers requests.
    pub engine: Arc<dyn Serving>,
    /// Limits.
    pub config: GatewayConfig,
    /// Where it listens.
    pub listeners: Listeners,
    /// Logging and tracing, for operators.
    pub observation: Arc<dyn Observation>,
}

/// Serves an engine on listeners until `shutdown` resolves or an operator says so; then stops
/// accepting, lets requests that are being worked on finish for up to
/// [`GatewayConfig::drain_seconds`], and returns.
///
/// # Errors
/// [`ServeError`] before anything is accepted, if the configuration, the API keys or the
/// certificates are wrong.
pub async fn serve(
    setup: Setup,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    serve_until(setup, shutdown, std::future::pending()).await
}

/// As [`serve`]; `cut` ends what is left of the drain.
///
/// In order: ready turns false, and answers over HTTP/1.1 ask clients to reconnect, for
/// [`crate::FlowConfig::unready_seconds`]; the listeners are closed, what the kernel had accepted is
/// served, idle connections end and others with the request that is worked on (HTTP/2: `GOAWAY`);
/// requests that wait for a place get their turn; at the end of the drain time, or once `cut`
/// resolves, the rest is dropped.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(
    setup: Setup,
    shutdown: impl Future<Output = ()> + Send,
    cut: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let Setup { engine, config, listeners, observation } = setup;
    config.validate()?;
    let identity = Identity::open(&config, Instant::now())?;
    let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
    let telemetry = Telemetry::open(&config.telemetry)?;
    let gateway = Arc::new(Gateway {
        engine,
        admission: Admission::new(identity, &config),
        bodies: Bodies::new(&config),
        counters: Counters::default(),
        observation: Arc::new(Observing::new(observation, telemetry.tracer.clone())),
        telemetry,
        draining: AtomicBool::new(false),
        stop: Notify::new(),
        routes: lines(),
        config: Arc::new(config),
    });
    let jobs = batch::runner(&gateway)?.map(|runner| tokio::spawn(runner.run()));
    let ids = Arc::new(RequestIds::new()?);
    let front = |routes| Front {
        routes,
        ids: ids.clone(),
        gateway: gateway.clone(),
        peer: None,
        framing: None,
    };
    let over_http = |router| front(Routes::Http(TowerToHyperService::new(router)));
    let (stage, stages) = watch::channel(Stage::Serving);
    let listening = |protocol, connections_max| Listening {
        protocol,
        config: gateway.config.clone(),
        slots: Arc::new(Semaphore::new(connections_max)),
        tls: tls.clone(),
        peers: gateway.admission.flow().peers().clone(),
    };
    let connections_max = gateway.config.connections_max;
    let http = listening(Protocol::Http1, connections_max).run(
        over_http(router(gateway.clone())),
        listeners.http,
        stages.clone(),
    );
    let grpc = listeners.grpc.map(|listener| {
        let grpc = front(Routes::Grpc(Grpc::new(gateway.clone())));
        listening(Protocol::Http2, connections_max).run(grpc, listener, stages.clone())
    });
    let admin = listeners.admin.map(|listener| {
        let admin = over_http(admin_router(gateway.clone()));
        listening(Protocol::Http1, ADMIN_CONNECTIONS_MAX).run(admin, listener, stages.clone())
    });
    let serving = async { tokio::join!(http, optional(grpc), optional(admin)) };
    tokio::select! {
        () = gateway.admission.keep_fresh() => {}
        () = optional(tls.clone().map(Tls::keep_fresh)), if tls.is_some() => {}
        _ = serving => {}
        () = stop(&gateway, &stage, shutdown, cut) => {}
    }
    if let Some(jobs) = jobs {
        // A job in the middle goes on at the next start.
        jobs.abort();
        let _ = jobs.await;
    }
    Ok(())
}

/// Waits for a future, if there is one.
async fn optional(future: Option<impl Future<Output = ()>>) {
    if let Some(future) = future {
        future.await;
    }
}

/// Goes through the stages of a drain; never ends, since what is served does.
async fn stop(
    gateway: &Gateway,
    stage: &watch::Sender<Stage>,
    shutdown: impl Future<Output = ()> + Send,
    cut: impl Future<Output = ()> + Send,
) {
    tokio::select! {
        () = shutdown => {}
        () = gateway.stop.notified() => {}
    }
    gateway.draining.store(true, Ordering::Relaxed);
    let unready = Duration::from_secs(gateway.config.flow.unready_seconds);
    tokio::pin!(cut);
    tokio::select! {
        () = tokio::time::sleep(unready) => {
            stage.send_replace(Stage::Draining);
            cut.await;
        }
        () = &mut cut => {}
    }
    stage.send_replace(Stage::Cut);
    std::future::pending().await
}

/// What every request passes before its route: request id, limit on headers, counters.
#[derive(Clone)]
struct Front {
    routes: Routes,
    ids: Arc<RequestIds>,
    gateway: Arc<Gateway>,
    /// Whose client certificate the connection has.
    peer: Option<Arc<Principal>>,
    /// How the requests of the connection are framed, over HTTP/1.1.
    framing: Option<Arc<Framing>>,
}

/// What answers behind a [`Front`].
#[derive(Clone)]
enum Routes {
    Http(TowerToHyperService<Router>),
    Grpc(Grpc),
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Answers for Front {
    fn accepted(&self) {
        self.gateway.counters.connections.fetch_add(1, Ordering::Relaxed);
    }

    fn shown(&mut self, certificate: &CertificateDer<'_>) {
        self.peer = self.gateway.admission.identity().of_certificate(certificate);
    }

    fn framed(&mut self, framing: Arc<Framing>) {
        self.framing = Some(framing);
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        let id = self.ids.of(request.headers());
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        let telemetry = &self.gateway.telemetry;
        let limits_rates = self.gateway.admission.flow().limits_rates();
        let is_plain = self.framing.as_ref().is_none_or(|framing| framing.next_is_plain());
        let passing = Passing {
            start: Instant::now(),
            kind: RouteKind::of(request.uri().path()),
            call: telemetry.call(id.to_str().unwrap_or_default(), request.headers()),
            gateway: self.gateway.clone(),
            id,
            asker: limits_rates.then(Asker::default),
            is_http1: request.version() <= Version::HTTP_11,
            is_last: !is_plain,
            framing: self.framing.clone(),
        };
        let max = self.gateway.config.header_bytes_max;
        let checked = if is_plain { check(request.headers(), max) } else { Err(framed_twice()) };
        if let Err(failure) = checked {
            let refused = match &self.routes {
                Routes::Http(_) => answer_at(request.uri(), &failure),
                Routes::Grpc(_) => failure.grpc(),
            };
            return Box::pin(passing.answer(|| std::future::ready(Ok(refused))));
        }
        if let Some(asker) = &passing.asker {
            request.extensions_mut().insert(asker.clone());
        }
        match &self.routes {
            Routes::Http(router) => {
                let router = router.clone();
                Box::pin(passing.answer(move || router.call(request)))
            }
            Routes::Grpc(grpc) => {
                let grpc = grpc.clone();
                Box::pin(passing.answer(move || grpc.answer(request)))
            }
        }
    }
}

/// A request between its header and the header of its answer.
struct Passing {
    start: Instant,
    kind: RouteKind,
    id: HeaderValue,
    call: Arc<Call>,
    gateway: Arc<Gateway>,
    asker: Option<Asker>,
    is_http1: bool,
    /// Nothing behind it can be told to be a request.
    is_last: bool,
    framing: Option<Arc<Framing>>,
}

impl Passing {
    /// Lets the request pass to what `answer` begins, as its call. A future that is begun here takes its
    /// room once; one that is passed in would take it twice.
    fn answer<F>(
        self,
        answer: impl FnOnce() -> F,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>>
    where
        F: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let call = self.call.clone();
        call.scope(async move {
            let route = || vec![Attribute::Route(self.kind.name())];
            let span = self.call.trace().map(|trace| trace.enter(SpanName::Route, route()));
            let mut response = answer().await?;
            response.headers_mut().insert(REQUEST_ID, self.id);
            if let Some(tenant) = self.asker.as_ref().and_then(|Asker(tenant)| tenant.get()) {
                rate_fields(tenant, Instant::now(), response.headers_mut());
            }
            // What is left of a body that nobody read is not answered.
            let is_midway = self.framing.as_ref().is_some_and(|framing| framing.is_midway());
            let is_draining = self.gateway.draining.load(Ordering::Relaxed);
            if self.is_http1 && (self.is_last || is_midway || is_draining) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let (status, took) = (status_of(&response), self.start.elapsed());
            if let (Some(trace), Some(span)) = (self.call.trace(), span) {
                let context = HeaderValue::try_from(trace.context().to_string());
                let context = context.expect("hexadecimal digits are a header value");
                response.headers_mut().insert(TRACE_RESPONSE, context);
                span.add(Attribute::Status(status));
                drop(span);
                self.gateway.telemetry.tracer.finish(trace.clone());
            }
            if self.gateway.telemetry.access_log {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                tracing::info!(route = self.kind.name(), status, micros, "answered");
            }
            self.gateway.counters.answered(self.kind, status, took);
            Ok(response)
        })
    }
}

/// The status of an answer; that of a gRPC error is the one that HTTP would have.
fn status_of(response: &Response<Body>) -> u16 {
    match response.headers().get(GRPC_STATUS) {
        Some(code) => http_status(code).as_u16(),
        None => response.status().as_u16(),
    }
}

/// Headers of which a request has one, so that two readers of it cannot disagree about which counts.
const SINGLE: [HeaderName; 6] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    HeaderName::from_static("inference-header-content-length"),
];

/// Refuses headers that are too large or contradict each other.
fn check(headers: &HeaderMap, bytes_max: usize) -> Result<(), Failure> {
    if header_bytes(headers) > bytes_max {
        return Err(headers_too_large(bytes_max));
    }
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    match SINGLE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        Some(name) => Err(Failure::invalid(format!("{name}: expected one, got several"))),
        None => Ok(()),
    }
}

fn framed_twice() -> Failure {
    Failure::invalid(
        "expected one Content-Length, or one Transfer-Encoding that is chunked, or neither; \
         got more, or what can be read in two ways",
    )
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn headers_too_large(max: usize) -> Failure {
    let message = format!("the headers are larger than {max} bytes");
    Failure::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", message)
}

/// Names for requests: the client's `x-request-id`, else a random start and a count.
struct RequestIds {
    start: u32,
    count: AtomicU64,
}

impl RequestIds {
    fn new() -> Result<RequestIds, ServeError> {
        let start = getrandom::u32().map_err(|error| ServeError::Random(error.to_string()))?;
        Ok(RequestIds { start, count: AtomicU64::new(0) })
    }

    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let good = |value: &&HeaderValue| {
            (1..=REQUEST_ID_LEN_MAX).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if let Some(value) = headers.get(REQUEST_ID).filter(good) {
            return value.clone();
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:08x}{count:08x}", self.start);
        HeaderValue::try_from(text).expect("hexadecimal digits are a header value")
    }
}
