//! Reads any bytes as a model and takes its signature: `cargo +nightly fuzz run read_model`.
//!
//! `../src/proto/mutations.rs` runs seeded mutations of the same code in the plain test suite.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aimass_plugin_onnx::read_any(bytes));
