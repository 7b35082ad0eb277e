//! The Open Inference Protocol v2 on the wire: requests to named tensors, named tensors to
//! answers, as JSON and with the binary tensor data extension.
//!
//! Standards: open-inference-protocol `inference_rest.md`; Triton `extension_binary_data.md`.
//! Nothing here knows HTTP or the engine's life cycle: bytes come in, plain data goes out.

pub(crate) mod binary;
pub(crate) mod data;
mod half;
pub(crate) mod raw;
pub(crate) mod request;
pub(crate) mod response;
