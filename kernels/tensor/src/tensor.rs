//! Tensors: dtype, shape, and contiguous bytes with shared ownership.
#![expect(unsafe_code, reason = "bytes are viewed as numbers after checking alignment")]

use crate::{Buffer, BufferMut, DType, Element, Shape, ShapeError, Strings};
use std::fmt;
use std::ops::Range;

/// An immutable tensor in host memory, contiguous and row-major. Cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    storage: Storage,
}

#[derive(Clone)]
enum Storage {
    Plain(Buffer),
    Strings(Strings),
}

/// Why bytes and a shape do not make a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape itself is wrong.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The bytes are too few or too many for the shape.
    #[error("a {dtype} tensor of shape {shape} takes {expected} bytes, got {got}")]
    ByteCount {
        /// Dtype asked for.
        dtype: DType,
        /// Shape asked for.
        shape: Shape,
        /// Bytes it takes.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// The element count does not match the shape.
    #[error("a tensor of shape {shape} has {expected} elements, got {got}")]
    ElementCount {
        /// Shape asked for.
        shape: Shape,
        /// Elements it has.
        expected: usize,
        /// Elements that came.
        got: usize,
    },
    /// This dtype cannot be made from, or viewed as, what was asked.
    #[error("expected a tensor of dtype {expected}, got {got}")]
    WrongDType {
        /// Dtype expected.
        expected: DType,
        /// Dtype that came.
        got: DType,
    },
    /// The number of elements is no whole number of the dtype's blocks.
    #[error("shape {shape} is no whole number of {dtype} blocks")]
    PartialBlock {
        /// Dtype asked for.
        dtype: DType,
        /// Shape asked for.
        shape: Shape,
    },
}

impl Tensor {
    /// A tensor over bytes that are in memory already; copied only if they are not aligned for the
    /// dtype.
    ///
    /// # Errors
    /// [`TensorError`] unless the bytes are exactly those that the shape takes.
    pub fn new(dtype: DType, shape: Shape, bytes: Buffer) -> Result<Tensor, TensorError> {
        if dtype == DType::Bytes {
            return Err(TensorError::WrongDType { expected: DType::U8, got: dtype });
        }
        let expected = byte_count(dtype, shape)?;
        let got = bytes.as_slice().len();
        if got != expected {
            return Err(TensorError::ByteCount { dtype, shape, expected, got });
        }
        let align = dtype.size().unwrap_or(1);
        let aligned = (bytes.as_slice().as_ptr() as usize).is_multiple_of(align);
        let bytes = if aligned { bytes } else { copied(bytes.as_slice()) };
        Ok(Tensor { dtype, shape, storage: Storage::Plain(bytes) })
    }

    /// A tensor with a copy of these bytes.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn copy_from(dtype: DType, shape: Shape, bytes: &[u8]) -> Result<Tensor, TensorError> {
        let expected = byte_count(dtype, shape)?;
        if bytes.len() != expected {
            return Err(TensorError::ByteCount { dtype, shape, expected, got: bytes.len() });
        }
        Tensor::new(dtype, shape, copied(bytes))
    }

    /// A tensor with a copy of these numbers.
    ///
    /// # Errors
    /// [`TensorError`] unless there are exactly as many as the shape has elements.
    pub fn from_slice<T: Element>(shape: &[usize], values: &[T]) -> Result<Tensor, TensorError> {
        let shape = Shape::new(shape)?;
        if values.len() != shape.elements() {
            let (expected, got) = (shape.elements(), values.len());
            return Err(TensorError::ElementCount { shape, expected, got });
        }
        Tensor::copy_from(T::DTYPE, shape, as_bytes(values))
    }

    /// A `BYTES` tensor.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`] unless there are as many strings as elements.
    pub fn from_strings(shape: Shape, strings: Strings) -> Result<Tensor, TensorError> {
        let (expected, got) = (shape.elements(), strings.len());
        if expected != got {
            return Err(TensorError::ElementCount { shape, expected, got });
        }
        Ok(Tensor { dtype: DType::Bytes, shape, storage: Storage::Strings(strings) })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes of memory that the elements take (offsets included for strings).
    pub fn byte_len(&self) -> usize {
        match &self.storage {
            Storage::Plain(buffer) => buffer.as_slice().len(),
            Storage::Strings(strings) => strings.data().len() + 4 * strings.offsets().len(),
        }
    }

    /// The bytes, little-endian; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Plain(buffer) => buffer.as_slice(),
            Storage::Strings(_) => &[],
        }
    }

    /// The strings of a `BYTES` tensor.
    pub fn strings(&self) -> Option<&Strings> {
        match &self.storage {
            Storage::Plain(_) => None,
            Storage::Strings(strings) => Some(strings),
        }
    }

    /// The elements as numbers.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`] if the tensor holds another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        if self.dtype != T::DTYPE {
            return Err(TensorError::WrongDType { expected: T::DTYPE, got: self.dtype });
        }
        let bytes = self.bytes();
        // SAFETY: every T accepts every bit pattern, `new` aligned the bytes, and the length is
        // a multiple of the element size.
        Ok(unsafe {
            std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>())
        })
    }

    /// The same bytes under another shape of as many elements.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`] if the element counts differ.
    pub fn reshaped(&self, shape: Shape) -> Result<Tensor, TensorError> {
        let (expected, got) = (shape.elements(), self.shape.elements());
        if expected != got {
            return Err(TensorError::ElementCount { shape, expected, got });
        }
        Ok(Tensor { dtype: self.dtype, shape, storage: self.storage.clone() })
    }

    /// Rows `range` of axis 0, sharing the memory (strings copy their offsets).
    ///
    /// # Panics
    /// On a scalar, on a range outside axis 0, and for 4-bit and block types.
    pub fn rows(&self, range: Range<usize>) -> Tensor {
        let row = self.shape.row_elements();
        let shape = self.shape.with_rows(range.len()).expect("fewer rows than before");
        let storage = match &self.storage {
            Storage::Plain(buffer) => {
                let bytes = row * self.dtype.size().expect("rows of whole bytes");
                Storage::Plain(buffer.slice(range.start * bytes..range.end * bytes))
            }
            Storage::Strings(strings) => {
                let items: Vec<&[u8]> =
                    (range.start * row..range.end * row).map(|i| strings.get(i)).collect();
                Storage::Strings(Strings::from_slices(&items).expect("fewer bytes than before"))
            }
        };
        Tensor { dtype: self.dtype, shape, storage }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {})", self.dtype, self.shape)
    }
}

fn byte_count(dtype: DType, shape: Shape) -> Result<usize, TensorError> {
    dtype.bytes_for(shape.elements()).ok_or(TensorError::PartialBlock { dtype, shape })
}

fn copied(bytes: &[u8]) -> Buffer {
    let mut block = BufferMut::uninit(bytes.len());
    block.as_mut_slice().copy_from_slice(bytes);
    block.freeze()
}

fn as_bytes<T: Element>(values: &[T]) -> &[u8] {
    // SAFETY: an Element has no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn byte_counts_must_match_the_shape() {
        let shape = Shape::new(&[2, 3]).unwrap();
        assert!(Tensor::copy_from(DType::F32, shape, &[0; 24]).is_ok());
        assert!(Tensor::copy_from(DType::F32, shape, &[0; 23]).is_err());
        assert!(Tensor::copy_from(DType::Bytes, shape, &[0; 6]).is_err());
    }

    #[test]
    fn rows_share_memory_and_misaligned_bytes_are_copied() {
        let tensor = Tensor::from_slice(&[3, 2], &[0f32, 1., 2., 3., 4., 5.]).unwrap();
        let rows = tensor.rows(1..3);
        assert_eq!(rows.as_slice::<f32>().unwrap(), [2., 3., 4., 5.]);
        assert_eq!(rows.bytes().as_ptr(), tensor.bytes()[8..].as_ptr());
        let odd = Buffer::shared(Arc::new(vec![0u8; 9])).slice(1..9);
        let shape = Shape::new(&[2]).unwrap();
        let moved = Tensor::new(DType::F32, shape, odd).unwrap();
        assert_eq!(moved.as_slice::<f32>().unwrap(), [0., 0.]);
        assert!(moved.as_slice::<u32>().is_err());
    }

    #[test]
    fn string_tensors_count_their_elements() {
        let strings = Strings::from_slices(&["a", "bc", "", "d"]).unwrap();
        let shape = Shape::new(&[2, 2]).unwrap();
        let tensor = Tensor::from_strings(shape, strings.clone()).unwrap();
        let last = tensor.rows(1..2);
        assert_eq!(last.strings().unwrap().iter().collect::<Vec<_>>(), [b"".as_slice(), b"d"]);
        assert!(Tensor::from_strings(Shape::new(&[3]).unwrap(), strings).is_err());
    }
}
