//! Connections that mean no good: each is refused cheaply, holds nothing, and nobody else notices.

use super::{Connection, Server};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const INFER: &str = "/v2/models/identity/infer";
const BODY: &str = r#"{"inputs":[]}"#;

impl Server {
    /// A gauge or counter of the gateway.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await;
        let name = format!("aimass_gateway_{name} ");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(&*name));
        line.unwrap_or_else(|| panic!("{name} in {}", metrics.text())).parse().unwrap()
    }

    /// Others are answered, and nothing is held but their own request.
    pub(super) async fn is_unaffected(&self) {
        for _ in 0..20 {
            assert_eq!(self.post(INFER, BODY).await.status, 200);
        }
        assert_eq!(self.metric("bodies_bytes").await, 0.0);
        assert_eq!(self.metric("in_flight").await, 1.0, "the question itself");
        assert_eq!(self.metric("waiting").await, 0.0);
    }

    pub(super) fn head(&self, lines: &str) -> String {
        format!(
            "POST {INFER} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n{lines}\r\n",
            self.key
        )
    }

    /// Status of the answer to these bytes; nothing if the connection just ends.
    async fn status_of(&self, bytes: &[u8]) -> Option<u16> {
        let mut connection = self.connect().await;
        connection.write(bytes).await;
        connection.reply().await.map(|reply| reply.status)
    }
}

/// Connections that this process may open: 1,000 unless it has fewer files.
fn crowd() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    // Both ends of each are in this process.
    soft.map_or(1000, |soft| (soft.saturating_sub(400) / 2).min(1000))
}

#[tokio::test]
async fn a_thousand_slow_headers_hold_nothing_and_end_with_their_time() {
    let server = Server::with(|config| config.header_seconds = 2).await;
    let crowd = crowd();
    let mut slow = Vec::new();
    for index in 0..crowd {
        let mut connection = server.connect().await;
        connection.write(format!("POST {INFER} HTTP/1.1\r\nX-{index}: ").as_bytes()).await;
        slow.push(connection);
    }
    server.is_unaffected().await;
    assert!(server.metric("connections").await >= crowd as f64);
    for mut connection in slow {
        connection.reply().await;
        // Whatever is written to it now, the server is gone.
        let mut rest = [0; 1];
        assert!(matches!(connection.stream.read(&mut rest).await, Ok(0) | Err(_)));
    }
    assert_eq!(server.metric("connections").await, 1.0);
}

#[tokio::test]
async fn a_peer_has_so_many_connections_and_no_more() {
    let server = Server::with(|config| config.flow.connections_per_peer_max = 3).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.send("GET", "/v2/health/live", "", b"").await.status, 200);
    }
    assert_eq!(server.metric("connections").await, 3.0);
    let mut third = server.connect().await;
    assert_eq!(third.send("GET", "/v2/health/live", "", b"").await.status, 200);
    let mut fourth = server.connect().await;
    fourth.write(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(fourth.reply().await.is_none());
    drop(first);
    while server.connect().await.try_send().await.is_none() {}
    assert_eq!(second.send("GET", "/v2/health/live", "", b"").await.status, 200);
    drop((second, third));
}

impl Connection {
    async fn try_send(&mut self) -> Option<u16> {
        self.write(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n").await;
        self.reply().await.map(|reply| reply.status)
    }
}

#[tokio::test]
async fn json_a_hundred_thousand_deep_is_refused() {
    let server = Server::start().await;
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    for value in [deep("[", "]"), deep("{\"a\":", "}"), "[".repeat(100_000)] {
        for body in [
            value.clone(),
            format!("{{\"inputs\":{value}}}"),
            format!("{{\"inputs\":[],\"parameters\":{value}}}"),
            format!(
                "{{\"inputs\":[{{\"name\":\"a\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":{value}}}]}}"
            ),
        ] {
            server.post(INFER, &body).await.oip_error(400);
        }
        server
            .post("/v1/embeddings", &format!("{{\"model\":\"embed\",\"input\":{value}}}"))
            .await
            .openai_error(400);
    }
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 0);
    server.is_unaffected().await;
}

#[tokio::test]
async fn a_body_of_ten_thousand_chunks_is_one_request() {
    let server = Server::start().await;
    let mut bytes = server.head("Transfer-Encoding: chunked\r\n").into_bytes();
    bytes.extend(format!("{:x}\r\n{BODY}\r\n", BODY.len()).bytes());
    for _ in 0..10_000 {
        bytes.extend(b"1\r\n \r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    assert_eq!(server.status_of(&bytes).await, Some(200));
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 1);
    // A chunk with more extension than data, over and over, is cut by the server.
    let mut bytes = server.head("Transfer-Encoding: chunked\r\n").into_bytes();
    for _ in 0..2_000 {
        bytes.extend(format!("1;{}\r\n \r\n", "x".repeat(100)).bytes());
    }
    bytes.extend(b"0\r\n\r\n");
    assert_eq!(server.status_of(&bytes).await, Some(400));
    server.is_unaffected().await;
}

#[tokio::test]
async fn a_claimed_length_costs_no_memory() {
    let server = Server::start().await;
    let claim = |length: &str| server.head(&format!("Content-Length: {length}\r\n")).into_bytes();
    assert_eq!(server.status_of(&claim("2147483648")).await, Some(413));
    let greatest = server.status_of(&claim("18446744073709551615")).await;
    assert!(matches!(greatest, Some(400 | 413 | 431)), "{greatest:?}");
    for wrong in ["99999999999999999999", "-1", "0x10", "1 2", "+5", ""] {
        assert_eq!(server.status_of(&claim(wrong)).await, Some(400), "{wrong:?}");
    }
    server.is_unaffected().await;
}

#[tokio::test]
async fn headers_that_contradict_each_other_are_refused() {
    let server = Server::start().await;
    for (lines, name) in [
        ("Content-Length: 13\r\nContent-Length: 12\r\n", "length"),
        ("Content-Length: 13\r\nAuthorization: Bearer am_other\r\n", "authorization"),
        ("Content-Length: 13\r\nHost: other\r\n", "host"),
        ("Content-Length: 13\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n", "type"),
        ("Content-Length: 13\r\nContent-Encoding: gzip\r\nContent-Encoding: br\r\n", "coding"),
        (
            "Content-Length: 13\r\nInference-Header-Content-Length: 13\r\n\
             Inference-Header-Content-Length: 0\r\n",
            "oip",
        ),
        ("Content-Length: 13\r\nTransfer-Encoding: gzip\r\n", "encoding"),
        ("Content-Length : 13\r\n", "a space before the colon"),
        ("Content-Length: 13\r\n X: folded\r\n", "a folded line"),
    ] {
        let bytes = server.head(lines) + BODY;
        assert_eq!(server.status_of(bytes.as_bytes()).await, Some(400), "{name}");
    }
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 0);
    server.is_unaffected().await;
}

/// A whole request in chunks.
fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

#[tokio::test]
async fn what_two_readers_could_frame_differently_is_refused_and_ends_the_connection() {
    let server = Server::start().await;
    let (length, coding) = ("Content-Length: 13\r\n", "Transfer-Encoding: chunked\r\n");
    let smuggled = server.head(length) + BODY;
    for (lines, body) in [
        (format!("{length}{coding}"), chunked(BODY)),
        (format!("{coding}{length}"), chunked(BODY)),
        (format!("{coding}content-length: 0\r\n"), chunked(BODY)),
        (format!("{length}{length}"), BODY.to_owned()),
        (format!("{length}Content-Length: 12\r\n"), BODY.to_owned()),
        (format!("{coding}{coding}"), chunked(BODY)),
        ("Transfer-Encoding: gzip, chunked\r\n".to_owned(), chunked(BODY)),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), chunked(BODY)),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), chunked(BODY)),
        ("Content-Length: 13, 13\r\n".to_owned(), BODY.to_owned()),
    ] {
        let mut connection = server.connect().await;
        let bytes = server.head(&lines) + &body + &smuggled;
        connection.write(bytes.as_bytes()).await;
        let reply = connection.reply().await.expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (400, Some("close")), "{lines}");
        assert!(connection.reply().await.is_none(), "nothing follows: {lines}");
    }
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 0);
    server.is_unaffected().await;
}

#[tokio::test]
async fn requests_that_were_sent_together_are_answered_until_one_is_ambiguous() {
    let server = Server::start().await;
    let (length, coding) = ("Content-Length: 13\r\n", "Transfer-Encoding: chunked\r\n");
    let good = [server.head(length) + BODY, server.head(coding) + &chunked(BODY)].concat();
    let both = server.head(&format!("{length}{coding}")) + &chunked(BODY);
    let bytes = [&*good, &*good, &*both, &*good].concat();
    let mut connection = server.connect().await;
    connection.write(bytes.as_bytes()).await;
    let mut answers = Vec::new();
    let read = connection.stream.read_to_end(&mut answers);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an end").unwrap();
    let text = String::from_utf8(answers).unwrap();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "400"]);
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_end_their_connection() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.grpc).await.unwrap();
    let path = "/inference.GRPCInferenceService/ModelInfer";
    // HPACK (RFC 7541): :method POST, :scheme http, :path and :authority as literals.
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path.bytes());
    block.extend([0x01, 1, b'h']);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(0x4, 0, 0, &[]));
    for index in 0..5_000u32 {
        let id = 2 * index + 1;
        bytes.extend(frame(0x1, 0x4, id, &block));
        bytes.extend(frame(0x3, 0, id, &8u32.to_be_bytes()));
    }
    // The server may close before everything is written.
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is closed");
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 0);
    server.is_unaffected().await;
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
