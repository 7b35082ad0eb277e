//! The languages that a plugin can be written in.

/// What a plugin is written in; `language` of its plugin.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Cargo project with the crate `aimass-sdk`.
    Rust,
    /// `src/plugin.py`; an interpreter travels in the component.
    Python,
    /// `src/plugin.js` or `src/plugin.ts`; an engine travels in the component.
    Js,
    /// `src/plugin.c`.
    C,
    /// `src/plugin.zig`.
    Zig,
}

/// A language that no SDK is for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("language is {got:?}; expected one of rust, python, js, c, zig")]
pub struct UnknownLanguage {
    /// What was asked for.
    pub got: String,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 5] =
        [Language::Rust, Language::Python, Language::Js, Language::C, Language::Zig];

    /// Its name in plugin.toml and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Python => "python",
            Language::Js => "js",
            Language::C => "c",
            Language::Zig => "zig",
        }
    }
}

impl std::str::FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(name: &str) -> Result<Language, UnknownLanguage> {
        let found = Language::ALL.into_iter().find(|language| language.as_str() == name);
        found.ok_or_else(|| UnknownLanguage { got: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_found_by_its_name_and_no_other() {
        for language in Language::ALL {
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        let error = "cobol".parse::<Language>().unwrap_err().to_string();
        assert!(
            error.contains("\"cobol\"") && error.contains("rust, python, js, c, zig"),
            "{error}"
        );
    }
}
