//! Calling other models. Needs the grant `models` with their names.

pub use crate::bindings::model::aimass::plugin::models::infer;
