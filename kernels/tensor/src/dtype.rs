//! The closed set of element types, as the plugin contract freezes it.

use std::fmt;

/// Element type of a tensor.
///
/// The set is frozen with contract version 0.1: it holds the types of ONNX, of OIP v2 and the
/// block-quantized types of GGUF, so that no later format needs a new one. `Bytes` is OIP's
/// `BYTES`: variable-length strings, which never enter a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the field's own name for the type")]
pub enum DType {
    Bool,
    I4,
    U4,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F8E4m3,
    F8E5m2,
    F8E4m3Fnuz,
    F8E5m2Fnuz,
    Bf16,
    F16,
    F32,
    F64,
    Bytes,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
}

/// A dtype name that is in no protocol that we speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype {got:?}; expected an OIP name such as FP32, INT64, UINT8, BOOL or BYTES")]
pub struct UnknownDType {
    /// The name that came.
    pub got: String,
}

impl DType {
    /// Every dtype, in the order of the contract.
    pub const ALL: [DType; 32] = [
        DType::Bool,
        DType::I4,
        DType::U4,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::F8E4m3,
        DType::F8E5m2,
        DType::F8E4m3Fnuz,
        DType::F8E5m2Fnuz,
        DType::Bf16,
        DType::F16,
        DType::F32,
        DType::F64,
        DType::Bytes,
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
        DType::Q8_1,
        DType::Q2K,
        DType::Q3K,
        DType::Q4K,
        DType::Q5K,
        DType::Q6K,
        DType::Q8K,
    ];

    /// Elements and bytes of one storage block: `(1, size)` for plain types, `(2, 1)` for 4-bit
    /// integers, the GGUF block sizes for quantized types, `(1, 0)` for [`DType::Bytes`].
    pub const fn block(self) -> (usize, usize) {
        match self {
            DType::Bool | DType::I8 | DType::U8 => (1, 1),
            DType::I4 | DType::U4 => (2, 1),
            DType::F8E4m3 | DType::F8E5m2 | DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => (1, 1),
            DType::I16 | DType::U16 | DType::Bf16 | DType::F16 => (1, 2),
            DType::I32 | DType::U32 | DType::F32 => (1, 4),
            DType::I64 | DType::U64 | DType::F64 => (1, 8),
            DType::Bytes => (1, 0),
            DType::Q4_0 => (32, 18),
            DType::Q4_1 => (32, 20),
            DType::Q5_0 => (32, 22),
            DType::Q5_1 => (32, 24),
            DType::Q8_0 => (32, 34),
            DType::Q8_1 => (32, 36),
            DType::Q2K => (256, 84),
            DType::Q3K => (256, 110),
            DType::Q4K => (256, 144),
            DType::Q5K => (256, 176),
            DType::Q6K => (256, 210),
            DType::Q8K => (256, 292),
        }
    }

    /// Bytes of one element, or `None` where an element has no byte size of its own (4-bit and
    /// block types, strings).
    pub const fn size(self) -> Option<usize> {
        match self.block() {
            (1, 0) => None,
            (1, size) => Some(size),
            _ => None,
        }
    }

    /// Bytes that `elements` elements take, or `None` on overflow, on a partial block and for
    /// strings.
    pub fn bytes_for(self, elements: usize) -> Option<usize> {
        let (per_block, size) = self.block();
        if size == 0 || (per_block > 2 && !elements.is_multiple_of(per_block)) {
            return None;
        }
        elements.div_ceil(per_block).checked_mul(size)
    }

    /// Whether elements are IEEE or brain floats of 8 to 64 bits.
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            DType::F8E4m3
                | DType::F8E5m2
                | DType::F8E4m3Fnuz
                | DType::F8E5m2Fnuz
                | DType::Bf16
                | DType::F16
                | DType::F32
                | DType::F64
        )
    }

    /// Whether elements are signed or unsigned integers (not bool).
    pub const fn is_int(self) -> bool {
        matches!(
            self,
            DType::I4
                | DType::U4
                | DType::I8
                | DType::U8
                | DType::I16
                | DType::U16
                | DType::I32
                | DType::U32
                | DType::I64
                | DType::U64
        )
    }

    /// Name in the Open Inference Protocol v2, or `None` where OIP has no such type.
    pub const fn oip_name(self) -> Option<&'static str> {
        Some(match self {
            DType::Bool => "BOOL",
            DType::I8 => "INT8",
            DType::U8 => "UINT8",
            DType::I16 => "INT16",
            DType::U16 => "UINT16",
            DType::I32 => "INT32",
            DType::U32 => "UINT32",
            DType::I64 => "INT64",
            DType::U64 => "UINT64",
            DType::Bf16 => "BF16",
            DType::F16 => "FP16",
            DType::F32 => "FP32",
            DType::F64 => "FP64",
            DType::Bytes => "BYTES",
            _ => return None,
        })
    }

    /// The dtype with this Open Inference Protocol name.
    ///
    /// # Errors
    /// [`UnknownDType`] if no dtype has that name.
    pub fn from_oip_name(name: &str) -> Result<DType, UnknownDType> {
        DType::ALL
            .into_iter()
            .find(|dtype| dtype.oip_name() == Some(name))
            .ok_or_else(|| UnknownDType { got: name.chars().take(40).collect() })
    }

    /// Short lower-case name: `f32`, `i64`, `q4_k`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::U64 => "u64",
            DType::F8E4m3 => "f8e4m3",
            DType::F8E5m2 => "f8e5m2",
            DType::F8E4m3Fnuz => "f8e4m3fnuz",
            DType::F8E5m2Fnuz => "f8e5m2fnuz",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bytes => "bytes",
            DType::Q4_0 => "q4_0",
            DType::Q4_1 => "q4_1",
            DType::Q5_0 => "q5_0",
            DType::Q5_1 => "q5_1",
            DType::Q8_0 => "q8_0",
            DType::Q8_1 => "q8_1",
            DType::Q2K => "q2_k",
            DType::Q3K => "q3_k",
            DType::Q4K => "q4_k",
            DType::Q5K => "q5_k",
            DType::Q6K => "q6_k",
            DType::Q8K => "q8_k",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_oip_name_finds_its_dtype_again() {
        for dtype in DType::ALL {
            if let Some(name) = dtype.oip_name() {
                assert_eq!(DType::from_oip_name(name), Ok(dtype));
            }
        }
        assert!(DType::from_oip_name("fp32").is_err());
    }

    #[test]
    fn byte_counts_are_checked() {
        assert_eq!(DType::F32.bytes_for(3), Some(12));
        assert_eq!(DType::I4.bytes_for(3), Some(2));
        assert_eq!(DType::Q4K.bytes_for(256), Some(144));
        assert_eq!(DType::Q4K.bytes_for(255), None);
        assert_eq!(DType::F64.bytes_for(usize::MAX / 4), None);
        assert_eq!(DType::Bytes.bytes_for(1), None);
    }
}
