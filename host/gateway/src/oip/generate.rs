//! The generate extension on the wire: `{"text_input": "hi", "max_tokens": 5}` becomes inputs by
//! name and parameters, and outputs become fields of one flat object.
//!
//! Triton `extension_generate.md`. A scalar is a tensor of one element, a list one of as many; both
//! take the rank that the model's input has, with leading extents of 1. Fields that are no input of
//! the model are parameters; those in an object `parameters` are too.

use super::{data, response};
use crate::config::{REQUEST_ID_BYTES_MAX, TENSORS_MAX};
use crate::failure::Failure;
use aimass_engine::{InferResponse, ModelMetadata, Parameter, TensorMetadata};
use aimass_tensor::{DType, Shape, Tensor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::Duration;

/// A generate request, read against the model's inputs.
#[derive(Debug)]
pub(crate) struct GenerateRequest {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Vec<(String, Tensor)>,
    pub(crate) parameters: BTreeMap<String, Parameter>,
    pub(crate) timeout: Option<Duration>,
}

/// Reads a generate request.
///
/// # Errors
/// 400 for what is no object, has more than 64 fields, or a value that no tensor can be made of.
pub(crate) fn parse(model: &ModelMetadata, body: &[u8]) -> Result<GenerateRequest, Failure> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body)
        .map_err(|error| Failure::invalid(format!("request JSON: expected an object: {error}")))?;
    if fields.len() > TENSORS_MAX {
        return Err(Failure::invalid(format!("expected at most {TENSORS_MAX} fields")));
    }
    let mut request = GenerateRequest {
        id: None,
        inputs: Vec::new(),
        parameters: BTreeMap::new(),
        timeout: None,
    };
    for (name, value) in fields {
        if let Some(input) = model.inputs.iter().find(|input| *input.name == *name) {
            let tensor = tensor(input, value.get())
                .map_err(|problem| Failure::invalid(format!("{name}: {problem}")))?;
            request.inputs.push((name, tensor));
            continue;
        }
        let value: Value = serde_json::from_str(value.get())
            .map_err(|error| Failure::invalid(format!("{name}: {error}")))?;
        match (name.as_str(), value) {
            ("id", Value::String(id)) if id.len() <= REQUEST_ID_BYTES_MAX => request.id = Some(id),
            ("id", _) => {
                let text = format!("id: expected a string of at most {REQUEST_ID_BYTES_MAX} bytes");
                return Err(Failure::invalid(text));
            }
            ("parameters", Value::Object(more)) => {
                for (name, value) in more {
                    parameter(&mut request, name, value)?;
                }
            }
            (_, value) => parameter(&mut request, name, value)?,
        }
    }
    Ok(request)
}

fn parameter(request: &mut GenerateRequest, name: String, value: Value) -> Result<(), Failure> {
    let value = match value {
        Value::Bool(value) => Parameter::Bool(value),
        Value::String(value) => Parameter::Text(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Parameter::Int(value),
            (None, Some(value)) => Parameter::Float(value),
            (None, None) => return Err(Failure::invalid(format!("{name}: no 64-bit number"))),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => {
            let name: String = name.chars().take(128).collect();
            return Err(Failure::invalid(format!(
                "{name:?} is no input of the model; a parameter is a string, a number, true or \
                 false"
            )));
        }
    };
    match (name.as_str(), &value) {
        ("timeout", Parameter::Int(micros)) if *micros >= 0 => {
            request.timeout = (*micros > 0).then(|| Duration::from_micros(*micros as u64));
        }
        ("timeout", _) => {
            return Err(Failure::invalid("timeout: expected a number of microseconds"));
        }
        _ => {
            request.parameters.insert(name, value);
        }
    }
    if request.parameters.len() > TENSORS_MAX {
        return Err(Failure::invalid(format!("expected at most {TENSORS_MAX} parameters")));
    }
    Ok(())
}

fn tensor(input: &TensorMetadata, json: &str) -> Result<Tensor, String> {
    let is_list = json.trim_start().starts_with('[');
    let list = if is_list { json.to_owned() } else { format!("[{json}]") };
    let dtype = input.dtype.unwrap_or_else(|| guess(&list));
    let count = count(&list)?;
    let rank = input.shape.as_ref().map_or(1, |shape| shape.len().max(1));
    let mut dims = vec![1; rank];
    dims[rank - 1] = count;
    let shape = Shape::new(&dims).map_err(|error| error.to_string())?;
    data::tensor(dtype, shape, &list).map_err(|error| error.to_string())
}

/// Elements of a flat list.
fn count(list: &str) -> Result<usize, String> {
    let items: Vec<&RawValue> = serde_json::from_str(list).map_err(|error| error.to_string())?;
    match items.iter().find(|item| item.get().starts_with(['[', '{'])) {
        Some(_) => {
            Err("expected a scalar or a flat list; nested lists need the infer route".into())
        }
        None => Ok(items.len()),
    }
}

/// The type of elements for an input that takes any: by the first of them.
fn guess(list: &str) -> DType {
    match list[1..].trim_start().bytes().next() {
        Some(b'"') => DType::Bytes,
        Some(b't' | b'f') => DType::Bool,
        _ if list.contains(['.', 'e', 'E']) => DType::F64,
        _ => DType::I64,
    }
}

/// Writes an answer: one element as a scalar, others as a flat list.
///
/// # Errors
/// 400 for an output that has no JSON form.
pub(crate) fn write(answer: &InferResponse, id: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        response::string(id, &mut out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"model_name\":");
    response::string(&answer.model, &mut out);
    out.extend_from_slice(b",\"model_version\":\"");
    response::integer(answer.version, &mut out);
    out.push(b'"');
    for (name, tensor) in &answer.outputs {
        out.push(b',');
        response::string(name, &mut out);
        out.push(b':');
        let start = out.len();
        response::write_data(tensor, &mut out).map_err(|what| {
            Failure::invalid(format!(
                "output {name:?} holds {what}, which JSON cannot express; use the infer route"
            ))
        })?;
        if tensor.shape().elements() == 1 {
            out.remove(start);
            out.pop();
        }
    }
    out.push(b'}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelMetadata {
        let input = |name: &str, dtype, shape: Option<&[i64]>| TensorMetadata {
            name: name.into(),
            dtype,
            shape: shape.map(<[i64]>::to_vec),
        };
        ModelMetadata {
            name: "m".into(),
            version: 1,
            versions: vec![1],
            labels: BTreeMap::new(),
            platform: "aimass_x".into(),
            inputs: vec![
                input("text_input", Some(DType::Bytes), Some(&[-1])),
                input("grid", Some(DType::F32), Some(&[-1, 3])),
                input("any", None, None),
            ],
            outputs: Vec::new(),
            created: 0,
            publisher: "acme".into(),
            release: Default::default(),
        }
    }

    fn read(json: &str) -> Result<GenerateRequest, String> {
        parse(&model(), json.as_bytes()).map_err(|failure| failure.message)
    }

    #[test]
    fn fields_are_inputs_by_name_and_else_parameters() {
        let request = read(
            r#"{"text_input": "hi", "grid": [1, 2, 3], "any": [1.5], "id": "7", "top_k": 4,
                "parameters": {"stop": "x", "timeout": 1000}}"#,
        )
        .unwrap();
        let names: Vec<&str> = request.inputs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["any", "grid", "text_input"]);
        assert_eq!(request.inputs[0].1.dtype(), DType::F64);
        assert_eq!(request.inputs[1].1.shape().dims(), [1, 3]);
        assert_eq!(request.inputs[2].1.strings().unwrap().get(0), b"hi");
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.timeout, Some(Duration::from_millis(1)));
        assert_eq!(request.parameters["top_k"], Parameter::Int(4));
        assert_eq!(request.parameters["stop"], Parameter::Text("x".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (json, word) in [
            ("[]", "object"),
            (r#"{"text_input": 5}"#, "text_input"),
            (r#"{"grid": [[1, 2, 3]]}"#, "nested"),
            (r#"{"unknown": [1]}"#, "no input"),
            (r#"{"timeout": -1}"#, "microseconds"),
            (r#"{"id": 5}"#, "id"),
        ] {
            let message = read(json).unwrap_err();
            assert!(message.contains(word), "{json}: {message}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("\"p{n}\":1")).collect();
        assert!(read(&format!("{{{}}}", many.join(","))).unwrap_err().contains("64"));
    }
}
