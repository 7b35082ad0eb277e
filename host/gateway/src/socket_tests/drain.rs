//! Shutdown: what is being worked on is finished, nothing new is taken.

use super::Server;
use super::abuse::frame;
use super::grpc::{framed, infer};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SLOW: &str = "/v2/models/slow/infer";

#[tokio::test]
async fn a_request_in_flight_is_answered_and_new_connections_are_not() {
    let mut server = Server::start().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.send("GET", "/v2/health/live", "", b"").await.status, 200);
    let stop = server.stop.take().unwrap();
    let waiting = server.send("POST", SLOW, b"{\"inputs\":[]}");
    let meanwhile = async {
        server.engine.started.notified().await;
        stop.send(()).unwrap();
        // An idle connection is closed at once, and with the listener gone nobody gets in.
        assert!(idle.reply().await.is_none());
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!server.done.is_finished());
        server.engine.release.notify_one();
    };
    let (answered, ()) = tokio::join!(waiting, meanwhile);
    assert_eq!(answered.status, 200);
    assert_eq!(answered.header("connection"), Some("close"));
    server.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_drain_ends_with_its_time() {
    let mut server = Server::with(|config| config.drain_seconds = 0).await;
    let stop = server.stop.take().unwrap();
    let mut connection = server.connect().await;
    let headers = format!("Authorization: Bearer {}\r\n", server.key);
    let head = format!(
        "POST {SLOW} HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: 13\r\n\r\n{{\"inputs\":[]}}"
    );
    connection.write(head.as_bytes()).await;
    server.engine.started.notified().await;
    stop.send(()).unwrap();
    assert!(connection.reply().await.is_none());
    server.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_waits_for_a_place_is_answered_before_the_server_ends() {
    let mut server = Server::with(|config| config.in_flight_max = 1).await;
    let stop = server.stop.take().unwrap();
    let slow = server.send("POST", SLOW, b"{\"inputs\":[]}");
    let meanwhile = async {
        server.engine.started.notified().await;
        let mut waiting = std::pin::pin!(server.get("/v2"));
        let early = tokio::time::timeout(Duration::from_millis(100), waiting.as_mut()).await;
        assert!(early.is_err());
        stop.send(()).unwrap();
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.engine.release.notify_one();
        waiting.await
    };
    let (answered, waited) = tokio::join!(slow, meanwhile);
    assert_eq!((answered.status, waited.status), (200, 200));
    server.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn first_it_is_not_ready_and_asks_clients_to_reconnect() {
    let mut server = Server::with(|config| config.flow.unready_seconds = 1).await;
    let mut kept = server.connect().await;
    let ready = |reply: super::Reply| (reply.status, reply.header("connection").map(str::to_owned));
    let before = kept.send("GET", "/v2/health/ready", "", b"").await;
    assert_eq!(ready(before), (200, None));
    server.stop.take().unwrap().send(()).unwrap();
    let close = Some("close".to_owned());
    let mut after = kept.send("GET", "/v2/health/ready", "", b"").await;
    if after.header("connection").is_none() {
        // It was faster than the signal.
        after = kept.send("GET", "/v2/health/ready", "", b"").await;
    }
    assert_eq!(ready(after), (503, close.clone()));
    assert!(kept.reply().await.is_none(), "and closed");
    assert_eq!(ready(server.get("/v2").await), (200, close), "new ones are still welcome");
    server.done.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn connections_that_the_kernel_had_accepted_are_served() {
    let mut server = Server::with(|config| config.connections_max = 1).await;
    let mut first = server.connect().await;
    assert_eq!(first.send("GET", "/v2/health/live", "", b"").await.status, 200);
    let mut second = server.connect().await;
    let mut third = server.connect().await;
    second.write(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n").await;
    server.stop.take().unwrap().send(()).unwrap();
    // Well within the time that a young connection has for its first request.
    let answered = second.reply().await.unwrap();
    assert_eq!((answered.status, answered.header("connection")), (200, Some("close")));
    third.write(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(third.reply().await.unwrap().status, 200);
    assert!(first.reply().await.is_none());
    server.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_signal_ends_the_drain() {
    let mut server = Server::with(|config| config.drain_seconds = 3600).await;
    let mut connection = server.connect().await;
    let headers = format!("Authorization: Bearer {}\r\n", server.key);
    let head = format!(
        "POST {SLOW} HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: 13\r\n\r\n{{\"inputs\":[]}}"
    );
    connection.write(head.as_bytes()).await;
    server.engine.started.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!server.done.is_finished());
    server.cut.take().unwrap().send(()).unwrap();
    assert!(connection.reply().await.is_none());
    server.done.await.unwrap().unwrap();
    assert!(server.engine.cancelled.load(std::sync::atomic::Ordering::Relaxed));
}

#[tokio::test]
async fn without_a_key_file_nothing_is_served() {
    let mut server = Server::with(|config| config.api_keys = "/nonexistent/keys".into()).await;
    let error = (&mut server.done).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("aimass key new"), "{error}");
    let mut server = Server::with(|config| config.connections_max = 0).await;
    let error = (&mut server.done).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("connections_max"), "{error}");
}

/// An HTTP/2 connection of which the frames are seen (RFC 9113 §6).
pub(super) struct Frames {
    stream: TcpStream,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

impl Frames {
    pub(super) async fn open(server: &Server) -> Frames {
        let mut stream = TcpStream::connect(server.grpc).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Frames { stream }
    }

    /// Calls `ModelInfer` of model `slow` on a stream.
    pub(super) async fn infer(&mut self, server: &Server, id: u32) {
        let path = "/inference.GRPCInferenceService/ModelInfer";
        let bearer = format!("Bearer {}", server.key);
        // HPACK (RFC 7541): :method POST and :scheme http indexed, the rest as literals.
        let mut block = vec![0x83, 0x86];
        for (name, value) in [
            (":path", path),
            (":authority", "h"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("authorization", &*bearer),
        ] {
            block.extend([0x00, name.len() as u8]);
            block.extend(name.bytes());
            block.push(value.len() as u8);
            block.extend(value.bytes());
        }
        let body = framed(&[&infer("slow")]);
        let head = frame(HEADERS, END_HEADERS, id, &block);
        let bytes = [head, frame(DATA, END_STREAM, id, &body)].concat();
        // The server may be gone.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// The next frame that is no bookkeeping: its kind, flags, stream and payload. Pings are answered.
    pub(super) async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            match kind {
                PING if flags & ACK == 0 => {
                    let _ = self.stream.write_all(&frame(PING, ACK, 0, &payload)).await;
                }
                DATA | HEADERS | RST_STREAM | GOAWAY => {
                    return Some((kind, flags, u32::from_be_bytes(stream), payload));
                }
                _ => {}
            }
        }
    }

    /// The last stream that a `GOAWAY` promises to answer.
    async fn goaway(&mut self) -> u32 {
        let (kind, _, stream, payload) = self.next().await.expect("a frame");
        assert_eq!((kind, stream), (GOAWAY, 0));
        assert_eq!(payload[4..8], [0; 4], "no error");
        u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])
    }
}

#[tokio::test]
async fn an_http2_client_is_told_to_go_away_and_its_request_in_flight_is_answered() {
    let mut server = Server::start().await;
    let mut frames = Frames::open(&server).await;
    frames.infer(&server, 1).await;
    server.engine.started.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    let told = async {
        // First no promise is broken, and once the client must have seen that, the last stream is said.
        assert_eq!(frames.goaway().await, (1 << 31) - 1);
        assert_eq!(frames.goaway().await, 1);
        frames.infer(&server, 3).await;
        server.engine.release.notify_one();
        let mut answered = Vec::new();
        while let Some((kind, flags, stream, _)) = frames.next().await {
            assert_ne!((kind, stream), (HEADERS, 3), "it came too late");
            if kind != GOAWAY {
                answered.push((kind, flags & END_STREAM, stream));
            }
        }
        answered
    };
    let answered = tokio::time::timeout(Duration::from_secs(20), told).await.expect("an end");
    let of_first: Vec<_> = answered.into_iter().filter(|(_, _, stream)| *stream == 1).collect();
    assert_eq!(of_first, [(HEADERS, 0, 1), (DATA, 0, 1), (HEADERS, END_STREAM, 1)]);
    assert_eq!(server.engine.calls.load(std::sync::atomic::Ordering::Relaxed), 1);
    server.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_http2_client_without_requests_is_let_go() {
    let mut server = Server::start().await;
    let mut frames = Frames::open(&server).await;
    server.stop.take().unwrap().send(()).unwrap();
    let told = async {
        let mut last = frames.goaway().await;
        while let Some((kind, _, _, payload)) = frames.next().await {
            assert_eq!(kind, GOAWAY);
            last = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
        }
        last
    };
    let last = tokio::time::timeout(Duration::from_secs(20), told).await.expect("an end");
    assert_eq!(last, 0, "nothing was begun");
    server.done.await.unwrap().unwrap();
}
