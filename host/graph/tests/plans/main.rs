//! Whole plans: correctness against naive loops, batching, memory, states, limits, weights.

mod batching;
mod encoder;
mod fusion;
mod refusals;
mod shapes;
mod states;
mod support;
mod weights;
