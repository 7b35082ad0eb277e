//! JSON values: one member, element, text or number is another.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Number, Value};

use super::{mutate_part, rearrange};
use crate::Random;

/// Numbers at which readers change their mind.
const NUMBERS: [u64; 8] = [0, 1, 2, 0xffff, 1 << 31, (1 << 53) + 1, i64::MAX as u64, u64::MAX];

/// Texts at which readers change their mind.
const TEXTS: [&str; 8] =
    ["", "/", "..", "\0", "0", "9999-12-31T23:59:60Z", "\u{202e}а", "18446744073709551616"];

pub(super) fn mutate(depth: usize, bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let Ok(mut value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice(bytes) else {
        return false;
    };
    let other = serde_json::from_slice(other).unwrap_or_else(|_| value.clone());
    for _ in 0..=random.below(3) {
        let at = random.below(count(&value));
        if let Some(node) = nth(&mut value, &mut { at }) {
            change(depth, node, &other, random);
        }
    }
    *bytes = value.to_string().into_bytes();
    true
}

/// Values in `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The value `at`, in the order of the text.
fn nth<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(elements) => elements.iter_mut().find_map(|element| nth(element, at)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, at)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn some_of(other: &Value, random: &mut Random) -> Value {
    let mut other = other.clone();
    let at = random.below(count(&other));
    nth(&mut other, &mut { at }).cloned().unwrap_or_default()
}

fn edge(random: &mut Random) -> Value {
    match random.below(6) {
        0 => Value::Null,
        1 => Value::Bool(random.below(2) == 0),
        2 => Value::Array(Vec::new()),
        3 => Value::Object(Map::new()),
        4 => Value::Number(Number::from(NUMBERS[random.below(NUMBERS.len())])),
        _ => Value::String(TEXTS[random.below(TEXTS.len())].to_owned()),
    }
}

fn change(depth: usize, node: &mut Value, other: &Value, random: &mut Random) {
    match (random.below(12), node) {
        (0, node) => *node = edge(random),
        (1, node) => *node = some_of(other, random),
        (_, Value::String(text)) => *text = text_of(depth, text, random),
        (_, Value::Number(number)) => {
            let step = random.below(5) as i64 - 2;
            *number = match number.as_i64() {
                Some(was) if random.below(2) == 0 => Number::from(was.saturating_add(step)),
                _ => Number::from(NUMBERS[random.below(NUMBERS.len())]),
            };
        }
        (_, Value::Array(elements)) => {
            let others = match some_of(other, random) {
                Value::Array(others) => others,
                one => vec![one],
            };
            rearrange(elements, &others, random);
        }
        (_, Value::Object(members)) => change_members(members, some_of(other, random), random),
        (_, Value::Bool(set)) => *set = !*set,
        (_, node @ Value::Null) => *node = edge(random),
    }
}

/// One member less, renamed, or more.
fn change_members(members: &mut Map<String, Value>, other: Value, random: &mut Random) {
    let keys: Vec<String> = members.keys().cloned().collect();
    let key = keys.get(random.below(keys.len())).cloned().unwrap_or_default();
    match (random.below(3), other) {
        (0, _) => drop(members.remove(&key)),
        (1, _) => {
            let value = members.remove(&key).unwrap_or_default();
            let name = match random.below(2) {
                0 => TEXTS[random.below(TEXTS.len())].to_owned(),
                _ => key.chars().rev().collect(),
            };
            members.insert(name, value);
        }
        (_, Value::Object(others)) => members.extend(others),
        (_, one) => drop(members.insert(key, one)),
    }
}

/// Another text: what it holds is changed if that has a form, in base64 too, else its letters.
fn text_of(depth: usize, text: &str, random: &mut Random) -> String {
    let inner = BASE64_STANDARD.decode(text).ok().filter(|inner| inner.starts_with(b"{"));
    if let Some(mut inner) = inner {
        mutate_part(depth, &mut inner, &[], random);
        return BASE64_STANDARD.encode(inner);
    }
    if text.starts_with(['{', '[']) {
        let mut inner = text.as_bytes().to_vec();
        mutate_part(depth, &mut inner, &[], random);
        return String::from_utf8_lossy(&inner).into_owned();
    }
    let mut letters: Vec<char> = text.chars().collect();
    let at = random.below(letters.len());
    let edge = TEXTS[random.below(TEXTS.len())];
    match random.below(5) {
        0 => return edge.to_owned(),
        1 => letters.extend(edge.chars()),
        2 => letters.truncate(at),
        3 => rearrange(&mut letters, &[], random),
        _ => {
            // As good a digit, hexadecimal too, as what was there.
            if let Some(letter) = letters.get_mut(at) {
                *letter = char::from(b"0123456789abcdef.-/@"[random.below(20)]);
            }
        }
    }
    letters.into_iter().collect()
}
