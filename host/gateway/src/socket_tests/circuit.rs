//! Models that keep failing.

use super::Server;
use std::sync::atomic::Ordering;

const TRAP: &str = "/v2/models/trap/infer";
const BODY: &str = r#"{"inputs":[]}"#;

#[tokio::test]
async fn an_open_circuit_says_why_and_costs_no_call() {
    let server = Server::start().await;
    for _ in 0..5 {
        server.post(TRAP, BODY).await.oip_error(500);
    }
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 5);
    let refused = server.post(TRAP, BODY).await;
    let text = refused.oip_error(503);
    assert!(text.contains("model trap version 1 keeps failing for tenant acme"), "{text}");
    assert!(text.contains("plugin acme/bad trapped"), "{text}");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(refused.header("x-should-retry"), Some("true"));
    assert_eq!(server.engine.calls.load(Ordering::Relaxed), 5);
    assert!(server.get("/v2/models/trap/ready").await.oip_error(400).contains("trapped"));
    assert_eq!(server.get("/v2/models/trap/versions/2/ready").await.status, 200);
    assert_eq!(server.post("/v2/models/identity/infer", BODY).await.status, 200);
    assert_eq!(server.get("/v2/health/ready").await.status, 200);
    let metrics = server.get("/metrics").await;
    let open = "circuits_open{model=\"trap\",version=\"1\"} 1\n";
    assert!(metrics.text().contains(open), "{}", metrics.text());
    assert!(metrics.text().contains("refused_total{reason=\"circuit\"} 1\n"));
}

#[tokio::test]
async fn what_clients_do_wrong_opens_no_circuit() {
    let server = Server::start().await;
    for _ in 0..50 {
        server.post("/v2/models/identity/infer", r#"{"inputs":[5]}"#).await.oip_error(400);
        server.post("/v2/models/unknown/infer", BODY).await.oip_error(404);
        let late = r#"{"inputs":[],"parameters":{"timeout":1}}"#;
        server.post("/v2/models/stuck/infer", late).await.oip_error(504);
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("circuits_opened_total 0\n"), "{}", metrics.text());
    assert_eq!(server.get("/v2/models/stuck/ready").await.status, 200);
}
