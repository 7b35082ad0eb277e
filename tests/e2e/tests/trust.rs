//! What is unsigned, tampered with or not allowed is refused by name, and what serves goes on.

use std::path::{Path, PathBuf};

use aimass_e2e::Site;

const BODY: &str = r#"{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1],"data":[7]}]}"#;

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A signed copy of the identity plugin.
fn signed(site: &Site) -> PathBuf {
    let component = site.component("identity");
    site.succeed(&["plugin", "sign", &text(&component)]);
    component
}

fn policy(site: &Site) -> PathBuf {
    site.data().join("trust.toml")
}

fn edit_policy(site: &Site, from: &str, to: &str) {
    let old = std::fs::read_to_string(policy(site)).expect("a policy");
    let new = old.replace(from, to);
    assert_ne!(old, new, "the policy has no {from:?}:\n{old}");
    std::fs::write(policy(site), new).expect("a policy");
}

/// Publishing must fail with this code and name a remedy; what serves must go on serving.
fn refused(site: &Site, component: &Path, code: &str) {
    let (exit, error) = site.refuse(&["plugin", "publish", &text(component)]);
    assert!(error.contains(code), "expected {code}, got {error}");
    assert!((20..=33).contains(&exit), "{code} has exit code {exit}");
    assert!(error.len() > 60, "the message names what to do: {error}");
    let server = site.serve(&[]);
    let answer = server.ask("POST", "/v2/models/identity/infer", BODY).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn an_unsigned_plugin_is_refused() {
    let site = Site::new();
    let component = signed(&site);
    let plain = site.folder().join("plain.wasm");
    std::fs::copy(site.component("softmax-topk"), &plain).expect("a copy");
    std::fs::copy(component.with_extension("dsse.json"), plain.with_extension("dsse.json"))
        .expect("a copy");
    let (_, error) = site.refuse(&["plugin", "publish", &text(&plain)]);
    assert!(error.contains("AMT-"), "{error}");
    std::fs::remove_file(plain.with_extension("dsse.json")).expect("a file");
    let (_, error) = site.refuse(&["plugin", "publish", &text(&plain)]);
    assert!(error.contains("aimass plugin sign"), "{error}");
}

#[test]
fn one_flipped_byte_anywhere_is_refused() {
    let site = Site::new();
    let component = signed(&site);
    let good = std::fs::read(&component).expect("a component");
    let statement = component.with_extension("dsse.json");
    let good_statement = std::fs::read(&statement).expect("a statement");
    let every = |len: usize| (0..len).step_by((len / 24).max(1));
    for at in every(good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&component, bad).expect("a file");
        let (_, error) = site.refuse(&["plugin", "verify", &text(&component)]);
        assert!(error.contains("AMT-"), "byte {at}: {error}");
    }
    std::fs::write(&component, &good).expect("a file");
    for at in every(good_statement.len()) {
        let mut bad = good_statement.clone();
        bad[at] ^= 0x01;
        std::fs::write(&statement, bad).expect("a file");
        let (_, error) = site.refuse(&["plugin", "verify", &text(&component)]);
        assert!(error.contains("AMT-"), "statement byte {at}: {error}");
    }
    std::fs::write(&statement, &good_statement).expect("a file");
    site.succeed(&["plugin", "verify", &text(&component)]);
}

#[test]
fn a_tampered_model_file_takes_only_its_own_version_away() {
    let site = Site::new();
    let models = site.data().join("registry/models/identity");
    let fixture = find(&models, "identity.fixture.json").expect("the published fixture");
    let mut bytes = std::fs::read(&fixture).expect("a file");
    bytes[10] ^= 1;
    let writable = std::process::Command::new("chmod").arg("u+w").arg(&fixture).status();
    assert!(writable.expect("chmod").success());
    std::fs::write(&fixture, bytes).expect("a file");
    let log = site.folder().join("server.log");
    let server = aimass_testkit::Server::start_unready(&site.aimass, &site.data(), &[], &log)
        .expect("a server");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let answer = loop {
        let answer = server.ask("POST", "/v2/models/identity/infer", BODY).expect("an answer");
        if answer.text().contains("AMT-") || std::time::Instant::now() > deadline {
            break answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert!(answer.text().contains("AMT-"), "{}", answer.text());
    let ready = server.ask("GET", "/v2/health/ready", "").expect("an answer");
    assert_eq!(ready.status, 503, "readiness is truthful");
    let texts = ["still served"];
    assert_eq!(aimass_e2e::infer_text(&server, "minilm", &texts).len(), 1);
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in folder.read_dir().ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if path.file_name().is_some_and(|own| own == name) {
            return Some(path);
        }
    }
    None
}

#[test]
fn a_stranger_who_signs_for_a_known_publisher_is_refused() {
    let site = Site::new();
    site.succeed(&["key", "new", "publisher", "stranger", "--out", "stranger.key", "--no-trust"]);
    let component = site.component("identity");
    site.succeed(&["plugin", "sign", &text(&component), "--key", "stranger.key"]);
    refused(&site, &component, "AMT-KEY");
}

#[test]
fn a_name_that_the_publisher_may_not_use_is_refused() {
    let site = Site::new();
    let component = signed(&site);
    edit_policy(
        &site,
        "names = [\"aimass/*\"]",
        "names = [\"aimass/b*\", \"aimass/w*\", \"aimass/p*\", \"aimass/m*\", \"aimass/identity-model\"]",
    );
    let (exit, error) = site.refuse(&["plugin", "publish", &text(&component)]);
    assert!(error.contains("AMT-NAME") && (20..=33).contains(&exit), "{error}");
}

#[test]
fn another_name_than_the_expected_one_is_refused() {
    let site = Site::new();
    let component = signed(&site);
    let (_, error) =
        site.refuse(&["plugin", "verify", &text(&component), "--name", "aimass/wordpiece"]);
    assert!(error.contains("AMT-BIND") || error.contains("AMT-NAME"), "{error}");
}

#[test]
fn an_expired_publisher_is_refused() {
    let site = Site::new();
    let component = signed(&site);
    edit_policy(&site, "loopback_only", "expires = \"2020-01-01T00:00:00Z\"\nloopback_only");
    let (exit, error) = site.refuse(&["plugin", "publish", &text(&component)]);
    assert!(error.contains("AMT-EXPIRED") && (20..=33).contains(&exit), "{error}");
}

#[test]
fn a_plugin_that_asks_for_more_than_the_policy_grants_is_refused() {
    let site = Site::new();
    let component = site.component("wordpiece");
    site.succeed(&["plugin", "sign", &text(&component)]);
    let old = std::fs::read_to_string(policy(&site)).expect("a policy");
    let narrow = format!("{old}\n[operator]\ncapabilities = [\"tensor\"]\n");
    std::fs::write(policy(&site), narrow).expect("a policy");
    let (exit, error) = site.refuse(&["plugin", "publish", &text(&component)]);
    assert!(error.contains("AMT-CAP") && (20..=33).contains(&exit), "{error}");
}

#[test]
fn a_release_may_name_what_it_depends_on() {
    let site = Site::new();
    let component = text(&site.component("identity"));
    let sign = |dependency: &str| {
        ["plugin", "sign", &component, "--depends-on", dependency].map(str::to_owned)
    };
    let run = |arguments: [String; 5]| site.run(&arguments.each_ref().map(String::as_str));
    let wrong = run(sign("wordpiece"));
    let error = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && error.contains("publisher/name=SHA256"), "{error}");
    let good = run(sign(&format!("aimass/wordpiece={}", "0a".repeat(32))));
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    site.succeed(&["plugin", "verify", &component]);
}

#[test]
fn an_older_release_of_a_model_does_not_come_back_as_a_new_version() {
    let site = Site::new();
    let package = site.package("identity");
    let (folder, statement) = (text(&package), package.join("model.dsse.json"));
    let sign = || {
        site.succeed(&["model", "sign", &folder]);
        std::fs::read(&statement).expect("a statement")
    };
    let offer = |statement_bytes: &[u8]| {
        std::fs::write(&statement, statement_bytes).expect("a statement");
        ["model", "add", folder.as_str(), "--name", "identity"]
    };
    let (never_published, first, second) = (sign(), sign(), sign());
    site.succeed(&offer(&first));
    site.succeed(&offer(&second));
    let (exit, error) = site.refuse(&offer(&never_published));
    assert!(exit == 22 && error.contains("AMT-ROLLBACK"), "{exit} {error}");
    assert!(error.contains("move the label"), "{error}");
    let audit = site.succeed(&["trust", "audit", "--last", "3", "--json"]);
    assert!(audit.contains("AMT-ROLLBACK"), "{audit}");
    // Under another serving name it is as old.
    let elsewhere = ["model", "add", folder.as_str(), "--name", "elsewhere"];
    assert!(site.refuse(&elsewhere).1.contains("AMT-ROLLBACK"));
    // What was admitted once may be published again.
    let printed = site.succeed(&offer(&first));
    assert!(printed.contains("published identity version 4"), "{printed}");
}

#[test]
fn one_signature_is_checked_by_the_strict_rule() {
    let site = Site::new();
    // RFC 8032, 7.1, test 2.
    let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    let check = |key: &str, message: &str, signature: &str, good: bool| {
        let parts = ["--public-key", key, "--message", message, "--signature", signature];
        let arguments = [&["trust", "check-signature"], &parts[..]].concat();
        match good {
            true => assert_eq!(site.succeed(&arguments).trim(), "accepted"),
            false => assert_eq!(site.refuse(&arguments).0, 1),
        }
    };
    check(key, "72", signature, true);
    for (key, message, signature) in [
        (key, "73", signature),
        (key, "", signature),
        (&key.to_uppercase(), "72", signature),
        (key, "72", &signature[2..]),
        (&"00".repeat(32), "72", signature),
        // A key of small order "signs" everything with R of small order and s = 0.
        (&format!("01{}", "00".repeat(31)), "72", &format!("01{}", "00".repeat(63))),
    ] {
        check(key, message, signature, false);
    }
}
