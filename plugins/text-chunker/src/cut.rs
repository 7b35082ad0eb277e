//! Where a text is cut.

use core::ops::Range;

use aimass_sdk::prelude::*;
use serde::Deserialize;
use unicode_segmentation::UnicodeSegmentation;

/// What stays whole where it fits.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    #[default]
    Sentence,
    Word,
    Character,
    Token,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) source: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Chunk {
    /// Its bytes.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// How texts are cut; `overlap` is less than `size`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cutter {
    pub(crate) unit: Unit,
    pub(crate) size: usize,
    pub(crate) overlap: usize,
}

/// A part that stays whole: where it ends in bytes, and its characters.
#[derive(Clone, Copy, Debug)]
struct Part {
    end: usize,
    characters: usize,
}

impl Cutter {
    /// Hands the bytes of every chunk of `text` to `each`.
    ///
    /// # Errors
    /// Those of `each`.
    pub(crate) fn cut(
        &self,
        text: &str,
        each: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let mut parts = Vec::new();
        self.split(text, 0, self.unit, &mut parts);
        let start_of = |index: usize| if index == 0 { 0 } else { parts[index - 1].end };
        let mut first = 0;
        while first < parts.len() {
            let (mut end, mut characters) = (first, 0);
            while end < parts.len() && characters + parts[end].characters <= self.size {
                characters += parts[end].characters;
                end += 1;
            }
            each(start_of(first), parts[end - 1].end)?;
            if end == parts.len() {
                return Ok(());
            }
            first = self.next(&parts, first, end);
        }
        Ok(())
    }

    /// Where the chunk after `first..end` starts: as far back as the overlap allows, but so that it goes
    /// further than `end`.
    fn next(&self, parts: &[Part], first: usize, end: usize) -> usize {
        let mut next = end;
        let mut repeated = 0;
        while next > first + 1 {
            repeated += parts[next - 1].characters;
            let fits = repeated <= self.overlap && repeated + parts[end].characters <= self.size;
            if !fits {
                break;
            }
            next -= 1;
        }
        next
    }

    /// Cuts what starts at `offset` into units; those that do not fit into smaller ones.
    fn split(&self, text: &str, offset: usize, unit: Unit, parts: &mut Vec<Part>) {
        let mut add = |start: usize, part: &str, smaller: Option<Unit>| {
            let characters = part.chars().count();
            match smaller {
                Some(smaller) if characters > self.size => {
                    self.split(part, offset + start, smaller, parts);
                }
                Some(_) | None => {
                    parts.push(Part { end: offset + start + part.len(), characters });
                }
            }
        };
        match unit {
            Unit::Sentence => {
                for (start, part) in text.split_sentence_bound_indices() {
                    add(start, part, Some(Unit::Word));
                }
            }
            Unit::Word => {
                for (start, part) in text.split_word_bound_indices() {
                    add(start, part, Some(Unit::Character));
                }
            }
            Unit::Character | Unit::Token => {
                for (start, c) in text.char_indices() {
                    add(start, &text[start..start + c.len_utf8()], None);
                }
            }
        }
    }

    /// Hands every window over `count` tokens to `each`.
    ///
    /// # Errors
    /// Those of `each`.
    pub(crate) fn windows(
        &self,
        count: usize,
        each: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let mut start = 0;
        while start < count {
            let end = (start + self.size).min(count);
            each(start, end)?;
            if end == count {
                break;
            }
            start = end - self.overlap;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(unit: Unit, size: usize, overlap: usize, text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut each = |start, end| {
            found.push((start, end));
            Ok(())
        };
        Cutter { unit, size, overlap }.cut(text, &mut each).unwrap();
        found
    }

    #[track_caller]
    fn check(unit: Unit, size: usize, overlap: usize, text: &str, expected: &[&str]) {
        let found = cut(unit, size, overlap, text);
        let found: Vec<_> = found.into_iter().map(|(start, end)| &text[start..end]).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn units_stay_whole_where_they_fit() {
        let text = "One two. Three four! Five?";
        check(Unit::Sentence, 21, 0, text, &["One two. Three four! ", "Five?"]);
        check(Unit::Sentence, 20, 0, text, &["One two. ", "Three four! Five?"]);
        check(Unit::Sentence, 6, 0, text, &["One ", "two. ", "Three ", "four! ", "Five?"]);
        check(Unit::Word, 8, 0, text, &["One two.", " Three ", "four! ", "Five?"]);
        check(Unit::Character, 10, 0, "äöü日本語", &["äöü日本語"]);
        check(Unit::Character, 4, 0, "äöü日本語", &["äöü日", "本語"]);
        check(Unit::Word, 3, 0, "abcdefg", &["abc", "def", "g"]);
        check(Unit::Sentence, 5, 0, "", &[]);
    }

    #[test]
    fn chunks_repeat_whole_units() {
        check(Unit::Character, 4, 2, "abcdefgh", &["abcd", "cdef", "efgh"]);
        check(Unit::Word, 7, 4, "aa bb cc dd", &["aa bb ", " bb cc ", " cc dd"]);
        check(Unit::Sentence, 8, 4, "Hi. Ab. Cd. Ef.", &["Hi. Ab. ", "Ab. Cd. ", "Cd. Ef."]);
        check(Unit::Sentence, 8, 3, "Hi. Ab. Cd. Ef.", &["Hi. Ab. ", "Cd. Ef."]);
    }

    proptest! {
        #[test]
        fn chunks_cover_the_text_and_keep_their_bounds(
            text in "[ab .!é日\n]{0,60}",
            size in 1usize..20,
            overlap in 0usize..19,
            unit in prop::sample::select(vec![Unit::Sentence, Unit::Word, Unit::Character]),
        ) {
            let overlap = overlap.min(size - 1);
            let chunks = cut(unit, size, overlap, &text);
            let mut done = 0;
            for (index, (start, end)) in chunks.iter().enumerate() {
                prop_assert!(text[*start..*end].chars().count() <= size);
                prop_assert!(*start <= done && done < *end);
                prop_assert!(text[*start..done].chars().count() <= overlap);
                prop_assert!(index == 0 || chunks[index - 1].0 < *start);
                done = *end;
            }
            prop_assert_eq!(done, text.len());
        }

        #[test]
        fn windows_cover_all_tokens(count in 0usize..60, size in 1usize..9, overlap in 0usize..8) {
            let overlap = overlap.min(size - 1);
            let mut done = 0;
            Cutter { unit: Unit::Token, size, overlap }.windows(count, &mut |start, end| {
                assert!(end - start <= size && end > done);
                assert_eq!(start, if done == 0 { 0 } else { done - overlap });
                done = end;
                Ok(())
            }).unwrap();
            prop_assert_eq!(done, count);
        }
    }
}
