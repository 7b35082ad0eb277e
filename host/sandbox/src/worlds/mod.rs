//! The worlds of the contract: generated types, their conversions, and typed calls of the exports.

pub(crate) mod bindings;
pub(crate) mod convert;
pub(crate) mod exports;
