//! What the author of an AI Mass plugin imports.
//!
//! A plugin implements one of four worlds (`Processor`, `Model`, `Format`, `TracingFormat`) and
//! exports it with the macro of that name. It sees tensors by handle, its configuration, the files of its model and
//! nothing else: no file system, no network, no clock, unless its manifest asks for an interface and
//! the operator grants it. Only the interfaces that a plugin
//! really calls end up as imports of its component.
//!
//! Each world has a Cargo feature (`processor`, `model`, `format`, `tracing-format`); turn on the one
//! that you export.
//!
//! Plain functions of a plugin are tested natively with `cargo test`. Whatever asks the host
//! panics there: fixtures cover it, which run in the real sandbox.

pub mod audio;
#[doc(hidden)]
pub mod bindings;
mod call;
mod config;
mod dtype;
mod error;
pub mod files;
#[cfg(feature = "format")]
mod format;
#[cfg(any(feature = "format", feature = "tracing-format"))]
pub mod graph;
pub mod image;
pub mod log;
pub mod media;
#[cfg(feature = "model")]
pub mod models;
pub mod ops;
#[cfg(feature = "model")]
pub mod plans;
mod signature;
mod tensor;
#[cfg(feature = "tracing-format")]
mod tracing_format;
mod world;

pub use crate::bindings::aimass::plugin::{clock, random};
#[cfg(feature = "model")]
pub use crate::bindings::model::aimass::plugin::emit::emit;
pub use call::{Inputs, NamedTensor, NamedTensors, Outputs, Parameter, Parameters};
pub use config::Config;
pub use dtype::{DType, Element};
pub use error::{Error, ErrorFamily, Result};
#[cfg(feature = "format")]
pub use format::{Format, LoadedModel};
pub use signature::{Dim, Signature, TensorSpec};
pub use tensor::{Strings, Tensor};
#[cfg(feature = "tracing-format")]
pub use tracing_format::{Stage, TracedInput, TracingFormat};
pub use world::{Model, Processor, glue};

/// Everything that most plugins use.
pub mod prelude {
    pub use crate::{
        Config, DType, Dim, Error, Inputs, Model, Outputs, Parameters, Processor, Result,
        Signature, Tensor, TensorSpec,
    };
    #[cfg(feature = "format")]
    pub use crate::{Format, LoadedModel};
    #[cfg(feature = "tracing-format")]
    pub use crate::{NamedTensors, Stage, TracedInput, TracingFormat};
}
