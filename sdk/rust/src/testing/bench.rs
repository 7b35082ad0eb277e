//! What `aimass plugin bench` links a plugin with to measure it natively.

use super::Host;
use crate::bindings::aimass::plugin::tensor::NamedTensor;
use crate::config::Config;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::{Inputs, Outputs, Parameter, Parameters, Tensor};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Calls before those that count.
const WARM_UP: u32 = 20;

/// The file that the program's only argument names.
#[derive(Deserialize)]
struct Cases {
    runs: u32,
    files: Option<PathBuf>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: String,
    inputs: Vec<Input>,
    parameters: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    /// In hexadecimal.
    data: String,
    strings: Option<Vec<String>>,
}

/// Reads cases, calls the plugin with each, and prints a line of JSON a case: `p50_ns` and `p99_ns`, or
/// `error`. `process` alone is measured, with inputs that are there.
///
/// # Panics
/// If the file that the first argument names is not what `aimass plugin bench` writes.
#[doc(hidden)]
pub fn bench<P>(
    init: fn(Config) -> Result<P>,
    process: fn(&P, Inputs, &Parameters) -> Result<Outputs>,
) {
    let path = std::env::args().nth(1).expect("the file of cases as the only argument");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let cases: Cases =
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    for case in &cases.cases {
        let mut host = Host::new().config(&case.config);
        if let Some(files) = &cases.files {
            host = host.folder(files);
        }
        let host = host.enter();
        let times =
            init(host.config()).and_then(|plugin| measure(&plugin, case, cases.runs, process));
        let line = match times {
            Ok(mut times) => {
                times.sort_unstable();
                let at = |share: usize| {
                    let place = (times.len() * share / 100).min(times.len() - 1);
                    times[place].as_nanos() as u64
                };
                serde_json::json!({ "p50_ns": at(50), "p99_ns": at(99) })
            }
            Err(error) => {
                serde_json::json!({ "error": format!("{}: {}", case.name, error.message) })
            }
        };
        println!("{line}");
    }
}

fn measure<P>(
    plugin: &P,
    case: &Case,
    runs: u32,
    process: fn(&P, Inputs, &Parameters) -> Result<Outputs>,
) -> Result<Vec<Duration>> {
    let parameters: Vec<(String, Parameter)> = case.parameters.iter().map(parameter).collect();
    let parameters = Parameters::from(parameters);
    let tensors = case.inputs.iter().map(tensor).collect::<Result<Vec<_>>>()?;
    let mut times = Vec::new();
    for run in 0..runs.max(1) + WARM_UP {
        let named = case.inputs.iter().zip(&tensors).map(|(input, tensor)| {
            Ok(NamedTensor { name: input.name.clone(), value: tensor.share()? })
        });
        let inputs: Inputs = named.collect::<Result<_>>()?;
        let started = Instant::now();
        let outputs = process(plugin, inputs, &parameters)?;
        let took = started.elapsed();
        drop(std::hint::black_box(outputs));
        if run >= WARM_UP {
            times.push(took);
        }
    }
    Ok(times)
}

fn parameter((name, value): (&String, &Value)) -> (String, Parameter) {
    let value = match value {
        Value::Bool(value) => Parameter::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Parameter::Integer(value),
            None => Parameter::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        other => Parameter::Text(other.as_str().unwrap_or_default().to_owned()),
    };
    (name.clone(), value)
}

fn tensor(input: &Input) -> Result<Tensor> {
    if let Some(strings) = &input.strings {
        return Tensor::strings(&input.shape, strings.iter().map(|text| bytes(text)));
    }
    let dtype = DType::of_name(&input.dtype).ok_or_else(|| {
        Error::input("dtype", format!("expected a dtype of the contract, got {}", input.dtype))
    })?;
    Tensor::create(dtype, &input.shape, &bytes(&input.data))
}

/// Bytes of hexadecimal digits; what is none counts as 0.
fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_as_they_were_written() -> Result<()> {
        let json = r#"{ "runs": 3, "files": null, "cases": [{ "name": "n", "config": "{}",
            "inputs": [{ "name": "x", "dtype": "f32", "shape": [1], "data": "0000c03f", "strings": null },
                { "name": "s", "dtype": "bytes", "shape": [1], "data": "", "strings": ["c3bc"] }],
            "parameters": { "k": 3, "f": 0.5, "t": "x", "b": true } }] }"#;
        let cases: Cases = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}"));
        let times = measure(&(), &cases.cases[0], cases.runs, |(), inputs, parameters| {
            assert_eq!(inputs.get("x")?.to_vec::<f32>()?, [1.5]);
            assert_eq!(inputs.get("s")?.as_strings()?.get(0), Some("ü".as_bytes()));
            assert_eq!(parameters.integer("k"), Ok(Some(3)));
            assert_eq!(parameters.float("f"), Ok(Some(0.5)));
            assert_eq!(parameters.text("t"), Ok(Some("x")));
            assert_eq!(parameters.boolean("b"), Ok(Some(true)));
            Ok(inputs)
        })?;
        assert_eq!(times.len(), 3);
        Ok(())
    }
}
