//! The listener of operators.

use super::{Reply, Server};
use crate::identity::Role;
use crate::{GatewayConfig, append_api_key, generate_api_key};
use aimass_engine::DeviceStatus;
use serde_json::{Value, json};

/// A server, and headers of a super-user and of an operator.
async fn setup() -> (Server, String, String) {
    let key = |config: &GatewayConfig, role| {
        let (key, mut record) = generate_api_key("root", "").unwrap();
        record.roles = Some(vec![role]);
        append_api_key(&config.api_keys, &record).unwrap();
        format!("Authorization: Bearer {key}\r\n")
    };
    let mut headers = Vec::new();
    let server = Server::with(|config| {
        headers.push(key(config, Role::SuperUser));
        headers.push(key(config, Role::Operator));
    })
    .await;
    let operator = headers.pop().unwrap();
    (server, headers.pop().unwrap(), operator)
}

async fn admin(server: &Server, who: &str, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let path = format!("/admin/v1/{path}");
    server.connect_admin().await.send(method, &path, who, body.as_bytes()).await
}

/// Status of a request for clients with this key.
async fn try_key(server: &Server, key: &Value) -> u16 {
    let headers = format!("Authorization: Bearer {}\r\n", key.as_str().unwrap());
    server.connect().await.send("GET", "/v1/models/identity", &headers, b"").await.status
}

#[tokio::test]
async fn keys_are_made_rotated_and_revoked_and_count_at_once() {
    let (server, root, operator) = setup().await;
    let new = json!({"tenant": "shop", "name": "web", "roles": ["viewer"], "models": ["identity"],
        "expires": "90d"});
    let made = admin(&server, &root, "POST", "keys", &new).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!((&made["tenant"], &made["state"]), (&json!("shop"), &json!("valid")));
    assert_eq!(made["roles"], json!(["viewer"]));
    assert_eq!(try_key(&server, &made["key"]).await, 200);
    let id = made["id"].as_str().unwrap();
    let rotate = format!("keys/{id}/rotate");
    let fresh = admin(&server, &root, "POST", &rotate, &json!({"grace": "1h"})).await.json();
    assert_eq!(try_key(&server, &made["key"]).await, 200);
    assert_eq!(try_key(&server, &fresh["key"]).await, 200);
    let revoke = format!("keys/{id}/revoke");
    let revoked = admin(&server, &root, "POST", &revoke, &Value::Null).await.json();
    assert_eq!(revoked["state"], "revoked");
    assert_eq!(try_key(&server, &made["key"]).await, 401);
    assert_eq!(try_key(&server, &fresh["key"]).await, 200);
    let listed = admin(&server, &root, "GET", "keys", &Value::Null).await;
    assert!(!listed.text().contains("sha256"));
    assert!(listed.json()["keys"].as_array().unwrap().iter().all(|key| key.get("key").is_none()));
    assert_eq!(listed.json()["keys"].as_array().unwrap().len(), 5);
    let refused = admin(&server, &operator, "GET", "keys", &Value::Null).await.problem(403);
    assert!(refused["detail"].as_str().unwrap().contains("`administer`"));
}

#[tokio::test]
async fn what_is_wrong_is_said_as_problem_details() {
    let (server, root, _) = setup().await;
    for (path, body, status, word) in [
        ("keys", json!({}), 400, "tenant"),
        ("keys", json!({"tenant": "Shop"}), 400, "[a-z0-9._-]"),
        ("keys", json!({"tenant": "shop", "roles": ["root"]}), 400, "root"),
        ("keys", json!({"tenant": "shop", "role": "viewer"}), 400, "role"),
        ("keys", json!({"tenant": "shop", "expires": "soon"}), 400, "90d"),
        ("keys/00000000/rotate", json!({}), 404, "00000000"),
        ("keys/00000000/rotate", json!({"grace": "long"}), 400, "grace"),
        ("keys/00000000/revoke", json!({}), 404, "00000000"),
        ("drain?stop=maybe", Value::Null, 400, "stop=true"),
        ("unknown", Value::Null, 404, "no route"),
        ("tenants", Value::Null, 405, "does not take"),
    ] {
        let problem = admin(&server, &root, "POST", path, &body).await.problem(status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{path} {body}: {detail}");
    }
    let long = json!({"tenant": "shop", "name": "x".repeat(64 << 10)});
    admin(&server, &root, "POST", "keys", &long).await.problem(413);
}

#[tokio::test]
async fn the_two_listeners_do_not_answer_for_each_other() {
    let (server, root, _) = setup().await;
    let reply = server.connect().await.send("GET", "/admin/v1/keys", &root, b"").await;
    reply.problem(404);
    let reply = server.connect_admin().await.send("GET", "/v2", &root, b"").await;
    assert!(reply.oip_error(404).contains("no route"));
}

#[tokio::test]
async fn operators_see_reasons_tenants_routes_and_metrics() {
    let (server, _, operator) = setup().await;
    let get = async |path| admin(&server, &operator, "GET", path, &Value::Null).await;
    server.engine.unready.store(true, std::sync::atomic::Ordering::Relaxed);
    let ready = get("ready").await.json();
    assert_eq!((&ready["ready"], &ready["draining"]), (&json!(false), &json!(false)));
    assert_eq!(ready["reasons"], json!(["model slow is loading"]), "with names");
    let tenants = get("tenants").await.json();
    let names: Vec<_> =
        tenants["tenants"].as_array().unwrap().iter().map(|one| one["tenant"].clone()).collect();
    assert_eq!(names, ["acme", "root"]);
    let routes = get("routes").await.json();
    let infer = json!({"listener": "main", "method": "POST", "path": "/v2/models/{model}/infer",
        "verb": "infer"});
    assert!(routes["routes"].as_array().unwrap().contains(&infer), "{routes}");
    assert!(get("metrics").await.text().contains("aimass_gateway_in_flight"));
}

#[tokio::test]
async fn health_says_that_marketplaces_are_stale_to_those_who_may_read() {
    let (server, _, operator) = setup().await;
    let admin_says = async || {
        admin(&server, &operator, "GET", "ready", &Value::Null).await.json()["trust"].clone()
    };
    let health = async |headers: &str| {
        server.connect().await.send("GET", "/v2/health/ready", headers, b"").await.json()
    };
    assert_eq!(admin_says().await, "fresh");
    assert_eq!(server.get("/v2/health/ready").await.json(), json!({"ready": true}));
    server.engine.stale.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(admin_says().await, "stale");
    let stale = json!({"ready": true, "trust": "stale"});
    assert_eq!(server.get("/v2/health/ready").await.json(), stale, "and still ready");
    assert_eq!(health("").await, json!({"ready": true}), "not to strangers");
}

#[tokio::test]
async fn health_says_what_became_of_devices_to_those_who_may_read() {
    let (server, _, _) = setup().await;
    let device = |device: &str, works, reason: &str| DeviceStatus {
        device: device.into(),
        works,
        reason: Some(reason.into()),
        ..DeviceStatus::default()
    };
    let says = async |devices: Vec<DeviceStatus>| {
        *server.engine.devices.lock().unwrap() = devices;
        let stranger = server.connect().await.send("GET", "/v2/health/ready", "", b"").await;
        assert_eq!(stranger.json(), json!({"ready": true}), "nothing to strangers");
        server.get("/v2/health/ready").await.json()
    };
    let absent = "no NVIDIA driver: libcuda.so.1 was not found";
    let cpu_only = json!({"ready": true, "cpu_only": absent});
    assert_eq!(says(vec![device("cpu", true, absent)]).await, cpu_only);
    let gpus = vec![
        device("cuda:0", true, "an error that was survived"),
        device("cuda:1", false, "fell off"),
    ];
    let lost = json!({"ready": true, "lost_devices": ["cuda:1"]});
    assert_eq!(says(gpus).await, lost);
    let both = vec![device("cuda:0", false, "fell off"), device("cpu", true, "cuda:1: too old")];
    let lost = json!({"ready": true, "lost_devices": ["cuda:0"], "cpu_only": "cuda:1: too old"});
    assert_eq!(says(both).await, lost);
}

#[tokio::test]
async fn a_drain_can_be_taken_back_or_end_the_server() {
    let (server, _, operator) = setup().await;
    let post = async |path| admin(&server, &operator, "POST", path, &Value::Null).await.status;
    assert_eq!(server.get("/v2/health/ready").await.status, 200);
    assert_eq!(post("drain").await, 202);
    assert_eq!(server.get("/v2/health/ready").await.status, 503);
    assert_eq!(server.post("/v2/models/identity/infer", "{\"inputs\":[]}").await.status, 200);
    assert_eq!(post("resume").await, 200);
    assert_eq!(server.get("/v2/health/ready").await.status, 200);
    assert_eq!(post("drain?stop=true").await, 202);
    server.done.await.unwrap().unwrap();
}
