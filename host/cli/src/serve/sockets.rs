//! Where `aimass serve` listens: sockets that were handed over, or new ones.

use anyhow::{Context, bail};
use listenfd::ListenFd;
use std::net::{SocketAddr, TcpListener as StdListener};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel keeps for a listener until they are accepted.
const BACKLOG: u32 = 1024;

/// Sockets that systemd, or whoever started this process, holds open for it (`LISTEN_FDS`): the
/// first is for HTTP, a second for gRPC.
pub(crate) struct HandedOver(ListenFd);

impl HandedOver {
    /// What the environment says.
    pub(crate) fn from_environment() -> HandedOver {
        HandedOver(ListenFd::from_env())
    }

    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        self.0.len() > 0
    }

    /// The socket of this number, if there is one.
    ///
    /// # Errors
    /// It is no listening TCP socket.
    pub(crate) fn take(&mut self, number: usize) -> anyhow::Result<Option<TcpListener>> {
        if self.0.len() > 2 {
            bail!("LISTEN_FDS: expected at most 2 sockets, HTTP and gRPC, got {}", self.0.len());
        }
        let taken = self.0.take_tcp_listener(number);
        let taken = taken.with_context(|| format!("LISTEN_FDS: socket {number}"))?;
        taken.map(to_tokio).transpose()
    }
}

fn to_tokio(listener: StdListener) -> anyhow::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

/// Listens on an address; with `reuse_port` beside other processes that do the same
/// (`SO_REUSEPORT`).
///
/// # Errors
/// The address cannot be listened on; `mend` says what helps.
pub(crate) async fn bind(
    address: SocketAddr,
    reuse_port: bool,
    mend: &str,
) -> anyhow::Result<TcpListener> {
    let bound = async {
        if !reuse_port {
            return TcpListener::bind(address).await;
        }
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound.await.with_context(|| format!("{address} cannot be listened on; {mend}"))
}
