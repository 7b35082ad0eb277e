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
async fn without_a_key_file_nothing_is_served() {
    let mut server = Server::with(|config| config.api_keys = "/nonexistent/keys".into()).await;
    let error = (&mut server.done).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("aimass key new"), "{error}");
    let mut server = Server::with(|config| config.connections_max = 0).await;
    let error = (&mut server.done).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("connections_max"), "{error}");
}
