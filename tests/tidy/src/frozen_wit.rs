//! Released contracts never change: components of strangers were built against them.
//!
//! `wit/released/<version>/` holds a copy of `wit/` as released, and `wit/released/digests.txt`
//! lists every file of every copy as `sha256sum` prints it, with paths relative to
//! `wit/released`. A line is added when a version is released and is never edited afterwards.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::repository;

const RELEASED: &str = "wit/released";
const DIGESTS: &str = "digests.txt";

#[test]
fn released_contracts_are_as_they_were() {
    let files = released_files();
    if files.is_empty() {
        return;
    }
    let list = Path::new(RELEASED).join(DIGESTS);
    assert!(
        repository::root().join(&list).exists(),
        "{} is missing; make it with `cd {RELEASED} && sha256sum */* > {DIGESTS}`",
        list.display()
    );
    let recorded = recorded(&repository::read(&list));
    repository::assert_none("Released contracts never change:", &differences(&files, &recorded));
}

/// Digests by path, both relative to `wit/released`.
fn released_files() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in repository::files() {
        let Ok(inside) = path.strip_prefix(RELEASED) else {
            continue;
        };
        // Files directly in the folder (its README, the list itself) belong to no release.
        if inside.components().count() > 1 {
            let bytes = std::fs::read(repository::root().join(&path)).unwrap();
            found.insert(inside.to_str().unwrap().to_owned(), hex(&bytes));
        }
    }
    found
}

fn recorded(list: &str) -> BTreeMap<String, String> {
    let lines = list.lines().filter_map(|line| line.split_once("  "));
    lines.map(|(digest, path)| (path.to_owned(), digest.to_owned())).collect()
}

fn differences(
    files: &BTreeMap<String, String>,
    recorded: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, digest) in files {
        match recorded.get(path) {
            Some(known) if known == digest => {}
            Some(known) => faults.push(format!("{path}: recorded as {known}, is {digest}")),
            None => faults.push(format!("{path}: not recorded; a release adds `{digest}  {path}`")),
        }
    }
    let gone = recorded.keys().filter(|path| !files.contains_key(*path));
    faults.extend(gone.map(|path| format!("{path}: is gone")));
    faults
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_changed_a_new_and_a_missing_file_are_all_found() {
    let files = BTreeMap::from([
        ("0.1.0/same.wit".to_owned(), hex(b"same")),
        ("0.1.0/changed.wit".to_owned(), hex(b"now")),
        ("0.1.0/new.wit".to_owned(), hex(b"new")),
    ]);
    let (same, before) = (hex(b"same"), hex(b"before"));
    let list =
        format!("{same}  0.1.0/same.wit\n{before}  0.1.0/changed.wit\n{same}  0.1.0/gone.wit\n");
    let faults = differences(&files, &recorded(&list));
    let starts = ["0.1.0/changed.wit: recorded", "0.1.0/new.wit: not", "0.1.0/gone.wit: is gone"];
    assert_eq!(faults.len(), starts.len());
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
}
