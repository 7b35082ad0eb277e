//! Log lines: as text for people or as JSON for machines, without secrets, each with the request and the
//! trace that it belongs to.

mod redaction;

pub use redaction::redacted;

use crate::call::current;
use crate::usage::rfc3339;
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Longest line, in bytes; the rest of a longer text is left out.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, message, `key=value`.
    #[default]
    Text,
    /// One JSON object a line: `timestamp`, `level`, `target`, `message`, `request_id`, `trace_id`, `fields`.
    Json,
}

/// Writes each event as one line. Control characters are escaped, so that no text from outside can
/// forge a line.
pub struct LogLayer<W> {
    format: LogFormat,
    out: Mutex<W>,
}

impl<W: Write + Send + 'static> LogLayer<W> {
    /// Lines of this format go to `out`, each with one write.
    pub fn new(format: LogFormat, out: W) -> LogLayer<W> {
        LogLayer { format, out: Mutex::new(out) }
    }
}

impl<S: Subscriber, W: Write + Send + 'static> Layer<S> for LogLayer<W> {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            time: rfc3339(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)),
            level: metadata.level().as_str(),
            target: metadata.target(),
            fields,
            call: current(|call| {
                let trace = call.trace().map(|trace| format!("{:032x}", trace.context().trace));
                (redacted(call.request()).into_owned(), trace)
            }),
        };
        let text = match self.format {
            LogFormat::Text => line.text(),
            LogFormat::Json => line.json(),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere left to say that the log cannot be written.
        let _ = out.write_all(text.as_bytes());
    }
}

struct Line<'a> {
    time: String,
    level: &'a str,
    target: &'a str,
    fields: Fields,
    call: Option<(String, Option<String>)>,
}

impl Line<'_> {
    fn text(self) -> String {
        let mut line = format!("{} {:>5} {}", self.time, self.level, escaped(&self.fields.message));
        let mut add = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(line, " {name}={}", escaped(value));
        };
        for (name, value) in &self.fields.others {
            match value {
                Value::String(text) => add(name, text),
                other => add(name, &other.to_string()),
            }
        }
        if let Some((request, trace)) = &self.call {
            add("request_id", request);
            if let Some(trace) = trace {
                add("trace_id", trace);
            }
        }
        line.push('\n');
        line
    }

    fn json(self) -> String {
        let mut line = Map::new();
        let mut add = |name: &str, value: String| line.insert(name.to_owned(), Value::from(value));
        add("timestamp", self.time);
        add("level", self.level.to_owned());
        add("target", self.target.to_owned());
        add("message", self.fields.message);
        if let Some((request, trace)) = self.call {
            add("request_id", request);
            if let Some(trace) = trace {
                add("trace_id", trace);
            }
        }
        if !self.fields.others.is_empty() {
            line.insert("fields".to_owned(), Value::Object(self.fields.others));
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        text
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        let text = redacted(clipped(text)).into_owned();
        if field.name() == "message" {
            self.message = text;
            return;
        }
        self.others.insert(field.name().to_owned(), Value::String(text));
    }

    fn number(&mut self, field: &Field, number: Value) {
        self.others.insert(field.name().to_owned(), number);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Clipping(String::new());
        // It fails where the text is long enough.
        let _ = write!(text, "{value:?}");
        self.text(field, &text.0);
    }
}

/// A string that takes no more than its limit.
struct Clipping(String);

impl fmt::Write for Clipping {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(clipped(text));
        if self.0.len() > TEXT_BYTES_MAX { Err(fmt::Error) } else { Ok(()) }
    }
}

fn clipped(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn escaped(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;
    use std::sync::Arc;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let layer = LogLayer::new(format, buffer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn in_call(log: impl FnOnce()) {
        let call = Call::new("req-7", None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(call.scope(async { log() }));
    }

    #[test]
    fn a_json_line_has_the_request_and_typed_fields_and_no_secret() {
        let key = "am_0123abcd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let text = lines(LogFormat::Json, || {
            in_call(|| tracing::info!(count = 3, key, good = true, "sent\n{key}"));
        });
        assert_eq!(text.lines().count(), 1);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["level"], &json["request_id"]), (&"INFO".into(), &"req-7".into()));
        assert_eq!((&json["fields"]["count"], &json["fields"]["good"]), (&3.into(), &true.into()));
        assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(!text.contains("AAAA") && text.contains("am_0123abcd_"), "{text}");
    }

    #[test]
    fn a_text_line_cannot_be_forged_and_has_a_limit() {
        let text = lines(LogFormat::Text, || {
            tracing::warn!(detail = %"a\nERROR forged\u{1b}[0m", "message");
            tracing::warn!("{}", "x".repeat(3 * TEXT_BYTES_MAX));
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains(" WARN message detail=a\\nERROR forged\\u{1b}[0m"), "{text}");
        assert!(!lines[0].contains("request_id") && lines[1].len() < TEXT_BYTES_MAX + 100);
    }
}
