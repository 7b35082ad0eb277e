//! A schema as nodes that refer to each other by number; whatever could only fail later is refused here.

use std::collections::BTreeMap;
use std::fmt;

use crate::json::Value;
use crate::keyword::{Keyword, read};

/// Schemas in a schema at most.
const NODES_MAX: usize = 10_000;
/// How many schemas may look at one value one inside the other, references included.
const CHAIN_MAX: usize = 64;
/// The one draft that is known.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Place of a schema in [`Schema::nodes`].
pub(crate) type Id = usize;

/// A schema; the first node is the whole.
#[derive(Debug)]
pub struct Schema {
    pub(crate) nodes: Vec<Node>,
}

/// One schema.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where it stands, as a JSON Pointer.
    pub(crate) pointer: String,
    pub(crate) body: Body,
}

/// What a schema says.
#[derive(Debug)]
pub(crate) enum Body {
    /// `true`.
    Anything,
    /// `false`.
    Nothing,
    Keywords(Vec<(&'static str, Keyword)>),
}

/// Why a schema was refused, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// JSON Pointer of what is refused; empty for the whole.
    pub pointer: String,
    /// What was expected and what stands there.
    pub why: String,
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the root" } else { &self.pointer };
        write!(formatter, "{place}: {}", self.why)
    }
}

/// Schemas while they are read.
#[derive(Default)]
pub(crate) struct Compiler {
    nodes: Vec<Node>,
    by_pointer: BTreeMap<String, Id>,
    anchors: BTreeMap<String, Id>,
    /// The root's `$id`.
    base: String,
    /// References: who makes them, the place of its keyword, and to where.
    pending: Vec<(Id, usize, String)>,
}

impl Schema {
    /// Reads a schema: at most 10,000 of them in each other, 64 that look at one value.
    ///
    /// # Errors
    /// What is not known, contradicts the draft, or refers to nothing or for ever to itself.
    pub fn compile(root: Value) -> Result<Schema, Refused> {
        let mut compiler = Compiler::default();
        if let Some(Value::String(draft)) = root.member("$schema")
            && draft.trim_end_matches('#') != DRAFT
        {
            let why = format!("expected {DRAFT}, got {draft}");
            return Err(Refused { pointer: "/$schema".to_owned(), why });
        }
        compiler.node(&root, String::new())?;
        compiler.resolve()?;
        let schema = Schema { nodes: compiler.nodes };
        schema.check_chains()?;
        Ok(schema)
    }

    /// Refuses schemas that look at one value for ever, and chains beyond the limit: schemas are taken away
    /// once nothing that is left looks through them.
    fn check_chains(&self) -> Result<(), Refused> {
        let count = self.nodes.len();
        let mut incoming = vec![0usize; count];
        let edges = |id: Id| self.nodes[id].in_place();
        (0..count).flat_map(edges).for_each(|to| incoming[to] += 1);
        let mut ready: Vec<Id> = (0..count).filter(|id| incoming[*id] == 0).collect();
        let mut length = vec![1; count];
        let mut done = 0;
        while let Some(id) = ready.pop() {
            done += 1;
            for to in edges(id) {
                length[to] = length[to].max(length[id] + 1);
                incoming[to] -= 1;
                if incoming[to] == 0 {
                    ready.push(to);
                }
            }
        }
        let refused =
            |id: Id, why: String| Refused { pointer: self.nodes[id].pointer.clone(), why };
        if done < count {
            let looped = incoming.iter().position(|left| *left > 0).unwrap_or(0);
            return Err(refused(looped, "expected an end, got a reference to itself".to_owned()));
        }
        match length.iter().position(|length| *length > CHAIN_MAX) {
            Some(id) => {
                let why =
                    format!("expected at most {CHAIN_MAX} schemas for one value in each other");
                Err(refused(id, why))
            }
            None => Ok(()),
        }
    }
}

impl Node {
    /// Schemas that look at the value that this one looks at.
    fn in_place(&self) -> Vec<Id> {
        match &self.body {
            Body::Anything | Body::Nothing => Vec::new(),
            Body::Keywords(keywords) => keywords.iter().flat_map(|(_, it)| it.in_place()).collect(),
        }
    }
}

impl Compiler {
    /// Reads the schema at `pointer`.
    pub(crate) fn node(&mut self, schema: &Value, pointer: String) -> Result<Id, Refused> {
        let id = self.nodes.len();
        if id == NODES_MAX {
            return Err(refused(&pointer, format!("expected at most {NODES_MAX} schemas")));
        }
        self.by_pointer.insert(pointer.clone(), id);
        self.nodes.push(Node { pointer: pointer.clone(), body: Body::Anything });
        self.nodes[id].body = match schema {
            Value::Boolean(true) => Body::Anything,
            Value::Boolean(false) => Body::Nothing,
            Value::Object(members) => {
                for (name, value) in members {
                    self.identifier(id, name, value)?;
                }
                Body::Keywords(read(self, id, members, &pointer)?)
            }
            other @ (Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let why = format!("expected an object or a boolean, got {}", other.shown());
                return Err(refused(&pointer, why));
            }
        };
        Ok(id)
    }

    /// `$id` of the root, and anchors.
    fn identifier(&mut self, id: Id, name: &str, value: &Value) -> Result<(), Refused> {
        let pointer = format!("{}/{name}", self.nodes[id].pointer);
        match (name, value) {
            ("$id", Value::String(base)) if id == 0 => {
                self.base = base.trim_end_matches('#').to_owned();
            }
            ("$id", _) => {
                return Err(refused(&pointer, "expected a text, at the root alone".to_owned()));
            }
            ("$anchor", Value::String(anchor)) => {
                if self.anchors.insert(anchor.clone(), id).is_some() {
                    return Err(refused(&pointer, format!("expected {anchor:?} once")));
                }
            }
            ("$anchor", other) => {
                return Err(refused(&pointer, format!("expected a text, got {}", other.shown())));
            }
            (_, _) => {}
        }
        Ok(())
    }

    /// Remembers a reference of the keyword `place` of `from`.
    pub(crate) fn reference(&mut self, from: Id, place: usize, to: &str) {
        self.pending.push((from, place, to.to_owned()));
    }

    fn resolve(&mut self) -> Result<(), Refused> {
        for (from, place, to) in std::mem::take(&mut self.pending) {
            let pointer = format!("{}/$ref", self.nodes[from].pointer);
            let local = match to.split_once('#') {
                Some((base, fragment)) if base.is_empty() || base == self.base => fragment,
                None if to == self.base => "",
                Some(_) | None => {
                    let why = format!("expected a reference within this schema, got {to:?}");
                    return Err(refused(&pointer, why));
                }
            };
            let found = match unescaped(local) {
                Some(path) if path.is_empty() || path.starts_with('/') => {
                    self.by_pointer.get(&path)
                }
                Some(anchor) => self.anchors.get(&anchor),
                None => None,
            };
            let Some(found) = found else {
                return Err(refused(&pointer, format!("expected a schema at {to:?}, got none")));
            };
            if let Body::Keywords(keywords) = &mut self.nodes[from].body {
                keywords[place].1 = Keyword::Reference(*found);
            }
        }
        Ok(())
    }
}

/// A refusal of what stands at `pointer`.
pub(crate) fn refused(pointer: &str, why: String) -> Refused {
    Refused { pointer: pointer.to_owned(), why }
}

/// A name as one step of a JSON Pointer (RFC 6901 §3).
pub(crate) fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A fragment without percent signs (RFC 3986 §2.1).
fn unescaped(fragment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = fragment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = core::str::from_utf8(rest.get(..2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn compile(text: &str) -> Result<Schema, Refused> {
        Schema::compile(Value::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_not_known_or_not_meant_is_refused_where_it_stands() {
        for (schema, expected) in [
            (
                r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#,
                "/$schema: expected https",
            ),
            (r#"{"properties": {"a": {"requierd": []}}}"#, "/properties/a/requierd: "),
            (r#"{"unevaluatedProperties": false}"#, "/unevaluatedProperties: "),
            (r##"{"$dynamicRef": "#x"}"##, "/$dynamicRef: "),
            (r#"{"dependencies": {}}"#, "/dependencies: "),
            (r#"{"properties": {"a": {"$id": "x"}}}"#, "/properties/a/$id: "),
            (r#"{"$ref": "other.json"}"#, "/$ref: expected a reference within this schema"),
            (r##"{"$ref": "#/$defs/a"}"##, "/$ref: expected a schema at \"#/$defs/a\", got none"),
            (r##"{"$ref": "#/a%2"}"##, "/$ref: expected a schema"),
            (r##"{"$ref": "#/title", "title": "no schema"}"##, "got none"),
            (r##"{"$ref": "#"}"##, "the root: expected an end, got a reference to itself"),
            (
                r##"{"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"anyOf": [{"$ref": "#/items"}]}}}"##,
                "got a reference to itself",
            ),
            (r#"{"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}"#, "once"),
            (r#"{"type": "text"}"#, "/type: "),
            (r#"{"type": []}"#, "/type: "),
            (r#"{"required": ["a", 1]}"#, "/required: "),
            (r#"{"maxLength": -1}"#, "/maxLength: "),
            (r#"{"minItems": 1.5}"#, "/minItems: "),
            (r#"{"multipleOf": 0}"#, "/multipleOf: "),
            (r#"{"enum": 1}"#, "/enum: "),
            (r#"{"allOf": []}"#, "/allOf: "),
            (r#"{"items": [{}]}"#, "/items: expected an object or a boolean"),
            (r#"{"pattern": "("}"#, "/pattern: "),
            (r#"{"pattern": "(?=a)"}"#, "/pattern: "),
            (r#"{"patternProperties": {"[": {}}}"#, "/patternProperties/[: "),
            (r#"{"minContains": "1"}"#, "/minContains: "),
            ("[]", "the root: expected an object or a boolean"),
        ] {
            let error = compile(schema).unwrap_err().to_string();
            assert!(error.contains(expected), "{schema}: {error}");
        }
    }

    #[test]
    fn references_find_pointers_anchors_and_the_base() {
        let text = r##"{
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://acme.example/s",
            "$defs": {"a b/c": {"$anchor": "it", "type": "null"}},
            "properties": {
                "p": {"$ref": "#/$defs/a%20b~1c"}, "q": {"$ref": "#it"}, "r": {"$ref": "#"},
                "s": {"$ref": "https://acme.example/s#it"}, "t": {"$ref": "https://acme.example/s"}
            }
        }"##;
        let schema = compile(text).unwrap();
        let target = |name: &str| {
            let pointer = format!("/properties/{name}");
            let node = schema.nodes.iter().find(|node| node.pointer == pointer).unwrap();
            schema.nodes[node.in_place()[0]].pointer.as_str()
        };
        assert_eq!(["p", "q", "s"].map(target), ["/$defs/a b~1c"; 3]);
        assert_eq!(["r", "t"].map(target), [""; 2]);
    }

    #[test]
    fn schemas_and_chains_have_limits() {
        let many =
            |count: usize| format!(r#"{{"prefixItems": [{}{{}}]}}"#, "{},".repeat(count - 2));
        assert_eq!(compile(&many(NODES_MAX)).unwrap().nodes.len(), NODES_MAX);
        assert!(compile(&many(NODES_MAX + 1)).unwrap_err().why.contains("10000"));
        let chain = |count: usize| {
            let definition = |at: usize| format!(r##""{at}": {{"$ref": "#/$defs/{}"}}"##, at + 1);
            let all: Vec<String> = (0..count - 1).map(definition).collect();
            format!(r#"{{"$defs": {{{}, "{}": {{}}}}}}"#, all.join(","), count - 1)
        };
        assert!(compile(&chain(CHAIN_MAX)).is_ok());
        assert!(compile(&chain(CHAIN_MAX + 1)).unwrap_err().why.contains("64"));
    }
}
