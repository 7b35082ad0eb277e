//! The log's tree against a slow, plain reading of RFC 6962, in trees of every small size.

mod market;

use aimass_trust::publishing::log_writer::{LogWriter, StoredTiles};
use aimass_trust::publishing::witness::{Cosigner, Witness};
use aimass_trust::{
    Hash, LogPolicy, NoteKey, NoteKeyKind, RefusalCode, TileReader, Timestamp, TrustError, extends,
    includes, leaf_hash, tile_path,
};
use market::{Memory, NOW, ORIGIN, keys, log_key};
use sha2::{Digest, Sha256};

fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let node = Sha256::new_with_prefix([1]).chain_update(root_of(left));
            node.chain_update(root_of(right)).finalize().into()
        }
    }
}

fn entry(index: usize) -> [u8; 32] {
    Sha256::digest(index.to_be_bytes()).into()
}

/// A log of `size` entries without witnesses.
fn log_of(size: usize) -> Memory {
    let mut storage = Memory::default();
    let policy = LogPolicy::parse(&format!("log {}\nquorum none\n", log_key())).expect("policy");
    let mut writer = LogWriter::new(&mut storage, ORIGIN, keys().log, &policy).expect("a log");
    for index in 0..size {
        assert_eq!(writer.append(&entry(index), &mut []).expect("appended").index, index as u64);
    }
    storage
}

#[test]
fn proofs_of_a_log_of_700_entries_hold_and_no_others() {
    const SIZE: usize = 700;
    let storage = log_of(SIZE);
    assert!(storage.files.contains_key("log/tile/1/000.p/2"));
    assert!(storage.files.contains_key("log/tile/entries/002.p/188"));
    let leaves: Vec<Hash> = (0..SIZE).map(|index| leaf_hash(&entry(index))).collect();
    let mut tiles = StoredTiles(&storage);
    let mut reader = TileReader::new(&mut tiles, SIZE as u64);
    let root = reader.root().expect("a root");
    assert_eq!(root, root_of(&leaves));
    for index in 0..SIZE {
        let proof = reader.inclusion(index as u64).expect("a proof");
        let holds = |root: &Hash, size: usize, at: usize, proof: &[Hash]| {
            includes(root, size as u64, at as u64, &leaves[index], proof)
        };
        assert!(holds(&root, SIZE, index, &proof), "{index}");
        assert!(!holds(&root, SIZE, (index + 1) % SIZE, &proof), "{index}");
        assert!(!holds(&root, SIZE, index, &proof[1..]) && !holds(&root, SIZE, SIZE, &proof));
        assert!(!holds(&root, SIZE, index, &[&proof[..], &[root]].concat()));
        let mut other = proof.clone();
        other[index % proof.len()][31] ^= 1;
        assert!(!holds(&root, SIZE, index, &other) && !holds(&[0; 32], SIZE, index, &proof));
    }
    for old in 0..=SIZE {
        let before = root_of(&leaves[..old]);
        let proof = reader.consistency(old as u64).expect("a proof");
        let holds = |before: &Hash, old: usize, proof: &[Hash]| {
            extends((old as u64, before), (SIZE as u64, &root), proof)
        };
        assert!(holds(&before, old, &proof), "{old}");
        assert!(!holds(&[0; 32], old, &proof), "{old}");
        assert!(!holds(&before, old, &[&proof[..], &[root]].concat()), "{old}");
        for at in 0..proof.len() {
            let mut other = proof.clone();
            other[at][0] ^= 1;
            assert!(!holds(&before, old, &other), "{old}");
        }
        if let [_, rest @ ..] = &proof[..] {
            assert!(!holds(&before, old, rest), "{old}");
        }
    }
    assert!(reader.inclusion(SIZE as u64).is_err() && reader.consistency(701).is_err());
    assert!(!extends((701, &root), (700, &root), &[]));
    // With the arithmetic of a growing log, a root that stayed would do.
    assert!(!extends((4, &root), (3, &root), &[]));
}

#[test]
fn proofs_hold_in_trees_of_every_small_size() {
    let leaves: Vec<Hash> = (0..40).map(|index| leaf_hash(&entry(index))).collect();
    let storage = log_of(40);
    for size in 1..=40 {
        // The partial tile of an earlier size is there still, so an earlier tree can be read.
        let mut tiles = StoredTiles(&storage);
        let mut reader = TileReader::new(&mut tiles, size as u64);
        let root = reader.root().expect("a root");
        assert_eq!(root, root_of(&leaves[..size]));
        for (index, leaf) in leaves[..size].iter().enumerate() {
            let proof = reader.inclusion(index as u64).expect("a proof");
            assert!(includes(&root, size as u64, index as u64, leaf, &proof));
        }
        for old in 0..=size {
            let proof = reader.consistency(old as u64).expect("a proof");
            let before = root_of(&leaves[..old]);
            assert!(extends((old as u64, &before), (size as u64, &root), &proof), "{old} {size}");
        }
    }
}

#[test]
fn tiles_have_the_paths_of_c2sp() {
    for (level, index, width, path) in [
        ("0", 0, 256, "tile/0/000"),
        ("0", 0, 5, "tile/0/000.p/5"),
        ("1", 999, 256, "tile/1/999"),
        ("0", 1_234_067, 256, "tile/0/x001/x234/067"),
        ("entries", 1_000, 1, "tile/entries/x001/000.p/1"),
    ] {
        assert_eq!(tile_path(level, index, width), path);
    }
}

#[test]
fn policies_and_keys_of_another_form_are_refused() {
    let good = market::log_policy_text();
    let first = good.lines().next().expect("a line").to_owned();
    assert!(LogPolicy::parse(&good).is_ok());
    assert!(LogPolicy::parse(&format!("# words\n\n  {good}")).is_ok());
    for (from, to) in [
        ("log ", "logs "),
        ("quorum quorum-of-two", ""),
        ("quorum quorum-of-two", "quorum none\nquorum none"),
        ("quorum quorum-of-two", "quorum other"),
        ("group quorum-of-two 2", "group quorum-of-two 4"),
        ("group quorum-of-two 2", "group quorum-of-two 0"),
        ("2 w0 w1 w2", "2 w0 w0 w2"),
        ("2 w0 w1 w2", "2"),
        ("2 w0 w1 w2", "2 w0 w1 w2\ngroup another 1 w0"),
        ("witness w1", "witness w0"),
        ("witness w1", "witness none"),
        (first.as_str(), ""),
        ("# ", "\u{e9}"),
    ] {
        let text = format!("# c\n{good}").replacen(from, to, 1);
        assert!(LogPolicy::parse(&text).is_err(), "{text}");
    }
    assert!(LogPolicy::parse(&format!("{first}\n{good}")).is_err(), "one log twice");
    assert!(LogPolicy::parse(&"#\n".repeat(40_000)).is_err(), "too long");
    let key = log_key().to_string();
    assert_eq!(NoteKey::parse(&key, NoteKeyKind::Log).expect("a key"), log_key());
    assert!(NoteKey::parse(&key, NoteKeyKind::Witness).is_err());
    for wrong in [key.replacen('m', "n", 1), key.replacen('+', "-", 1), format!("{key}A")] {
        assert!(NoteKey::parse(&wrong, NoteKeyKind::Log).is_err(), "{wrong}");
    }
    for name in ["", "a b", "a+b", "a\n", &"x".repeat(256)] {
        assert!(NoteKey::new(name, NoteKeyKind::Log, keys().log.public()).is_err(), "{name}");
    }
}

#[test]
fn a_witness_cosigns_only_what_continues() {
    let (log, storage) = (log_of(3), &mut Memory::default());
    let note =
        |memory: &Memory| String::from_utf8(memory.files["log/checkpoint"].clone()).expect("text");
    let now = Timestamp::from_unix(NOW);
    let mut witness = Witness::new(storage, log_key(), "w0.example", keys().witnesses[0], now)
        .expect("a witness");
    assert_eq!(witness.size(ORIGIN).expect("size"), 0);
    witness.cosign(&note(&log), &[]).expect("the first");
    assert_eq!(witness.size(ORIGIN).expect("size"), 3);
    witness.cosign(&note(&log), &[]).expect("the same again");
    let code = |result: Result<String, TrustError>| match result.expect_err("refused") {
        TrustError::Sign(refusal) => refusal.code,
        other => panic!("{other}"),
    };
    let longer = log_of(5);
    assert_eq!(code(witness.cosign(&note(&longer), &[])), RefusalCode::Equivocation);
    let proof = TileReader::new(&mut StoredTiles(&longer), 5).consistency(3).expect("a proof");
    witness.cosign(&note(&longer), &proof).expect("continued");
    assert_eq!(code(witness.cosign(&note(&log), &[])), RefusalCode::Equivocation);
    let mut other = Memory::default();
    market::log_in(&mut other, keys().evil[0], &[1; 32], &[], NOW);
    assert_eq!(code(witness.cosign(&note(&other), &[])), RefusalCode::Log);
}
