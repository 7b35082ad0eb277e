//! A tokenizer file that is ready to run.

use aimass_sdk::prelude::*;
use serde::Deserialize;

use crate::added_tokens::{AddedToken, AddedTokens, Part};
use crate::bpe::{self, Bpe};
use crate::characters::Kinds;
use crate::decoder::{Decoder, DecoderConfig};
use crate::frame::{Frame, PostProcessorConfig};
use crate::normalizer::{Normalizer, NormalizerConfig};
use crate::pre_tokenizer::{Piece, PreTokenizer, PreTokenizerConfig};
use crate::unigram::{self, Unigram};
use crate::vocabulary::{ModelConfig, ModelKind, Names, check_names};
use crate::words::{WordLevel, WordPiece};

/// `tokenizer.json` as Hugging Face's `tokenizers` writes it. Padding is left out on purpose:
/// texts of unequal length go on as ragged rows.
#[derive(Debug, Deserialize)]
struct File<'a> {
    truncation: Option<Truncation>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerConfig>,
    pre_tokenizer: Option<PreTokenizerConfig>,
    post_processor: Option<PostProcessorConfig>,
    decoder: Option<DecoderConfig>,
    #[serde(borrow)]
    model: ModelConfig<'a>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Truncation {
    max_length: usize,
    #[serde(default)]
    direction: Direction,
}

/// Which end of a long text is cut.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub(crate) enum Direction {
    #[default]
    #[serde(alias = "right")]
    Right,
    #[serde(alias = "left")]
    Left,
}

/// What the plugin's configuration says beside the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) max_tokens: Option<usize>,
    pub(crate) direction: Option<Direction>,
    pub(crate) lowercase: Option<bool>,
    pub(crate) no_special_tokens: bool,
}

#[derive(Debug)]
enum Model {
    Bpe(Bpe),
    Unigram(Unigram),
    WordPiece(WordPiece),
    WordLevel(WordLevel),
}

/// Text to token ids.
#[derive(Debug)]
pub(crate) struct Encoder {
    kinds: Kinds,
    /// Looked for in the text as it is.
    raw_tokens: AddedTokens,
    /// Looked for in the normalized text.
    normalized_tokens: AddedTokens,
    normalizer: Normalizer,
    pre_tokenizer: PreTokenizer,
    model: Model,
    frame: Frame,
    /// Most tokens of a text, those around it not counted.
    tokens_max: usize,
    direction: Direction,
}

/// Buffers that are reused from text to text.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bpe: bpe::Scratch,
    unigram: unigram::Scratch,
}

fn parse(json: &[u8]) -> Result<File<'_>> {
    serde_json::from_slice(json)
        .map_err(|error| Error::input("tokenizer", format!("tokenizer file: {error}")))
}

impl Encoder {
    /// Of a tokenizer file.
    ///
    /// # Errors
    /// `input/tokenizer` or `unsupported/tokenizer` if the file is broken or asks for what is not
    /// known; `limit/vocabulary` if it is too large; `input/config` if `max_tokens` leaves no room for
    /// a token of the text.
    pub(crate) fn new(json: &[u8], overrides: Overrides) -> Result<Self> {
        let file = parse(json)?;
        let frame = match overrides.no_special_tokens {
            true => Frame::default(),
            false => Frame::new(file.post_processor.as_ref())?,
        };
        let tokens_max = tokens_max(&file, &frame, overrides)?;
        let own = file.truncation.map_or(Direction::Right, |truncation| truncation.direction);
        let kinds = Kinds::new();
        let normalizer = Normalizer::new(file.normalizer, overrides.lowercase)?;
        let (mut normalized, raw): (Vec<_>, Vec<_>) =
            file.added_tokens.into_iter().partition(|token| token.normalized);
        for token in &mut normalized {
            token.content = normalizer.apply(&kinds, &token.content)?.into_owned();
        }
        let mut pre_tokenizer = PreTokenizer::new(file.pre_tokenizer)?;
        let model = match file.model.kind()? {
            ModelKind::Bpe => {
                let raw = plain(&file.model) && pre_tokenizer.leave_bytes_as_they_are();
                Model::Bpe(Bpe::new(&file.model, raw)?)
            }
            ModelKind::Unigram => Model::Unigram(Unigram::new(&file.model)?),
            ModelKind::WordPiece => Model::WordPiece(WordPiece::new(&file.model)?),
            ModelKind::WordLevel => Model::WordLevel(WordLevel::new(&file.model)?),
        };
        Ok(Encoder {
            kinds,
            raw_tokens: AddedTokens::new(raw)?,
            normalized_tokens: AddedTokens::new(normalized)?,
            normalizer,
            pre_tokenizer,
            model,
            frame,
            tokens_max,
            direction: overrides.direction.unwrap_or(own),
        })
    }

    /// Appends the token ids of `text`, special tokens included, at most as many as configured.
    ///
    /// # Errors
    /// `input/pattern` if the text is too hard for an expression; `input/unknown-character` if the
    /// model has no token for one.
    pub(crate) fn encode(
        &self,
        text: &str,
        scratch: &mut Scratch,
        ids: &mut Vec<i32>,
    ) -> Result<()> {
        ids.extend(&self.frame.before);
        let start = ids.len();
        let enough = match self.direction {
            Direction::Right => start.saturating_add(self.tokens_max),
            Direction::Left => usize::MAX,
        };
        self.raw_tokens.split(&self.kinds, text, &mut |part| match part {
            Part::Token(id) => {
                ids.push(id as i32);
                Ok(ids.len() < enough)
            }
            Part::Text(part) => {
                let first = part.as_ptr() == text.as_ptr();
                self.encode_text(Piece { text: part, first }, scratch, ids, enough)
            }
        })?;
        let excess = (ids.len() - start).saturating_sub(self.tokens_max);
        match self.direction {
            Direction::Right => ids.truncate(ids.len() - excess),
            Direction::Left => drop(ids.drain(start..start + excess)),
        }
        ids.extend(&self.frame.after);
        Ok(())
    }

    /// Text without raw tokens; stops once `enough` ids are there, and answers whether more may come.
    fn encode_text(
        &self,
        piece: Piece<'_>,
        scratch: &mut Scratch,
        ids: &mut Vec<i32>,
        enough: usize,
    ) -> Result<bool> {
        let normalized = self.normalizer.apply(&self.kinds, piece.text)?;
        let mut cut = |text: &str, first: bool, ids: &mut Vec<i32>| {
            self.pre_tokenizer.run(&self.kinds, Piece { text, first }, &mut |piece| {
                self.encode_piece(piece, scratch, ids)?;
                Ok(ids.len() < enough)
            })
        };
        if self.normalized_tokens.is_empty() {
            return cut(&normalized, piece.first, ids);
        }
        self.normalized_tokens.split(&self.kinds, &normalized, &mut |part| match part {
            Part::Token(id) => {
                ids.push(id as i32);
                Ok(ids.len() < enough)
            }
            Part::Text(part) => {
                let first = piece.first && part.as_ptr() == normalized.as_ptr();
                cut(part, first, ids)
            }
        })
    }

    fn encode_piece(&self, piece: &str, scratch: &mut Scratch, ids: &mut Vec<i32>) -> Result<()> {
        match &self.model {
            Model::Bpe(model) => model.encode(piece, &mut scratch.bpe, ids),
            Model::Unigram(model) => model.encode(piece, &mut scratch.unigram, ids)?,
            Model::WordPiece(model) => model.encode(piece, ids),
            Model::WordLevel(model) => model.encode(piece, ids),
        }
        Ok(())
    }
}

/// Whether the names of a BPE model are bytes and nothing else.
fn plain(model: &ModelConfig<'_>) -> bool {
    let none = |affix: &Option<String>| affix.as_deref().unwrap_or_default().is_empty();
    none(&model.continuing_subword_prefix)
        && none(&model.end_of_word_suffix)
        && model.unk_token.is_none()
        && !model.byte_fallback
}

fn tokens_max(file: &File<'_>, frame: &Frame, overrides: Overrides) -> Result<usize> {
    let own = file.truncation.map(|truncation| truncation.max_length);
    let Some(max) = overrides.max_tokens.or(own) else { return Ok(usize::MAX) };
    let around = frame.len();
    if max > around {
        return Ok(max - around);
    }
    let message = format!("max_tokens: expected more than the {around} special tokens, got {max}");
    Err(Error::input("config", message))
}

/// Token ids to text.
#[derive(Debug)]
pub(crate) struct TextDecoder {
    names: Names,
    /// Names that are left out.
    special: Vec<String>,
    decoder: Decoder,
}

/// Bytes of the names of one text's tokens at most.
pub(crate) const NAME_BYTES_MAX: usize = 8 << 20;

impl TextDecoder {
    /// Of a tokenizer file; special tokens are left out unless `keep_special_tokens`.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub(crate) fn new(json: &[u8], keep_special_tokens: bool) -> Result<Self> {
        let file = parse(json)?;
        let mut names = Names::default();
        match file.model.kind()? {
            ModelKind::Bpe | ModelKind::WordPiece | ModelKind::WordLevel => {
                file.model.names()?.iter().for_each(|(name, id)| names.set(*id, name));
            }
            ModelKind::Unigram => {
                let pieces = file.model.scores()?;
                pieces.iter().zip(0..).for_each(|((name, _), id)| names.set(id, name));
            }
        }
        check_names(file.added_tokens.len(), file.added_tokens.iter().map(|t| t.id).max())?;
        let normalizer = Normalizer::new(file.normalizer, None)?;
        let kinds = Kinds::new();
        for token in &file.added_tokens {
            if token.normalized {
                names.set(token.id, &normalizer.apply(&kinds, &token.content)?);
            } else {
                names.set(token.id, &token.content);
            }
        }
        let special = file.added_tokens.into_iter().filter(|token| token.special);
        let mut special: Vec<String> = special.map(|token| token.content).collect();
        special.sort();
        if keep_special_tokens {
            special.clear();
        }
        Ok(TextDecoder { names, special, decoder: Decoder::new(file.decoder)? })
    }

    /// The text of these ids.
    ///
    /// # Errors
    /// `input/token-id` for an id that no token has; `input/text-bytes` if the text grows too long;
    /// `input/pattern`.
    pub(crate) fn decode(&self, ids: &[i32]) -> Result<String> {
        let mut names = Vec::with_capacity(ids.len());
        let mut bytes = 0;
        for id in ids {
            let name = u32::try_from(*id).ok().and_then(|id| self.names.get(id));
            let name = name.ok_or_else(|| {
                let message = format!("expected ids of tokens, got {id}, which no token has");
                Error::input("token-id", message)
            })?;
            if self.special.binary_search_by(|special| (**special).cmp(name)).is_ok() {
                continue;
            }
            bytes += name.len();
            if bytes > NAME_BYTES_MAX {
                let message = format!("expected a text of at most {NAME_BYTES_MAX} bytes");
                return Err(Error::input("text-bytes", message));
            }
            names.push(name.to_owned());
        }
        self.decoder.decode(names)
    }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
