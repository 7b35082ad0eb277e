//! Ten thousand lines of many scripts, token for token as Hugging Face `tokenizers` cuts them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::tokenizer::{Encoder, Overrides, Scratch, TextDecoder};

/// A tokenizer of each kind, by its folder in the models that are fetched.
const FILES: [&str; 4] = [
    "all-MiniLM-L6-v2/tokenizer.json",
    "traceforge-title/tokenizer.json",
    "tokenlearn-static/tokenizer.json",
    "anthropic-tokenizer/tokenizer.json",
];

#[derive(Deserialize)]
struct Expected {
    ids: Vec<Vec<i32>>,
    texts: Vec<String>,
}

fn prepared(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set")))
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
#[ignore = "needs AIMASS_PYTHON and AIMASS_MODEL_DIR, which `cargo xtask test` sets"]
fn ten_thousand_lines_are_cut_as_the_reference_cuts_them() {
    let models = prepared("AIMASS_MODEL_DIR").parent().unwrap().to_owned();
    let out = tempfile::tempdir().unwrap();
    let files = FILES.map(|file| models.join(file));
    let status = Command::new(prepared("AIMASS_PYTHON"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference.py"))
        .arg(models.join("chatterbot-corpus"))
        .arg(out.path())
        .args(&files)
        .status()
        .unwrap();
    assert!(status.success(), "reference.py ended with {status}");
    let lines: Vec<String> = read(&out.path().join("lines.json"));
    assert_eq!(lines.len(), 10_000);
    for (number, file) in files.iter().enumerate() {
        let expected: Expected = read(&out.path().join(format!("{number}.json")));
        compare(file, &lines, &expected);
    }
}

fn compare(file: &Path, lines: &[String], expected: &Expected) {
    let json = std::fs::read(file).unwrap();
    let encoder = Encoder::new(&json, Overrides::default()).unwrap();
    let decoder = TextDecoder::new(&json, false).unwrap();
    let mut scratch = Scratch::default();
    let mut wrong = 0;
    for (index, line) in lines.iter().enumerate() {
        let mut ids = Vec::new();
        encoder.encode(line, &mut scratch, &mut ids).unwrap();
        let text = decoder.decode(&ids).unwrap();
        if ids != expected.ids[index] || text != expected.texts[index] {
            wrong += 1;
            if wrong <= 5 {
                println!("{line:?}\n got {ids:?}\nwant {:?}", expected.ids[index]);
                println!(" got {text:?}\nwant {:?}", expected.texts[index]);
            }
        }
    }
    assert_eq!(wrong, 0, "{}: lines that differ", file.display());
}
