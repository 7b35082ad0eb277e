//! The facade of the server: inference and the life cycle of models, for any protocol.
mod types;

pub use types::{
    EngineError, Family, InferRequest, InferResponse, ModelMetadata, Parameter, Readiness,
    Selector, TensorMetadata, Usage,
};

/// A running engine.
pub struct Engine;
