//! Names of tokens as a double-array trie, built once in `init`.
//!
//! Every instance starts with a copy-on-write image of it, so that what counts is how few pages a walk
//! touches: a node is eight bytes, and siblings lie within one block of 2 KiB.
//! (J. Aoe, "An efficient digital search algorithm by using a double-array structure", 1989.)

use aimass_sdk::prelude::*;

/// Bytes of a name at most.
pub(crate) const NAME_BYTES_MAX: usize = 4096;

/// Nodes at most: their numbers share a word with a label.
const NODES_MAX: usize = 1 << 24;

/// What a node holds that no name ends at.
const NONE: u32 = u32::MAX;

/// Slots of a block: children of a node differ in their lowest eight bits.
const BLOCK: usize = 256;

/// Blocks that are searched for room; older ones are nearly full.
const OPEN_BLOCKS: usize = 12;

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Number that a label is combined with to find a child, and this node's own label above it.
    base_label: u32,
    /// Value of the name that ends here.
    value: u32,
}

impl Node {
    const FREE: Node = Node { base_label: 0, value: NONE };

    fn base(self) -> usize {
        (self.base_label & 0x00ff_ffff) as usize
    }

    fn label(self) -> u8 {
        (self.base_label >> 24) as u8
    }
}

/// A place in the trie: what a walk has read so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place(u32);

/// Values below [`u32::MAX`] by name.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
}

impl Trie {
    /// The place before the first byte.
    pub(crate) const START: Place = Place(0);

    /// Of these names and values; of equal names the last one counts, empty ones are never found.
    ///
    /// # Errors
    /// `limit/vocabulary` if a name or all of them together are too long.
    pub(crate) fn new<'a>(names: impl Iterator<Item = (&'a [u8], u32)>) -> Result<Self> {
        let mut sorted: Vec<_> = names.filter(|(name, _)| !name.is_empty()).collect();
        if let Some((name, _)) = sorted.iter().find(|(name, _)| name.len() > NAME_BYTES_MAX) {
            let got = name.len();
            let message = format!("expected names of at most {NAME_BYTES_MAX} bytes, got {got}");
            return Err(Error::limit("vocabulary", message));
        }
        sorted.sort_by_key(|(name, _)| *name);
        let mut builder = Builder::default();
        builder.open_block();
        builder.used[0] = true;
        builder.fill(&sorted)?;
        Ok(Trie { nodes: builder.nodes })
    }

    /// The place after one more byte, if a name goes on there.
    #[inline]
    pub(crate) fn step(&self, place: Place, byte: u8) -> Option<Place> {
        let base = self.nodes[place.0 as usize].base();
        if base == 0 {
            return None;
        }
        let next = base ^ usize::from(byte);
        // A free node has base 0 and no value; a leaf of label 0 has a value.
        let node = *self.nodes.get(next)?;
        let taken = node.base_label & 0x00ff_ffff != 0 || node.value != NONE;
        (node.label() == byte && taken).then_some(Place(next as u32))
    }

    /// The value of the name that ends at a place.
    #[inline]
    pub(crate) fn value(&self, place: Place) -> Option<u32> {
        let value = self.nodes[place.0 as usize].value;
        (value != NONE).then_some(value)
    }

    /// The place after all of `bytes` from `place`.
    pub(crate) fn walk(&self, place: Place, bytes: &[u8]) -> Option<Place> {
        bytes.iter().try_fold(place, |place, byte| self.step(place, *byte))
    }

    /// The value of a name.
    #[inline]
    pub(crate) fn get(&self, name: &[u8]) -> Option<u32> {
        self.value(self.walk(Self::START, name)?)
    }

    /// Value and length of the longest name that starts at `place` and goes on with `bytes`.
    #[inline]
    pub(crate) fn longest(&self, mut place: Place, bytes: &[u8]) -> Option<(u32, usize)> {
        let mut found = None;
        for (index, byte) in bytes.iter().enumerate() {
            let Some(next) = self.step(place, *byte) else { break };
            place = next;
            if let Some(value) = self.value(place) {
                found = Some((value, index + 1));
            }
        }
        found
    }

    /// Value and length of every name that `bytes` starts with, shortest first.
    #[inline]
    pub(crate) fn prefixes(&self, bytes: &[u8]) -> impl Iterator<Item = (u32, usize)> {
        let mut place = Some(Self::START);
        let values = bytes.iter().enumerate().map_while(move |(index, byte)| {
            place = self.step(place?, *byte);
            Some((self.value(place?), index + 1))
        });
        values.filter_map(|(value, len)| Some((value?, len)))
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    /// Slots that hold a node.
    used: Vec<bool>,
    /// Bases that some node has; two nodes never share one, so that a label tells the parent.
    bases: Vec<bool>,
    /// First slots of the blocks that are searched, newest last.
    open: Vec<usize>,
}

/// Names that share their first `depth` bytes, and the slot of the node they share.
struct Group<'n, 'a> {
    names: &'n [(&'a [u8], u32)],
    depth: usize,
    slot: usize,
}

impl Builder {
    fn fill(&mut self, names: &[(&[u8], u32)]) -> Result<()> {
        let mut groups = vec![Group { names, depth: 0, slot: 0 }];
        let mut labels = Vec::new();
        while let Some(Group { names, depth, slot }) = groups.pop() {
            let ended = names.partition_point(|(name, _)| name.len() == depth);
            if let Some((_, value)) = names[..ended].last() {
                self.nodes[slot].value = *value;
            }
            let rest = &names[ended..];
            if rest.is_empty() {
                continue;
            }
            labels.clear();
            labels.extend(rest.chunk_by(|a, b| a.0[depth] == b.0[depth]).map(|c| c[0].0[depth]));
            let base = self.place(&labels)?;
            self.nodes[slot].base_label |= base as u32;
            let children = rest.chunk_by(|a, b| a.0[depth] == b.0[depth]);
            for (label, names) in labels.iter().zip(children) {
                let slot = base ^ usize::from(*label);
                self.used[slot] = true;
                self.nodes[slot].base_label = u32::from(*label) << 24;
                groups.push(Group { names, depth: depth + 1, slot });
            }
        }
        Ok(())
    }

    /// A base under which the slots of all labels are free.
    fn place(&mut self, labels: &[u8]) -> Result<usize> {
        let first = usize::from(labels[0]);
        for block in self.open.clone().into_iter().rev() {
            for slot in block..block + BLOCK {
                let base = slot ^ first;
                let free = !self.used[slot]
                    && !self.bases[base]
                    && base != 0
                    && labels.iter().all(|label| !self.used[base ^ usize::from(*label)]);
                if free {
                    self.bases[base] = true;
                    return Ok(base);
                }
            }
        }
        if self.nodes.len() + BLOCK > NODES_MAX {
            let message = format!("expected names of at most {NODES_MAX} different beginnings");
            return Err(Error::limit("vocabulary", message));
        }
        self.open_block();
        self.place(labels)
    }

    fn open_block(&mut self) {
        if self.open.len() == OPEN_BLOCKS {
            self.open.remove(0);
        }
        self.open.push(self.nodes.len());
        let len = self.nodes.len() + BLOCK;
        self.nodes.resize(len, Node::FREE);
        self.used.resize(len, false);
        self.bases.resize(len, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn trie(names: &[(&str, u32)]) -> Trie {
        Trie::new(names.iter().map(|(name, value)| (name.as_bytes(), *value))).unwrap()
    }

    #[test]
    fn names_are_found_by_their_prefixes() {
        let trie = trie(&[("a", 1), ("abc", 2), ("b", 3), ("é", 4), ("a", 5), ("", 6)]);
        assert_eq!(trie.get(b"a"), Some(5));
        assert_eq!(trie.get(b"ab"), None);
        assert_eq!(trie.get(b""), None);
        assert_eq!(trie.longest(Trie::START, b"abcd"), Some((2, 3)));
        assert_eq!(trie.longest(Trie::START, b"abd"), Some((5, 1)));
        assert_eq!(trie.longest(Trie::START, b"x"), None);
        assert_eq!(trie.prefixes(b"abcd").collect::<Vec<_>>(), [(5, 1), (2, 3)]);
        assert_eq!(trie.prefixes("é".as_bytes()).collect::<Vec<_>>(), [(4, 2)]);
    }

    #[test]
    fn a_walk_goes_on_from_a_place() {
        let trie = trie(&[("##ing", 7)]);
        let place = trie.walk(Trie::START, b"##").unwrap();
        assert_eq!(trie.longest(place, b"ings"), Some((7, 3)));
        assert_eq!(trie.walk(Trie::START, b"#i"), None);
    }

    #[test]
    fn a_name_may_have_4096_bytes() {
        let name = vec![b'x'; NAME_BYTES_MAX + 1];
        let long = Trie::new([(&name[..NAME_BYTES_MAX], 1)].into_iter()).unwrap();
        assert_eq!(long.get(&name[..NAME_BYTES_MAX]), Some(1));
        assert_eq!(Trie::new([(&name[..], 1)].into_iter()).unwrap_err().code, "vocabulary");
    }

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(
            names in prop::collection::btree_map(prop::collection::vec(0u8..4, 1..6), 0u32..99, 0..200),
            others in prop::collection::vec(prop::collection::vec(0u8..5, 0..7), 0..50),
        ) {
            let map: BTreeMap<Vec<u8>, u32> = names;
            let trie = Trie::new(map.iter().map(|(name, value)| (name.as_slice(), *value))).unwrap();
            for name in others.iter().chain(map.keys()) {
                prop_assert_eq!(trie.get(name), map.get(name).copied());
                let all: Vec<_> =
                    (1..=name.len()).filter_map(|n| Some((*map.get(&name[..n])?, n))).collect();
                prop_assert_eq!(trie.longest(Trie::START, name), all.last().copied());
                prop_assert_eq!(trie.prefixes(name).collect::<Vec<_>>(), all);
            }
        }
    }
}
