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
//! A plugin is tested natively with `cargo test`, against the stub of the host in [`testing`]: tensors,
//! configuration, files, log, clock and random bytes. Graphs, plans, models and media have no stub and
//! panic there: fixtures cover them, which run in the real sandbox.

pub mod audio;
pub mod base64;
#[doc(hidden)]
pub mod bindings;
mod call;
mod config;
mod dtype;
#[cfg(feature = "model")]
pub mod emit;
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
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(feature = "tracing-format")]
mod tracing_format;
mod world;

pub use crate::bindings::aimass::plugin::{clock, random};
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
