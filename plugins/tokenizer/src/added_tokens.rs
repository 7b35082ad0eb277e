//! Tokens such as `</s>` that are found in a text as they are, before it is cut.
//!
//! The longest of the leftmost matches wins, as in Hugging Face's `added_vocabulary`.

use aimass_sdk::prelude::*;
use serde::Deserialize;

use crate::characters::{Kind, Kinds};
use crate::trie::Trie;

/// Added tokens at most.
pub(crate) const ADDED_TOKENS_MAX: usize = 100_000;

/// A token to look for.
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
    #[serde(default)]
    pub(crate) special: bool,
}

/// A part of a text: a token that was found, or what lies between two of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part<'a> {
    Token(u32),
    Text(&'a str),
}

/// Tokens to look for.
#[derive(Debug)]
pub(crate) struct AddedTokens {
    tokens: Vec<AddedToken>,
    /// Places in `tokens` by content.
    contents: Trie,
    /// Whether a token starts with this byte.
    first: [bool; 256],
}

impl AddedTokens {
    /// Of these tokens; empty ones are never found.
    ///
    /// # Errors
    /// `limit/vocabulary` for too many or too long ones.
    pub(crate) fn new(tokens: Vec<AddedToken>) -> Result<Self> {
        if tokens.len() > ADDED_TOKENS_MAX {
            let got = tokens.len();
            let message = format!("expected at most {ADDED_TOKENS_MAX} added tokens, got {got}");
            return Err(Error::limit("vocabulary", message));
        }
        let mut first = [false; 256];
        for byte in tokens.iter().filter_map(|token| token.content.as_bytes().first()) {
            first[usize::from(*byte)] = true;
        }
        let contents = tokens.iter().zip(0..).map(|(token, at)| (token.content.as_bytes(), at));
        Ok(AddedTokens { contents: Trie::new(contents)?, tokens, first })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Hands the parts of a text to `each` in order, without empty texts, until it answers false;
    /// answers whether all were handed over.
    ///
    /// # Errors
    /// Those of `each`.
    pub(crate) fn split(
        &self,
        kinds: &Kinds,
        text: &str,
        each: &mut dyn FnMut(Part<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let (mut done, mut search) = (0, 0);
        while let Some((token, start, end)) = self.find(text, search) {
            search = end;
            if token.single_word && !alone(kinds, text, start, end) {
                continue;
            }
            let start = if token.lstrip { text[..start].trim_end().len() } else { start };
            let rest = &text[end..];
            let end = if token.rstrip { text.len() - rest.trim_start().len() } else { end };
            if done < start && !each(Part::Text(&text[done..start]))? {
                return Ok(false);
            }
            if !each(Part::Token(token.id))? {
                return Ok(false);
            }
            done = end;
        }
        Ok(done >= text.len() || each(Part::Text(&text[done..]))?)
    }

    /// The longest token that starts first at or after `search`.
    fn find(&self, text: &str, search: usize) -> Option<(&AddedToken, usize, usize)> {
        let bytes = text.as_bytes();
        let mut at = search;
        loop {
            at += bytes[at..].iter().position(|byte| self.first[usize::from(*byte)])?;
            if let Some((index, len)) = self.contents.longest(Trie::START, &bytes[at..]) {
                return Some((&self.tokens[index as usize], at, at + len));
            }
            at += 1;
        }
    }
}

/// Whether no word reaches into `start..end`.
fn alone(kinds: &Kinds, text: &str, start: usize, end: usize) -> bool {
    let word = |c: char| kinds.of(c).is(Kind::WORD);
    !text[..start].chars().next_back().is_some_and(word)
        && !text[end..].chars().next().is_some_and(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, content: &str) -> AddedToken {
        AddedToken {
            id,
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: false,
        }
    }

    #[track_caller]
    fn check(tokens: &[AddedToken], text: &str, expected: &[Part<'_>]) {
        let tokens = AddedTokens::new(tokens.to_vec()).unwrap();
        let mut parts = Vec::new();
        let all = tokens.split(&Kinds::new(), text, &mut |part| {
            parts.push(match part {
                Part::Token(id) => (Some(id), String::new()),
                Part::Text(text) => (None, text.to_owned()),
            });
            Ok(true)
        });
        assert_eq!(all, Ok(true));
        let parts: Vec<_> =
            parts.iter().map(|(id, text)| id.map_or(Part::Text(text), Part::Token)).collect();
        assert_eq!(parts, expected, "{text:?}");
    }

    #[test]
    fn the_longest_leftmost_token_is_cut_out() {
        use Part::{Text, Token};
        let tokens = [token(1, "[A]"), token(2, "[A]b"), token(3, "é"), token(4, "")];
        check(&tokens, "x [A]b[A] é", &[Text("x "), Token(2), Token(1), Text(" "), Token(3)]);
        check(&tokens, "", &[]);
        check(&tokens, "[A", &[Text("[A")]);
        check(&tokens, "[[A]]", &[Text("["), Token(1), Text("]")]);
        check(&[], "[A]", &[Text("[A]")]);
    }

    #[test]
    fn tokens_swallow_blanks_and_respect_words() {
        use Part::{Text, Token};
        let strips = AddedToken { lstrip: true, rstrip: true, ..token(1, "<m>") };
        check(&[strips], "a  <m> <m>\tb", &[Text("a"), Token(1), Token(1), Text("b")]);
        let word = AddedToken { single_word: true, ..token(1, "day") };
        check(std::slice::from_ref(&word), "today", &[Text("today")]);
        check(&[word], "a day.", &[Text("a "), Token(1), Text(".")]);
    }

    #[test]
    fn there_are_at_most_100_000() {
        let tokens = vec![token(0, "a"); ADDED_TOKENS_MAX + 1];
        assert!(AddedTokens::new(tokens[1..].to_vec()).is_ok());
        assert_eq!(AddedTokens::new(tokens).unwrap_err().code, "vocabulary");
    }
}
