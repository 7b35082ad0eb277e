//! End-to-end tests: the binary that a user runs, over real sockets, with clients that we did not
//! write. `cargo xtask test` prepares what they need and says where it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aimass_testkit::{Answer, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of the prepared installation that a test may change.
pub struct Site {
    folder: TempDir,
    /// The `aimass` binary.
    pub aimass: PathBuf,
}

impl Site {
    /// A fresh copy.
    ///
    /// # Panics
    /// If the tests were not started by `cargo xtask test`.
    pub fn new() -> Site {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = prepared("AIMASS_TEST_DATA");
        let target = folder.path().join("data");
        let copied = Command::new("cp").arg("-a").arg(&data).arg(&target).status();
        assert!(copied.expect("cp").success(), "copying {}", data.display());
        Site { folder, aimass: prepared("AIMASS_BIN") }
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs `aimass` with this data folder.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.aimass);
        command.arg("--data").arg(self.data()).args(arguments).current_dir(self.folder());
        command.output().expect("the binary runs")
    }

    /// As [`Site::run`]; fails the test unless it succeeds. Returns what it printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "aimass {arguments:?} failed: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// As [`Site::run`]; fails the test unless it fails. Returns exit code and error text.
    pub fn refuse(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "aimass {arguments:?} was expected to fail");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap_or(-1), error)
    }

    /// Serves this data folder.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let log = format!("server-{}.log", arguments.join("-").replace('/', "_"));
        let log = self.folder().join(log);
        Server::start(&self.aimass, &self.data(), arguments, &log).expect("a server")
    }

    /// The unsigned component of a first-party plugin, copied so that it can be signed or damaged.
    pub fn component(&self, plugin: &str) -> PathBuf {
        let target = self.folder().join(format!("{plugin}.wasm"));
        let source = prepared("AIMASS_PLUGINS_DIR").join(format!("{plugin}.wasm"));
        std::fs::copy(&source, &target).expect("a built component");
        target
    }

    /// A copy of a model package of the demo that can be signed or changed.
    pub fn package(&self, name: &str) -> PathBuf {
        let target = self.folder().join(format!("{name}-package"));
        let source = repository().join("tests/xtask/packages").join(name);
        let copied = Command::new("cp").arg("-r").arg(&source).arg(&target).status();
        assert!(copied.expect("cp").success(), "copying {}", source.display());
        target
    }
}

impl Default for Site {
    fn default() -> Site {
        Site::new()
    }
}

/// A path that `cargo xtask test` prepared.
///
/// # Panics
/// If it did not.
pub fn prepared(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => panic!("{variable} is not set: start the end-to-end tests with `cargo xtask test`"),
    }
}

/// Root of the repository.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tests/e2e lies two folders deep").to_owned()
}

/// Asks a model for all outputs of string inputs; outputs come as binary tensors by name.
///
/// # Panics
/// If the answer is not 200 or not what OIP says.
pub fn infer_text(server: &Server, model: &str, texts: &[&str]) -> Vec<(String, Vec<u8>)> {
    let answer = infer_text_raw(server, model, texts);
    assert_eq!(answer.status, 200, "{}", answer.text());
    binary_outputs(&answer)
}

/// As [`infer_text`], whatever the status is.
///
/// # Panics
/// If the server cannot be reached.
pub fn infer_text_raw(server: &Server, model: &str, texts: &[&str]) -> Answer {
    let body = json!({
        "inputs": [{ "name": "text", "datatype": "BYTES", "shape": [texts.len()], "data": texts }],
        "parameters": { "binary_data_output": true },
    });
    let path = format!("/v2/models/{model}/infer");
    server.ask("POST", &path, &body.to_string()).expect("an answer")
}

/// The binary tensors of an OIP answer, by name.
///
/// # Panics
/// If the answer is not what OIP says.
pub fn binary_outputs(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let length = answer.header("inference-header-content-length").expect("a binary answer");
    let (head, mut rest) = answer.body.split_at(length.parse().expect("a length"));
    let head: Value = serde_json::from_slice(head).expect("JSON");
    let outputs = head["outputs"].as_array().expect("outputs");
    let mut tensors = Vec::new();
    for output in outputs {
        let size = output["parameters"]["binary_data_size"].as_u64().expect("a size") as usize;
        let (bytes, tail) = rest.split_at(size);
        tensors.push((output["name"].as_str().expect("a name").to_owned(), bytes.to_vec()));
        rest = tail;
    }
    assert!(rest.is_empty(), "{} bytes belong to no output", rest.len());
    tensors
}

/// Little-endian f32 elements.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "whole numbers of four bytes");
    chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Little-endian i32 elements.
pub fn integers(bytes: &[u8]) -> Vec<i32> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "whole numbers of four bytes");
    chunks.iter().map(|chunk| i32::from_le_bytes(*chunk)).collect()
}
