//! Tensor operations that the host runs on handles.
//!
//! The elements never enter the plugin's memory, so that a call costs well under a microsecond on top of the
//! arithmetic. For whole networks build a graph (module `graph`) in a `format` plugin instead.

use crate::bindings::aimass::plugin::tensor;
use crate::call::Parameter;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Runs any op of the graph interface by its name there (`ragged-mean`): `inputs` are its value
/// arguments in order, `attributes` its other arguments by name.
///
/// # Errors
/// `unsupported/op`, and those of the op.
pub fn run(op: &str, inputs: &[&Tensor], attributes: &[(&str, Parameter)]) -> Result<Vec<Tensor>> {
    let attributes: Vec<_> =
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    tensor::run(op, inputs, &attributes)
}

/// Runs an op with exactly one output.
///
/// # Errors
/// As [`run`]; `internal/output-count` if the host answers another number of tensors.
pub fn run_one(op: &str, inputs: &[&Tensor], attributes: &[(&str, Parameter)]) -> Result<Tensor> {
    let [output] = exactly(op, run(op, inputs, attributes)?)?;
    Ok(output)
}

/// `exp(x) / Σ exp(x)` along `axis`. Shape and dtype as `x`.
///
/// # Errors
/// `input/axis`, `input/dtype`.
pub fn softmax(x: &Tensor, axis: u32) -> Result<Tensor> {
    run_one("softmax", &[x], &[("axis", Parameter::Integer(axis.into()))])
}

/// The `k` largest elements along the last axis in falling order, and their i64 indices:
/// `[.., n]` to two of `[.., k]`. Equal elements keep their order.
///
/// # Errors
/// `input/shape` if `k` exceeds the last extent.
pub fn top_k(x: &Tensor, k: u64) -> Result<(Tensor, Tensor)> {
    let attributes = [("k", integer(k)?), ("largest", Parameter::Boolean(true))];
    let [values, indices] = exactly("top-k", run("top-k", &[x], &attributes)?)?;
    Ok((values, indices))
}

/// `x / max(√Σx², epsilon)` over the last axis. Shape and dtype as `x`.
///
/// # Errors
/// `input/dtype`.
pub fn l2_normalize(x: &Tensor, epsilon: f32) -> Result<Tensor> {
    run_one("l2-normalize", &[x], &[("epsilon", Parameter::Float(epsilon.into()))])
}

/// Elements `start, start + step, ..` below `end` along `axis`.
///
/// # Errors
/// `input/axis`, `input/out-of-range`.
pub fn slice(x: &Tensor, axis: u32, start: u64, end: u64, step: u64) -> Result<Tensor> {
    let attributes = [
        ("axis", Parameter::Integer(axis.into())),
        ("start", integer(start)?),
        ("end", integer(end)?),
        ("step", integer(step)?),
    ];
    run_one("slice", &[x], &attributes)
}

macro_rules! ragged {
    ($($(#[$doc:meta])* $name:ident: $op:literal,)*) => { $(
        $(#[$doc])*
        /// `x` is `[rows, ..]`, `offsets` u32 `[sequences + 1]`, the answer `[sequences, ..]`.
        /// A sequence without rows gives zeros.
        ///
        /// # Errors
        /// `input/offsets` if the offsets fall or do not end at the number of rows.
        pub fn $name(x: &Tensor, offsets: &Tensor) -> Result<Tensor> {
            run_one($op, &[x, offsets], &[])
        }
    )* };
}

ragged! {
    /// Mean of the rows of each sequence.
    ragged_mean: "ragged-mean",
    /// Sum of the rows of each sequence.
    ragged_sum: "ragged-sum",
    /// Element-wise maximum over the rows of each sequence.
    ragged_max: "ragged-max",
    /// First row of each sequence.
    ragged_first: "ragged-first",
    /// Last row of each sequence.
    ragged_last: "ragged-last",
}

fn integer(value: u64) -> Result<Parameter> {
    let value = i64::try_from(value).map_err(|_| {
        Error::input("out-of-range", format!("expected a number below 2^63, got {value}"))
    })?;
    Ok(Parameter::Integer(value))
}

fn exactly<const N: usize>(op: &str, tensors: Vec<Tensor>) -> Result<[Tensor; N]> {
    tensors.try_into().map_err(|tensors: Vec<Tensor>| {
        let message = format!("{op}: expected {N} outputs, got {}", tensors.len());
        Error::internal("output-count", message)
    })
}
