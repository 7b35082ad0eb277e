//! Sockets: accepts connections up to a limit, serves HTTP/1.1, and HTTP/2 where TLS agreed on it,
//! with limits on headers and time, and drains on shutdown.

use crate::admission::Admission;
use crate::body::Bodies;
use crate::config::{GatewayConfig, SettingError};
use crate::counters::{Counters, RouteKind};
use crate::failure::Failure;
use crate::identity::{Identity, IdentityError, Principal};
use crate::router::{Gateway, admin_router, answer_at, lines, router};
use crate::serving::Serving;
use crate::tls::{Tls, TlsError};
use axum::Router;
use axum::body::Body;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from the client.
const REQUEST_ID_LEN_MAX: usize = 128;
/// Most headers of one request.
const HEADERS_MAX: usize = 100;
/// Most open connections of the admin listener.
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Most requests at once of one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// Pause after the system refuses a connection, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    /// The operating system has no random numbers for request ids.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
}

/// Where the gateway listens.
pub struct Listeners {
    /// For clients.
    pub main: TcpListener,
    /// For operators; absent for none.
    pub admin: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(main: TcpListener) -> Listeners {
        Listeners { main, admin: None }
    }
}

/// Serves `engine` on `listeners` until `shutdown` resolves or an operator says so; then stops
/// accepting, lets requests that are being worked on finish for up to
/// [`GatewayConfig::drain_seconds`], and returns.
///
/// # Errors
/// [`ServeError`] before anything is accepted, if the configuration, the API keys or the
/// certificates are wrong.
pub async fn serve(
    engine: Arc<dyn Serving>,
    config: GatewayConfig,
    listeners: impl Into<Listeners>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    config.validate()?;
    let identity = Identity::open(&config, Instant::now())?;
    let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
    let gateway = Arc::new(Gateway {
        engine,
        admission: Admission::new(identity, &config),
        bodies: Bodies::new(&config),
        counters: Counters::default(),
        draining: AtomicBool::new(false),
        stop: Notify::new(),
        routes: lines(),
        config,
    });
    let ids = Arc::new(RequestIds::new()?);
    let front = |router: Router| Front {
        router: TowerToHyperService::new(router),
        ids: ids.clone(),
        gateway: gateway.clone(),
        peer: None,
    };
    let Listeners { main, admin } = listeners.into();
    let (drain, draining) = watch::channel(());
    let main = Listening::new(main, gateway.config.connections_max, tls.clone(), draining.clone());
    let admin = admin.map(|admin| {
        let front = front(admin_router(gateway.clone()));
        Listening::new(admin, ADMIN_CONNECTIONS_MAX, tls.clone(), draining).run(front)
    });
    let served = async { tokio::join!(main.run(front(router(gateway.clone()))), optional(admin)) };
    let stopping = async {
        tokio::select! {
            () = shutdown => {}
            () = gateway.stop.notified() => {}
        }
        gateway.draining.store(true, Ordering::Relaxed);
        // Fails only if nobody listens any more.
        let _ = drain.send(());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = gateway.admission.keep_fresh() => {}
        () = optional(tls.clone().map(Tls::keep_fresh)), if tls.is_some() => {}
        () = stopping => {}
        _ = served => {}
    }
    Ok(())
}

/// Waits for a future, if there is one.
async fn optional(future: Option<impl Future<Output = ()>>) {
    if let Some(future) = future {
        future.await;
    }
}

/// A listener, how many connections it may have, and when it has to end.
struct Listening {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    tls: Option<Arc<Tls>>,
    draining: watch::Receiver<()>,
}

impl Listening {
    fn new(
        listener: TcpListener,
        connections_max: usize,
        tls: Option<Arc<Tls>>,
        draining: watch::Receiver<()>,
    ) -> Listening {
        let listening =
            Listening { listener, slots: Arc::new(Semaphore::new(connections_max)), tls, draining };
        listening.warn_if_open();
        listening
    }

    /// Says loudly that keys would go over the network in the clear.
    fn warn_if_open(&self) {
        let Ok(address) = self.listener.local_addr() else { return };
        if self.tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "API KEYS ARE SENT IN THE CLEAR: this listener is no loopback and has no TLS; set \
                 [gateway.tls] certificate and key, or let a proxy speak TLS in front of it"
            );
        }
    }

    async fn run(mut self, front: Front) {
        let gateway = front.gateway.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = self.draining.changed() => break,
                Some(_) = connections.join_next() => {}
                (stream, slot) = accept(&self.listener, &self.slots) => {
                    gateway.counters.connections.fetch_add(1, Ordering::Relaxed);
                    let (front, tls, draining) =
                        (front.clone(), self.tls.clone(), self.draining.clone());
                    connections.spawn(async move {
                        connection(front, stream, tls, draining).await;
                        drop(slot);
                    });
                }
            }
        }
        drop(self.listener);
        tracing::info!(connections = connections.len(), "draining");
        let all = async { while connections.join_next().await.is_some() {} };
        let seconds = Duration::from_secs(gateway.config.drain_seconds);
        if tokio::time::timeout(seconds, all).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut at the end of the drain time");
        }
        connections.shutdown().await;
    }
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

async fn connection(
    mut front: Front,
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    draining: watch::Receiver<()>,
) {
    // A small answer must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return http_1(front, TokioIo::new(stream), draining).await;
    };
    let Some(secured) = tls.accept(stream).await else { return };
    let identity = front.gateway.admission.identity();
    front.peer = secured.certificate().and_then(|shown| identity.of_certificate(shown));
    let io = TokioIo::new(secured.stream);
    match secured.http2 {
        true => http_2(front, io, draining).await,
        false => http_1(front, io, draining).await,
    }
}

async fn http_1<I>(front: Front, io: I, draining: watch::Receiver<()>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let config = &front.gateway.config;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_seconds))
        .max_headers(HEADERS_MAX)
        // The read buffer: twice the limit, so that our own 431 comes before hyper's empty one.
        .max_buf_size((2 * config.header_bytes_max).max(64 << 10));
    let serving = builder.serve_connection(io, front);
    until_drained(serving, draining, |serving| serving.graceful_shutdown()).await;
}

async fn http_2<I>(front: Front, io: I, draining: watch::Receiver<()>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let config = &front.gateway.config;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(config.header_seconds))
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(2 * config.header_bytes_max).unwrap_or(u32::MAX));
    let serving = builder.serve_connection(io, front);
    until_drained(serving, draining, |serving| serving.graceful_shutdown()).await;
}

/// Drives a connection to its end, and tells it once that no further request is welcome.
async fn until_drained<C: Future<Output = hyper::Result<()>>>(
    serving: C,
    mut draining: watch::Receiver<()>,
    shut_down: impl FnOnce(Pin<&mut C>),
) {
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        _ = draining.changed() => {
            shut_down(serving.as_mut());
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
    /// Whose client certificate the connection has.
    peer: Option<Arc<Principal>>,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let start = Instant::now();
        let kind = RouteKind::of(request.uri().path());
        let id = self.ids.of(request.headers());
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        let gateway = self.gateway.clone();
        let max = gateway.config.header_bytes_max;
        let refused = (header_bytes(request.headers()) > max)
            .then(|| answer_at(request.uri(), &headers_too_large(max)));
        let routed = refused.is_none().then(|| self.router.call(request));
        Box::pin(async move {
            let mut response = match (refused, routed) {
                (Some(response), _) => response,
                (None, Some(routed)) => routed.await?,
                (None, None) => Response::new(Body::empty()),
            };
            response.headers_mut().insert(REQUEST_ID, id);
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
