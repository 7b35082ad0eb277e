//! Where weights come from. Their bytes stay where they are: a mapped file, or memory of the host.

use aimass_tensor::{Buffer, DType, Shape, Tensor};
use sha2::{Digest, Sha256};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A read-only file of weights that the host holds.
pub trait WeightSource: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A digest that names the content; equal digests share packed weights.
    fn digest(&self) -> [u8; 32];

    /// The bytes of a range that lies within `len`, without a copy where that is possible.
    ///
    /// # Errors
    /// [`WeightError`] if they cannot be read or do not verify.
    fn read(&self, range: Range<u64>) -> Result<Buffer, WeightError>;

    /// Says that the bytes of a range have been copied, so that a mapped file need not keep them in
    /// memory. Whoever reads them again gets the same bytes, from the file. Default: does nothing.
    fn release(&self, _range: Range<u64>) {}
}

/// Why a source does not give its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WeightError {
    /// What happened, for the operator.
    pub message: String,
}

/// Weights that lie in memory.
pub struct BytesSource {
    bytes: Buffer,
    digest: [u8; 32],
}

impl BytesSource {
    /// A source over these bytes; computes their SHA-256.
    pub fn new(bytes: Buffer) -> BytesSource {
        let digest = Sha256::digest(bytes.as_slice()).into();
        BytesSource { bytes, digest }
    }
}

impl WeightSource for BytesSource {
    fn len(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn read(&self, range: Range<u64>) -> Result<Buffer, WeightError> {
        if range.start > range.end || range.end > self.len() {
            return Err(WeightError { message: format!("{range:?} is outside {}", self.len()) });
        }
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }
}

/// A tensor within a source.
#[derive(Clone)]
pub(crate) struct WeightRef {
    pub(crate) name: Arc<str>,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) source: Arc<dyn WeightSource>,
    pub(crate) range: Range<u64>,
}

impl WeightRef {
    /// The tensor; shares the source's memory if that is aligned.
    pub(crate) fn load(&self) -> Result<Tensor, WeightError> {
        let bytes = self.source.read(self.range.clone())?;
        let expected = self.range.end - self.range.start;
        let got = bytes.as_slice().len();
        Tensor::new(self.dtype, self.shape, bytes).map_err(|_| WeightError {
            message: format!("expected {expected} bytes from the source, got {got}"),
        })
    }

    /// Says that what was loaded has been copied.
    pub(crate) fn release(&self) {
        self.source.release(self.range.clone());
    }

    /// Names the content: source digest, range, dtype and shape.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.source.digest());
        hash.update(self.range.start.to_le_bytes());
        hash.update(self.range.end.to_le_bytes());
        hash.update(format!("{} {}", self.dtype, self.shape));
        hash.finalize().into()
    }
}

impl fmt::Debug for WeightRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{} at {:?}", self.name, self.dtype, self.shape, self.range)
    }
}
