//! Sockets: accepts connections up to a limit, serves HTTP/1.1 with limits on headers and time,
//! and drains on shutdown.

use crate::admission::Admission;
use crate::body::Bodies;
use crate::config::{ConfigError, GatewayConfig};
use crate::counters::{Counters, RouteKind};
use crate::failure::Failure;
use crate::flow::rate_fields;
use crate::identity::{ApiKeyError, ApiKeys};
use crate::router::{Asker, Gateway, answer_at, router};
use crate::serving::Serving;
use axum::Router;
use axum::body::Body;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from the client.
const REQUEST_ID_LEN_MAX: usize = 128;
/// Most headers of one request.
const HEADERS_MAX: usize = 100;
/// Pause after the system refuses a connection, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the gateway cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API keys cannot be read.
    #[error(transparent)]
    ApiKeys(#[from] ApiKeyError),
    /// The operating system has no random numbers for request ids.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
}

/// Serves `engine` on `listener` until `shutdown` resolves; then stops accepting, lets requests
/// that are being worked on finish for up to [`GatewayConfig::drain_seconds`], and returns.
///
/// # Errors
/// [`ServeError`] before anything is accepted, if the configuration or the API keys are wrong.
pub async fn serve(
    engine: Arc<dyn Serving>,
    config: GatewayConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    config.validate()?;
    let keys = ApiKeys::load(&config.api_keys)?;
    if keys.is_empty() {
        tracing::warn!("there is no API key: every request but health will get 401");
    }
    let gateway = Arc::new(Gateway {
        engine,
        admission: Admission::new(keys, &config),
        bodies: Bodies::new(&config),
        counters: Counters::default(),
        draining: AtomicBool::new(false),
        config,
    });
    let front = Front {
        router: TowerToHyperService::new(router(gateway.clone())),
        ids: Arc::new(RequestIds::new()?),
        gateway,
    };
    run(front, listener, shutdown).await;
    Ok(())
}

async fn run(front: Front, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
    let gateway = front.gateway.clone();
    let slots = Arc::new(Semaphore::new(gateway.config.connections_max));
    let (drain, draining) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, slot) = accept(&listener, &slots) => {
                gateway.counters.connections.fetch_add(1, Ordering::Relaxed);
                let (front, draining) = (front.clone(), draining.clone());
                connections.spawn(async move {
                    connection(front, stream, draining).await;
                    drop(slot);
                });
            }
        }
    }
    drop(listener);
    gateway.draining.store(true, Ordering::Relaxed);
    tracing::info!(connections = connections.len(), "draining");
    // Fails only if there is no connection to tell.
    let _ = drain.send(());
    drop(draining);
    let all = async { while connections.join_next().await.is_some() {} };
    let seconds = Duration::from_secs(gateway.config.drain_seconds);
    if tokio::time::timeout(seconds, all).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut at the end of the drain time");
    }
    connections.shutdown().await;
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only that one connection failed.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn connection(front: Front, stream: TcpStream, mut draining: watch::Receiver<()>) {
    let config = &front.gateway.config;
    // A small answer must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_seconds))
        .max_headers(HEADERS_MAX)
        // The read buffer: twice the limit, so that our own 431 comes before hyper's empty one.
        .max_buf_size((2 * config.header_bytes_max).max(64 << 10));
    let serving = builder.serve_connection(TokioIo::new(stream), front);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        _ = draining.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// What every request passes before the router: request id, limit on headers, counters.
#[derive(Clone)]
struct Front {
    router: TowerToHyperService<Router>,
    ids: Arc<RequestIds>,
    gateway: Arc<Gateway>,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let start = Instant::now();
        let kind = RouteKind::of(request.uri().path());
        let id = self.ids.of(request.headers());
        let gateway = self.gateway.clone();
        let max = gateway.config.header_bytes_max;
        let refused = (header_bytes(request.headers()) > max)
            .then(|| answer_at(request.uri(), &headers_too_large(max)));
        let asker = gateway.admission.flow().limits_rates().then(Asker::default);
        if let Some(asker) = &asker {
            request.extensions_mut().insert(asker.clone());
        }
        let routed = refused.is_none().then(|| self.router.call(request));
        Box::pin(async move {
            let mut response = match (refused, routed) {
                (Some(response), _) => response,
                (None, Some(routed)) => routed.await?,
                (None, None) => Response::new(Body::empty()),
            };
            response.headers_mut().insert(REQUEST_ID, id);
            if let Some(tenant) = asker.as_ref().and_then(|Asker(tenant)| tenant.get()) {
                rate_fields(tenant, Instant::now(), response.headers_mut());
            }
            gateway.counters.answered(kind, response.status().as_u16(), start.elapsed());
            Ok(response)
        })
    }
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
