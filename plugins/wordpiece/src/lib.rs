//! Cuts text into WordPiece tokens, exactly as Hugging Face `tokenizers` does for BERT models.
//!
//! | tensor         | shape               | dtype |                                              |
//! |----------------|---------------------|-------|----------------------------------------------|
//! | `text`         | `[batch]`           | bytes | UTF-8                                        |
//! | `input_ids`    | `[ragged(offsets)]` | i32   | token ids of all texts, one after the other  |
//! | `offsets`      | `[batch + 1]`       | u32   | where each text's tokens start               |
//! | `token_counts` | `[batch]`           | u32   | tokens of each text, special ones included   |
//!
//! The vocabulary is read from the model's `tokenizer.json` once, in `init`, and is part of the image
//! that every call starts with. Nothing is padded.

mod added_tokens;
mod characters;
mod normalizer;
mod tokenizer;
mod tokenizer_file;
mod vocabulary;

use aimass_sdk::files::File;
use aimass_sdk::prelude::*;
use serde::Deserialize;

use tokenizer::{Overrides, Scratch, Tokenizer};
use tokenizer_file::TokenizerFile;

/// Bytes of a tokenizer file at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "tokenizer_json")]
    file: String,
    max_tokens: Option<u32>,
    lowercase: Option<bool>,
}

fn tokenizer_json() -> String {
    "tokenizer.json".to_owned()
}

/// The plugin.
#[derive(Debug)]
pub struct WordPiece {
    tokenizer: Tokenizer,
}

impl Processor for WordPiece {
    fn init(config: Config) -> Result<Self> {
        let settings: Settings = config.parse()?;
        let json = File::open(&settings.file)?.read_all(FILE_BYTES_MAX)?;
        let overrides =
            Overrides { max_tokens: settings.max_tokens, lowercase: settings.lowercase };
        let tokenizer = Tokenizer::new(TokenizerFile::parse(&json)?, overrides)?;
        Ok(WordPiece { tokenizer })
    }

    fn describe(&self) -> Signature {
        let tokens = [Dim::ragged("offsets")];
        Signature::new()
            .input(TensorSpec::new("text", DType::Bytes, [Dim::Batch]).describe("UTF-8 texts."))
            .output(TensorSpec::new("input_ids", DType::I32, tokens).describe("Token ids."))
            .output(TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]))
            .output(TensorSpec::new("token_counts", DType::U32, [Dim::Batch]))
    }

    fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        let text = inputs.get("text")?;
        let [batch] = text.extents()?;
        let strings = text.as_strings()?;
        let encoded = self.encode(strings.texts("text"), strings.len())?;
        Ok(Outputs::from([
            ("input_ids", Tensor::from_slice(&[encoded.ids.len() as u64], &encoded.ids)?),
            ("offsets", Tensor::from_slice(&[batch + 1], &encoded.offsets)?),
            ("token_counts", Tensor::from_slice(&[batch], &encoded.counts)?),
        ]))
    }
}

aimass_sdk::export_processor!(WordPiece);

#[derive(Debug)]
struct Encoded {
    ids: Vec<i32>,
    offsets: Vec<u32>,
    counts: Vec<u32>,
}

impl WordPiece {
    fn encode<'a>(
        &self,
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
            let start = encoded.ids.len();
            self.tokenizer.encode(text?, &mut scratch, &mut encoded.ids);
            encoded.counts.push((encoded.ids.len() - start) as u32);
            let end = u32::try_from(encoded.ids.len())
                .map_err(|_| Error::limit("tokens", "expected less than 2^32 tokens"))?;
            encoded.offsets.push(end);
        }
        Ok(encoded)
    }
}
