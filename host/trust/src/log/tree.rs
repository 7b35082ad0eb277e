//! Merkle trees of RFC 6962: leaf and node hashes, inclusion and consistency proofs (RFC 9162, §2.1).

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// `SHA-256(0x00 ‖ entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new_with_prefix([0]).chain_update(entry).finalize().into()
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Root of the tree without entries.
pub(crate) fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Whether `proof` shows that `leaf` is entry `index` of the tree of `size` entries with `root`
/// (RFC 9162, §2.1.3.2).
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            (node, last) = climbed(node, last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Past the levels on which a last node without a sibling is its own parent. `node` is not 0: it is
/// odd, or the last one of a level that has more.
fn climbed(node: u64, last: u64) -> (u64, u64) {
    let levels = node.trailing_zeros();
    (node >> levels, last >> levels)
}

/// Whether `proof` shows that the tree `old` (size and root) is a beginning of the tree `new`
/// (RFC 9162, §2.1.4.2). The empty tree is a beginning of every tree, with an empty proof.
pub fn extends(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    match old_size.cmp(&new_size) {
        Ordering::Equal => return proof.is_empty() && old_root == new_root,
        Ordering::Greater => return false,
        Ordering::Less => {}
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut path = proof.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else {
        return false;
    };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    let complete = node.trailing_ones();
    (node, last) = (node >> complete, last >> complete);
    let (mut of_old, mut of_new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            (of_old, of_new) = (node_hash(sibling, &of_old), node_hash(sibling, &of_new));
            (node, last) = climbed(node, last);
        } else {
            of_new = node_hash(&of_new, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}
