//! Listeners: accept connections up to a limit, speak HTTP on them with limits on headers and
//! time, and drain.

use crate::GatewayConfig;
use crate::tls::Tls;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Most headers of one HTTP/1.1 request.
const HEADERS_MAX: usize = 100;
/// Pause after the system refuses a connection, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Data that an HTTP/2 client may send ahead, of one stream and of one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams that a client opened and reset before they were looked at (rapid reset,
/// CVE-2023-44487); beyond it the connection is closed.
const RESET_STREAMS_MAX: usize = 20;
/// A silent HTTP/2 connection is asked for a sign of life this often, and closed without one.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WAIT: Duration = Duration::from_secs(20);

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1, or HTTP/2 where TLS agreed on it.
    Http1,
    /// HTTP/2 with prior knowledge, as gRPC wants it.
    Http2,
}

/// What answers the requests of a listener.
pub(crate) trait Answers:
    Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Future<Output = Result<Response<Body>, Infallible>> + Send,
    > + Clone
    + Send
    + 'static
{
    /// A connection was accepted.
    fn accepted(&self);

    /// The client of this connection showed a certificate that an authority of the configuration
    /// signed.
    fn shown(&mut self, certificate: &CertificateDer<'_>);
}

/// How connections are served.
#[derive(Clone)]
pub(crate) struct Listening {
    pub(crate) protocol: Protocol,
    pub(crate) config: Arc<GatewayConfig>,
    /// Room for connections.
    pub(crate) slots: Arc<Semaphore>,
    /// Absent for plain connections.
    pub(crate) tls: Option<Arc<Tls>>,
}

impl Listening {
    /// Serves `listener` until `draining` changes, then stops accepting and lets requests that are
    /// being worked on finish for the drain time.
    pub(crate) async fn run<S: Answers>(
        self,
        service: S,
        listener: TcpListener,
        mut draining: watch::Receiver<()>,
    ) {
        self.warn_if_open(&listener);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = draining.changed() => break,
                Some(_) = connections.join_next() => {}
                (stream, slot) = accept(&listener, &self.slots) => {
                    service.accepted();
                    let (this, service) = (self.clone(), service.clone());
                    let draining = draining.clone();
                    connections.spawn(async move {
                        this.connection(service, stream, draining).await;
                        drop(slot);
                    });
                }
            }
        }
        drop(listener);
        tracing::info!(connections = connections.len(), "draining");
        let all = async { while connections.join_next().await.is_some() {} };
        let seconds = Duration::from_secs(self.config.drain_seconds);
        if tokio::time::timeout(seconds, all).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut at the end of the drain time");
        }
        connections.shutdown().await;
    }

    /// Says loudly that keys would go over the network in the clear.
    fn warn_if_open(&self, listener: &TcpListener) {
        let Ok(address) = listener.local_addr() else { return };
        if self.tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "API KEYS ARE SENT IN THE CLEAR: this listener is no loopback and has no TLS; set \
                 [gateway.tls] certificate and key, or let a proxy speak TLS in front of it"
            );
        }
    }

    async fn connection<S: Answers>(
        &self,
        mut service: S,
        stream: TcpStream,
        draining: watch::Receiver<()>,
    ) {
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.requests(service, stream, self.protocol, draining).await;
        };
        let Some(secured) = tls.accept(stream).await else { return };
        if let Some(certificate) = secured.certificate() {
            service.shown(certificate);
        }
        let protocol = if secured.http2 { Protocol::Http2 } else { self.protocol };
        self.requests(service, secured.stream, protocol, draining).await;
    }

    async fn requests<S: Answers>(
        &self,
        service: S,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        protocol: Protocol,
        draining: watch::Receiver<()>,
    ) {
        let stream = TokioIo::new(stream);
        let ended = match protocol {
            Protocol::Http1 => {
                let serving = http1(&self.config).serve_connection(stream, service);
                until_drained(serving, draining, |serving| serving.graceful_shutdown()).await
            }
            Protocol::Http2 => {
                let serving = http2(&self.config).serve_connection(stream, service);
                until_drained(serving, draining, |serving| serving.graceful_shutdown()).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}

fn http1(config: &GatewayConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_seconds))
        .max_headers(HEADERS_MAX)
        // The read buffer: twice the limit, so that our own 431 comes before hyper's empty one.
        .max_buf_size((2 * config.header_bytes_max).max(64 << 10));
    builder
}

fn http2(config: &GatewayConfig) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_max)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(STREAM_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT);
    builder
}

/// Serves a connection to its end, and asks it to end once the server drains.
async fn until_drained<C: Future>(
    serving: C,
    mut draining: watch::Receiver<()>,
    end: impl FnOnce(std::pin::Pin<&mut C>),
) -> C::Output {
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended,
        _ = draining.changed() => {
            end(serving.as_mut());
            serving.await
        }
    }
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
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
