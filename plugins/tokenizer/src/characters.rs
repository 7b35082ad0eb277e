//! What kind a character is.
//!
//! Classes of the BERT rules come from the tables that Hugging Face's `tokenizers` uses, version for
//! version: newer ones would classify some characters differently and so give other tokens. `\p{L}`,
//! `\p{N}` and `\w` come from the regular expressions' own tables.

use regex_syntax::hir::{Class, HirKind};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::is_combining_mark;

/// Set of properties of a character.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kind(u16);

impl Kind {
    /// Unassigned, private or a control character that is no tab or line end; also NUL and U+FFFD.
    pub(crate) const CONTROL: Kind = Kind(1);
    /// `\s`, the property White_Space.
    pub(crate) const SPACE: Kind = Kind(2);
    /// Punctuation as BERT counts it: all of ASCII's symbols, too.
    pub(crate) const PUNCTUATION: Kind = Kind(4);
    /// A nonspacing mark: an accent.
    pub(crate) const ACCENT: Kind = Kind(8);
    /// An ideograph of the blocks that BERT knows.
    pub(crate) const IDEOGRAPH: Kind = Kind(16);
    /// A mark of any kind, as the step `StripAccents` removes.
    pub(crate) const MARK: Kind = Kind(32);
    /// `\p{L}`
    pub(crate) const LETTER: Kind = Kind(64);
    /// `\p{N}`
    pub(crate) const NUMBER: Kind = Kind(128);
    /// `\w`
    pub(crate) const WORD: Kind = Kind(256);

    /// Whether it has any of these properties.
    #[inline]
    pub(crate) fn is(self, other: Kind) -> bool {
        self.0 & other.0 != 0
    }

    /// The properties that single characters are asked for; the classes of expressions are left out.
    fn of(c: char) -> Kind {
        let mut kind = Kind(0);
        let mut set = |flag: Kind, holds: bool| kind.0 |= if holds { flag.0 } else { 0 };
        let blank = matches!(c, '\t' | '\n' | '\r');
        set(Kind::CONTROL, c == '\0' || c == '\u{fffd}' || (!blank && c.is_other()));
        set(Kind::SPACE, c.is_whitespace());
        set(Kind::PUNCTUATION, c.is_ascii_punctuation() || c.is_punctuation());
        set(Kind::ACCENT, c.is_mark_nonspacing());
        set(Kind::IDEOGRAPH, is_ideograph(c));
        set(Kind::MARK, is_combining_mark(c));
        kind
    }
}

impl core::ops::BitOr for Kind {
    type Output = Kind;

    fn bitor(self, other: Kind) -> Kind {
        Kind(self.0 | other.0)
    }
}

/// The CJK blocks that BERT treats as one word a character.
fn is_ideograph(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

/// Kinds of all characters: a table of the basic multilingual plane, rules beyond it.
#[derive(Debug)]
pub(crate) struct Kinds {
    plane: Vec<Kind>,
    /// Ranges of the classes of expressions beyond the table.
    beyond: Vec<(char, char, Kind)>,
}

const PLANE: usize = 0x1_0000;

impl Kinds {
    /// Looks every character up once.
    pub(crate) fn new() -> Self {
        let kind = |code| char::from_u32(code).map_or(Kind(0), Kind::of);
        let mut kinds = Kinds { plane: (0..PLANE as u32).map(kind).collect(), beyond: Vec::new() };
        let classes = [(r"\p{L}", Kind::LETTER), (r"\p{N}", Kind::NUMBER), (r"\w", Kind::WORD)];
        for (class, kind) in classes {
            for (first, last) in ranges(class) {
                kinds.add(first, last, kind);
            }
        }
        kinds
    }

    fn add(&mut self, first: char, last: char, kind: Kind) {
        for code in first as usize..=(last as usize).min(PLANE - 1) {
            self.plane[code] = self.plane[code] | kind;
        }
        if last as usize >= PLANE {
            self.beyond.push((first, last, kind));
        }
    }

    /// The kind of a character.
    #[inline]
    pub(crate) fn of(&self, c: char) -> Kind {
        match self.plane.get(c as usize) {
            Some(kind) => *kind,
            None => self.rare(c),
        }
    }

    #[cold]
    fn rare(&self, c: char) -> Kind {
        let classes = self.beyond.iter().filter(|(first, last, _)| (*first..=*last).contains(&c));
        classes.fold(Kind::of(c), |sum, (_, _, kind)| sum | *kind)
    }
}

/// The ranges of a class; none if it is no class.
fn ranges(class: &str) -> Vec<(char, char)> {
    let Ok(hir) = regex_syntax::parse(class) else { return Vec::new() };
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().map(|range| (range.start(), range.end())).collect()
        }
        HirKind::Class(Class::Bytes(_))
        | HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Capture(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_the_kinds_of_the_reference() {
        let kinds = Kinds::new();
        let check = |c: char, expected: &[Kind]| {
            let expected = expected.iter().fold(Kind(0), |sum, kind| sum | *kind);
            assert_eq!(kinds.of(c), expected, "{c:?}");
        };
        check('a', &[Kind::LETTER, Kind::WORD]);
        check('7', &[Kind::NUMBER, Kind::WORD]);
        check('½', &[Kind::NUMBER]);
        check('_', &[Kind::PUNCTUATION, Kind::WORD]);
        check('$', &[Kind::PUNCTUATION]);
        check('\t', &[Kind::SPACE]);
        check('\u{b}', &[Kind::SPACE, Kind::CONTROL]);
        check('\u{a0}', &[Kind::SPACE]);
        check('\u{200b}', &[Kind::CONTROL]);
        check('\u{301}', &[Kind::ACCENT, Kind::MARK, Kind::WORD]);
        check('中', &[Kind::IDEOGRAPH, Kind::LETTER, Kind::WORD]);
        check('𠀀', &[Kind::IDEOGRAPH, Kind::LETTER, Kind::WORD]);
        check('😀', &[]);
        check('𝟘', &[Kind::NUMBER, Kind::WORD]);
    }
}
