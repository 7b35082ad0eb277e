//! The OpenAPI 3.1 description of the routes, and the reference page for readers, both from the
//! table of routes. Tests compare them with `docs/reference/openapi.json` and
//! `docs/reference/http-api.md`; `AIMASS_BLESS=1 cargo test -p aimass-gateway openapi` writes them.

mod operations;

use crate::identity::Verb;
use crate::router::{ROUTES, Route};
use axum::http::Method;
use operations::{Content, Operation};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The description as JSON text, as the server hands it out.
pub(crate) static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut text = serde_json::to_vec_pretty(&document()).expect("JSON has string keys");
    text.push(b'\n');
    text
});

const SCHEMAS: &str = include_str!("schemas.json");

fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let action = route.action();
        let method = action.method.as_str().to_lowercase();
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[method] = operation(route, &action.method, action.verb);
    }
    let schemas: Value = serde_json::from_str(SCHEMAS).expect("the file is JSON");
    let failures: Map<String, Value> = ["OipError", "OpenAiError"]
        .into_iter()
        .flat_map(|error| {
            operations::FAILURES.iter().map(move |(status, meaning)| {
                (format!("{error}{status}"), answer(meaning, Content::Json(error)))
            })
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "AI Mass",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Open Inference Protocol v2 and the OpenAI API of an AI Mass server",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:8000" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": failures,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "an API key, `am_…`, or a token of an issuer that the server trusts",
                },
            },
        },
    })
}

fn operation(route: &Route, method: &Method, verb: Option<Verb>) -> Value {
    let about = Operation::of(method, route.path).expect("every route has a description");
    let is_openai = route.path.starts_with("/v1/");
    let error = if is_openai { "OpenAiError" } else { "OipError" };
    let mut responses = Map::new();
    if about.refused {
        responses
            .insert(about.status.to_owned(), answer("refused by design", Content::Json(error)));
    } else {
        responses.insert("200".to_owned(), answer("the answer", about.answer));
    }
    for status in about.failures(route.path, verb) {
        let known = json!({ "$ref": format!("#/components/responses/{error}{status}") });
        responses.entry(status).or_insert(known);
    }
    if verb.is_none() {
        // Health says why in the words of its answer.
        responses.insert("503".to_owned(), answer("not now, and why", about.answer));
    }
    let mut operation = json!({
        "operationId": about.id(route.path),
        "summary": about.summary,
        "tags": [if is_openai { "OpenAI" } else { "OIP v2" }],
        "responses": responses,
    });
    match verb {
        Some(verb) => {
            operation["description"] = json!(format!("Asks for the verb `{}`.", verb.as_str()))
        }
        None => operation["security"] = json!([]),
    }
    let parameters = parameters(route.path);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(request) = about.request {
        let schema = json!({ "$ref": format!("#/components/schemas/{request}") });
        let mut content = json!({ "application/json": { "schema": schema } });
        if let Some(example) = about.example {
            let example: Value = serde_json::from_str(example).expect("an example is JSON");
            content["application/json"]["example"] = example;
        }
        if request == "InferRequest" {
            // JSON, then the tensors that it announces; Inference-Header-Content-Length divides them.
            content["application/octet-stream"] = json!({});
        }
        operation["requestBody"] = json!({ "required": about.needs_body, "content": content });
    }
    operation
}

fn answer(description: &str, content: Content) -> Value {
    let content = match content {
        Content::Json(schema) => {
            let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
            json!({ "application/json": { "schema": schema } })
        }
        Content::Infer => json!({
            "application/json": { "schema": { "$ref": "#/components/schemas/InferResponse" } },
            "application/octet-stream": {},
        }),
        Content::Events => json!({ "text/event-stream": {} }),
        Content::Text => json!({ "text/plain": {} }),
    };
    json!({ "description": description, "content": content })
}

fn parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let about = |name: &str| match name {
        "version" => "a number, a label, or `newest`",
        "region" => "a shared memory region; there are none",
        _ => "serving name; in OpenAI routes also `name@label` or `name@version`",
    };
    let schema = |name: &str| match name {
        "version" => json!({ "type": "string", "pattern": "^([0-9]+|[a-z].{0,62})$" }),
        _ => json!({ "type": "string" }),
    };
    let one = |name: &str| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": about(name),
            "schema": schema(name),
        })
    };
    names.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write;
    use std::path::PathBuf;

    /// Compares with a file of `docs/reference`, or writes it if `AIMASS_BLESS` is set.
    fn golden(name: &str, text: &str) {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
        if std::env::var_os("AIMASS_BLESS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let first = found.lines().zip(text.lines()).find(|(found, now)| found != now);
        assert!(
            found == text,
            "{name} is not what the routes say; first difference: {first:?}. \
             `AIMASS_BLESS=1 cargo test -p aimass-gateway openapi` writes it anew"
        );
    }

    #[test]
    fn the_document_is_the_golden_one() {
        golden("openapi.json", std::str::from_utf8(&DOCUMENT).unwrap());
    }

    #[test]
    fn every_operation_is_a_route_and_has_an_id_of_its_own() {
        let mut ids = BTreeSet::new();
        let mut described = BTreeSet::new();
        for route in ROUTES {
            let method = route.action().method;
            let operation = Operation::of(&method, route.path).expect(route.path);
            assert!(ids.insert(operation.id(route.path)), "{} {method}", route.path);
            described.insert((operation.method, operation.path));
        }
        assert_eq!(described.len(), Operation::ALL.len(), "an operation describes no route");
    }

    #[test]
    fn every_schema_that_is_named_exists() {
        let document = document();
        let text = document.to_string();
        let known = document["components"]["schemas"].as_object().unwrap();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(known.contains_key(name), "{name}");
        }
        for name in known.keys() {
            assert!(text.contains(&format!("#/components/schemas/{name}\"")), "{name} is unused");
        }
    }

    #[test]
    fn the_reference_page_is_the_golden_one() {
        golden("http-api.md", &page());
    }

    fn page() -> String {
        let mut page = String::from(
            "# HTTP routes\n\n\
             Generated from the table of routes (`host/gateway/src/router.rs`); `docs/reference/openapi.json` is the same for\n\
             machines, and a running server hands it out at `/v2/openapi.json`. `$URL` is what `aimass serve` prints, `$KEY` an API\n\
             key. Errors are `{\"error\": \"…\"}` below `/v2` and OpenAI's error object below `/v1`; both say what was expected, what\n\
             came and how to mend it. A `{version}` is a number, a label or `newest`; without one the label `stable` is meant, or else\n\
             the newest version that can answer. What each verb needs is in `docs/reference/identity.md`.\n",
        );
        for operation in Operation::ALL {
            let of = |route: &&Route| {
                route.action().method.as_str() == operation.method
                    && operations::without_version(route.path) == operation.path
            };
            let verb = ROUTES.iter().find(of).and_then(|route| route.action().verb);
            let paths: Vec<String> =
                ROUTES.iter().filter(of).map(|route| format!("`{}`", route.path)).collect();
            let verb = verb.map_or("nobody needs a key".to_owned(), |verb| {
                format!("verb `{}`", verb.as_str())
            });
            write!(
                page,
                "\n## {} {}\n{} ({verb}).",
                operation.method, operation.path, operation.summary
            )
            .unwrap();
            if paths.len() > 1 {
                write!(page, " Also {}.", paths[1..].join(", ")).unwrap();
            }
            writeln!(page, "\n```\n{}\n```", operation.curl()).unwrap();
        }
        page
    }
}
