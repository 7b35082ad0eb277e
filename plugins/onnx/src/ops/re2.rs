//! RE2's syntax (github.com/google/re2/wiki/Syntax), rewritten for the matcher that this plugin has.
//!
//! Matching takes time linear in the text. Unicode classes (`\p`) and single bytes (`\C`) are refused,
//! and `(?i)` folds the case of ASCII letters only.

use crate::value::{R, Stop, invalid, unsupported};
use regex_lite::{Regex, RegexBuilder};

/// Bytes that a compiled pattern takes at most.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Repetitions that `{n,m}` takes at most, as in RE2.
const REPEATS_MAX: u32 = 1000;
/// White space within a class: without the vertical tab.
const SPACE: &str = r"\t\n\x0C\r ";
/// Everything else.
const NO_SPACE: &str = r"\x00-\x08\x0B\x0E-\x1F\x21-\x{10FFFF}";

/// A pattern that matches whole texts.
pub(super) struct FullMatch(Regex);

impl FullMatch {
    /// Compiles a pattern of RE2.
    ///
    /// # Errors
    /// `input/onnx-model` for what is no such pattern, `unsupported/onnx-op` for what only RE2 has.
    pub(super) fn of(pattern: &str) -> R<FullMatch> {
        let body =
            Rewriter { chars: pattern.chars().collect(), at: 0, out: String::new() }.run()?;
        RegexBuilder::new(&format!(r"\A(?:{body})\z"))
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map(FullMatch)
            .map_err(|error| invalid(format!("pattern `{pattern}`: {error}")))
    }

    /// Whether all of the text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

struct Rewriter {
    chars: Vec<char>,
    at: usize,
    out: String,
}

impl Rewriter {
    fn run(mut self) -> R<String> {
        while let Some(char) = self.next() {
            match char {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '{' => self.repeat()?,
                ']' | '}' => self.literal(char),
                _ => self.out.push(char),
            }
        }
        Ok(self.out)
    }

    fn next(&mut self) -> Option<char> {
        let char = self.chars.get(self.at).copied();
        self.at += usize::from(char.is_some());
        char
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Whether this comes next; if so, it is passed.
    fn passes(&mut self, text: &str) -> bool {
        let found = self.chars[self.at..].iter().copied().take(text.len()).eq(text.chars());
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn literal(&mut self, char: char) {
        self.out.push_str(&format!("\\x{{{:X}}}", u32::from(char)));
    }

    /// After a backslash outside of a class.
    fn escape(&mut self) -> R<()> {
        if self.passes("Q") {
            while self.at < self.chars.len() && !self.passes("\\E") {
                if let Some(char) = self.next() {
                    self.literal(char);
                }
            }
            return Ok(());
        }
        match self.peek() {
            Some(name @ ('d' | 'D' | 'w' | 'W' | 'b' | 'B' | 'A' | 'z')) => {
                self.out.extend(['\\', name]);
                self.at += 1;
            }
            Some('s') => self.group(&format!("[{SPACE}]")),
            Some('S') => self.group(&format!("[^{SPACE}]")),
            _ => {
                let char = self.escaped_char()?;
                self.literal(char);
            }
        }
        Ok(())
    }

    fn group(&mut self, text: &str) {
        self.at += 1;
        self.out.push_str(text);
    }

    /// The one character that an escape stands for.
    fn escaped_char(&mut self) -> R<char> {
        let char = self.next().ok_or_else(|| invalid("a pattern ends with a backslash"))?;
        Ok(match char {
            'a' => '\x07',
            'f' => '\x0c',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\x0b',
            'x' => self.hexadecimal()?,
            '0' => self.octal(0, 2)?,
            '1'..='7' if matches!(self.peek(), Some('0'..='7')) => {
                self.octal(char.to_digit(8).unwrap_or(0), 2)?
            }
            'p' | 'P' => return Err(unsupported("a Unicode class (`\\p`) in a pattern")),
            'C' => return Err(unsupported("a single byte (`\\C`) in a pattern")),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => other,
            other => return Err(invalid(format!("a pattern has an unknown escape `\\{other}`"))),
        })
    }

    fn octal(&mut self, start: u32, digits_max: usize) -> R<char> {
        let mut code = start;
        for _ in 0..digits_max {
            let Some(digit) = self.peek().and_then(|char| char.to_digit(8)) else { break };
            code = code * 8 + digit;
            self.at += 1;
        }
        char::from_u32(code).ok_or_else(bad_code)
    }

    fn hexadecimal(&mut self) -> R<char> {
        let braces = self.passes("{");
        let mut code = 0u32;
        let mut digits = 0;
        while braces || digits < 2 {
            let Some(digit) = self.peek().and_then(|char| char.to_digit(16)) else { break };
            code = code.saturating_mul(16).saturating_add(digit);
            digits += 1;
            self.at += 1;
        }
        if digits == 0 || (!braces && digits != 2) || (braces && !self.passes("}")) {
            return Err(bad_code());
        }
        char::from_u32(code).ok_or_else(bad_code)
    }

    /// After `{`: a repetition if it reads as one, else the character itself.
    fn repeat(&mut self) -> R<()> {
        let rest: String = self.chars[self.at..].iter().take(16).collect();
        let inner = rest.split_once('}').map(|(inner, _)| inner).unwrap_or_default();
        let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if low.is_empty() || !number(low) || !number(high) {
            self.literal('{');
            return Ok(());
        }
        for bound in [low, high].into_iter().filter(|bound| !bound.is_empty()) {
            if !bound.parse::<u32>().is_ok_and(|bound| bound <= REPEATS_MAX) {
                let message = format!("a pattern repeats more than {REPEATS_MAX} times");
                return Err(invalid(message));
            }
        }
        self.out.push_str(&format!("{{{inner}}}"));
        self.at += inner.len() + 1;
        Ok(())
    }

    /// After `[`: all of the class.
    fn class(&mut self) -> R<()> {
        self.out.push('[');
        if self.passes("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.peek() {
                None => return Err(invalid("a pattern has a class without an end")),
                Some(']') if !first => break,
                Some(_) => self.class_item()?,
            }
            first = false;
        }
        self.at += 1;
        self.out.push(']');
        Ok(())
    }

    fn class_item(&mut self) -> R<()> {
        if self.passes("[:") {
            let rest = &self.chars[self.at..];
            let len = rest.windows(2).position(|pair| pair == [':', ']']);
            let len = len.ok_or_else(|| invalid("a pattern has a class without an end"))?;
            let name: String = rest[..len].iter().collect();
            self.out.push_str(&format!("[:{name}:]"));
            self.at += len + 2;
            return Ok(());
        }
        if let (Some('\\'), Some(&name)) = (self.peek(), self.chars.get(self.at + 1)) {
            let set = match name {
                'd' => r"\d",
                'D' => r"\D",
                'w' => r"\w",
                'W' => r"\W",
                's' => SPACE,
                'S' => NO_SPACE,
                _ => "",
            };
            if !set.is_empty() {
                self.at += 1;
                self.group(set);
                return Ok(());
            }
        }
        let start = self.class_char()?;
        self.literal(start);
        if self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|&next| next != ']')
        {
            self.at += 1;
            let end = self.class_char()?;
            self.out.push('-');
            self.literal(end);
        }
        Ok(())
    }

    fn class_char(&mut self) -> R<char> {
        match self.next() {
            Some('\\') => self.escaped_char(),
            Some(char) => Ok(char),
            None => Err(invalid("a pattern has a class without an end")),
        }
    }
}

fn bad_code() -> Stop {
    invalid("a pattern has a bad character code")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        FullMatch::of(pattern).unwrap().matches(text)
    }

    #[test]
    fn all_of_a_text_has_to_match() {
        assert!(matches("a|ab", "ab"));
        assert!(!matches("a|ab", "abc"));
        assert!(!matches("a", "a\n"));
        assert!(!matches(".", "\n"));
        assert!(matches("(?s).", "\n"));
        assert!(matches("", ""));
        let mail = r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)";
        assert!(matches(mail, "account@gmail.com"));
        assert!(!matches(mail, "not email"));
    }

    #[test]
    fn what_only_re2_reads_so_is_rewritten() {
        assert!(matches(r"\Qa.b*\E+", "a.b**"));
        assert!(!matches(r"\Qa.b\E", "axb"));
        assert!(matches(r"\101\x42\x{43}\07", "ABC\x07"));
        assert!(matches("a{,2}{", "a{,2}{"));
        assert!(matches("a{2}b{1,}c{0,1}", "aabb"));
        assert!(matches(r"[[a]+", "[a["));
        assert!(matches(r"[a&&b~~c-]+", "&b~-"));
        assert!(matches(r"[]a]+", "]a"));
        assert!(matches(r"[^]a]", "b"));
        assert!(matches(r"[[:alpha:]_[:^digit:]]+", "aB_ "));
        assert!(matches(r"[\d\s-]+", "1 -\t"));
        assert!(!matches(r"\s", "\x0b"), "RE2's white space has no vertical tab");
        assert!(matches(r"\S[\S]", "\x0b\x0b"));
        assert!(!matches(r"\d", "٣"), "digits are ASCII");
        assert!(matches(r"\<\>\-\_]}", "<>-_]}"));
        assert!(matches("é.", "éß"));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in [
            "(",
            "[a",
            "a\\",
            r"\1",
            r"\y",
            "a{2,1}",
            "a{1001}",
            r"\x{110000}",
            "[b-a]",
            "(?=a)",
            r"\x4",
            "[[:alpha",
            "*",
        ] {
            assert!(FullMatch::of(pattern).is_err(), "{pattern}");
        }
        for pattern in [r"\pN", r"\p{Greek}", r"\C"] {
            assert!(matches!(FullMatch::of(pattern), Err(Stop::Error(_))), "{pattern}");
        }
        let huge = "((((a{1000}){1000}){1000}){1000}){1000}";
        assert!(FullMatch::of(huge).is_err());
        assert!(FullMatch::of(&"(".repeat(10_000)).is_err());
    }
}
