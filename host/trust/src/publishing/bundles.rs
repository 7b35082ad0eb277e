//! Makes an `.ampkg` of a published release.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::repository::target_path;
use super::storage::Storage;
use crate::bundle::{
    MEMBER_PROOF, MEMBER_REVOCATIONS, MEMBER_STATEMENT, MEMBER_WASM, bundle_bytes, root_member,
};
use crate::component::COMPONENT_BYTES_MAX;
use crate::dsse::STATEMENT_BYTES_MAX;
use crate::error::TrustError;
use crate::log::note::PROOF_BYTES_MAX;
use crate::names::{PackageName, Version};
use crate::refusal::Refusal;
use crate::tuf::metadata::{Snapshot, Target, Targets, TimestampFile};
use crate::tuf::signed::{METADATA_BYTES_MAX, Signed};

/// The bundle of a release, with every root after `root_version`, which its readers have.
///
/// # Errors
/// [`TrustError::Sign`] if the repository does not have the release, [`TrustError::Storage`].
pub fn make_bundle(
    storage: &impl Storage,
    name: &PackageName,
    version: &Version,
    root_version: u64,
) -> Result<Vec<u8>, TrustError> {
    let files = Files(storage);
    let mut members = BTreeMap::new();
    for next in root_version.saturating_add(1).. {
        match files.find(&format!("metadata/{next}.root.json"), METADATA_BYTES_MAX)? {
            Some(text) => members.insert(root_member(next), text),
            None => break,
        };
    }
    let timestamp = files.metadata("timestamp.json")?;
    let read: TimestampFile = Signed::parse("timestamp.json", &timestamp)?.read()?;
    let snapshot_version = read.meta.get("snapshot.json").map_or(0, |file| file.version);
    let snapshot = files.metadata(&format!("{snapshot_version}.snapshot.json"))?;
    let read: Snapshot = Signed::parse("snapshot.json", &snapshot)?.read()?;
    let current = |file: &str| {
        let version = read.meta.get(&format!("{file}.json")).map_or(0, |file| file.version);
        files.metadata(&format!("{version}.{file}.json"))
    };
    let (targets, publisher) = (current("targets")?, current(name.publisher())?);
    let revocations = target_file(&files, &targets, "revocations.json", METADATA_BYTES_MAX)?;
    let path = format!("{name}@{version}.wasm");
    let wasm = target_file(&files, &publisher, &path, COMPONENT_BYTES_MAX)?;
    let release = format!("releases/{name}@{version}");
    let statement = files.need(&format!("{release}.dsse.json"), STATEMENT_BYTES_MAX)?;
    let proof = files.need(&format!("{release}.tlog-proof"), PROOF_BYTES_MAX)?;
    for (member, bytes) in [
        ("timestamp.json", timestamp),
        ("snapshot.json", snapshot),
        ("targets.json", targets),
        ("publisher.json", publisher),
        (MEMBER_REVOCATIONS, revocations),
        (MEMBER_WASM, wasm),
        (MEMBER_STATEMENT, statement),
        (MEMBER_PROOF, proof),
    ] {
        members.insert(member.to_owned(), bytes);
    }
    Ok(bundle_bytes(&members)?)
}

struct Files<'a, S: Storage>(&'a S);

impl<S: Storage> Files<'_, S> {
    fn find(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, TrustError> {
        self.0.read(path, bytes_max).map_err(TrustError::Storage)
    }

    fn need(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, TrustError> {
        let missing =
            || TrustError::Sign(Refusal::format(format!("a repository with {path}"), "none"));
        self.find(path, bytes_max)?.ok_or_else(missing)
    }

    fn metadata(&self, name: &str) -> Result<Vec<u8>, TrustError> {
        self.need(&format!("metadata/{name}"), METADATA_BYTES_MAX)
    }
}

/// The file that `metadata` lists as `path`.
fn target_file<S: Storage>(
    files: &Files<'_, S>,
    metadata: &[u8],
    path: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, TrustError> {
    let targets: Targets = Signed::parse("targets", metadata)?.read()?;
    let missing =
        || TrustError::Sign(Refusal::format(format!("targets that list {path}"), "others"));
    let target: &Target = targets.targets.get(path).ok_or_else(missing)?;
    let bytes = files.need(&target_path(path, &target.hashes.sha256.0), bytes_max)?;
    match <[u8; 32]>::from(Sha256::digest(&bytes)) == target.hashes.sha256.0 {
        true => Ok(bytes),
        false => Err(TrustError::Sign(Refusal::format(
            format!("{path} as it was published"),
            "another file",
        ))),
    }
}
