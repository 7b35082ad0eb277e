//! Replaces the words of a list: `text` `[batch]` to `redacted` `[batch]`. The request parameter `mask` says by what.
//!
//! `init` runs once for a configuration; every request then starts from the memory that it left.
//! Handles must not be kept there.

use aimass_sdk::prelude::*;
use serde::Deserialize;

const MASK_CHARACTERS_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    words: Vec<String>,
}

struct Redact {
    /// In lower case.
    words: Vec<String>,
}

impl Processor for Redact {
    fn init(config: Config) -> Result<Self> {
        let settings: Settings = config.parse()?;
        let words = settings.words.iter().map(|word| word.to_lowercase()).collect();
        Ok(Redact { words })
    }

    fn describe(&self) -> Signature {
        Signature::new()
            .input(TensorSpec::new("text", DType::Bytes, [Dim::Batch]))
            .output(TensorSpec::new("redacted", DType::Bytes, [Dim::Batch]))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let mask = check_mask(parameters.text("mask")?.unwrap_or("***"))?;
        let shape = inputs.get("text")?.shape();
        let texts = inputs.texts("text")?;
        let redacted = texts.iter().map(|text| self.redact(text, mask));
        Ok(Outputs::new().with("redacted", Tensor::strings(&shape, redacted)?))
    }
}

aimass_sdk::export_processor!(Redact);

impl Redact {
    fn redact(&self, text: &str, mask: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for part in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
            let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
            if self.words.contains(&word.to_lowercase()) {
                out.push_str(mask);
                out.push_str(&part[word.len()..]);
            } else {
                out.push_str(part);
            }
        }
        out
    }
}

fn check_mask(mask: &str) -> Result<&str> {
    if (1..=MASK_CHARACTERS_MAX).contains(&mask.chars().count()) {
        return Ok(mask);
    }
    let message = format!("mask: expected 1 to {MASK_CHARACTERS_MAX} characters, got {mask:?}");
    Err(Error::input("parameter", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_sdk::testing::Host;

    #[test]
    fn listed_words_disappear() {
        let redact = Redact { words: vec!["secret".to_owned()] };
        assert_eq!(redact.redact("A Secret, no secrets.", "***"), "A ***, no secrets.");
    }

    /// The whole plugin, without WebAssembly: a stub answers in place of the host.
    #[test]
    fn a_request_is_answered_as_configured() -> Result<()> {
        let host = Host::new().config(r#"{ "words": ["Secret"] }"#).enter();
        let plugin = Redact::init(host.config())?;
        let text = Tensor::strings(&[2], ["a secret", ""])?;
        let outputs = plugin.process([("text", text)].into(), &Parameters::default())?;
        let redacted = outputs.get("redacted")?.as_strings()?;
        assert_eq!(redacted.iter().collect::<Vec<_>>(), [b"a ***".as_slice(), b""]);
        Ok(())
    }

    #[test]
    fn a_mask_has_1_to_16_characters() {
        assert!(check_mask("…").is_ok() && check_mask(&"#".repeat(16)).is_ok());
        assert!(check_mask("").is_err() && check_mask(&"#".repeat(17)).is_err());
    }

    #[test]
    fn a_wrong_configuration_is_refused() {
        let host = Host::new().config(r#"{ "word": [] }"#).enter();
        assert!(Redact::init(host.config()).is_err_and(|error| error.code == "config"));
    }
}
