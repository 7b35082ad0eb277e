//! Names of packages, versions, worlds and files: what a stranger's text must look like before it is used.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::refusal::excerpt;

/// A text that breaks the rule of its kind of name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: expected {expected}, got `{got}`")]
pub struct NameError {
    /// What the text should have been, such as `package name`.
    pub kind: &'static str,
    /// The rule.
    pub expected: &'static str,
    /// The text, escaped and cut short.
    pub got: String,
}

/// `publisher/name` of a plugin or a model release: `[a-z0-9-]{2,40}/[a-z0-9-]{2,60}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

/// A semantic version without build metadata, such as `1.4.2` or `2.0.0-rc.1`, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// The world that a component implements, such as `aimass:plugin/processor@0.1.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct World(String);

const PACKAGE_PREFIX: &str = "aimass:plugin/";

impl PackageName {
    /// The part before the slash.
    pub fn publisher(&self) -> &str {
        self.0.split_once('/').map_or("", |(publisher, _)| publisher)
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }

    /// The name `publisher/name` of two parts.
    ///
    /// # Errors
    /// [`NameError`] if a part breaks its rule.
    pub fn of(publisher: &str, name: &str) -> Result<Self, NameError> {
        format!("{publisher}/{name}").parse()
    }
}

impl Version {
    /// Major, minor and patch numbers.
    pub fn numbers(&self) -> (u64, u64, u64) {
        version_numbers(&self.0).unwrap_or_default()
    }
}

impl World {
    /// The kind of world without package and version, such as `processor`.
    pub fn kind(&self) -> &str {
        self.parts().0
    }

    /// The version of the contract, such as `0.1.0`.
    pub fn version(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0
            .strip_prefix(PACKAGE_PREFIX)
            .and_then(|rest| rest.split_once('@'))
            .unwrap_or_default()
    }
}

impl FromStr for PackageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let holds = text
            .split_once('/')
            .is_some_and(|(publisher, name)| is_publisher(publisher) && is_plain(name, 2, 60));
        checked(holds, "package name", "`publisher/name` as [a-z0-9-]{2,40}/[a-z0-9-]{2,60}", text)
            .map(PackageName)
    }
}

impl FromStr for Version {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let holds = version_numbers(text).is_some();
        checked(holds, "version", "a semantic version such as 1.4.2", text).map(Version)
    }
}

impl FromStr for World {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let holds =
            text.strip_prefix(PACKAGE_PREFIX).and_then(|rest| rest.split_once('@')).is_some_and(
                |(kind, version)| is_plain(kind, 1, 40) && version_numbers(version).is_some(),
            );
        checked(holds, "world", "a world such as aimass:plugin/processor@0.1.0", text).map(World)
    }
}

macro_rules! text_type {
    ($($name:ident),*) => {$(
        impl $name {
            /// The whole text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    )*};
}

text_type!(PackageName, Version, World);

/// Whether `text` is a publisher's name: `[a-z0-9-]{2,40}`.
pub(crate) fn is_publisher(text: &str) -> bool {
    is_plain(text, 2, 40)
}

/// Whether `text` is a flat file name: `[A-Za-z0-9_][A-Za-z0-9._-]{0,254}`, so neither path nor `..`.
pub(crate) fn is_file_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let starts =
        text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    starts && text.len() <= 255 && text.bytes().all(allowed)
}

/// Whether `text` is exact or has its one `*` at the very end.
pub(crate) fn is_pattern(text: &str) -> bool {
    !text.strip_suffix('*').unwrap_or(text).contains('*')
}

/// Whether `text` matches `pattern`, in which one `*` at the very end stands for any rest.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

fn is_plain(text: &str, shortest: usize, longest: usize) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (shortest..=longest).contains(&text.len()) && text.bytes().all(allowed)
}

fn checked(
    holds: bool,
    kind: &'static str,
    expected: &'static str,
    text: &str,
) -> Result<String, NameError> {
    match holds {
        true => Ok(text.to_owned()),
        false => Err(NameError { kind, expected, got: excerpt(text) }),
    }
}

fn version_numbers(text: &str) -> Option<(u64, u64, u64)> {
    let (numbers, before) = match text.split_once('-') {
        Some((numbers, before)) => (numbers, Some(before)),
        None => (text, None),
    };
    let identifier = |part: &str| {
        let padded =
            part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
        !part.is_empty() && !padded && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() > 64 || before.is_some_and(|before| !before.split('.').all(identifier)) {
        return None;
    }
    let mut parts = numbers.split('.').map(|part| {
        let canonical = part == "0" || !part.starts_with('0');
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (canonical && digits).then(|| part.parse::<u64>().ok()).flatten()
    });
    let found = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_are_two_plain_parts() {
        let name: PackageName = "acme/resize-norm".parse().expect("a good name");
        assert_eq!((name.publisher(), name.name()), ("acme", "resize-norm"));
        assert_eq!(PackageName::of("acme", "resize-norm"), Ok(name));
        for wrong in [
            "",
            "/",
            "acme",
            "acme/",
            "/x",
            "a/bb",
            "acme/b",
            "Acme/bb",
            "acme/b b",
            "acme/bb/cc",
            "acme/..",
            "../acme",
            "acme/bb\n",
            "аcme/bb",
            "acme/b_b",
            "acme/b.b",
        ] {
            assert!(wrong.parse::<PackageName>().is_err(), "{wrong}");
        }
        assert!(format!("{}/{}", "a".repeat(40), "b".repeat(60)).parse::<PackageName>().is_ok());
        assert!(format!("{}/{}", "a".repeat(41), "b".repeat(60)).parse::<PackageName>().is_err());
        assert!(format!("{}/{}", "a".repeat(40), "b".repeat(61)).parse::<PackageName>().is_err());
    }

    #[test]
    fn versions_are_semantic_and_canonical() {
        assert_eq!("1.4.2".parse::<Version>().expect("good").numbers(), (1, 4, 2));
        assert_eq!("0.0.10-rc.1".parse::<Version>().expect("good").numbers(), (0, 0, 10));
        for wrong in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.02.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3+meta",
            "v1.2.3",
            "1.2.x",
            "+1.2.3",
            "1.2.18446744073709551616",
            "1..3",
            "1.2.3-é",
        ] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn worlds_are_ours_with_a_version() {
        let world: World = "aimass:plugin/processor@0.1.0".parse().expect("good");
        assert_eq!((world.kind(), world.version()), ("processor", "0.1.0"));
        for wrong in [
            "processor",
            "aimass:plugin/processor",
            "wasi:cli/command@0.2.0",
            "aimass:plugin/@0.1.0",
        ] {
            assert!(wrong.parse::<World>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn file_names_are_flat() {
        for good in ["model.safetensors", "_x", "1-a.B"] {
            assert!(is_file_name(good), "{good}");
        }
        for wrong in ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0", "é", "-a", &"a".repeat(256)]
        {
            assert!(!is_file_name(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_is_exact_or_ends_in_one_star() {
        assert!(
            matches("acme/*", "acme/x") && matches("acme/re*", "acme/resize") && matches("a", "a")
        );
        assert!(
            !matches("acme/*", "acmes/x") && !matches("acme/x", "acme/xy") && !matches("", "a")
        );
        assert!(is_pattern("acme/*") && is_pattern("acme/x") && is_pattern("*"));
        assert!(!is_pattern("acme/**") && !is_pattern("a*e/x") && !is_pattern("*/x*"));
    }
}
