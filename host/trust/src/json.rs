//! Strict JSON: what has two readings is refused.
//!
//! Duplicate keys, numbers that are not integers of 64 bits, deep nesting and anything after the value
//! are errors, so that no two readers of one signed text can understand different things. Unknown
//! fields are refused by the types that are read (`deny_unknown_fields`).

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may nest.
pub(crate) const DEPTH_MAX: u8 = 16;

/// Whether numbers with a fraction or an exponent may appear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floats {
    /// They may: the text holds a JSON Schema.
    Allowed,
    /// They are an error.
    Refused,
}

/// Reads one value of type `T` from `bytes`; the caller has limited their length.
pub(crate) fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    floats: Floats,
) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { floats, depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    serde_json::from_value(value)
}

#[derive(Clone, Copy)]
struct Strict {
    floats: Floats,
    depth: u8,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Strict, E> {
        match self.depth {
            DEPTH_MAX.. => Err(E::custom(format_args!("nesting deeper than {DEPTH_MAX}"))),
            depth => Ok(Strict { depth: depth + 1, ..self }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without duplicate keys")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        match (self.floats, Number::from_f64(value)) {
            (Floats::Allowed, Some(number)) => Ok(Value::Number(number)),
            (Floats::Refused, _) | (_, None) => {
                Err(E::custom(format_args!("`{value}` is not a 64-bit integer")))
            }
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "duplicate key `{}`",
                    crate::refusal::excerpt(&key)
                )));
            }
            let value = entries.next_value_seed(inner)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match parse::<Value>(text.as_bytes(), Floats::Refused) {
            Ok(value) => format!("accepted {value}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn plain_values_are_read() {
        let text = r#"{"a":[1,-2,null,true,"x"],"b":{"a":{}}}"#;
        let value: Value = parse(text.as_bytes(), Floats::Refused).expect("good");
        assert_eq!(value.to_string(), text);
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for (text, wanted) in [
            (r#"{"a":1,"a":2}"#, "duplicate key `a`"),
            (r#"{"b":{"a":1,"\u0061":1}}"#, "duplicate key `a`"),
            ("1.0", "not a 64-bit integer"),
            ("1e3", "not a 64-bit integer"),
            ("-0", "not a 64-bit integer"),
            ("18446744073709551616", "not a 64-bit integer"),
            ("{} {}", "trailing characters"),
            ("", "EOF"),
            (&("[".repeat(17) + &"]".repeat(17)), "nesting deeper than 16"),
            (&"[".repeat(100_000), "nesting deeper than 16"),
        ] {
            let got = error(text);
            assert!(got.contains(wanted), "{wanted}: {got}");
        }
        assert!(error(&("[".repeat(16) + &"]".repeat(16))).starts_with("accepted"));
        assert!(parse::<Value>(b"0.5", Floats::Allowed).is_ok());
    }
}
