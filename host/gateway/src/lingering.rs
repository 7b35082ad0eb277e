//! The end of an HTTP/1.1 connection on which a client is still sending.
//!
//! A request that is refused at the door has a body that nobody reads. Closing a socket with unread bytes
//! makes the kernel reset the connection, and a reset takes the answer away from a client that has not
//! read it yet. So the answer is ended first (a half-close), then what still comes is read and dropped,
//! until the client closes, or up to a number of bytes, or for a time: RFC 9112 §9.6.

use crate::framing::Framing;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Bytes that are read and dropped at a time.
const BLOCK_BYTES: usize = 8 << 10;

/// How much of a refused body is read, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Beyond it the connection is reset; none for no reading at all.
    pub(crate) bytes_max: u64,
    /// From the end of the answer.
    pub(crate) time_max: Duration,
}

/// A stream that is shut down with patience while a request on it has not come whole.
pub(crate) struct Lingering<S> {
    stream: S,
    framing: Arc<Framing>,
    patience: Patience,
    /// The client sends nothing more.
    is_ended: bool,
    /// The answer has been ended, and this is how long what follows it is read.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(crate) fn new(stream: S, framing: Arc<Framing>, patience: Patience) -> Lingering<S> {
        Lingering { stream, framing, patience, is_ended: false, until: None }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Reads and drops what comes until the client closes or the patience ends.
    fn poll_dropped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut block = [const { MaybeUninit::uninit() }; BLOCK_BYTES];
        while self.patience.bytes_max > 0 {
            let most = usize::try_from(self.patience.bytes_max).unwrap_or(usize::MAX);
            let mut buffer = ReadBuf::uninit(&mut block[..most.min(BLOCK_BYTES)]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.patience.bytes_max -= buffer.filled().len() as u64;
                }
                // The client closed, or is gone.
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => match &mut self.until {
                    Some(until) => return until.as_mut().poll(cx),
                    None => return Poll::Pending,
                },
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let had_room = buffer.remaining() > 0;
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer));
        this.is_ended |= read.is_err() || (had_room && buffer.filled().len() == before);
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if this.is_ended || !this.framing.is_midway() {
                return Poll::Ready(Ok(()));
            }
            this.until = Some(Box::pin(tokio::time::sleep(this.patience.time_max)));
        }
        this.poll_dropped(cx).map(Ok)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Watched;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// Long enough that a test which waits for it does not end.
    const LONG: Duration = Duration::from_secs(3600);

    /// A connection of which `request` was read by its server, and the client's end of it.
    async fn connection(
        request: &str,
        patience: Patience,
    ) -> (Watched<Lingering<DuplexStream>>, DuplexStream) {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let framing = Arc::new(Framing::default());
        let stream = Lingering::new(server, framing.clone(), patience);
        let mut stream = Watched::new(stream, framing.clone());
        client.write_all(request.as_bytes()).await.unwrap();
        let mut read = vec![0; request.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert!(framing.next_is_plain());
        (stream, client)
    }

    fn post(length: usize) -> String {
        format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")
    }

    /// Shuts a connection down on which `sent` bytes came behind `request`; how many were left unread.
    async fn left(request: &str, sent: usize, closes: bool, patience: Patience) -> usize {
        let (mut stream, mut client) = connection(request, patience).await;
        client.write_all(&vec![b'x'; sent]).await.unwrap();
        if closes {
            client.shutdown().await.unwrap();
        }
        tokio::time::timeout(LONG / 60, stream.shutdown()).await.expect("an end").unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "the answer was ended");
        client.shutdown().await.unwrap();
        let mut left = Vec::new();
        stream.read_to_end(&mut left).await.unwrap();
        left.len()
    }

    #[tokio::test]
    async fn what_comes_behind_a_refusal_is_read_up_to_its_bytes_and_no_further() {
        for (sent, bytes_max, expected) in
            [(20_000, 20_000, 0), (20_001, 20_000, 1), (20_001, 1, 20_000), (20_001, 0, 20_001)]
        {
            let patience = Patience { bytes_max, time_max: LONG };
            assert_eq!(left(&post(99_999), sent, false, patience).await, expected, "{bytes_max}");
        }
    }

    #[tokio::test]
    async fn it_is_read_until_the_client_closes_or_the_time_is_over() {
        let long = Patience { bytes_max: 20_000, time_max: LONG };
        assert_eq!(left(&post(99_999), 19_999, true, long).await, 0);
        let short = Patience { time_max: Duration::from_millis(50), ..long };
        for (request, sent) in [(post(99_999), 19_999), (post(99_999), 0), (post(10), 10)] {
            let start = Instant::now();
            assert_eq!(left(&request, sent, false, short).await, 0);
            assert!(start.elapsed() >= short.time_max, "{sent} of {request}");
        }
    }

    #[tokio::test]
    async fn nobody_waits_where_the_request_came_whole() {
        let patience = Patience { bytes_max: 20_000, time_max: LONG };
        let whole = post(3) + "abc";
        for request in [whole.as_str(), &(whole.clone() + "GET /b HTTP/1.1\r\n"), &post(0)] {
            assert_eq!(left(request, 5, false, patience).await, 5, "{request}");
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_client_that_is_gone() {
        let patience = Patience { bytes_max: 20_000, time_max: LONG };
        let (mut stream, mut client) = connection(&post(10), patience).await;
        client.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        tokio::time::timeout(LONG / 60, stream.shutdown()).await.expect("an end").unwrap();
    }
}
