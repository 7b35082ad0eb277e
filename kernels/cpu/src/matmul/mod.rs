//! Products of matrices: constant right sides packed once, and anything by anything.

mod dynamic;
mod int8;
mod integer;
mod numbers;
mod packed;
mod packing;
mod quantized;

pub use dynamic::{MatmulDims, Operand, matmul_dynamic};
pub use int8::{Int8Weights, PackedInt8, matmul_int8};
pub use integer::{
    IntegerRows, PackedIntegers, ProductScale, ZeroPoints, matmul_integer, matmul_integer_scaled,
};
pub use numbers::matmul_numbers;
pub(crate) use packed::product;
pub use packed::{Epilogue, matmul_packed, matmul_packed_panels};
pub use packing::PackedMatrix;
pub(crate) use packing::{Panels, pack_transposed};
pub use quantized::{PackedQuantized, QuantizedWeights, WeightBits, matmul_quantized};

pub use crate::activation::{Activation, Finish};
