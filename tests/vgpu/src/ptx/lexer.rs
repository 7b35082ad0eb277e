//! Words of PTX text, each with its line.

use super::PtxError;

/// One word of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// A name, number, directive or opcode with its modifiers: letters, digits and `_$%.`.
    Name(&'a str),
    /// Text between double quotes, without them.
    Text(&'a str),
    /// Any other single character.
    Sign(char),
    /// The end of the text.
    End,
}

/// Reads words from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    position: usize,
    start: usize,
    line: u32,
    ahead: Option<(Word<'a>, u32)>,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`, whose first line has the number `line`.
    pub(crate) fn new(text: &'a str, line: u32) -> Self {
        Self { text, position: 0, start: 0, line, ahead: None }
    }

    /// Line of the next word, counted from 1.
    pub(crate) fn line(&mut self) -> u32 {
        self.peek();
        self.ahead.map_or(self.line, |(_, line)| line)
    }

    /// Offset in the text where the next word starts.
    pub(crate) fn position_of_next(&mut self) -> usize {
        if self.ahead.is_none() {
            self.skip_blanks();
            return self.position;
        }
        self.start
    }

    /// The next word, which stays.
    pub(crate) fn peek(&mut self) -> Word<'a> {
        if self.ahead.is_none() {
            let word = self.read();
            self.ahead = Some((word, self.line));
        }
        self.ahead.map_or(Word::End, |(word, _)| word)
    }

    /// Takes the next word.
    pub(crate) fn take(&mut self) -> Word<'a> {
        let word = self.peek();
        self.ahead = None;
        word
    }

    /// Takes the next word if it is the sign `sign`.
    pub(crate) fn accept(&mut self, sign: char) -> bool {
        let found = self.peek() == Word::Sign(sign);
        if found {
            self.take();
        }
        found
    }

    /// Takes the sign `sign`.
    pub(crate) fn expect(&mut self, sign: char) -> Result<(), PtxError> {
        let line = self.line();
        match self.take() {
            Word::Sign(got) if got == sign => Ok(()),
            got => Err(PtxError::syntax(line, format!("expected `{sign}`, got {got:?}"))),
        }
    }

    /// Takes a name.
    pub(crate) fn name(&mut self) -> Result<&'a str, PtxError> {
        let line = self.line();
        match self.take() {
            Word::Name(name) => Ok(name),
            got => Err(PtxError::syntax(line, format!("expected a name, got {got:?}"))),
        }
    }

    /// Takes an integer, which a minus may precede.
    pub(crate) fn integer(&mut self) -> Result<i64, PtxError> {
        let line = self.line();
        let negative = self.accept('-');
        let name = self.name()?;
        let value = integer(name)
            .ok_or_else(|| PtxError::syntax(line, format!("expected an integer, got `{name}`")))?;
        Ok(if negative { (value as i64).wrapping_neg() } else { value as i64 })
    }

    fn read(&mut self) -> Word<'a> {
        self.skip_blanks();
        self.start = self.position;
        let rest = &self.text[self.position..];
        let Some(first) = rest.chars().next() else { return Word::End };
        if first == '"' {
            let end = rest[1..].find('"').map_or(rest.len() - 1, |end| end + 1);
            self.position += (end + 1).min(rest.len());
            return Word::Text(&rest[1..end]);
        }
        let length = name_length(rest.as_bytes());
        if length == 0 {
            self.position += first.len_utf8();
            return Word::Sign(first);
        }
        self.position += length;
        Word::Name(&rest[..length])
    }

    fn skip_blanks(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.position) {
            let rest = &self.text[self.position..];
            if byte == b'\n' {
                self.line += 1;
                self.position += 1;
            } else if byte.is_ascii_whitespace() || byte == 0 {
                self.position += 1;
            } else if rest.starts_with("//") {
                self.position += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
                self.line += rest[..end].matches('\n').count() as u32;
                self.position += end;
            } else {
                return;
            }
        }
    }
}

/// Length of the name at the start of `bytes`. A double colon inside belongs to it (`.L2::128B`).
fn name_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(&byte) = bytes.get(length) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.') {
            length += 1;
        } else if byte == b':' && bytes.get(length + 1) == Some(&b':') && length > 0 {
            length += 2;
        } else {
            break;
        }
    }
    length
}

/// The value of a PTX integer literal: decimal, `0x`, `0b` or octal, with an optional `U`.
pub(crate) fn integer(name: &str) -> Option<u64> {
    let digits = name.strip_suffix('U').unwrap_or(name);
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    if let Some(binary) = digits.strip_prefix("0b") {
        return u64::from_str_radix(binary, 2).ok();
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return u64::from_str_radix(digits, 8).ok();
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_modifiers_and_lines() {
        let mut lexer = Lexer::new("// head\nld.global.L2::128B.v2.u32\t{%r1, _}, [%rd1+-4];", 1);
        assert_eq!(lexer.line(), 2);
        assert_eq!(lexer.name().unwrap(), "ld.global.L2::128B.v2.u32");
        lexer.expect('{').unwrap();
        assert_eq!(lexer.name().unwrap(), "%r1");
        assert!(lexer.accept(',') && !lexer.accept('}'));
        assert_eq!(lexer.name().unwrap(), "_");
        assert!(lexer.accept('}') && lexer.accept(',') && lexer.accept('['));
        assert_eq!(lexer.name().unwrap(), "%rd1");
        assert!(lexer.accept('+'));
        assert_eq!(lexer.integer().unwrap(), -4);
        let error = lexer.expect('}').unwrap_err();
        assert!(error.to_string().contains("expected `}`"), "{error}");
    }

    #[test]
    fn integers_of_every_base() {
        assert_eq!(integer("0x7FU"), Some(127));
        assert_eq!(integer("017"), Some(15));
        assert_eq!(integer("0b101"), Some(5));
        assert_eq!(integer("18446744073709551615"), Some(u64::MAX));
        assert_eq!(integer("12a"), None);
    }
}
