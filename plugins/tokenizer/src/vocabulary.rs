//! The `model` part of a tokenizer file as it is written, and names by their ids.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use aimass_sdk::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Names at most; the largest published vocabularies have about 500,000.
pub(crate) const NAMES_MAX: usize = 2_000_000;

/// Ids are below this, so that a table by id stays small.
pub(crate) const ID_MAX: u32 = 8_000_000;

/// The file's model; which fields count depends on `type`.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelConfig<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    pub(crate) vocab: &'a RawValue,
    #[serde(borrow)]
    pub(crate) merges: Option<&'a RawValue>,
    pub(crate) dropout: Option<f32>,
    pub(crate) unk_token: Option<String>,
    pub(crate) unk_id: Option<u32>,
    pub(crate) continuing_subword_prefix: Option<String>,
    pub(crate) end_of_word_suffix: Option<String>,
    pub(crate) max_input_chars_per_word: Option<usize>,
    #[serde(default)]
    pub(crate) fuse_unk: bool,
    #[serde(default)]
    pub(crate) byte_fallback: bool,
    #[serde(default)]
    pub(crate) ignore_merges: bool,
    pub(crate) alpha: Option<f64>,
}

/// Which model a file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ModelKind {
    Bpe,
    Unigram,
    WordPiece,
    WordLevel,
}

impl<'a> ModelConfig<'a> {
    /// Which model it is; old files do not say.
    ///
    /// # Errors
    /// `unsupported/tokenizer` for any other.
    pub(crate) fn kind(&self) -> Result<ModelKind> {
        match self.r#type.as_deref() {
            Some("BPE") => Ok(ModelKind::Bpe),
            Some("Unigram") => Ok(ModelKind::Unigram),
            Some("WordPiece") => Ok(ModelKind::WordPiece),
            Some("WordLevel") => Ok(ModelKind::WordLevel),
            Some(other) => {
                let message = format!(
                    "tokenizer file: expected a model BPE, Unigram, WordPiece or WordLevel, got {other}"
                );
                Err(Error::unsupported("tokenizer", message))
            }
            None if self.merges.is_some() => Ok(ModelKind::Bpe),
            None if self.vocab.get().starts_with('[') => Ok(ModelKind::Unigram),
            None if self.continuing_subword_prefix.is_some() => Ok(ModelKind::WordPiece),
            None => Ok(ModelKind::WordLevel),
        }
    }

    /// Names and ids of every model but Unigram.
    ///
    /// # Errors
    /// `input/tokenizer` if the file holds something else, `limit/vocabulary` if it holds too much.
    pub(crate) fn names(&self) -> Result<Vec<(Cow<'a, str>, u32)>> {
        let Entries(names) = parse("vocab", self.vocab)?;
        check_names(names.len(), names.iter().map(|(_, id)| *id).max())?;
        Ok(names)
    }

    /// Names and scores of Unigram; an id is a place in the list.
    ///
    /// # Errors
    /// As [`ModelConfig::names`].
    pub(crate) fn scores(&self) -> Result<Vec<(Cow<'a, str>, f64)>> {
        let pieces: Vec<(Name<'_>, f64)> = parse("vocab", self.vocab)?;
        check_names(pieces.len(), None)?;
        Ok(pieces.into_iter().map(|(Name(name), score)| (name, score)).collect())
    }

    /// The pairs of names that join, best first.
    ///
    /// # Errors
    /// As [`ModelConfig::names`].
    pub(crate) fn merges(&self) -> Result<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
        let Some(merges) = self.merges else { return Ok(Vec::new()) };
        let first = merges.get().trim_start_matches(|c: char| c == '[' || c.is_whitespace());
        if merges.get().len() - first.len() >= 2 && merges.get()[1..].trim_start().starts_with('[')
        {
            let pairs: Vec<(Name<'_>, Name<'_>)> = parse("merges", merges)?;
            return Ok(pairs.into_iter().map(|(Name(left), Name(right))| (left, right)).collect());
        }
        let lines: Vec<Name<'_>> = parse("merges", merges)?;
        lines.into_iter().map(|Name(line)| cut_line(line)).collect()
    }
}

fn cut_line(line: Cow<'_, str>) -> Result<(Cow<'_, str>, Cow<'_, str>)> {
    let cut = match &line {
        Cow::Borrowed(line) => {
            line.split_once(' ').map(|(left, right)| (Cow::Borrowed(left), Cow::Borrowed(right)))
        }
        Cow::Owned(line) => line
            .split_once(' ')
            .map(|(left, right)| (Cow::Owned(left.to_owned()), Cow::Owned(right.to_owned()))),
    };
    cut.ok_or_else(|| {
        let message = format!("tokenizer file: merges: expected two names, got {line:?}");
        Error::input("tokenizer", message)
    })
}

fn parse<'a, T: Deserialize<'a>>(what: &str, json: &'a RawValue) -> Result<T> {
    serde_json::from_str(json.get())
        .map_err(|error| Error::input("tokenizer", format!("tokenizer file: {what}: {error}")))
}

/// Refuses vocabularies that are too large.
///
/// # Errors
/// `limit/vocabulary`.
pub(crate) fn check_names(count: usize, highest: Option<u32>) -> Result<()> {
    if count > NAMES_MAX {
        let message = format!("expected at most {NAMES_MAX} tokens, got {count}");
        return Err(Error::limit("vocabulary", message));
    }
    match highest {
        Some(id) if id >= ID_MAX => {
            let message = format!("expected token ids below {ID_MAX}, got {id}");
            Err(Error::limit("vocabulary", message))
        }
        Some(_) | None => Ok(()),
    }
}

/// A text that is borrowed from the file where it has no escapes.
#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The vocabulary in the file's order; a map would only be built to be read once.
struct Entries<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of token names to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Name(name), id)) = map.next_entry()? {
                    entries.push((name, id));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Ids by name while a model is made.
pub(crate) type Ids<'a> = HashMap<&'a str, u32>;

/// Names by id, for decoding.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Where each id's name starts in `joined`, and its end; equal for none.
    spans: Vec<(u32, u32)>,
    joined: String,
}

impl Names {
    /// Sets a name; the last one of an id counts. The id is below [`ID_MAX`].
    pub(crate) fn set(&mut self, id: u32, name: &str) {
        let id = id as usize;
        if self.spans.len() <= id {
            self.spans.resize(id + 1, (0, 0));
        }
        let start = self.joined.len() as u32;
        self.joined.push_str(name);
        self.spans[id] = (start, self.joined.len() as u32);
    }

    /// The name of an id.
    pub(crate) fn get(&self, id: u32) -> Option<&str> {
        let (start, end) = *self.spans.get(id as usize)?;
        (start < end).then(|| &self.joined[start as usize..end as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(json: &str) -> ModelConfig<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn old_files_are_told_apart_by_their_fields() {
        let kind = |json| model(json).kind();
        assert_eq!(kind(r#"{"vocab": {}, "merges": []}"#), Ok(ModelKind::Bpe));
        assert_eq!(kind(r#"{"vocab": [], "unk_id": 0}"#), Ok(ModelKind::Unigram));
        let prefix = r###"{"vocab": {}, "continuing_subword_prefix": "##"}"###;
        assert_eq!(kind(prefix), Ok(ModelKind::WordPiece));
        assert_eq!(kind(r#"{"vocab": {}}"#), Ok(ModelKind::WordLevel));
        let error = kind(r#"{"type": "Magic", "vocab": {}}"#).unwrap_err();
        assert!(error.message.ends_with("got Magic"), "{error}");
    }

    #[test]
    fn merges_come_as_lines_or_as_pairs() {
        let lines = model(r#"{"vocab": {}, "merges": ["a b", "\u00e9 c"]}"#).merges().unwrap();
        let pairs =
            model(r#"{"vocab": {}, "merges": [ ["a", "b"], ["é", "c"]]}"#).merges().unwrap();
        assert_eq!(lines, pairs);
        assert_eq!(lines[1], ("é".into(), "c".into()));
        let one = model(r#"{"vocab": {}, "merges": ["ab"]}"#);
        assert!(one.merges().unwrap_err().message.ends_with("got \"ab\""));
        assert_eq!(model(r#"{"vocab": {}, "merges": []}"#).merges(), Ok(vec![]));
    }

    #[test]
    fn vocabularies_have_bounds() {
        assert_eq!(check_names(NAMES_MAX, Some(ID_MAX - 1)), Ok(()));
        assert_eq!(check_names(NAMES_MAX + 1, None).unwrap_err().code, "vocabulary");
        assert_eq!(check_names(1, Some(ID_MAX)).unwrap_err().code, "vocabulary");
    }

    #[test]
    fn names_are_found_by_id() {
        let mut names = Names::default();
        names.set(3, "c");
        names.set(1, "a");
        names.set(3, "d");
        assert_eq!((names.get(3), names.get(1), names.get(2)), (Some("d"), Some("a"), None));
        assert_eq!(names.get(9), None);
    }
}
