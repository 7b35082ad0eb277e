//! `.ampkg`: a release with everything that its offline verification needs, as one canonical tar.
//!
//! POSIX ustar without compression, of which one form is accepted: members sorted by name, each once;
//! mode 0644; owner, time and link fields zero; zero padding; two zero blocks at the end and nothing
//! after them. The last member but for sorting, `sha256sums`, has the digest of every other one in the
//! form of `sha256sum`, so that a damaged copy is told even where TUF would look the other way (a
//! signature beyond its threshold). A header is compared with the only one that its name and size can
//! have, byte for byte; members are slices of the input.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::component::COMPONENT_BYTES_MAX;
use crate::hex;
use crate::refusal::{GET_AGAIN, Refusal, RefusalCode, excerpt};
use crate::tuf::updater::MetadataSource;

/// Size limit of a bundle: 72 MiB.
pub const BUNDLE_BYTES_MAX: usize = COMPONENT_BYTES_MAX + (8 << 20);

/// The plugin component.
pub const MEMBER_WASM: &str = "plugin.wasm";
/// The signed statement.
pub const MEMBER_STATEMENT: &str = "release.dsse.json";
/// The proof of being logged.
pub const MEMBER_PROOF: &str = "release.tlog-proof";
/// The marketplace's revocations.
pub const MEMBER_REVOCATIONS: &str = "revocations.json";
const MEMBER_SUMS: &str = "sha256sums";

/// Members beside the roots, in any bundle.
const MEMBERS: &[&str] = &[
    MEMBER_WASM,
    "publisher.json",
    MEMBER_STATEMENT,
    MEMBER_PROOF,
    MEMBER_REVOCATIONS,
    MEMBER_SUMS,
    "snapshot.json",
    "targets.json",
    "timestamp.json",
];
const MEMBERS_MAX: usize = 64;
const BLOCK: usize = 512;

/// A read bundle. Its members are whole, and nothing in them is known to be true.
#[derive(Debug)]
pub struct Bundle<'a> {
    members: BTreeMap<&'a str, (&'a [u8], [u8; 32])>,
}

impl<'a> Bundle<'a> {
    /// Reads a bundle of at most 72 MiB.
    ///
    /// # Errors
    /// `AMT-SIZE`, `AMT-FORMAT` for any byte that is not prescribed, `AMT-DIGEST` for a member that is
    /// not the one of `sha256sums`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            let got = format!("{} bytes", bytes.len());
            return Err(Refusal::new(
                RefusalCode::Size,
                "a bundle of at most 72 MiB",
                got,
                GET_AGAIN,
            ));
        }
        let mut members = BTreeMap::new();
        let (mut rest, mut before) = (bytes, "");
        while !is_end(rest) {
            let (name, content, after) = member(rest).ok_or_else(not_canonical)?;
            if name <= before || !is_member(name) || members.len() == MEMBERS_MAX {
                let expected = "members of a bundle, each once and sorted by name";
                return Err(Refusal::format(expected, excerpt(name)));
            }
            members.insert(name, (content, Sha256::digest(content).into()));
            (rest, before) = (after, name);
        }
        let bundle = Bundle { members };
        let sums = bundle.get(MEMBER_SUMS).ok_or_else(not_canonical)?;
        match sums == sums_of(&bundle.members).as_bytes() {
            true => Ok(bundle),
            false => Err(Refusal::new(
                RefusalCode::Digest,
                "members with the digests in `sha256sums`",
                "others",
                "copy the bundle again: it was damaged or changed",
            )),
        }
    }

    /// The content of a member.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.members.get(name).map(|(content, _)| *content)
    }

    /// Names and sizes in bytes of all members, sorted by name.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, usize)> {
        self.members.iter().map(|(name, (content, _))| (*name, content.len()))
    }

    /// SHA-256 of a member.
    pub(crate) fn digest(&self, name: &str) -> Option<[u8; 32]> {
        self.members.get(name).map(|(_, digest)| *digest)
    }

    /// The content of a member that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&'a [u8], Refusal> {
        self.get(name)
            .ok_or_else(|| Refusal::format(format!("a bundle with `{name}`"), "one without"))
    }
}

/// The metadata of a bundle, under the names that a mirror would have.
impl MetadataSource for Bundle<'_> {
    fn metadata(&mut self, path: &str, _bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let (version, kind) = path.split_once('.').unwrap_or_default();
        let member = match kind {
            "root.json" => root_member(version.parse().unwrap_or(0)),
            "snapshot.json" | "targets.json" => kind.to_owned(),
            "json" => path.to_owned(),
            _ => "publisher.json".to_owned(),
        };
        Ok(self.get(&member).map(<[u8]>::to_vec))
    }
}

/// The member with the root of this version, numbered so that names sort as versions do.
pub(crate) fn root_member(version: u64) -> String {
    format!("root.{version:010}.json")
}

/// The bundle of these members; `sha256sums` is added.
///
/// # Errors
/// What [`Bundle::parse`] would refuse.
pub fn bundle_bytes(members: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, Refusal> {
    let mut all: BTreeMap<&str, (&[u8], [u8; 32])> = BTreeMap::new();
    for (name, content) in members {
        all.insert(name, (content, Sha256::digest(content).into()));
    }
    let sums = sums_of(&all);
    all.insert(MEMBER_SUMS, (sums.as_bytes(), [0; 32]));
    let mut bytes = Vec::new();
    for (name, (content, _)) in &all {
        bytes.extend_from_slice(&header(name, content.len()));
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    Bundle::parse(&bytes)?;
    Ok(bytes)
}

/// The member at the front of `bytes`, and what follows it.
fn member(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (found, rest) = bytes.split_at_checked(BLOCK)?;
    let name_end = found.iter().take(100).position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&found[..name_end]).ok()?;
    let digits = std::str::from_utf8(&found[124..135]).ok()?;
    let size = usize::from_str_radix(digits, 8).ok()?;
    if found != header(name, size) {
        return None;
    }
    let (content, rest) = rest.split_at_checked(size)?;
    let (padding, rest) = rest.split_at_checked(size.next_multiple_of(BLOCK) - size)?;
    padding.iter().all(|byte| *byte == 0).then_some((name, content, rest))
}

/// The only header of a member with this name and size.
fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(99)]);
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{size:011o}\x0000000000000\0        0").as_bytes());
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn is_end(rest: &[u8]) -> bool {
    rest.len() == 2 * BLOCK && rest.iter().all(|byte| *byte == 0)
}

fn is_member(name: &str) -> bool {
    let version = name.strip_prefix("root.").and_then(|rest| rest.strip_suffix(".json"));
    let root = version.and_then(|text| text.parse().ok()).is_some_and(|it| root_member(it) == name);
    root || MEMBERS.contains(&name)
}

fn sums_of(members: &BTreeMap<&str, (&[u8], [u8; 32])>) -> String {
    let others = members.iter().filter(|(name, _)| **name != MEMBER_SUMS);
    others.map(|(name, (_, digest))| format!("{}  {name}\n", hex::encode(digest))).collect()
}

fn not_canonical() -> Refusal {
    Refusal::format("a canonical tar as AMT-1 describes bundles", "another byte")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let members = [
            (MEMBER_WASM.to_owned(), vec![7; 700]),
            (MEMBER_PROOF.to_owned(), Vec::new()),
            (root_member(2), b"{}".to_vec()),
            (root_member(10), vec![1; 512]),
        ];
        bundle_bytes(&members.into_iter().collect()).expect("a bundle")
    }

    #[test]
    fn a_bundle_is_read_as_it_was_written() {
        let bytes = sample();
        let mut bundle = Bundle::parse(&bytes).expect("read");
        assert_eq!(bundle.get(MEMBER_WASM), Some(&[7; 700][..]));
        assert_eq!(bundle.metadata("2.root.json", 0), Ok(Some(b"{}".to_vec())));
        assert_eq!(bundle.metadata("3.root.json", 0), Ok(None));
        assert_eq!(bundle.members().count(), 5);
        let copy = bundle.members.iter().filter(|(name, _)| **name != MEMBER_SUMS);
        let copy = copy.map(|(name, (content, _))| ((*name).to_owned(), content.to_vec()));
        assert_eq!(bundle_bytes(&copy.collect()), Ok(bytes.clone()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = sample();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Bundle::parse(&changed).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Bundle::parse(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Bundle::parse(&[&bytes[..], &[0; 512]].concat()).is_err());
    }

    #[test]
    fn other_members_and_orders_are_refused() {
        for name in
            ["", "x", "../plugin.wasm", "root.2.json", "root.+000000002.json", "Plugin.wasm"]
        {
            let members = [(name.to_owned(), Vec::new())].into_iter().collect();
            assert_eq!(bundle_bytes(&members).expect_err(name).code, RefusalCode::Format);
        }
        let one = |name: &str| {
            let block = header(name, 0);
            block.to_vec()
        };
        let end = vec![0; 2 * BLOCK];
        for parts in [
            [one("snapshot.json"), one("plugin.wasm"), end.clone()],
            [one("plugin.wasm"), one("plugin.wasm"), end.clone()],
            [one("plugin.wasm"), one("snapshot.json"), end],
        ] {
            assert_eq!(
                Bundle::parse(&parts.concat()).expect_err("refused").code,
                RefusalCode::Format
            );
        }
        let huge = vec![0; BUNDLE_BYTES_MAX + 1];
        assert_eq!(Bundle::parse(&huge).expect_err("huge").code, RefusalCode::Size);
    }
}
