//! `aimass model inspect`, `profile` and `compare` on real models: what they say, not how fast it was;
//! and `aimass doctor`.

use aimass_e2e::{Site, prepared, repository};
use serde_json::Value;

/// An ONNX model of half a megabyte whose input is `[batch, 3, 48, 192]`.
const ONNX: &str = "ocr-cls";

/// A package folder of an ONNX model, not published.
fn onnx_package(site: &Site, model: &str) -> String {
    let folder = site.folder().join(model);
    std::fs::create_dir(&folder).expect("a folder");
    let manifest = repository().join("tests/onnx/packages").join(model).join("model.toml");
    std::fs::copy(&manifest, folder.join("model.toml")).expect("a manifest");
    std::fs::copy(onnx_file(model), folder.join("model.onnx")).expect("a model");
    folder.display().to_string()
}

fn onnx_file(model: &str) -> std::path::PathBuf {
    prepared("AIMASS_ONNX_CASES").join("models").join(model).join("package/model.onnx")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a Vec<Value> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list {pointer}"))
}

#[test]
fn inspect_shows_steps_memory_and_weights() {
    let site = Site::new();
    let text = site.succeed(&["model", "inspect", "minilm", "--shape", "input_ids=128"]);
    for part in [
        "step    tokenize: plugin aimass/wordpiece",
        "step    encode: plan main",
        "input   input_ids: i32 [ragged(offsets)]  here [128]",
        "coalesces over: ragged(offsets)",
        "joined  along ragged(offsets)",
        "linear 384x1536 + bias",
        "ragged-attention",
        "[128, 384]",
        "packed f32 384x1152",
        "slot @0",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let identity = site.succeed(&["model", "inspect", "identity"]);
    assert!(identity.contains("step    identity: plugin aimass/identity"), "{identity}");
    assert!(!identity.contains("plan "), "{identity}");
}

#[test]
fn inspect_draws_and_writes_json() {
    let site = Site::new();
    let file = |name: &str| site.folder().join(name).display().to_string();
    let (svg, dot) = (file("plan.svg"), file("plan.dot"));
    let printed =
        site.succeed(&["model", "inspect", "minilm", "--json", "--svg", &svg, "--dot", &dot]);
    let inspected = json(&printed);
    let steps = list(&inspected, "/plans/0/plan/steps");
    assert_eq!(inspected["model"], "minilm");
    assert_eq!(inspected["coalesces_over"], "ragged(offsets)");
    assert!(inspected["blocked_by"].is_null(), "{printed}");
    assert_eq!(inspected.pointer("/plans/0/plan/joined").expect("a field"), "ragged(offsets)");
    let sum: u64 = steps.iter().map(|step| step["flops"].as_u64().expect("a count")).sum();
    assert!(sum > 32 * 2 * 6 * 384 * 384 * 12, "six layers of 12 squares each: {sum}");
    let picture = std::fs::read_to_string(svg).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    let boxes = picture.matches("<g><title>").count();
    assert!(boxes > steps.len(), "{boxes} boxes, {} steps", steps.len());
    assert!(picture.contains("linear 384x1536"), "{picture}");
    assert!(std::fs::read_to_string(dot).expect("a graph").starts_with("digraph \"minilm\""));
}

#[test]
fn a_package_that_is_not_published_is_traced_for_the_shapes_asked_for() {
    let site = Site::new();
    let package = onnx_package(&site, ONNX);
    let arguments = ["model", "inspect", &package, "--json", "--shape", "x=3x3x48x192"];
    let inspected = json(&site.succeed(&arguments));
    assert_eq!((&inspected["traced"], &inspected["version"]), (&Value::Bool(true), &0.into()));
    let steps = list(&inspected, "/plans/0/plan/steps");
    assert!(steps.iter().any(|step| step["family"] == "convolution"), "{steps:?}");
    let values = list(&inspected, "/plans/0/plan/values");
    assert!(values.iter().any(|value| value["shape"][0] == 3), "{values:?}");
    let text = site.succeed(&["model", "inspect", &package]);
    assert!(text.contains("not published") && text.contains("batch = 1"), "{text}");
    assert!(
        text.contains("stage 1") && text.contains("kept") && text.contains("joined  along axis 0"),
        "{text}"
    );
    let listed = site.succeed(&["model", "list"]);
    assert!(!listed.contains(ONNX), "inspecting published nothing: {listed}");
}

#[test]
fn a_model_whose_calls_are_not_joined_says_what_stands_in_the_way() {
    let site = Site::new();
    let package = onnx_package(&site, "plcmos");
    let arguments = ["model", "inspect", &package, "--shape", "degraded_audio=1x1x64x257"];
    let text = site.succeed(&arguments);
    assert!(text.contains("\njoined  no: "), "{text}");
    let inspected = json(&site.succeed(&[&arguments[..], &["--json"]].concat()));
    assert!(inspected["coalesces_over"].is_null(), "{inspected}");
    let reason = inspected["blocked_by"].as_str().expect("a reason");
    assert!(reason.contains("node `"), "{reason}");
    assert!(text.contains(&format!("\ndoes not coalesce: {reason}\n")), "{text}");
}

#[test]
fn a_model_file_becomes_a_package_that_is_published_and_answers() {
    let site = Site::new();
    let folder = site.folder().join("Angle of text");
    std::fs::create_dir(&folder).expect("a folder");
    let package = folder.display().to_string();
    let (_, error) = site.refuse(&["model", "new", &package]);
    assert!(error.contains("holds no files"), "{error}");
    std::fs::write(folder.join("notes.txt"), "nothing to run").expect("a file");
    let (_, error) = site.refuse(&["model", "new", &package]);
    assert!(
        error.contains("aimass/onnx does not know them") && error.contains("by hand"),
        "{error}"
    );
    std::fs::copy(onnx_file(ONNX), folder.join("model.onnx")).expect("a model");
    let (_, error) = site.refuse(&["model", "new", &package, "--format", "aimass/identity"]);
    assert!(error.contains("reads no files"), "{error}");
    let text = site.succeed(&["model", "new", &package, "--license", "Apache-2.0"]);
    assert!(text.contains("format    onnx, read by aimass/onnx@"), "{text}");
    assert!(text.contains("input     x: FP32 [batch, 3, "), "{text}");
    assert!(text.contains("as aimass/angle-of-text"), "{text}");
    let written = std::fs::read_to_string(folder.join("model.toml")).expect("a manifest");
    let (_, error) = site.refuse(&["model", "new", &package]);
    assert!(error.contains("has a model.toml already"), "{error}");
    let left = std::fs::read_to_string(folder.join("model.toml")).expect("a manifest");
    assert_eq!(left, written, "what is there is never overwritten");
    site.succeed(&["model", "add", &package]);
    let shapes = ["--shape", "x=2x3x48x192", "--runs", "1", "--json"];
    let profiled = site.succeed(&[&["model", "profile", "angle-of-text"], &shapes[..]].concat());
    assert!(!list(&json(&profiled), "/plans").is_empty(), "{profiled}");
}

#[test]
fn profile_says_where_the_time_goes() {
    let site = Site::new();
    let text = "text=[\"a cat\", \"a dog sleeps\"]";
    let table = site.succeed(&[
        "model", "profile", "minilm", "--runs", "3", "--warmup", "1", "--input", text, "--top", "4",
    ]);
    for part in ["pipeline step", "tokenize", "encode", "plan main: 1 calls", "of peak", " more"] {
        assert!(table.contains(part), "{part:?} is not in {table}");
    }
    let profiled = json(&site.succeed(&[
        "model",
        "profile",
        "minilm",
        "--runs",
        "2",
        "--input",
        text,
        "--json",
        "--threads",
        "1",
    ]));
    assert_eq!(profiled.pointer("/machine/threads").expect("a field"), 1);
    assert_eq!(list(&profiled, "/pipeline").len(), 3);
    let steps = list(&profiled, "/plans/0/steps");
    assert!(steps.iter().all(|step| step["us"].as_f64().is_some()), "{steps:?}");
    let parts = |step: &Value| (list(step, "/parts").len(), list(step, "/parts_us").len());
    assert!(steps.iter().map(parts).all(|(parts, times)| parts == times));
    let (_, error) = site.refuse(&["model", "profile", "identity", "--shape", "INPUT0=3"]);
    assert!(error.contains("--input INPUT0="), "{error}");
    let arguments = ["model", "profile", "identity", "--runs", "2", "--input", "INPUT0=[1, 2, 3]"];
    assert!(site.succeed(&arguments).contains("identity"));
}

#[test]
fn an_onnx_model_is_profiled_and_compared_with_onnx_runtime() {
    let site = Site::new();
    let package = onnx_package(&site, ONNX);
    site.succeed(&["model", "add", "--name", ONNX, &package]);
    let profiled = json(&site.succeed(&["model", "profile", ONNX, "--runs", "2", "--json"]));
    assert_eq!(profiled.pointer("/plans/0/title").expect("a field"), "stage 1");
    let onnx = onnx_file(ONNX).display().to_string();
    let python = prepared("AIMASS_PYTHON").display().to_string();
    let compare = |more: &[&str]| {
        let arguments = ["model", "compare", ONNX, "--onnx", &onnx, "--runs", "2"];
        [&arguments[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        site.succeed(&arguments)
    };
    let shape = "x=2x3x48x192";
    let compared = json(&run(compare(&["--python", &python, "--json", "--shape", shape])));
    let difference = compared.pointer("/outputs/0/difference").expect("an output");
    assert_eq!(difference["elements"], 4);
    assert!(difference["absolute"].as_f64().expect("a number") < 1e-4, "{difference}");
    assert!(difference["cosine"].as_f64().expect("a number") > 0.999_99, "{difference}");
    assert!(compared["ratio"].as_f64().expect("a number") > 0.0);
    let text = run(compare(&["--python", &python]));
    assert!(text.contains("onnxruntime") && text.contains("times"), "{text}");
    let missing = compare(&["--python", "/nowhere/python3"]);
    let (_, error) = site.refuse(&missing.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("--python"), "{error}");
}

#[test]
fn errors_say_what_there_is() {
    let site = Site::new();
    let (_, error) = site.refuse(&["model", "inspect", "missing"]);
    assert!(error.contains("there are identity, minilm"), "{error}");
    let (_, error) = site.refuse(&["model", "inspect", "minilm@99"]);
    assert!(error.contains("99"), "{error}");
    let (_, error) = site.refuse(&["model", "inspect", "./nowhere"]);
    assert!(error.contains("model.toml"), "{error}");
    let (_, error) = site.refuse(&["model", "inspect", "minilm", "--shape", "image=1x3"]);
    assert!(error.contains("there are ") && error.contains("input_ids"), "{error}");
    let (_, error) = site.refuse(&["model", "inspect", "minilm", "--shape", "input_ids=2x3"]);
    assert!(error.contains("takes") && error.contains("got 2x3"), "{error}");
    let (_, error) = site.refuse(&["model", "inspect", "minilm", "--plan", "other"]);
    assert!(error.contains("plan main"), "{error}");
    let (_, error) = site.refuse(&["model", "compare", "minilm", "--onnx", "nowhere.onnx"]);
    assert!(error.contains("nowhere.onnx"), "{error}");
    let onnx = onnx_file(ONNX).display().to_string();
    let python = prepared("AIMASS_PYTHON").display().to_string();
    let arguments = ["model", "compare", "minilm", "--onnx", &onnx, "--python", &python];
    let text = ["--input", "text=\"a cat\""];
    let (_, error) = site.refuse(&[&arguments[..], &text].concat());
    assert!(error.contains("the model takes text, the ONNX file x"), "{error}");
}

#[test]
fn the_tools_teach_with_examples() {
    let site = Site::new();
    for tool in ["inspect", "profile", "compare"] {
        let help = site.succeed(&["model", tool, "--help"]);
        assert!(help.contains("Examples:") && help.contains("aimass model"), "{help}");
    }
}

#[test]
fn the_doctor_tries_the_jail_of_this_machine() {
    let output =
        std::process::Command::new(prepared("AIMASS_BIN")).args(["doctor", "--json"]).output();
    let output = output.expect("the binary runs");
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{findings}");
    let jails = findings["jails"].as_array().expect("jails");
    assert_eq!(jails.len(), 2);
    for jail in jails {
        let attempts = jail[1]["Ok"]["attempts"].as_array().expect("attempts");
        assert!(attempts.len() >= 14, "{jail}");
        assert!(attempts.iter().all(|attempt| attempt["refused"] == true), "{jail}");
    }
}
