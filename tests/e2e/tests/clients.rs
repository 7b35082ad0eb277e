//! Clients that we did not write, unmodified, installed from PyPI.

use std::process::Command;

use aimass_e2e::{Site, prepared, repository};
use aimass_testkit::Server;

/// Runs a script with an operator's key against a fresh server; returns what it printed.
fn run(script: &str, arguments: impl Fn(&Server) -> Vec<String>) -> String {
    let site = Site::new();
    let server = site.serve(&[]);
    let made = site.succeed(&["key", "new", "api", "--role", "operator"]);
    let key = made.lines().next().expect("a key");
    // A running server takes a new key within a second.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let output = Command::new(prepared("AIMASS_PYTHON"))
        .arg(repository().join("tests/e2e/clients").join(script))
        .args(["--key", key])
        .args(arguments(&server))
        .output()
        .expect("python runs");
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{out}\n{error}");
    out.into_owned()
}

fn host(server: &Server) -> String {
    server.url().trim_start_matches("http://").to_owned()
}

/// `--http`, `--grpc` and `--identity`, as the matrices of OIP clients want them.
fn oip(server: &Server) -> Vec<String> {
    let grpc = server.grpc_address().expect("a server with gRPC");
    words(&["--http", &host(server), "--grpc", &grpc, "--identity", "identity"])
}

/// Methods that got an answer, and documented refusals, over all clients of a matrix.
fn rows(printed: &str) -> (usize, usize) {
    let clients: serde_json::Value = serde_json::from_str(printed).expect("one JSON object");
    let clients = clients.as_object().expect("clients by name").values();
    let rows = clients.flat_map(|rows| rows.as_object().expect("rows by method").values());
    let (answers, refusals): (Vec<_>, Vec<_>) = rows.partition(|row| *row == "answer");
    (answers.len(), refusals.len())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn tritonclient_gets_right_answers() {
    run("oip_http.py", |server| words(&["--url", &host(server), "--identity", "identity"]));
}

#[test]
fn openai_client_gets_right_answers() {
    run("openai_embeddings.py", |server| {
        words(&["--url", &server.url(), "--model", "minilm", "--min-gap", "0.2"])
    });
}

#[test]
fn every_method_of_tritonclient_gets_an_answer_or_a_documented_refusal() {
    // Refused by design: registering shared memory, of the system and of CUDA, in four clients.
    assert_eq!(rows(&run("matrix_triton.py", oip)), (102, 8));
}

#[test]
fn every_method_of_kserves_clients_gets_an_answer_or_a_documented_refusal() {
    // `explain` is protocol v1, which the client itself refuses with v2.
    assert_eq!(rows(&run("matrix_kserve.py", oip)), (10, 1));
}

#[test]
fn every_method_of_openais_models_and_embeddings_gets_an_answer_or_a_documented_refusal() {
    // Models are not deleted over the API, in the sync and the async client.
    let printed =
        run("matrix_openai.py", |server| words(&["--url", &server.url(), "--model", "minilm"]));
    assert_eq!(rows(&printed), (6, 2));
}

#[test]
fn the_grpc_methods_that_have_rules_are_those_of_the_clients() {
    let checked = Command::new(prepared("AIMASS_PYTHON"))
        .arg(repository().join("tests/e2e/clients/grpc_services.py"))
        .arg(repository().join("host/gateway/src/grpc/services.binpb"))
        .arg("--check")
        .output()
        .expect("python runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn clients_that_are_refused_while_they_send_read_why() {
    let printed = run("refused_uploads.py", |server| {
        let grpc = server.grpc_address().expect("a server with gRPC");
        words(&["--http", &host(server), "--grpc", &grpc])
    });
    let rows: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
    assert_eq!(rows.as_object().expect("clients by name").len(), 7, "{printed}");
}
