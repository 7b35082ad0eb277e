//! Components: sections are changed, and their lengths made again.

use super::{mutate_part, rearrange};
use crate::Random;

const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// One section: its id and its body.
type Section = (u8, Vec<u8>);

pub(super) fn mutate(depth: usize, bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let Some(mut sections) = read(bytes) else { return false };
    let others = read(other).unwrap_or_default();
    for _ in 0..=random.below(2) {
        if random.below(3) == 0 || sections.is_empty() {
            rearrange(&mut sections, &others, random);
            continue;
        }
        let at = random.below(sections.len());
        let (id, body) = &mut sections[at];
        match random.below(16) {
            0 => *id = (random.bits() % 14) as u8,
            _ => change_body(depth, body, random),
        }
    }
    *bytes = HEADER.to_vec();
    for (id, body) in &sections {
        bytes.push(*id);
        bytes.extend(leb(body.len()));
        bytes.extend(body);
    }
    true
}

/// A custom section's payload follows its name: mostly the payload is what is changed.
fn change_body(depth: usize, body: &mut Vec<u8>, random: &mut Random) {
    let name_end = body.first().map_or(0, |length| 1 + usize::from(*length));
    match body.split_at_checked(name_end) {
        Some((name, payload)) if !payload.is_empty() && random.below(8) > 0 => {
            let (name, mut payload) = (name.to_vec(), payload.to_vec());
            mutate_part(depth, &mut payload, &[], random);
            *body = [name, payload].concat();
        }
        Some(_) | None => mutate_part(depth, body, &[], random),
    }
}

fn read(bytes: &[u8]) -> Option<Vec<Section>> {
    let mut rest = bytes.strip_prefix(HEADER)?;
    let mut sections = Vec::new();
    while let Some((id, after)) = rest.split_first() {
        let (length, after) = read_leb(after)?;
        let (body, after) = after.split_at_checked(length)?;
        sections.push((*id, body.to_vec()));
        rest = after;
    }
    Some(sections)
}

fn read_leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for (at, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
