//! Whose signature a draft waits for, and which signatures a change of it takes away.

use crate::report::Report;
use aimass_market::desk::{Desk, DraftStatus};
use aimass_trust::publishing::drafts::{RootContent, read_root};
use aimass_trust::publishing::repository::Repository;
use aimass_trust::publishing::storage::Folder;
use aimass_trust::{METADATA_BYTES_MAX, PublicKey};
use anyhow::{Context, ensure};
use std::io::Read;
use std::path::Path;

/// What the published root says; `None` before the first one is published.
fn published_root(desk: &Desk) -> anyhow::Result<Option<RootContent>> {
    if desk.fingerprint()?.is_none() {
        return Ok(None);
    }
    let mut public = Folder::new(&desk.public_dir());
    let text = Repository::new(&mut public).root(false)?;
    Ok(Some(read_root(&text)?.1))
}

/// What a change of the root starts from: its draft, else the published one; `None` before the first
/// one is published.
pub(super) fn present_root(desk: &Desk) -> anyhow::Result<Option<RootContent>> {
    let Some(published) = published_root(desk)? else { return Ok(None) };
    match desk.drafts()?.iter().find(|draft| draft.role == "root") {
        Some(draft) => Ok(Some(read_root(&read(&draft.file)?)?.1)),
        None => Ok(Some(published)),
    }
}

/// Keys whose signature on a draft counts: those of its role, and on a root those of the root before it.
pub(super) fn wanted(desk: &Desk, draft: &DraftStatus) -> anyhow::Result<Vec<PublicKey>> {
    let mut keys = draft.keys.clone();
    if draft.role == "root"
        && let Some(before) = published_root(desk)?
    {
        keys.extend(before.root.keys.iter().filter(|key| !draft.keys.contains(key)));
    }
    Ok(keys)
}

/// As [`wanted`], for a file; `None` if what it takes to know is not beside the file.
fn wanted_in(file: &Path) -> anyhow::Result<Option<Vec<PublicKey>>> {
    let Ok(file) = std::fs::canonicalize(file) else { return Ok(None) };
    let dir = file.parent().and_then(Path::parent);
    if let Some(dir) = dir.filter(|dir| dir.join("market.toml").exists()) {
        let desk = Desk::open(dir)?;
        let drafts = desk.drafts()?;
        let draft = drafts.iter().find(|draft| draft.file == file);
        return draft.map(|draft| wanted(&desk, draft)).transpose();
    }
    match read_root(&read(&file)?) {
        Ok((1, root)) => Ok(Some(root.root.keys)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Whether a signature of `key` counts on the draft in `file`; `None` if that cannot be known here: a
/// copied draft does not say who signed the root before it, and no targets say who signs them.
///
/// # Errors
/// It is known to count nothing.
pub(super) fn check_signer(file: &Path, key: &PublicKey) -> anyhow::Result<Option<()>> {
    let Some(wanted) = wanted_in(file)? else { return Ok(None) };
    ensure!(
        wanted.contains(key),
        "{}: expected a signature by one of {}, got {key}, whose signature would count nothing. Remedy: \
         sign with one of those keys, or list this one first with `aimass market rotate --add`",
        file.display(),
        list(&wanted)
    );
    Ok(Some(()))
}

/// Keys as a sentence lists them.
pub(super) fn list(keys: &[PublicKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Signatures on the draft of `role`, which a change of it takes off.
pub(super) fn collected(desk: &Desk, role: &str) -> anyhow::Result<usize> {
    let drafts = desk.drafts()?;
    let Some(draft) = drafts.iter().find(|draft| draft.role == role) else { return Ok(0) };
    let value: serde_json::Value = serde_json::from_slice(&read(&draft.file)?)?;
    Ok(value["signatures"].as_array().map_or(0, Vec::len))
}

/// Says that a change took `count` signatures off the draft of `role`.
pub(super) fn report_dropped(count: usize, role: &str, report: &mut Report) {
    if count > 0 {
        let those = if count == 1 { "signature" } else { "signatures" };
        let text = format!("{count} {those} of the draft of {role}, whose text is another now");
        report.line("dropped", text);
    }
    report.field("dropped_signatures", count);
}

/// A threshold that `count` keys can reach; `flag` sets it.
///
/// # Errors
/// It is none.
pub(super) fn check_threshold(flag: &str, threshold: u64, count: usize) -> anyhow::Result<()> {
    ensure!(
        (1..=count as u64).contains(&threshold),
        "{flag}: expected 1 to {count}, the number of keys that there are to sign, got {threshold}. Remedy: \
         give another {flag}, or name more keys"
    );
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    let read = opened.take(METADATA_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| file.display().to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_trust::publishing::drafts::{RoleKeys, draft_root};
    use aimass_trust::{NameRules, SigningKey, Timestamp};

    #[test]
    fn a_copied_draft_tells_of_its_signers_only_in_the_first_root() {
        let keys: Vec<PublicKey> =
            (0..2).map(|_| SigningKey::generate().expect("a key").public()).collect();
        let role = RoleKeys { keys: vec![keys[0]], threshold: 1 };
        let content = RootContent {
            root: role.clone(),
            targets: role.clone(),
            snapshot: role.clone(),
            timestamp: role,
            rules: NameRules { protected: Vec::new(), permitted: Vec::new() },
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("root.json");
        let draft = |version| {
            let expires = Timestamp::from_system(std::time::SystemTime::now()).plus_days(1);
            let text = draft_root(&content, version, expires).expect("a draft");
            std::fs::write(&file, text).expect("a file");
        };
        draft(1);
        assert_eq!(check_signer(&file, &keys[0]).expect("a signer"), Some(()));
        let error = check_signer(&file, &keys[1]).expect_err("no signer").to_string();
        assert!(error.contains(&list(&keys[..1])), "{error}");
        draft(2);
        assert_eq!(check_signer(&file, &keys[1]).expect("unknown"), None);
    }

    #[test]
    fn a_threshold_is_one_to_the_number_of_keys() {
        assert!(check_threshold("--threshold", 2, 2).is_ok());
        for wrong in [0, 3] {
            let error = check_threshold("--threshold", wrong, 2).expect_err("wrong").to_string();
            assert!(error.starts_with("--threshold: expected 1 to 2"), "{error}");
        }
    }
}
