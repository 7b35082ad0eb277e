//! Shutdown: what is being worked on is finished, nothing new is taken.

use super::Server;
use std::time::Duration;
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
