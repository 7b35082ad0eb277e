//! The OpenAI API over sockets.

use super::Server;
use base64::Engine as _;
use serde_json::json;

const EMBEDDINGS: &str = "/v1/embeddings";

#[tokio::test]
async fn embeddings_as_floats_and_as_base64() {
    let server = Server::start().await;
    let floats = server.post(EMBEDDINGS, r#"{"model":"embed","input":["abc",""]}"#).await.json();
    let expected = json!({
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3.0, 98.0]},
            {"object": "embedding", "index": 1, "embedding": [0.0, 0.0]},
        ],
        "model": "embed",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    });
    assert_eq!(floats, expected);
    let body = r#"{"model":"embed@2","input":"abc","encoding_format":"base64","dimensions":2}"#;
    let base64 = server.post(EMBEDDINGS, body).await.json();
    assert_eq!(base64["model"], "embed@2");
    let text = base64["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    assert_eq!(bytes, [3f32.to_le_bytes(), 98f32.to_le_bytes()].concat());
}

#[tokio::test]
async fn wrong_requests_name_their_field() {
    let server = Server::start().await;
    let cases = [
        (r#"{"model":"none","input":"x"}"#, 404, json!("model"), "no model"),
        (r#"{"model":"embed@9","input":"x"}"#, 404, json!("model"), "version 9"),
        (r#"{"model":"embed@?","input":"x"}"#, 400, json!("model"), "a label"),
        (r#"{"model":"identity","input":"x"}"#, 400, json!("model"), "no embeddings"),
        (r#"{"model":"embed","input":[]}"#, 400, json!("input"), "at least one"),
        (r#"{"model":"embed","input":[1,2]}"#, 400, json!("input"), "not token ids"),
        (r#"{"model":"embed","input":[[1,2]]}"#, 400, json!("input"), "not token ids"),
        (r#"{"model":"embed","input":{"a":1}}"#, 400, json!("input"), "an object"),
        // Refused before the model, which would trap, is asked.
        (r#"{"model":"embed-trap","input":"x","dimensions":3}"#, 400, json!("dimensions"), "has 2"),
        (r#"{"model":"embed","input":"x","dimensions":3}"#, 400, json!("dimensions"), "has 2"),
        (r#"{"model":"embed","input":"x","encoding_format":"hex"}"#, 400, json!(null), "hex"),
        (r#"{"model":"embed"}"#, 400, json!(null), "missing field `input`"),
        ("", 400, json!(null), "EOF"),
    ];
    for (body, status, param, message) in &cases {
        let error = server.post(EMBEDDINGS, body).await.openai_error(*status);
        assert_eq!(error["param"], *param, "{body}");
        assert!(error["message"].as_str().unwrap().contains(message), "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let error = server.post(EMBEDDINGS, cases[0].0).await.openai_error(404);
    assert_eq!(error["code"], "model_not_found");
}

#[tokio::test]
async fn a_trap_is_not_worth_a_retry_and_a_full_server_is() {
    let server = Server::start().await;
    let trap = server.post(EMBEDDINGS, r#"{"model":"embed-trap","input":"x"}"#).await;
    assert_eq!(trap.openai_error(500)["type"], "server_error");
    assert_eq!(trap.header("x-should-retry"), Some("false"));
    let busy = server.post(EMBEDDINGS, r#"{"model":"busy","input":"x"}"#).await;
    busy.openai_error(503);
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert!(busy.header("x-should-retry").is_none());
}

#[tokio::test]
async fn models_are_listed_and_found_by_name_label_and_version() {
    let server = Server::start().await;
    let list = server.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let model = json!({"id":"embed","object":"model","created":1_700_000_000,"owned_by":"acme"});
    assert_eq!(list["data"][0], model);
    assert_eq!(server.get("/v1/models/embed").await.json(), model);
    for id in ["embed@stable", "embed@2", "embed%402"] {
        let found = server.get(&format!("/v1/models/{id}")).await.json();
        assert_eq!(found["id"], id.replace("%40", "@"));
    }
    let error = server.get("/v1/models/embed@7").await.openai_error(404);
    assert_eq!(error["code"], "model_not_found");
    server.get("/v1/models/%ff").await.openai_error(400);
}

#[tokio::test]
async fn the_number_and_the_bytes_of_texts_are_limited() {
    let server = Server::with(|config| {
        (config.embedding_inputs_max, config.embedding_bytes_max) = (3, 10);
    })
    .await;
    let send = async |input: serde_json::Value| {
        let body = json!({"model": "embed", "input": input}).to_string();
        server.post(EMBEDDINGS, &body).await
    };
    assert_eq!(send(json!(["a", "b", "c"])).await.status, 200);
    let error = send(json!(["a", "b", "c", "d"])).await.openai_error(400);
    assert!(error["message"].as_str().unwrap().contains("more than 3 texts"), "{error}");
    assert_eq!(send(json!("0123456789")).await.status, 200);
    let error = send(json!(["01234567", "890"])).await.openai_error(400);
    assert!(error["message"].as_str().unwrap().contains("more than 10 bytes"), "{error}");
}

#[tokio::test]
async fn text_comes_whole_or_as_events() {
    let server = Server::start().await;
    let chat = "/v1/chat/completions";
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"hi"}]}"#;
    let whole = server.post(chat, body).await.json();
    assert_eq!(whole["object"], "chat.completion");
    let content = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(content, r#"[{"role":"user","content":"hi"}]"#);
    assert_eq!(whole["usage"]["total_tokens"], 2);
    let stream = r#"{"model":"complete","prompt":"once","stream":true}"#;
    let reply = server.post("/v1/completions", stream).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let events: Vec<&str> = reply.text().split_terminator("\n\n").collect();
    assert_eq!(events.len(), 3);
    assert!(events[0].contains("\"text\":\"once\"") && events[1].contains("\"stop\""));
    assert_eq!(events[2], "data: [DONE]");
    for (body, word) in [
        (r#"{"model":"embed","messages":[{"role":"user"}]}"#, "does not chat"),
        (r#"{"model":"chat","messages":[]}"#, "at least one"),
    ] {
        let error = server.post(chat, body).await.openai_error(400);
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    let missing = server.post(chat, r#"{"model":"gone","messages":[{"role":"user"}]}"#).await;
    assert_eq!(missing.openai_error(404)["code"], "model_not_found");
}
