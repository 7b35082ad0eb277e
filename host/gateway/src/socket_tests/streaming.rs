//! Answers in parts over HTTP: one event a part, errors in the stream, and clients that go away or read
//! slowly.

use super::Server;
use aimass_telemetry::usage::{UsageQuery, UsageRow, read_usage};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;

const BODY: &str = r#"{"INPUT0": 1.5}"#;

fn path(model: &str) -> String {
    format!("/v2/models/{model}/generate_stream")
}

/// The head, and the events until the server closes the connection.
async fn events(server: &Server, model: &str) -> (String, Vec<serde_json::Value>) {
    events_of(server, &path(model), BODY).await
}

async fn events_of(server: &Server, path: &str, body: &str) -> (String, Vec<serde_json::Value>) {
    let mut connection = server.connect().await;
    post(server, &mut connection, path, body).await;
    let mut bytes = Vec::new();
    connection.stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let lines = lines.map(|line| if line == "[DONE]" { "\"done\"" } else { line });
    (head.to_owned(), lines.map(|json| serde_json::from_str(json).unwrap()).collect())
}

async fn ask(server: &Server, connection: &mut super::Connection, model: &str) {
    post(server, connection, &path(model), BODY).await;
}

async fn post(server: &Server, connection: &mut super::Connection, path: &str, body: &str) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\n\r\n{body}",
        body.len(),
        server.key
    );
    connection.write(head.as_bytes()).await;
}

fn rows(dir: &Path) -> Vec<UsageRow> {
    read_usage(dir, &UsageQuery::default()).unwrap()
}

#[tokio::test]
async fn each_part_is_an_event_and_an_error_after_the_first_is_the_last_event() {
    let server = Server::start().await;
    let (head, words) = events(&server, "words").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words.iter().all(|event| event["OUTPUT0"] == 1.5), "{words:?}");
    let (head, late) = events(&server, "late").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(late.len(), 2, "{late:?}");
    assert!(late[1]["error"].as_str().unwrap().contains("it trapped late"), "{late:?}");
    // Before the first part an error is an answer as anywhere.
    assert!(server.post(&path("trap"), BODY).await.oip_error(500).contains("trapped"));
    // A single answer is a body of known length.
    let one = server.post(&path("identity"), BODY).await;
    assert!(one.header("content-length").is_some() && one.text().starts_with("data: {"));
}

#[tokio::test]
async fn chat_streams_a_chunk_for_each_part() {
    let server = Server::start().await;
    let body = |model: &str| {
        format!(
            r#"{{"model":"{model}","messages":[{{"role":"user"}}],"stream":true,
                "stream_options":{{"include_usage":true}}}}"#
        )
    };
    let (head, chunks) = events_of(&server, "/v1/chat/completions", &body("chat-words")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let messages = r#"[{"role":"user"}]"#;
    let [first, second, end, usage, done] = &chunks[..] else { panic!("{chunks:?}") };
    let delta = |chunk: &serde_json::Value| chunk["choices"][0]["delta"].clone();
    assert_eq!(delta(first), serde_json::json!({"role": "assistant", "content": messages}));
    assert_eq!(delta(second), serde_json::json!({"content": messages}));
    assert_eq!((&end["choices"][0]["finish_reason"], done), (&"stop".into(), &"done".into()));
    assert_eq!(usage["usage"]["total_tokens"], 2);
    let (_, late) = events_of(&server, "/v1/chat/completions", &body("chat-late")).await;
    assert_eq!(late.len(), 2, "{late:?}");
    assert_eq!(late[1]["error"]["type"], "server_error");
}

#[tokio::test]
async fn a_stream_is_one_record_with_the_bytes_of_all_parts() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    let server = Server::with(move |config| config.telemetry.usage.dir = Some(dir)).await;
    let (_, words) = events(&server, "words").await;
    assert_eq!(words.len(), 2);
    let rows = rows(folder.path());
    assert_eq!((rows.len(), rows[0].totals.answered), (1, 1), "{rows:?}");
    let size = rows[0].totals.bytes_in;
    assert!(size > 0 && rows[0].totals.bytes_out == 2 * size, "{rows:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_a_plugin_that_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    let server = Server::with(move |config| config.telemetry.usage.dir = Some(dir)).await;
    let mut connection = server.connect().await;
    ask(&server, &mut connection, "endless").await;
    let mut some = [0; 256];
    assert!(connection.stream.read(&mut some).await.unwrap() > 0);
    drop(connection);
    let gone = async {
        while !server.engine.cancelled.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        loop {
            // The record follows the end.
            if let [row] = &rows(folder.path())[..] {
                return row.totals;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let totals = tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it ends");
    assert_eq!((totals.answered, totals.failed), (0, 1));
    assert!(totals.bytes_out > 0);
}

#[tokio::test]
async fn a_slow_reader_holds_the_plugin_back_and_not_the_memory() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    ask(&server, &mut connection, "endless").await;
    // Sockets and hyper take what they can hold; then nothing moves.
    let (mut before, mut quiet) = (0, 0);
    while quiet < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = server.engine.emitted.load(Ordering::Relaxed);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    assert!(before > 16, "{before}");
    let mut block = vec![0; 1 << 22];
    connection.stream.read_exact(&mut block).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while server.engine.emitted.load(Ordering::Relaxed) == before {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("it goes on once somebody reads");
}
