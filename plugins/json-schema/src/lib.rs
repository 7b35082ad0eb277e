//! Says whether JSON texts are what a JSON schema wants (draft 2020-12, <https://json-schema.org/draft/2020-12>),
//! and where not.
//!
//! | tensor     | shape               | dtype |                                                        |
//! |------------|---------------------|-------|--------------------------------------------------------|
//! | `json`     | `[batch]`           | bytes | texts, at most 4 MiB and 1,000,000 values each         |
//! | `json`     | `[batch]`           | bytes | the same texts, for the step that follows              |
//! | `valid`    | `[batch]`           | bool  | whether they are JSON, and what the schema wants       |
//! | `paths`    | `[ragged(offsets)]` | bytes | JSON Pointer of each value that is not                 |
//! | `keywords` | `[ragged(offsets)]` | bytes | JSON Pointer of the schema's keyword that says so      |
//! | `messages` | `[ragged(offsets)]` | bytes | what was expected and what came                        |
//! | `offsets`  | `[batch + 1]`       | u32   | where each text's findings start                       |
//!
//! A text has at most 100 findings; the rest is not told.

use aimass_json_schema::{Broken, Budget, Finding, Schema, Stopped, Value};
use aimass_sdk::files::File;
use aimass_sdk::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Bytes of a schema file at most.
const SCHEMA_BYTES_MAX: u64 = 4 << 20;
/// The largest `steps_max`.
const STEPS_MAX: u64 = 100_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Read from the text itself, whose numbers are exact.
    schema: Option<IgnoredAny>,
    schema_file: Option<String>,
    #[serde(default)]
    refuse: bool,
    #[serde(default = "ten_million")]
    steps_max: u64,
}

fn ten_million() -> u64 {
    10_000_000
}

/// The plugin.
#[derive(Debug)]
pub struct JsonSchema {
    schema: Schema,
    refuse: bool,
    steps_max: u64,
}

impl Processor for JsonSchema {
    fn init(config: Config) -> Result<Self> {
        let settings: Settings = config.parse()?;
        if !(1..=STEPS_MAX).contains(&settings.steps_max) {
            let got = settings.steps_max;
            return Err(refused(&format!("steps_max: expected 1 to {STEPS_MAX}, got {got}")));
        }
        let text = match (&settings.schema, &settings.schema_file) {
            (None, None) => return Err(refused("expected schema or schema_file, got none")),
            (Some(_), Some(_)) => return Err(refused("expected schema or schema_file, got both")),
            (Some(_), None) => config.json(),
            (None, Some(name)) => File::open(name)?.read_all(SCHEMA_BYTES_MAX)?,
        };
        let parsed = Value::parse(&text).map_err(|error| refused(&format!("schema: {error}")))?;
        let inline = settings.schema.is_some().then(|| parsed.member("schema").cloned()).flatten();
        let schema = Schema::compile(inline.unwrap_or(parsed))
            .map_err(|error| refused(&format!("schema: {error}")))?;
        Ok(JsonSchema { schema, refuse: settings.refuse, steps_max: settings.steps_max })
    }

    fn describe(&self) -> Signature {
        let text = |name| TensorSpec::new(name, DType::Bytes, [Dim::Batch]);
        let finding = |name| TensorSpec::new(name, DType::Bytes, [Dim::ragged("offsets")]);
        Signature::new()
            .input(text("json"))
            .output(text("json"))
            .output(TensorSpec::new("valid", DType::Bool, [Dim::Batch]))
            .output(finding("paths"))
            .output(finding("keywords"))
            .output(finding("messages"))
            .output(TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]))
    }

    fn process(&self, mut inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        let json = inputs.take("json")?;
        let texts = json.as_strings()?;
        let mut budget = Budget::new(self.steps_max);
        let (mut valid, mut offsets, mut all) = (Vec::new(), vec![0], Vec::new());
        for (index, text) in texts.iter().enumerate() {
            let findings = self.findings(text, &mut budget).map_err(|error| Error {
                message: format!("json[{index}]: {}", error.message),
                ..error
            })?;
            if self.refuse && !findings.is_empty() {
                return Err(refusal(index, &findings));
            }
            valid.push(u8::from(findings.is_empty()));
            all.extend(findings);
            offsets.push(all.len() as u32);
        }
        let column =
            |of: fn(&Finding) -> &str| Tensor::strings(&[all.len() as u64], all.iter().map(of));
        let batch = valid.len() as u64;
        let outputs = Outputs::from([
            ("valid", Tensor::create(DType::Bool, &[batch], &valid)?),
            ("paths", column(|it| &it.path)?),
            ("keywords", column(|it| &it.keyword)?),
            ("messages", column(|it| &it.message)?),
            ("offsets", Tensor::from_slice(&[batch + 1], &offsets)?),
        ]);
        Ok(outputs.with("json", json))
    }
}

aimass_sdk::export_processor!(JsonSchema);

impl JsonSchema {
    /// What is wrong with a text. What is no JSON at all has one finding without a keyword.
    fn findings(&self, text: &[u8], budget: &mut Budget) -> Result<Vec<Finding>> {
        match Value::parse(text) {
            Ok(value) => self.schema.findings(&value, budget).map_err(stopped),
            Err(Broken::Syntax { at, expected }) => Ok(vec![Finding {
                path: String::new(),
                keyword: String::new(),
                message: format!("not JSON: expected {expected} at byte {at}"),
            }]),
            Err(limit @ Broken::Limit { .. }) => Err(Error::input("too-large", limit.to_string())),
        }
    }
}

fn refusal(index: usize, findings: &[Finding]) -> Error {
    let first = &findings[0];
    let place = if first.path.is_empty() { "the whole text" } else { &first.path };
    let more = match findings.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Error::input("schema", format!("json[{index}]: {place}: {}{more}", first.message))
}

fn stopped(why: Stopped) -> Error {
    match why {
        Stopped::Steps { .. } => Error::input("steps", format!("{why} (`steps_max`)")),
        Stopped::Depth { .. } => Error::input("depth", why.to_string()),
    }
}

fn refused(message: &str) -> Error {
    Error::input("config", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_sdk::testing::Host;

    fn run(config: &str, texts: &[&str]) -> Result<Outputs> {
        let host = Host::new().config(config).file("s.json", *br#"{"type": "array"}"#).enter();
        let plugin = JsonSchema::init(host.config())?;
        let json = Tensor::strings(&[texts.len() as u64], texts)?;
        plugin.process(Inputs::from([("json", json)]), &Parameters::default())
    }

    #[test]
    fn findings_are_told_text_by_text() {
        let config = r#"{"schema": {"properties": {"a": {"type": "string"}}, "required": ["b"]}}"#;
        let texts = [r#"{"b": 1}"#, r#"{"a": 1}"#, "[1", ""];
        let outputs = run(config, &texts).unwrap();
        assert_eq!(outputs.get("valid").unwrap().to_bytes().unwrap(), [1, 0, 0, 0]);
        assert_eq!(outputs.get("offsets").unwrap().to_vec::<u32>().unwrap(), [0, 0, 2, 3, 4]);
        assert_eq!(outputs.texts("paths").unwrap(), ["", "/a", "", ""]);
        assert_eq!(outputs.texts("keywords").unwrap(), ["/required", "/properties/a/type", "", ""]);
        assert_eq!(outputs.texts("json").unwrap(), texts);
        let messages = outputs.texts("messages").unwrap();
        assert_eq!(messages[1], "expected string, got integer");
        assert_eq!(messages[2], "not JSON: expected `,` or `]` at byte 2");
    }

    #[test]
    fn a_gate_refuses_the_request_and_says_where() {
        let config = r#"{"schema_file": "s.json", "refuse": true}"#;
        assert!(run(config, &["[]", "[1]"]).is_ok());
        let error = run(config, &["[]", "{}"]).unwrap_err();
        assert_eq!(error.code, "schema");
        assert_eq!(error.message, "json[1]: the whole text: expected array, got object");
    }

    #[test]
    fn steps_are_counted_over_all_texts_of_a_call() {
        let config = r#"{"schema": {"type": "integer"}, "steps_max": 4}"#;
        assert!(run(config, &["1", "2"]).is_ok());
        let error = run(config, &["1", "2", "3"]).unwrap_err();
        assert_eq!(error.code, "steps");
        assert!(error.message.starts_with("json[2]: "), "{error}");
    }

    #[test]
    fn one_schema_is_wanted_and_bounds_are_checked() {
        for (config, expected) in [
            ("{}", "got none"),
            (r#"{"schema": {}, "schema_file": "s.json"}"#, "got both"),
            (r#"{"schema": {}, "steps_max": 100000001}"#, "steps_max"),
            (r#"{"schema": {}, "steps_max": 0}"#, "steps_max"),
            (r#"{"schema": {"typ": "string"}}"#, "/typ"),
        ] {
            let error = run(config, &[]).unwrap_err();
            assert_eq!(error.code, "config");
            assert!(error.message.contains(expected), "{config}: {error}");
        }
        assert!(run(r#"{"schema": true, "steps_max": 100000000}"#, &[]).is_ok());
    }
}
