//! How a normalized text is cut into the pieces that the model sees: the file's `pre_tokenizer`.

use aimass_sdk::prelude::*;
use serde::Deserialize;

use crate::byte_level;
use crate::characters::{Kind, Kinds};
use crate::pattern::{Behavior, Pattern, PatternConfig};

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum PreTokenizerConfig {
    Sequence {
        pretokenizers: Vec<PreTokenizerConfig>,
    },
    BertPreTokenizer,
    ByteLevel {
        #[serde(default = "yes")]
        add_prefix_space: bool,
        #[serde(default = "yes")]
        use_regex: bool,
    },
    CharDelimiterSplit {
        delimiter: char,
    },
    Digits {
        individual_digits: bool,
    },
    FixedLength {
        length: usize,
    },
    Metaspace(MetaspaceConfig),
    Punctuation {
        #[serde(default = "isolated")]
        behavior: Behavior,
    },
    Split {
        pattern: PatternConfig,
        behavior: Behavior,
        invert: bool,
    },
    Whitespace,
    WhitespaceSplit,
}

/// SentencePiece's way to write blanks; a decoder, too.
#[derive(Debug, Deserialize)]
pub(crate) struct MetaspaceConfig {
    pub(crate) replacement: char,
    add_prefix_space: Option<bool>,
    prepend_scheme: Option<Prepend>,
    #[serde(default = "yes")]
    split: bool,
}

impl MetaspaceConfig {
    /// Which texts get a blank before them.
    pub(crate) fn prepend(&self) -> Prepend {
        match (self.prepend_scheme, self.add_prefix_space) {
            (Some(prepend), _) => prepend,
            (None, Some(false)) => Prepend::Never,
            (None, Some(true) | None) => Prepend::Always,
        }
    }
}

/// Which pieces get a blank before them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prepend {
    First,
    Never,
    Always,
}

fn yes() -> bool {
    true
}

fn isolated() -> Behavior {
    Behavior::Isolated
}

#[derive(Debug)]
enum Step {
    Bert,
    ByteLevel { prefix: bool, words: bool, write: bool },
    Delimiter(char),
    Digits(Behavior),
    FixedLength(usize),
    Metaspace { replacement: char, prepend: Prepend, split: bool },
    Punctuation(Behavior),
    Split { pattern: Pattern, behavior: Behavior, invert: bool },
    Whitespace,
    WhitespaceSplit,
}

/// A part of the text on its way through the steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) text: &'a str,
    /// Whether the whole text starts with it.
    pub(crate) first: bool,
}

/// What gets the pieces; answers whether it wants more.
pub(crate) type Sink<'a> = dyn FnMut(&str) -> Result<bool> + 'a;

/// The steps in order.
#[derive(Debug, Default)]
pub(crate) struct PreTokenizer {
    steps: Vec<Step>,
}

impl PreTokenizer {
    /// Of the file.
    ///
    /// # Errors
    /// `input/tokenizer` for a broken expression, and for pieces of no length.
    pub(crate) fn new(config: Option<PreTokenizerConfig>) -> Result<Self> {
        let mut steps = PreTokenizer::default();
        if let Some(config) = config {
            steps.add(config)?;
        }
        Ok(steps)
    }

    /// Whether pieces end up as bytes written in characters. If so, the last step leaves that to the
    /// model from now on, which then sees the bytes themselves.
    pub(crate) fn leave_bytes_as_they_are(&mut self) -> bool {
        match self.steps.last_mut() {
            Some(Step::ByteLevel { write, .. }) => {
                *write = false;
                true
            }
            Some(_) | None => false,
        }
    }

    fn add(&mut self, config: PreTokenizerConfig) -> Result<()> {
        let step = match config {
            PreTokenizerConfig::Sequence { pretokenizers } => {
                return pretokenizers.into_iter().try_for_each(|config| self.add(config));
            }
            PreTokenizerConfig::BertPreTokenizer => Step::Bert,
            PreTokenizerConfig::ByteLevel { add_prefix_space, use_regex } => {
                Step::ByteLevel { prefix: add_prefix_space, words: use_regex, write: true }
            }
            PreTokenizerConfig::CharDelimiterSplit { delimiter } => Step::Delimiter(delimiter),
            PreTokenizerConfig::Digits { individual_digits: true } => {
                Step::Digits(Behavior::Isolated)
            }
            PreTokenizerConfig::Digits { individual_digits: false } => {
                Step::Digits(Behavior::Contiguous)
            }
            PreTokenizerConfig::FixedLength { length: 0 } => {
                let message = "tokenizer file: FixedLength: expected at least 1, got 0";
                return Err(Error::input("tokenizer", message));
            }
            PreTokenizerConfig::FixedLength { length } => Step::FixedLength(length),
            PreTokenizerConfig::Metaspace(config) => Step::Metaspace {
                replacement: config.replacement,
                prepend: config.prepend(),
                split: config.split,
            },
            PreTokenizerConfig::Punctuation { behavior } => Step::Punctuation(behavior),
            PreTokenizerConfig::Split { pattern, behavior, invert } => {
                Step::Split { pattern: Pattern::new(&pattern)?, behavior, invert }
            }
            PreTokenizerConfig::Whitespace => Step::Whitespace,
            PreTokenizerConfig::WhitespaceSplit => Step::WhitespaceSplit,
        };
        self.steps.push(step);
        Ok(())
    }

    /// Hands the pieces of `piece` to `sink` until it wants no more; answers whether it does.
    ///
    /// # Errors
    /// `input/pattern` if the text is too hard for an expression, and those of `sink`.
    pub(crate) fn run(&self, kinds: &Kinds, piece: Piece<'_>, sink: &mut Sink<'_>) -> Result<bool> {
        run(&self.steps, kinds, piece, sink)
    }
}

fn run(steps: &[Step], kinds: &Kinds, piece: Piece<'_>, sink: &mut Sink<'_>) -> Result<bool> {
    if piece.text.is_empty() {
        return Ok(true);
    }
    let Some((step, rest)) = steps.split_first() else { return sink(piece.text) };
    let mut error = None;
    let mut start = true;
    let more = step.cut(kinds, piece, &mut |text| {
        let first = piece.first && core::mem::take(&mut start);
        match run(rest, kinds, Piece { text, first }, sink) {
            Ok(more) => more,
            Err(reason) => {
                error = Some(reason);
                false
            }
        }
    })?;
    match error {
        Some(error) => Err(error),
        None => Ok(more),
    }
}

impl Step {
    fn cut(
        &self,
        kinds: &Kinds,
        piece: Piece<'_>,
        each: &mut dyn FnMut(&str) -> bool,
    ) -> Result<bool> {
        let text = piece.text;
        Ok(match self {
            Step::Bert => bert(kinds, text, each),
            Step::ByteLevel { prefix, words, write } => {
                let spaced;
                let mut text = text;
                if *prefix && !text.starts_with(' ') {
                    spaced = format!(" {text}");
                    text = &spaced;
                }
                let mut written = |word: &str| match write {
                    true => each(&byte_level::to_characters(word)),
                    false => each(word),
                };
                if *words { byte_level::words(kinds, text, written) } else { written(text) }
            }
            Step::Delimiter(delimiter) => text.split(*delimiter).all(each),
            Step::Digits(behavior) => by_character(text, *behavior, char::is_numeric, each),
            Step::FixedLength(length) => fixed_length(text, *length, each),
            Step::Metaspace { replacement, prepend, split } => {
                let text = metaspace(piece, *replacement, *prepend);
                if *split { before_each(&text, *replacement, each) } else { each(&text) }
            }
            Step::Punctuation(behavior) => {
                let punctuation = |c| kinds.of(c).is(Kind::PUNCTUATION);
                by_character(text, *behavior, punctuation, each)
            }
            Step::Split { pattern, behavior, invert } => {
                let mut parts = Vec::new();
                pattern.parts(text, &mut parts)?;
                parts.iter_mut().for_each(|(_, found)| *found ^= *invert);
                behavior.apply(&mut parts);
                parts.into_iter().all(|(range, _)| range.is_empty() || each(&text[range]))
            }
            Step::Whitespace => words_and_signs(kinds, text, each),
            Step::WhitespaceSplit => text.split_whitespace().all(each),
        })
    }
}

/// At blanks, which go, and around punctuation.
fn bert(kinds: &Kinds, text: &str, each: &mut dyn FnMut(&str) -> bool) -> bool {
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let kind = kinds.of(c);
        if !kind.is(Kind::SPACE | Kind::PUNCTUATION) {
            continue;
        }
        if start < at && !each(&text[start..at]) {
            return false;
        }
        start = at + c.len_utf8();
        if kind.is(Kind::PUNCTUATION) && !each(&text[at..start]) {
            return false;
        }
    }
    start == text.len() || each(&text[start..])
}

/// `\w+|[^\w\s]+`
fn words_and_signs(kinds: &Kinds, text: &str, each: &mut dyn FnMut(&str) -> bool) -> bool {
    let class = |c| {
        let kind = kinds.of(c);
        [Kind::WORD, Kind::SPACE].into_iter().find(|class| kind.is(*class)).unwrap_or_default()
    };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let own = class(first);
        let end = rest.find(|c| class(c) != own).unwrap_or(rest.len());
        if own != Kind::SPACE && !each(&rest[..end]) {
            return false;
        }
        rest = &rest[end..];
    }
    true
}

/// As a pattern of single characters.
fn by_character(
    text: &str,
    behavior: Behavior,
    found: impl Fn(char) -> bool,
    each: &mut dyn FnMut(&str) -> bool,
) -> bool {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| found(*c)) {
        if start < at {
            parts.push((start..at, false));
        }
        start = at + c.len_utf8();
        parts.push((at..start, true));
    }
    if start < text.len() {
        parts.push((start..text.len(), false));
    }
    behavior.apply(&mut parts);
    parts.into_iter().all(|(range, _)| each(&text[range]))
}

fn fixed_length(text: &str, length: usize, each: &mut dyn FnMut(&str) -> bool) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(end, _)| end);
        if !each(&rest[..end]) {
            return false;
        }
        rest = &rest[end..];
    }
    true
}

/// The text with its spaces replaced, and one more before it if it is to have one.
fn metaspace(piece: Piece<'_>, replacement: char, prepend: Prepend) -> String {
    let mut text = String::with_capacity(piece.text.len() * 5 / 4 + 8);
    let wanted = match prepend {
        Prepend::Always => true,
        Prepend::First => piece.first,
        Prepend::Never => false,
    };
    if wanted && !piece.text.starts_with([' ', replacement]) {
        text.push(replacement);
    }
    for (index, part) in piece.text.split(' ').enumerate() {
        if index > 0 {
            text.push(replacement);
        }
        text.push_str(part);
    }
    text
}

/// Before every `mark`.
fn before_each(text: &str, mark: char, each: &mut dyn FnMut(&str) -> bool) -> bool {
    let mut start = 0;
    for (at, _) in text.match_indices(mark) {
        if start < at && !each(&text[start..at]) {
            return false;
        }
        start = at;
    }
    each(&text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(config: &str, text: &str, first: bool) -> Vec<String> {
        let steps = PreTokenizer::new(Some(serde_json::from_str(config).unwrap())).unwrap();
        let mut found = Vec::new();
        let more = steps.run(&Kinds::new(), Piece { text, first }, &mut |piece| {
            found.push(piece.to_owned());
            Ok(true)
        });
        assert_eq!(more, Ok(true));
        found
    }

    #[track_caller]
    fn check(config: &str, text: &str, expected: &[&str]) {
        assert_eq!(pieces(config, text, true), expected, "{config} {text:?}");
    }

    #[test]
    fn each_step_cuts_as_its_reference() {
        check(r#"{"type": "BertPreTokenizer"}"#, "Hey, man\t$5", &["Hey", ",", "man", "$", "5"]);
        check(r#"{"type": "Whitespace"}"#, "Hey man!? é_1", &["Hey", "man", "!?", "é_1"]);
        check(r#"{"type": "WhitespaceSplit"}"#, " Hey, \u{a0}man ", &["Hey,", "man"]);
        check(r#"{"type": "CharDelimiterSplit", "delimiter": "-"}"#, "a--b", &["a", "b"]);
        check(r#"{"type": "Digits", "individual_digits": true}"#, "a12", &["a", "1", "2"]);
        check(r#"{"type": "Digits", "individual_digits": false}"#, "a12 b", &["a", "12", " b"]);
        check(r#"{"type": "FixedLength", "length": 2}"#, "aébcd", &["aé", "bc", "d"]);
        check(r#"{"type": "Punctuation"}"#, "a!? b", &["a", "!", "?", " b"]);
        let split = r#"{"type": "Split", "pattern": {"Regex": "\\d"}, "behavior": "Removed",
            "invert": true}"#;
        check(split, "a1b2", &["1", "2"]);
        check(r#"{"type": "ByteLevel"}"#, "é x", &["ĠÃ©", "Ġx"]);
        check(r#"{"type": "ByteLevel", "use_regex": false}"#, " a b", &["ĠaĠb"]);
    }

    #[test]
    fn metaspace_marks_where_words_start() {
        let metaspace =
            |more: &str| format!(r#"{{"type": "Metaspace", "replacement": "▁"{more}}}"#);
        check(&metaspace(""), "Hey  man", &["▁Hey", "▁", "▁man"]);
        check(&metaspace(""), " Hey", &["▁Hey"]);
        check(&metaspace(r#", "prepend_scheme": "never", "split": false"#), "a b", &["a▁b"]);
        let first = metaspace(r#", "prepend_scheme": "first""#);
        assert_eq!(pieces(&first, "a b", true), ["▁a", "▁b"]);
        assert_eq!(pieces(&first, "a b", false), ["a", "▁b"]);
        check(&metaspace(r#", "add_prefix_space": false"#), "a b", &["a", "▁b"]);
    }

    #[test]
    fn a_sink_that_has_enough_ends_the_run() {
        let steps = PreTokenizer::new(Some(PreTokenizerConfig::WhitespaceSplit)).unwrap();
        let mut count = 0;
        let more = steps.run(&Kinds::new(), Piece { text: "a b c", first: true }, &mut |_| {
            count += 1;
            Ok(count < 2)
        });
        assert_eq!((more, count), (Ok(false), 2));
    }

    #[test]
    fn pieces_of_no_length_are_refused() {
        let config = PreTokenizerConfig::FixedLength { length: 0 };
        assert_eq!(PreTokenizer::new(Some(config)).unwrap_err().code, "tokenizer");
    }
}
