//! Mutations that keep the form of an input, so that what lies behind checksums, lengths, digests and
//! signatures is reached: JSON, archives, components, signed notes and lines of words.
//!
//! The form is told from the bytes, at every depth: JSON in base64 in JSON in an archive is JSON.

mod archive;
mod json;
mod note;
mod sections;
mod words;

use crate::{Mutator, Random};
pub(crate) use note::POLICY_NOTE;

/// Forms within forms that are followed.
const DEPTH_MAX: usize = 4;

/// Changes `bytes` within their form; `false`, and nothing changed, if they have none that is known.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    mutate_at(0, bytes, other, random)
}

fn mutate_at(depth: usize, bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    depth < DEPTH_MAX
        && (sections::mutate(depth, bytes, other, random)
            || archive::mutate(depth, bytes, other, random)
            || json::mutate(depth, bytes, other, random)
            || note::mutate(bytes, other, random)
            || words::mutate(bytes, other, random))
}

/// Changes a part: within its form mostly, else anyhow.
fn mutate_part(depth: usize, bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if random.below(8) == 0 || !mutate_at(depth + 1, bytes, other, random) {
        let mut mutator = Mutator::new(random.bits(), bytes.len());
        mutator.mutate_bytes(bytes, other);
    }
}

/// Drops, doubles, swaps one of `parts`, or puts one of `others` among them.
fn rearrange<T: Clone>(parts: &mut Vec<T>, others: &[T], random: &mut Random) {
    let (at, to) = (random.below(parts.len()), random.below(parts.len()));
    match random.below(4) {
        0 if !parts.is_empty() => drop(parts.remove(at)),
        1 if !parts.is_empty() => parts.insert(to, parts[at].clone()),
        2 if !parts.is_empty() => parts.swap(at, to),
        _ => match others.is_empty() {
            true => parts.truncate(at),
            false => parts.insert(to, others[random.below(others.len())].clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{TrustParser, accepts};

    /// The share in a thousand of mutations of a committed input that its parser takes.
    fn taken(parser: TrustParser, file: &str) -> usize {
        let path = format!("{}/corpus/{}/{file}", env!("CARGO_MANIFEST_DIR"), parser.name());
        let seed = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut random = Random::new(7);
        let mutated = |_: &usize| {
            let mut bytes = seed.clone();
            assert!(mutate(&mut bytes, &seed, &mut random), "{path} has a form");
            accepts(parser, &bytes)
        };
        (0..1_000).filter(mutated).count()
    }

    #[test]
    fn what_keeps_its_form_is_often_taken_and_often_refused() {
        for (parser, file) in [
            (TrustParser::Component, "signed.wasm"),
            (TrustParser::Bundle, "submission.ampkg"),
            (TrustParser::Note, "checkpoint"),
            (TrustParser::LogPolicy, "group"),
            (TrustParser::Policy, "market.toml"),
            (TrustParser::Revocations, "four.json"),
            (TrustParser::State, "first.json"),
        ] {
            let taken = taken(parser, file);
            println!("{}: {taken} of 1,000 taken", parser.name());
            assert!((20..980).contains(&taken), "{}: {taken}", parser.name());
        }
    }

    #[test]
    fn bytes_without_a_form_stay_as_they_are() {
        for bytes in [&[][..], &[0xff, 0xfe, 0, 1], b"\0asm\x01\0\0\0\xff"] {
            let mut changed = bytes.to_vec();
            assert!(!mutate(&mut changed, b"{}", &mut Random::new(1)));
            assert_eq!(changed, bytes);
        }
    }
}
