//! One op on tensors, as a cached plan of one node.

use crate::RunError;
use aimass_tensor::Tensor;

/// An argument of an op that is no tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A name, for instance of a dtype.
    Text(String),
    /// A list of whole numbers.
    Ints(Vec<i64>),
}

/// Runs one op inline.
///
/// # Errors
/// [`RunError`].
pub fn run_op(
    _name: &str,
    _inputs: &[Tensor],
    _attributes: &[(String, Attribute)],
) -> Result<Vec<Tensor>, RunError> {
    Err(RunError::Internal("not yet"))
}
