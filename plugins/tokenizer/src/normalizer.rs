//! What is done to a text before it is cut: the file's `normalizer`.

use std::borrow::Cow;

use aimass_sdk::prelude::*;
use serde::Deserialize;
use unicode_normalization_alignments::UnicodeNormalization;

use crate::byte_level;
use crate::characters::{Kind, Kinds};
use crate::charsmap::Charsmap;
use crate::pattern::{Pattern, PatternConfig};

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum NormalizerConfig {
    Sequence {
        normalizers: Vec<NormalizerConfig>,
    },
    BertNormalizer(Bert),
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    Lowercase,
    Strip {
        strip_left: bool,
        strip_right: bool,
    },
    StripAccents,
    Prepend {
        prepend: String,
    },
    Replace {
        pattern: PatternConfig,
        content: String,
    },
    Precompiled {
        precompiled_charsmap: String,
    },
    ByteLevel,
}

/// BERT's rules, in the order of the fields.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Bert {
    #[serde(default = "yes")]
    clean_text: bool,
    #[serde(default = "yes")]
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    lowercase: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug)]
enum Form {
    C,
    D,
    Kc,
    Kd,
}

#[derive(Debug)]
enum Step {
    Bert(Bert),
    Form(Form),
    Lowercase,
    Strip { left: bool, right: bool },
    StripAccents,
    Prepend(String),
    Replace(Pattern, String),
    Charsmap(Charsmap),
    ByteLevel,
}

/// The steps in order.
#[derive(Debug, Default)]
pub(crate) struct Normalizer {
    steps: Vec<Step>,
}

impl Normalizer {
    /// Of the file; `lowercase` overrides what BERT's rules say.
    ///
    /// # Errors
    /// `input/tokenizer` for a broken expression or map.
    pub(crate) fn new(config: Option<NormalizerConfig>, lowercase: Option<bool>) -> Result<Self> {
        let mut normalizer = Normalizer::default();
        if let Some(config) = config {
            normalizer.add(config, lowercase)?;
        }
        Ok(normalizer)
    }

    fn add(&mut self, config: NormalizerConfig, lowercase: Option<bool>) -> Result<()> {
        let step = match config {
            NormalizerConfig::Sequence { normalizers } => {
                return normalizers.into_iter().try_for_each(|config| self.add(config, lowercase));
            }
            NormalizerConfig::BertNormalizer(bert) => {
                let lowercase = lowercase.unwrap_or(bert.lowercase);
                Step::Bert(Bert { lowercase, ..bert })
            }
            NormalizerConfig::Nfc => Step::Form(Form::C),
            NormalizerConfig::Nfd => Step::Form(Form::D),
            NormalizerConfig::Nfkc => Step::Form(Form::Kc),
            NormalizerConfig::Nfkd => Step::Form(Form::Kd),
            NormalizerConfig::Lowercase => Step::Lowercase,
            NormalizerConfig::Strip { strip_left: left, strip_right: right } => {
                Step::Strip { left, right }
            }
            NormalizerConfig::StripAccents => Step::StripAccents,
            NormalizerConfig::Prepend { prepend } => Step::Prepend(prepend),
            NormalizerConfig::Replace { pattern, content } => {
                Step::Replace(Pattern::new(&pattern)?, content)
            }
            NormalizerConfig::Precompiled { precompiled_charsmap } => {
                Step::Charsmap(Charsmap::new(&precompiled_charsmap)?)
            }
            NormalizerConfig::ByteLevel => Step::ByteLevel,
        };
        self.steps.push(step);
        Ok(())
    }

    /// The normalized text.
    ///
    /// # Errors
    /// `input/pattern` if the text is too hard for an expression.
    pub(crate) fn apply<'a>(&self, kinds: &Kinds, text: &'a str) -> Result<Cow<'a, str>> {
        let mut text = Cow::Borrowed(text);
        for step in &self.steps {
            if let Some(changed) = step.apply(kinds, &text)? {
                text = Cow::Owned(changed);
            }
        }
        Ok(text)
    }
}

impl Step {
    /// The changed text; none if it stays.
    fn apply(&self, kinds: &Kinds, text: &str) -> Result<Option<String>> {
        Ok(match self {
            Step::Bert(bert) => Some(bert.apply(kinds, text)),
            // ASCII is the same in every form.
            Step::Form(_) if text.is_ascii() => None,
            Step::Form(form) => Some(form.apply(text)),
            Step::Lowercase => Some(lowercase(text)),
            Step::Strip { left, right } => {
                let rest = if *left { text.trim_start() } else { text };
                let rest = if *right { rest.trim_end() } else { rest };
                (rest.len() < text.len()).then(|| rest.to_owned())
            }
            Step::StripAccents if text.is_ascii() => None,
            Step::StripAccents => {
                Some(text.chars().filter(|c| !kinds.of(*c).is(Kind::MARK)).collect())
            }
            // An empty text stays empty.
            Step::Prepend(prefix) => (!text.is_empty()).then(|| format!("{prefix}{text}")),
            Step::Replace(Pattern::Text(pattern), _) if !text.contains(pattern.as_str()) => None,
            Step::Replace(pattern, content) => Some(pattern.replace(text, content)?),
            Step::Charsmap(map) => Some(map.apply(text)),
            Step::ByteLevel => Some(byte_level::to_characters(text)),
        })
    }
}

impl Form {
    fn apply(self, text: &str) -> String {
        match self {
            Form::C => text.nfc().map(|(c, _)| c).collect(),
            Form::D => text.nfd().map(|(c, _)| c).collect(),
            Form::Kc => text.nfkc().map(|(c, _)| c).collect(),
            Form::Kd => text.nfkd().map(|(c, _)| c).collect(),
        }
    }
}

impl Bert {
    fn apply(self, kinds: &Kinds, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 16);
        let cleaned = text.chars().flat_map(|c| self.clean(kinds.of(c), c));
        if !self.strip_accents.unwrap_or(self.lowercase) {
            cleaned.for_each(|c| self.finish(c, &mut out));
        } else if text.is_ascii() {
            cleaned.for_each(|c| self.finish(c, &mut out));
        } else {
            let plain = cleaned.nfd().map(|(c, _)| c).filter(|c| !kinds.of(*c).is(Kind::ACCENT));
            plain.for_each(|c| self.finish(c, &mut out));
        }
        out
    }

    /// What comes of a character before decomposition: nothing, itself, or itself between spaces.
    fn clean(self, kind: Kind, c: char) -> impl Iterator<Item = char> + use<> {
        let removed = self.clean_text && kind.is(Kind::CONTROL);
        let isolated = !removed && self.handle_chinese_chars && kind.is(Kind::IDEOGRAPH);
        let c = if self.clean_text && kind.is(Kind::SPACE) { ' ' } else { c };
        let space = isolated.then_some(' ');
        space.into_iter().chain((!removed).then_some(c)).chain(space)
    }

    fn finish(self, c: char, out: &mut String) {
        if !self.lowercase {
            out.push(c);
        } else if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
}

/// Each character's lower case by itself: no rule looks at its neighbors.
fn lowercase(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &str, text: &str, expected: &str) {
        let config = serde_json::from_str(config).unwrap();
        let normalizer = Normalizer::new(Some(config), None).unwrap();
        let kinds = Kinds::new();
        assert_eq!(normalizer.apply(&kinds, text).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn each_step_does_its_part() {
        check(r#"{"type": "BertNormalizer"}"#, "Zoë\u{200b}\tÅb中", "zoe ab 中 ");
        check(r#"{"type": "BertNormalizer", "strip_accents": false}"#, "Zoë", "zoë");
        check(r#"{"type": "BertNormalizer", "lowercase": false}"#, "Zoë", "Zoë");
        check(r#"{"type": "NFKC"}"#, "ﬁ", "fi");
        check(r#"{"type": "NFD"}"#, "é", "e\u{301}");
        check(r#"{"type": "Lowercase"}"#, "ΑΣ", "ας".replace('ς', "σ").as_str());
        check(r#"{"type": "Strip", "strip_left": true, "strip_right": false}"#, " a ", "a ");
        check(r#"{"type": "StripAccents"}"#, "e\u{301}", "e");
        check(r#"{"type": "Prepend", "prepend": "_"}"#, "a", "_a");
        check(r#"{"type": "Prepend", "prepend": "_"}"#, "", "");
        check(
            r#"{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "_"}"#,
            "a   b",
            "a_b",
        );
        check(r#"{"type": "ByteLevel"}"#, " é", "ĠÃ©");
    }

    #[test]
    fn steps_run_in_order() {
        let steps = r#"{"type": "Sequence", "normalizers": [
            {"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]}"#;
        check(steps, "ÉA", "ea");
    }
}
