//! New inputs out of old ones.

use crate::{Random, form};

/// Bytes that an input has at most.
const BYTES_MAX: usize = 4 << 10;
/// Mutations of one input at most.
const STEPS_MAX: usize = 6;
/// Bytes at which readers of numbers change their mind.
const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x08, 0x0a, 0x12];

/// Changes inputs, with numbers that a seed decides.
#[derive(Clone, Debug)]
pub struct Mutator {
    random: Random,
    bytes_max: usize,
}

impl Mutator {
    /// The mutations of this seed; inputs that were no longer have 4 KiB at most, others their own
    /// length and half as much.
    pub fn new(seed: u64, longest: usize) -> Mutator {
        Mutator { random: Random::new(seed), bytes_max: BYTES_MAX.max(longest + longest / 2) }
    }

    /// The numbers that decide.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Changes `bytes`, within their form as often as not if they have one; `other` gives parts.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let formed = self.random.below(2) == 0 && form::mutate(bytes, other, &mut self.random);
        match formed {
            true => bytes.truncate(self.bytes_max),
            false => self.mutate_bytes(bytes, other),
        }
    }

    /// Changes `bytes` in one to six steps, whatever they are; `other` gives parts.
    pub(crate) fn mutate_bytes(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.random.below(STEPS_MAX) {
            self.step(bytes, other);
        }
        bytes.truncate(self.bytes_max);
    }

    fn step(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.random.below(bytes.len());
        let some = 1 + self.random.below(16);
        let end = (at + some).min(bytes.len());
        let fresh = self.random.bits();
        match self.random.below(12) {
            _ if bytes.is_empty() => bytes.extend((0..some).map(|_| self.random.bits() as u8)),
            0 => bytes[at] ^= 1 << (fresh % 8),
            1 | 2 => bytes[at] = fresh as u8,
            3 => bytes[at] = EDGES[(fresh % 8) as usize],
            4 => bytes[at] = bytes[at].wrapping_add((fresh % 9) as u8).wrapping_sub(4),
            5 => {
                let many = (0..some).map(|_| self.random.bits() as u8).collect::<Vec<u8>>();
                bytes.splice(at..at, many);
            }
            6 => drop(bytes.drain(at..end)),
            7 => bytes.truncate(at.max(1)),
            8 => {
                let part = bytes[at..end].to_vec();
                let to = self.random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            9 => bytes[at..end].fill(0xff),
            10 if !other.is_empty() => {
                let from = self.random.below(other.len());
                let part = other[from..(from + 4 * some).min(other.len())].to_vec();
                bytes.splice(at..end, part);
            }
            _ => {
                let tail = other.get(at.min(other.len())..).unwrap_or_default();
                bytes.truncate(at);
                bytes.extend_from_slice(tail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_again() {
        let run = |seed| {
            let (mut mutator, mut bytes) = (Mutator::new(seed, 0), vec![1, 2, 3]);
            for _ in 0..500 {
                mutator.mutate(&mut bytes, b"another input of some length");
                assert!(bytes.len() <= BYTES_MAX);
            }
            bytes
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
