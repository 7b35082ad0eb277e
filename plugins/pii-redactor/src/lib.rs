//! Finds and redacts personal data of fixed forms in texts.
//!
//! | tensor     | shape               | dtype |                                                 |
//! |------------|---------------------|-------|-------------------------------------------------|
//! | `text`     | `[batch]`           | bytes | UTF-8, at most 8 MiB together                   |
//! | `redacted` | `[batch]`           | bytes | the texts without what was found                |
//! | `kind`     | `[ragged(offsets)]` | bytes | `email`, `card`, `iban`, `ip` or `phone`        |
//! | `start`    | `[ragged(offsets)]` | u32   | where it starts in its text, in bytes           |
//! | `end`      | `[ragged(offsets)]` | u32   | where it ends                                   |
//! | `offsets`  | `[batch + 1]`       | u32   | where each text's findings start                |
//!
//! Only forms are looked at, and where a form has a checksum it must hold: cards (Luhn, ISO/IEC 7812-1)
//! and IBANs (mod 97, ISO 13616). Names, addresses and numbers spelled in words are not found, and no
//! list of forms is complete: this lowers risk, it proves nothing.

mod find;
mod numbers;

use aimass_sdk::prelude::*;
use serde::Deserialize;

use find::{Finding, Kind, Kinds};

/// Bytes of all texts of a call at most.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// What stands for a finding in the redacted text.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Replace {
    #[default]
    Kind,
    Mask,
    Remove,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kinds: Option<Vec<Kind>>,
    #[serde(default)]
    replace: Replace,
}

/// The plugin, as configured.
#[derive(Debug)]
pub struct PiiRedactor {
    kinds: Kinds,
    replace: Replace,
}

impl Processor for PiiRedactor {
    fn init(config: Config) -> Result<Self> {
        let settings: Settings = config.parse()?;
        let kinds = settings.kinds.as_deref().map_or(Kinds::ALL, Kinds::of);
        Ok(PiiRedactor { kinds, replace: settings.replace })
    }

    fn describe(&self) -> Signature {
        let found = |name, dtype| TensorSpec::new(name, dtype, [Dim::ragged("offsets")]);
        Signature::new()
            .input(TensorSpec::new("text", DType::Bytes, [Dim::Batch]))
            .output(TensorSpec::new("redacted", DType::Bytes, [Dim::Batch]))
            .output(found("kind", DType::Bytes))
            .output(found("start", DType::U32))
            .output(found("end", DType::U32))
            .output(TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]))
    }

    fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        let text = inputs.get("text")?;
        let [batch] = text.extents()?;
        let strings = text.as_strings()?;
        let texts = strings.texts("text").collect::<Result<Vec<_>>>()?;
        check_size(&texts)?;
        let mut findings: Vec<Finding> = Vec::new();
        let mut offsets = vec![0];
        let mut redacted = Vec::with_capacity(texts.len());
        for text in texts {
            let found = find::findings(text, self.kinds);
            redacted.push(self.redact(text, &found));
            findings.extend(found);
            offsets.push(findings.len() as u32);
        }
        let count = [findings.len() as u64];
        let column = |of: fn(&Finding) -> usize| {
            let places: Vec<_> = findings.iter().map(|found| of(found) as u32).collect();
            Tensor::from_slice(&count, &places)
        };
        let kinds = findings.iter().map(|found| found.kind.name());
        Ok(Outputs::from([
            ("redacted", Tensor::strings(&[batch], redacted)?),
            ("kind", Tensor::strings(&count, kinds)?),
            ("start", column(|found| found.start)?),
            ("end", column(|found| found.end)?),
            ("offsets", Tensor::from_slice(&[batch + 1], &offsets)?),
        ]))
    }
}

aimass_sdk::export_processor!(PiiRedactor);

impl PiiRedactor {
    fn redact(&self, text: &str, findings: &[Finding]) -> String {
        let mut redacted = String::with_capacity(text.len());
        let mut done = 0;
        for found in findings {
            redacted.push_str(&text[done..found.start]);
            match self.replace {
                Replace::Kind => {
                    redacted.push('[');
                    redacted.push_str(&found.kind.name().to_uppercase());
                    redacted.push(']');
                }
                Replace::Mask => {
                    let count = text[found.start..found.end].chars().count();
                    redacted.extend(core::iter::repeat_n('*', count));
                }
                Replace::Remove => {}
            }
            done = found.end;
        }
        redacted.push_str(&text[done..]);
        redacted
    }
}

fn check_size(texts: &[&str]) -> Result<()> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if bytes <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("expected at most {TEXT_BYTES_MAX} bytes of text a call, got {bytes}");
    Err(Error::input("text-bytes", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_replaced_as_configured() {
        let text = "Écrire à a@b.fr!";
        let check = |settings: &str, expected: &str| {
            let settings: Settings = serde_json::from_str(settings).unwrap();
            let plugin = PiiRedactor { kinds: Kinds::ALL, replace: settings.replace };
            assert_eq!(plugin.redact(text, &find::findings(text, plugin.kinds)), expected);
        };
        check("{}", "Écrire à [EMAIL]!");
        check(r#"{"replace": "mask"}"#, "Écrire à ******!");
        check(r#"{"replace": "remove"}"#, "Écrire à !");
        assert!(serde_json::from_str::<Settings>(r#"{"kinds": ["name"]}"#).is_err());
    }

    #[test]
    fn texts_have_at_most_8_mib_together() {
        let text = "a".repeat(TEXT_BYTES_MAX);
        assert_eq!(check_size(&[&text, ""]), Ok(()));
        assert_eq!(check_size(&[&text, "b"]).unwrap_err().code, "text-bytes");
    }
}
