//! A real pipeline of three ONNX models, each behind the server, driven by a client we did not write.

use std::path::Path;
use std::process::Command;

use aimass_e2e::{Site, prepared, repository};

const MODELS: [&str; 3] = ["ocr-det", "ocr-cls", "ocr-rec"];

#[test]
fn text_in_a_picture_is_read_as_on_onnx_runtime() {
    if !repository().join("docs/reference/onnx-operators.md").exists() {
        println!("the page of operators is not written yet; nothing is promised");
        return;
    }
    let site = Site::new();
    for model in MODELS {
        let folder = site.folder().join(model);
        std::fs::create_dir(&folder).expect("a folder");
        let manifest = repository().join("tests/onnx/packages").join(model).join("model.toml");
        copy(&manifest, &folder.join("model.toml"));
        let cases = prepared("AIMASS_ONNX_CASES").join("models").join(model);
        copy(&cases.join("package/model.onnx"), &folder.join("model.onnx"));
        let folder = folder.display().to_string();
        site.succeed(&["model", "add", "--name", model, &folder]);
    }
    let server = site.serve(&[]);
    let models = prepared("AIMASS_MODEL_DIR");
    let output = Command::new(prepared("AIMASS_PYTHON"))
        .arg(repository().join("tests/e2e/clients/ocr.py"))
        .args(["--key", &server.api_key])
        .args(["--url", server.url().trim_start_matches("http://")])
        .arg("--rapidocr")
        .arg(models.with_file_name("rapidocr"))
        .arg("--scripts")
        .arg(repository().join("tests/onnx/python"))
        .output()
        .expect("python runs");
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}\n{}", server.output());
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
