//! Values against a schema: what is wrong with them, within a budget of steps.

use core::fmt::Write;

use crate::json::Value;
use crate::keyword::{Counted, Keyword, Pattern, Side, TYPES};
use crate::schema::{Body, Id, Schema, step};

/// Findings of a text at most.
const FINDINGS_MAX: usize = 100;
/// Schemas inside each other at most while a value is looked at.
const DEPTH_MAX: usize = 512;
/// Values that a message names at most.
const NAMED_MAX: usize = 5;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// JSON Pointer of the value.
    pub path: String,
    /// JSON Pointer of the keyword.
    pub keyword: String,
    /// What was expected and what came.
    pub message: String,
}

/// Why a value was not looked at to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It takes more work than it may.
    #[error("expected at most {steps_max} steps")]
    Steps {
        /// The bound.
        steps_max: u64,
    },
    /// Schemas lie too deep in each other.
    #[error("expected at most {depth_max} schemas in each other")]
    Depth {
        /// The bound.
        depth_max: usize,
    },
}

/// What looking at values answers, or why it ended.
type Result<T> = core::result::Result<T, Stopped>;

/// Work that is left: a step for each schema and keyword that looks at a value, and one for 16 bytes of text.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    whole: u64,
}

impl Budget {
    /// So many steps.
    pub fn new(steps: u64) -> Budget {
        Budget { left: steps, whole: steps }
    }

    fn spend(&mut self, steps: u64) -> Result<()> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Stopped::Steps { steps_max: self.whole }),
        }
    }
}

/// A value's way from the root, kept on the stack.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn pointer(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Member(outer, name) => format!("{}/{}", outer.pointer(), step(name)),
            Path::Item(outer, index) => format!("{}/{index}", outer.pointer()),
        }
    }
}

/// Where findings go.
struct Sink<'a> {
    /// None where only the answer matters.
    findings: Option<&'a mut Vec<Finding>>,
    budget: &'a mut Budget,
    depth: usize,
}

/// What a keyword of a node looks at.
#[derive(Clone, Copy)]
struct At<'a> {
    value: &'a Value,
    path: &'a Path<'a>,
    /// Pointer of the node.
    node: &'a str,
    keyword: &'static str,
}

impl Schema {
    /// What is wrong with a value, at most 100 things.
    ///
    /// # Errors
    /// [`Stopped`]; what was found until then is dropped.
    pub fn findings(&self, value: &Value, budget: &mut Budget) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut sink = Sink { findings: Some(&mut findings), budget, depth: 0 };
        self.check(0, value, &Path::Root, &mut sink)?;
        Ok(findings)
    }

    /// Whether the schema `id` holds.
    fn check(&self, id: Id, value: &Value, path: &Path<'_>, sink: &mut Sink<'_>) -> Result<bool> {
        sink.budget.spend(1)?;
        if sink.depth == DEPTH_MAX {
            return Err(Stopped::Depth { depth_max: DEPTH_MAX });
        }
        let node = &self.nodes[id];
        let at = At { value, path, node: &node.pointer, keyword: "" };
        match &node.body {
            Body::Anything => Ok(true),
            Body::Nothing => Ok(sink.finding(at, || "expected nothing here".to_owned())),
            Body::Keywords(keywords) => {
                sink.depth += 1;
                let mut holds = true;
                for (name, keyword) in keywords {
                    sink.budget.spend(1)?;
                    holds &= self.keyword(keyword, At { keyword: name, ..at }, sink)?;
                    if !holds && sink.findings.is_none() {
                        break;
                    }
                }
                sink.depth -= 1;
                Ok(holds)
            }
        }
    }

    /// As [`Schema::check`], without findings.
    fn holds(&self, id: Id, at: At<'_>, sink: &mut Sink<'_>) -> Result<bool> {
        let mut quiet = Sink { findings: None, budget: &mut *sink.budget, depth: sink.depth };
        self.check(id, at.value, at.path, &mut quiet)
    }

    fn keyword(&self, keyword: &Keyword, at: At<'_>, sink: &mut Sink<'_>) -> Result<bool> {
        match keyword {
            Keyword::Type(_)
            | Keyword::Enum { .. }
            | Keyword::Const { .. }
            | Keyword::MultipleOf(_)
            | Keyword::Bound { .. }
            | Keyword::Count { .. }
            | Keyword::Pattern(_)
            | Keyword::UniqueItems => plain(keyword, at, sink),
            Keyword::Required(names) => required(names, at, sink),
            Keyword::DependentRequired(all) => {
                sink.budget.spend(all.len() as u64)?;
                let mut holds = true;
                for (_, names) in all.iter().filter(|(name, _)| at.value.member(name).is_some()) {
                    holds &= required(names, at, sink)?;
                }
                Ok(holds)
            }
            Keyword::Reference(id) => self.check(*id, at.value, at.path, sink),
            Keyword::AllOf(ids) => self.every(ids.iter().map(|id| (*id, at.value, *at.path)), sink),
            Keyword::AnyOf(ids) => self.some_of(ids, false, at, sink),
            Keyword::OneOf(ids) => self.some_of(ids, true, at, sink),
            Keyword::Not(id) => {
                let wrong = self.holds(*id, at, sink)?;
                Ok(!wrong
                    || sink.finding(at, || {
                        format!("expected another value than {}", at.value.shown())
                    }))
            }
            Keyword::If { condition, then, otherwise } => {
                let chosen = if self.holds(*condition, at, sink)? { then } else { otherwise };
                self.every(chosen.iter().map(|id| (*id, at.value, *at.path)), sink)
            }
            Keyword::DependentSchemas(all) => {
                sink.budget.spend(all.len() as u64)?;
                let due = all.iter().filter(|(name, _)| at.value.member(name).is_some());
                self.every(due.map(|(_, id)| (*id, at.value, *at.path)), sink)
            }
            Keyword::PrefixItems(ids) => {
                let each = ids.iter().zip(items(at.value)).enumerate();
                self.every(
                    each.map(|(index, (id, it))| (*id, it, Path::Item(at.path, index))),
                    sink,
                )
            }
            Keyword::Items { from, schema } => self.items(*from, *schema, at, sink),
            Keyword::Contains { schema, least, most } => {
                self.contains(*schema, *least, *most, at, sink)
            }
            Keyword::Members { named, patterns, others } => {
                self.members(named, patterns, *others, at, sink)
            }
            Keyword::PropertyNames(id) => {
                let mut holds = true;
                for (name, _) in members(at.value) {
                    holds &= self.check(*id, &Value::String(name.clone()), at.path, sink)?;
                }
                Ok(holds)
            }
        }
    }

    /// Whether all of these hold.
    fn every<'a>(
        &self,
        all: impl Iterator<Item = (Id, &'a Value, Path<'a>)>,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let mut holds = true;
        for (id, value, path) in all {
            holds &= self.check(id, value, &path, sink)?;
            if !holds && sink.findings.is_none() {
                break;
            }
        }
        Ok(holds)
    }

    /// Whether one of these holds, and with `alone` no other.
    fn some_of(&self, ids: &[Id], alone: bool, at: At<'_>, sink: &mut Sink<'_>) -> Result<bool> {
        let mut found = 0;
        for id in ids {
            found += usize::from(self.holds(*id, at, sink)?);
            if found > usize::from(alone) {
                break;
            }
        }
        let count = ids.len();
        let shown = || at.value.shown();
        Ok(match found {
            0 => sink.finding(at, || {
                format!("expected what one of {count} schemas wants, got {}", shown())
            }),
            2 => sink.finding(at, || {
                format!(
                    "expected what just one of {count} schemas wants, got {}, as more do",
                    shown()
                )
            }),
            _ => true,
        })
    }

    fn items(&self, from: usize, schema: Id, at: At<'_>, sink: &mut Sink<'_>) -> Result<bool> {
        let all = items(at.value);
        if matches!(self.nodes[schema].body, Body::Nothing) {
            let few = all.len() <= from;
            let message = || format!("expected at most {from} items, got {}", all.len());
            return Ok(few || sink.finding(at, message));
        }
        let rest = all.iter().enumerate().skip(from);
        self.every(rest.map(|(index, it)| (schema, it, Path::Item(at.path, index))), sink)
    }

    fn contains(
        &self,
        schema: Id,
        least: u64,
        most: Option<u64>,
        at: At<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let Value::Array(all) = at.value else { return Ok(true) };
        let mut found = 0;
        for (index, value) in all.iter().enumerate() {
            let path = Path::Item(at.path, index);
            found += u64::from(self.holds(schema, At { value, path: &path, ..at }, sink)?);
        }
        if let Some(most) = most.filter(|most| found > *most) {
            let message = || format!("expected at most {most} items of the kind, got {found}");
            return Ok(sink.finding(At { keyword: "maxContains", ..at }, message));
        }
        let keyword = if found == 0 { "contains" } else { "minContains" };
        let message = || format!("expected at least {least} items of the kind, got {found}");
        Ok(found >= least || sink.finding(At { keyword, ..at }, message))
    }

    fn members(
        &self,
        named: &[(String, Id)],
        patterns: &[(Pattern, Id)],
        others: Option<Id>,
        at: At<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let mut holds = true;
        let mut extra = Vec::new();
        for (name, value) in members(at.value) {
            sink.budget.spend(1)?;
            let path = Path::Member(at.path, name);
            let own = named.binary_search_by(|(own, _)| own.cmp(name)).ok();
            let mut due: Vec<Id> = own.iter().map(|place| named[*place].1).collect();
            for (pattern, id) in patterns {
                if pattern.is_in(name, sink.budget)? {
                    due.push(*id);
                }
            }
            match others.filter(|_| due.is_empty()) {
                Some(id) if matches!(self.nodes[id].body, Body::Nothing) => extra.push(name),
                other => due.extend(other),
            }
            holds &= self.every(due.into_iter().map(|id| (id, value, path)), sink)?;
            if !holds && sink.findings.is_none() {
                return Ok(false);
            }
        }
        if extra.is_empty() {
            return Ok(holds);
        }
        let at = At { keyword: "additionalProperties", ..at };
        Ok(sink.finding(at, || {
            format!("expected no other members, got {}", listed(extra.into_iter()))
        }))
    }
}

impl Sink<'_> {
    /// Says what is wrong; answers false.
    fn finding(&mut self, at: At<'_>, message: impl FnOnce() -> String) -> bool {
        if let Some(findings) = &mut self.findings
            && findings.len() < FINDINGS_MAX
        {
            let keyword = match at.keyword {
                "" => at.node.to_owned(),
                keyword => format!("{}/{keyword}", at.node),
            };
            findings.push(Finding { path: at.path.pointer(), keyword, message: message() });
        }
        false
    }
}

impl Pattern {
    fn is_in(&self, text: &str, budget: &mut Budget) -> Result<bool> {
        budget.spend(self.cost.saturating_mul(1 + text.len() as u64 / 16))?;
        Ok(self.regex.is_match(text))
    }
}

/// Keywords that look at the value alone.
fn plain(keyword: &Keyword, at: At<'_>, sink: &mut Sink<'_>) -> Result<bool> {
    let value = at.value;
    Ok(match (keyword, value) {
        (Keyword::Type(wanted), value) => {
            let is_one = wanted & kinds(value) != 0;
            is_one
                || sink.finding(at, || format!("expected {}, got {}", names(*wanted), kind(value)))
        }
        (Keyword::Enum { values, weight }, value) => {
            sink.budget.spend(*weight)?;
            values.contains(value)
                || sink.finding(at, || {
                    let all = listed(values.iter().map(Value::shown));
                    format!("expected one of {all}, got {}", value.shown())
                })
        }
        (Keyword::Const { value: wanted, weight }, value) => {
            sink.budget.spend(*weight)?;
            wanted == value
                || sink
                    .finding(at, || format!("expected {}, got {}", wanted.shown(), value.shown()))
        }
        (Keyword::MultipleOf(unit), Value::Number(number)) => {
            number.is_multiple_of(*unit)
                || sink.finding(at, || format!("expected a multiple of {unit}, got {number}"))
        }
        (Keyword::Bound { side, exclusive, limit }, Value::Number(number)) => {
            let order = match side {
                Side::Least => number.cmp(limit),
                Side::Most => limit.cmp(number),
            };
            let words = match (side, exclusive) {
                (Side::Least, false) => "at least",
                (Side::Least, true) => "more than",
                (Side::Most, false) => "at most",
                (Side::Most, true) => "less than",
            };
            (if *exclusive { order.is_gt() } else { order.is_ge() })
                || sink.finding(at, || format!("expected {words} {limit}, got {number}"))
        }
        (Keyword::Count { side, counted, limit }, value) => {
            let Some((got, unit)) = counted.of(value) else { return Ok(true) };
            sink.budget.spend(if unit == "characters" { got / 16 } else { 0 })?;
            let (fits, words) = match side {
                Side::Least => (got >= *limit, "at least"),
                Side::Most => (got <= *limit, "at most"),
            };
            fits || sink.finding(at, || format!("expected {words} {limit} {unit}, got {got}"))
        }
        (Keyword::Pattern(pattern), Value::String(text)) => {
            pattern.is_in(text, sink.budget)?
                || sink.finding(at, || {
                    format!(
                        "expected what matches {}, got {}",
                        pattern.regex.as_str(),
                        value.shown()
                    )
                })
        }
        (Keyword::UniqueItems, Value::Array(all)) => {
            sink.budget.spend(value.weight() * (1 + u64::from((all.len() as u64 | 1).ilog2())))?;
            let mut sorted: Vec<&Value> = all.iter().collect();
            sorted.sort_unstable();
            match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                Some(pair) => sink.finding(at, || format!("expected {} once", pair[0].shown())),
                None => true,
            }
        }
        (_, _) => true,
    })
}

impl Counted {
    /// How many of these a value has, and what they are called.
    fn of(self, value: &Value) -> Option<(u64, &'static str)> {
        match (self, value) {
            (Counted::Characters, Value::String(text)) => {
                Some((text.chars().count() as u64, "characters"))
            }
            (Counted::Items, Value::Array(items)) => Some((items.len() as u64, "items")),
            (Counted::Members, Value::Object(members)) => Some((members.len() as u64, "members")),
            (Counted::Characters | Counted::Items | Counted::Members, _) => None,
        }
    }
}

fn required(wanted: &[String], at: At<'_>, sink: &mut Sink<'_>) -> Result<bool> {
    let Value::Object(_) = at.value else { return Ok(true) };
    sink.budget.spend(wanted.len() as u64)?;
    let mut holds = true;
    for name in wanted.iter().filter(|name| at.value.member(name).is_none()) {
        holds = sink.finding(at, || format!("expected a member {name:?}, got none"));
    }
    Ok(holds)
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null
        | Value::Boolean(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Object(_) => &[],
    }
}

fn members(value: &Value) -> &[(String, Value)] {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            &[]
        }
    }
}

/// Bits of the types that a value has: whole numbers have two.
fn kinds(value: &Value) -> u8 {
    match value {
        Value::Null => 1,
        Value::Boolean(_) => 1 << 1,
        Value::Number(number) if number.is_integer() => 1 << 2 | 1 << 3,
        Value::Number(_) => 1 << 3,
        Value::String(_) => 1 << 4,
        Value::Array(_) => 1 << 5,
        Value::Object(_) => 1 << 6,
    }
}

/// The first type that a value has.
fn kind(value: &Value) -> &'static str {
    TYPES[kinds(value).trailing_zeros() as usize]
}

fn names(bits: u8) -> String {
    let all = TYPES.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
    all.map(|(_, name)| *name).collect::<Vec<_>>().join(" or ")
}

/// The first of many, and that there are more.
fn listed<T: AsRef<str>>(mut all: impl Iterator<Item = T>) -> String {
    let first: Vec<T> = all.by_ref().take(NAMED_MAX).collect();
    let mut text = first.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    match all.count() {
        0 => text,
        more => {
            let _ = write!(text, " and {more} more");
            text
        }
    }
}
