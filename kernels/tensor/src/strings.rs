//! Elements of `BYTES` tensors: u32 offsets into one block of bytes.

use crate::Buffer;
use std::sync::Arc;

/// Variable-length byte strings: element `i` is `data[offsets[i]..offsets[i + 1]]`.
#[derive(Clone)]
pub struct Strings {
    offsets: Arc<[u32]>,
    data: Buffer,
}

/// Why offsets and bytes do not make strings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StringsError {
    /// The offsets do not start at 0, fall somewhere, or do not end at the end of the bytes.
    #[error("string offsets must start at 0, never fall and end at {len}; entry {index} is {got}")]
    Offsets {
        /// Index of the first wrong offset.
        index: usize,
        /// The offset there (0 if it is missing).
        got: u32,
        /// Length of the bytes.
        len: usize,
    },
    /// More bytes than 32-bit offsets can address.
    #[error("the strings of one tensor hold at most 4 GiB, got {len} bytes")]
    TooLong {
        /// Length of the bytes.
        len: usize,
    },
}

impl Strings {
    /// Strings from `n + 1` offsets and their bytes.
    ///
    /// # Errors
    /// [`StringsError`] unless the offsets start at 0, never fall, and end at the length of the
    /// bytes.
    pub fn new(offsets: Vec<u32>, data: Buffer) -> Result<Strings, StringsError> {
        let len = data.as_slice().len();
        let wrong = |index: usize| StringsError::Offsets {
            index,
            got: offsets.get(index).copied().unwrap_or(0),
            len,
        };
        if offsets.first() != Some(&0) {
            return Err(wrong(0));
        }
        if let Some(index) = offsets.windows(2).position(|pair| pair[1] < pair[0]) {
            return Err(wrong(index + 1));
        }
        if offsets.last().map(|&last| last as usize) != Some(len) {
            return Err(wrong(offsets.len() - 1));
        }
        Ok(Strings { offsets: offsets.into(), data })
    }

    /// Strings copied from slices.
    ///
    /// # Errors
    /// [`StringsError::TooLong`] if they hold more than 4 GiB together.
    pub fn from_slices<T: AsRef<[u8]>>(items: &[T]) -> Result<Strings, StringsError> {
        let len = items.iter().map(|item| item.as_ref().len()).sum();
        if u32::try_from(len).is_err() {
            return Err(StringsError::TooLong { len });
        }
        let mut offsets = Vec::with_capacity(items.len() + 1);
        let mut data = Vec::with_capacity(len);
        offsets.push(0);
        for item in items {
            data.extend_from_slice(item.as_ref());
            offsets.push(data.len() as u32);
        }
        Ok(Strings { offsets: offsets.into(), data: Buffer::shared(Arc::new(data)) })
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len() + 1` offsets into [`Strings::data`].
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// All bytes, one string after the other.
    pub fn data(&self) -> &[u8] {
        self.data.as_slice()
    }

    /// String `index`.
    ///
    /// # Panics
    /// If `index >= len()`.
    pub fn get(&self, index: usize) -> &[u8] {
        &self.data()[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.offsets.windows(2).map(|pair| &self.data()[pair[0] as usize..pair[1] as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_from_outside_are_checked() {
        let data = || Buffer::shared(Arc::new(b"abc".to_vec()));
        assert!(Strings::new(vec![0, 1, 3], data()).is_ok());
        for wrong in [vec![], vec![1, 3], vec![0, 2, 1, 3], vec![0, 4], vec![0, 2]] {
            assert!(Strings::new(wrong, data()).is_err());
        }
    }

    #[test]
    fn strings_come_back_as_they_went_in() {
        let strings = Strings::from_slices(&["", "grüße", "x"]).unwrap();
        let back: Vec<&[u8]> = strings.iter().collect();
        assert_eq!(back, [b"".as_slice(), "grüße".as_bytes(), b"x"]);
        assert_eq!(strings.get(2), b"x");
    }
}
