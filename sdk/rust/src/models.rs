//! Calling other models: branches, ensembles, loops. Needs the capability `models` in `plugin.toml`, and the
//! models' names in `models` of the step in the package's `model.toml`.
//!
//! A model is given as `name`, `name@label` or `name@version`. It runs as the request's tenant, until this
//! call's deadline, and its cost is charged to the request.
//!
//! ```no_run
//! use aimass_sdk::models;
//! use aimass_sdk::prelude::*;
//!
//! fn classify(x: &Tensor, sure: f32) -> Result<Tensor> {
//!     let mut quick = models::call("small", &[("x", x)])?;
//!     if quick.get("score")?.to_vec::<f32>()?[0] >= sure {
//!         return quick.take("class");
//!     }
//!     models::call("large@stable", &[("x", x)])?.take("class")
//! }
//! ```

pub use crate::bindings::model::aimass::plugin::models::infer;

use crate::call::{Outputs, Parameter};
use crate::error::Result;
use crate::tensor::Tensor;

/// Runs a model on these inputs and answers its outputs by name.
///
/// # Errors
/// `forbidden/model` if the package does not name it, `not-found/model`, `limit/depth` (8 models deep, none
/// twice), `limit/model-calls`, and those of the model.
pub fn call(model: &str, inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
    call_with(model, inputs, &[])
}

/// As [`call`], with parameters for the model's plugins.
///
/// # Errors
/// As [`call`].
pub fn call_with(
    model: &str,
    inputs: &[(&str, &Tensor)],
    parameters: &[(&str, Parameter)],
) -> Result<Outputs> {
    let inputs: Vec<_> = inputs.iter().map(|(name, x)| ((*name).to_owned(), *x)).collect();
    let parameters: Vec<_> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    infer(model, &inputs, &parameters).map(Outputs::from)
}
