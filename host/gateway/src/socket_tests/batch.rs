//! Batch lines beside calls: one tenant, one rate.

use super::Server;
use aimass_engine::{JobState, JobStore, JobsConfig};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

const INFER: &str = "/v2/models/identity/infer";
const BODY: &str = r#"{"inputs":[]}"#;
const LINES: usize = 5;

#[tokio::test]
async fn lines_use_up_the_rate_of_their_tenant_and_a_job_that_waits_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    std::fs::write(&input, format!("{BODY}\n").repeat(LINES)).unwrap();
    let server = Server::with(|config| {
        config.batch.dir = Some(jobs.clone());
        config.flow.default.requests_per_minute = Some(1);
        config.flow.default.requests_burst = Some(3);
    })
    .await;
    let store = JobStore::open(&jobs, JobsConfig::default()).unwrap();
    let spec = json!({"model": "identity", "input": input, "output": output});
    let job = store.submit("batch", "acme", spec).unwrap().id;
    while server.engine.calls.load(Ordering::Relaxed) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The burst is used up; what is left waits for a minute, and so must a call.
    let refused = server.post(INFER, BODY).await;
    assert!(refused.oip_error(429).contains("rate of requests"));
    store.cancel(&job).unwrap();
    while !store.get(&job).unwrap().state.is_over() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = store.get(&job).unwrap();
    assert_eq!((ended.state, ended.done, ended.failed), (JobState::Cancelled, 3, 0));
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 3);
    assert_eq!(std::fs::read_to_string(&output).unwrap().lines().count(), 3);
}
