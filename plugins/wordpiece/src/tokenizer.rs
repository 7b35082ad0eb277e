//! Text to token ids.
//!
//! A text is cut at added tokens, normalized, cut into words at blanks and around punctuation, and each
//! word into the longest pieces of the vocabulary from its start (arXiv:1609.08144 §4.1). Pure
//! ASCII takes a path without normalization; both give the same ids.

use aimass_sdk::prelude::*;

use crate::added_tokens::{AddedTokens, Part};
use crate::characters::{Kind, Kinds};
use crate::normalizer::Steps;
use crate::tokenizer_file::{Direction, Frame, TokenizerFile};
use crate::vocabulary::{Hash, Vocabulary};

/// Tokens of a text at most when neither the configuration nor the file says.
const TOKENS_MAX_DEFAULT: u32 = 512;

/// What the plugin's configuration may override.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) max_tokens: Option<u32>,
    pub(crate) lowercase: Option<bool>,
}

/// What an ASCII byte does to the word that is being read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Byte {
    /// Joins the word as this byte.
    Letter(u8),
    /// Ends the word.
    Space,
    /// Ends the word and is one itself.
    Punctuation,
    /// Disappears.
    Removed,
}

/// A tokenizer that is ready to run.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    bytes: [Byte; 128],
    kinds: Kinds,
    steps: Steps,
    vocabulary: Vocabulary,
    prefix: String,
    prefix_hash: Hash,
    unknown: i32,
    word_chars_max: usize,
    /// Looked for in the text as it is.
    raw_tokens: AddedTokens,
    /// Looked for in the normalized text.
    normalized_tokens: AddedTokens,
    before: Vec<i32>,
    after: Vec<i32>,
    /// Most tokens of a text, those around it not counted.
    tokens_max: usize,
    direction: Direction,
}

impl Tokenizer {
    /// Of a tokenizer file.
    ///
    /// # Errors
    /// `input/tokenizer` or `unsupported/tokenizer` if the file is none of BERT's; `input/config` if
    /// `max_tokens` leaves no room for a token of the text.
    pub(crate) fn new(file: TokenizerFile, overrides: Overrides) -> Result<Self> {
        let normalizer = file.normalizer()?;
        let lowercase = overrides.lowercase.unwrap_or(normalizer.lowercase);
        let steps = Steps {
            clean_text: normalizer.clean_text,
            isolate_ideographs: normalizer.handle_chinese_chars,
            strip_accents: normalizer.strip_accents.unwrap_or(lowercase),
            lowercase,
        };
        let frame = file.frame()?;
        let tokens_max = tokens_max(&file, &frame, overrides)?;
        let direction = file.truncation.as_ref().map_or(Direction::Right, |t| t.direction);
        let kinds = Kinds::new();
        let (mut normalized, raw): (Vec<_>, Vec<_>) =
            file.added_tokens.iter().cloned().partition(|token| token.normalized);
        for token in &mut normalized {
            let content = core::mem::take(&mut token.content);
            steps.apply(&kinds, &content, &mut token.content);
        }
        let model = file.into_model();
        let vocabulary = Vocabulary::new(&model.entries)?;
        let unknown = vocabulary.get(&model.unknown).ok_or_else(|| {
            let message = format!("tokenizer file: unk_token {:?} is no token", model.unknown);
            Error::input("tokenizer", message)
        })?;
        Ok(Tokenizer {
            bytes: core::array::from_fn(|byte| byte_kind(byte as u8, steps, &kinds)),
            kinds,
            steps,
            prefix_hash: model.prefix.bytes().fold(Hash::START, Hash::then),
            prefix: model.prefix,
            unknown: unknown as i32,
            word_chars_max: model.word_chars_max,
            vocabulary,
            raw_tokens: AddedTokens::new(raw),
            normalized_tokens: AddedTokens::new(normalized),
            before: frame.before.iter().map(|id| *id as i32).collect(),
            after: frame.after.iter().map(|id| *id as i32).collect(),
            tokens_max,
            direction,
        })
    }

    /// Appends the token ids of `text`, special tokens included, at most as many as configured.
    pub(crate) fn encode(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<i32>) {
        ids.extend(&self.before);
        let start = ids.len();
        let enough = match self.direction {
            Direction::Right => start + self.tokens_max,
            Direction::Left => usize::MAX,
        };
        for part in self.raw_tokens.split(text) {
            match part {
                Part::Token(id) => ids.push(id as i32),
                Part::Text(text) if self.normalized_tokens.is_empty() => {
                    self.encode_text(text, scratch, ids, enough);
                }
                Part::Text(text) => self.encode_marked(text, scratch, ids),
            }
            if ids.len() >= enough {
                break;
            }
        }
        let excess = (ids.len() - start).saturating_sub(self.tokens_max);
        match self.direction {
            Direction::Right => ids.truncate(start + self.tokens_max),
            Direction::Left => drop(ids.drain(start..start + excess)),
        }
        ids.extend(&self.after);
    }

    /// Text that may hold added tokens after it is normalized.
    fn encode_marked(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<i32>) {
        let mut normalized = String::with_capacity(text.len());
        self.steps.apply(&self.kinds, text, &mut normalized);
        for part in self.normalized_tokens.split(&normalized) {
            match part {
                Part::Token(id) => ids.push(id as i32),
                Part::Text(text) => self.encode_normalized(text, &mut scratch.hashes, ids),
            }
        }
    }

    /// Text without added tokens; stops once `enough` ids are there.
    fn encode_text(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<i32>, enough: usize) {
        let bytes = text.as_bytes();
        let Scratch { word, normalized, hashes } = scratch;
        word.clear();
        let (mut word_start, mut at) = (0, 0);
        while at < bytes.len() && ids.len() < enough {
            let byte = bytes[at];
            let Some(kind) = self.bytes.get(usize::from(byte)) else {
                let end = self.separator_after(text, at);
                normalized.clear();
                self.steps.apply(&self.kinds, &text[word_start..end], normalized);
                self.encode_normalized(normalized, hashes, ids);
                word.clear();
                (word_start, at) = (end, end);
                continue;
            };
            at += 1;
            match kind {
                Byte::Letter(letter) => word.push(*letter),
                Byte::Removed => {}
                Byte::Space | Byte::Punctuation => {
                    self.encode_word(word, hashes, ids);
                    word.clear();
                    word_start = at;
                    if *kind == Byte::Punctuation {
                        self.encode_word(&[byte], hashes, ids);
                    }
                }
            }
        }
        if ids.len() < enough {
            self.encode_word(word, hashes, ids);
        }
    }

    /// Where the first separator at or after `at` starts, else the end of the text. At a separator
    /// itself: where it ends.
    fn separator_after(&self, text: &str, at: usize) -> usize {
        let separates = |c: char| self.steps.separates(self.kinds.of(c));
        match text[at..].char_indices().find(|(_, c)| separates(*c)) {
            Some((0, c)) => at + c.len_utf8(),
            Some((index, _)) => at + index,
            None => text.len(),
        }
    }

    fn encode_normalized(&self, text: &str, hashes: &mut Vec<Hash>, ids: &mut Vec<i32>) {
        let mut start = 0;
        for (at, c) in text.char_indices() {
            let kind = self.kinds.of(c);
            if !kind.is(Kind::SPACE | Kind::PUNCTUATION) {
                continue;
            }
            self.encode_word(&text.as_bytes()[start..at], hashes, ids);
            start = at + c.len_utf8();
            if kind.is(Kind::PUNCTUATION) {
                self.encode_word(&text.as_bytes()[at..start], hashes, ids);
            }
        }
        self.encode_word(&text.as_bytes()[start..], hashes, ids);
    }

    /// Appends the pieces of one word of UTF-8, or one unknown token if it has none.
    fn encode_word(&self, word: &[u8], hashes: &mut Vec<Hash>, ids: &mut Vec<i32>) {
        let begins_char = |byte: &&u8| (**byte as i8) >= -0x40;
        if word.len() > self.word_chars_max
            && word.iter().filter(begins_char).count() > self.word_chars_max
        {
            return ids.push(self.unknown);
        }
        let first = ids.len();
        let (mut rest, mut prefix, mut seed) = (word, "", Hash::START);
        while !rest.is_empty() {
            let Some((id, len)) = self.longest_piece(rest, prefix, seed, hashes) else {
                ids.truncate(first);
                return ids.push(self.unknown);
            };
            ids.push(id as i32);
            rest = &rest[len..];
            (prefix, seed) = (&self.prefix, self.prefix_hash);
        }
    }

    /// The longest name of the vocabulary that is `prefix` and a start of `rest`, and how many bytes
    /// of `rest` it takes. A name is UTF-8, so that it cannot end inside a character.
    fn longest_piece(
        &self,
        rest: &[u8],
        prefix: &str,
        seed: Hash,
        hashes: &mut Vec<Hash>,
    ) -> Option<(u32, usize)> {
        let longest = rest.len().min(self.vocabulary.longest().saturating_sub(prefix.len()));
        hashes.clear();
        hashes.extend(rest[..longest].iter().scan(seed, |hash, byte| {
            *hash = hash.then(*byte);
            Some(*hash)
        }));
        for (index, hash) in hashes.iter().enumerate().rev() {
            if let Some(id) = self.vocabulary.find(*hash, prefix, &rest[..=index]) {
                return Some((id, index + 1));
            }
        }
        None
    }
}

/// Buffers that are reused from text to text.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    word: Vec<u8>,
    normalized: String,
    hashes: Vec<Hash>,
}

fn byte_kind(byte: u8, steps: Steps, kinds: &Kinds) -> Byte {
    let kind = kinds.of(char::from(byte));
    if steps.clean_text && kind.is(Kind::CONTROL) {
        Byte::Removed
    } else if kind.is(Kind::SPACE) {
        Byte::Space
    } else if kind.is(Kind::PUNCTUATION) {
        Byte::Punctuation
    } else if steps.lowercase {
        Byte::Letter(byte.to_ascii_lowercase())
    } else {
        Byte::Letter(byte)
    }
}

fn tokens_max(file: &TokenizerFile, frame: &Frame, overrides: Overrides) -> Result<usize> {
    let own = file.truncation.as_ref().map(|truncation| truncation.max_length);
    let max = overrides.max_tokens.or(own).unwrap_or(TOKENS_MAX_DEFAULT) as usize;
    let around = frame.before.len() + frame.after.len();
    if max > around {
        return Ok(max - around);
    }
    let message = format!("max_tokens: expected more than the {around} special tokens, got {max}");
    Err(Error::input("config", message))
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
