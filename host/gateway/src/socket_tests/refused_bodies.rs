//! Whoever is refused while it is still sending gets to read why: the connection is not reset under it.

use super::grpc::{Client, framed, infer};
use super::{Connection, Server};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

/// More than the kernel keeps for a client that nobody reads from.
const LARGE: usize = 24 << 20;
const BLOCK: usize = 64 << 10;

impl Connection {
    /// Writes `len` bytes of a body; whether all were taken.
    async fn write_body(&mut self, len: usize, is_chunked: bool) -> bool {
        let (head, tail) = match is_chunked {
            true => (format!("{BLOCK:x}\r\n"), "\r\n"),
            false => (String::new(), ""),
        };
        let block = [head.as_bytes(), &vec![b' '; BLOCK], tail.as_bytes()].concat();
        for _ in 0..len / BLOCK {
            if self.stream.write_all(&block).await.is_err() {
                return false;
            }
        }
        !is_chunked || self.stream.write_all(b"0\r\n\r\n").await.is_ok()
    }

    /// Whether the server ended the connection without a reset, and sent nothing more.
    async fn is_ended(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]).await, Ok(0))
    }
}

/// Sends a large body behind `head`, all of it before the answer is read.
async fn is_refused(server: &Server, head: &str, is_chunked: bool, status: u16) {
    let mut connection = server.connect().await;
    connection.write(head.as_bytes()).await;
    assert!(connection.write_body(LARGE, is_chunked).await, "all is taken: {head}");
    let reply = connection.reply().await.expect("an answer");
    assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{head}");
    assert!(connection.is_ended().await, "{head}");
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_why_it_was_refused() {
    let server = Server::with(|config| config.body_bytes_max = 16 << 20).await;
    let good = format!("Authorization: Bearer {}\r\n", server.key);
    let wrong = "Authorization: Bearer am_00000000_x\r\n".to_owned();
    let twice = format!("{good}{good}");
    for (is_chunked, framing) in [
        (false, format!("Content-Length: {LARGE}\r\n")),
        (true, "Transfer-Encoding: chunked\r\n".to_owned()),
    ] {
        for (path, headers, status) in [
            ("/v2/models/identity/infer", "", 401),
            ("/v2/models/identity/infer", &*wrong, 401),
            ("/v1/embeddings", "", 401),
            ("/v2/logging", &*good, 403),
            ("/v2/unknown", &*good, 404),
            ("/v2/health/live", &*good, 405),
            ("/v2/models/identity/infer", &*good, 413),
            ("/v2/repository/index", &*good, 413),
            ("/v2/models/identity/infer", &*twice, 400),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\n{headers}{framing}\r\n");
            is_refused(&server, &head, is_chunked, status).await;
        }
    }
    server.is_unaffected().await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_when_to_come_back() {
    let server = Server::with(|config| {
        config.flow.default.requests_per_minute = Some(1);
        config.flow.default.requests_burst = Some(1);
    })
    .await;
    assert_eq!(server.get("/v2").await.status, 200);
    let head = server.head(&format!("Content-Length: {LARGE}\r\n"));
    is_refused(&server, &head, false, 429).await;
}

#[tokio::test]
async fn a_small_refused_body_leaves_the_connection_open() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let refused = connection.send("POST", "/v2/models/identity/infer", "", b"{}").await;
    assert_eq!((refused.status, refused.header("connection")), (401, None));
    assert_eq!(connection.send("GET", "/v2/health/live", "", b"").await.status, 200);
}

#[tokio::test]
async fn no_more_than_the_limit_is_read_behind_a_refusal() {
    let server = Server::with(|config| config.linger_bytes_max = 1 << 20).await;
    let mut connection = server.connect().await;
    let head =
        "POST /v2/models/identity/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 2147483648\r\n\r\n";
    connection.write(head.as_bytes()).await;
    assert!(!connection.write_body(2 << 30, false).await, "the connection is reset");
    server.is_unaffected().await;
}

#[tokio::test]
async fn a_refused_client_that_goes_on_forever_is_closed_after_its_time() {
    let server = Server::with(|config| config.linger_seconds = 1).await;
    let mut slow = server.connect().await;
    let head =
        "POST /v2/models/identity/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n";
    slow.write(head.as_bytes()).await;
    assert_eq!(slow.reply().await.unwrap().status, 401);
    assert!(slow.is_ended().await);
    assert_eq!(server.metric("connections").await, 2.0, "it may still send");
    while server.metric("connections").await > 1.0 {
        // It sends a byte now and then, which changes nothing.
        slow.write(b" ").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_call_that_is_refused_while_it_is_sent_leaves_others_of_its_connection_alone() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    let key = client.key.take();
    let path = "/inference.GRPCInferenceService/ModelInfer";
    let large = framed(&[&Bytes::from(vec![0; LARGE])]);
    for _ in 0..20 {
        let refused = client.call_at(path, &[], large.clone()).await;
        assert_eq!(refused.code, Code::Unauthenticated, "{}", refused.message);
    }
    client.key = key;
    assert_eq!(client.call("ModelInfer", &infer("identity")).await.code, Code::Ok);
    server.is_unaffected().await;
}
