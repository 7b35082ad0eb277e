//! `TensorProto`: where a constant's elements lie and how they are written.

use super::wire::Span;
use aimass_sdk::DType;

/// `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ElementType(pub(crate) i64);

impl ElementType {
    pub(crate) const STRING: ElementType = ElementType(8);

    /// The contract's dtype, if it has one.
    pub(crate) fn dtype(self) -> Option<DType> {
        Some(match self.0 {
            1 => DType::F32,
            2 => DType::U8,
            3 => DType::I8,
            4 => DType::U16,
            5 => DType::I16,
            6 => DType::I32,
            7 => DType::I64,
            8 => DType::Bytes,
            9 => DType::Bool,
            10 => DType::F16,
            11 => DType::F64,
            12 => DType::U32,
            13 => DType::U64,
            16 => DType::Bf16,
            17 => DType::F8E4m3,
            18 => DType::F8E4m3Fnuz,
            19 => DType::F8E5m2,
            20 => DType::F8E5m2Fnuz,
            21 => DType::U4,
            22 => DType::I4,
            _ => return None,
        })
    }

    /// ONNX's name, for messages.
    pub(crate) fn name(self) -> String {
        match self.0 {
            0 => "undefined".to_owned(),
            14 => "complex64".to_owned(),
            15 => "complex128".to_owned(),
            23 => "float4e2m1".to_owned(),
            24 => "float8e8m0".to_owned(),
            25 => "uint2".to_owned(),
            26 => "int2".to_owned(),
            other => match self.dtype() {
                Some(dtype) => dtype.name().to_owned(),
                None => format!("number {other}"),
            },
        }
    }
}

/// `TensorProto`.
#[derive(Debug, Clone, Default)]
pub(crate) struct TensorProto {
    pub(crate) name: String,
    pub(crate) element: ElementType,
    pub(crate) dims: Vec<u64>,
    pub(crate) payload: Payload,
}

/// How a tensor's elements are written.
#[derive(Debug, Clone, Default)]
pub(crate) enum Payload {
    /// Not at all: a tensor without elements.
    #[default]
    Empty,
    /// `raw_data`, or packed fixed-width fields: little-endian bytes in the model's file.
    File(Span),
    /// The same where it is short: read along with the model.
    Bytes(Vec<u8>),
    /// Bytes in another file of the package (`external_data`).
    External { file: String, offset: u64, len: Option<u64> },
    /// `int32_data`, `int64_data`, `uint64_data` as they came.
    Integers(Vec<i64>),
    /// `float_data`, unpacked.
    Floats(Vec<f32>),
    /// `double_data`, unpacked.
    Doubles(Vec<f64>),
    /// `string_data`.
    Strings(Vec<Vec<u8>>),
}
