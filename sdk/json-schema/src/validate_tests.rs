//! Schemas and values by hand; `reference_tests` has many more.

use crate::json::Value;
use crate::schema::Schema;
use crate::validate::{Budget, Finding, Stopped};

fn findings(schema: &str, text: &str) -> Vec<Finding> {
    let schema = Schema::compile(Value::parse(schema.as_bytes()).unwrap()).unwrap();
    let value = Value::parse(text.as_bytes()).unwrap();
    schema.findings(&value, &mut Budget::new(1_000_000)).unwrap()
}

/// Path, keyword and message of each finding.
fn told(schema: &str, text: &str) -> Vec<String> {
    let line = |it: Finding| format!("{} {} {}", it.path, it.keyword, it.message);
    findings(schema, text).into_iter().map(line).collect()
}

/// Schema, value, and what is told.
const MESSAGES: &[(&str, &str, &str)] = &[
    (r#"{"type": ["string", "null"]}"#, "1.5", " /type expected null or string, got number"),
    (r#"{"type": "integer"}"#, "1.5", " /type expected integer, got number"),
    (r#"{"enum": [1, "a"]}"#, "2", " /enum expected one of 1, \"a\", got 2"),
    (
        r#"{"enum": [1, 2, 3, 4, 5, 6, 7]}"#,
        "9",
        " /enum expected one of 1, 2, 3, 4, 5 and 2 more, got 9",
    ),
    (r#"{"const": {"a": 1}}"#, "[]", " /const expected {\"a\": 1}, got []"),
    (r#"{"multipleOf": 0.1}"#, "0.35", " /multipleOf expected a multiple of 0.1, got 0.35"),
    (r#"{"minimum": 1}"#, "0.5", " /minimum expected at least 1, got 0.5"),
    (r#"{"exclusiveMinimum": 1}"#, "1.0", " /exclusiveMinimum expected more than 1, got 1"),
    (r#"{"maximum": 1}"#, "2", " /maximum expected at most 1, got 2"),
    (r#"{"exclusiveMaximum": 1}"#, "1", " /exclusiveMaximum expected less than 1, got 1"),
    (r#"{"maxLength": 2}"#, "\"äöü\"", " /maxLength expected at most 2 characters, got 3"),
    (r#"{"minProperties": 1}"#, "{}", " /minProperties expected at least 1 members, got 0"),
    (r#"{"pattern": "^a"}"#, "\"ba\"", " /pattern expected what matches ^a, got \"ba\""),
    (r#"{"uniqueItems": true}"#, "[1, \"1\", 1.0]", " /uniqueItems expected 1 once"),
    (r#"{"required": ["a"]}"#, "{}", " /required expected a member \"a\", got none"),
    (
        r#"{"dependentRequired": {"a": ["b"]}}"#,
        "{\"a\": 1}",
        " /dependentRequired expected a member \"b\", got none",
    ),
    (r#"{"not": {}}"#, "1", " /not expected another value than 1"),
    (r#"{"anyOf": [false, false]}"#, "1", " /anyOf expected what one of 2 schemas wants, got 1"),
    (
        r#"{"oneOf": [true, true]}"#,
        "1",
        " /oneOf expected what just one of 2 schemas wants, got 1, as more do",
    ),
    (
        r#"{"prefixItems": [true], "items": false}"#,
        "[1, 2]",
        " /items expected at most 1 items, got 2",
    ),
    (
        r#"{"contains": {"const": 1}, "minContains": 2}"#,
        "[1]",
        " /minContains expected at least 2 items of the kind, got 1",
    ),
    (
        r#"{"contains": {"const": 1}, "maxContains": 1}"#,
        "[1, 1]",
        " /maxContains expected at most 1 items of the kind, got 2",
    ),
    (
        r#"{"additionalProperties": false}"#,
        "{\"a\": 1, \"b\": 2}",
        " /additionalProperties expected no other members, got a, b",
    ),
    (
        r#"{"propertyNames": {"maxLength": 1}}"#,
        "{\"ab\": 1}",
        " /propertyNames/maxLength expected at most 1 characters, got 2",
    ),
    (
        r#"{"properties": {"a/b": {"items": false}}}"#,
        "{\"a/b\": [0]}",
        "/a~1b /properties/a~1b/items expected at most 0 items, got 1",
    ),
    (r#"{"properties": {"a": false}}"#, "{\"a\": 1}", "/a /properties/a expected nothing here"),
    (
        r#"{"if": {"type": "string"}, "then": {"maxLength": 0}, "else": false}"#,
        "\"a\"",
        " /then/maxLength expected at most 0 characters, got 1",
    ),
    (r#"{"if": {"type": "string"}, "else": false}"#, "1", " /else expected nothing here"),
    (
        r##"{"items": {"$ref": "#/$defs/s"}, "$defs": {"s": {"type": "string"}}}"##,
        "[\"\", 1]",
        "/1 /$defs/s/type expected string, got integer",
    ),
];

#[test]
fn messages_say_what_was_expected_and_what_came() {
    for &(schema, text, expected) in MESSAGES {
        assert_eq!(told(schema, text), [expected], "{schema} {text}");
    }
}

#[test]
fn keywords_look_at_their_own_kinds_of_values_only() {
    let schema = r#"{"multipleOf": 2, "maxLength": 0, "maxItems": 0, "maxProperties": 0, "minimum": 9,
        "pattern": "x", "uniqueItems": true, "required": ["a"], "contains": false, "items": false,
        "additionalProperties": false, "propertyNames": false, "prefixItems": [false]}"#;
    for other in ["null", "true", "false"] {
        assert_eq!(told(schema, other), [""; 0], "{other}");
    }
    assert_eq!(told(r#"{"then": false, "minContains": 5}"#, "[1]"), [""; 0]);
}

#[test]
fn equal_values_are_equal_however_they_are_written() {
    let schema = r#"{"enum": [{"b": 1.0, "a": [100]}, 0]}"#;
    assert!(findings(schema, r#"{"a": [1e2], "b": 1}"#).is_empty());
    assert!(findings(schema, "-0.0").is_empty());
    assert_eq!(findings(schema, "false").len(), 1);
}

#[test]
fn a_text_has_at_most_100_findings() {
    let text = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    assert_eq!(findings(r#"{"items": {"type": "null"}}"#, &text(100)).len(), 100);
    assert_eq!(findings(r#"{"items": {"type": "null"}}"#, &text(101)).len(), 100);
}

/// Runs out of steps with `steps`, and just does not with one more.
fn check_steps(schema: &str, text: &str, steps: u64) {
    let schema = Schema::compile(Value::parse(schema.as_bytes()).unwrap()).unwrap();
    let value = Value::parse(text.as_bytes()).unwrap();
    let run = |steps| schema.findings(&value, &mut Budget::new(steps));
    assert_eq!(run(steps), Err(Stopped::Steps { steps_max: steps }));
    assert!(run(steps + 1).is_ok());
}

#[test]
fn work_that_grows_is_counted() {
    // Each of 20 definitions looks twice through the next one.
    let twice = |at: usize| {
        format!(
            r##""{at}": {{"allOf": [{{"$ref": "#/$defs/{0}"}}, {{"$ref": "#/$defs/{0}"}}]}}"##,
            at + 1
        )
    };
    let all: Vec<String> = (0..20).map(twice).collect();
    let schema =
        format!(r##"{{"$ref": "#/$defs/0", "$defs": {{{}, "20": {{}}}}}}"##, all.join(","));
    let compiled = Schema::compile(Value::parse(schema.as_bytes()).unwrap()).unwrap();
    let error = compiled.findings(&Value::Null, &mut Budget::new(1_000_000)).unwrap_err();
    assert_eq!(error, Stopped::Steps { steps_max: 1_000_000 });
    check_steps(r#"{"type": "integer"}"#, "1", 1);
    check_steps(r#"{"enum": [[1, 2], "a"]}"#, "1", 5);
    check_steps(r#"{"uniqueItems": true}"#, "[1, 2, 3, 4]", 16);
    check_steps(r#"{"pattern": "a"}"#, &format!("\"{}\"", "b".repeat(160)), 8 * 11 + 1);
}

#[test]
fn values_that_go_deeper_and_deeper_are_refused_before_the_stack_ends() {
    let alias = |at: usize| format!(r##""{at}": {{"$ref": "#/$defs/{}"}}"##, at + 1);
    let all: Vec<String> = (0..30).map(alias).collect();
    let schema = format!(
        r##"{{"$ref": "#/$defs/0", "$defs": {{{}, "30": {{"items": {{"$ref": "#/$defs/0"}}}}}}}}"##,
        all.join(",")
    );
    let compiled = Schema::compile(Value::parse(schema.as_bytes()).unwrap()).unwrap();
    let run = |depth: usize| {
        let text = "[".repeat(depth) + &"]".repeat(depth);
        let value = Value::parse(text.as_bytes()).unwrap();
        compiled.findings(&value, &mut Budget::new(1_000_000))
    };
    assert_eq!(run(10), Ok(vec![]));
    assert_eq!(run(64), Err(Stopped::Depth { depth_max: 512 }));
}
