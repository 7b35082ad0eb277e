//! What a command did and what to do next, as lines for people or as one JSON object.

use serde_json::{Map, Value};

/// Column at which the texts of lines begin.
const COLUMN: usize = 13;

/// The report of one command.
pub(crate) struct Report {
    json: bool,
    lines: Vec<(String, String)>,
    fields: Map<String, Value>,
    next: Vec<String>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Report {
        Report { json, lines: Vec::new(), fields: Map::new(), next: Vec::new() }
    }

    /// A line for people.
    pub(crate) fn line(&mut self, label: &str, text: impl Into<String>) {
        self.lines.push((label.to_owned(), text.into()));
    }

    /// A field for programs.
    pub(crate) fn field(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// A command that usually comes next.
    pub(crate) fn next(&mut self, command: impl Into<String>) {
        self.next.push(command.into());
    }

    pub(crate) fn print(self) {
        if self.json {
            let mut fields = self.fields;
            fields.insert("next".to_owned(), Value::from(self.next));
            println!("{}", Value::Object(fields));
            return;
        }
        for (label, text) in &self.lines {
            println!("{label:<COLUMN$} {text}");
        }
        for (at, command) in self.next.iter().enumerate() {
            println!("{:<COLUMN$} {command}", if at == 0 { "next" } else { "" });
        }
    }
}
