//! Requests that nobody thought of: schemathesis (PyPI), unmodified, makes them from the OpenAPI document
//! that a server hands out, and judges every answer by it. `AIMASS_ALL=1` is 20,000 of them; `AIMASS_SEED`
//! makes a run again whose seed was printed.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use aimass_e2e::{Site, prepared, repository};
use aimass_testkit::Server;
use serde_json::Value;

/// Of an answer: generous, since the greatest requests are 2,048 texts and nothing here is decided by time.
const SECONDS: &str = "3600";

/// How many requests are made at least, and at most for each operation in one run.
struct Plan {
    requests: u64,
    of_operation: u32,
}

/// A sample, or everything with `AIMASS_ALL=1`.
fn plan() -> Plan {
    match std::env::var("AIMASS_ALL") {
        Ok(all) if all == "1" => Plan { requests: 20_000, of_operation: 40 },
        _ => Plan { requests: 500, of_operation: 4 },
    }
}

/// Of `AIMASS_SEED`, or another each time.
fn first_seed() -> u64 {
    let given = std::env::var("AIMASS_SEED").ok().map(|text| text.parse().expect("a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    given.unwrap_or(now.as_secs() % 1_000_000)
}

/// One run over all operations; how many requests it made. Any answer that the document does not allow
/// fails the test.
fn run(folder: &Path, document: &str, arguments: &[&str], of_operation: u32, seed: u64) -> u64 {
    let report = folder.join("schemathesis.json");
    let mut command = Command::new(prepared("AIMASS_PYTHON"));
    command.current_dir(folder).args(["-m", "schemathesis.cli", "--config-file"]);
    command.arg(repository().join("tests/e2e/clients/schemathesis.toml"));
    command.args(["run", document, "--no-color", "--continue-on-failure", "--warnings", "off"]);
    // How long a busy machine takes to think of a request says nothing about the server.
    command.args(["--request-timeout", SECONDS, "--suppress-health-check", "too_slow"]);
    command.args(["--max-examples", &of_operation.to_string(), "--seed", &seed.to_string()]);
    command.args(["--report", "json", "--report-json-path"]).arg(&report).args(arguments);
    let output = command.output().expect("python runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "AIMASS_SEED={seed}:\n{printed}\n{error}");
    let report = std::fs::read(&report).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["complete"], true, "{report}");
    let requests = report["test_cases"]["generated"].as_u64().expect("a count");
    println!("seed {seed}: {requests} requests");
    requests
}

/// Requests that the server itself counted, of the wanted kinds of route and classes of status.
fn answered(server: &Server, is_wanted: impl Fn(&str, &str) -> bool) -> u64 {
    let page = server.ask("GET", "/metrics", "").expect("metrics").text();
    let count = |line: &str| {
        let labels = line.strip_prefix("aimass_gateway_requests_total{route=\"")?;
        let (route, rest) = labels.split_once("\",status=\"")?;
        let (status, count) = rest.split_once("\"} ")?;
        is_wanted(route, status).then(|| count.parse::<u64>().expect("a count"))
    };
    page.lines().filter_map(count).sum()
}

#[test]
fn every_answer_is_one_that_the_document_allows() {
    let (site, plan, first) = (Site::new(), plan(), first_seed());
    let patient = site.folder().join("patient.toml");
    std::fs::write(&patient, format!("[gateway]\nrequest_seconds = {SECONDS}\n")).expect("a file");
    let server = site.serve(&["--config", &patient.display().to_string()]);
    let made = site.succeed(&["key", "new", "api", "--role", "super-user"]);
    // A running server takes a new key within a second.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let header = format!("Authorization: Bearer {}", made.lines().next().expect("a key"));
    let document = format!("{}/v2/openapi.json", server.url());
    // Health said no until the models were there.
    let failed = || answered(&server, |_, status| status == "5xx");
    let (before, mut requests, mut seed) = (failed(), 0, first);
    while requests < plan.requests {
        let arguments = ["--header", &*header];
        requests += run(site.folder(), &document, &arguments, plan.of_operation, seed);
        seed += 1;
    }
    println!("{requests} requests, seeds {first} to {}", seed - 1);
    assert_eq!(failed(), before, "{}", server.output());
    assert!(answered(&server, |_, _| true) >= requests, "the server saw them all");
    // Some went all the way, and the server is as it was.
    for route in ["infer", "embeddings", "metadata"] {
        assert!(answered(&server, |it, status| (it, status) == (route, "2xx")) > 0, "{route}");
    }
    assert_eq!(server.ask("GET", "/v2/health/ready", "").expect("an answer").status, 200);
}

#[test]
fn without_a_key_nothing_but_health_answers() {
    let (site, seed) = (Site::new(), first_seed());
    let server = site.serve(&[]);
    let document = server.ask("GET", "/v2/openapi.json", "").expect("the document");
    let failed = || answered(&server, |_, status| status == "5xx");
    let before = failed();
    let file = site.folder().join("openapi.json");
    std::fs::write(&file, &document.body).expect("a file");
    let requests = run(
        site.folder(),
        &file.display().to_string(),
        // Strangers are asked for a key before they learn which methods there are.
        &[
            "--url",
            &server.url(),
            "--phases",
            "coverage,fuzzing",
            "--exclude-checks",
            "unsupported_method",
        ],
        plan().of_operation,
        seed,
    );
    assert!(requests >= 100, "{requests}");
    // The document and the metrics were asked for with a key.
    let is_good = |status: &str| status == "2xx";
    let open = |route: &str| ["health", "metrics"].contains(&route);
    let good = answered(&server, |route, status| is_good(status) && !open(route));
    assert_eq!(good, 1, "the document, for this test");
    assert_eq!(failed(), before);
}
