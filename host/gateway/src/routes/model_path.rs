//! The model of a path or of an OpenAI `model` field.

use crate::failure::{Failure, OipFailure};
use aimass_engine::Selector;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

/// `{model}` and, if the path has it, `{version}`.
pub(crate) struct ModelPath {
    pub(crate) name: String,
    pub(crate) selector: Selector,
}

impl<S: Send + Sync> FromRequestParts<S> for ModelPath {
    type Rejection = OipFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ModelPath, OipFailure> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::invalid(error.to_string()))?;
        let (mut name, mut selector) = (String::new(), Selector::Default);
        for (key, value) in &params {
            match key {
                "model" => name = value.to_owned(),
                "version" => selector = value.parse()?,
                _ => {}
            }
        }
        Ok(ModelPath { name, selector })
    }
}

/// Reads `name`, `name@label` or `name@version`.
pub(crate) fn model_id(text: &str) -> Result<ModelPath, Failure> {
    match text.split_once('@') {
        None => Ok(ModelPath { name: text.to_owned(), selector: Selector::Default }),
        Some((name, version)) => {
            Ok(ModelPath { name: name.to_owned(), selector: version.parse()? })
        }
    }
}
