//! The plugin's configuration.

use serde::de::DeserializeOwned;

use crate::bindings::aimass::plugin::config;
use crate::error::{Error, Result};

/// The configuration of this plugin in this model: a JSON object, `{}` if none is set.
///
/// The host has checked it against the schema in the manifest. Only a plugin that looks at it needs
/// the grant `config`.
#[derive(Debug)]
pub struct Config(());

impl Config {
    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        config::get()
    }

    /// The configuration as a value of the plugin's own type.
    ///
    /// # Errors
    /// `input/config`, which says what was expected and what came.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        parse(&self.json())
    }

    /// The value that the macros hand to `init`.
    #[doc(hidden)]
    #[must_use]
    pub fn of_this_plugin() -> Self {
        Config(())
    }

    /// Tells the host that the plugin cannot start.
    #[doc(hidden)]
    pub fn reject(reason: &Error) {
        config::reject(reason);
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|error| Error::input("config", format!("configuration: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        max_tokens: u32,
    }

    #[test]
    fn a_wrong_configuration_says_what_was_expected() {
        assert_eq!(parse::<Settings>(br#"{"max_tokens": 5}"#).map(|s| s.max_tokens), Ok(5));
        let error = parse::<Settings>(br#"{"max_tokens": "x"}"#).unwrap_err();
        assert_eq!(error.code, "config");
        assert!(error.message.contains("invalid type: string \"x\", expected u32"), "{error}");
        let error = parse::<Settings>(br#"{"max_token": 5}"#).unwrap_err();
        assert!(error.message.contains("expected `max_tokens`"), "{error}");
    }
}
