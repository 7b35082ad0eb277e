//! SentencePiece's `precompiled_charsmap`: rules that replace characters.
//!
//! The bytes are the length of a trie in bytes (u32), the trie (darts-clone, u32 units), and the
//! replacements, each ended by NUL. Rules are asked for whole grapheme clusters of at most five bytes
//! first, and only the shortest matching rule counts, as in Hugging Face's `spm_precompiled`.

use aimass_sdk::prelude::*;
use base64::Engine;
use unicode_segmentation::UnicodeSegmentation;

/// Bytes of a cluster that a rule may stand for.
const CLUSTER_BYTES_MAX: usize = 5;

/// The rules.
#[derive(Debug)]
pub(crate) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
    /// What becomes of each ASCII character; none if it stays.
    ascii: Vec<Option<String>>,
}

impl Charsmap {
    /// Of the file's base64 text.
    ///
    /// # Errors
    /// `input/tokenizer` if it is no such map.
    pub(crate) fn new(base64: &str) -> Result<Self> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(base64)
            .map_err(|error| broken(&format!("expected base64: {error}")))?;
        let (length, rest) = bytes.split_at_checked(4).ok_or_else(|| broken("it is empty"))?;
        let length = length.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (trie, replacements) =
            rest.split_at_checked(length / 4 * 4).ok_or_else(|| broken("its trie is cut off"))?;
        let unit = |unit: &[u8]| unit.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let mut map = Charsmap {
            units: trie.chunks_exact(4).map(unit).collect(),
            replacements: String::from_utf8(replacements.to_vec())
                .map_err(|error| broken(&error.to_string()))?,
            ascii: Vec::new(),
        };
        let of = |byte: u8| map.rule(&[byte]).map(str::to_owned);
        map.ascii = (0..128).map(of).collect();
        Ok(map)
    }

    /// `text` with every rule applied.
    pub(crate) fn apply(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut out = String::with_capacity(text.len() + 16);
        let mut at = 0;
        while at < bytes.len() {
            if alone(bytes, at) {
                match &self.ascii[usize::from(bytes[at])] {
                    Some(replacement) => out.push_str(replacement),
                    None => out.push(char::from(bytes[at])),
                }
                at += 1;
                continue;
            }
            let more =
                bytes[at + 1..].windows(2).position(|pair| pair.is_ascii() && pair != b"\r\n");
            let end = more.map_or(bytes.len(), |more| at + more + 2);
            for cluster in text[at..end].graphemes(true) {
                self.replace(cluster, &mut out);
            }
            at = end;
        }
        out
    }

    fn replace(&self, cluster: &str, out: &mut String) {
        if cluster.len() <= CLUSTER_BYTES_MAX
            && let Some(replacement) = self.rule(cluster.as_bytes())
        {
            return out.push_str(replacement);
        }
        let mut buffer = [0; 4];
        for c in cluster.chars() {
            match self.rule(c.encode_utf8(&mut buffer).as_bytes()) {
                Some(replacement) => out.push_str(replacement),
                None => out.push(c),
            }
        }
    }

    /// The replacement of the shortest rule that `key` starts with.
    fn rule(&self, key: &[u8]) -> Option<&str> {
        let mut place = offset(*self.units.first()?);
        for byte in key.iter().take_while(|byte| **byte != 0) {
            place ^= usize::from(*byte);
            let unit = *self.units.get(place)?;
            if unit & 0x8000_00ff != u32::from(*byte) {
                return None;
            }
            place ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = (self.units.get(place)? & 0x7fff_ffff) as usize;
                return self.replacements.get(start..)?.split('\0').next();
            }
        }
        None
    }
}

/// Whether the character at `at` is ASCII and a cluster of its own, as far as ASCII neighbors tell.
fn alone(bytes: &[u8], at: usize) -> bool {
    let next = bytes.get(at + 1).copied().unwrap_or(b' ');
    bytes[at].is_ascii() && next.is_ascii() && !(bytes[at] == b'\r' && next == b'\n')
}

/// How far a unit of darts-clone points.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

fn broken(reason: &str) -> Error {
    Error::input("tokenizer", format!("tokenizer file: precompiled_charsmap: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_map_is_refused() {
        for bad in ["", "!", "/////w==", "AAAA"] {
            assert_eq!(Charsmap::new(bad).unwrap_err().code, "tokenizer", "{bad:?}");
        }
    }

    #[test]
    fn an_empty_trie_changes_nothing() {
        let map = Charsmap::new("AAAAAA==").unwrap();
        for text in ["", "a\r\nb", "e\u{301}x", "\u{600}1 2"] {
            assert_eq!(map.apply(text), text);
        }
    }
}
