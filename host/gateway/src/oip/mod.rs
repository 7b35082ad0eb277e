//! The Open Inference Protocol v2 on the wire: requests to named tensors, named tensors to
//! answers, as JSON and with the binary tensor data extension.
//!
//! Standards: open-inference-protocol `inference_rest.md`; Triton `extension_binary_data.md`.
//! Nothing here knows HTTP or the engine's life cycle: bytes come in, plain data goes out.

pub(crate) mod binary;
pub(crate) mod data;
pub(crate) mod generate;
mod half;
pub(crate) mod model_config;
pub(crate) mod raw;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod settings;
pub(crate) mod shared_memory;

/// Extensions of the protocol that this server speaks.
pub(crate) const EXTENSIONS: [&str; 9] = [
    "binary_tensor_data",
    "generate",
    "logging",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
    "trace",
];
