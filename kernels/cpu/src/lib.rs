//! Native arithmetic: kernels as plain functions on slices and views, and the pool that runs them.
//!
//! Invariants:
//! - **Same bits everywhere.** What a kernel computes for one row depends on that row (for
//!   attention: on its sequence), never on the other rows, the block, the panel range, the number
//!   of threads or the instruction set. Products are chains of fused multiply-adds in the order of
//!   `k`; reductions use a fixed number of lanes. The scalar path does the same with `f32::mul_add`,
//!   which is slow on x86 processors without FMA and exact everywhere. The exceptions are the
//!   functions that call the platform's `libm` (see [`activation::Unary`] and [`double`]).
//! - **No surprises.** A kernel allocates nothing but its thread's scratch (matmul packing,
//!   attention tiles: bounded, kept, documented), starts no task, logs nothing, and returns no
//!   error: shapes are the caller's to check, and a wrong one panics.
//!
//! Deliberately absent: graphs, dtypes beyond what a kernel takes, block-quantized kernels.

mod level;
mod microkernel;
mod scratch;
mod vector_math;

pub mod activation;
pub mod attention;
pub mod cast;
pub mod ceiling;
pub mod channel_norm;
pub mod conv;
pub mod double;
pub mod elementwise;
pub mod embedding;
pub mod fourier;
pub mod matmul;
pub mod norm;
pub mod pool;
pub mod quantize;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod resample;
pub mod rope;
pub mod shape_ops;
pub mod softmax;
pub mod suppression;
pub mod view;

pub use level::{Level, level, set_dot_products, set_level_max};
