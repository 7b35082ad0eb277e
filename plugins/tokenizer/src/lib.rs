//! Runs any `tokenizer.json`: text to token ids and back, exactly as Hugging Face `tokenizers` does.
//!
//! With `mode` `encode`:
//!
//! | tensor         | shape               | dtype |                                              |
//! |----------------|---------------------|-------|----------------------------------------------|
//! | `text`         | `[batch]`           | bytes | UTF-8, at most 4 MiB each                    |
//! | `input_ids`    | `[ragged(offsets)]` | i32   | token ids of all texts, one after the other  |
//! | `offsets`      | `[batch + 1]`       | u32   | where each text's tokens start               |
//! | `token_counts` | `[batch]`           | u32   | tokens of each text, special ones included   |
//!
//! With `mode` `decode` it takes `input_ids` and `offsets` and answers `text`.
//!
//! Models are BPE (of bytes, too), Unigram, WordPiece and WordLevel. What the file asks for and this
//! plugin does not know is refused by name when a model is loaded, never ignored. The file is read
//! once, in `init`, and is part of the image that every call starts with. Nothing is padded.

mod added_tokens;
mod bpe;
mod byte_level;
mod characters;
mod charsmap;
mod decoder;
mod frame;
mod normalizer;
mod pattern;
mod pre_tokenizer;
#[cfg(test)]
mod reference_tests;
mod tokenizer;
mod trie;
mod unigram;
mod vocabulary;
mod words;

use aimass_sdk::files::File;
use aimass_sdk::prelude::*;
use serde::Deserialize;

use tokenizer::{Direction, Encoder, Overrides, Scratch, TextDecoder};

/// Bytes of a tokenizer file at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a text at most.
const TEXT_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "tokenizer_json")]
    file: String,
    #[serde(default)]
    mode: Mode,
    max_tokens: Option<usize>,
    truncate: Option<Direction>,
    lowercase: Option<bool>,
    special_tokens: Option<bool>,
}

fn tokenizer_json() -> String {
    "tokenizer.json".to_owned()
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Encode,
    Decode,
}

/// The plugin.
#[derive(Debug)]
pub struct Tokenizer(Task);

#[derive(Debug)]
enum Task {
    Encode(Box<Encoder>),
    Decode(Box<TextDecoder>),
}

impl Processor for Tokenizer {
    fn init(config: Config) -> Result<Self> {
        let settings: Settings = config.parse()?;
        let json = File::open(&settings.file)?.read_all(FILE_BYTES_MAX)?;
        settings.task(&json).map(Tokenizer)
    }

    fn describe(&self) -> Signature {
        let tokens = || [Dim::ragged("offsets")];
        let text = TensorSpec::new("text", DType::Bytes, [Dim::Batch]).describe("UTF-8 texts.");
        let ids = TensorSpec::new("input_ids", DType::I32, tokens()).describe("Token ids.");
        let offsets = TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]);
        match &self.0 {
            Task::Encode(_) => Signature::new()
                .input(text)
                .output(ids)
                .output(offsets)
                .output(TensorSpec::new("token_counts", DType::U32, [Dim::Batch])),
            Task::Decode(_) => Signature::new().input(ids).input(offsets).output(text),
        }
    }

    fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        match &self.0 {
            Task::Encode(encoder) => {
                let text = inputs.get("text")?;
                let [batch] = text.extents()?;
                let strings = text.as_strings()?;
                let encoded = encode(encoder, strings.texts("text"), strings.len())?;
                Ok(Outputs::from([
                    ("input_ids", Tensor::from_slice(&[encoded.ids.len() as u64], &encoded.ids)?),
                    ("offsets", Tensor::from_slice(&[batch + 1], &encoded.offsets)?),
                    ("token_counts", Tensor::from_slice(&[batch], &encoded.counts)?),
                ]))
            }
            Task::Decode(decoder) => {
                let ids = inputs.get("input_ids")?.to_vec::<i32>()?;
                let offsets = inputs.get("offsets")?.to_vec::<u32>()?;
                let texts = decode(decoder, &ids, &offsets)?;
                Ok(Outputs::new().with("text", Tensor::strings(&[texts.len() as u64], texts)?))
            }
        }
    }
}

aimass_sdk::export_processor!(Tokenizer);

impl Settings {
    fn task(&self, json: &[u8]) -> Result<Task> {
        let special = self.special_tokens;
        match self.mode {
            Mode::Encode => {
                let overrides = Overrides {
                    max_tokens: self.max_tokens,
                    direction: self.truncate,
                    lowercase: self.lowercase,
                    no_special_tokens: special == Some(false),
                };
                Ok(Task::Encode(Box::new(Encoder::new(json, overrides)?)))
            }
            Mode::Decode => {
                Ok(Task::Decode(Box::new(TextDecoder::new(json, special == Some(true))?)))
            }
        }
    }
}

#[derive(Debug)]
struct Encoded {
    ids: Vec<i32>,
    offsets: Vec<u32>,
    counts: Vec<u32>,
}

fn encode<'a>(
    encoder: &Encoder,
    texts: impl Iterator<Item = Result<&'a str>>,
    count: usize,
) -> Result<Encoded> {
    let mut scratch = Scratch::default();
    let mut encoded = Encoded {
        ids: Vec::with_capacity(count * 32),
        offsets: Vec::with_capacity(count + 1),
        counts: Vec::with_capacity(count),
    };
    encoded.offsets.push(0);
    for text in texts {
        let text = text?;
        if text.len() > TEXT_BYTES_MAX {
            let got = text.len();
            let message = format!("expected texts of at most {TEXT_BYTES_MAX} bytes, got {got}");
            return Err(Error::input("text-bytes", message));
        }
        let start = encoded.ids.len();
        encoder.encode(text, &mut scratch, &mut encoded.ids)?;
        encoded.counts.push((encoded.ids.len() - start) as u32);
        encoded.offsets.push(encoded.ids.len() as u32);
    }
    Ok(encoded)
}

fn decode(decoder: &TextDecoder, ids: &[i32], offsets: &[u32]) -> Result<Vec<String>> {
    let broken = || {
        let message = format!("offsets: expected to rise from 0 to {}, the ids", ids.len());
        Error::input("offsets", message)
    };
    if offsets.first() != Some(&0) || offsets.last().map(|end| *end as usize) != Some(ids.len()) {
        return Err(broken());
    }
    let mut bytes = 0;
    let mut texts = Vec::with_capacity(offsets.len() - 1);
    for pair in offsets.windows(2) {
        let row = ids.get(pair[0] as usize..pair[1] as usize).ok_or_else(broken)?;
        let text = decoder.decode(row)?;
        bytes += text.len();
        if bytes > TEXT_BYTES_MAX * 4 {
            let message =
                format!("expected texts of at most {} bytes together", TEXT_BYTES_MAX * 4);
            return Err(Error::input("text-bytes", message));
        }
        texts.push(text);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = r#"{"model": {"type": "WordLevel", "unk_token": "?",
        "vocab": {"?": 0, "a": 1, "b": 2}}, "pre_tokenizer": {"type": "WhitespaceSplit"}}"#;

    fn task(settings: &str) -> Task {
        let settings: Settings = serde_json::from_str(settings).unwrap();
        settings.task(WORDS.as_bytes()).unwrap()
    }

    #[test]
    fn texts_have_at_most_4_mib() {
        let Task::Encode(encoder) = task("{}") else { panic!("it encodes") };
        let text = "a".repeat(TEXT_BYTES_MAX + 1);
        let encoded = |text| encode(&encoder, [Ok(text)].into_iter(), 1);
        assert_eq!(encoded(&text[1..]).unwrap().offsets, [0, 1]);
        assert_eq!(encoded(&text).unwrap_err().code, "text-bytes");
    }

    #[test]
    fn offsets_must_rise_over_all_ids() {
        let Task::Decode(decoder) = task(r#"{"mode": "decode"}"#) else { panic!("it decodes") };
        assert_eq!(decode(&decoder, &[1, 2, 1], &[0, 2, 3]), Ok(vec!["a b".into(), "a".into()]));
        for offsets in [&[] as &[u32], &[0], &[0, 4], &[1, 3], &[0, 3, 2, 3], &[0, 9, 3]] {
            assert_eq!(decode(&decoder, &[1, 2, 1], offsets).unwrap_err().code, "offsets");
        }
        assert_eq!(decode(&decoder, &[], &[0]), Ok(vec![]));
    }
}
