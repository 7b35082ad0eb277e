//! A real pipeline of three ONNX models, each behind the server, driven by a client we did not write; and the same
//! three under glue that takes pictures.

use std::path::Path;
use std::process::Command;

use aimass_e2e::{Site, prepared, repository};
use aimass_testkit::Server;

const MODELS: [&str; 3] = ["ocr-det", "ocr-cls", "ocr-rec"];

/// Packages of the glue's test, each with the model whose file it has.
const GLUED: [(&str, Option<&str>); 4] = [
    ("ocr-detect", Some("ocr-det")),
    ("ocr-turn", Some("ocr-cls")),
    ("ocr-recognize", Some("ocr-rec")),
    ("ocr", None),
];

#[test]
fn text_in_a_picture_is_read_as_on_onnx_runtime() {
    let site = Site::new();
    for model in MODELS {
        add(&site, &repository().join("tests/onnx/packages"), model, Some(model));
    }
    let server = site.serve(&[]);
    let printed = run("ocr.py", &server);
    assert!(printed.contains("\"calls\""), "{printed}");
}

#[test]
fn glue_reads_pictures_as_rapidocr_does() {
    let site = Site::new();
    for (package, file) in GLUED {
        add(&site, &repository().join("tests/e2e/packages"), package, file);
    }
    let server = site.serve(&[]);
    println!("{}", run("ocr_glue.py", &server));
}

/// Publishes a package of the folder `packages`, with the file of a model of `tests/onnx`.
fn add(site: &Site, packages: &Path, package: &str, file: Option<&str>) {
    let folder = site.folder().join(package);
    std::fs::create_dir(&folder).expect("a folder");
    copy(&packages.join(package).join("model.toml"), &folder.join("model.toml"));
    if let Some(file) = file {
        let made = prepared("AIMASS_ONNX_CASES").join("models").join(file);
        copy(&made.join("package/model.onnx"), &folder.join("model.onnx"));
    }
    site.succeed(&["model", "add", "--name", package, &folder.display().to_string()]);
}

/// What a client printed that ended well.
fn run(client: &str, server: &Server) -> String {
    let models = prepared("AIMASS_MODEL_DIR");
    let output = Command::new(prepared("AIMASS_PYTHON"))
        .arg(repository().join("tests/e2e/clients").join(client))
        .args(["--key", &server.api_key])
        .args(["--url", server.url().trim_start_matches("http://")])
        .arg("--rapidocr")
        .arg(models.with_file_name("rapidocr"))
        .arg("--scripts")
        .arg(repository().join("tests/onnx/python"))
        .output()
        .expect("python runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client}: {out}\n{error}\n{}", server.output());
    out
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
