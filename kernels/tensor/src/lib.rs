//! Shapes, dtypes and tensors: the nouns that every other crate shares.
//!
//! A [`Tensor`] is an immutable, contiguous, row-major block of host memory with a dtype and a
//! shape. Clones share the bytes; rows can be sliced without a copy. The dtypes are the closed set
//! of the plugin contract (`wit/types.wit`); the strings of OIP's `BYTES` have a representation of
//! their own ([`Strings`]) and never reach a kernel.
//!
//! Deliberately absent: arithmetic (`aimass-cpu`), graphs (`aimass-graph`), strides (kernels take
//! leading dimensions where they need them).

mod buffer;
mod dtype;
mod element;
mod shape;
mod strings;
mod tensor;

pub use buffer::{Buffer, BufferMut, retained_bytes};
pub use dtype::{DType, UnknownDType};
pub use element::Element;
pub use shape::{RANK_MAX, Shape, ShapeError};
pub use strings::{Strings, StringsError};
pub use tensor::{Tensor, TensorError};
