//! The keywords: which there are, and how they are read.

use regex_lite::{Regex, RegexBuilder};

use crate::json::Value;
use crate::number::Decimal;
use crate::schema::{Compiler, Id, Refused, refused, step};

/// Bytes of an expression at most.
const PATTERN_BYTES_MAX: usize = 1_024;
/// Bytes of a compiled expression at most, which bounds what a character costs.
const PROGRAM_BYTES_MAX: usize = 64 << 10;

/// Names of types, in the order of their bits.
pub(crate) const TYPES: [&str; 7] =
    ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Keywords that say nothing about validity: annotations, and `format`, which the draft makes one.
const SILENT: &[&str] = &[
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// Which of two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Least,
    Most,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Characters,
    Items,
    Members,
}

/// One keyword, or a few that belong together.
#[derive(Debug)]
pub(crate) enum Keyword {
    /// Bits of [`TYPES`].
    Type(u8),
    Enum {
        values: Vec<Value>,
        weight: u64,
    },
    Const {
        value: Value,
        weight: u64,
    },
    MultipleOf(Decimal),
    Bound {
        side: Side,
        exclusive: bool,
        limit: Decimal,
    },
    Count {
        side: Side,
        counted: Counted,
        limit: u64,
    },
    Pattern(Pattern),
    UniqueItems,
    Required(Vec<String>),
    DependentRequired(Vec<(String, Vec<String>)>),
    Reference(Id),
    AllOf(Vec<Id>),
    AnyOf(Vec<Id>),
    OneOf(Vec<Id>),
    Not(Id),
    If {
        condition: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    DependentSchemas(Vec<(String, Id)>),
    PrefixItems(Vec<Id>),
    /// Items from a place on.
    Items {
        from: usize,
        schema: Id,
    },
    Contains {
        schema: Id,
        least: u64,
        most: Option<u64>,
    },
    /// By name, rising.
    Members {
        named: Vec<(String, Id)>,
        patterns: Vec<(Pattern, Id)>,
        others: Option<Id>,
    },
    PropertyNames(Id),
}

/// A regular expression, and what it costs.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    /// Steps of 16 bytes of text.
    pub(crate) cost: u64,
}

impl Keyword {
    /// Schemas that look at the same value.
    pub(crate) fn in_place(&self) -> Vec<Id> {
        match self {
            Keyword::Reference(id) | Keyword::Not(id) => vec![*id],
            Keyword::AllOf(ids) | Keyword::AnyOf(ids) | Keyword::OneOf(ids) => ids.clone(),
            Keyword::If { condition, then, otherwise } => {
                [Some(*condition), *then, *otherwise].into_iter().flatten().collect()
            }
            Keyword::DependentSchemas(all) => all.iter().map(|(_, id)| *id).collect(),
            Keyword::Type(_)
            | Keyword::Enum { .. }
            | Keyword::Const { .. }
            | Keyword::MultipleOf(_)
            | Keyword::Bound { .. }
            | Keyword::Count { .. }
            | Keyword::Pattern(_)
            | Keyword::UniqueItems
            | Keyword::Required(_)
            | Keyword::DependentRequired(_)
            | Keyword::PrefixItems(_)
            | Keyword::Items { .. }
            | Keyword::Contains { .. }
            | Keyword::Members { .. }
            | Keyword::PropertyNames(_) => Vec::new(),
        }
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Pattern, String> {
        if text.len() > PATTERN_BYTES_MAX {
            let got = text.len();
            return Err(format!("expected at most {PATTERN_BYTES_MAX} bytes, got {got}"));
        }
        // The smallest size that it compiles in tells how much there is to run.
        let mut size = 1 << 10;
        loop {
            match RegexBuilder::new(text).size_limit(size).build() {
                Ok(regex) => return Ok(Pattern { regex, cost: size as u64 >> 7 }),
                Err(_) if size < PROGRAM_BYTES_MAX => size *= 2,
                Err(error) => return Err(format!("expected a regular expression: {error}")),
            }
        }
    }
}

/// Limits on numbers: name, side, whether the limit itself is out.
const BOUNDS: [(&str, Side, bool); 4] = [
    ("maximum", Side::Most, false),
    ("minimum", Side::Least, false),
    ("exclusiveMaximum", Side::Most, true),
    ("exclusiveMinimum", Side::Least, true),
];

/// Limits on what is counted.
const COUNTS: [(&str, Side, Counted); 6] = [
    ("maxLength", Side::Most, Counted::Characters),
    ("minLength", Side::Least, Counted::Characters),
    ("maxItems", Side::Most, Counted::Items),
    ("minItems", Side::Least, Counted::Items),
    ("maxProperties", Side::Most, Counted::Members),
    ("minProperties", Side::Least, Counted::Members),
];

/// Keywords that are read with the one that they belong to.
const COMPANIONS: [&str; 6] =
    ["then", "else", "minContains", "maxContains", "patternProperties", "additionalProperties"];

/// Reads the keywords of the schema `id`, the members of an object.
///
/// # Errors
/// What is not known or written wrongly.
pub(crate) fn read(
    compiler: &mut Compiler,
    id: Id,
    members: &[(String, Value)],
    pointer: &str,
) -> Result<Vec<(&'static str, Keyword)>, Refused> {
    let mut reader = Reader { compiler, id, members, pointer, keywords: Vec::new() };
    for (name, value) in members {
        let known = match reader.simple(name, value)? {
            Some(found) => {
                reader.keywords.push(found);
                true
            }
            None => reader.schemas(name, value)?,
        };
        if !known && !SILENT.contains(&name.as_str()) && !name.starts_with("x-") {
            return Err(reader.refuse(name, unknown(name)));
        }
    }
    reader.members()?;
    Ok(reader.keywords)
}

fn unknown(name: &str) -> String {
    let why = match name {
        "$dynamicRef" | "$dynamicAnchor" | "$vocabulary" => "dynamic references are not followed",
        "unevaluatedItems" | "unevaluatedProperties" => {
            "what other keywords looked at is not kept; use `items` or `additionalProperties`"
        }
        "dependencies" => "draft 2020-12 has `dependentRequired` and `dependentSchemas`",
        "additionalItems" => "draft 2020-12 has `prefixItems` and `items`",
        _ => "what only people read begins with `x-`",
    };
    format!("expected a keyword that is known: {why}")
}

struct Reader<'a> {
    compiler: &'a mut Compiler,
    id: Id,
    members: &'a [(String, Value)],
    pointer: &'a str,
    keywords: Vec<(&'static str, Keyword)>,
}

impl Reader<'_> {
    fn refuse(&self, name: &str, why: String) -> Refused {
        refused(&self.place(name), why)
    }

    fn wrong(&self, name: &str, expected: &str, got: &Value) -> Refused {
        self.refuse(name, format!("expected {expected}, got {}", got.shown()))
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, step(name))
    }

    fn companion(&self, name: &str) -> Option<&Value> {
        self.members.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// A keyword without schemas in it.
    fn simple(
        &self,
        name: &str,
        value: &Value,
    ) -> Result<Option<(&'static str, Keyword)>, Refused> {
        if let Some((name, side, exclusive)) = BOUNDS.into_iter().find(|it| it.0 == name) {
            let Value::Number(limit) = value else {
                return Err(self.wrong(name, "a number", value));
            };
            return Ok(Some((name, Keyword::Bound { side, exclusive, limit: *limit })));
        }
        if let Some((name, side, counted)) = COUNTS.into_iter().find(|it| it.0 == name) {
            let limit = self.count(name, value)?;
            return Ok(Some((name, Keyword::Count { side, counted, limit })));
        }
        Ok(Some(match (name, value) {
            ("type", value) => ("type", Keyword::Type(self.types(value)?)),
            ("enum", Value::Array(values)) => {
                let weight = values.iter().map(Value::weight).sum();
                ("enum", Keyword::Enum { values: values.clone(), weight })
            }
            ("enum", other) => return Err(self.wrong(name, "an array", other)),
            ("const", value) => {
                ("const", Keyword::Const { value: value.clone(), weight: value.weight() })
            }
            ("multipleOf", Value::Number(unit)) if unit.is_positive() => {
                ("multipleOf", Keyword::MultipleOf(*unit))
            }
            ("multipleOf", other) => return Err(self.wrong(name, "a number above 0", other)),
            ("pattern", Value::String(text)) => {
                let pattern = Pattern::new(text).map_err(|why| self.refuse(name, why))?;
                ("pattern", Keyword::Pattern(pattern))
            }
            ("pattern", other) => return Err(self.wrong(name, "a text", other)),
            ("uniqueItems", Value::Boolean(true)) => ("uniqueItems", Keyword::UniqueItems),
            ("uniqueItems", Value::Boolean(false)) => ("uniqueItems", Keyword::AllOf(Vec::new())),
            ("uniqueItems", other) => return Err(self.wrong(name, "a boolean", other)),
            ("required", value) => ("required", Keyword::Required(self.names(name, value)?)),
            ("dependentRequired", Value::Object(all)) => {
                let one = |(name, names): &(String, Value)| {
                    Ok((name.clone(), self.names("dependentRequired", names)?))
                };
                let all = all.iter().map(one).collect::<Result<Vec<_>, Refused>>()?;
                ("dependentRequired", Keyword::DependentRequired(all))
            }
            ("dependentRequired", other) => return Err(self.wrong(name, "an object", other)),
            (_, _) => return Ok(None),
        }))
    }

    fn types(&self, value: &Value) -> Result<u8, Refused> {
        let bit = |value: &Value| match value {
            Value::String(name) => TYPES.iter().position(|own| own == name).map(|at| 1 << at),
            Value::Null
            | Value::Boolean(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        };
        let bits = match value {
            Value::Array(names) if !names.is_empty() => {
                names.iter().try_fold(0, |bits, name| Some(bits | bit(name)?))
            }
            other => bit(other),
        };
        let expected = || format!("one of {}, or an array of these", TYPES.join(", "));
        bits.ok_or_else(|| self.wrong("type", &expected(), value))
    }

    fn count(&self, name: &str, value: &Value) -> Result<u64, Refused> {
        let count = match value {
            Value::Number(number) => number.as_count(),
            Value::Null
            | Value::Boolean(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        };
        count.ok_or_else(|| self.wrong(name, "a whole number from 0 on", value))
    }

    fn names(&self, name: &str, value: &Value) -> Result<Vec<String>, Refused> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Null
            | Value::Boolean(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        };
        let names = match value {
            Value::Array(names) => names.iter().map(text).collect(),
            other => text(other).and(None),
        };
        names.ok_or_else(|| self.wrong(name, "an array of names", value))
    }

    /// A keyword with schemas in it; answers whether this is one. Definitions are read, and say nothing.
    fn schemas(&mut self, name: &str, value: &Value) -> Result<bool, Refused> {
        if COMPANIONS.contains(&name) {
            return self.lonely_companion(name, value).map(|()| true);
        }
        let found = match name {
            "$ref" => {
                let Value::String(to) = value else {
                    return Err(self.wrong(name, "a text", value));
                };
                self.compiler.reference(self.id, self.keywords.len(), to);
                ("$ref", Keyword::Reference(self.id))
            }
            "$defs" | "definitions" => {
                self.map(name, value)?;
                return Ok(true);
            }
            "allOf" => ("allOf", Keyword::AllOf(self.list(name, value)?)),
            "anyOf" => ("anyOf", Keyword::AnyOf(self.list(name, value)?)),
            "oneOf" => ("oneOf", Keyword::OneOf(self.list(name, value)?)),
            "not" => ("not", Keyword::Not(self.one(name, value)?)),
            "if" => {
                let condition = self.one(name, value)?;
                let (then, otherwise) = (self.optional("then")?, self.optional("else")?);
                ("if", Keyword::If { condition, then, otherwise })
            }
            "dependentSchemas" => {
                ("dependentSchemas", Keyword::DependentSchemas(self.map(name, value)?))
            }
            "prefixItems" => ("prefixItems", Keyword::PrefixItems(self.list(name, value)?)),
            "items" => {
                let from = match self.companion("prefixItems") {
                    Some(Value::Array(prefix)) => prefix.len(),
                    Some(_) | None => 0,
                };
                ("items", Keyword::Items { from, schema: self.one(name, value)? })
            }
            "contains" => {
                let limit = |name| self.companion(name).map(|it| self.count(name, it)).transpose();
                let (least, most) = (limit("minContains")?.unwrap_or(1), limit("maxContains")?);
                ("contains", Keyword::Contains { schema: self.one(name, value)?, least, most })
            }
            "properties" => return Ok(true),
            "propertyNames" => ("propertyNames", Keyword::PropertyNames(self.one(name, value)?)),
            _ => return Ok(false),
        };
        self.keywords.push(found);
        Ok(true)
    }

    /// Checks a keyword whose main one is missing, and so says nothing: its schemas may be referred to.
    fn lonely_companion(&mut self, name: &str, value: &Value) -> Result<(), Refused> {
        match name {
            "then" | "else" if self.companion("if").is_none() => self.one(name, value).map(drop),
            "minContains" | "maxContains" => self.count(name, value).map(drop),
            _ => Ok(()),
        }
    }

    /// `properties` and what depends on it, as one keyword.
    fn members(&mut self) -> Result<(), Refused> {
        let [named, patterns, others] = ["properties", "patternProperties", "additionalProperties"]
            .map(|it| self.companion(it).cloned());
        if named.is_none() && patterns.is_none() && others.is_none() {
            return Ok(());
        }
        let mut all = |name: &str, value: Option<Value>| {
            value.map_or(Ok(Vec::new()), |value| self.map(name, &value))
        };
        let named = all("properties", named)?;
        let patterns = all("patternProperties", patterns)?;
        let others = others.map(|value| self.one("additionalProperties", &value)).transpose()?;
        let compiled = |(text, id): (String, Id)| match Pattern::new(&text) {
            Ok(pattern) => Ok((pattern, id)),
            Err(why) => {
                Err(refused(&format!("{}/{}", self.place("patternProperties"), step(&text)), why))
            }
        };
        let patterns = patterns.into_iter().map(compiled).collect::<Result<Vec<_>, _>>()?;
        self.keywords.push(("properties", Keyword::Members { named, patterns, others }));
        Ok(())
    }

    fn one(&mut self, name: &str, value: &Value) -> Result<Id, Refused> {
        let place = self.place(name);
        self.compiler.node(value, place)
    }

    fn optional(&mut self, name: &str) -> Result<Option<Id>, Refused> {
        let value = self.companion(name).cloned();
        value.map(|value| self.one(name, &value)).transpose()
    }

    fn list(&mut self, name: &str, value: &Value) -> Result<Vec<Id>, Refused> {
        match value {
            Value::Array(schemas) if !schemas.is_empty() => {
                let each = schemas.iter().enumerate();
                each.map(|(at, it)| {
                    let place = format!("{}/{at}", self.place(name));
                    self.compiler.node(it, place)
                })
                .collect()
            }
            other => Err(self.wrong(name, "an array of schemas", other)),
        }
    }

    /// Schemas by name.
    fn map(&mut self, name: &str, value: &Value) -> Result<Vec<(String, Id)>, Refused> {
        let Value::Object(schemas) = value else {
            return Err(self.wrong(name, "an object of schemas", value));
        };
        let mut all = Vec::new();
        for (own, schema) in schemas {
            let place = format!("{}/{}", self.place(name), step(own));
            all.push((own.clone(), self.compiler.node(schema, place)?));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_limits_and_their_size_is_their_cost() {
        let cost = |text: &str| Pattern::new(text).map(|pattern| pattern.cost);
        assert!(cost(&"a".repeat(PATTERN_BYTES_MAX)).is_ok());
        assert!(cost(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        assert!(cost("^[a-z]{1,200}$") > cost("^[a-z]+$"));
        assert!(cost("(a{100}){100}").is_err(), "ten thousand states");
    }
}
