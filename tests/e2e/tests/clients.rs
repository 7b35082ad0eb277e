//! Clients that we did not write, unmodified, installed from PyPI.

use std::process::Command;

use aimass_e2e::{Site, prepared, repository};

fn run(script: &str, arguments: impl Fn(&str) -> Vec<String>) {
    let site = Site::new();
    let server = site.serve(&[]);
    let output = Command::new(prepared("AIMASS_PYTHON"))
        .arg(repository().join("tests/e2e/clients").join(script))
        .args(["--key", &server.api_key])
        .args(arguments(&server.url()))
        .output()
        .expect("python runs");
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{out}\n{error}");
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn tritonclient_gets_right_answers() {
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    run("oip_http.py", |url| words(&["--url", &address(url), "--identity", "identity"]));
}

#[test]
fn openai_client_gets_right_answers() {
    run("openai_embeddings.py", |url| {
        words(&["--url", url, "--model", "minilm", "--min-gap", "0.2"])
    });
}
