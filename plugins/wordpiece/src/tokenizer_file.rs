//! `tokenizer.json` of Hugging Face tokenizers, as far as BERT models use it.
//!
//! What the file asks for and this plugin does not do is refused by name, never ignored: other tokens would
//! come out than the model was trained with.

use std::collections::BTreeMap;

use aimass_sdk::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

#[derive(Debug, Deserialize)]
pub(crate) struct TokenizerFile {
    pub(crate) truncation: Option<Truncation>,
    #[serde(default)]
    pub(crate) added_tokens: Vec<AddedToken>,
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<Kind>,
    post_processor: Option<PostProcessor>,
    model: Model,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Truncation {
    pub(crate) max_length: u32,
    #[serde(default)]
    pub(crate) direction: Direction,
}

/// Which end of a long text is cut.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub(crate) enum Direction {
    #[default]
    Right,
    Left,
}

/// A token that is found in the text before it is cut into words.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) single_word: bool,
    #[serde(default)]
    pub(crate) lstrip: bool,
    #[serde(default)]
    pub(crate) rstrip: bool,
    #[serde(default)]
    pub(crate) normalized: bool,
}

#[derive(Debug, Deserialize)]
struct Kind {
    r#type: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct BertNormalizer {
    #[serde(default = "yes")]
    pub(crate) clean_text: bool,
    #[serde(default = "yes")]
    pub(crate) handle_chinese_chars: bool,
    #[serde(default)]
    pub(crate) strip_accents: Option<bool>,
    #[serde(default = "yes")]
    pub(crate) lowercase: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Normalizer {
    BertNormalizer(BertNormalizer),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum PostProcessor {
    TemplateProcessing {
        single: Vec<Piece>,
        special_tokens: BTreeMap<String, SpecialToken>,
    },
    BertProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
enum Piece {
    SpecialToken { id: String },
    Sequence { id: String },
}

#[derive(Debug, Deserialize)]
struct SpecialToken {
    ids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Model {
    r#type: Option<String>,
    unk_token: String,
    #[serde(default = "hashes")]
    continuing_subword_prefix: String,
    #[serde(default = "hundred")]
    max_input_chars_per_word: usize,
    vocab: Entries,
}

fn hashes() -> String {
    "##".to_owned()
}

fn hundred() -> usize {
    100
}

/// The vocabulary in the file's order; a map would only be built to be read once.
#[derive(Debug)]
struct Entries(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries;

            fn expecting(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.write_str("a map of token names to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The model part of the file, checked.
#[derive(Debug)]
pub(crate) struct WordPiece {
    pub(crate) unknown: String,
    pub(crate) prefix: String,
    pub(crate) word_chars_max: usize,
    pub(crate) entries: Vec<(String, u32)>,
}

/// Token ids that stand before and after the text's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frame {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
}

impl TokenizerFile {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// `input/tokenizer` if it is no tokenizer file; `unsupported/tokenizer` if it asks for
    /// another normalizer, pre-tokenizer, model or post-processor than BERT's.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        let file: TokenizerFile = serde_json::from_slice(json)
            .map_err(|error| Error::input("tokenizer", format!("tokenizer file: {error}")))?;
        let model = file.model.r#type.as_deref().unwrap_or("WordPiece");
        expect("model", "WordPiece", model)?;
        let words = file.pre_tokenizer.as_ref().map_or("none", |kind| kind.r#type.as_str());
        expect("pre_tokenizer", "BertPreTokenizer", words)?;
        Ok(file)
    }

    /// The normalizer.
    ///
    /// # Errors
    /// `unsupported/tokenizer` if it is not BERT's.
    pub(crate) fn normalizer(&self) -> Result<BertNormalizer> {
        match &self.normalizer {
            Some(Normalizer::BertNormalizer(normalizer)) => Ok(*normalizer),
            Some(Normalizer::Other) => Err(other("normalizer", "BertNormalizer", "another")),
            None => Err(other("normalizer", "BertNormalizer", "none")),
        }
    }

    /// What stands around the tokens of a text.
    ///
    /// # Errors
    /// `unsupported/tokenizer` for any post-processor but the two that BERT models use;
    /// `input/tokenizer` if its template names no token or no text.
    pub(crate) fn frame(&self) -> Result<Frame> {
        match &self.post_processor {
            None => Ok(Frame::default()),
            Some(PostProcessor::BertProcessing { sep, cls }) => {
                Ok(Frame { before: vec![cls.1], after: vec![sep.1] })
            }
            Some(PostProcessor::TemplateProcessing { single, special_tokens }) => {
                frame_of_template(single, special_tokens)
            }
            Some(PostProcessor::Other) => {
                Err(other("post_processor", "TemplateProcessing or BertProcessing", "another"))
            }
        }
    }

    /// The model, taken out of the file.
    pub(crate) fn into_model(self) -> WordPiece {
        WordPiece {
            unknown: self.model.unk_token,
            prefix: self.model.continuing_subword_prefix,
            word_chars_max: self.model.max_input_chars_per_word,
            entries: self.model.vocab.0,
        }
    }
}

fn frame_of_template(
    single: &[Piece],
    special_tokens: &BTreeMap<String, SpecialToken>,
) -> Result<Frame> {
    let mut frame = Frame::default();
    let mut texts = 0;
    for piece in single {
        match piece {
            Piece::Sequence { id } if id == "A" => texts += 1,
            Piece::Sequence { id } => return Err(other("post_processor", "sequence A", id)),
            Piece::SpecialToken { id } => {
                let token = special_tokens.get(id).ok_or_else(|| {
                    let message = format!("tokenizer file: template names no known token {id:?}");
                    Error::input("tokenizer", message)
                })?;
                let side = if texts == 0 { &mut frame.before } else { &mut frame.after };
                side.extend(&token.ids);
            }
        }
    }
    match texts {
        1 => Ok(frame),
        _ => {
            let message = format!("tokenizer file: expected one sequence, got {texts}");
            Err(Error::input("tokenizer", message))
        }
    }
}

fn expect(what: &str, expected: &str, got: &str) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(other(what, expected, got))
}

fn other(what: &str, expected: &str, got: &str) -> Error {
    let message = format!("tokenizer file: expected {what} {expected}, got {got}");
    Error::unsupported("tokenizer", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERT: &str = r###"{
        "truncation": {"max_length": 128, "strategy": "LongestFirst", "stride": 0},
        "added_tokens": [{"id": 2, "content": "[SEP]", "special": true}],
        "normalizer": {"type": "BertNormalizer", "lowercase": true, "strip_accents": null},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
            ],
            "pair": [],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}
            }
        },
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "b": 4, "a": 3}}
    }"###;

    #[test]
    fn a_bert_tokenizer_is_read() {
        let file = TokenizerFile::parse(BERT.as_bytes()).unwrap();
        assert_eq!(file.frame(), Ok(Frame { before: vec![1], after: vec![2] }));
        assert!(file.normalizer().unwrap().clean_text);
        assert_eq!(file.truncation.as_ref().unwrap().direction, Direction::Right);
        let model = file.into_model();
        assert_eq!(model.prefix, "##");
        assert_eq!(model.entries[1], ("b".to_owned(), 4));
    }

    #[test]
    fn what_is_not_berts_is_refused_by_name() {
        #[track_caller]
        fn check(from: &str, to: &str, message: &str) {
            let json = BERT.replacen(from, to, 1);
            assert_ne!(json, BERT);
            let error = TokenizerFile::parse(json.as_bytes())
                .and_then(|file| file.normalizer().and_then(|_| file.frame()))
                .unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
        check("BertNormalizer", "NFKC", "expected normalizer BertNormalizer, got another");
        check("BertPreTokenizer", "Metaspace", "BertPreTokenizer, got Metaspace");
        check("\"WordPiece\"", "\"BPE\"", "expected model WordPiece, got BPE");
        check("TemplateProcessing", "RobertaProcessing", "got another");
        check(r#""Sequence": {"id": "A""#, r#""Sequence": {"id": "B""#, "expected post_processor");
        check("\"[CLS]\": {", "\"[C]\": {", "names no known token");
    }
}
