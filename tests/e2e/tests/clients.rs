//! Clients that we did not write, unmodified, installed from PyPI.

use std::process::Command;

use aimass_e2e::{Site, prepared, repository};

fn run(script: &str) {
    let site = Site::new();
    let server = site.serve(&[]);
    let output = Command::new(prepared("AIMASS_PYTHON"))
        .arg(repository().join("tests/e2e/clients").join(script))
        .args(["--url", &server.url(), "--api-key", &server.api_key])
        .output()
        .expect("python runs");
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{out}\n{error}");
}

#[test]
fn tritonclient_gets_right_answers() {
    run("triton_http.py");
}

#[test]
fn openai_client_gets_right_answers() {
    run("openai_embeddings.py");
}
