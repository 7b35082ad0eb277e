//! Byte-pair encoding (arXiv:1508.07909 §3.2): the neighbors that rank best join, until none do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use aimass_sdk::prelude::*;

use crate::byte_level;
use crate::trie::Trie;
use crate::vocabulary::{Ids, ModelConfig};

/// Symbols of a piece up to which the best pair is looked for by scanning; beyond, a heap is faster.
const SCANNED_SYMBOLS_MAX: usize = 48;

/// What no token has as its id.
const NONE: u32 = u32::MAX;

/// What an absent merge ranks as.
const NO_RANK: u32 = u32::MAX;

/// The model.
#[derive(Debug)]
pub(crate) struct Bpe {
    names: Trie,
    /// Tokens that their own name always becomes, by id.
    whole: Vec<bool>,
    merges: Merges,
    /// Tokens of single bytes, where pieces are bytes and not text.
    bytes: Option<Box<[u32; 256]>>,
    /// Tokens of the bytes of unknown characters.
    fallback: Option<Box<[u32; 256]>>,
    unknown: Option<u32>,
    fuse_unknown: bool,
    ignore_merges: bool,
    prefix: String,
    suffix: String,
}

/// Buffers that are reused from piece to piece.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    symbols: Vec<u32>,
    ranks: Vec<(u32, u32)>,
    links: Vec<(u32, u32)>,
    heap: BinaryHeap<Reverse<(u32, u32)>>,
    name: String,
}

impl Bpe {
    /// Of the file. With `raw`, names are bytes written as characters and pieces are those bytes.
    ///
    /// # Errors
    /// `input/tokenizer` if a merge names no token; `unsupported/tokenizer` for dropout, which is for
    /// training; `limit/vocabulary`.
    pub(crate) fn new(config: &ModelConfig<'_>, raw: bool) -> Result<Self> {
        if config.dropout.is_some_and(|dropout| dropout != 0.0) {
            let message = "tokenizer file: expected no dropout, which makes tokens random";
            return Err(Error::unsupported("tokenizer", message));
        }
        let entries = config.names()?;
        let ids: Ids<'_> = entries.iter().map(|(name, id)| (&**name, *id)).collect();
        let prefix = config.continuing_subword_prefix.clone().unwrap_or_default();
        let merges = Merges::new(config, &ids, prefix.len())?;
        let unknown = match config.unk_token.as_deref() {
            None => None,
            Some(name) => Some(*ids.get(name).ok_or_else(|| absent(name))?),
        };
        let written: Vec<_> = match raw {
            true => entries
                .iter()
                .filter_map(|(name, id)| Some((byte_level::to_bytes(name)?, *id)))
                .collect(),
            false => Vec::new(),
        };
        let names = match raw {
            true => Trie::new(written.iter().map(|(name, id)| (name.as_slice(), *id)))?,
            false => Trie::new(entries.iter().map(|(name, id)| (name.as_bytes(), *id)))?,
        };
        let byte = |byte: u8| names.get(&[byte]).unwrap_or(NONE);
        let bytes = raw.then(|| Box::new(core::array::from_fn(|value| byte(value as u8))));
        let fallback = config.byte_fallback.then(|| Box::new(byte_tokens(&ids)));
        let mut bpe = Bpe {
            whole: Vec::new(),
            merges,
            bytes,
            fallback,
            unknown,
            fuse_unknown: config.fuse_unk,
            ignore_merges: config.ignore_merges,
            prefix,
            suffix: config.end_of_word_suffix.clone().unwrap_or_default(),
            names,
        };
        if raw {
            bpe.find_whole(written.iter().map(|(name, id)| (name.as_slice(), *id)));
        } else {
            bpe.find_whole(entries.iter().map(|(name, id)| (name.as_bytes(), *id)));
        }
        Ok(bpe)
    }

    /// Marks the tokens that their name becomes anyway, so that most words are found in one walk.
    fn find_whole<'a>(&mut self, names: impl Iterator<Item = (&'a [u8], u32)>) {
        if !self.prefix.is_empty() || !self.suffix.is_empty() {
            return;
        }
        let mut scratch = Scratch::default();
        let mut found = Vec::new();
        for (name, id) in names {
            found.clear();
            self.merge(name, &mut scratch, &mut found);
            if found == [id as i32] {
                let id = id as usize;
                if self.whole.len() <= id {
                    self.whole.resize(id + 1, false);
                }
                self.whole[id] = true;
            }
        }
    }

    /// Appends the tokens of a piece.
    pub(crate) fn encode(&self, piece: &str, scratch: &mut Scratch, ids: &mut Vec<i32>) {
        if let Some(id) = self.names.get(piece.as_bytes())
            && (self.ignore_merges || self.whole.get(id as usize) == Some(&true))
        {
            return ids.push(id as i32);
        }
        self.merge(piece.as_bytes(), scratch, ids);
    }

    fn merge(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<i32>) {
        scratch.symbols.clear();
        match &self.bytes {
            Some(bytes) => {
                let known = piece.iter().map(|byte| bytes[usize::from(*byte)]);
                let known = known.filter_map(|id| if id == NONE { self.unknown } else { Some(id) });
                scratch.symbols.extend(known);
            }
            None => self.characters(piece, scratch),
        }
        if scratch.symbols.len() <= SCANNED_SYMBOLS_MAX {
            self.merge_by_scan(scratch);
        } else {
            self.merge_by_heap(scratch);
        }
        ids.extend(scratch.symbols.iter().map(|id| *id as i32));
    }

    /// The tokens of single characters.
    fn characters(&self, piece: &[u8], scratch: &mut Scratch) {
        let text = core::str::from_utf8(piece).unwrap_or_default();
        let mut last_unknown = false;
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            let name = if self.prefix.is_empty() && self.suffix.is_empty() {
                &text[at..end]
            } else {
                scratch.name.clear();
                scratch.name.push_str(if at > 0 { &self.prefix } else { "" });
                scratch.name.push(c);
                scratch.name.push_str(if end == text.len() { &self.suffix } else { "" });
                &scratch.name
            };
            if let Some(id) = self.names.get(name.as_bytes()) {
                scratch.symbols.push(id);
                last_unknown = false;
                continue;
            }
            if let Some(bytes) = &self.fallback
                && name.bytes().all(|byte| bytes[usize::from(byte)] != NONE)
            {
                scratch.symbols.extend(name.bytes().map(|byte| bytes[usize::from(byte)]));
                continue;
            }
            let fused = last_unknown && self.fuse_unknown;
            if let Some(unknown) = self.unknown.filter(|_| !fused) {
                scratch.symbols.push(unknown);
                last_unknown = true;
            }
        }
    }

    fn merge_by_scan(&self, scratch: &mut Scratch) {
        let Scratch { symbols, ranks, .. } = scratch;
        ranks.clear();
        ranks.extend(symbols.windows(2).map(|pair| self.merges.get(pair[0], pair[1])));
        while let Some((at, (rank, merged))) =
            ranks.iter().copied().enumerate().min_by_key(|(_, (rank, _))| *rank)
        {
            if rank == NO_RANK {
                break;
            }
            symbols[at] = merged;
            symbols.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = self.merges.get(symbols[at - 1], merged);
            }
            if at < ranks.len() {
                ranks[at] = self.merges.get(merged, symbols[at + 1]);
            }
        }
    }

    fn merge_by_heap(&self, scratch: &mut Scratch) {
        let Scratch { symbols, links, heap, .. } = scratch;
        let count = symbols.len() as u32;
        links.clear();
        links.extend((0..count).map(|at| (at.wrapping_sub(1), at + 1)));
        heap.clear();
        let add = |symbols: &[u32], left: u32, right: u32, heap: &mut BinaryHeap<_>| {
            let (rank, _) = self.merges.get(symbols[left as usize], symbols[right as usize]);
            if rank != NO_RANK {
                heap.push(Reverse((rank, left)));
            }
        };
        (1..count).for_each(|right| add(symbols, right - 1, right, heap));
        while let Some(Reverse((rank, left))) = heap.pop() {
            let (before, right) = links[left as usize];
            if symbols[left as usize] == NONE || right >= count {
                continue;
            }
            let (now, merged) = self.merges.get(symbols[left as usize], symbols[right as usize]);
            if now != rank {
                continue;
            }
            symbols[left as usize] = merged;
            symbols[right as usize] = NONE;
            let after = links[right as usize].1;
            links[left as usize].1 = after;
            if after < count {
                links[after as usize].0 = left;
                add(symbols, left, after, heap);
            }
            if before < count {
                add(symbols, before, left, heap);
            }
        }
        symbols.retain(|id| *id != NONE);
    }
}

fn absent(name: &str) -> Error {
    Error::input("tokenizer", format!("tokenizer file: {name:?} is no token of the vocabulary"))
}

/// The tokens `<0x00>` to `<0xFF>`.
pub(crate) fn byte_tokens(ids: &Ids<'_>) -> [u32; 256] {
    core::array::from_fn(|byte| {
        ids.get(format!("<0x{byte:02X}>").as_str()).copied().unwrap_or(NONE)
    })
}

#[derive(Clone, Copy, Debug)]
struct Merge {
    left: u32,
    right: u32,
    rank: u32,
    merged: u32,
}

/// Ranks of pairs: an open-addressed table at most half full.
#[derive(Debug)]
struct Merges {
    slots: Vec<Merge>,
}

impl Merges {
    fn new(config: &ModelConfig<'_>, ids: &Ids<'_>, prefix_len: usize) -> Result<Self> {
        let pairs = config.merges()?;
        crate::vocabulary::check_names(pairs.len(), None)?;
        let free = Merge { left: NONE, right: NONE, rank: NO_RANK, merged: NONE };
        let mut merges = Merges { slots: vec![free; (pairs.len() * 2).next_power_of_two().max(2)] };
        let id = |name: &str| ids.get(name).copied().ok_or_else(|| absent(name));
        for (rank, (left, right)) in pairs.iter().enumerate() {
            let rest = right.get(prefix_len..).ok_or_else(|| absent(right))?;
            let merged = id(&format!("{left}{rest}"))?;
            merges.set(Merge { left: id(left)?, right: id(right)?, rank: rank as u32, merged });
        }
        Ok(merges)
    }

    fn home(&self, left: u32, right: u32) -> usize {
        let pair = u64::from(left) << 32 | u64::from(right);
        let mixed = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & (self.slots.len() - 1)
    }

    /// The last merge of a pair counts.
    fn set(&mut self, merge: Merge) {
        let mut at = self.home(merge.left, merge.right);
        loop {
            let slot = &mut self.slots[at];
            let same = (slot.left, slot.right) == (merge.left, merge.right);
            if same || slot.left == NONE {
                *slot = merge;
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Rank and token of a pair.
    #[inline]
    fn get(&self, left: u32, right: u32) -> (u32, u32) {
        let mut at = self.home(left, right);
        loop {
            let slot = &self.slots[at];
            if (slot.left, slot.right) == (left, right) {
                return (slot.rank, slot.merged);
            }
            if slot.left == NONE {
                return (NO_RANK, NONE);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &str = r#"{"type": "BPE", "unk_token": "?", "fuse_unk": true, "vocab": {
        "?": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "bc": 5, "abc": 6, "aab": 7, "cc": 8},
        "merges": ["b c", "a b", "a bc", "a ab", "c c"]}"#;

    fn encode(json: &str, raw: bool, piece: &str) -> Vec<i32> {
        let config: ModelConfig<'_> = serde_json::from_str(json).unwrap();
        let mut ids = Vec::new();
        Bpe::new(&config, raw).unwrap().encode(piece, &mut Scratch::default(), &mut ids);
        ids
    }

    #[test]
    fn the_best_ranked_neighbors_join_first() {
        assert_eq!(encode(SMALL, false, "abc"), [6]);
        assert_eq!(encode(SMALL, false, "aabb"), [7, 2]);
        assert_eq!(encode(SMALL, false, "xyabz"), [0, 4, 0]);
        let apart = SMALL.replace("\"fuse_unk\": true", "\"fuse_unk\": false");
        assert_eq!(encode(&apart, false, "xya"), [0, 0, 1]);
        let silent = SMALL.replace("\"unk_token\": \"?\", ", "");
        assert_eq!(encode(&silent, false, "xya"), [1]);
    }

    #[test]
    fn a_token_that_no_merge_makes_is_only_found_if_merges_are_ignored() {
        let json = r#"{"type": "BPE", "vocab": {"a": 1, "b": 2, "ab": 3}, "merges": []}"#;
        assert_eq!(encode(json, false, "ab"), [1, 2]);
        let ignoring = json.replace("\"vocab\"", "\"ignore_merges\": true, \"vocab\"");
        assert_eq!(encode(&ignoring, false, "ab"), [3]);
    }

    #[test]
    fn raw_pieces_are_bytes() {
        let json = r#"{"type": "BPE", "vocab": {"Ã": 0, "©": 1, "Ã©": 2, "Ġ": 3},
            "merges": ["Ã ©"]}"#;
        assert_eq!(encode(json, true, " éx"), [3, 2]);
    }

    #[test]
    fn prefixes_suffixes_and_bytes_of_unknown_characters() {
        let json = r#"{"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0, "b</w>": 1,
            "ab</w>": 2, "b": 3}, "merges": ["a b</w>"]}"#;
        assert_eq!(encode(json, false, "ab"), [2]);
        assert_eq!(encode(json, false, "aba"), [0, 3]);
        let json = r###"{"type": "BPE", "continuing_subword_prefix": "##", "vocab": {"a": 0, "##b": 1,
            "ab": 2}, "merges": ["a ##b"]}"###;
        assert_eq!(encode(json, false, "ab"), [2]);
        let json = r#"{"type": "BPE", "byte_fallback": true, "unk_token": "?", "vocab": {
            "?": 0, "<0xC3>": 1, "<0xA9>": 2}, "merges": []}"#;
        assert_eq!(encode(json, false, "éx"), [1, 2, 0]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |json: &str| {
            let config: ModelConfig<'_> = serde_json::from_str(json).unwrap();
            Bpe::new(&config, false).unwrap_err()
        };
        assert_eq!(refused(r#"{"vocab": {"a": 0}, "merges": ["a b"]}"#).code, "tokenizer");
        assert_eq!(refused(r#"{"vocab": {}, "merges": [], "unk_token": "?"}"#).code, "tokenizer");
        let random = refused(r#"{"vocab": {}, "merges": [], "dropout": 0.1}"#);
        assert_eq!(random.family, aimass_sdk::ErrorFamily::Unsupported);
    }

    proptest! {
        #[test]
        fn the_heap_joins_as_the_scan_does(piece in "[abcx]{0,300}") {
            let config: ModelConfig<'_> = serde_json::from_str(SMALL).unwrap();
            let bpe = Bpe::new(&config, false).unwrap();
            let (mut one, mut other) = (Scratch::default(), Scratch::default());
            bpe.characters(piece.as_bytes(), &mut one);
            other.symbols.clone_from(&one.symbols);
            bpe.merge_by_scan(&mut one);
            bpe.merge_by_heap(&mut other);
            prop_assert_eq!(one.symbols, other.symbols);
        }
    }
}
