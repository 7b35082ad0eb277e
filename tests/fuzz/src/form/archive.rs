//! Bundles: members are changed and the digests made again, or a header with its checksum.

use std::collections::BTreeMap;

use aimass_trust::{
    Bundle, MEMBER_PROOF, MEMBER_REVOCATIONS, MEMBER_STATEMENT, MEMBER_WASM, bundle_bytes,
};

use super::mutate_part;
use crate::Random;

const BLOCK: usize = 512;
/// Where the octal digits of a header's checksum lie.
const CHECKSUM: std::ops::Range<usize> = 148..154;

/// Names that a bundle may have, and one that it may not.
const NAMES: [&str; 10] = [
    MEMBER_WASM,
    MEMBER_STATEMENT,
    MEMBER_PROOF,
    MEMBER_REVOCATIONS,
    "publisher.json",
    "snapshot.json",
    "targets.json",
    "timestamp.json",
    "root.0000000003.json",
    "other",
];

pub(super) fn mutate(depth: usize, bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let Some(mut members) = read(bytes) else { return false };
    if random.below(4) == 0 {
        return change_header(bytes, random);
    }
    let others = read(other).unwrap_or_default();
    for _ in 0..=random.below(2) {
        change(depth, &mut members, &others, random);
    }
    match bundle_bytes(&members) {
        Ok(made) => *bytes = made,
        Err(_) => return change_header(bytes, random),
    }
    true
}

fn read(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let bundle = Bundle::parse(bytes).ok()?;
    let members = bundle.members().filter(|(name, _)| *name != "sha256sums");
    let owned =
        |(name, _): (&str, usize)| (name.to_owned(), bundle.get(name).unwrap_or_default().to_vec());
    Some(members.map(owned).collect())
}

fn change(
    depth: usize,
    members: &mut BTreeMap<String, Vec<u8>>,
    others: &BTreeMap<String, Vec<u8>>,
    random: &mut Random,
) {
    let pick = random.below(members.len());
    let Some(name) = members.keys().nth(pick).cloned() else { return };
    let fresh = NAMES[random.below(NAMES.len())].to_owned();
    match random.below(6) {
        0 => drop(members.remove(&name)),
        1 => {
            let content = members.remove(&name).unwrap_or_default();
            members.insert(fresh, content);
        }
        2 => {
            let content = others.values().nth(random.below(others.len())).cloned();
            members.insert(fresh, content.unwrap_or_default());
        }
        _ => {
            let other = others.get(&name).cloned().unwrap_or_default();
            if let Some(content) = members.get_mut(&name) {
                mutate_part(depth, content, &other, random);
            }
        }
    }
}

/// Changes a byte of a block that may be a header, and makes its checksum fit again.
fn change_header(bytes: &mut [u8], random: &mut Random) -> bool {
    let block = random.below(bytes.len() / BLOCK);
    let Some(header) = bytes.chunks_exact_mut(BLOCK).nth(block) else { return false };
    let at = if random.below(2) == 0 { random.below(160) } else { random.below(BLOCK) };
    header[at] = random.bits() as u8;
    let outside = header.iter().enumerate().filter(|(at, _)| !(148..156).contains(at));
    let sum: u32 = 8 * u32::from(b' ') + outside.map(|(_, byte)| u32::from(*byte)).sum::<u32>();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}").as_bytes());
    true
}
