//! The stranger's walk of docs/guides/first-plugin.md, word for word, for every language; and one suite of
//! cases that the plugin of every language passes (`tests/e2e/conformance`).

use std::path::Path;
use std::process::Command;

use aimass_e2e::{prepared, repository};

/// Blocks of commands in the guide: what follows "```sh" in the line, and the commands.
fn blocks() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(repository().join("docs/guides/first-plugin.md"));
    let text = text.expect("the guide");
    let parts = text.split("```sh").skip(1).map(|part| {
        let (language, rest) = part.split_once('\n').expect("a line");
        let (commands, _) = rest.split_once("\n```").expect("an end");
        (language.trim().to_owned(), commands.to_owned())
    });
    parts.collect()
}

/// The guide's commands for one language: making the project, and all that follows.
fn commands(language: &str) -> (String, String) {
    let blocks = blocks();
    let own = blocks.iter().find(|(name, _)| name == language).expect("a block of the language");
    let rest = blocks.iter().filter(|(name, _)| name.is_empty()).map(|(_, text)| text.as_str());
    (own.1.clone(), rest.collect::<Vec<_>>().join("\n"))
}

/// Runs commands in one shell; returns what they printed.
fn shell(folder: &Path, script: &str) -> String {
    let bin = folder.join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).expect("a folder");
        std::os::unix::fs::symlink(prepared("AIMASS_BIN"), bin.join("aimass")).expect("a link");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", &format!("set -eu\n{script}")])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("AIMASS_DATA", folder.join("data"))
        .env_remove("AIMASS_PASSPHRASE")
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{text}\n{error}");
    text
}

/// Adds the common cases to the new project, and a line to its source that fails when it meets the text
/// `!trap`; then the guide goes on. Every case of the suite and of the template must pass.
fn walk(language: &str, source: &str, (before, trap): (&str, &str)) {
    let folder = tempfile::tempdir().expect("a folder");
    let (new, rest) = commands(language);
    shell(folder.path(), &new);
    let project = folder.path().join("hello");
    let source = project.join(source);
    let text = std::fs::read_to_string(&source).expect("the template's source");
    assert_eq!(text.matches(before).count(), 1, "{before:?} in {}", source.display());
    std::fs::write(&source, text.replace(before, &format!("{trap}{before}"))).expect("a file");
    let cases = repository().join("tests/e2e/conformance/cases.json");
    std::fs::copy(cases, project.join("fixtures/conformance.json")).expect("a copy");
    let printed = shell(folder.path(), &rest);
    for wanted in ["a call that failed leaves nothing behind", " 0 failed", "A ***."] {
        assert!(printed.contains(wanted), "{wanted}:\n{printed}");
    }
}

#[test]
fn a_stranger_writes_a_plugin_in_python() {
    let trap = "        while text == \"!trap\":\n            pass\n\n";
    walk("python", "src/plugin.py", ("        def replace(word):", trap));
}

#[test]
fn a_stranger_writes_a_plugin_in_javascript() {
    if let Ok(why) = std::env::var("AIMASS_WITHOUT_JAVASCRIPT") {
        let all = std::env::var("AIMASS_ALL").is_ok_and(|all| !all.is_empty());
        assert!(!all, "the whole suite needs Node.js and npm: {why}");
        return println!("left out: {why}");
    }
    let trap = "    while (text === '!trap');\n";
    walk("js", "src/plugin.js", ("    return text.replace(", trap));
}

#[test]
fn a_stranger_writes_a_plugin_in_c() {
    let trap =
        "  if (aimass_equal(text, AIMASS_TEXT(\"!trap\"))) for (volatile int i = 0;; i++) {}\n";
    walk("c", "src/plugin.c", ("  size_t len = redact_into(NULL, text, mask);", trap));
}

#[test]
fn a_stranger_writes_a_plugin_in_zig() {
    let trap =
        "    var spin: u8 = 0;\n    while (text[0] == '!') @as(*volatile u8, &spin).* +%= 1;\n";
    walk("zig", "src/plugin.zig", ("    const out = aimass.alloc(", trap));
}

#[test]
fn every_template_has_its_line_in_the_guide() {
    let named: Vec<String> = blocks().into_iter().map(|(language, _)| language).collect();
    let templates = std::fs::read_dir(repository().join("sdk/templates")).expect("templates");
    for template in templates.flatten() {
        let name = template.file_name().to_string_lossy().into_owned();
        let (_, language) = name.rsplit_once('-').expect("WORLD-LANGUAGE");
        assert!(named.iter().any(|it| it == language), "no commands for {language}");
    }
}
