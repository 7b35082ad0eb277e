//! Which names the registry takes for models, labels, plugins, steps and files.
//!
//! Every accepted name is plain ASCII and safe as a path below the registry's folder.

use crate::error::RegistryError;

/// Label that a request without a version asks for, where it exists.
pub const DEFAULT_LABEL: &str = "stable";

/// Longest file name in a model package, folders included, in bytes.
pub const FILE_NAME_BYTES_MAX: usize = 512;

const FILE_PART_BYTES_MAX: usize = 200;
const FILE_DEPTH_MAX: usize = 8;
const SERVING_RULE: &str = "`[a-z0-9][a-z0-9._-]{0,62}`";
const LABEL_RULE: &str = "`[a-z][a-z0-9._-]{0,62}`, other than `newest`";
const PLUGIN_RULE: &str = "`publisher/name` as `[a-z0-9-]{2,40}/[a-z0-9-]{2,60}`";
const FILE_RULE: &str = "a relative path of at most 512 bytes and 8 parts with `/` between them, each 1 to 200 printable ASCII characters without space or backslash, and none `.` or `..`";

/// Checks a serving name: `[a-z0-9][a-z0-9._-]{0,62}`.
///
/// # Errors
/// [`RegistryError::InvalidName`].
pub fn check_model_name(name: &str) -> Result<(), RegistryError> {
    require("model name", name, SERVING_RULE, is_serving_name(name))
}

/// Checks a label: as a serving name, but it starts with a letter and is not `newest`.
///
/// # Errors
/// [`RegistryError::InvalidName`].
pub fn check_label(label: &str) -> Result<(), RegistryError> {
    let starts_with_letter = label.starts_with(|c: char| c.is_ascii_lowercase());
    let good = is_serving_name(label) && starts_with_letter && label != "newest";
    require("label", label, LABEL_RULE, good)
}

/// Checks a plugin's name: `publisher/name`, `[a-z0-9-]{2,40}/[a-z0-9-]{2,60}`.
///
/// # Errors
/// [`RegistryError::InvalidName`].
pub fn check_plugin_name(name: &str) -> Result<(), RegistryError> {
    let part = |text: &str, bytes_max: usize| {
        (2..=bytes_max).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let good =
        name.split_once('/').is_some_and(|(publisher, own)| part(publisher, 40) && part(own, 60));
    require("plugin name", name, PLUGIN_RULE, good)
}

/// Checks the name of a file in a model package: a safe relative path, such as
/// `tokenizer.json` or `fixtures/0.json`.
///
/// # Errors
/// [`RegistryError::InvalidName`].
pub fn check_file_name(name: &str) -> Result<(), RegistryError> {
    let part = |text: &str| {
        (1..=FILE_PART_BYTES_MAX).contains(&text.len())
            && text != "."
            && text != ".."
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    let good = name.len() <= FILE_NAME_BYTES_MAX
        && name.split('/').count() <= FILE_DEPTH_MAX
        && name.split('/').all(part);
    require("file name", name, FILE_RULE, good)
}

/// Checks the id of a pipeline step; the rule of serving names.
pub(crate) fn check_step(step: &str) -> Result<(), RegistryError> {
    require("step id", step, SERVING_RULE, is_serving_name(step))
}

fn is_serving_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn require(
    what: &'static str,
    name: &str,
    rule: &'static str,
    good: bool,
) -> Result<(), RegistryError> {
    if good {
        return Ok(());
    }
    let got = name.chars().take(80).flat_map(char::escape_default).collect();
    Err(RegistryError::InvalidName { what, got, rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Result<(), RegistryError>, good: &[&str], bad: &[&str]) {
        for name in good {
            assert!(rule(name).is_ok(), "`{name}` should be accepted");
        }
        for name in bad {
            assert!(rule(name).is_err(), "`{name}` should be refused");
        }
    }

    #[test]
    fn only_serving_names_are_model_names() {
        let long = "a".repeat(64);
        check(
            check_model_name,
            &["a", "0", "all-minilm-l6-v2", "a.b_c-d", &long[1..]],
            &["", "-a", ".a", "..", "A", "a/b", "a b", "a\0", "é", "a@b", &long],
        );
    }

    #[test]
    fn a_label_starts_with_a_letter() {
        check(check_label, &["stable", "v1", "a"], &["1", "1a", "newest", "", "-", "S", "a@"]);
    }

    #[test]
    fn a_plugin_name_has_a_publisher() {
        check(
            check_plugin_name,
            &["acme/x1", "aimass/pool-normalize"],
            &["acme", "a/xx", "acme/x", "acme/xx/yy", "Acme/xx", "acme/../xx", "/xx", "acme/x.y"],
        );
    }

    #[test]
    fn a_file_name_never_leaves_its_package() {
        let deep = ["a"; 9].join("/");
        let long = "a".repeat(201);
        check(
            check_file_name,
            &["tokenizer.json", "1_Pooling/config.json", "a/b/c", "..a", ".hidden", "a+b@c=d"],
            &[
                "", "/a", "a/", "a//b", "..", "../a", "a/..", "a/../b", ".", "./a", "a\0b", "a\\b",
                "a b", "é", "a\n", &deep, &long,
            ],
        );
    }

    #[test]
    fn a_refused_name_is_shown_escaped_and_short() {
        let text = check_model_name(&"\u{1b}".repeat(500)).unwrap_err().to_string();
        assert!(text.contains("\\u{1b}") && text.len() < 700, "{text}");
    }
}
