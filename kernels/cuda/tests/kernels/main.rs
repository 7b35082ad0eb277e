//! Every kernel against loops in f64, on the GPU of this machine or else on the virtual one.

mod attention;
mod binary;
mod cast;
mod channel_norm;
mod conv;
mod counting;
mod dynamic_linear;
mod fused;
mod fuzz;
mod indexed;
mod matmul;
mod matmul_integer;
mod moved;
mod norm;
mod placed;
mod pool;
mod product;
mod quantize;
mod quantized;
mod ragged_pool;
mod random_bits;
mod recurrent;
mod reduce;
mod reference;
mod resample;
mod rope;
mod shape_ops;
mod softmax;
mod top_k;
mod unary;

/// Whether the machine under test has cuBLASLt.
pub(crate) const CUBLASLT: bool = false;
