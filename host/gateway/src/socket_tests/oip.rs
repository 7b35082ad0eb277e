//! OIP v2 over sockets.

use super::Server;
use proptest::prelude::*;
use serde_json::json;
use std::sync::atomic::Ordering;

const INFER: &str = "/v2/models/identity/infer";
const ONE: &str =
    r#"{"id":"7","inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,2],"data":[0.1,-3]}]}"#;

#[tokio::test]
async fn health_tells_the_truth() {
    let server = Server::start().await;
    assert_eq!(server.get("/v2/health/live").await.json(), json!({"live": true}));
    let ready = server.get("/v2/health/ready").await;
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true})));
    server.engine.unready.store(true, Ordering::Relaxed);
    let ready = server.get("/v2/health/ready").await;
    let reasons = json!(["model slow is loading"]);
    assert_eq!((ready.status, ready.json()), (503, json!({"ready": false, "reasons": reasons})));
    // Whoever may not read that model learns that there is a reason, and no name.
    let in_general = json!({"ready": false, "reasons": ["a model is loading"]});
    let other = server.add_key(|record| record.models = Some(vec!["embed".to_owned()]));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    server.get("/v2").await;
    for credential in ["", "am_wrong", &other] {
        let headers = format!("Authorization: Bearer {credential}\r\n");
        let headers = if credential.is_empty() { "" } else { &headers };
        let asked = server.connect().await.send("GET", "/v2/health/ready", headers, b"").await;
        assert_eq!((asked.status, asked.json()), (503, in_general.clone()), "{credential:?}");
    }
    assert_eq!(server.get("/v2/health/live").await.status, 200);
}

#[tokio::test]
async fn metadata_reads_as_the_protocol_says() {
    let server = Server::start().await;
    assert_eq!(server.get("/v2").await.json()["name"], "aimass");
    let expected = json!({
        "name": "raw", "versions": ["1", "2"], "platform": "aimass_fake",
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "OUTPUT0", "datatype": "FP32", "shape": [-1, 2]}],
    });
    for (path, version, labels) in [
        ("/v2/models/raw", "1", json!(["stable"])),
        ("/v2/models/raw/versions/2", "2", json!([])),
        ("/v2/models/raw/versions/stable", "1", json!(["stable"])),
    ] {
        let mut expected = expected.clone();
        expected["release"] = json!({
            "version": version, "name": "acme/fake@1.0.0", "signed_by": "ed25519:00",
            "fixtures": "3 passed", "reviewed_by": ["ed25519:01"], "labels": labels,
        });
        assert_eq!(server.get(path).await.json(), expected);
    }
    server.get("/v2/models/none").await.oip_error(404);
    server.get("/v2/models/raw/versions/3").await.oip_error(404);
    server.get("/v2/models/raw/versions/%40").await.oip_error(400);
    server.get("/v2/models/%ff").await.oip_error(400);
    let index = server.post("/v2/repository/index", "").await.json();
    assert_eq!(index.as_array().unwrap().len(), 4);
    assert_eq!(index[3], json!({"name":"identity","version":"2","state":"READY","reason":""}));
}

#[tokio::test]
async fn a_model_is_ready_missing_or_busy() {
    let server = Server::start().await;
    let ready = server.get("/v2/models/identity/versions/2/ready").await;
    assert_eq!(ready.json(), json!({"name": "identity", "ready": true}));
    assert!(server.get("/v2/models/busy/ready").await.oip_error(400).contains("loading"));
    server.get("/v2/models/none/ready").await.oip_error(404);
}

#[tokio::test]
async fn inference_in_json() {
    let server = Server::start().await;
    let reply = server.post(INFER, ONE).await;
    let expected = r#"{"id":"7","model_name":"identity","model_version":"1","outputs":[{"name":"OUTPUT0","datatype":"FP32","shape":[1,2],"data":[0.1,-3.0]}]}"#;
    assert_eq!(reply.text(), expected);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.header("inference-header-content-length").is_none());
    for (version, answered) in [("2", "2"), ("stable", "1"), ("newest", "2")] {
        let path = format!("/v2/models/identity/versions/{version}/infer");
        assert_eq!(server.post(&path, ONE).await.json()["model_version"], answered);
    }
    server.post("/v2/models/none/infer", ONE).await.oip_error(404);
    server.post("/v2/models/identity/versions/9/infer", ONE).await.oip_error(404);
    server.post(INFER, "{").await.oip_error(400);
}

#[tokio::test]
async fn inference_in_binary_both_ways() {
    let server = Server::start().await;
    let json = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"INPUT0","datatype":"INT16","shape":[2],"parameters":{"binary_data_size":4}},{"name":"INPUT1","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}"#;
    let blobs = b"\x01\0\xff\xff\x01\0\0\0\xfe";
    let header = format!("Inference-Header-Content-Length: {}\r\n", json.len());
    let body = [json.as_bytes(), blobs].concat();
    let reply = server.send_with("POST", INFER, &header, &body).await;
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"), "{}", reply.text());
    let len: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    let head: serde_json::Value = serde_json::from_slice(&reply.body[..len]).unwrap();
    assert_eq!(head["outputs"][1]["parameters"]["binary_data_size"], 5);
    assert_eq!(&reply.body[len..], blobs);

    // The same as JSON: the string is no UTF-8, and the answer says what to do.
    let json = json.replace("\"binary_data_output\":true", "\"x\":1");
    let header = format!("Inference-Header-Content-Length: {}\r\n", json.len());
    let body = [json.as_bytes(), blobs].concat();
    let reply = server.send_with("POST", INFER, &header, &body).await;
    assert!(reply.oip_error(400).contains("binary_data"));
    let bad = "Inference-Header-Content-Length: x\r\n";
    server.send_with("POST", INFER, bad, b"{}").await.oip_error(400);
}

#[tokio::test]
async fn a_raw_binary_request_needs_no_json() {
    let server = Server::start().await;
    let header = "Inference-Header-Content-Length: 0\r\n";
    let path = "/v2/models/raw/infer";
    let reply = server.send_with("POST", path, header, &[0; 16]).await;
    let len: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    let head: serde_json::Value = serde_json::from_slice(&reply.body[..len]).unwrap();
    assert_eq!(head["outputs"][0]["shape"], json!([2, 2]));
    assert_eq!(&reply.body[len..], [0; 16]);
    server.send_with("POST", path, header, &[0; 9]).await.oip_error(400);
    server.send_with("POST", INFER, header, &[0; 9]).await.oip_error(400);
}

#[tokio::test]
async fn engine_errors_keep_their_family() {
    let server = Server::start().await;
    let trap = server.post("/v2/models/trap/infer", ONE).await;
    assert!(trap.oip_error(500).contains("acme/bad"));
    assert_eq!(trap.header("x-should-retry"), Some("false"));
    let busy = server.post("/v2/models/busy/infer", ONE).await;
    busy.oip_error(503);
    assert_eq!(busy.header("retry-after"), Some("1"));
    let body = ONE.replacen('{', r#"{"parameters":{"timeout":1000},"#, 1);
    server.post("/v2/models/stuck/infer", &body).await.oip_error(504);
    assert!(server.engine.cancelled.load(Ordering::Relaxed));
}

#[tokio::test]
async fn timing_is_told_to_those_who_ask_and_request_ids_come_back() {
    let server = Server::start().await;
    let headers = "x-aimass-timing: 1\r\nx-request-id: mine-1\r\n";
    let reply = server.send_with("POST", INFER, headers, ONE.as_bytes()).await;
    let timing = reply.header("server-timing").unwrap();
    assert!(timing.starts_with("read;dur=") && timing.ends_with("acme_step;dur=1.500"), "{timing}");
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    let reply = server.post(INFER, ONE).await;
    assert!(reply.header("server-timing").is_none());
    assert_eq!(reply.header("x-request-id").unwrap().len(), 16);
    let long = format!("x-request-id: {}\r\n", "a".repeat(129));
    let reply = server.send_with("GET", "/v2", &long, b"").await;
    assert_eq!(reply.header("x-request-id").unwrap().len(), 16);
}

#[tokio::test]
async fn metrics_join_engine_and_gateway() {
    let server = Server::start().await;
    server.post(INFER, ONE).await;
    let reply = server.get("/metrics").await;
    assert!(reply.header("content-type").unwrap().starts_with("text/plain"));
    for expected in
        ["aimass_engine_fake 1\n", "route=\"infer\",status=\"2xx\"} 1\n", "process_open_fds "]
    {
        assert!(reply.text().contains(expected), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_large_body_in_pieces_is_answered_whole() {
    let server = Server::start().await;
    let values: Vec<String> = (0..200_000).map(|i| (f64::from(i) / 7.0).to_string()).collect();
    let values = values.join(",");
    let body = format!(
        r#"{{"inputs":[{{"data":[{values}],"name":"INPUT0","datatype":"FP64","shape":[200000]}}]}}"#
    );
    let reply = server.post(INFER, &body).await;
    assert!(body.len() > 2 << 20);
    let data = &reply.json()["outputs"][0]["data"];
    assert_eq!(data.as_array().unwrap().len(), 200_000);
    assert_eq!(data[199_999].as_f64(), Some(199_999.0 / 7.0));
}

#[test]
fn arbitrary_bodies_get_a_client_error_and_the_server_lives() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start());
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() };
    proptest!(config, |(
        body: Vec<u8>, cut in 0..ONE.len(), with: u8, len: Option<u16>, path in 0..2usize
    )| {
        let path = [INFER, "/v1/embeddings"][path];
        let header = len.map_or(String::new(), |len| {
            format!("Inference-Header-Content-Length: {}\r\n", len % 200)
        });
        let mut damaged = ONE.as_bytes().to_vec();
        damaged[cut] = with;
        for body in [&body[..], &damaged, &ONE.as_bytes()[..cut]] {
            let reply = runtime.block_on(server.send_with("POST", path, &header, body));
            prop_assert!(matches!(reply.status, 200 | 400 | 404), "{:?}", reply);
        }
    });
    assert_eq!(runtime.block_on(server.post(INFER, ONE)).status, 200);
}
