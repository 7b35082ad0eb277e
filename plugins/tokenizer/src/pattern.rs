//! What a step of the file looks for: a text or a regular expression.
//!
//! Expressions are those of `fancy-regex`, which has the look-around that published tokenizers use.

use core::ops::Range;

use aimass_sdk::prelude::*;
use serde::Deserialize;

/// Steps back that an expression may take in one search.
const BACKTRACKS_MAX: usize = 1_000_000;

/// Bytes that a compiled expression may take.
const EXPRESSION_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Deserialize)]
pub(crate) enum PatternConfig {
    String(String),
    Regex(String),
}

/// A text or an expression, ready to search.
#[derive(Debug)]
pub(crate) enum Pattern {
    Text(String),
    Expression(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Of the file.
    ///
    /// # Errors
    /// `input/tokenizer` for an expression that is none or too large, and for an empty text.
    pub(crate) fn new(config: &PatternConfig) -> Result<Self> {
        match config {
            PatternConfig::String(text) if text.is_empty() => {
                Err(Error::input("tokenizer", "tokenizer file: expected a pattern, got nothing"))
            }
            PatternConfig::String(text) => Ok(Pattern::Text(text.clone())),
            PatternConfig::Regex(expression) => {
                let compiled = fancy_regex::RegexBuilder::new(expression)
                    .backtrack_limit(BACKTRACKS_MAX)
                    .delegate_size_limit(EXPRESSION_BYTES_MAX)
                    .build()
                    .map_err(|error| {
                        let message = format!("tokenizer file: expression {expression:?}: {error}");
                        Error::input("tokenizer", message)
                    })?;
                Ok(Pattern::Expression(Box::new(compiled)))
            }
        }
    }

    /// All of `text` in order, cut where a match starts and ends: each part with whether it is one.
    ///
    /// # Errors
    /// `input/pattern` if a search goes back too often.
    pub(crate) fn parts(&self, text: &str, parts: &mut Vec<(Range<usize>, bool)>) -> Result<()> {
        parts.clear();
        let mut done = 0;
        let mut add = |found: Range<usize>| {
            if done < found.start {
                parts.push((done..found.start, false));
            }
            done = found.end;
            parts.push((found, true));
        };
        match self {
            Pattern::Text(pattern) => {
                for (start, found) in text.match_indices(pattern.as_str()) {
                    add(start..start + found.len());
                }
            }
            Pattern::Expression(expression) => {
                for found in expression.find_iter(text) {
                    add(found.map_err(|error| too_hard(&error))?.range());
                }
            }
        }
        if done < text.len() {
            parts.push((done..text.len(), false));
        }
        Ok(())
    }

    /// `text` with `content` in place of every match.
    ///
    /// # Errors
    /// As [`Pattern::parts`].
    pub(crate) fn replace(&self, text: &str, content: &str) -> Result<String> {
        let mut parts = Vec::new();
        self.parts(text, &mut parts)?;
        let part = |(range, found): &(Range<usize>, bool)| match found {
            true => content,
            false => &text[range.clone()],
        };
        Ok(parts.iter().map(part).collect())
    }
}

fn too_hard(error: &fancy_regex::Error) -> Error {
    let message = format!("the text is too hard for the tokenizer's expression: {error}");
    Error::input("pattern", message)
}

/// What becomes of a match when a text is split.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(crate) enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

impl Behavior {
    /// Joins and removes parts as the behavior says; what is left is in order and covers what is kept.
    pub(crate) fn apply(self, parts: &mut Vec<(Range<usize>, bool)>) {
        match self {
            Behavior::Isolated => {}
            Behavior::Removed => parts.retain(|(_, found)| !found),
            Behavior::Contiguous => join(parts, |before, found| before == found),
            Behavior::MergedWithPrevious => join(parts, |before, found| found && !before),
            Behavior::MergedWithNext => {
                parts.reverse();
                join(parts, |after, found| found && !after);
                parts.reverse();
            }
        }
    }
}

/// Joins a part with its neighbor wherever `joins(the neighbor is a match, it is one)`.
fn join(parts: &mut Vec<(Range<usize>, bool)>, joins: impl Fn(bool, bool) -> bool) {
    let mut joined: Vec<(Range<usize>, bool)> = Vec::with_capacity(parts.len());
    let mut neighbor = false;
    for (range, found) in parts.drain(..) {
        match joined.last_mut() {
            Some((last, _)) if joins(neighbor, found) => {
                *last = last.start.min(range.start)..last.end.max(range.end);
            }
            Some(_) | None => joined.push((range, false)),
        }
        neighbor = found;
    }
    *parts = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pattern: &PatternConfig, behavior: Behavior, text: &str) -> Vec<String> {
        let mut parts = Vec::new();
        Pattern::new(pattern).unwrap().parts(text, &mut parts).unwrap();
        behavior.apply(&mut parts);
        parts.into_iter().map(|(range, _)| text[range].to_owned()).collect()
    }

    #[test]
    fn matches_go_where_the_behavior_says() {
        let dash = PatternConfig::String("-".to_owned());
        let text = "the-final--countdown";
        let check = |behavior, expected: &[&str]| {
            assert_eq!(split(&dash, behavior, text), expected, "{behavior:?}");
        };
        check(Behavior::Removed, &["the", "final", "countdown"]);
        check(Behavior::Isolated, &["the", "-", "final", "-", "-", "countdown"]);
        check(Behavior::MergedWithPrevious, &["the-", "final-", "-", "countdown"]);
        check(Behavior::MergedWithNext, &["the", "-final", "-", "-countdown"]);
        check(Behavior::Contiguous, &["the", "-", "final", "--", "countdown"]);
    }

    #[test]
    fn expressions_look_around() {
        let blanks = PatternConfig::Regex(r"\s+(?!\S)|\s+".to_owned());
        assert_eq!(split(&blanks, Behavior::Isolated, "a   b"), ["a", "  ", " ", "b"]);
        let error = Pattern::new(&PatternConfig::Regex("(".to_owned())).unwrap_err();
        assert_eq!(error.code, "tokenizer");
        assert!(Pattern::new(&PatternConfig::String(String::new())).is_err());
    }

    #[test]
    fn a_search_that_explodes_is_the_callers_error() {
        let hard = PatternConfig::Regex(r"(?:(a+)\1?)+b".to_owned());
        let text = "a".repeat(64);
        let error = Pattern::new(&hard).unwrap().parts(&text, &mut Vec::new()).unwrap_err();
        assert_eq!(error.code, "pattern", "{error}");
    }
}
