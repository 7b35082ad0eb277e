//! Listeners: accept connections up to a limit, speak HTTP on them with limits on headers and
//! time, and drain.

use crate::GatewayConfig;
use crate::flow::{Connected, Peers};
use crate::framing::{Framing, Watched};
use crate::lingering::{Lingering, Patience};
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

/// How long after it was accepted a connection is not closed by a drain: its client may be sending.
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(1);
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

    /// What tells how the requests of this connection are framed; only for HTTP/1.1.
    fn framed(&mut self, framing: Arc<Framing>);
}

/// How far a server is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Connections are accepted.
    Serving,
    /// None is accepted any more; those that are open end with the request that is worked on.
    Draining,
    /// Everything ends at once.
    Cut,
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
    /// Connections by peer, on all listeners.
    pub(crate) peers: Arc<Peers>,
}

/// A connection, and its room.
struct Accepted {
    stream: TcpStream,
    /// None for one that came with the backlog: no more of them can follow.
    _slot: Option<OwnedSemaphorePermit>,
    _connected: Connected,
}

impl Listening {
    /// Serves `listener` until the stage is [`Stage::Draining`], then stops accepting and lets requests
    /// that are being worked on finish for the drain time, or until it is [`Stage::Cut`].
    ///
    /// What the kernel has accepted by then is served: its clients are connected, and closing the
    /// listener would reset them.
    pub(crate) async fn run<S: Answers>(
        self,
        service: S,
        listener: TcpListener,
        mut stage: watch::Receiver<Stage>,
    ) {
        self.warn_if_open(&listener);
        let mut connections = JoinSet::new();
        let open = |connections: &mut JoinSet<()>, accepted: Accepted| {
            service.accepted();
            let (this, service, stage) = (self.clone(), service.clone(), stage.clone());
            connections.spawn(async move { this.connection(service, accepted, stage).await });
        };
        let mut drains = stage.clone();
        loop {
            tokio::select! {
                () = reached(&mut drains, Stage::Draining) => break,
                Some(_) = connections.join_next() => {}
                accepted = self.accept(&listener) => open(&mut connections, accepted),
            }
        }
        for accepted in self.backlog(listener) {
            open(&mut connections, accepted);
        }
        tracing::info!(connections = connections.len(), "draining");
        let all = async { while connections.join_next().await.is_some() {} };
        let seconds = Duration::from_secs(self.config.drain_seconds);
        tokio::select! {
            () = all => {}
            () = tokio::time::sleep(seconds) => tracing::warn!("cut at the end of the drain time"),
            () = reached(&mut stage, Stage::Cut) => tracing::warn!("cut"),
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

    /// The next connection, once there is a slot for it.
    async fn accept(&self, listener: &TcpListener) -> Accepted {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    // One of too many is closed by dropping it.
                    if let Some(connected) = self.peers.connect(address.ip()) {
                        return Accepted { stream, _slot: Some(slot), _connected: connected };
                    }
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Closes the listener; connections that the kernel had accepted.
    fn backlog(&self, listener: TcpListener) -> Vec<Accepted> {
        let Ok(listener) = listener.into_std() else { return Vec::new() };
        let mut backlog = Vec::new();
        while let Ok((stream, address)) = listener.accept() {
            let Some(connected) = self.peers.connect(address.ip()) else { continue };
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                backlog.push(Accepted { stream, _slot: None, _connected: connected });
            }
        }
        backlog
    }

    async fn connection<S: Answers>(
        &self,
        mut service: S,
        accepted: Accepted,
        stage: watch::Receiver<Stage>,
    ) {
        let Accepted { stream, _slot, _connected } = accepted;
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.requests(service, stream, self.protocol, stage).await;
        };
        let Some(secured) = tls.accept(stream).await else { return };
        if let Some(certificate) = secured.certificate() {
            service.shown(certificate);
        }
        let protocol = if secured.http2 { Protocol::Http2 } else { self.protocol };
        self.requests(service, secured.stream, protocol, stage).await;
    }

    async fn requests<S: Answers>(
        &self,
        mut service: S,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        protocol: Protocol,
        stage: watch::Receiver<Stage>,
    ) {
        let ended = match protocol {
            Protocol::Http1 => {
                let framing = Arc::new(Framing::default());
                service.framed(framing.clone());
                let stream = Lingering::new(stream, framing.clone(), patience(&self.config));
                let stream = TokioIo::new(Watched::new(stream, framing));
                let serving = http1(&self.config).serve_connection(stream, service);
                until_drained(serving, stage, |serving| serving.graceful_shutdown()).await
            }
            Protocol::Http2 => {
                let stream = TokioIo::new(stream);
                let serving = http2(&self.config).serve_connection(stream, service);
                until_drained(serving, stage, |serving| serving.graceful_shutdown()).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// How a connection ends on which a client is still sending.
fn patience(config: &GatewayConfig) -> Patience {
    Patience {
        bytes_max: config.linger_bytes_max as u64,
        time_max: Duration::from_secs(config.linger_seconds),
    }
}

/// One request has at most 100 headers: hyper's default, which it reads on the stack; any number that is set,
/// the same one too, makes it allocate for each request.
fn http1(config: &GatewayConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_seconds))
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

/// Waits until the server is at `least` at this stage.
async fn reached(stage: &mut watch::Receiver<Stage>, least: Stage) {
    // An error means that the server is gone, which is the last stage.
    let _ = stage.wait_for(|stage| *stage >= least).await.map(|_| ());
}

/// Serves a connection to its end, and asks it to end once the server drains: at once, unless it is
/// so young that its first request may be on its way. The answer to that asks the client to close.
async fn until_drained<C: Future>(
    serving: C,
    mut stage: watch::Receiver<Stage>,
    end: impl FnOnce(std::pin::Pin<&mut C>),
) -> C::Output {
    let grown = tokio::time::Instant::now() + FIRST_REQUEST_WAIT;
    let ends = async {
        reached(&mut stage, Stage::Draining).await;
        tokio::time::sleep_until(grown).await;
    };
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended,
        () = ends => {
            end(serving.as_mut());
            serving.await
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
