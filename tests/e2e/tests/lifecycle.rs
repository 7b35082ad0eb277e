//! Versions appear, labels move and roll back while requests are answered.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aimass_e2e::{Site, repository};
use aimass_testkit::Server;
use serde_json::Value;

const BODY: &str =
    r#"{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[3],"data":[1,2,3]}]}"#;

fn identity_package(site: &Site) -> PathBuf {
    let target = site.folder().join("identity-package");
    copy_folder(&repository().join("tests/xtask/packages/identity"), &target);
    target
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

/// Version that answers on `path`.
fn version(server: &Server, path: &str) -> String {
    let answer = server.ask("POST", path, BODY).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body["outputs"][0]["data"], serde_json::json!([1, 2, 3]));
    body["model_version"].as_str().expect("a version").to_owned()
}

fn wait_for(server: &Server, path: &str, expected: &str) {
    let start = Instant::now();
    while version(server, path) != expected {
        // Generous: the goal is measured by the benchmark, not decided here.
        assert!(start.elapsed() < Duration::from_secs(30), "{path} never answered {expected}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn labels_move_and_roll_back_without_a_failed_request() {
    let site = Site::new();
    let server = site.serve(&[]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut answered = 0;
            while !done.load(Ordering::Relaxed) {
                version(&server, "/v2/models/identity/infer");
                answered += 1;
            }
            answered
        });
        let package = identity_package(&site);
        site.succeed(&["model", "add", "--name", "identity", &package.display().to_string()]);
        wait_for(&server, "/v2/models/identity/versions/newest/infer", "2");
        assert_eq!(version(&server, "/v2/models/identity/infer"), "1", "the label has not moved");
        site.succeed(&["model", "label", "identity", "stable", "2"]);
        wait_for(&server, "/v2/models/identity/infer", "2");
        assert_eq!(version(&server, "/v2/models/identity/versions/1/infer"), "1");
        site.succeed(&["model", "rollback", "identity", "stable"]);
        wait_for(&server, "/v2/models/identity/infer", "1");
        done.store(true, Ordering::Relaxed);
        assert!(client.join().expect("no request failed") > 0);
    });
}

#[test]
fn a_labeled_version_cannot_be_removed_and_a_free_one_can() {
    let site = Site::new();
    let package = identity_package(&site);
    site.succeed(&["model", "add", "--name", "identity", &package.display().to_string()]);
    let (_, error) = site.refuse(&["model", "remove", "identity", "1"]);
    assert!(error.contains("stable"), "{error}");
    site.succeed(&["model", "remove", "identity", "2"]);
    let listed = site.succeed(&["model", "list"]);
    assert!(listed.contains("minilm") && listed.contains("identity"), "{listed}");
    site.succeed(&["model", "add", "--name", "identity", &package.display().to_string()]);
    assert!(site.succeed(&["model", "list"]).contains("   3 "), "numbers are never used twice");
}

#[test]
fn a_version_whose_fixture_fails_is_not_published() {
    let site = Site::new();
    let package = identity_package(&site);
    let fixture = package.join("identity.fixture.json");
    let text = std::fs::read_to_string(&fixture).expect("fixtures");
    let wrong = text.replacen("\"data\": [1, -2.5, 3, 0] }]", "\"data\": [1, -2.5, 3, 9] }]", 2);
    assert_ne!(text, wrong);
    let wrong = wrong.replacen("9] }]", "0] }]", 1);
    std::fs::write(&fixture, wrong).expect("a file");
    let (_, error) =
        site.refuse(&["model", "add", "--name", "identity", &package.display().to_string()]);
    assert!(error.contains("OUTPUT0[3]"), "{error}");
    assert!(!site.succeed(&["model", "list"]).contains("   2 "));
}

#[test]
fn ctrl_c_drains_and_exits_cleanly() {
    let site = Site::new();
    let server = site.serve(&[]);
    version(&server, "/v2/models/identity/infer");
    assert_eq!(server.stop().expect("a signal"), Some(0));
}

#[test]
fn the_server_is_ready_only_when_its_models_are() {
    let site = Site::new();
    let log = site.folder().join("server.log");
    let mut server =
        Server::start_unready(&site.aimass, &site.data(), &[], &log).expect("a server");
    let answer = server.ask("POST", "/v2/models/identity/infer", BODY).expect("an answer");
    assert!(matches!(answer.status, 200 | 404 | 503), "{}", answer.text());
    server.wait_until_ready().expect("ready");
    assert_eq!(version(&server, "/v2/models/identity/infer"), "1");
}
