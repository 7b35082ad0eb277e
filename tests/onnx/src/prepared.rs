//! Where `cargo xtask test` put what tests need.

use std::path::{Path, PathBuf};

/// A path in an environment variable.
///
/// # Panics
/// If the test was not started by `cargo xtask test`.
pub fn prepared(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: start this test with `cargo xtask test`"),
    }
}

/// The page of operators, where it is written; without it nothing is promised, and its tests pass.
pub fn operators_page_text() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let page = std::fs::read_to_string(root.join("docs/reference/onnx-operators.md")).ok();
    if page.is_none() {
        println!("the page of operators is not written yet; nothing is promised");
    }
    page
}
