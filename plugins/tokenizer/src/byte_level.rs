//! GPT-2's way to write any bytes as visible characters, and its rule to cut text into words.

use crate::characters::{Kind, Kinds};

/// The character that stands for a byte: itself where it is visible in Latin-1, else one from U+0100 on.
pub(crate) fn character(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if visible(byte) {
        return char::from(byte);
    }
    let hidden_before = (0..byte).filter(|byte| !visible(*byte)).count() as u32;
    char::from_u32(0x100 + hidden_before).unwrap_or('\0')
}

/// The byte that a character stands for.
pub(crate) fn byte(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// All bytes of a text as characters.
pub(crate) fn to_characters(text: &str) -> String {
    text.bytes().map(character).collect()
}

/// The bytes that a name stands for; none if it holds another character.
pub(crate) fn to_bytes(name: &str) -> Option<Vec<u8>> {
    name.chars().map(byte).collect()
}

/// Hands `text` to `each` in GPT-2's words: contractions, letters, numbers or other signs with one
/// space before them, and blanks; `each` answers whether to go on. Answers whether all was handed over.
///
/// It is the expression `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
pub(crate) fn words(kinds: &Kinds, text: &str, mut each: impl FnMut(&str) -> bool) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(word_len(kinds, rest));
        if !each(word) {
            return false;
        }
        rest = after;
    }
    true
}

fn word_len(kinds: &Kinds, text: &str) -> usize {
    const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    if text.starts_with('\'')
        && let Some(found) = CONTRACTIONS.iter().find(|end| text.starts_with(**end))
    {
        return found.len();
    }
    let start = usize::from(text.starts_with(' '));
    let Some(first) = text[start..].chars().next() else { return text.len() };
    let class = class(kinds, first);
    if class.is(Kind::SPACE) {
        return blanks_len(text);
    }
    let other = |c: char| self::class(kinds, c) != class;
    text[start..].find(other).map_or(text.len(), |len| start + len)
}

/// The one class of the expression that a character is in; none of them is the class of other signs.
fn class(kinds: &Kinds, c: char) -> Kind {
    let kind = kinds.of(c);
    let classes = [Kind::LETTER, Kind::NUMBER, Kind::SPACE];
    classes.into_iter().find(|class| kind.is(*class)).unwrap_or_default()
}

/// Blanks, without the last one if something follows them.
fn blanks_len(text: &str) -> usize {
    let Some(end) = text.find(|c: char| !c.is_whitespace()) else { return text.len() };
    let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
    if end > last { end - last } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const EXPRESSION: &str =
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    fn words_of(text: &str) -> Vec<String> {
        static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::new);
        let mut found = Vec::new();
        assert!(words(&KINDS, text, |word| {
            found.push(word.to_owned());
            true
        }));
        found
    }

    #[test]
    fn every_byte_has_a_character_and_back() {
        for value in 0..=255 {
            assert_eq!(byte(character(value)), Some(value));
        }
        assert_eq!((character(b' '), character(b'\n'), character(0xad)), ('Ġ', 'Ċ', 'Ń'));
        assert_eq!(byte('中'), None);
    }

    #[test]
    fn text_is_cut_as_gpt_2_does() {
        assert_eq!(
            words_of("I'll  go, 42x!  "),
            ["I", "'ll", " ", " go", ",", " 42", "x", "!", "  "]
        );
        assert_eq!(words_of(" \n\ta"), [" \n", "\t", "a"]);
        assert_eq!(words_of("'dont"), ["'d", "ont"]);
        assert_eq!(words_of(""), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn it_cuts_as_the_expression_does(text in "[ '\u{a0}\nsrevlabé1½中😀.!-]{0,24}") {
            let expression = fancy_regex::Regex::new(EXPRESSION).unwrap();
            let expected: Vec<_> =
                expression.find_iter(&text).map(|found| found.unwrap().as_str().to_owned()).collect();
            prop_assert_eq!(words_of(&text), expected);
        }
    }
}
