//! Tensors by handle: their bytes live in the host until the plugin asks for them.
//!
//! A [`Tensor`] that is only passed on, or given to an op of [`crate::ops`], costs a handle and
//! copies nothing. [`Tensor::to_vec`] and [`Tensor::from_slice`] copy once.

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};

pub use crate::bindings::aimass::plugin::tensor::Tensor;

/// Bytes that one host read takes at most.
const READ_BYTES_MAX: usize = 16 << 20;

impl Tensor {
    /// A tensor of `shape` (at most 8 extents) with these elements, row-major.
    ///
    /// # Errors
    /// `input/byte-count` if `shape` takes another number of elements; `limit/host-bytes`.
    pub fn from_slice<T: Element>(shape: &[u64], data: &[T]) -> Result<Tensor> {
        Tensor::create(T::DTYPE, shape, bytemuck::cast_slice(data))
    }

    /// As [`Tensor::from_slice`], for f32.
    ///
    /// # Errors
    /// As [`Tensor::from_slice`].
    pub fn from_f32(shape: &[u64], data: &[f32]) -> Result<Tensor> {
        Tensor::from_slice(shape, data)
    }

    /// A `bytes` tensor of `shape` with these strings, row-major.
    ///
    /// # Errors
    /// `input/shape` if `shape` takes another number of strings; `limit/string-bytes` if all strings
    /// together take 4 GiB.
    pub fn strings<S: AsRef<[u8]>>(
        shape: &[u64],
        strings: impl IntoIterator<Item = S>,
    ) -> Result<Tensor> {
        let mut data = Vec::new();
        let mut offsets = vec![0; 4];
        for string in strings {
            data.extend_from_slice(string.as_ref());
            let end = u32::try_from(data.len()).map_err(|_| {
                Error::limit("string-bytes", "expected strings of less than 4 GiB together")
            })?;
            offsets.extend_from_slice(&end.to_le_bytes());
        }
        Tensor::create_strings(shape, &offsets, &data)
    }

    /// The elements, row-major.
    ///
    /// # Errors
    /// `input/dtype` if the tensor holds another dtype.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.expect_dtype(T::DTYPE)?;
        let bytes = usize::try_from(self.byte_len()).map_err(|_| too_large(self.byte_len()))?;
        let mut elements = vec![T::zeroed(); bytes / size_of::<T>()];
        self.read_into(bytemuck::cast_slice_mut(&mut elements))?;
        Ok(elements)
    }

    /// The bytes of the elements, whatever the dtype; of a `bytes` tensor the joined strings.
    ///
    /// # Errors
    /// `limit/read-bytes` if they do not fit the plugin's memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let len = usize::try_from(self.byte_len()).map_err(|_| too_large(self.byte_len()))?;
        if len <= READ_BYTES_MAX {
            return self.read(0, len as u64);
        }
        let mut bytes = vec![0; len];
        self.read_into(&mut bytes)?;
        Ok(bytes)
    }

    /// The strings of a `bytes` tensor.
    ///
    /// # Errors
    /// `input/dtype` if the tensor holds another dtype.
    pub fn as_strings(&self) -> Result<Strings> {
        self.expect_dtype(DType::Bytes)?;
        let offsets = self.string_offsets()?;
        Ok(Strings { offsets: bytemuck::pod_collect_to_vec(&offsets), data: self.to_bytes()? })
    }

    /// Refuses any other dtype.
    ///
    /// # Errors
    /// `input/dtype`.
    pub fn expect_dtype(&self, expected: DType) -> Result<()> {
        let got = self.dtype();
        if got == expected {
            return Ok(());
        }
        let message = format!("expected a tensor of {expected}, got {got}");
        Err(Error::input("dtype", message))
    }

    /// The extents, if there are exactly `N`.
    ///
    /// # Errors
    /// `input/shape`.
    pub fn extents<const N: usize>(&self) -> Result<[u64; N]> {
        let shape = self.shape();
        shape.as_slice().try_into().map_err(|_| {
            Error::input("shape", format!("expected {N} dimensions, got shape {shape:?}"))
        })
    }

    fn read_into(&self, out: &mut [u8]) -> Result<()> {
        let mut at = 0;
        for chunk in out.chunks_mut(READ_BYTES_MAX) {
            chunk.copy_from_slice(&self.read(at, chunk.len() as u64)?);
            at += chunk.len() as u64;
        }
        Ok(())
    }
}

fn too_large(bytes: u64) -> Error {
    Error::limit("read-bytes", format!("{bytes} bytes do not fit the memory of a plugin"))
}

/// The strings of a `bytes` tensor, copied out of the host once.
#[derive(Clone, Debug)]
pub struct Strings {
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl Strings {
    /// How many strings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// String `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = *self.offsets.get(index)? as usize;
        let end = *self.offsets.get(index + 1)? as usize;
        self.data.get(start..end)
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.offsets
            .windows(2)
            .map(|pair| self.data.get(pair[0] as usize..pair[1] as usize).unwrap_or_default())
    }

    /// All strings in order as UTF-8; `name` is what a message calls the tensor.
    pub fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Result<&'a str>> {
        self.iter().enumerate().map(move |(index, bytes)| {
            core::str::from_utf8(bytes).map_err(|error| invalid_utf8(name, index, error))
        })
    }
}

fn invalid_utf8(name: &str, index: usize, error: core::str::Utf8Error) -> Error {
    let at = error.valid_up_to();
    let message = format!("{name}[{index}]: expected UTF-8, got an invalid byte at offset {at}");
    Error::input("utf-8", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(parts: &[&[u8]]) -> Strings {
        let mut strings = Strings { offsets: vec![0], data: Vec::new() };
        for part in parts {
            strings.data.extend_from_slice(part);
            strings.offsets.push(strings.data.len() as u32);
        }
        strings
    }

    #[test]
    fn strings_are_cut_at_their_offsets() {
        let strings = strings(&[b"ab", b"", b"c"]);
        assert_eq!(strings.iter().collect::<Vec<_>>(), [b"ab".as_slice(), b"", b"c"]);
        assert_eq!(strings.get(2), Some(b"c".as_slice()));
        assert_eq!(strings.get(3), None);
        assert_eq!(strings.len(), 3);
    }

    #[test]
    fn text_that_is_not_utf_8_is_an_input_error_that_names_the_item() {
        let strings = strings(&[b"fine", b"a\xff"]);
        let texts: Vec<_> = strings.texts("text").collect();
        assert_eq!(texts[0].as_deref(), Ok("fine"));
        let error = texts[1].clone().unwrap_err();
        assert_eq!(error.code, "utf-8");
        assert!(error.message.starts_with("text[1]: expected UTF-8"), "{error}");
    }
}
