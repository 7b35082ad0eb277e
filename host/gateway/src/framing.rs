//! Where one HTTP/1.1 request ends and the next begins (RFC 9112 §6), watched in the bytes themselves.
//!
//! hyper mends what the standard lets it mend: of `Content-Length` beside `Transfer-Encoding`, or of one that
//! is said twice, a handler never hears. A proxy that reads the same bytes otherwise sees other requests
//! (request smuggling, CWE-444). So each head is judged as its bytes come, and what can be read in two
//! ways is answered with 400 on a connection that then ends. This never changes a byte, and never decides
//! what a request is: where it and hyper disagree, the request is refused.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a header line that are kept while the rest of it has not come. A framing header that is
/// longer is refused.
const LINE_KEPT_MAX: usize = 128;

/// What is known about the requests of one connection, for whoever answers them.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    /// Heads from the start of the connection that can be read in one way only.
    plain: AtomicU64,
    asked: AtomicU64,
    /// Which request has not come whole, the first being 1: the last plain one whose body has not, or the one
    /// behind it whose head can be read in two ways. 0 if none.
    within: AtomicU64,
}

impl Framing {
    /// Whether the next request can be read in one way only. Asked once for each, in their order.
    pub(crate) fn next_is_plain(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed) < self.plain.load(Ordering::Relaxed)
    }

    /// Whether the last request that was asked about has not come whole.
    pub(crate) fn is_midway(&self) -> bool {
        let within = self.within.load(Ordering::Relaxed);
        within > 0 && self.asked.load(Ordering::Relaxed) >= within
    }
}

/// A stream of requests that is watched as it is read.
pub(crate) struct Watched<S> {
    stream: S,
    watcher: Watcher,
    framing: Arc<Framing>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, framing: Arc<Framing>) -> Watched<S> {
        Watched { stream, watcher: Watcher::default(), framing }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let plain = this.watcher.read(&buffer.filled()[before..]);
        let plain = plain + this.framing.plain.fetch_add(plain, Ordering::Relaxed);
        let within = if this.watcher.state == State::Head {
            0
        } else {
            plain + u64::from(this.watcher.is_head_lost)
        };
        this.framing.within.store(within, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
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

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A line of a head.
    #[default]
    Head,
    /// So many bytes of a body of known length.
    Body(u64),
    /// Digits of a chunk's size.
    Size {
        size: u64,
        digits: bool,
    },
    /// What stands behind them, to the end of the line.
    SizeEnd {
        size: u64,
    },
    /// The line feed of that line.
    SizeFeed {
        size: u64,
    },
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of a chunk.
    ChunkReturn,
    ChunkFeed,
    /// A line behind the last chunk.
    TrailerStart,
    Trailer,
    TrailerFeed,
    LastFeed,
    /// Nothing that follows is a request.
    Lost,
}

/// What the lines of a head said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// The request line has come.
    begun: bool,
    lengths: u32,
    length: u64,
    codings: u32,
    doubtful: bool,
}

impl Head {
    /// A header line, without its end.
    fn field(&mut self, line: &[u8]) {
        // Cheap for the many that frame nothing.
        let [b'c' | b'C' | b't' | b'T', ..] = line else { return };
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            match digits(value) {
                Some(length) => self.length = length,
                None => self.doubtful = true,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            self.doubtful |= !value.eq_ignore_ascii_case(b"chunked");
        }
    }

    /// What follows the head, if that can be read in one way only.
    fn body(&self) -> Option<State> {
        match (self.lengths, self.codings) {
            _ if self.doubtful => None,
            (0 | 1, 0) => Some(body_of(self.length)),
            (0, 1) => Some(State::Size { size: 0, digits: false }),
            (_, _) => None,
        }
    }
}

fn body_of(length: u64) -> State {
    if length == 0 { State::Head } else { State::Body(length) }
}

fn digits(value: &[u8]) -> Option<u64> {
    let all = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| all)?.parse().ok()
}

/// Follows the requests of a connection.
#[derive(Debug, Default)]
struct Watcher {
    state: State,
    head: Head,
    /// The start of a line of which the end has not come.
    kept: Vec<u8>,
    /// `kept` is not all that came of it.
    is_cut: bool,
    /// Nothing follows because of a head, not of a body.
    is_head_lost: bool,
}

impl Watcher {
    /// Looks at bytes that came; how many heads ended that can be read in one way only.
    fn read(&mut self, mut bytes: &[u8]) -> u64 {
        let mut plain = 0;
        while let Some((first, rest)) = bytes.split_first() {
            bytes = match self.state {
                State::Head => self.line(bytes, &mut plain),
                State::Body(left) => self.skip(bytes, left, State::Body, State::Head),
                State::Chunk(left) => self.skip(bytes, left, State::Chunk, State::ChunkReturn),
                State::Lost => return plain,
                State::Size { .. }
                | State::SizeEnd { .. }
                | State::SizeFeed { .. }
                | State::ChunkReturn
                | State::ChunkFeed
                | State::TrailerStart
                | State::Trailer
                | State::TrailerFeed
                | State::LastFeed => {
                    self.state = between_chunks(self.state, *first);
                    rest
                }
            };
        }
        plain
    }

    /// Goes over what came of `left` bytes.
    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        more: fn(u64) -> State,
        end: State,
    ) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - here as u64;
        self.state = if left == 0 { end } else { more(left) };
        &bytes[here..]
    }

    /// Takes a line of a head, or what came of it.
    fn line<'a>(&mut self, bytes: &'a [u8], plain: &mut u64) -> &'a [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&bytes[..end], &bytes[end + 1..]),
            None => (bytes, &[][..]),
        };
        if end.is_some() && self.kept.is_empty() {
            self.line_ended(line, plain);
            return rest;
        }
        let room = LINE_KEPT_MAX - self.kept.len();
        self.is_cut |= line.len() > room;
        self.kept.extend_from_slice(&line[..line.len().min(room)]);
        if end.is_some() {
            let mut kept = std::mem::take(&mut self.kept);
            self.line_ended(&kept, plain);
            kept.clear();
            (self.kept, self.is_cut) = (kept, false);
        }
        rest
    }

    fn line_ended(&mut self, line: &[u8], plain: &mut u64) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.is_empty(), self.head.begun) {
            // RFC 9112 §2.2: empty lines before a request are none of it.
            (true, false) => {}
            (false, false) => self.head.begun = true,
            (false, true) => {
                let before = (self.head.lengths, self.head.codings);
                self.head.field(line);
                let frames = before != (self.head.lengths, self.head.codings);
                self.head.doubtful |= frames && self.is_cut;
            }
            (true, true) => {
                let body = std::mem::take(&mut self.head).body();
                *plain += u64::from(body.is_some());
                self.is_head_lost = body.is_none();
                self.state = body.unwrap_or(State::Lost);
            }
        }
    }
}

/// The state behind `byte`, where chunks are framed (RFC 9112 §7.1). Lines end as the standard says and
/// in no other way.
fn between_chunks(state: State, byte: u8) -> State {
    match (state, byte) {
        (State::Size { size, .. }, byte) if byte.is_ascii_hexdigit() => {
            let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
            match size.checked_mul(16).and_then(|size| size.checked_add(digit)) {
                Some(size) => State::Size { size, digits: true },
                None => State::Lost,
            }
        }
        (State::Size { size, digits: true }, b'\r') | (State::SizeEnd { size }, b'\r') => {
            State::SizeFeed { size }
        }
        (State::SizeEnd { .. } | State::Trailer, b'\n') => State::Lost,
        (State::Size { size, digits: true }, b' ' | b'\t' | b';') => State::SizeEnd { size },
        (State::SizeEnd { size }, _) => State::SizeEnd { size },
        (State::SizeFeed { size: 0 }, b'\n') => State::TrailerStart,
        (State::SizeFeed { size }, b'\n') => State::Chunk(size),
        (State::ChunkReturn, b'\r') => State::ChunkFeed,
        (State::ChunkFeed, b'\n') => State::Size { size: 0, digits: false },
        (State::TrailerStart, b'\r') => State::LastFeed,
        (State::Trailer, b'\r') => State::TrailerFeed,
        (State::TrailerStart, b'\n') => State::Lost,
        (State::TrailerStart | State::Trailer, _) => State::Trailer,
        (State::TrailerFeed, b'\n') => State::TrailerStart,
        (State::LastFeed, b'\n') => State::Head,
        (_, _) => State::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plain heads among these bytes, and whether more could follow.
    fn watched(bytes: &[u8], block: usize) -> (u64, bool) {
        let mut watcher = Watcher::default();
        let plain = bytes.chunks(block).map(|block| watcher.read(block)).sum();
        (plain, watcher.state != State::Lost)
    }

    fn head(lines: &str) -> String {
        format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
    }

    #[track_caller]
    fn check(bytes: &str, expected: (u64, bool)) {
        for block in [1, 2, 3, 7, 64, 4096] {
            assert_eq!(watched(bytes.as_bytes(), block), expected, "{bytes:?} by {block}");
        }
    }

    #[test]
    fn what_frames_a_request_once_is_plain() {
        for lines in [
            "",
            "Content-Length: 0\r\n",
            "content-length:\t0 \r\n",
            "Content-Lengths: 1\r\nX-Content-Length: 2\r\nTE: trailers\r\n",
        ] {
            check(&(head(lines) + &head(lines)), (2, true));
        }
        check(&(head("Content-Length: 5\r\n") + "\r\n\r\nx" + &head("")), (2, true));
        check(&("\r\n\n".to_owned() + &head("")), (1, true));
        check("GET / HTTP/1.1\nHost: h\nContent-Length: 1\n\nxGET / HTTP/1.1\n\n", (2, true));
    }

    #[test]
    fn what_frames_a_request_twice_ends_the_connection() {
        for lines in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\ncontent-length: 1\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: \u{b}chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length:\r\n",
        ] {
            check(&(head("") + &head(lines) + "x" + &head("")), (1, false));
        }
        let padded = format!("Content-Length:{}1\r\n", " ".repeat(LINE_KEPT_MAX));
        assert_eq!(watched(head(&padded).as_bytes(), 16), (0, false), "longer than is kept");
    }

    #[test]
    fn chunks_end_where_the_standard_says() {
        let chunked = head("Transfer-Encoding: Chunked\r\n");
        for body in [
            "0\r\n\r\n",
            "1\r\nx\r\n0\r\n\r\n",
            "a;x=\"y\"\r\n\r\n0\r\n\r\n\r\n \r\n000\r\n\r\n",
            "1 \r\nx\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n",
        ] {
            check(&(chunked.clone() + body + &head("")), (2, true));
        }
        for body in [
            "\r\n",
            "1\nx\r\n0\r\n\r\n",
            "1;a\nx\r\n0\r\n\r\n",
            "1\r\nxy\r\n0\r\n\r\n",
            "-1\r\nx\r\n0\r\n\r\n",
            "10000000000000000\r\nx",
            "0\r\nX: y\n\r\n",
            "0\r\n\nX: y\r\n\r\n",
            "0\r\n\r\r\n",
        ] {
            check(&(chunked.clone() + body + &head("")), (1, false));
        }
    }

    proptest! {
        /// However requests are cut into blocks, and whatever their bodies look like, each is counted once.
        #[test]
        fn requests_are_counted(
            bodies in prop::collection::vec((any::<bool>(), "[a-z\r\n: 0-9]{0,60}"), 1..12),
            block in 1usize..80,
        ) {
            let mut bytes = String::new();
            for (chunked, body) in &bodies {
                let body = format!("{body}Content-Length: 1\r\n\r\n");
                if *chunked {
                    bytes += &head("Transfer-Encoding: chunked\r\n");
                    bytes += &format!("{:X}\r\n{body}\r\n0\r\n\r\n", body.len());
                } else {
                    bytes += &head(&format!("Content-Length: {}\r\n", body.len()));
                    bytes += &body;
                }
            }
            prop_assert_eq!(watched(bytes.as_bytes(), block), (bodies.len() as u64, true));
        }
    }
}
