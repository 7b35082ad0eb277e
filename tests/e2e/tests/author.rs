//! A plugin author's first hour: every command that `aimass plugin new` prints.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aimass_e2e::{Site, infer_text_raw, repository};
use aimass_testkit::Server;

/// Time that a round may take on a busy machine, and its new version until it is served.
const ROUND_MAX: Duration = Duration::from_secs(300);

/// A program that is killed when a test ends, however it does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    assert!(shown.contains("this host accepts it, from acme"), "{shown}");
    site.succeed(&["plugin", "fmt", "--check", "hello"]);
    site.succeed(&["plugin", "verify", &component]);
    let published = site.succeed(&["plugin", "publish", &component]);
    assert!(published.contains("acme/hello@0.1.0"), "{published}");
}

#[test]
fn the_loop_of_an_author_tells_differences_blesses_measures_and_publishes() {
    let site = Site::new();
    site.succeed(&["plugin", "new", "acme/loop"]);
    let target = repository().join("target/author").display().to_string();
    let cases = site.folder().join("loop/fixtures/cases.json");
    let written = std::fs::read_to_string(&cases).expect("the template's fixtures");
    std::fs::write(&cases, written.replace("A ***, no", "A ###, no")).expect("a file");
    let test = ["plugin", "test", "loop", "--target-dir", &target];
    let printed = String::from_utf8_lossy(&site.run(&test).stdout).into_owned();
    assert!(
        printed.contains("output redacted[0]: expected \"A ###, no secrets.\", got"),
        "{printed}"
    );
    let blessed = site.succeed(&[test.as_slice(), &["--bless"]].concat());
    assert!(blessed.contains("blessed"), "{blessed}");
    let json = site.succeed(&[test.as_slice(), &["--json", "--instructions"]].concat());
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&report["passed"], &report["failed"]), (&2.into(), &0.into()), "{json}");
    assert!(report["cases"][0]["instructions"].as_u64() > Some(100), "{json}");
    let bench = ["plugin", "bench", "loop", "--target-dir", &target, "--runs", "20", "--json"];
    let json = site.succeed(&bench);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(report["cases"][0]["warm_to_native"].as_f64() > Some(0.0), "{json}");
    site.succeed(&["key", "new", "publisher", "acme"]);
    let round = ["plugin", "watch", "loop", "--once", "--target-dir", &target];
    let first = site.succeed(&round);
    assert!(first.contains("published acme/loop@0.1.1-dev."), "{first}");
    std::fs::write(&cases, written.replace("A ***, no", "A ###, no")).expect("a file");
    let (_, error) = site.refuse(&round);
    assert!(error.contains("fixtures failed"), "{error}");
}

#[test]
fn a_save_is_rebuilt_and_reloaded_by_a_running_server() {
    let site = Site::new();
    site.succeed(&["plugin", "new", "acme/live"]);
    site.succeed(&["key", "new", "publisher", "acme"]);
    let package = site.folder().join("greeter");
    std::fs::create_dir(&package).expect("a folder");
    let manifest = "[model]\nname = \"acme/greeter\"\nversion = \"1.0.0\"\n\
                    [[input]]\nname = \"text\"\ndtype = \"BYTES\"\nshape = [\"batch\"]\n\
                    [[step]]\nname = \"redact\"\nplugin = \"acme/live\"\nconfig = { words = [\"secret\"] }\n\
                    [[output]]\nname = \"redacted\"\nfrom = \"redact.redacted\"\ndtype = \"BYTES\"\n\
                    shape = [\"batch\"]\n";
    std::fs::write(package.join("model.toml"), manifest).expect("a manifest");
    let server = site.serve(&[]);
    let log = site.folder().join("watch.log");
    let output = std::fs::File::create(&log).expect("a log");
    let mut watch = Command::new(&site.aimass);
    watch.arg("--data").arg(site.data()).current_dir(site.folder()).stdin(Stdio::null());
    watch.args(["plugin", "watch", "live", "--model", "greeter", "--target-dir"]);
    watch.arg(repository().join("target/author"));
    watch.stderr(output.try_clone().expect("a log")).stdout(output);
    let _watch = Killed(watch.spawn().expect("aimass plugin watch"));
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for_answer(&server, b"A ***.", &told);

    // One save of two files: the mask that is used unless a request names one, and what fixtures expect.
    for file in ["src/lib.rs", "fixtures/cases.json"] {
        let file = site.folder().join("live").join(file);
        let text = std::fs::read_to_string(&file).expect("a file of the template");
        std::fs::write(&file, text.replace("***", "###")).expect("a save");
    }
    wait_for_answer(&server, b"A ###.", &told);
    assert_eq!(told().matches("published acme/live@0.1.1-dev.").count(), 2, "{}", told());
}

/// Asks until the model answers this; `told` is what the other program printed.
fn wait_for_answer(server: &Server, wanted: &[u8], told: &dyn Fn() -> String) {
    let start = Instant::now();
    loop {
        let answer = infer_text_raw(server, "greeter", &["A secret."]);
        if answer.status == 200 && answer.body.ends_with(wanted) {
            return;
        }
        let last = answer.text();
        assert!(start.elapsed() < ROUND_MAX, "{last}\n{}\n{}", told(), server.output());
        std::thread::sleep(Duration::from_millis(100));
    }
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

/// Commands below `command`, as its help lists them.
fn listed(help: &str) -> Vec<String> {
    let (_, list) = help.split_once("\nCommands:\n").unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

/// Adds every command below `command` that does something, with its help.
fn walk(site: &Site, command: &[String], found: &mut Vec<(String, String)>) {
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = site.succeed(&arguments);
    let below = listed(&help);
    for name in &below {
        walk(site, &[command, std::slice::from_ref(name)].concat(), found);
    }
    if below.is_empty() {
        found.push((command.join(" "), help));
    }
}

#[test]
fn every_command_explains_itself() {
    let site = Site::new();
    let mut found = Vec::new();
    for room in ["key", "market", "model", "plugin", "trust"] {
        walk(&site, &[room.to_owned()], &mut found);
    }
    assert!(found.len() >= 54, "{:?}", found.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for (command, help) in &found {
        let (about, _) = help.split_once("Usage:").expect("a usage");
        assert!(about.contains("Example"), "{command} gives no example:\n{help}");
        let of_model = command.starts_with("model");
        assert!(
            of_model || about.contains("Next:"),
            "{command} does not say what is next:\n{help}"
        );
    }
    for command in ["serve", "infer", "top", "usage", "doctor", "batch"] {
        let help = site.succeed(&[command, "--help"]);
        let (about, _) = help.split_once("Usage:").expect("a usage");
        assert!(about.trim().contains("\n\n"), "{command} says only {about}");
    }
}

#[test]
fn infer_answers_without_a_server() {
    let site = Site::new();
    let printed = site.succeed(&["infer", "minilm", "--input", "text=[\"a cat\", \"a dog\"]"]);
    assert!(printed.contains("embedding") && printed.contains("[2, 384]"), "{printed}");
}
