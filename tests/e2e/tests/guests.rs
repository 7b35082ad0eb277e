//! Hostile guests behind a real server: each hurts only its own request, is named, and the next
//! request of the same plugin is answered as if nothing had happened.

use aimass_e2e::{Site, prepared, repository};
use aimass_testkit::Server;
use serde_json::Value;

/// Programs of `tests/guests/program` that fail at request time, and the cause that is named.
const HOSTILE: &[(&str, &str)] = &[
    ("loop", "deadline"),
    ("memory", "memory"),
    ("recursion", "trap"),
    ("panic", "trap"),
    ("handles", "handles"),
    ("host-calls", "host-calls"),
    ("host-copy", "host-copy"),
    ("output-bytes", "output-too-large"),
    ("wrong-name", "bad-output"),
    ("wrong-dtype", "bad-output"),
    ("wrong-shape", "bad-output"),
];

/// Programs whose `init` fails: they are refused when they are published.
const HOSTILE_INIT: &[&str] = &["init-loop", "init-panic", "init-memory"];

/// What the guests are asked.
const INPUTS: &str = r#"[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2]}]"#;

/// Builds, signs and publishes the guests' component.
fn publish_component(site: &Site) {
    let plugins = prepared("AIMASS_PLUGINS_DIR");
    let target = plugins.parent().expect("plugins lie in the target folder").display().to_string();
    let project = repository().join("tests/guests/program").display().to_string();
    let component = site.folder().join("program.wasm").display().to_string();
    site.succeed(&[
        "plugin",
        "build",
        &project,
        "--profile",
        "plugin",
        "--target-dir",
        &target,
        "--out",
        &component,
    ]);
    site.succeed(&["key", "new", "publisher", "acme"]);
    site.succeed(&["plugin", "sign", &component]);
    site.succeed(&["plugin", "publish", &component]);
}

/// A package folder of the model `program`.
fn package(site: &Site, program: &str) -> String {
    let folder = site.folder().join(program);
    std::fs::create_dir(&folder).expect("a folder");
    let manifest = format!(
        "[model]\nname = \"acme/{program}-model\"\nversion = \"1.0.0\"\n\
         [[input]]\nname = \"x\"\ndtype = \"ANY\"\n\
         [[step]]\nname = \"guest\"\nplugin = \"acme/program\"\nconfig = {{ program = \"{program}\" }}\n\
         [[output]]\nname = \"y\"\nfrom = \"guest.y\"\ndtype = \"ANY\"\n"
    );
    std::fs::write(folder.join("model.toml"), manifest).expect("a manifest");
    folder.display().to_string()
}

fn ask(server: &Server, model: &str) -> (u16, String) {
    // Microseconds: the endless loop ends soon, the others end before.
    let timeout = if model == "loop" { 500_000 } else { 60_000_000 };
    let body = format!("{{\"inputs\":{INPUTS},\"parameters\":{{\"timeout\":{timeout}}}}}");
    let path = format!("/v2/models/{model}/infer");
    let answer = server.ask("POST", &path, &body).expect("an answer");
    (answer.status, answer.text())
}

#[test]
fn hostile_guests_hurt_only_their_own_request() {
    let site = Site::new();
    publish_component(&site);
    for (program, _) in HOSTILE.iter().chain(&[("echo", ""), ("log-flood", "")]) {
        site.succeed(&["model", "add", "--name", program, &package(&site, program)]);
    }
    for program in HOSTILE_INIT {
        let (_, error) =
            site.refuse(&["model", "add", "--name", program, &package(&site, program)]);
        assert!(error.contains("acme/program"), "{program}: {error}");
    }
    let server = site.serve(&[]);
    for (program, cause) in HOSTILE {
        let (status, text) = ask(&server, program);
        assert_eq!(status, if *cause == "deadline" { 504 } else { 500 }, "{program}: {text}");
        assert!(text.contains("acme/program"), "{program} is not named: {text}");
        let (status, text) = ask(&server, "echo");
        assert_eq!(status, 200, "after {program} the same plugin failed: {text}");
        let ready = server.ask("GET", "/v2/health/ready", "").expect("an answer");
        assert_eq!(ready.status, 200, "after {program}: {}", ready.text());
    }
    let metrics = server.ask("GET", "/metrics", "").expect("an answer").text();
    for (program, cause) in HOSTILE {
        let line =
            format!("aimass_plugin_failures_total{{plugin=\"acme/program\",cause=\"{cause}\"}}");
        assert!(metrics.contains(&line), "{program}: {line} is not in\n{metrics}");
    }
    // What a flood logs beyond its limit is dropped and counted; its answer is as good as any.
    for program in ["log-flood", "echo"] {
        let answer: Value = serde_json::from_str(&ask(&server, program).1).expect("JSON");
        assert_eq!(answer["outputs"][0]["data"], serde_json::json!([1.0, 2.0]), "{program}");
    }
    let metrics = server.ask("GET", "/metrics", "").expect("an answer").text();
    let counter = "aimass_sandbox_log_bytes_dropped_total ";
    let dropped = metrics.lines().find(|line| line.starts_with(counter)).expect("a line");
    assert!(!dropped.ends_with(" 0"), "{dropped}");
}
