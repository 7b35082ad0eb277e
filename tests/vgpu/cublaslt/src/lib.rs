//! A test-only `libcublasLt.so.12` over the virtual GPU: descriptors, heuristics and matrix
//! products of the types that inference uses, computed by the host in the order of the stream.
//!
//! It refuses what cuBLASLt's documentation says is refused, and what it does not know. It says
//! nothing about speed, and sums are kept in single precision in the order of `k`.
//!
//! Supported: f32, f16 and bf16 with single-precision sums, 8-bit integers with 32-bit sums;
//! column and row order, strided batches, transposition of A and B; the epilogues default, ReLU,
//! bias, ReLU with bias, GELU and GELU with bias. Scalars are in host memory.
#![allow(non_snake_case)]

mod api;
mod descriptor;
mod driver;
mod product;
