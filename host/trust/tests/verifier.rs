//! The verifier stays small enough to be read whole: the modules that `docs/security/trust-format.md` names.

use std::path::Path;

/// Lines of code that decide what may run, without tests, comments and empty lines.
const LINES_MAX: usize = 1_500;

/// The modules in the table below the heading.
fn modules(page: &str) -> Vec<&str> {
    let (_, section) = page.split_once("\n## The verifier\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(module, _)| module).collect()
}

fn code_lines(text: &str) -> usize {
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default().lines().map(str::trim);
    code.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn the_verifier_is_the_modules_that_its_page_names_and_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/security/trust-format.md"));
    let page = page.expect("the page");
    let modules = modules(&page);
    for decides in ["host/trust/src/release.rs", "host/trust/src/verify.rs"] {
        assert!(modules.contains(&decides), "{modules:?}");
    }
    let count = |module: &&str| {
        let path = root.join(module);
        code_lines(
            &std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{module}: {error}")),
        )
    };
    let lines: usize = modules.iter().map(count).sum();
    assert!(lines <= LINES_MAX, "{lines} lines in {modules:?}, expected at most {LINES_MAX}");
    assert!(lines > LINES_MAX / 2, "{lines} lines: the count has gone wrong");
}

#[test]
fn the_modules_that_are_mutated_are_those_of_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path| std::fs::read_to_string(root.join(path)).unwrap_or_else(|_| panic!("{path}"));
    let (page, text) = (read("docs/security/trust-format.md"), read(".cargo/mutants.toml"));
    let config: toml::Table = text.parse().expect("TOML");
    let globs = config["examine_globs"].as_array().expect("globs");
    let globs: Vec<&str> = globs.iter().filter_map(|glob| glob.as_str()).collect();
    assert_eq!(globs, modules(&page));
}
