//! `--bless`: what a plugin answers becomes what its fixtures expect.
//!
//! A file is written whole, in one form: what the author wrote of inputs, configuration and parameters
//! stays as text, and expected outputs are written anew where they differ. A case that expects an
//! error keeps it.

use super::super::workbench::Case;
use super::run::{CaseReport, Verdict};
use aimass_tensor::{DType, Tensor};
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;

/// A case as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    config: Option<Box<RawValue>>,
    parameters: Option<Box<RawValue>>,
    inputs: Vec<Box<RawValue>>,
    #[serde(default)]
    outputs: Vec<Box<RawValue>>,
    tolerance: Option<Box<RawValue>>,
    error: Option<String>,
}

/// Writes the answer of a failed case into its file and calls the case blessed.
///
/// # Errors
/// The file cannot be read or written, or the answer has numbers that JSON has no form for.
pub(super) fn bless(case: &Case, report: &mut CaseReport) -> anyhow::Result<()> {
    let lacks = case.fixture.outputs.is_empty() && case.fixture.error.is_none();
    let failed = matches!(report.verdict, Verdict::Failed(_));
    let Some(outputs) = report.outputs.as_ref().filter(|_| failed || lacks) else { return Ok(()) };
    if case.fixture.error.is_some() {
        return Ok(());
    }
    let shown = case.file.display().to_string();
    let text = std::fs::read_to_string(&case.file).with_context(|| shown.clone())?;
    let blessed = blessed(&text, case.index, outputs).with_context(|| shown.clone())?;
    let new = case.file.with_extension("json.new");
    std::fs::write(&new, blessed).with_context(|| new.display().to_string())?;
    std::fs::rename(&new, &case.file).with_context(|| shown)?;
    report.verdict = Verdict::Blessed;
    Ok(())
}

/// The text of a file after case `index` answered `outputs`.
fn blessed(text: &str, index: usize, outputs: &[(String, Tensor)]) -> anyhow::Result<String> {
    let mut cases: Vec<Written> = serde_json::from_str(text)?;
    let case = cases.get_mut(index).context("the file changed while its cases ran")?;
    let only: Vec<String> = case
        .outputs
        .iter()
        .map(|raw| Ok(serde_json::from_str::<Named>(raw.get())?.name))
        .collect::<anyhow::Result<_>>()?;
    let mut written = Vec::new();
    for (name, tensor) in outputs {
        if only.is_empty() || only.contains(name) {
            let json = tensor_json(name, tensor)
                .with_context(|| format!("case {:?}, output {name}", case.name))?;
            written.push(RawValue::from_string(json)?);
        }
    }
    case.outputs = written;
    Ok(file_text(&cases))
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// A file of cases in its one form.
fn file_text(cases: &[Written]) -> String {
    let mut text = String::from("[");
    for (at, case) in cases.iter().enumerate() {
        text.push_str(if at == 0 { "\n" } else { ",\n" });
        let mut fields = vec![format!("\"name\": {}", quoted(&case.name))];
        for (name, value) in [("config", &case.config), ("parameters", &case.parameters)] {
            if let Some(value) = value {
                fields.push(format!("\"{name}\": {}", value.get()));
            }
        }
        fields.push(format!("\"inputs\": {}", list(&case.inputs)));
        if let Some(error) = &case.error {
            fields.push(format!("\"error\": {}", quoted(error)));
        }
        if !case.outputs.is_empty() {
            fields.push(format!("\"outputs\": {}", list(&case.outputs)));
        }
        if let Some(tolerance) = &case.tolerance {
            fields.push(format!("\"tolerance\": {}", tolerance.get()));
        }
        let _ = write!(text, "  {{\n    {}\n  }}", fields.join(",\n    "));
    }
    text.push_str("\n]\n");
    text
}

fn list(items: &[Box<RawValue>]) -> String {
    match items {
        [] => "[]".to_owned(),
        [one] => format!("[{}]", one.get()),
        many => {
            let lines: Vec<String> =
                many.iter().map(|item| format!("      {}", item.get())).collect();
            format!("[\n{}\n    ]", lines.join(",\n"))
        }
    }
}

/// A tensor as a fixture writes it.
fn tensor_json(name: &str, tensor: &Tensor) -> anyhow::Result<String> {
    let data = elements(tensor)?;
    let datatype = tensor.dtype().oip_name().context("a dtype that fixtures cannot hold")?;
    Ok(format!(
        "{{ \"name\": {}, \"datatype\": \"{datatype}\", \"shape\": {:?}, \"data\": [{}] }}",
        quoted(name),
        tensor.shape().dims(),
        data.join(", ")
    ))
}

fn elements(tensor: &Tensor) -> anyhow::Result<Vec<String>> {
    if let Some(strings) = tensor.strings() {
        let text = |bytes: &[u8]| {
            let Ok(text) = std::str::from_utf8(bytes) else {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                return Ok(serde_json::json!({ "hex": digits }).to_string());
            };
            Ok(quoted(text))
        };
        return strings.iter().map(text).collect();
    }
    if tensor.dtype() == DType::Bool {
        return Ok(tensor.bytes().iter().map(|&byte| (byte != 0).to_string()).collect());
    }
    macro_rules! numbers {
        ($($rust:ty),*) => { $(
            if let Ok(values) = tensor.as_slice::<$rust>() {
                return values.iter().map(|value| number(serde_json::to_string(value)?)).collect();
            }
        )* };
    }
    numbers!(f32, f64, i32, i64, u32, u64, i8, u8, i16, u16);
    bail!("fixtures cannot hold dtype {}", tensor.dtype())
}

/// JSON has no NaN and no infinities; serde_json writes `null` for them.
fn number(json: String) -> anyhow::Result<String> {
    match json.as_str() {
        "null" => bail!("NaN or an infinity, which a fixture cannot hold"),
        _ => Ok(json),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"[
  {
    "name": "a \"b\"",
    "config": { "z": 1, "a": 2.50 },
    "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1], "data": [1] }],
    "outputs": [{ "name": "y", "datatype": "FP32", "shape": [1], "data": [9] }],
    "tolerance": 1e-6
  },
  {
    "name": "wrong",
    "inputs": [],
    "error": "shape"
  }
]
"#;

    fn answer(values: &[f32]) -> Vec<(String, Tensor)> {
        let tensor = Tensor::from_slice(&[values.len()], values).unwrap();
        vec![("y".to_owned(), tensor.clone()), ("other".to_owned(), tensor)]
    }

    #[test]
    fn only_the_expected_outputs_of_one_case_change() {
        let text = blessed(FILE, 0, &answer(&[0.1, -2.0])).unwrap();
        let expected =
            FILE.replace("\"shape\": [1], \"data\": [9]", "\"shape\": [2], \"data\": [0.1, -2.0]");
        assert_eq!(text, expected);
        aimass_engine::parse_fixtures("f.json", text.as_bytes()).unwrap();
    }

    #[test]
    fn a_case_that_names_no_output_gets_all() {
        let text = blessed(r#"[{"name":"n","inputs":[]}]"#, 0, &answer(&[1.5])).unwrap();
        let cases = aimass_engine::parse_fixtures("f.json", text.as_bytes()).unwrap();
        assert_eq!(cases[0].outputs.len(), 2, "{text}");
    }

    #[test]
    fn what_json_cannot_say_is_refused_by_name() {
        let error = blessed(FILE, 0, &answer(&[f32::NAN])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("output y") && text.contains("NaN"), "{text}");
    }
}
