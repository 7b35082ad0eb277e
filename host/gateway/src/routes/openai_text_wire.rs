//! Requests and answers of chat and of completions, whole and as chunks of a stream.

use crate::config::TENSORS_MAX;
use crate::failure::{Failure, json};
use crate::object::{Object, read_object};
use crate::sse;
use aimass_engine::Parameter;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Which of the two APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

impl Kind {
    /// The input that the request's text goes to.
    pub(super) fn input(self) -> &'static str {
        match self {
            Kind::Chat => "messages",
            Kind::Completion => "prompt",
        }
    }

    /// What a model that lacks it does not do.
    pub(super) fn refusal(self) -> &'static str {
        match self {
            Kind::Chat => "does not chat",
            Kind::Completion => "does not complete text",
        }
    }

    /// A name for an answer.
    pub(super) fn id(self) -> Result<String, Failure> {
        let random = getrandom::u64().map_err(|error| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "random", error.to_string())
        })?;
        Ok(match self {
            Kind::Chat => format!("chatcmpl-{random:016x}"),
            Kind::Completion => format!("cmpl-{random:016x}"),
        })
    }

    fn object(self, chunk: bool) -> &'static str {
        match (self, chunk) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        }
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "role")]
    _role: String,
}

/// A request for text.
#[derive(Debug)]
pub(super) struct TextRequest {
    pub(super) model: String,
    /// The prompt, or the messages as JSON.
    pub(super) text: String,
    pub(super) parameters: BTreeMap<String, Parameter>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl TextRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub(super) fn parse(kind: Kind, body: &[u8]) -> Result<TextRequest, Failure> {
        // Twice over the body: a flattened map takes fields that another struct borrows.
        let texts: Texts<'_> = read_object(body)?;
        let wire: Rest = read_object(body)?;
        if wire.n.is_some_and(|n| n != 1) {
            return Err(Failure::invalid("n: expected 1, more are not made").of("n"));
        }
        let text = match kind {
            Kind::Chat => messages(texts.messages)?,
            Kind::Completion => prompt(texts.prompt)?,
        };
        Ok(TextRequest {
            model: wire.model,
            text,
            parameters: parameters(wire.rest)?,
            stream: wire.stream.unwrap_or(false),
            include_usage: wire.stream_options.is_some_and(|options| options.0.include_usage),
        })
    }
}

/// The fields whose text goes on as it came.
#[derive(Deserialize)]
struct Texts<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
}

/// All other fields.
#[derive(Deserialize)]
struct Rest {
    model: String,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<Object<StreamOptions>>,
    #[serde(default)]
    n: Option<u64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn messages(raw: Option<&RawValue>) -> Result<String, Failure> {
    let raw = raw.ok_or_else(|| Failure::invalid("messages: expected an array").of("messages"))?;
    let read: Vec<Object<Message>> = serde_json::from_str(raw.get())
        .map_err(|error| Failure::invalid(format!("messages: {error}")).of("messages"))?;
    if read.is_empty() {
        return Err(Failure::invalid("messages: expected at least one").of("messages"));
    }
    Ok(raw.get().to_owned())
}

fn prompt(raw: Option<&RawValue>) -> Result<String, Failure> {
    let wrong = || Failure::invalid("prompt: expected one string").of("prompt");
    let raw = raw.ok_or_else(wrong)?;
    match serde_json::from_str(raw.get()).map_err(|_| wrong())? {
        Value::String(text) => Ok(text),
        Value::Array(many) if many.len() == 1 => {
            many[0].as_str().map(str::to_owned).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// Scalars go to the model; what is no scalar (tools, formats) is refused unless it says nothing.
fn parameters(rest: Map<String, Value>) -> Result<BTreeMap<String, Parameter>, Failure> {
    let mut parameters = BTreeMap::new();
    for (name, value) in rest {
        let value = match value {
            Value::Bool(value) => Parameter::Bool(value),
            Value::String(value) => Parameter::Text(value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Parameter::Int(value),
                (None, value) => Parameter::Float(value.unwrap_or(f64::NAN)),
            },
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) if is_for_the_server(&name) => continue,
            Value::Array(_) | Value::Object(_) => {
                let name: String = name.chars().take(128).collect();
                return Err(Failure::invalid(format!("{name}: this server takes scalars only")));
            }
        };
        if !is_for_the_server(&name) {
            parameters.insert(name, value);
        }
    }
    if parameters.len() > TENSORS_MAX {
        return Err(Failure::invalid(format!("expected at most {TENSORS_MAX} parameters")));
    }
    Ok(parameters)
}

/// Fields that the model does not get: read elsewhere, or meant for OpenAI's own service.
fn is_for_the_server(name: &str) -> bool {
    matches!(name, "messages" | "prompt" | "metadata" | "store" | "user" | "service_tier")
}

/// An answer, ready to be written.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) text: String,
    pub(super) finish_reason: String,
    pub(super) tokens: u64,
    /// Whether the events of a stream end with usage.
    pub(super) include_usage: bool,
}

impl Answer {
    /// The answer in one piece.
    pub(super) fn whole(&self) -> Vec<u8> {
        let choice = match self.kind {
            Kind::Chat => json!({
                "index": 0,
                "message": { "role": "assistant", "content": self.text, "refusal": null },
                "logprobs": null,
                "finish_reason": self.finish_reason,
            }),
            Kind::Completion => json!({
                "index": 0,
                "text": self.text,
                "logprobs": null,
                "finish_reason": self.finish_reason,
            }),
        };
        let mut answer = self.envelope(false, vec![choice]);
        answer["usage"] = self.usage();
        json(&answer)
    }

    /// An event with a piece of the text; `first` if none was sent before.
    pub(super) fn piece(&self, text: &str, first: bool) -> Vec<u8> {
        let delta = match (self.kind, first) {
            (Kind::Chat, true) => json!({ "role": "assistant", "content": text }),
            (Kind::Chat, false) => json!({ "content": text }),
            (Kind::Completion, _) => json!(text),
        };
        self.chunk(vec![self.choice(delta, Value::Null)])
    }

    /// The events behind the text: why it ends, usage if asked, and `[DONE]`.
    pub(super) fn ending(&self) -> Vec<u8> {
        let empty = match self.kind {
            Kind::Chat => json!({}),
            Kind::Completion => json!(""),
        };
        let mut events = self.chunk(vec![self.choice(empty, json!(self.finish_reason))]);
        if self.include_usage {
            let mut chunk = self.envelope(true, Vec::new());
            chunk["usage"] = self.usage();
            events.extend(sse::event(&json(&chunk)));
        }
        events.extend(sse::event(b"[DONE]"));
        events
    }

    fn choice(&self, text: Value, reason: Value) -> Value {
        let field = match self.kind {
            Kind::Chat => "delta",
            Kind::Completion => "text",
        };
        json!({ "index": 0, field: text, "finish_reason": reason })
    }

    fn chunk(&self, choices: Vec<Value>) -> Vec<u8> {
        let mut chunk = self.envelope(true, choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        sse::event(&json(&chunk))
    }

    fn envelope(&self, chunk: bool, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": self.kind.object(chunk),
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// Tokens as the model's package counts them; those of the answer are not counted apart.
    fn usage(&self) -> Value {
        json!({ "prompt_tokens": self.tokens, "completion_tokens": 0, "total_tokens": self.tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: Kind, include_usage: bool) -> Answer {
        Answer {
            kind,
            id: "id".into(),
            created: 7,
            model: "m@stable".into(),
            text: "a\nb".into(),
            finish_reason: "stop".into(),
            tokens: 3,
            include_usage,
        }
    }

    #[test]
    fn a_stream_ends_with_usage_if_asked_and_done() {
        for kind in [Kind::Chat, Kind::Completion] {
            let events = |include_usage| {
                let answer = answer(kind, include_usage);
                let pieces = [answer.piece("a", true), answer.piece("b", false)].concat();
                String::from_utf8([pieces, answer.ending()].concat()).unwrap()
            };
            let (text, without) = (events(true), events(false));
            let events: Vec<&str> = text.split_terminator("\n\n").collect();
            assert!(events.iter().all(|event| event.starts_with("data: ")));
            assert_eq!(events.last(), Some(&"data: [DONE]"));
            let usage: Value = serde_json::from_str(&events[events.len() - 2][6..]).unwrap();
            assert_eq!(
                (&usage["choices"], &usage["usage"]["total_tokens"]),
                (&json!([]), &json!(3))
            );
            assert_eq!(text.matches("assistant").count(), usize::from(kind == Kind::Chat));
            assert!(!without.contains("usage"));
        }
    }

    #[test]
    fn requests_are_read_and_wrong_fields_named() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,
            "stream_options":{"include_usage":true},"temperature":0.5,"max_tokens":9,"seed":null}"#;
        let request = TextRequest::parse(Kind::Chat, body).unwrap();
        assert_eq!(request.text, r#"[{"role":"user","content":"hi"}]"#);
        assert!(request.stream && request.include_usage);
        let expected = BTreeMap::from([
            ("max_tokens".to_owned(), Parameter::Int(9)),
            ("temperature".to_owned(), Parameter::Float(0.5)),
        ]);
        assert_eq!(request.parameters, expected);
        for (kind, body, word) in [
            (Kind::Chat, r#"{"model":"m"}"#, "messages"),
            (Kind::Chat, r#"{"model":"m","messages":[]}"#, "at least one"),
            (Kind::Chat, r#"{"model":"m","messages":[{}]}"#, "role"),
            (Kind::Chat, r#"{"model":"m","messages":[{"role":"user"}],"n":2}"#, "n: expected 1"),
            (Kind::Chat, r#"{"model":"m","messages":[{"role":"user"}],"tools":[1]}"#, "tools"),
            (Kind::Completion, r#"{"model":"m","prompt":["a","b"]}"#, "one string"),
            (Kind::Completion, r#"{"model":"m","prompt":[1]}"#, "one string"),
            (Kind::Completion, "[]", "an object"),
        ] {
            let message = TextRequest::parse(kind, body.as_bytes()).unwrap_err().message;
            assert!(message.contains(word), "{body}: {message}");
        }
    }
}
