//! A plugin's configuration against the JSON schema of its signed manifest, before the plugin sees it.

use aimass_json_schema::{Budget, Schema, Value};

/// Findings that an error names; the others are counted.
const NAMED_MAX: usize = 3;

/// Whether a manifest's schema can be used.
///
/// # Errors
/// In words: where it stands, what was expected and what is there.
pub(crate) fn check_schema(schema: &str) -> Result<Schema, String> {
    let refused =
        |error: &dyn std::fmt::Display| format!("`configSchema` of its manifest: {error}");
    let value = Value::parse(schema.as_bytes()).map_err(|error| refused(&error))?;
    Schema::compile(value).map_err(|error| refused(&error))
}

/// Whether a configuration is what a schema wants, within so many steps.
///
/// # Errors
/// In words: where it is wrong, what was expected and what came.
pub(crate) fn check_config(schema: &str, config: &[u8], steps_max: u64) -> Result<(), String> {
    let schema = check_schema(schema)?;
    let value = Value::parse(config).map_err(|error| format!("its configuration: {error}"))?;
    let findings = schema.findings(&value, &mut Budget::new(steps_max));
    let findings = findings.map_err(|error| format!("its configuration: {error} of its schema"))?;
    if findings.is_empty() {
        return Ok(());
    }
    let named = findings.iter().take(NAMED_MAX).map(|finding| {
        let place = if finding.path.is_empty() { "the whole" } else { &finding.path };
        format!("{place}: {} ({})", finding.message, finding.keyword)
    });
    let more = match findings.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let named = named.collect::<Vec<String>>().join("; ");
    Err(format!("its configuration is not what its schema wants: {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "object", "additionalProperties": false,
        "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1},
        "mode": {"enum": ["fast", "exact"]}, "eps": {"exclusiveMinimum": 0.5}}}"#;

    fn check(config: &str) -> Result<(), String> {
        check_config(SCHEMA, config.as_bytes(), 1_000)
    }

    #[test]
    fn what_the_schema_wants_passes_and_all_else_is_told_by_its_place() {
        assert_eq!(check(r#"{"size": 3, "mode": "fast", "eps": 0.75}"#), Ok(()));
        for (config, expected) in [
            ("{}", "wants: the whole: expected a member \"size\", got none (/required)"),
            (r#"{"size": 0}"#, "/size: expected at least 1, got 0 (/properties/size/minimum)"),
            (r#"{"size": 1, "sise": 2}"#, "the whole: expected no other members, got sise"),
            (r#"{"size": 1, "mode": 7}"#, "/mode: expected one of \"fast\", \"exact\", got 7"),
            (r#"{"sise": 1, "mode": 7, "eps": 0.5, "x": 1}"#, "; and 1 more"),
            ("[", "its configuration: expected"),
        ] {
            let error = check(config).unwrap_err();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }

    #[test]
    fn a_schema_that_is_none_or_takes_too_long_is_told() {
        let error = check_config(r#"{"typ": "object"}"#, b"{}", 1_000).unwrap_err();
        assert!(error.starts_with("`configSchema` of its manifest: /typ: "), "{error}");
        let steps = |steps| check_config(r#"{"type": "object"}"#, b"{}", steps);
        assert_eq!(steps(2), Ok(()));
        assert!(steps(1).unwrap_err().contains("expected at most 1 steps"));
    }
}
