//! Tensor kernels for NVIDIA GPUs: the device, its memory and queue, and one function an op.
//!
//! Every kernel is a `.cu` file beside the `.rs` file that launches it. `build.py` compiles them all,
//! ahead of time, to machine code for each generation since Turing; nothing of CUDA is needed to
//! build this crate, and to run it only the driver that comes with the card. Without a driver
//! [`Device::open`] says so, and nothing else changes.
//!
//! Invariants:
//! - Nothing here panics for want of a library, a symbol, memory or a working device.
//! - A launch checks that each operand lies in the memory that it was given before it reaches the
//!   device; shapes were checked above.
//! - Kernels use barriers, `*_sync` shuffles and atomics only: no order between blocks, no
//!   warp-synchronous code.
//! - The order of every sum depends on the shape alone, so that the same call gives the same bits;
//!   cuBLASLt, which promises less, is used only by devices that were opened without
//!   [`DeviceOptions::deterministic`].

pub mod arg_extreme;
pub mod attention;
pub mod attention_decode;
pub mod binary;
pub mod cast;
pub mod channel_norm;
pub mod conv;
mod conv_product;
pub mod counting;
mod cublaslt;
pub mod cumulative;
mod device;
pub mod dynamic_linear;
mod entries;
mod error;
mod event;
mod finish;
pub mod fused;
pub mod gather;
mod gemv;
mod image;
mod index_type;
pub mod lanes;
mod launch;
mod layout;
pub mod matmul;
pub mod matmul_integer;
mod memory;
pub mod norm;
mod nvrtc;
pub mod pad;
mod parameters;
pub mod pool;
mod probe;
mod product;
pub mod quantize;
pub mod quantized;
mod queue;
pub mod ragged_pool;
pub mod random_bits;
pub mod recurrent;
pub mod reduce;
mod replay;
pub mod resample;
pub mod rope;
pub mod scatter;
pub mod select;
pub mod shape_ops;
pub mod softmax;
pub mod strided;
pub mod top_k;
pub mod unary;

pub use device::{Device, DeviceInfo, DeviceOptions};
pub use error::{DeviceError, NoCublasLt};
pub use event::Event;
pub use index_type::IndexType;
pub use launch::{Form, Grid};
pub use memory::{Memory, Slice};
pub use nvrtc::{Compiler, CompilerError};
pub use probe::{Driver, devices};
pub use queue::Queue;
pub use replay::Replay;
