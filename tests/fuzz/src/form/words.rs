//! Texts of lines and words: policies.

use super::rearrange;
use crate::{Mutator, Random};

pub(super) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let Some(text) = as_text(bytes) else { return false };
    let other = as_text(other).unwrap_or_default();
    let mut lines = lines_of(text);
    let others = lines_of(other);
    for _ in 0..=random.below(2) {
        change(&mut lines, &others, random);
    }
    *bytes = lines.concat().into_bytes();
    true
}

/// Printable text with a line's end in it.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let printable = |one: char| one == '\n' || !one.is_control();
    (text.contains('\n') && text.chars().all(printable)).then_some(text)
}

fn lines_of(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn change(lines: &mut Vec<String>, others: &[String], random: &mut Random) {
    if random.below(3) == 0 || lines.is_empty() {
        return rearrange(lines, others, random);
    }
    let other = others.get(random.below(others.len())).cloned().unwrap_or_default();
    let at = random.below(lines.len());
    let line = &mut lines[at];
    let mut words: Vec<String> = line.split_inclusive([' ', '=', '"']).map(str::to_owned).collect();
    let others: Vec<String> = other.split_inclusive([' ', '=', '"']).map(str::to_owned).collect();
    match random.below(3) {
        0 => rearrange(&mut words, &others, random),
        1 => {
            let at = random.below(words.len());
            let other = others.get(random.below(others.len()));
            if let (Some(word), Some(other)) = (words.get_mut(at), other) {
                word.clone_from(other);
            }
        }
        _ => {
            let mut bytes = std::mem::take(line).into_bytes();
            Mutator::new(random.bits(), bytes.len()).mutate_bytes(&mut bytes, other.as_bytes());
            *line = String::from_utf8_lossy(&bytes).into_owned();
            return;
        }
    }
    *line = words.concat();
}
