//! JSON texts (RFC 8259), read strictly: no member twice, nothing beyond the limits.

use core::fmt;

use crate::number::Decimal;

/// Bytes of a text at most.
const BYTES_MAX: usize = 4 << 20;
/// How deep arrays and objects may lie in each other.
const DEPTH_MAX: usize = 64;
/// Values of a text at most.
const VALUES_MAX: usize = 1_000_000;
/// Characters of a value that a message shows.
const SHOWN_MAX: usize = 60;

/// A JSON value. Its order is good for finding equal values only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, as exact as it is written.
    Number(Decimal),
    /// A text.
    String(String),
    /// Items in their order.
    Array(Vec<Value>),
    /// By name, rising.
    Object(Vec<(String, Value)>),
}

/// Why a text was not read.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is no JSON.
    Syntax {
        /// Byte at which that shows.
        at: usize,
        /// What should stand there.
        expected: String,
    },
    /// It is beyond a limit: 4 MiB, 64 arrays and objects in each other, 1,000,000 values, 38 digits.
    Limit {
        /// Byte at which that shows.
        at: usize,
        /// What there may be.
        expected: String,
    },
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Broken::Syntax { at, expected } | Broken::Limit { at, expected }) = self;
        write!(formatter, "expected {expected} at byte {at}")
    }
}

impl Value {
    /// Reads a whole text.
    ///
    /// # Errors
    /// Where it breaks JSON's rules or a limit, and what was expected there.
    pub fn parse(text: &[u8]) -> Result<Value, Broken> {
        if text.len() > BYTES_MAX {
            let expected = format!("at most {BYTES_MAX} bytes");
            return Err(Broken::Limit { at: BYTES_MAX, expected });
        }
        let text = core::str::from_utf8(text).map_err(|error| Broken::Syntax {
            at: error.valid_up_to(),
            expected: "UTF-8".to_owned(),
        })?;
        let mut reader = Reader { text, at: 0, values: 0 };
        let value = reader.value(0)?;
        reader.space();
        if reader.at < text.len() {
            return Err(reader.syntax("the end of the text"));
        }
        Ok(value)
    }

    /// The member of this name, if it is an object that has one.
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => {
                let at = members.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok()?;
                Some(&members[at].1)
            }
            Value::Null
            | Value::Boolean(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => None,
        }
    }

    /// What comparing it costs: one a value, and one for 16 bytes of text.
    pub(crate) fn weight(&self) -> u64 {
        let text = |text: &String| text.len() as u64 / 16;
        match self {
            Value::Null | Value::Boolean(_) | Value::Number(_) => 1,
            Value::String(own) => 1 + text(own),
            Value::Array(items) => 1 + items.iter().map(Value::weight).sum::<u64>(),
            Value::Object(members) => {
                1 + members.iter().map(|(name, it)| text(name) + it.weight()).sum::<u64>()
            }
        }
    }

    /// The value as JSON, cut to 60 characters.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    /// Writes until there is more than a message shows.
    fn write(&self, text: &mut String) {
        if text.len() > 4 * SHOWN_MAX {
            return;
        }
        let quoted = |text: &str| {
            let start: String = text.chars().take(SHOWN_MAX).collect();
            format!("{start:?}")
        };
        match self {
            Value::Null => text.push_str("null"),
            Value::Boolean(value) => text.push_str(&value.to_string()),
            Value::Number(value) => text.push_str(&value.to_string()),
            Value::String(value) => text.push_str(&quoted(value)),
            Value::Array(items) => {
                text.push('[');
                for (index, item) in items.iter().take(SHOWN_MAX).enumerate() {
                    text.push_str(if index > 0 { ", " } else { "" });
                    item.write(text);
                }
                text.push(']');
            }
            Value::Object(members) => {
                text.push('{');
                for (index, (name, value)) in members.iter().take(SHOWN_MAX).enumerate() {
                    text.push_str(if index > 0 { ", " } else { "" });
                    text.push_str(&quoted(name));
                    text.push_str(": ");
                    value.write(text);
                }
                text.push('}');
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn syntax(&self, expected: &str) -> Broken {
        Broken::Syntax { at: self.at, expected: expected.to_owned() }
    }

    fn limit(&self, expected: String) -> Broken {
        Broken::Limit { at: self.at, expected }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes this byte, if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, Broken> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.limit(format!("at most {VALUES_MAX} values")));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => {
                let words = [
                    ("null", Value::Null),
                    ("true", Value::Boolean(true)),
                    ("false", Value::Boolean(false)),
                ];
                let found =
                    words.into_iter().find(|(word, _)| self.text[self.at..].starts_with(word));
                let (word, value) = found.ok_or_else(|| self.syntax("a value"))?;
                self.at += word.len();
                Ok(value)
            }
        }
    }

    /// One level deeper.
    fn open(&mut self, depth: usize) -> Result<usize, Broken> {
        if depth == DEPTH_MAX {
            return Err(self.limit(format!("at most {DEPTH_MAX} arrays and objects in each other")));
        }
        self.at += 1;
        self.space();
        Ok(depth + 1)
    }

    fn array(&mut self, depth: usize) -> Result<Value, Broken> {
        let depth = self.open(depth)?;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.syntax("`,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Broken> {
        let start = self.at;
        let depth = self.open(depth)?;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a name in quotes"));
            }
            let name = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(self.syntax("`:`"));
            }
            members.push((name, self.value(depth)?));
            self.space();
            if self.take(b'}') {
                break;
            }
            if !self.take(b',') {
                return Err(self.syntax("`,` or `}`"));
            }
        }
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        match members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                let expected = format!("an object with {:?} once", pair[0].0);
                Err(Broken::Syntax { at: start, expected })
            }
            None => Ok(Value::Object(members)),
        }
    }

    fn number(&mut self) -> Result<Value, Broken> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let number = Decimal::of_json(&self.text[start..self.at]);
        number.map(Value::Number).map_err(|expected| Broken::Limit { at: start, expected })
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Broken> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax("a digit")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Broken> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ').unwrap_or(rest.len());
            string.push_str(&rest[..end]);
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return Err(self.syntax("an escape instead of a control character")),
                None => return Err(self.syntax("`\"`")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Broken> {
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) | None => return Err(self.syntax("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// After the backslash: `u`, four digits, and what completes a pair.
    fn unicode_escape(&mut self) -> Result<char, Broken> {
        let first = self.unit()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.peek() == Some(b'u')) {
                    return Err(self.syntax("the second half of a surrogate pair"));
                }
                let second = self.unit()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(self.syntax("the second half of a surrogate pair"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.syntax("the first half of a surrogate pair"))
    }

    fn unit(&mut self) -> Result<u32, Broken> {
        self.at += 1;
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.syntax("four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_limit(text: &str) -> bool {
        matches!(Value::parse(text.as_bytes()), Err(Broken::Limit { .. }))
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_breaks() {
        for (text, at) in [
            ("", 0),
            ("nul", 0),
            ("1 2", 2),
            ("01", 1),
            ("1.", 2),
            ("-", 1),
            ("1e+", 3),
            ("+1", 0),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("{a:1}", 1),
            ("{\"a\" 1}", 5),
            ("\"a", 2),
            ("\"\\x\"", 2),
            ("\"\\u12g4\"", 3),
            ("\"\\ud800\"", 7),
            ("\"\\ud800\\u0041\"", 13),
            ("\"\\udc00\"", 7),
            ("\"a\nb\"", 2),
            ("{\"a\":1,\"\\u0061\":2}", 0),
            ("NaN", 0),
        ] {
            match Value::parse(text.as_bytes()) {
                Err(Broken::Syntax { at: found, .. }) => assert_eq!(found, at, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(Value::parse(b"\"a\xff\""), Err(Broken::Syntax { at: 2, .. })));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Value::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(is_limit(&nested(DEPTH_MAX + 1)));
        let zeros = |count: usize| format!("[{}0]", "0,".repeat(count - 2));
        assert!(Value::parse(zeros(VALUES_MAX).as_bytes()).is_ok());
        assert!(is_limit(&zeros(VALUES_MAX + 1)));
        let long = |bytes: usize| format!("\"{}\"", "a".repeat(bytes - 2));
        assert!(Value::parse(long(BYTES_MAX).as_bytes()).is_ok());
        assert!(is_limit(&long(BYTES_MAX + 1)));
        assert!(is_limit(&"1".repeat(39)));
    }

    #[test]
    fn escapes_are_read_and_long_values_are_cut_in_messages() {
        let read = Value::parse(br#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#).unwrap();
        assert_eq!(read, Value::String("\"\\/\u{8}\u{c}\n\r\té😀".to_owned()));
        let value = Value::parse(format!("[{}1]", "\"äöü\",".repeat(500)).as_bytes()).unwrap();
        assert_eq!(value.shown().chars().count(), SHOWN_MAX + 1);
        assert_eq!(
            Value::parse(b" { \"b\" : [1.50, null] , \"a\":true } ").unwrap().shown(),
            r#"{"a": true, "b": [1.5, null]}"#
        );
    }

    proptest! {
        #[test]
        fn a_text_is_read_if_another_parser_reads_it(text in r#"([\[\]{},:0-9eE+\-."a\\n ]|true|null|"a":){0,12}"#) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let ours = Value::parse(text.as_bytes());
            // What has a member twice, or a number that is too large for the other, may differ.
            let repeated = matches!(&ours, Err(error) if error.to_string().contains("once"));
            let large = matches!(&theirs, Err(error) if error.to_string().contains("out of range"));
            prop_assert!(repeated || large || theirs.is_ok() == ours.is_ok(), "{text}: {theirs:?} {ours:?}");
        }
    }
}
