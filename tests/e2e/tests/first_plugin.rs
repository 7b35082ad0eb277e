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

/// What a walk changes in the source of a new project: what stands there once, and what it becomes.
type Edit<'a> = (&'a str, &'a str);

/// Adds the common cases to the new project, a line to its source that never ends when it meets the text
/// `!trap`, and one that rejects the list `!reject`; then the guide goes on. Every case of the suite and of
/// the template must pass.
fn walk(language: &str, source: &str, edits: [Edit<'_>; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (new, rest) = commands(language);
    shell(folder.path(), &new);
    let project = folder.path().join("hello");
    if language == "rust" {
        // The compiled SDK of other runs may be used again.
        let target = repository().join("target/author");
        std::fs::create_dir_all(&target).expect("a folder");
        std::os::unix::fs::symlink(target, project.join("target")).expect("a link");
    }
    let source = project.join(source);
    let mut text = std::fs::read_to_string(&source).expect("the template's source");
    for (before, after) in edits {
        assert_eq!(text.matches(before).count(), 1, "{before:?} in {}", source.display());
        text = text.replace(before, after);
    }
    std::fs::write(&source, text).expect("a file");
    let cases = repository().join("tests/e2e/conformance/cases.json");
    std::fs::copy(cases, project.join("fixtures/conformance.json")).expect("a copy");
    let printed = shell(folder.path(), &rest);
    for wanted in ["a call that failed leaves nothing behind", " 0 failed", "A ***."] {
        assert!(printed.contains(wanted), "{wanted}:\n{printed}");
    }
}

#[test]
fn a_stranger_writes_a_plugin_in_rust() {
    let reject = "        if settings.words == [\"!reject\"] {\n            \
                  return Err(Error::input(\"words\", \"as configured\"));\n        }\n";
    let words = "        let words = settings.words.iter()";
    let trap =
        "        while text == \"!trap\" {\n            std::hint::spin_loop();\n        }\n";
    let out = "        let mut out = String::with_capacity(text.len());";
    let edits = [(words, &*format!("{reject}{words}")), (out, &*format!("{trap}{out}"))];
    walk("rust", "src/lib.rs", edits);
}

#[test]
fn a_stranger_writes_a_plugin_in_python() {
    let reject = "        if \"!reject\" in config.get(\"words\", []):\n            \
                  raise InputError(\"words\", \"as configured\")\n";
    let words = "        self.words = {";
    let trap = "        while text == \"!trap\":\n            pass\n\n";
    let replace = "        def replace(word):";
    let edits = [(words, &*format!("{reject}{words}")), (replace, &*format!("{trap}{replace}"))];
    walk("python", "src/plugin.py", edits);
}

#[test]
fn a_stranger_writes_a_plugin_in_javascript() {
    if let Ok(why) = std::env::var("AIMASS_WITHOUT_JAVASCRIPT") {
        let all = std::env::var("AIMASS_ALL").is_ok_and(|all| !all.is_empty());
        assert!(!all, "the whole suite needs Node.js and npm: {why}");
        return println!("left out: {why}");
    }
    let reject =
        "    if (words.includes('!reject')) throw new InputError('words', 'as configured');\n";
    let words = "    this.words = new Set(";
    let trap = "    while (text === '!trap');\n";
    let replace = "    return text.replace(";
    let edits = [(words, &*format!("{reject}{words}")), (replace, &*format!("{trap}{replace}"))];
    walk("js", "src/plugin.js", edits);
}

#[test]
fn a_stranger_writes_a_plugin_in_c() {
    let words = "{ words = aimass_json_strings(aimass_config(), AIMASS_TEXT(\"words\")); }";
    let reject = "{\n  words = aimass_json_strings(aimass_config(), AIMASS_TEXT(\"words\"));\n  \
                  if (words.len == 1 && aimass_equal(words.items[0], AIMASS_TEXT(\"!reject\"))) {\n    \
                  aimass_error error;\n    \
                  aimass_fail(&error, AIMASS_INPUT, AIMASS_TEXT(\"words\"), AIMASS_TEXT(\"as configured\"));\n    \
                  aimass_reject(&error);\n  }\n}";
    let trap =
        "  if (aimass_equal(text, AIMASS_TEXT(\"!trap\"))) for (volatile int i = 0;; i++) {}\n";
    let len = "  size_t len = redact_into(NULL, text, mask);";
    walk("c", "src/plugin.c", [(words, reject), (len, &format!("{trap}{len}"))]);
}

#[test]
fn a_stranger_writes_a_plugin_in_zig() {
    let words = "    words = call.configStrings(\"words\");\n";
    let reject = "    if (words.len == 1 and equalIgnoringCase(words[0].slice(), \"!reject\"))\n        \
                  return call.failure.fail(.input, \"words\", \"as configured\");\n";
    let trap =
        "    var spin: u8 = 0;\n    while (text[0] == '!') @as(*volatile u8, &spin).* +%= 1;\n";
    let out = "    const out = aimass.alloc(";
    let edits = [(words, &*format!("{words}{reject}")), (out, &*format!("{trap}{out}"))];
    walk("zig", "src/plugin.zig", edits);
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
