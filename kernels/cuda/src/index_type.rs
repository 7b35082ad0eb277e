//! The types of indices and positions.

/// Type of an index on the device, as `enum IndexType` of `indices.cuh` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its type")]
#[repr(u32)]
pub enum IndexType {
    I32 = 4,
    U32 = 5,
    I64 = 6,
}

impl IndexType {
    /// Bytes of an index.
    pub fn bytes(self) -> usize {
        match self {
            IndexType::I32 | IndexType::U32 => 4,
            IndexType::I64 => 8,
        }
    }
}
