//! Tokens such as `[SEP]` that are found in the text as it is, before it is cut into words.
//!
//! The longest of the leftmost matches wins, as in Hugging Face's `added_vocabulary`.

use unicode_categories::UnicodeCategories;

use crate::tokenizer_file::AddedToken;

/// A part of a text: a token that was found, or what lies between two of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part<'a> {
    Token(u32),
    Text(&'a str),
}

/// Tokens to look for.
#[derive(Debug)]
pub(crate) struct AddedTokens {
    /// Longest first.
    tokens: Vec<AddedToken>,
    /// Whether a token starts with this byte.
    first: [bool; 256],
}

impl AddedTokens {
    /// Of these tokens; empty ones are never found.
    pub(crate) fn new(tokens: impl IntoIterator<Item = AddedToken>) -> Self {
        let mut tokens: Vec<_> = tokens.into_iter().filter(|t| !t.content.is_empty()).collect();
        tokens.sort_by_key(|token| core::cmp::Reverse(token.content.len()));
        let mut first = [false; 256];
        for token in &tokens {
            first[usize::from(token.content.as_bytes()[0])] = true;
        }
        AddedTokens { tokens, first }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The parts of a text in order, without empty ones.
    pub(crate) fn split<'a>(&self, text: &'a str) -> impl Iterator<Item = Part<'a>> {
        let mut done = 0;
        let mut search = 0;
        let mut found = None;
        core::iter::from_fn(move || {
            if let Some(id) = found.take() {
                return Some(Part::Token(id));
            }
            match self.next_match(text, search, done) {
                Some((start, end, id)) => {
                    let before = &text[done..start];
                    search = end;
                    done = end;
                    if before.is_empty() {
                        return Some(Part::Token(id));
                    }
                    found = Some(id);
                    Some(Part::Text(before))
                }
                None => {
                    let rest = &text[done..];
                    (search, done) = (text.len(), text.len());
                    (!rest.is_empty()).then_some(Part::Text(rest))
                }
            }
        })
    }

    /// The first match at or after `search`, with the blanks that it swallows down to `done`.
    fn next_match(&self, text: &str, search: usize, done: usize) -> Option<(usize, usize, u32)> {
        let bytes = text.as_bytes();
        let mut at = search;
        while at < bytes.len() {
            at += bytes[at..].iter().position(|byte| self.first[usize::from(*byte)])?;
            let here = |token: &&AddedToken| bytes[at..].starts_with(token.content.as_bytes());
            let Some(token) = self.tokens.iter().find(here) else {
                at += 1;
                continue;
            };
            let end = at + token.content.len();
            if token.single_word && (ends_with_word(&text[..at]) || starts_with_word(&text[end..]))
            {
                at = end;
                continue;
            }
            let mut span = (at, end);
            if token.lstrip {
                span.0 = text[..at].trim_end().len().max(done);
            }
            if token.rstrip {
                span.1 = text.len() - text[end..].trim_start().len();
            }
            return Some((span.0, span.1, token.id));
        }
        None
    }
}

fn ends_with_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(is_word)
}

fn starts_with_word(text: &str) -> bool {
    text.chars().next().is_some_and(is_word)
}

/// Whether a character belongs to a word: `\w` of Unicode UTS #18.
fn is_word(c: char) -> bool {
    c.is_alphabetic()
        || c.is_mark()
        || c.is_number_decimal_digit()
        || c.is_punctuation_connector()
        || matches!(c, '\u{200c}' | '\u{200d}')
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
        }
    }

    #[track_caller]
    fn check(tokens: &[AddedToken], text: &str, expected: &[Part<'_>]) {
        let tokens = AddedTokens::new(tokens.iter().cloned());
        assert_eq!(tokens.split(text).collect::<Vec<_>>(), expected, "{text:?}");
    }

    #[test]
    fn the_longest_leftmost_token_is_cut_out() {
        use Part::{Text, Token};
        let tokens = [token(1, "[A]"), token(2, "[A]b"), token(3, "é")];
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
}
