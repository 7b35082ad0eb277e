//! Which version of a model is meant.

use std::fmt;

use crate::error::RegistryError;
use crate::names::{check_label, check_model_name};

/// Which version of a model a request means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The label `stable` where the model has it, else the newest ready version.
    #[default]
    Default,
    /// The newest ready version.
    Newest,
    /// The version that a label points to.
    Label(String),
    /// A version by number, in any state.
    Version(u64),
}

impl Selector {
    /// Reads `newest`, a version number or a label.
    ///
    /// # Errors
    /// [`RegistryError::InvalidName`] if it is none of them.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        if text == "newest" {
            return Ok(Self::Newest);
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
            if let (true, Ok(version)) = (plain, text.parse()) {
                return Ok(Self::Version(version));
            }
        }
        check_label(text)?;
        Ok(Self::Label(text.to_owned()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Newest => f.write_str("newest"),
            Self::Label(label) => f.write_str(label),
            Self::Version(version) => write!(f, "{version}"),
        }
    }
}

/// Reads `name`, `name@label`, `name@version` or `name@newest`.
///
/// # Errors
/// [`RegistryError::InvalidName`] if the name or what follows `@` breaks its rule.
pub fn parse_reference(text: &str) -> Result<(&str, Selector), RegistryError> {
    let (name, selector) = match text.split_once('@') {
        Some((name, selector)) => (name, Selector::parse(selector)?),
        None => (text, Selector::Default),
    };
    check_model_name(name)?;
    Ok((name, selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_label_or_a_version() {
        let cases = [
            ("minilm", Selector::Default),
            ("minilm@newest", Selector::Newest),
            ("minilm@stable", Selector::Label("stable".into())),
            ("minilm@12", Selector::Version(12)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_reference(text).unwrap(), ("minilm", expected), "{text}");
        }
    }

    #[test]
    fn a_bad_reference_is_refused() {
        for text in
            ["", "@1", "a@", "a@01", "a@0", "a@1x", "a@b@c", "a@99999999999999999999", "A@1"]
        {
            assert!(parse_reference(text).is_err(), "`{text}` should be refused");
        }
    }
}
