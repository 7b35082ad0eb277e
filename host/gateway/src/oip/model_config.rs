//! A model's configuration in the words of Triton's `model_config.proto`, for clients that read it.

use aimass_engine::TensorMetadata;
use aimass_tensor::DType;

/// A tensor as a configuration names it.
pub(crate) struct TensorConfig {
    pub(crate) name: String,
    /// Triton's `DataType`, by number.
    pub(crate) data_type: i32,
    pub(crate) dims: Vec<i64>,
}

/// Triton's `DataType`: names by number. It has no word for "any", which is 0.
pub(crate) const DATA_TYPES: [&str; 15] = [
    "TYPE_INVALID",
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
    "TYPE_BF16",
];

/// OIP's word for a tensor's type; it has none for a tensor that takes any, ours is `ANY`.
pub(crate) fn datatype(tensor: &TensorMetadata) -> &'static str {
    tensor.dtype.and_then(DType::oip_name).unwrap_or("ANY")
}

/// A tensor in a configuration.
pub(crate) fn tensor(tensor: &TensorMetadata) -> TensorConfig {
    let word = match datatype(tensor) {
        "BYTES" => "STRING",
        other => other,
    };
    let position = DATA_TYPES.iter().position(|name| name.strip_prefix("TYPE_") == Some(word));
    TensorConfig {
        name: tensor.name.to_string(),
        data_type: position.unwrap_or(0) as i32,
        dims: tensor.shape.clone().unwrap_or_else(|| vec![-1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_of_the_protocol_has_its_number() {
        let number = |dtype| {
            let shape = None;
            tensor(&TensorMetadata { name: "x".into(), dtype, shape }).data_type
        };
        assert_eq!(number(Some(DType::Bool)), 1);
        assert_eq!(number(Some(DType::I64)), 9);
        assert_eq!(number(Some(DType::F16)), 10);
        assert_eq!(number(Some(DType::Bytes)), 13);
        assert_eq!(number(Some(DType::Bf16)), 14);
        assert_eq!(number(None), 0);
    }
}
