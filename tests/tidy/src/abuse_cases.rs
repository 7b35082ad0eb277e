//! The table of abuse cases in `docs/security/isolation.md` names tests that exist, for every case.
//!
//! A row is `| number | case | tests in backquotes | bound | tiers |`. A test whose row says `both` stands in
//! a suite that `host/sandbox/tests/worker_tier.rs` or `worker_storm.rs` runs once more in worker processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::repository;

const PAGE: &str = "docs/security/isolation.md";
const CASES: std::ops::RangeInclusive<u32> = 1..=28;
const SUITES: &str = "host/sandbox/tests";
/// Programs that run suites of the sandbox in worker processes.
const WORKER_PROGRAMS: [&str; 2] = ["worker_tier.rs", "worker_storm.rs"];
const TIERS: [&str; 4] = ["both", "in-process", "worker", "before"];

struct Row {
    number: u32,
    tests: Vec<String>,
    bound: String,
    tiers: String,
}

#[test]
fn every_abuse_case_has_tests_that_exist() {
    let rows = rows(&repository::read(Path::new(PAGE)));
    let known = test_functions();
    let twice = suites_of_workers();
    let mut faults = Vec::new();
    for case in CASES {
        match rows.iter().filter(|row| row.number == case).count() {
            1 => {}
            count => faults.push(format!("case {case} has {count} rows, expected 1")),
        }
    }
    for row in &rows {
        faults.extend(row_faults(row, &known, &twice));
    }
    repository::assert_none(&format!("The table of {PAGE} is not true:"), &faults);
}

fn row_faults(
    row: &Row,
    known: &BTreeMap<String, Vec<String>>,
    twice: &BTreeSet<String>,
) -> Vec<String> {
    let case = row.number;
    let mut faults = Vec::new();
    if !CASES.contains(&case) || row.tests.is_empty() {
        faults.push(format!("case {case}: expected a number of {CASES:?} and at least one test"));
    }
    if !row.bound.contains(|it: char| it.is_ascii_digit() || it == '`') {
        faults.push(format!("case {case}: expected a number or a cause as its bound"));
    }
    if !TIERS.contains(&row.tiers.as_str()) {
        faults.push(format!("case {case}: expected one of {TIERS:?}, got {}", row.tiers));
    }
    for test in &row.tests {
        let Some(files) = known.get(test) else {
            faults.push(format!("case {case}: there is no test `{test}`"));
            continue;
        };
        if row.tiers == "both" && !files.iter().any(|file| is_run_twice(file, twice)) {
            faults.push(format!("case {case}: `{test}` does not run in workers: {files:?}"));
        }
    }
    faults
}

/// Whether a test of this file runs in both tiers: a suite, or a file in the folder of one.
fn is_run_twice(file: &str, suites: &BTreeSet<String>) -> bool {
    let inside = file.strip_prefix(SUITES).map(|path| path.trim_start_matches('/'));
    let suite = inside.and_then(|path| path.split(['/', '.']).next());
    suite.is_some_and(|suite| suites.contains(suite))
}

/// The suites that run in worker processes as well.
fn suites_of_workers() -> BTreeSet<String> {
    let text = WORKER_PROGRAMS.map(|name| repository::read(&Path::new(SUITES).join(name))).concat();
    let paths = text.lines().filter_map(|line| line.strip_prefix("#[path = \""));
    paths.filter_map(|path| Some(path.split_once(".rs\"")?.0.to_owned())).collect()
}

/// Every test function, with the files that it stands in.
fn test_functions() -> BTreeMap<String, Vec<String>> {
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in repository::files_of("rs") {
        let text = repository::read(&path);
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(name) = function(line).filter(|_| is_test) {
                known.entry(name.to_owned()).or_default().push(path.display().to_string());
                is_test = false;
            }
        }
    }
    known
}

fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
    rest.split_once('(').map(|(name, _)| name)
}

fn rows(page: &str) -> Vec<Row> {
    page.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [number, _, tests, bound, tiers, ""] = cells[..] else { return None };
    let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let (bound, tiers) = (bound.to_owned(), tiers.to_owned());
    Some(Row { number: number.parse().ok()?, tests, bound, tiers })
}

#[test]
fn rows_and_tests_are_read_and_faults_are_told() {
    let page = "| case | what |\n|---|---|\n| 7 | spins | `a_test`, `b_test` | 1 handle | both |\n";
    let rows = rows(page);
    assert_eq!((rows.len(), rows[0].number), (1, 7));
    assert_eq!(rows[0].tests, ["a_test", "b_test"]);
    let known = BTreeMap::from([("a_test".to_owned(), vec![format!("{SUITES}/calls.rs")])]);
    let twice = BTreeSet::from(["abuse".to_owned()]);
    let faults = row_faults(&rows[0], &known, &twice);
    assert_eq!(faults.len(), 2, "{faults:?}");
    let twice = BTreeSet::from(["calls".to_owned()]);
    assert_eq!(row_faults(&rows[0], &known, &twice).len(), 1);
    assert!(is_run_twice(
        "host/sandbox/tests/hostile/abi.rs",
        &BTreeSet::from(["hostile".to_owned()])
    ));
    assert_eq!(function("async fn it_is(x: u8) {"), Some("it_is"));
}
