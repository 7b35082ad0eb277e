//! Signed notes: the text is changed, and signed again by keys that everybody knows.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_compact::{KeyPair, Seed};

use super::words;
use crate::{Mutator, Random};

/// The log policy of the keys with which notes are signed again: a log and two of three witnesses.
pub(crate) const POLICY_NOTE: &str = include_str!("../../corpus/trust-log-policy/known-keys");

/// Start of the seconds of a cosignature, and the span in which they lie.
const SECONDS: (u64, usize) = (1_795_168_800, 1_000);

pub(super) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let Some((text, lines)) = read(bytes) else { return false };
    if random.below(6) == 0 {
        let mut lines = lines.as_bytes().to_vec();
        let known = words::mutate(&mut lines, other, random);
        *bytes = [text.as_bytes(), b"\n", &lines].concat();
        return known;
    }
    let mut text = text.to_owned();
    if random.below(4) > 0 {
        text = change(&text, random);
    }
    let mut note = format!("{text}\n");
    for (at, key) in POLICY_NOTE.lines().filter_map(key_of).enumerate() {
        if at == 0 || random.below(3) > 0 {
            note += &line(at, key, &text, random);
        }
    }
    *bytes = note.into_bytes();
    true
}

/// The text and the lines of a note.
fn read(bytes: &[u8]) -> Option<(&str, &str)> {
    let note = std::str::from_utf8(bytes).ok()?;
    let at = note.rfind("\n\n\u{2014} ")?;
    Some((&note[..=at], &note[at + 2..]))
}

/// The key in a line `log KEY` or `witness NAME KEY`.
fn key_of(line: &str) -> Option<&str> {
    line.split(' ').find(|word| word.contains('+'))
}

/// Changes one line of a checkpoint; the log's name stays as often as not.
fn change(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let at = 1 + random.below(lines.len().saturating_sub(1));
    let Some(line) = lines.get_mut(at) else { return text.to_owned() };
    match random.below(3) {
        0 => *line = format!("{}\n", random.bits() >> random.below(64)),
        1 => *line = format!("{}\n", BASE64_STANDARD.encode([random.bits() as u8; 32])),
        _ => {
            let mut bytes = std::mem::take(line).into_bytes();
            Mutator::new(random.bits(), bytes.len()).mutate_bytes(&mut bytes, text.as_bytes());
            *line = String::from_utf8_lossy(&bytes).into_owned();
        }
    }
    lines.concat()
}

/// The line of key `at` of the policy, whose secret half is `at + 1` in each byte.
fn line(at: usize, key: &str, text: &str, random: &mut Random) -> String {
    let mut parts = key.split('+');
    let (name, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let id = u32::from_str_radix(id, 16).unwrap_or_default().to_be_bytes();
    let pair = KeyPair::from_seed(Seed::new([at as u8 + 1; 32]));
    let signed = match at {
        0 => [&id[..], &pair.sk.sign(text, None)[..]].concat(),
        _ => {
            let seconds = SECONDS.0 + random.below(SECONDS.1) as u64;
            let cosigned = format!("cosignature/v1\ntime {seconds}\n{text}");
            let signature = pair.sk.sign(cosigned, None);
            [&id[..], &seconds.to_be_bytes(), &signature[..]].concat()
        }
    };
    format!("\u{2014} {name} {}\n", BASE64_STANDARD.encode(signed))
}
