//! What kind a character is, for BERT's normalizer and pre-tokenizer.
//!
//! The Unicode tables are those of Hugging Face's `tokenizers`, version for version: newer ones
//! would classify some characters differently and so give other tokens.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::canonical_combining_class;

/// Set of properties of a character.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kind(u8);

impl Kind {
    /// Unassigned, private or a control character that is no tab or line end; also NUL and U+FFFD.
    pub(crate) const CONTROL: Kind = Kind(1);
    /// Separates words.
    pub(crate) const SPACE: Kind = Kind(2);
    /// Is a word of its own.
    pub(crate) const PUNCTUATION: Kind = Kind(4);
    /// A nonspacing mark: an accent.
    pub(crate) const MARK: Kind = Kind(8);
    /// An ideograph, a word of its own.
    pub(crate) const IDEOGRAPH: Kind = Kind(16);
    /// Canonical decomposition changes it or moves it.
    pub(crate) const DECOMPOSES: Kind = Kind(32);
    /// Lower case differs.
    pub(crate) const UPPER: Kind = Kind(64);

    /// Whether it has any of these properties.
    pub(crate) fn is(self, other: Kind) -> bool {
        self.0 & other.0 != 0
    }

    fn of(c: char) -> Kind {
        let mut kind = 0;
        let mut set = |flag: Kind, holds: bool| kind |= if holds { flag.0 } else { 0 };
        let blank = matches!(c, '\t' | '\n' | '\r');
        set(Kind::CONTROL, c == '\0' || c == '\u{fffd}' || (!blank && c.is_other()));
        set(Kind::SPACE, c.is_whitespace());
        set(Kind::PUNCTUATION, c.is_ascii_punctuation() || c.is_punctuation());
        set(Kind::MARK, c.is_mark_nonspacing());
        set(Kind::IDEOGRAPH, is_ideograph(c));
        let mut decomposed = core::iter::once(c).nfd().map(|(c, _)| c);
        let same = decomposed.next() == Some(c) && decomposed.next().is_none();
        set(Kind::DECOMPOSES, !same || canonical_combining_class(c) != 0);
        set(Kind::UPPER, !c.to_lowercase().eq(core::iter::once(c)));
        Kind(kind)
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

/// Kinds of the characters that are common enough for a table: the basic multilingual plane.
#[derive(Debug)]
pub(crate) struct Kinds(Vec<Kind>);

impl Kinds {
    /// Looks every character up once.
    pub(crate) fn new() -> Self {
        let kind = |code| char::from_u32(code).map_or(Kind(0), Kind::of);
        Kinds((0..0x1_0000).map(kind).collect())
    }

    /// The kind of a character.
    #[inline]
    pub(crate) fn of(&self, c: char) -> Kind {
        match self.0.get(c as usize) {
            Some(kind) => *kind,
            None => Kind::of(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_the_kinds_of_the_reference() {
        #[track_caller]
        fn check(c: char, expected: &[Kind]) {
            let expected = expected.iter().fold(0, |sum, kind| sum | kind.0);
            assert_eq!(Kind::of(c), Kind(expected), "{c:?}");
        }
        check('a', &[]);
        check('A', &[Kind::UPPER]);
        check('$', &[Kind::PUNCTUATION]);
        check('\t', &[Kind::SPACE]);
        check('\u{b}', &[Kind::SPACE, Kind::CONTROL]);
        check('\u{a0}', &[Kind::SPACE]);
        check('\u{200b}', &[Kind::CONTROL]);
        check('é', &[Kind::DECOMPOSES]);
        check('\u{301}', &[Kind::MARK, Kind::DECOMPOSES]);
        check('中', &[Kind::IDEOGRAPH]);
        check('한', &[Kind::DECOMPOSES]);
        check('¿', &[Kind::PUNCTUATION]);
    }

    #[test]
    fn the_table_agrees_with_the_rule() {
        let kinds = Kinds::new();
        for c in ['\0', 'z', 'Ж', '\u{ffff}', '\u{10000}', '\u{1f600}'] {
            assert_eq!(kinds.of(c), Kind::of(c), "{c:?}");
        }
    }
}
