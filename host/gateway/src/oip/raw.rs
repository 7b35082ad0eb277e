//! Raw binary requests (`Inference-Header-Content-Length: 0`): the body is the data of the only
//! input. Triton `extension_binary_data.md`, "Raw Binary Request".

use super::binary;
use super::request::{ParsedRequest, Wanted};
use crate::failure::Failure;
use aimass_engine::{ModelMetadata, TensorMetadata};
use aimass_tensor::{Buffer, DType, Shape, Strings, Tensor};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes a request of a raw body, whose shape follows from the model: at most one extent may be
/// open. All outputs are wanted as binary data.
pub(crate) fn parse(model: &ModelMetadata, body: &Bytes) -> Result<ParsedRequest, Failure> {
    let [input] = model.inputs.as_slice() else {
        return Err(Failure::invalid(format!(
            "a raw binary request needs a model with one input; {} has {}",
            model.name,
            model.inputs.len()
        )));
    };
    let tensor = tensor(input, body)?;
    Ok(ParsedRequest {
        id: None,
        inputs: vec![(input.name.to_string(), tensor)],
        parameters: BTreeMap::new(),
        timeout: None,
        wanted: Wanted { binary: true, outputs: Vec::new() },
    })
}

fn tensor(input: &TensorMetadata, body: &Bytes) -> Result<Tensor, Failure> {
    let fault = |problem: &str| {
        Failure::invalid(format!("raw binary request: input {:?} {problem}", input.name))
    };
    let dtype = input.dtype.ok_or_else(|| fault("takes any datatype; send a JSON header"))?;
    let dims =
        input.shape.as_deref().ok_or_else(|| fault("takes any shape; send a JSON header"))?;
    let unit = if dtype == DType::Bytes { Some(body.len().max(1)) } else { dtype.size() };
    let unit = unit.ok_or_else(|| fault("has elements of less than a byte"))?;
    let fixed = dims.iter().filter_map(|&dim| u64::try_from(dim).ok());
    let known = fixed.fold(1, u64::saturating_mul);
    let open = dims.iter().filter(|&&dim| dim < 0).count();
    // BYTES: the whole body is one string.
    let elements = if dtype == DType::Bytes { 1 } else { (body.len() / unit) as u64 };
    let filled =
        elements.checked_div(known).filter(|filled| filled.checked_mul(known) == Some(elements));
    let filled = filled.ok_or_else(|| fault("does not divide into the body"))?;
    if open > 1 || (open == 0 && filled != 1) {
        return Err(fault("has a shape that does not follow from the size of the body"));
    }
    let extent = |&dim: &i64| usize::try_from(dim).unwrap_or(filled as usize);
    let dims: Vec<usize> = dims.iter().map(extent).collect();
    let shape = Shape::new(&dims).map_err(|error| fault(&error.to_string()))?;
    if dtype == DType::Bytes {
        let strings = Strings::from_slices(&[body]).map_err(|error| fault(&error.to_string()))?;
        return Tensor::from_strings(shape, strings).map_err(|error| fault(&error.to_string()));
    }
    let buffer = Buffer::shared(Arc::new(body.clone()));
    binary::tensor(dtype, shape, buffer).map_err(|error| fault(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dtype: DType, dims: &[i64], body: &'static [u8]) -> Option<Vec<usize>> {
        let input =
            TensorMetadata { name: "A".into(), dtype: Some(dtype), shape: Some(dims.to_vec()) };
        let tensor = tensor(&input, &Bytes::from_static(body)).ok()?;
        Some(tensor.shape().to_vec())
    }

    #[test]
    fn the_open_extent_follows_from_the_size() {
        assert_eq!(read(DType::F32, &[-1, 2], &[0; 16]), Some(vec![2, 2]));
        assert_eq!(read(DType::F32, &[2, 2], &[0; 16]), Some(vec![2, 2]));
        assert_eq!(read(DType::F32, &[-1, 2], &[0; 12]), None);
        assert_eq!(read(DType::F32, &[-1, 2], &[0; 17]), None);
        assert_eq!(read(DType::F32, &[-1, -1], &[0; 16]), None);
        assert_eq!(read(DType::F32, &[2], &[0; 16]), None);
        assert_eq!(read(DType::F32, &[0], &[]), None);
        assert_eq!(read(DType::Bytes, &[-1], b"one text"), Some(vec![1]));
        assert_eq!(read(DType::Bytes, &[1, 1], b""), Some(vec![1, 1]));
        assert_eq!(read(DType::F32, &[i64::MAX, i64::MAX, 4], &[0; 16]), None);
    }
}
