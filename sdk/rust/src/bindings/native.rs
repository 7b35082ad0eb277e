//! The shared interfaces of the contract for native builds: the functions that `wit-bindgen` generates for
//! WebAssembly, answered by the stub of the host in [`crate::testing`].
//!
//! Names, arguments and results are those of the generated code, so that a plugin compiles against either.

/// Tensors in this process's memory.
pub mod tensor {
    pub use crate::bindings::generated::aimass::plugin::types::{Dtype, Error, Parameter};
    use crate::testing::tensor_bytes;
    use std::ops::Range;
    use std::sync::Arc;

    /// An immutable tensor. Rows and reshapes share its memory.
    #[derive(Debug)]
    pub struct Tensor {
        dtype: Dtype,
        shape: Vec<u64>,
        data: Arc<Vec<u8>>,
        /// The part of `data` that holds the elements; of strings the whole.
        range: Range<usize>,
        /// Of strings: where each begins in `data`, and where the last ends.
        offsets: Vec<u32>,
    }

    impl Tensor {
        /// As the contract's `tensor.create`.
        pub fn create(dtype: Dtype, shape: &[u64], data: &[u8]) -> Result<Tensor, Error> {
            let expected = tensor_bytes(dtype, shape)?;
            if expected != data.len() as u64 {
                let message =
                    format!("expected {expected} bytes for {dtype} {shape:?}, got {}", data.len());
                return Err(Error::input("byte-count", message));
            }
            let (data, range) = (Arc::new(data.to_vec()), 0..data.len());
            Ok(Tensor { dtype, shape: shape.to_vec(), data, range, offsets: Vec::new() })
        }

        /// As the contract's `tensor.create-strings`.
        pub fn create_strings(shape: &[u64], offsets: &[u8], data: &[u8]) -> Result<Tensor, Error> {
            let elements = tensor_bytes(Dtype::U8, shape)?;
            let read: Vec<u32> = offsets
                .chunks_exact(4)
                .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                .collect();
            let rising = read.windows(2).all(|pair| pair[0] <= pair[1]);
            let whole = read.first() == Some(&0) && read.last() == Some(&(data.len() as u32));
            if !offsets.len().is_multiple_of(4)
                || read.len() as u64 != elements + 1
                || !rising
                || !whole
            {
                let message = format!(
                    "expected {} rising offsets from 0 to {}, got {read:?}",
                    elements + 1,
                    data.len()
                );
                return Err(Error::input("offsets", message));
            }
            let (data, range) = (Arc::new(data.to_vec()), 0..data.len());
            Ok(Tensor { dtype: Dtype::Bytes, shape: shape.to_vec(), data, range, offsets: read })
        }

        /// Element type.
        pub fn dtype(&self) -> Dtype {
            self.dtype
        }

        /// Extents, outermost first.
        pub fn shape(&self) -> Vec<u64> {
            self.shape.clone()
        }

        /// Bytes of the elements; of strings those of all together.
        pub fn byte_len(&self) -> u64 {
            self.bytes().len() as u64
        }

        /// As the contract's `tensor.read`.
        pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
            let end = offset.checked_add(len).filter(|end| *end <= self.byte_len());
            let Some(end) = end else {
                let message = format!(
                    "expected a range within {} bytes, got {len} from {offset}",
                    self.byte_len()
                );
                return Err(Error::input("out-of-range", message));
            };
            Ok(self.bytes()[offset as usize..end as usize].to_vec())
        }

        /// As the contract's `tensor.string-offsets`.
        pub fn string_offsets(&self) -> Result<Vec<u8>, Error> {
            if self.dtype != Dtype::Bytes {
                let message = format!("expected a tensor of bytes, got {}", self.dtype);
                return Err(Error::input("dtype", message));
            }
            let first = self.offsets.first().copied().unwrap_or(0);
            Ok(self.offsets.iter().flat_map(|at| (at - first).to_le_bytes()).collect())
        }

        /// The same elements under another shape.
        pub fn reshape(&self, shape: &[u64]) -> Result<Tensor, Error> {
            let elements = |shape: &[u64]| tensor_bytes(Dtype::U8, shape);
            if elements(shape)? != elements(&self.shape)? {
                let message =
                    format!("expected as many elements as {:?}, got {shape:?}", self.shape);
                return Err(Error::input("shape", message));
            }
            Ok(Tensor { shape: shape.to_vec(), ..self.shared() })
        }

        /// Rows `start..end` of axis 0.
        pub fn rows(&self, start: u64, end: u64) -> Result<Tensor, Error> {
            let rows = self.shape.first().copied().unwrap_or(0);
            if start > end || end > rows {
                let message = format!("expected rows within 0..{rows}, got {start}..{end}");
                return Err(Error::input("out-of-range", message));
            }
            let mut cut = self.shared();
            if let Some(extent) = cut.shape.first_mut() {
                *extent = end - start;
            }
            if self.dtype == Dtype::Bytes {
                let row: u64 = self.shape[1..].iter().product();
                let (from, to) = ((start * row) as usize, (end * row) as usize);
                cut.offsets = self.offsets[from..=to].to_vec();
                cut.range = self.offsets[from] as usize..self.offsets[to] as usize;
                return Ok(cut);
            }
            let row = tensor_bytes(self.dtype, &self.shape)? / rows.max(1);
            let first = self.range.start;
            cut.range = first + (start * row) as usize..first + (end * row) as usize;
            Ok(cut)
        }

        /// Another handle of the same tensor.
        pub fn share(&self) -> Result<Tensor, Error> {
            Ok(self.shared())
        }

        /// The bytes of the elements.
        pub(crate) fn bytes(&self) -> &[u8] {
            &self.data[self.range.clone()]
        }

        fn shared(&self) -> Tensor {
            Tensor {
                dtype: self.dtype,
                shape: self.shape.clone(),
                data: self.data.clone(),
                range: self.range.clone(),
                offsets: self.offsets.clone(),
            }
        }

        /// Handles exist in WebAssembly only.
        ///
        /// # Safety
        /// It touches nothing.
        ///
        /// # Panics
        /// Always: glue that was made for WebAssembly was called natively.
        #[doc(hidden)]
        pub unsafe fn from_handle(_handle: u32) -> Tensor {
            panic!("{NO_HANDLES}")
        }

        /// As [`Tensor::from_handle`].
        ///
        /// # Panics
        /// Always.
        #[doc(hidden)]
        pub fn take_handle(&self) -> u32 {
            panic!("{NO_HANDLES}")
        }

        /// As [`Tensor::from_handle`].
        ///
        /// # Panics
        /// Always.
        #[doc(hidden)]
        pub fn handle(&self) -> u32 {
            panic!("{NO_HANDLES}")
        }
    }

    /// What whoever reaches an interface without a stub is told.
    pub(super) const NO_HANDLES: &str = "the stub of the host has no graphs, plans, models or media; \
         test what needs them with a fixture (`aimass plugin test`)";

    /// A tensor with its name.
    #[derive(Debug)]
    pub struct NamedTensor {
        /// Its name.
        pub name: String,
        /// The tensor.
        pub value: Tensor,
    }

    /// As the contract's `tensor.run`, for the ops that the stub has.
    pub fn run(
        op: &str,
        inputs: &[&Tensor],
        attributes: &[(String, Parameter)],
    ) -> Result<Vec<Tensor>, Error> {
        crate::testing::run(op, inputs, attributes)
    }
}

/// The configuration that the stub was given.
pub mod config {
    use crate::bindings::generated::aimass::plugin::types::Error;

    /// The JSON text.
    pub fn get() -> Vec<u8> {
        crate::testing::with(|host| host.config.clone())
    }

    /// Keeps the reason for [`crate::testing::Entered::rejected`].
    pub fn reject(reason: &Error) {
        crate::testing::with(|host| host.rejected = Some(reason.clone()));
    }
}

/// The files that the stub was given.
pub mod files {
    use crate::bindings::generated::aimass::plugin::types::Error;
    use std::sync::Arc;

    /// A file of the package.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileInfo {
        /// Its name.
        pub name: String,
        /// Bytes.
        pub size: u64,
    }

    /// An open file.
    #[derive(Debug)]
    pub struct File(Arc<Vec<u8>>);

    impl File {
        /// Bytes.
        pub fn size(&self) -> u64 {
            self.0.len() as u64
        }

        /// As the contract's `file.read`.
        pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
            let end = offset.checked_add(len).filter(|end| *end <= self.size());
            let Some(end) = end else {
                let message = format!(
                    "expected a range within {} bytes, got {len} from {offset}",
                    self.size()
                );
                return Err(Error::input("out-of-range", message));
            };
            Ok(self.0[offset as usize..end as usize].to_vec())
        }

        /// Handles exist in WebAssembly only.
        ///
        /// # Panics
        /// Always.
        #[doc(hidden)]
        pub fn handle(&self) -> u32 {
            panic!("{}", super::tensor::NO_HANDLES)
        }
    }

    /// All files, by name.
    pub fn list() -> Vec<FileInfo> {
        let info = |(name, bytes): (&String, &Arc<Vec<u8>>)| FileInfo {
            name: name.clone(),
            size: bytes.len() as u64,
        };
        crate::testing::with(|host| host.files.iter().map(info).collect())
    }

    /// Opens a file.
    pub fn open(name: &str) -> Result<File, Error> {
        let found = crate::testing::with(|host| host.files.get(name).cloned());
        found.map(File).ok_or_else(|| {
            Error::not_found("file", format!("there is no file {name}; give it with Host::file"))
        })
    }
}

/// Messages, kept for the test to look at.
pub mod log {
    /// How much a message matters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Level {
        /// Something is wrong.
        Error,
        /// Something may be wrong.
        Warn,
        /// What happens.
        Info,
        /// For finding a defect.
        Debug,
        /// Every step.
        Trace,
    }

    /// Keeps the message, cut to 4 KiB as the host cuts it.
    pub fn write(level: Level, message: &str) {
        crate::testing::log(level, message);
    }
}

/// The clock of the stub; it stands still unless a test moves it.
pub mod clock {
    /// Milliseconds since the stub was made.
    pub fn monotonic_ms() -> u64 {
        crate::testing::with(|host| host.elapsed_ms)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn wall_ms() -> u64 {
        crate::testing::with(|host| host.epoch_ms.saturating_add(host.elapsed_ms))
    }

    /// Milliseconds left until the deadline.
    pub fn remaining_ms() -> u64 {
        crate::testing::with(|host| host.deadline_ms.saturating_sub(host.elapsed_ms))
    }
}

/// Bytes that a seed decides.
pub mod random {
    /// At most 4,096 bytes, as the host gives.
    pub fn bytes(len: u32) -> Vec<u8> {
        crate::testing::random(len)
    }
}
