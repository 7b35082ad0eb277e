//! The audit path of a model version: verified, tested, reviewed, released; and what happens to a version
//! that the policy wants reviewed and nobody reviewed.

use std::path::{Path, PathBuf};

use aimass_e2e::Site;
use serde_json::Value;

const MODEL: &str = "aimass/identity-model@1.0.0";

/// A site whose policy wants two of two reviewers, and a folder with the identity model's package.
struct Desk {
    site: Site,
    folder: PathBuf,
    reviewers: Vec<String>,
    /// Lines of the audit log that the making of the site left.
    before: usize,
}

impl Desk {
    fn new() -> Desk {
        let site = Site::new();
        let folder = site.package("identity");
        let reviewers = ["r1.key", "r2.key"].map(|file| {
            let made = site.succeed(&["key", "new", "signing", file, "--json"]);
            json(&made)["public_key"].as_str().expect("a key").to_owned()
        });
        let policy = site.data().join("trust.toml");
        let old = std::fs::read_to_string(&policy).expect("a policy");
        let new = format!("{old}\n[review]\nrequired = 2\nkeys = {reviewers:?}\n");
        std::fs::write(&policy, new).expect("a policy");
        let before = audit_lines(&site).len();
        Desk { site, folder, reviewers: reviewers.into(), before }
    }

    fn review(&self, kind: &str, what: &Path, key: &str) {
        self.site.succeed(&[kind, "review", &text(what), "--accept", "--key", key]);
    }

    /// The published plugin that the model runs, published again with both reviews of its statement.
    fn publish_plugin(&self) {
        let component = self.site.folder().join("identity.wasm");
        let folders =
            self.site.data().join("registry/plugins").read_dir().expect("plugins").flatten();
        let name = b"\"aimass/identity\"";
        let is_it = |folder: &Path| {
            let wasm = std::fs::read(folder.join("plugin.wasm")).unwrap_or_default();
            wasm.windows(name.len()).any(|part| part == name)
        };
        let found = folders.map(|entry| entry.path()).find(|folder| is_it(folder));
        let found = found.expect("the plugin is published");
        std::fs::copy(found.join("plugin.wasm"), &component).expect("a copy");
        let statement = component.with_extension("dsse.json");
        std::fs::copy(found.join("plugin.dsse.json"), statement).expect("a copy");
        let publish = ["plugin", "publish", &text(&component)];
        let (exit, error) = self.site.refuse(&publish);
        assert!(exit == 28 && error.contains("AMT-REVIEW"), "{exit} {error}");
        for key in ["r1.key", "r2.key"] {
            self.review("plugin", &component, key);
        }
        self.site.succeed(&publish);
    }

    fn show(&self, model: &str) -> Value {
        json(&self.site.succeed(&["model", "show", model, "--json"]))
    }

    /// Lines of the audit log about `subject`, as `(event, code)`.
    fn audit(&self, subject: &str) -> Vec<(String, Option<String>)> {
        let lines = audit_lines(&self.site);
        let about = lines.iter().skip(self.before).filter(|line| line["subject"] == subject);
        let word = |value: &Value| value.as_str().map(str::to_owned);
        about.map(|line| (word(&line["event"]).unwrap_or_default(), word(&line["code"]))).collect()
    }
}

fn audit_lines(site: &Site) -> Vec<Value> {
    let log = json(&site.succeed(&["trust", "audit", "--last", "1000", "--json"]));
    log["lines"].as_array().expect("lines").clone()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn line(event: &str, code: Option<&str>) -> (String, Option<String>) {
    (event.to_owned(), code.map(str::to_owned))
}

#[test]
fn a_model_is_refused_until_enough_reviewers_signed_its_statement() {
    let desk = Desk::new();
    let (site, folder) = (&desk.site, text(&desk.folder));
    desk.publish_plugin();
    site.succeed(&["model", "sign", &folder]);
    let add = ["model", "add", folder.as_str(), "--name", "identity"];
    let missing = |count: usize| {
        let (exit, error) = site.refuse(&add);
        assert_eq!(exit, 28, "{error}");
        assert!(error.contains("AMT-REVIEW") && error.contains(&format!("got {count}")), "{error}");
    };
    missing(0);
    desk.review("model", &desk.folder, "r1.key");
    missing(1);

    // One key is one reviewer, however often it signs; and the publisher is none.
    let own = text(&site.data().join("keys/aimass.key"));
    for key in ["r1.key", own.as_str()] {
        let (exit, error) = site.refuse(&["model", "review", &folder, "--accept", "--key", key]);
        assert!(exit == 1 && error.contains("signed it already"), "{error}");
    }
    missing(1);

    desk.review("model", &desk.folder, "r2.key");
    let printed = site.succeed(&add);
    for key in &desk.reviewers {
        assert!(printed.contains(&format!("reviewed  {key}")), "{printed}");
    }
    let refused = line("refused", Some("AMT-REVIEW"));
    let expected = [refused.clone(), refused.clone(), refused, line("admitted", None)];
    assert_eq!(desk.audit(MODEL), expected);

    // What was reviewed is what is published, byte for byte.
    let manifest = desk.folder.join("model.toml");
    let mut changed = std::fs::read(&manifest).expect("a file");
    changed.push(b'\n');
    std::fs::write(&manifest, changed).expect("a file");
    for verb in [&add[..], &["model", "review", folder.as_str()]] {
        let (exit, error) = site.refuse(verb);
        assert!(exit == 24 && error.contains("AMT-DIGEST"), "{exit} {error}");
    }
}

#[test]
fn how_a_version_came_to_serve_is_shown_on_the_command_line_and_over_http() {
    let desk = Desk::new();
    let (site, folder) = (&desk.site, text(&desk.folder));
    desk.publish_plugin();
    site.succeed(&["model", "sign", &folder]);
    for key in ["r1.key", "r2.key"] {
        desk.review("model", &desk.folder, key);
    }
    site.succeed(&["model", "add", &folder, "--name", "identity"]);
    site.succeed(&["model", "label", "identity", "stable", "2"]);

    let shown = desk.show("identity");
    assert_eq!(shown["reviews_required"], 2);
    let versions = shown["versions"].as_array().expect("versions");
    let (first, second) = (&versions[0], &versions[1]);
    assert_eq!(first["code"], "AMT-REVIEW", "published before the policy asked: {first}");
    assert_eq!(first["reviewed_by"], Value::Array(Vec::new()));
    assert_eq!((&second["code"], &second["release"]), (&Value::Null, &Value::from(MODEL)));
    let mut reviewers = desk.reviewers.clone();
    reviewers.sort();
    let sorted = |value: &Value| {
        let keys = value.as_array().expect("keys").iter();
        let mut keys: Vec<String> =
            keys.map(|key| key.as_str().expect("a key").to_owned()).collect();
        keys.sort();
        keys
    };
    assert_eq!(sorted(&second["reviewed_by"]), reviewers);
    let fixtures = second["fixtures"].as_str().expect("a report");
    assert!(fixtures.ends_with(" passed") && !fixtures.starts_with('0'), "{fixtures}");
    assert_eq!(second["labels"][0]["label"], "stable");
    assert_eq!(desk.show("identity@stable")["versions"][0], *second);
    assert_eq!(desk.audit("model identity version 2"), [line("released", None)]);

    // The same over HTTP; what the policy refuses is not served, and written down.
    let log = site.folder().join("server.log");
    let server = aimass_testkit::Server::start_unready(&site.aimass, &site.data(), &[], &log)
        .expect("a server");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let answer = loop {
        let answer = server.ask("GET", "/v2/models/identity", "").expect("an answer");
        if answer.status == 200 || std::time::Instant::now() > deadline {
            break answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(answer.status, 200, "{}", answer.text());
    let release = &json(&answer.text())["release"];
    assert_eq!((&release["version"], &release["name"]), (&"2".into(), &MODEL.into()));
    assert_eq!(release["signed_by"], second["signed_by"]);
    assert_eq!(release["fixtures"], second["fixtures"]);
    assert_eq!(release["labels"], Value::from(vec!["stable"]));
    assert_eq!(sorted(&release["reviewed_by"]), reviewers);
    let body = r#"{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1],"data":[7]}]}"#;
    let old = server.ask("POST", "/v2/models/identity/versions/1/infer", body).expect("an answer");
    assert_eq!(old.status, 422, "{}", old.text());
    assert!(old.text().contains("AMT-REVIEW"), "{}", old.text());
    let refused = desk.audit("model identity version 1");
    assert_eq!(refused, [line("refused", Some("AMT-REVIEW"))]);
}
