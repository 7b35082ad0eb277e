//! Names of tokens to a text: the file's `decoder`.

use aimass_sdk::prelude::*;
use serde::Deserialize;

use crate::byte_level;
use crate::pattern::{Pattern, PatternConfig};
use crate::pre_tokenizer::{MetaspaceConfig, Prepend};

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum DecoderConfig {
    Sequence {
        decoders: Vec<DecoderConfig>,
    },
    #[serde(rename = "BPEDecoder")]
    BpeDecoder {
        #[serde(default = "end_of_word")]
        suffix: String,
    },
    ByteFallback,
    ByteLevel,
    #[serde(rename = "CTC")]
    Ctc {
        pad_token: String,
        word_delimiter_token: String,
        cleanup: bool,
    },
    Fuse,
    Metaspace(MetaspaceConfig),
    Replace {
        pattern: PatternConfig,
        content: String,
    },
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
}

fn end_of_word() -> String {
    "</w>".to_owned()
}

#[derive(Debug)]
enum Step {
    Suffix(String),
    ByteFallback,
    ByteLevel,
    Ctc { pad: String, delimiter: String, cleanup: bool },
    Fuse,
    Metaspace { replacement: char, prepend: Prepend },
    Replace(Pattern, String),
    Strip { content: char, start: usize, stop: usize },
    WordPiece { prefix: String, cleanup: bool },
}

/// The steps in order.
#[derive(Debug)]
pub(crate) struct Decoder {
    steps: Vec<Step>,
    /// What stands between names that no step joined.
    separator: &'static str,
}

impl Decoder {
    /// Of the file.
    ///
    /// # Errors
    /// `input/tokenizer` for a broken expression.
    pub(crate) fn new(config: Option<DecoderConfig>) -> Result<Self> {
        let separator = if config.is_some() { "" } else { " " };
        let mut decoder = Decoder { steps: Vec::new(), separator };
        if let Some(config) = config {
            decoder.add(config)?;
        }
        Ok(decoder)
    }

    fn add(&mut self, config: DecoderConfig) -> Result<()> {
        let step = match config {
            DecoderConfig::Sequence { decoders } => {
                return decoders.into_iter().try_for_each(|config| self.add(config));
            }
            DecoderConfig::BpeDecoder { suffix } => Step::Suffix(suffix),
            DecoderConfig::ByteFallback => Step::ByteFallback,
            DecoderConfig::ByteLevel => Step::ByteLevel,
            DecoderConfig::Ctc { pad_token: pad, word_delimiter_token: delimiter, cleanup } => {
                Step::Ctc { pad, delimiter, cleanup }
            }
            DecoderConfig::Fuse => Step::Fuse,
            DecoderConfig::Metaspace(config) => {
                Step::Metaspace { replacement: config.replacement, prepend: config.prepend() }
            }
            DecoderConfig::Replace { pattern, content } => {
                Step::Replace(Pattern::new(&pattern)?, content)
            }
            DecoderConfig::Strip { content, start, stop } => Step::Strip { content, start, stop },
            DecoderConfig::WordPiece { prefix, cleanup } => Step::WordPiece { prefix, cleanup },
        };
        self.steps.push(step);
        Ok(())
    }

    /// The text of these names.
    ///
    /// # Errors
    /// `input/pattern` if a name is too hard for an expression.
    pub(crate) fn decode(&self, names: Vec<String>) -> Result<String> {
        let mut names = names;
        for step in &self.steps {
            names = step.apply(names)?;
        }
        Ok(names.join(self.separator))
    }
}

impl Step {
    fn apply(&self, mut names: Vec<String>) -> Result<Vec<String>> {
        match self {
            Step::Suffix(suffix) => {
                let last = names.len();
                for (name, left) in names.iter_mut().zip((0..last).rev()) {
                    *name = name.replace(suffix.as_str(), if left == 0 { "" } else { " " });
                }
            }
            Step::ByteFallback => names = byte_fallback(names),
            Step::ByteLevel => {
                let bytes = names.into_iter().flat_map(|name| {
                    byte_level::to_bytes(&name).unwrap_or_else(|| name.into_bytes())
                });
                let bytes: Vec<u8> = bytes.collect();
                names = vec![String::from_utf8_lossy(&bytes).into_owned()];
            }
            Step::Ctc { pad, delimiter, cleanup } => {
                names.dedup();
                for name in &mut names {
                    *name = name.replace(pad.as_str(), "");
                    if *cleanup {
                        *name = tidy(name).replace(delimiter.as_str(), " ");
                    }
                }
                names.retain(|name| !name.is_empty());
            }
            Step::Fuse => names = vec![names.concat()],
            Step::Metaspace { replacement, prepend } => {
                for (index, name) in names.iter_mut().enumerate() {
                    let at_start = index == 0 && *prepend != Prepend::Never;
                    *name = name.replace(*replacement, if at_start { "" } else { " " });
                }
            }
            Step::Replace(pattern, content) => {
                for name in &mut names {
                    *name = pattern.replace(name, content)?;
                }
            }
            Step::Strip { content, start, stop } => {
                for name in &mut names {
                    *name = strip(name, *content, *start, *stop).to_owned();
                }
            }
            Step::WordPiece { prefix, cleanup } => word_piece(&mut names, prefix, *cleanup),
        }
        Ok(names)
    }
}

/// Joins neighbors such as `<0xC3>`, `<0xA9>` to the character that they are.
fn byte_fallback(names: Vec<String>) -> Vec<String> {
    let byte = |name: &str| {
        let digits = name.strip_prefix("<0x")?.strip_suffix('>').filter(|it| it.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    let mut joined = Vec::with_capacity(names.len());
    let mut bytes = Vec::new();
    for name in names {
        if let Some(byte) = byte(&name) {
            bytes.push(byte);
            continue;
        }
        take_bytes(&mut bytes, &mut joined);
        joined.push(name);
    }
    take_bytes(&mut bytes, &mut joined);
    joined
}

/// Bytes that are no text become one U+FFFD each.
fn take_bytes(bytes: &mut Vec<u8>, joined: &mut Vec<String>) {
    match String::from_utf8(core::mem::take(bytes)) {
        Ok(text) if text.is_empty() => {}
        Ok(text) => joined.push(text),
        Err(error) => {
            joined.extend(error.as_bytes().iter().map(|_| char::REPLACEMENT_CHARACTER.to_string()));
        }
    }
}

fn strip(name: &str, content: char, start: usize, stop: usize) -> &str {
    let mut rest = name;
    for _ in 0..start {
        let Some(shorter) = rest.strip_prefix(content) else { break };
        rest = shorter;
    }
    for _ in 0..stop {
        let Some(shorter) = rest.strip_suffix(content) else { break };
        rest = shorter;
    }
    rest
}

fn word_piece(names: &mut [String], prefix: &str, cleanup: bool) {
    for (index, name) in names.iter_mut().enumerate() {
        if index > 0 {
            *name = match name.strip_prefix(prefix) {
                Some(rest) => rest.to_owned(),
                None => format!(" {name}"),
            };
        }
        if cleanup {
            *name = tidy(name);
        }
    }
}

/// Takes back blanks that cutting put before punctuation.
fn tidy(name: &str) -> String {
    const RULES: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    RULES.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &str, names: &[&str], expected: &str) {
        let decoder = Decoder::new(serde_json::from_str(config).unwrap()).unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(decoder.decode(names).unwrap(), expected, "{config}");
    }

    #[test]
    fn each_step_joins_as_its_reference() {
        check("null", &["a", "b"], "a b");
        check(r#"{"type": "BPEDecoder"}"#, &["a", "b</w>", "c</w>"], "ab c");
        check(r#"{"type": "ByteLevel"}"#, &["Ġa", "Ã", "©", "中"], " aé中");
        check(r#"{"type": "ByteLevel"}"#, &["Ã"], "\u{fffd}");
        let fallback = r#"{"type": "ByteFallback"}"#;
        check(fallback, &["a", "<0xC3>", "<0xA9>", "b", "<0xC3>"], "aéb\u{fffd}");
        let ctc =
            r#"{"type": "CTC", "pad_token": "_", "word_delimiter_token": "|", "cleanup": true}"#;
        check(ctc, &["h", "h", "_", "h", "|", "|", "i"], "hh i");
        check(r#"{"type": "Metaspace", "replacement": "▁"}"#, &["▁a", "b", "▁c"], "ab c");
        let never = r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}"#;
        check(never, &["▁a", "▁c"], " a c");
        let replace = r#"{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}"#;
        check(replace, &["▁a", "▁b"], " a b");
        let strip = r#"{"type": "Strip", "content": " ", "start": 1, "stop": 1}"#;
        check(strip, &["  a  ", " "], " a ");
        let pieces = r###"{"type": "WordPiece", "prefix": "##", "cleanup": true}"###;
        check(pieces, &["it", "'s", "un", "##able", "."], "it's unable.");
        let llama = format!(
            r#"{{"type": "Sequence", "decoders": [{replace}, {fallback}, {{"type": "Fuse"}}, {strip}]}}"#
        );
        check(&llama, &["▁a", "▁", "<0xC3>", "<0xA9>"], "a é");
    }

    #[test]
    fn nothing_decodes_to_nothing() {
        for config in ["null", r#"{"type": "BPEDecoder"}"#, r#"{"type": "ByteLevel"}"#] {
            check(config, &[], "");
        }
    }
}
