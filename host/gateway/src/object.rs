//! JSON objects, and nothing else in their place.
//!
//! serde's derive takes a list where a struct is expected, its items as the fields in their order. No
//! protocol that is spoken here does, and a list that is taken for an object hides a client's mistake.

use crate::failure::Failure;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// A `T` that was written as an object.
#[derive(Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A request's body as the object that it should be.
///
/// # Errors
/// 400 for anything else.
pub(crate) fn read_object<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Failure> {
    let read = serde_json::from_slice::<Object<T>>(body);
    read.map(|Object(value)| value)
        .map_err(|error| Failure::invalid(format!("request JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Outer {
        first: bool,
        inner: Object<Inner>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Inner {
        second: u8,
    }

    #[test]
    fn a_list_is_no_object() {
        let read = |text: &str| {
            let outer = read_object::<Outer>(text.as_bytes());
            outer.map(|outer| (outer.first, outer.inner.0.second)).map_err(|failure| {
                assert_eq!(failure.status.as_u16(), 400);
                failure.message
            })
        };
        assert_eq!(read("{}"), Ok((false, 0)));
        assert_eq!(read(r#"{"inner":{"second":2},"first":true}"#), Ok((true, 2)));
        for wrong in ["[]", "[true]", r#"{"inner":[2]}"#, "null", "7", "\"first\""] {
            let message = read(wrong).unwrap_err();
            assert!(message.contains("expected an object"), "{wrong}: {message}");
        }
    }
}
