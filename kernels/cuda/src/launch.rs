//! What a launch consists of: a kernel in one form, a grid, and parameters.

use aimass_tensor::DType;
use std::ffi::c_void;

/// An address on the device, as a kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Address(pub(crate) u64);

/// Number of an entry point among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) usize);

/// The element type, or the element size, that a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the field's own name for the type, or its bits")]
pub enum Form {
    F32,
    F16,
    Bf16,
    I32,
    I64,
    I8,
    U8,
    B8,
    B16,
    B32,
    B64,
    B128,
    Plain,
}

impl Form {
    /// Bytes of an element; 1 for a kernel without a type.
    pub fn bytes(self) -> usize {
        match self {
            Form::B128 => 16,
            Form::B64 | Form::I64 => 8,
            Form::F32 | Form::I32 | Form::B32 => 4,
            Form::F16 | Form::Bf16 | Form::B16 => 2,
            Form::I8 | Form::U8 | Form::B8 | Form::Plain => 1,
        }
    }

    /// The form of kernels that compute in f32.
    pub(crate) fn of_float(dtype: DType) -> Option<Form> {
        match dtype {
            DType::F32 => Some(Form::F32),
            DType::F16 => Some(Form::F16),
            DType::Bf16 => Some(Form::Bf16),
            _ => None,
        }
    }

    /// The form of kernels that take integers of 8 to 64 bits as their bits.
    pub(crate) fn of_integer(dtype: DType) -> Option<Form> {
        dtype.size().filter(|_| dtype.is_int()).and_then(Form::of_size)
    }

    /// The form of kernels that move elements of `bytes` bytes, 1 to 8.
    pub(crate) fn of_size(bytes: usize) -> Option<Form> {
        match bytes {
            1 => Some(Form::B8),
            2 => Some(Form::B16),
            4 => Some(Form::B32),
            8 => Some(Form::B64),
            _ => None,
        }
    }
}

/// Whether integers of this dtype have a sign.
pub(crate) fn is_signed(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64)
}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y, z; at most 2^31 - 1, 65,535 and 65,535.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y, z; together at most what the kernel is compiled for.
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

/// Most blocks of a grid-stride launch, unless the device is told otherwise: enough to fill any
/// device several times.
pub(crate) const BLOCKS_MAX: u32 = 1 << 16;

impl Grid {
    /// Blocks and threads along x alone.
    pub fn linear(blocks: u32, threads: u32) -> Grid {
        Grid { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared: 0 }
    }

    /// A thread for each of `n` elements, as far as 65,536 blocks go.
    pub fn over(n: u64, threads: u32) -> Grid {
        let blocks = n.div_ceil(u64::from(threads)).clamp(1, u64::from(BLOCKS_MAX));
        Grid::linear(blocks as u32, threads)
    }
}

/// A kernel with its parameters; implemented in the file that `build.py` writes.
pub(crate) trait Kernel {
    /// Name in the source.
    const NAME: &'static str;
    /// Most threads of a block.
    const THREADS_MAX: u32;
    /// Entry points by form.
    const ENTRIES: &'static [(Form, Entry)];

    /// Appends the address of each parameter, in order.
    fn parameters(&self, to: &mut Vec<*mut c_void>);
}

#[cfg(test)]
mod tests {
    use crate::entries::{NAMES, SIZES};

    #[test]
    fn parameters_are_laid_out_as_the_compiler_of_the_kernels_did() {
        let report: serde_json::Value =
            serde_json::from_str(include_str!("../prebuilt/kernels.json")).unwrap();
        let kernels = report["kernels"].as_array().unwrap();
        assert_eq!(kernels.len(), SIZES.len());
        for (kernel, (name, sizes)) in kernels.iter().zip(SIZES) {
            assert_eq!(kernel["name"], *name);
            assert_eq!(kernel["parameter_bytes"], serde_json::json!(sizes), "{name}");
        }
    }

    #[test]
    fn every_image_has_every_entry() {
        let report: serde_json::Value =
            serde_json::from_str(include_str!("../prebuilt/kernels.json")).unwrap();
        for (architecture, entries) in report["resources"].as_object().unwrap() {
            for name in NAMES {
                assert!(entries[*name]["registers"].is_u64(), "{architecture} {name}");
            }
        }
    }
}
