//! Whole plans: correctness against naive loops, batching, memory, states, limits, weights.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batching;
mod convolutions;
mod dtypes;
mod dynamic;
mod encoder;
mod fusion;
mod images;
mod indexed;
mod measured;
mod quantized;
mod recurrent;
mod refusals;
mod regions;
mod reports;
mod sequences;
mod shapes;
mod signals;
mod states;
mod strides;
mod support;
mod weights;
