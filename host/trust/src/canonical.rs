//! Canonical JSON as TUF and securesystemslib sign it: one text a value.
//!
//! Keys sorted by code point, no white space, strings escape `"` and `\` alone, numbers are integers
//! (<http://wiki.laptop.org/go/Canonical_JSON>).

use serde_json::Value;

/// The canonical text of `value`, which came from [`crate::json::parse`] with floats refused.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Null => text.extend_from_slice(b"null"),
        Value::Bool(true) => text.extend_from_slice(b"true"),
        Value::Bool(false) => text.extend_from_slice(b"false"),
        Value::Number(number) => text.extend_from_slice(number.to_string().as_bytes()),
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push(b'[');
            for (index, item) in items.iter().enumerate() {
                separate(index, text);
                write(item, text);
            }
            text.push(b']');
        }
        Value::Object(entries) => {
            // Not left to the map: a feature of serde_json would make it keep insertion order.
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                separate(index, text);
                write_string(key, text);
                text.push(b':');
                write(item, text);
            }
            text.push(b'}');
        }
    }
}

fn separate(index: usize, text: &mut Vec<u8>) {
    if index > 0 {
        text.push(b',');
    }
}

fn write_string(string: &str, text: &mut Vec<u8>) {
    text.push(b'"');
    for byte in string.bytes() {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, Floats};

    #[test]
    fn a_value_has_one_text() {
        for (text, canonical) in [
            (r#" { "b" : [ 1 , -2 , null ] , "a" : { } } "#, r#"{"a":{},"b":[1,-2,null]}"#),
            (r#"["\u00e9\"\\\n", true, false]"#, "[\"é\\\"\\\\\n\",true,false]"),
            (r#"{"é":1,"z":2,"Z":3,"":4}"#, r#"{"":4,"Z":3,"z":2,"é":1}"#),
        ] {
            let value: Value = json::parse(text.as_bytes(), Floats::Refused).expect(text);
            assert_eq!(String::from_utf8(encode(&value)).expect("text"), canonical);
        }
    }
}
