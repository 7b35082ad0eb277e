//! Models that call models, and answers in parts, behind a real server: with clients that we did not write, and
//! what is billed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use aimass_e2e::{Site, prepared, repository};
use aimass_testkit::Server;
use serde_json::Value;

/// Builds, signs and publishes the guests' component.
fn publish_component(site: &Site) {
    let plugins = prepared("AIMASS_PLUGINS_DIR");
    let target = plugins.parent().expect("plugins lie in the target folder").display().to_string();
    let project = repository().join("tests/guests/composer").display().to_string();
    let component = site.folder().join("composer.wasm").display().to_string();
    let build = ["plugin", "build", &project, "--profile", "plugin", "--target-dir", &target];
    site.succeed(&[&build[..], &["--out", &component]].concat());
    site.succeed(&["key", "new", "publisher", "acme"]);
    site.succeed(&["plugin", "sign", &component]);
    site.succeed(&["plugin", "publish", &component]);
}

/// A package folder of this guest, which may call these models.
fn package(site: &Site, name: &str, program: &str, models: &str) -> String {
    let folder = site.folder().join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let (input, output) = if program == "words" {
        ("name = \"text\"\ndtype = \"BYTES\"\nshape = [1]", ("word", "BYTES"))
    } else {
        ("name = \"x\"\ndtype = \"FP32\"\nshape = [\"n\"]", ("y", "FP32"))
    };
    let manifest = format!(
        "[model]\nname = \"acme/{name}\"\nversion = \"1.0.0\"\n[[input]]\n{input}\n\
         [[step]]\nname = \"guest\"\nplugin = \"acme/composer\"\nmodels = [{models}]\n\
         config = {{ program = \"{program}\", models = [{models}] }}\n\
         [[output]]\nname = \"{0}\"\nfrom = \"guest.{0}\"\ndtype = \"{1}\"\n",
        output.0, output.1
    );
    std::fs::write(folder.join("model.toml"), manifest).expect("a manifest");
    folder.display().to_string()
}

fn add(site: &Site, name: &str, program: &str, models: &str) {
    let folder = package(site, name, program, models);
    site.succeed(&["model", "add", "--name", name, &folder]);
}

fn ask(server: &Server, model: &str, x: &str) -> (u16, Value) {
    let body =
        format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1],"data":[{x}]}}]}}"#);
    let answer = server.ask("POST", &format!("/v2/models/{model}/infer"), &body);
    let answer = answer.expect("an answer");
    (answer.status, serde_json::from_slice(&answer.body).expect("JSON"))
}

/// A counter of the server.
fn metric(server: &Server, name: &str) -> f64 {
    let text = server.ask("GET", "/metrics", "").expect("an answer").text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

#[test]
fn models_call_models_and_stream_behind_a_real_server() {
    let site = Site::new();
    publish_component(&site);
    add(&site, "twice", "double", "");
    add(&site, "router", "router", "\"twice\", \"twice@1\"");
    add(&site, "words", "words", "");
    add(&site, "endless", "endless", "");
    let cycle = package(&site, "twice-again", "relay", "\"router\"");
    let (_, error) = site.refuse(&["model", "add", "--name", "twice", &cycle]);
    assert!(error.contains("twice -> router -> twice"), "{error}");

    let events = site.folder().join("usage.jsonl");
    let config = site.folder().join("aimass.toml");
    let text =
        format!("[gateway.telemetry.usage]\nexport_file = {:?}\n", events.display().to_string());
    std::fs::write(&config, text).expect("a configuration");
    let server = site.serve(&["--config", &config.display().to_string()]);
    let (status, answer) = ask(&server, "router", "50");
    assert_eq!((status, &answer["outputs"][0]["data"][0]), (200, &Value::from(100.0)), "{answer}");

    run_clients(&server);
    cut_off(&server);
    server.stop().expect("a signal");
    check_bills(&std::fs::read_to_string(&events).expect("exported events"));
}

/// `streaming.py` with an unmodified tritonclient.
fn run_clients(server: &Server) {
    let http = server.url().trim_start_matches("http://").to_owned();
    let grpc = server.grpc_address().expect("a server with gRPC");
    let output = Command::new(prepared("AIMASS_PYTHON"))
        .arg(repository().join("tests/e2e/clients/streaming.py"))
        .args(["--key", &server.api_key, "--http", &http, "--grpc", &grpc])
        .output()
        .expect("python runs");
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}");
}

/// A client that reads a little of an endless stream and goes: the guest must go, too.
fn cut_off(server: &Server) {
    let address = server.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).expect("a connection");
    let body = r#"{"x":[1,2]}"#;
    let head = format!(
        "POST /v2/models/endless/generate_stream HTTP/1.1\r\nhost: {address}\r\n\
         authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        server.api_key,
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("it is sent");
    let mut some = [0; 4096];
    assert!(stream.read(&mut some).expect("an answer") > 0);
    assert!(String::from_utf8_lossy(&some).starts_with("HTTP/1.1 200"));
    drop(stream);
    let start = Instant::now();
    while metric(server, "aimass_sandbox_instances_live") > 0.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "the guest goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One record a request: inner calls have none of their own.
fn check_bills(exported: &str) {
    let events: Vec<Value> =
        exported.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let of = |model: &str, outcome: &str| {
        let data = events.iter().map(|event| &event["data"]);
        data.filter(|data| data["model"] == model && data["outcome"] == outcome).count()
    };
    assert_eq!(of("router", "ok"), 1, "{exported}");
    let router = events.iter().find(|event| event["data"]["model"] == "router");
    let inner = router.map(|event| &event["data"]["inner_models"]);
    assert_eq!(inner, Some(&serde_json::json!(["twice@1"])), "{exported}");
    // `twice` was asked once by a client; the router's call is the router's.
    assert_eq!(of("twice", "ok"), 1, "{exported}");
    // Two streams and one list of events; the requests for one answer failed.
    assert_eq!((of("words", "ok"), of("words", "invalid-input")), (3, 2), "{exported}");
    assert_eq!(of("endless", "cancelled"), 2, "{exported}");
}
