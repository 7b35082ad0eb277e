//! A plugin author's first hour: every command that `aimass plugin new` prints.

use aimass_e2e::{Site, repository};

#[test]
fn a_new_project_builds_is_tested_signed_published_and_served() {
    let site = Site::new();
    let printed = site.succeed(&["plugin", "new", "acme/hello"]);
    assert!(printed.contains("aimass plugin build"), "{printed}");
    // The compiled SDK of other runs may be used again.
    let target = repository().join("target/author");
    let target = target.display().to_string();
    let built = site.succeed(&["plugin", "build", "hello", "--target-dir", &target]);
    assert!(built.contains("acme-hello-0.1.0.wasm"), "{built}");
    let tested = site.succeed(&["plugin", "test", "hello", "--target-dir", &target]);
    assert!(tested.contains(" passed, 0 failed"), "{tested}");
    site.succeed(&["key", "new", "publisher", "acme"]);
    let component = format!("{target}/plugins/acme-hello-0.1.0.wasm");
    site.succeed(&["plugin", "sign", &component]);
    let shown = site.succeed(&["plugin", "inspect", &component]);
    assert!(shown.contains("acme/hello@0.1.0") && !shown.contains("wasi"), "{shown}");
    site.succeed(&["plugin", "verify", &component]);
    let published = site.succeed(&["plugin", "publish", &component]);
    assert!(published.contains("acme/hello@0.1.0"), "{published}");
}

#[test]
fn errors_name_the_remedy() {
    let site = Site::new();
    let (_, error) = site.refuse(&["plugin", "build", "."]);
    assert!(error.contains("aimass plugin new"), "{error}");
    let component = site.component("identity");
    let missing = component.display().to_string();
    let (_, error) = site.refuse(&["plugin", "publish", &missing]);
    assert!(error.contains("aimass plugin sign"), "{error}");
    let (_, error) = site.refuse(&["model", "label", "minilm", "stable", "99"]);
    assert!(error.contains("99"), "{error}");
    let (_, error) = site.refuse(&["infer", "missing", "--input", "text=x"]);
    assert!(error.contains("minilm"), "the error lists what is served: {error}");
}

#[test]
fn every_command_explains_itself() {
    let site = Site::new();
    let commands: [&[&str]; 12] = [
        &["serve"],
        &["plugin"],
        &["plugin", "new"],
        &["plugin", "build"],
        &["plugin", "test"],
        &["plugin", "bench"],
        &["plugin", "inspect"],
        &["plugin", "fmt"],
        &["plugin", "watch"],
        &["model", "add"],
        &["key", "new", "publisher"],
        &["infer"],
    ];
    for command in commands {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let help = site.succeed(&arguments);
        assert!(help.len() > 200, "{command:?} says only {help}");
    }
}

#[test]
fn infer_answers_without_a_server() {
    let site = Site::new();
    let printed = site.succeed(&["infer", "minilm", "--input", "text=[\"a cat\", \"a dog\"]"]);
    assert!(printed.contains("embedding") && printed.contains("[2, 384]"), "{printed}");
}
