//! Files and functions stay small enough to read.

use std::path::{Path, PathBuf};

use crate::repository;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "host/sandbox/src/host_api/graph.rs",
        "one method an op of the contract, a line or three each",
    ),
    ("kernels/cuda/src/entries.rs", "written by kernels/cuda/build.py, a type a kernel"),
    ("plugins/onnx/src/emit/ops.rs", "one method an op of the contract, a line or three each"),
    ("plugins/onnx/src/proto/parse.rs", "the messages of one file format, read field by field"),
];

#[test]
fn files_are_at_most_600_lines_without_their_tests() {
    let mut faults = Vec::new();
    for path in product_files() {
        let lines = non_test_lines(&repository::read(&path));
        let excused = LONG_FILES.iter().any(|(long, _)| Path::new(long) == path);
        if lines > FILE_LINES_MAX && !excused {
            faults.push(format!("{}: {lines} lines", path.display()));
        }
    }
    repository::assert_none("Split these files, or give a reason in LONG_FILES:", &faults);
}

#[test]
fn functions_are_at_most_70_lines() {
    let mut faults = Vec::new();
    for path in repository::files_of("rs") {
        for (line, length) in long_functions(&repository::read(&path)) {
            faults.push(format!("{}:{line}: {length} lines", path.display()));
        }
    }
    repository::assert_none("Split these functions:", &faults);
}

/// Rust files of the product and its tasks, not those that hold tests alone.
fn product_files() -> Vec<PathBuf> {
    let mut files = repository::files_of("rs");
    files.retain(|path| {
        let in_tests = path.iter().any(|part| part == "tests");
        !in_tests || path.starts_with("tests/xtask")
    });
    files
}

/// Lines before the test module at the end of a file.
fn non_test_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_module = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    lines.windows(2).position(is_test_module).unwrap_or(lines.len())
}

/// First line number and number of lines of code of each function above the limit, in a file
/// formatted by rustfmt: a body ends with a brace as far in as its `fn`.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let Some(open) = lines[start..].iter().position(|line| line.ends_with(['{', ';', '}']))
        else {
            continue;
        };
        if !lines[start + open].ends_with('{') {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let body = lines[start + open + 1..].iter().take_while(|line| ***line != end);
        let length = body.filter(|line| is_code(line)).count();
        if length > FUNCTION_LINES_MAX {
            found.push((start + 1, length));
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    const BEFORE: &[&str] = &["pub", "async", "const", "unsafe", "extern", "\"C\"", "default"];
    let mut words = line
        .split_whitespace()
        .skip_while(|word| BEFORE.contains(word) || word.starts_with("pub(") || *word == "crate)");
    words.next() == Some("fn")
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[test]
fn lines_of_the_test_module_do_not_count() {
    let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
    assert_eq!(non_test_lines(text), 2);
    assert_eq!(non_test_lines("#[cfg(test)]\nfn only_for_tests() {}\nfn c() {}\n"), 3);
}

#[test]
fn only_code_inside_the_body_counts() {
    let body = "        let x = 1;\n".repeat(71);
    let long = format!(
        "impl A {{\n    pub(crate) async fn a(\n        b: u8,\n    ) {{\n{body}    }}\n}}\n"
    );
    assert_eq!(long_functions(&long), [(2, 71)]);
    let comments = "    // why\n\n".repeat(200);
    assert_eq!(long_functions(&format!("fn a() {{\n{comments}}}\n")), []);
    assert_eq!(long_functions(&format!("trait T {{\n    fn a();\n}}\n{body}")), []);
}
