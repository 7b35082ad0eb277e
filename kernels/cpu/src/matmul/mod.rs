//! Products of matrices: constant right sides packed once, and anything by anything.

mod dynamic;
mod integer;
mod numbers;
mod packed;
mod packing;
mod quantized;

pub use dynamic::{MatmulDims, Operand, matmul_dynamic};
pub use integer::{IntegerRows, PackedIntegers, ZeroPoints, matmul_integer};
pub use numbers::matmul_numbers;
pub(crate) use packed::product;
pub use packed::{Epilogue, matmul_packed, matmul_packed_panels};
pub use packing::PackedMatrix;
pub(crate) use packing::{Panels, pack_transposed};
pub use quantized::{PackedQuantized, QuantizedWeights, WeightBits, matmul_quantized};

pub use crate::activation::{Activation, Finish};
