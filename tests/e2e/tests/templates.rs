//! The templates of the worlds `format` and `model`, of every language: built, tested in the sandbox, signed, and
//! served together as one model. `first_plugin.rs` does the same for processors.

use aimass_e2e::{Site, repository};
use aimass_testkit::Server;
use serde_json::{Value, json};

/// Logits that the format's own fixture has for these rows.
const ROWS: [[f64; 2]; 2] = [[1.0, 0.0], [1.0, 2.0]];
const LOGITS: [[f64; 2]; 2] = [[2.125, 1.0], [18.125, 5.0]];

/// Makes a project of a template, and signs and publishes what it builds; with fixtures they must pass.
fn publish(site: &Site, name: &str, world: &str, language: &str) {
    let project = format!("acme/{name}");
    site.succeed(&["plugin", "new", &project, "--world", world, "--language", language]);
    // The compiled SDK of other runs may be used again.
    let target = repository().join("target/author").display().to_string();
    let own = ["--target-dir", target.as_str()];
    site.succeed(&[["plugin", "build", name].as_slice(), &own].concat());
    if world == "format" {
        let tested = site.succeed(&[["plugin", "test", name].as_slice(), &own].concat());
        assert!(tested.contains("1 passed, 0 failed"), "{language}: {tested}");
    }
    let component = format!("{target}/plugins/acme-{name}-0.1.0.wasm");
    site.succeed(&["plugin", "sign", &component]);
    site.succeed(&["plugin", "publish", &component]);
}

/// Serves the template of a format under the glue of another, and asks.
fn check(format: &str, glue: &str) {
    let site = Site::new();
    site.succeed(&["key", "new", "publisher", "acme"]);
    let (linear, sharpen) = (format!("linear-{format}"), format!("sharpen-{glue}"));
    publish(&site, &linear, "format", format);
    publish(&site, &sharpen, "model", glue);
    let package = site.folder().join("package");
    std::fs::create_dir(&package).expect("a folder");
    for file in ["linear.json", "linear.f32"] {
        let from = site.folder().join(&linear).join("fixtures/files").join(file);
        std::fs::copy(&from, package.join(file)).expect("a file of the template");
    }
    let manifest = format!(
        "[model]\nname = \"acme/classes\"\nversion = \"1.0.0\"\n[format]\nplugin = \"acme/{linear}\"\n\
         [[input]]\nname = \"x\"\ndtype = \"FP32\"\nshape = [\"batch\", 2]\n\
         [[step]]\nname = \"glue\"\nplugin = \"acme/{sharpen}\"\n\
         [[output]]\nname = \"probabilities\"\nfrom = \"glue.probabilities\"\ndtype = \"FP32\"\n\
         shape = [\"batch\", 2]\n"
    );
    std::fs::write(package.join("model.toml"), manifest).expect("a manifest");
    let package = package.display().to_string();
    site.succeed(&["model", "add", "--name", "classes", &package]);
    let server = site.serve(&[]);
    for sharpness in [None, Some(0.25)] {
        let (status, answer) = ask(&server, sharpness.map(Value::from));
        assert_eq!(status, 200, "{answer}");
        let found = answer["outputs"][0]["data"].as_array().expect("numbers");
        let expected = LOGITS.iter().flat_map(|row| softmax(*row, sharpness.unwrap_or(1.0)));
        for (found, expected) in found.iter().zip(expected) {
            let found = found.as_f64().expect("a number");
            assert!(
                (found - expected).abs() < 1e-5,
                "{sharpness:?}: {found}, {expected}: {answer}"
            );
        }
        assert_eq!(found.len(), 4);
    }
    let (status, answer) = ask(&server, Some(Value::from(0.0)));
    assert_eq!(status, 400, "{answer}");
    assert!(answer.to_string().contains("expected 0.01 to 100"), "{answer}");
}

fn ask(server: &Server, sharpness: Option<Value>) -> (u16, Value) {
    let parameters = sharpness.map_or(json!({}), |value| json!({ "sharpness": value }));
    let data: Vec<f64> = ROWS.into_iter().flatten().collect();
    let body = json!({
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [2, 2], "data": data }],
        "parameters": parameters,
    });
    let answer = server.ask("POST", "/v2/models/classes/infer", &body.to_string());
    let answer = answer.expect("an answer");
    (answer.status, serde_json::from_slice(&answer.body).expect("JSON"))
}

fn softmax(row: [f64; 2], sharpness: f64) -> [f64; 2] {
    let powers = row.map(|logit| (logit * sharpness).exp());
    powers.map(|power| power / (powers[0] + powers[1]))
}

#[test]
fn format_and_glue_in_rust_make_a_model() {
    check("rust", "rust");
}

#[test]
#[ignore = "compiles the Python interpreter four times; `cargo xtask test --all` runs it"]
fn format_and_glue_in_python_make_a_model() {
    check("python", "python");
}

#[test]
#[ignore = "compiles a JavaScript engine twice; `cargo xtask test --all` runs it"]
fn glue_in_javascript_makes_a_model() {
    check("rust", "js");
}

#[test]
fn every_template_is_walked() {
    let walked = [
        "format-python",
        "format-rust",
        "model-js",
        "model-python",
        "model-rust",
        "processor-c",
        "processor-js",
        "processor-python",
        "processor-rust",
        "processor-zig",
    ];
    let templates = std::fs::read_dir(repository().join("sdk/templates")).expect("templates");
    let mut names: Vec<String> =
        templates.flatten().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, walked, "a template without a walk here or in first_plugin.rs");
}
