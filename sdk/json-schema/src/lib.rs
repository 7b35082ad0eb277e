//! JSON Schema (draft 2020-12, <https://json-schema.org/draft/2020-12>) for schemas and values of strangers.
//!
//! A schema is read whole and refused for what it cannot mean; a value is looked at within a [`Budget`] of
//! steps, and a [`Finding`] says where it is wrong, by which keyword, what was expected and what came.
//! Regular expressions are without look-around and back references, so that they take linear time. `format`
//! says nothing about validity, as the draft has it; nothing is ever fetched.
//!
//! ```
//! use aimass_json_schema::{Budget, Schema, Value};
//!
//! let schema = Value::parse(br#"{"properties": {"size": {"minimum": 1}}}"#).unwrap();
//! let schema = Schema::compile(schema).unwrap();
//! let value = Value::parse(br#"{"size": 0}"#).unwrap();
//! let findings = schema.findings(&value, &mut Budget::new(1_000)).unwrap();
//! assert_eq!(findings[0].path, "/size");
//! assert_eq!(findings[0].message, "expected at least 1, got 0");
//! ```

mod json;
mod keyword;
mod number;
mod schema;
mod validate;

pub use json::{Broken, Value};
pub use number::Decimal;
pub use schema::{Refused, Schema};
pub use validate::{Budget, Finding, Stopped};

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod validate_tests;
