//! Fixtures: inputs and expected outputs that a package carries, as files.
//!
//! A file holds a JSON list of cases. Tensors are written as OIP v2 writes them, data flat and
//! row-major; bytes that are no text are written as `{"hex": "61ff"}`:
//!
//! ```json
//! [{ "name": "two sentences",
//!    "inputs":  [{ "name": "text", "datatype": "BYTES", "shape": [1], "data": ["a cat"] }],
//!    "outputs": [{ "name": "ids", "datatype": "INT32", "shape": [4], "data": [101, 1037, 4937, 102] }],
//!    "tolerance": 0 }]
//! ```

use crate::{EngineError, Family, Parameter};
use aimass_tensor::{DType, Element, Shape, Strings, Tensor};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Bytes that a fixture file may have.
pub const FIXTURE_BYTES_MAX: usize = 16 << 20;

/// One fixture: what goes in and what must come out.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// A sentence for the report.
    pub name: String,
    /// Plugin configuration of this case, as JSON; only plugins' fixtures have one.
    pub config: Option<String>,
    /// Inputs by name.
    pub inputs: Vec<(String, Tensor)>,
    /// Request parameters.
    pub parameters: BTreeMap<String, Parameter>,
    /// Expected outputs by name; outputs that are not named here are not looked at.
    pub outputs: Vec<(String, Tensor)>,
    /// Largest absolute difference allowed for floats; everything else must be equal.
    pub tolerance: f64,
    /// Code of the error that must come instead of outputs.
    pub error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCase {
    name: String,
    config: Option<serde_json::Value>,
    inputs: Vec<WireTensor>,
    #[serde(default)]
    parameters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    outputs: Vec<WireTensor>,
    #[serde(default)]
    tolerance: f64,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTensor {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    data: Vec<serde_json::Value>,
}

/// Reads a fixture file.
///
/// # Errors
/// Invalid input that names the file, the case and the tensor.
pub fn parse_fixtures(file: &str, json: &[u8]) -> Result<Vec<Fixture>, EngineError> {
    if json.len() > FIXTURE_BYTES_MAX {
        return Err(wrong(format!(
            "{file}: a fixture file has at most {FIXTURE_BYTES_MAX} bytes, got {}",
            json.len()
        )));
    }
    let cases: Vec<WireCase> = serde_json::from_slice(json)
        .map_err(|error| wrong(format!("{file}: expected a JSON list of cases: {error}")))?;
    let read = |case: WireCase| {
        let name = case.name.clone();
        fixture(case).map_err(|reason| wrong(format!("{file}, case {name:?}: {reason}")))
    };
    cases.into_iter().map(read).collect()
}

fn fixture(case: WireCase) -> Result<Fixture, String> {
    let tensors = |list: Vec<WireTensor>| -> Result<Vec<(String, Tensor)>, String> {
        list.into_iter()
            .map(|wire| {
                let name = wire.name.clone();
                let tensor = tensor(wire).map_err(|reason| format!("tensor {name:?}: {reason}"))?;
                Ok((name, tensor))
            })
            .collect()
    };
    let parameters = case.parameters.into_iter().map(|(name, value)| {
        let value = match value {
            serde_json::Value::Bool(value) => Parameter::Bool(value),
            serde_json::Value::String(value) => Parameter::Text(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(value) => Parameter::Int(value),
                None => Parameter::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            other => {
                return Err(format!("parameter {name:?}: expected a plain value, got {other}"));
            }
        };
        Ok((name, value))
    });
    Ok(Fixture {
        name: case.name,
        config: case.config.map(|config| config.to_string()),
        inputs: tensors(case.inputs)?,
        parameters: parameters.collect::<Result<_, String>>()?,
        outputs: tensors(case.outputs)?,
        tolerance: case.tolerance,
        error: case.error,
    })
}

fn tensor(wire: WireTensor) -> Result<Tensor, String> {
    let dtype = DType::from_oip_name(&wire.datatype).map_err(|error| error.to_string())?;
    let shape = Shape::new(&wire.shape).map_err(|error| error.to_string())?;
    let data = &wire.data;
    match dtype {
        DType::Bytes => {
            let items: Option<Vec<Vec<u8>>> = data.iter().map(bytes).collect();
            let items = items.ok_or("BYTES data are JSON strings, or {\"hex\": \"61ff\"}")?;
            let strings = Strings::from_slices(&items).map_err(|error| error.to_string())?;
            Tensor::from_strings(shape, strings).map_err(|error| error.to_string())
        }
        DType::F32 => numbers(shape, data, |value| value.as_f64().map(|value| value as f32)),
        DType::F64 => numbers(shape, data, serde_json::Value::as_f64),
        DType::I8 => integers::<i8>(shape, data),
        DType::I16 => integers::<i16>(shape, data),
        DType::I32 => integers::<i32>(shape, data),
        DType::I64 => integers::<i64>(shape, data),
        DType::U8 => integers::<u8>(shape, data),
        DType::U16 => integers::<u16>(shape, data),
        DType::U32 => integers::<u32>(shape, data),
        DType::U64 => numbers(shape, data, serde_json::Value::as_u64),
        DType::Bool => {
            let bytes: Option<Vec<u8>> = data.iter().map(|v| v.as_bool().map(u8::from)).collect();
            let bytes = bytes.ok_or("BOOL data are true or false")?;
            Tensor::copy_from(DType::Bool, shape, &bytes).map_err(|error| error.to_string())
        }
        other => Err(format!("fixtures cannot hold dtype {other}")),
    }
}

/// One element of BYTES: a text, or an object with the digits of any bytes.
fn bytes(value: &serde_json::Value) -> Option<Vec<u8>> {
    if let Some(text) = value.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let (pairs, rest) = members.get("hex")?.as_str()?.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

fn integers<T: Element + TryFrom<i64>>(
    shape: Shape,
    data: &[serde_json::Value],
) -> Result<Tensor, String> {
    numbers(shape, data, |value| T::try_from(value.as_i64()?).ok())
}

fn numbers<T: Element>(
    shape: Shape,
    data: &[serde_json::Value],
    read: impl Fn(&serde_json::Value) -> Option<T>,
) -> Result<Tensor, String> {
    let values: Result<Vec<T>, String> = data
        .iter()
        .map(|value| read(value).ok_or_else(|| format!("{value} is no {}", T::DTYPE)))
        .collect();
    Tensor::from_slice(&shape, &values?).map_err(|error| error.to_string())
}

fn wrong(message: String) -> EngineError {
    EngineError::new(Family::InvalidInput, "fixture", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;

    const CASE: &str = r#"[{"name":"n","inputs":[{"name":"x","datatype":"FP32","shape":[2],
        "data":[1.5,2]}],"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1,2]}],
        "tolerance":0.1,"parameters":{"k":3}}]"#;

    #[test]
    fn a_case_is_read_and_compared_within_its_tolerance() {
        let cases = parse_fixtures("f.json", CASE.as_bytes()).unwrap();
        assert_eq!(cases[0].parameters["k"], Parameter::Int(3));
        let answer =
            |values: &[f32]| vec![("y".to_owned(), Tensor::from_slice(&[2], values).unwrap())];
        assert!(compare(&cases[0], &answer(&[1.05, 2.0])).is_ok());
        let text = compare(&cases[0], &answer(&[1.0, 2.2])).unwrap_err();
        assert!(text.contains("y[1]"), "{text}");
        assert!(compare(&cases[0], &[]).is_err());
        assert!(compare(&cases[0], &answer(&[f32::NAN, 2.0])).is_err());
    }

    #[test]
    fn bytes_that_are_no_text_are_written_as_digits() {
        let read = |data: &str| {
            let case = format!(
                r#"[{{"name":"n","inputs":[{{"name":"x","datatype":"BYTES","shape":[2],"data":{data}}}]}}]"#
            );
            let cases =
                parse_fixtures("f.json", case.as_bytes()).map_err(|error| error.to_string())?;
            let strings = cases[0].inputs[0].1.strings().expect("strings");
            Ok::<_, String>(strings.iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        assert_eq!(read(r#"["ä", {"hex": "00fF"}]"#).unwrap(), [vec![0xc3, 0xa4], vec![0, 255]]);
        for wrong in
            [r#"{"hex": "0"}"#, r#"{"hex": "0g"}"#, r#"{"hex": 1}"#, r#"{"hex": "", "a": 1}"#, "7"]
        {
            let error = read(&format!(r#"["", {wrong}]"#)).unwrap_err();
            assert!(error.contains("hex"), "{error}");
        }
    }

    #[test]
    fn errors_name_file_case_and_tensor() {
        let broken = CASE.replace("[1.5,2]", "[1.5,\"a\"]");
        let text = parse_fixtures("f.json", broken.as_bytes()).unwrap_err().to_string();
        assert!(
            text.contains("f.json") && text.contains("\"n\"") && text.contains("\"x\""),
            "{text}"
        );
    }
}
