//! Every route of every listener and every method of gRPC, as everybody who comes with something: each
//! role with a good key and a good token, and with everything that must not open. The table of routes and the
//! clients' own descriptors of their methods drive it, so that none is left out.

use super::grpc::{Answer, Client, framed, infer};
use super::{Reply, Server, services};
use crate::grpc::METHODS;
use crate::identity::jwt::testing::{TestIssuer, claims, settings};
use crate::identity::{Algorithm, Role, Verb};
use crate::router::{ADMIN_ROUTES, ROUTES, Route};
use crate::{GatewayConfig, append_api_key, generate_api_key};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::Code;

/// What somebody shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    WrongKey,
    ExpiredKey,
    RevokedKey,
    AlgorithmNone,
    WrongAudience,
    WrongIssuer,
    ExpiredToken,
    ForgedToken,
    OtherModelsKey,
    OtherModelsToken,
    Key,
    Token,
}

impl Shown {
    const ALL: [Shown; 13] = [
        Shown::Nothing,
        Shown::WrongKey,
        Shown::ExpiredKey,
        Shown::RevokedKey,
        Shown::AlgorithmNone,
        Shown::WrongAudience,
        Shown::WrongIssuer,
        Shown::ExpiredToken,
        Shown::ForgedToken,
        Shown::OtherModelsKey,
        Shown::OtherModelsToken,
        Shown::Key,
        Shown::Token,
    ];

    /// The class in `WWW-Authenticate` of what must not open; absent for what is believed.
    fn refused(self) -> Option<&'static str> {
        match self {
            Shown::Nothing => Some("Bearer"),
            Shown::WrongKey => Some("unknown"),
            Shown::ExpiredKey | Shown::ExpiredToken => Some("expired"),
            Shown::RevokedKey => Some("revoked"),
            Shown::AlgorithmNone => Some("algorithm"),
            Shown::WrongAudience => Some("audience"),
            Shown::WrongIssuer => Some("issuer"),
            Shown::ForgedToken => Some("signature"),
            Shown::OtherModelsKey | Shown::OtherModelsToken | Shown::Key | Shown::Token => None,
        }
    }

    fn is_for_other_models(self) -> bool {
        matches!(self, Shown::OtherModelsKey | Shown::OtherModelsToken)
    }
}

/// A credential of `role`; keys go into the file of `config`.
fn credential(shown: Shown, role: Role, config: &GatewayConfig, issuer: &TestIssuer) -> String {
    let key = |change: fn(&mut crate::ApiKeyRecord)| {
        let (key, mut record) = generate_api_key("acme", "").unwrap();
        record.roles = Some(vec![role]);
        change(&mut record);
        append_api_key(&config.api_keys, &record).unwrap();
        key
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = |name: &str, value: Value| {
        let mut all = claims(now + 600);
        (all["roles"], all["models"]) = (json!([role.as_str()]), json!(["identity", "embed"]));
        all[name] = value;
        issuer.sign(Algorithm::EdDsa, &all)
    };
    match shown {
        Shown::Nothing => String::new(),
        Shown::WrongKey => {
            let good = key(|_| {});
            let last = if good.ends_with('A') { 'B' } else { 'A' };
            format!("{}{last}", &good[..good.len() - 1])
        }
        Shown::ExpiredKey => key(|record| record.expires = "2020-01-01T00:00:00Z".parse().ok()),
        Shown::RevokedKey => key(|record| record.revoked = "2020-01-01T00:00:00Z".parse().ok()),
        Shown::AlgorithmNone => {
            let header = json!({"alg": "none", "kid": "a-ed"});
            issuer.sign_as(Algorithm::EdDsa, &header, &claims(now + 600))
        }
        Shown::WrongAudience => token("aud", json!("somebody-else")),
        Shown::WrongIssuer => token("iss", json!("https://elsewhere.example")),
        Shown::ExpiredToken => token("exp", json!(now - 3600)),
        Shown::ForgedToken => {
            let mut all = claims(now + 600);
            all["roles"] = json!([role.as_str()]);
            TestIssuer::new("a").sign(Algorithm::EdDsa, &all)
        }
        Shown::OtherModelsKey => key(|record| record.models = Some(vec!["other".into()])),
        Shown::OtherModelsToken => token("models", json!(["other"])),
        Shown::Key => key(|_| {}),
        Shown::Token => token("sub", json!("somebody")),
    }
}

/// Whether the models of the credential do not reach: other models for whatever names or calls one,
/// any list for what is about all. The tokens have lists; the good keys have none.
fn is_out_of_reach(shown: Shown, route: &Route, verb: Verb) -> bool {
    let one = route.path.contains("{model}") || verb == Verb::Infer;
    let all = route.path == "/metrics";
    match shown.is_for_other_models() {
        true => one || all,
        false => all && shown == Shown::Token,
    }
}

fn path_of(route: &Route) -> String {
    let path = route.path.replace("{model}", "identity").replace("{version}", "1");
    let parts = path.split('/').map(|part| if part.starts_with('{') { "00000000" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Checks the answer of `route` to `role` with what is shown.
fn judge(route: &Route, role: Role, shown: Shown, reply: &Reply) {
    let said = format!("{} as {role} with {shown:?}: {} {}", route.path, reply.head, reply.text());
    let allowed = !matches!(reply.status, 401 | 403);
    let Some(verb) = route.action().verb else {
        return assert!(allowed, "open: {said}");
    };
    let other = is_out_of_reach(shown, route, verb);
    let status = match shown.refused() {
        Some(class) => {
            let challenge = reply.header("www-authenticate").expect(&said);
            assert!(challenge.starts_with("Bearer") && challenge.contains(class), "{said}");
            401
        }
        None if role.verbs().contains(&verb) && !other => return assert!(allowed, "{said}"),
        None => 403,
    };
    assert_eq!(reply.status, status, "{said}");
    // The words of the protocol that the route belongs to.
    if route.path.starts_with("/v1/") {
        reply.openai_error(status);
    } else if route.path.starts_with("/admin/") {
        reply.problem(status);
    } else {
        reply.oip_error(status);
    }
}

/// A server, and a credential of every kind for every role.
async fn everybody() -> (Server, Vec<(Role, Shown, String)>) {
    let issuer = TestIssuer::new("a");
    let mut shown = Vec::new();
    let server = Server::with(|config| {
        let jwks = config.api_keys.with_file_name("jwks.json");
        std::fs::write(&jwks, issuer.jwks()).unwrap();
        config.identity.issuer = vec![settings(jwks.to_str().unwrap())];
        for role in Role::ALL {
            for one in Shown::ALL {
                shown.push((role, one, credential(one, role, config, &issuer)));
            }
        }
    })
    .await;
    (server, shown)
}

#[tokio::test]
async fn every_route_answers_every_role_with_everything_that_may_be_shown() {
    let (server, shown) = everybody().await;
    let infer = &br#"{"model":"identity","input":"x","inputs":[]}"#[..];
    let text = br#"{"model":"identity","prompt":"x","messages":[{"role":"user"}]}"#;
    let mut judged = 0;
    for (admin, routes) in [(false, ROUTES), (true, ADMIN_ROUTES)] {
        for route in routes {
            let (path, method) = (path_of(route), route.action().method);
            let body = if path.ends_with("completions") { &text[..] } else { infer };
            for (role, one, credential) in &shown {
                let mut connection =
                    if admin { server.connect_admin().await } else { server.connect().await };
                let headers = match credential.is_empty() {
                    true => String::new(),
                    false => format!("Authorization: Bearer {credential}\r\n"),
                };
                let body = if method == "GET" { &b""[..] } else { body };
                let reply = connection.send(method.as_str(), &path, &headers, body).await;
                judge(route, *role, *one, &reply);
                judged += 1;
            }
        }
    }
    let routes = ROUTES.len() + ADMIN_ROUTES.len();
    assert_eq!(judged, routes * Role::ALL.len() * Shown::ALL.len());
}

/// A message that names model `identity`, where the method takes a model.
fn message_of(method: &str) -> Vec<u8> {
    match method {
        "ModelInfer" | "ModelStreamInfer" => infer("identity"),
        "ModelReady" | "ModelMetadata" | "ModelConfig" | "ModelStatistics" => {
            b"\x0a\x08identity".to_vec()
        }
        "RepositoryModelLoad" | "RepositoryModelUnload" | "TraceSetting" => {
            b"\x12\x08identity".to_vec()
        }
        _ => Vec::new(),
    }
}

/// Checks the answer of a method to `role` with what is shown.
fn judge_call(method: &str, verb: Option<Verb>, (role, shown): (Role, Shown), answer: &Answer) {
    let said = format!("{method} as {role} with {shown:?}: {:?} {}", answer.code, answer.message);
    let allowed = !matches!(answer.code, Code::Unauthenticated | Code::PermissionDenied);
    let Some(verb) = verb else {
        return assert_eq!(answer.code, Code::Ok, "open: {said}");
    };
    if shown.refused().is_some() {
        return assert_eq!(answer.code, Code::Unauthenticated, "{said}");
    }
    if !role.verbs().contains(&verb) {
        return assert_eq!(answer.code, Code::PermissionDenied, "{said}");
    }
    let other = shown.is_for_other_models() && !message_of(method).is_empty();
    if method == "ModelStreamInfer" {
        // A stream is let in; each of its requests is judged, and answered within it.
        let refused = answer.body.windows(7).any(|words| words == b"may not");
        return assert_eq!((answer.code, refused), (Code::Ok, other), "{said}");
    }
    assert_eq!(allowed, !other, "{said}");
    if other {
        assert_eq!(answer.code, Code::PermissionDenied, "{said}");
    }
}

#[tokio::test]
async fn every_method_answers_every_role_with_everything_that_may_be_shown() {
    let (server, shown) = everybody().await;
    let mut client = Client::new(&server).await;
    let methods = services::methods();
    let mut judged = 0;
    for method in &methods {
        let path = format!("/{}/{}", method.service, method.name);
        let body = framed(&[&message_of(&method.name)]);
        let rule = rule(method);
        for (role, one, credential) in &shown {
            client.key = (!credential.is_empty()).then(|| credential.clone());
            let answer = client.call_at(&path, &[], body.clone()).await;
            match rule {
                Rule::Served(verb) => judge_call(&method.name, verb, (*role, *one), &answer),
                Rule::NotServed => judge_unserved(&method.name, *one, &answer),
            }
            judged += 1;
        }
    }
    assert_eq!(judged, methods.len() * Role::ALL.len() * Shown::ALL.len());
}

/// Who may call a method of a stock client.
#[derive(Clone, Copy)]
enum Rule {
    /// Answered, to whoever has the verb; to everybody without one.
    Served(Option<Verb>),
    /// Not there.
    NotServed,
}

/// Methods that stock clients know and that are not served.
const NOT_SERVED: [&str; 1] = ["Watch"];

/// # Panics
/// If nobody decided who may call it.
fn rule(method: &services::Method) -> Rule {
    let inference = METHODS.iter().find(|(name, _)| *name == method.name);
    match (&*method.service, inference) {
        ("inference.GRPCInferenceService", Some((_, verb))) => Rule::Served(*verb),
        ("grpc.health.v1.Health", None) if method.name == "Check" => Rule::Served(None),
        ("grpc.health.v1.Health", None) if NOT_SERVED.contains(&&*method.name) => Rule::NotServed,
        (service, _) => panic!("nobody says who may call {service}/{}", method.name),
    }
}

/// Checks the answer of a method that is not there: who is believed learns that, nobody else.
fn judge_unserved(method: &str, shown: Shown, answer: &Answer) {
    let expected = match shown.refused() {
        Some(_) => Code::Unauthenticated,
        None => Code::Unimplemented,
    };
    assert_eq!(answer.code, expected, "{method} with {shown:?}: {}", answer.message);
}

#[test]
fn every_rule_is_about_a_method_of_a_stock_client() {
    let methods = services::methods();
    let names: Vec<&str> = methods.iter().map(|method| &*method.name).collect();
    let ruled = METHODS.iter().map(|(name, _)| *name).chain(NOT_SERVED).chain(["Check"]);
    for name in ruled {
        assert!(names.contains(&name), "no stock client has {name}");
    }
}

#[tokio::test]
async fn several_credentials_are_none() {
    let server = Server::start().await;
    let headers = format!("Authorization: Bearer {}\r\n", server.key);
    let twice = format!("{headers}{headers}");
    let reply = server.connect().await.send("GET", "/v2", &twice, b"").await;
    assert!(reply.oip_error(400).contains("several"));
    assert_eq!(server.connect().await.send("GET", "/v2", &headers, b"").await.status, 200);
}
