//! Every limit at its edge.

use super::Server;
use super::drain::{Frames, RST_STREAM};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;

const INFER: &str = "/v2/models/identity/infer";

fn body_of(len: usize) -> Vec<u8> {
    let mut body = br#"{"inputs":[]}"#.to_vec();
    body.resize(len, b' ');
    body
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit() {
    let server = Server::with(|config| config.body_bytes_max = 4096).await;
    assert_eq!(server.send("POST", INFER, &body_of(4096)).await.status, 200);
    let refused = server.send("POST", INFER, &body_of(4097)).await;
    assert!(refused.oip_error(413).contains("4096 bytes"));
    let large = server.send("POST", "/v1/embeddings", &body_of(1 << 20)).await;
    assert_eq!(large.openai_error(413)["code"], "too_large");
}

#[tokio::test]
async fn a_chunked_body_is_counted_as_it_comes() {
    let server = Server::with(|config| config.body_bytes_max = 4096).await;
    for (chunks, status) in [(4, 200), (5, 413)] {
        let mut connection = server.connect().await;
        let head = format!(
            "POST {INFER} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            server.key
        );
        connection.write(head.as_bytes()).await;
        for index in 0..chunks {
            let mut chunk = if index == 0 { body_of(1024) } else { vec![b' '; 1024] };
            chunk.splice(0..0, *b"400\r\n");
            chunk.extend_from_slice(b"\r\n");
            connection.write(&chunk).await;
        }
        connection.write(b"0\r\n\r\n").await;
        assert_eq!(connection.reply().await.unwrap().status, status);
    }
}

#[tokio::test]
async fn headers_may_be_as_large_as_the_limit() {
    let server = Server::with(|config| config.header_bytes_max = 2048).await;
    let fixed = "hosth".len()
        + "content-length0".len()
        + "authorizationBearer ".len()
        + server.key.len()
        + "x".len();
    let fill = |len: usize| format!("x: {}\r\n", "y".repeat(len - fixed));
    assert_eq!(server.send_with("GET", "/v2", &fill(2048), b"").await.status, 200);
    let refused = server.send_with("GET", "/v2", &fill(2049), b"").await;
    assert!(refused.oip_error(431).contains("2048 bytes"));
    // Far beyond, hyper answers by itself.
    assert_eq!(server.send_with("GET", "/v2", &fill(100_000), b"").await.status, 431);
    // Beside host, key and length.
    for (more, status) in [(97, 200), (98, 431)] {
        let many = "x: y\r\n".repeat(more);
        assert_eq!(server.send_with("GET", "/v2", &many, b"").await.status, status, "{more}");
    }
}

#[tokio::test]
async fn a_slow_header_ends_the_connection_and_a_slow_body_gets_408() {
    let server = Server::with(|config| {
        (config.header_seconds, config.body_seconds) = (1, 1);
    })
    .await;
    let mut idle = server.connect().await;
    idle.write(b"GET /v2 HTTP/1.1\r\nHost:").await;
    let ended = tokio::time::timeout(Duration::from_secs(10), idle.stream.read(&mut [0; 64])).await;
    assert!(matches!(ended.unwrap(), Ok(0) | Err(_)));
    let mut slow = server.connect().await;
    let head = format!(
        "POST {INFER} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 100\r\n\r\n{{",
        server.key
    );
    slow.write(head.as_bytes()).await;
    assert!(slow.reply().await.unwrap().oip_error(408).contains("1 s"));
}

#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let server = Server::with(|config| config.connections_max = 1).await;
    let mut first = server.connect().await;
    assert_eq!(first.send("GET", "/v2/health/live", "", b"").await.status, 200);
    let mut second = server.connect().await;
    second.write(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let early =
        tokio::time::timeout(Duration::from_millis(200), second.stream.peek(&mut [0])).await;
    assert!(early.is_err());
    drop(first);
    assert_eq!(second.reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn requests_in_flight_are_limited_for_all_and_for_a_tenant() {
    let body = body_of(13);
    for (all, each, status) in [(1, 9, 503), (9, 1, 429)] {
        let server = Server::with(|config| {
            (config.in_flight_max, config.in_flight_per_tenant_max) = (all, each);
            config.flow.queue_max = 0;
        })
        .await;
        let waiting = server.send("POST", "/v2/models/slow/infer", &body);
        let meanwhile = async {
            server.engine.started.notified().await;
            let refused = server.get("/v2").await;
            refused.oip_error(status);
            assert_eq!(refused.header("retry-after"), Some("1"));
            assert_eq!(server.get("/v2/health/ready").await.status, 200);
            server.engine.release.notify_one();
        };
        let (answered, ()) = tokio::join!(waiting, meanwhile);
        assert_eq!(answered.status, 200);
        assert_eq!(server.get("/v2").await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let head = format!(
        "POST /v2/models/slow/infer HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 13\r\n\r\n{{\"inputs\":[]}}",
        server.key
    );
    connection.write(head.as_bytes()).await;
    server.engine.started.notified().await;
    drop(connection);
    while !server.engine.cancelled.load(std::sync::atomic::Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_limited_tenant_reads_what_it_has_left_and_when_to_come_back() {
    let server = Server::with(|config| {
        config.flow.default.requests_per_minute = Some(2);
        config.flow.default.requests_burst = Some(2);
    })
    .await;
    let first = server.get("/v2").await;
    assert_eq!(first.status, 200);
    let policy = "\"requests\";q=2;w=60, \"concurrency\";q=512;qu=\"concurrent-requests\"";
    assert_eq!(first.header("ratelimit-policy"), Some(policy));
    assert_eq!(first.header("ratelimit"), Some("\"requests\";r=1;t=30, \"concurrency\";r=512"));
    assert_eq!(server.get("/v1/models").await.status, 200);
    let refused = server.get("/v1/models").await;
    assert_eq!(refused.openai_error(429)["code"], "rate_limit");
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(refused.header("x-should-retry"), Some("true"));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"requests\";r=0;t=30,"));
    let millis: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    assert!((20_000..=30_000).contains(&millis));
    let health = server.get("/v2/health/ready").await;
    assert_eq!((health.status, health.header("ratelimit")), (200, None));
}

#[tokio::test]
async fn a_body_that_looks_or_steers_is_small() {
    let server = Server::start().await;
    let index = "/v2/repository/index";
    let body = |len: usize| [b"{}", &vec![b' '; len - 2][..]].concat();
    assert_eq!(server.send("POST", index, &body(64 << 10)).await.status, 200);
    assert_eq!(server.send("POST", index, b"").await.status, 200);
    let refused = server.send("POST", index, &body((64 << 10) + 1)).await;
    assert!(refused.oip_error(413).contains("65536 bytes"));
    assert!(server.post(index, "{").await.oip_error(400).contains("request JSON"));
}

#[tokio::test]
async fn beyond_the_places_a_request_waits_its_turn() {
    let server = Server::with(|config| config.in_flight_max = 1).await;
    let body = body_of(13);
    let slow = server.send("POST", "/v2/models/slow/infer", &body);
    let meanwhile = async {
        server.engine.started.notified().await;
        let mut waiting = std::pin::pin!(server.get("/v2"));
        let early = tokio::time::timeout(Duration::from_millis(100), waiting.as_mut()).await;
        assert!(early.is_err());
        server.engine.release.notify_one();
        waiting.await.status
    };
    let (answered, waited) = tokio::join!(slow, meanwhile);
    assert_eq!((answered.status, waited), (200, 200));
}

#[tokio::test]
async fn an_http2_connection_has_so_many_requests_at_once() {
    let server = Server::with(|config| config.streams_max = 2).await;
    let mut frames = Frames::open(&server).await;
    for stream in [1, 3, 5] {
        frames.infer(&server, stream).await;
    }
    let refused = tokio::time::timeout(Duration::from_secs(20), frames.next()).await;
    let (kind, _, stream, payload) = refused.expect("a frame").expect("a frame");
    assert_eq!((kind, stream), (RST_STREAM, 5));
    assert_eq!(payload, 7u32.to_be_bytes(), "REFUSED_STREAM: nothing of it was looked at");
    while server.engine.calls.load(Ordering::Relaxed) < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn an_answer_may_take_so_long_and_no_longer() {
    let server = Server::with(|config| config.request_seconds = 1).await;
    let start = std::time::Instant::now();
    server.send("POST", "/v2/models/stuck/infer", &body_of(13)).await.oip_error(504);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(server.engine.cancelled.load(Ordering::Relaxed));
}
