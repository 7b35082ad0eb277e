//! Nobody gets anywhere without a key.

use super::Server;
use crate::router::ROUTES;

/// Who is added here answers strangers.
const OPEN: [&str; 2] = ["/v2/health/live", "/v2/health/ready"];

fn is_open(path: &str, method: &str) -> bool {
    ROUTES.iter().any(|route| {
        let action = route.action();
        route.path == path && action.verb.is_none() && action.method == method
    })
}

#[tokio::test]
async fn every_route_but_health_is_shut_without_a_key() {
    let server = Server::start().await;
    let good = format!("Authorization: Bearer {}x\r\n", &server.key[..54]);
    for headers in ["", "Authorization: Bearer\r\n", &good] {
        for route in ROUTES {
            let path = route.path.replace("{model}", "identity").replace("{version}", "1");
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let reply = server.connect().await.send(method, &path, headers, b"").await;
                if is_open(&path, method) {
                    assert_eq!(reply.status, 200);
                    continue;
                }
                assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text());
                assert!(reply.header("www-authenticate").is_some_and(|c| c.starts_with("Bearer")));
                if path.starts_with("/v1/") {
                    assert_eq!(reply.openai_error(401)["code"], "invalid_api_key");
                } else {
                    assert!(reply.oip_error(401).contains("API key"));
                }
            }
        }
        for path in ["/", "/v2/unknown", "/v1/chat/completions", "/admin", "/v2/health"] {
            let reply = server.connect().await.send("GET", path, headers, b"").await;
            assert_eq!(reply.status, 401, "{path}");
        }
    }
    let open = ROUTES.iter().filter(|route| route.action().verb.is_none());
    assert_eq!(open.map(|route| route.path).collect::<Vec<_>>(), OPEN);
}

#[tokio::test]
async fn with_a_key_unknown_routes_are_404_and_wrong_methods_405() {
    let server = Server::start().await;
    assert!(server.get("/v2/unknown").await.oip_error(404).contains("no route GET /v2/unknown"));
    assert_eq!(server.get("/v1/unknown").await.openai_error(404)["code"], "unknown_route");
    let wrong = server.get("/v2/models/identity/infer").await;
    assert!(wrong.oip_error(405).contains("does not take GET"));
    assert_eq!(wrong.header("allow"), Some("POST"));
    server.get("/v1/embeddings").await.openai_error(405);
    server.post("/v2/health/live", "").await.oip_error(405);
}

#[tokio::test]
async fn a_key_for_some_models_sees_only_those() {
    let server = Server::start().await;
    let key = server.add_key(|record| record.models = Some(vec!["embed".to_owned()]));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let mut connection = server.connect().await;
    let headers = format!("Authorization: Bearer {key}\r\n");
    let list = connection.send("GET", "/v1/models", &headers, b"").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(connection.send("GET", "/v1/models/embed", &headers, b"").await.status, 200);
    for path in ["/v2/models/identity", "/v2/models/identity/ready"] {
        let reply = connection.send("GET", path, &headers, b"").await;
        assert!(reply.oip_error(403).contains("may not use"));
    }
    let infer = "/v2/models/identity/infer";
    let reply = connection.send("POST", infer, &headers, b"{\"inputs\":[]}").await;
    reply.oip_error(403);
    let body = br#"{"model":"identity","input":"x"}"#;
    let reply = server.connect().await.send("POST", "/v1/embeddings", &headers, body).await;
    assert_eq!(reply.openai_error(403)["type"], "permission_error");
}
