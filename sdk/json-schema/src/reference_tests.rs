//! Generated schemas and values beside PyPI's `jsonschema`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::json::Value;
use crate::schema::Schema;
use crate::validate::{Budget, Finding};

#[derive(Deserialize)]
struct Case {
    schema: String,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    /// Path of the value and name of the keyword, both empty for the schema `false`.
    errors: BTreeSet<(String, String)>,
}

fn prepared(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set")))
}

/// As the library tells it.
fn told(finding: Finding) -> (String, String) {
    let (_, keyword) = finding.keyword.rsplit_once('/').unwrap_or_default();
    let is_false = finding.message == "expected nothing here";
    if is_false { Default::default() } else { (finding.path, keyword.to_owned()) }
}

#[test]
#[ignore = "needs AIMASS_PYTHON, which `cargo xtask test` sets"]
fn findings_are_those_of_jsonschema() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let status = Command::new(prepared("AIMASS_PYTHON"))
        .arg(here.join("fixtures/reference.py"))
        .arg(out.path())
        .status()
        .unwrap();
    assert!(status.success(), "reference.py ended with {status}");
    let cases = std::fs::read(out.path().join("cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for case in cases {
        let schema = Schema::compile(Value::parse(case.schema.as_bytes()).unwrap());
        let schema = schema.unwrap_or_else(|error| panic!("{}: {error}", case.schema));
        for answer in case.answers {
            let value = Value::parse(answer.text.as_bytes()).unwrap();
            let found = schema.findings(&value, &mut Budget::new(1_000_000)).unwrap();
            let found: BTreeSet<_> = found.into_iter().map(told).collect();
            assert_eq!(found, answer.errors, "{} of {}", answer.text, case.schema);
            *(if found.is_empty() { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert!(valid > 1_000 && invalid > 1_000, "{valid} valid, {invalid} not");
}
