//! Metering over real sockets: no room, no run; no record, no answer; and what a record says.

use super::Server;
use aimass_telemetry::usage::{UsageQuery, UsageRow, read_usage};
use std::path::Path;
use std::sync::atomic::Ordering;

const INFER: &str = "/v2/models/identity/infer";
const SLOW: &str = "/v2/models/slow/infer";
const TRAP: &str = "/v2/models/trap/infer";
const ONE: &str = r#"{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[2],"data":[1.5,2]}]}"#;

async fn metered(dir: &Path, slots: usize) -> Server {
    let dir = dir.to_owned();
    Server::with(move |config| {
        config.telemetry.usage.dir = Some(dir);
        config.telemetry.usage.queue_len_max = slots;
    })
    .await
}

fn rows(dir: &Path) -> Vec<UsageRow> {
    read_usage(dir, &UsageQuery::default()).unwrap()
}

#[tokio::test]
async fn an_answered_call_is_in_the_journal_when_its_answer_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let server = metered(folder.path(), 9).await;
    assert_eq!(server.post(INFER, ONE).await.status, 200);
    let first = rows(folder.path());
    assert_eq!((first.len(), first[0].totals.answered), (1, 1));
    assert_eq!((first[0].totals.bytes_in, first[0].totals.bytes_out), (8, 8));
    assert_eq!((&*first[0].model, &*first[0].kind), ("identity", "infer"));
    assert_eq!(server.post(TRAP, ONE).await.status, 500);
    assert_eq!(server.post("/v2/models/none/infer", ONE).await.status, 404);
    let all = rows(folder.path());
    let failed: u64 = all.iter().map(|row| row.totals.failed).sum();
    assert_eq!((all.len(), failed), (2, 1), "{all:?}");
    // The engine said nothing about a version: the name is the request's.
    assert!(all.iter().any(|row| &*row.model == "_unknown"), "{all:?}");
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("\naimass_usage_records_total 2\n"), "{}", metrics.text());
}

#[tokio::test]
async fn without_a_slot_a_call_is_refused_before_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = metered(folder.path(), 1).await;
    let waiting = server.send("POST", SLOW, b"{\"inputs\":[]}");
    let meanwhile = async {
        server.engine.started.notified().await;
        let refused = server.post(INFER, ONE).await;
        assert!(refused.oip_error(503).contains("usage records"), "{}", refused.text());
        assert_eq!(refused.header("retry-after"), Some("1"));
        server.engine.release.notify_one();
    };
    let (answered, ()) = tokio::join!(waiting, meanwhile);
    assert_eq!(answered.status, 200);
    let sum: u64 = rows(folder.path()).iter().map(|row| row.totals.answered).sum();
    assert_eq!(sum, 1);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_cancelled_record() {
    let folder = tempfile::tempdir().unwrap();
    let server = metered(folder.path(), 9).await;
    let mut connection = server.connect().await;
    let head = format!(
        "POST {SLOW} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: 13\r\n\r\n\
         {{\"inputs\":[]}}",
        server.key
    );
    connection.write(head.as_bytes()).await;
    server.engine.started.notified().await;
    drop(connection);
    while rows(folder.path()).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let totals = rows(folder.path())[0].totals;
    assert_eq!((totals.answered, totals.failed), (0, 1));
}

#[tokio::test]
async fn readiness_says_why_not() {
    let server = Server::start().await;
    let ready = server.get("/v2/health/ready").await;
    assert_eq!((ready.status, ready.text()), (200, "{\"ready\":true}"));
    server.engine.unready.store(true, Ordering::Relaxed);
    let unready = server.get("/v2/health/ready").await;
    assert_eq!(unready.status, 503);
    let expected = serde_json::json!({ "ready": false, "reasons": ["model slow is loading"] });
    assert_eq!(unready.json(), expected);
}
