//! A marketplace's repository: signed files in, a consistent view for clients out.
//!
//! ```text
//! metadata/<version>.root.json  <version>.targets.json  <version>.<publisher>.json
//! metadata/<version>.snapshot.json  timestamp.json
//! targets/<sha256>.revocations.json
//! targets/<publisher>/<sha256>.<name>@<version>.wasm
//! releases/<publisher>/<name>@<version>.dsse.json  .tlog-proof
//! ```
//! Every file but the timestamp has its version or digest in its name. They are written first; the
//! timestamp then makes them visible by one rename. Before that the verifier runs over all of it, with
//! the view of a client that saw the last state, so that nothing is published that clients would refuse.
//!
//! TUF's one exception: a root is visible at once. A crash between a root that replaces the timestamp's
//! key and the new timestamp leaves clients without an update until publishing is repeated; they keep
//! what they have. To avoid even that, list the old and the new key for one version.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::drafts::{sign_metadata, typed_file};
use super::storage::Storage;
use crate::dsse::HexDigest;
use crate::error::TrustError;
use crate::hex;
use crate::keys::SigningKey;
use crate::market::MarketState;
use crate::names::{PackageName, Version};
use crate::refusal::Refusal;
use crate::timestamp::Timestamp;
use crate::tuf::metadata::{FileVersion, Hashes, Metadata, Root, Snapshot, Targets, TimestampFile};
use crate::tuf::signed::{METADATA_BYTES_MAX, Signed};
use crate::tuf::trusted::{Trusted, Validity};
use crate::tuf::updater::{MetadataSource, update};

/// Hours for which a timestamp is valid.
pub const TIMESTAMP_HOURS: u64 = 24;
/// Days for which a snapshot is valid.
pub const SNAPSHOT_DAYS: u64 = 7;

/// The keys that a marketplace has online.
#[derive(Clone, Copy, Debug)]
pub struct OnlineKeys<'a> {
    /// Signs snapshots.
    pub snapshot: &'a SigningKey,
    /// Signs timestamps.
    pub timestamp: &'a SigningKey,
}

/// Signed files to be published together. Everything is optional: without any, it is a refresh.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The next root.
    pub root: Option<Vec<u8>>,
    /// The next top-level targets.
    pub targets: Option<Vec<u8>>,
    /// The next targets of publishers, by name.
    pub publishers: BTreeMap<String, Vec<u8>>,
    /// Content of target files by path, such as `acme/resize-norm@1.4.2.wasm`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Statement and proof of releases.
    pub releases: Vec<ReleaseEvidence>,
}

/// What goes beside a component.
#[derive(Clone, Debug)]
pub struct ReleaseEvidence {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The statement with all signatures.
    pub dsse: Vec<u8>,
    /// The proof of being logged.
    pub proof: Vec<u8>,
}

/// The files of a marketplace. One writer at a time.
#[derive(Debug)]
pub struct Repository<'a, S: Storage> {
    storage: &'a mut S,
}

/// The view of a client once the changes are made.
struct View<'a, S: Storage> {
    storage: &'a S,
    new: &'a BTreeMap<String, Vec<u8>>,
}

impl<S: Storage> MetadataSource for View<'_, S> {
    fn metadata(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let path = format!("metadata/{path}");
        match self.new.get(&path) {
            Some(text) => Ok(Some(text.clone())),
            None => self.storage.read(&path, bytes_max).map_err(|error| unreadable(&error)),
        }
    }
}

impl<'a, S: Storage> Repository<'a, S> {
    /// The repository in `storage`.
    pub fn new(storage: &'a mut S) -> Self {
        Repository { storage }
    }

    /// Publishes `changes`: makes and signs the next snapshot and timestamp, checks everything as a
    /// client would, writes the files, and at last the timestamp.
    ///
    /// # Errors
    /// [`TrustError::Sign`] with what a client would refuse, [`TrustError::Storage`] from the storage.
    /// After an error clients see the state before; calling again with the same changes goes on.
    pub fn publish(
        &mut self,
        changes: &Changes,
        keys: OnlineKeys<'_>,
        now: Timestamp,
    ) -> Result<(), TrustError> {
        let mut new = BTreeMap::new();
        let mut meta = self.current_meta()?;
        if let Some(text) = &changes.root {
            let root: Root = Signed::parse("root.json", text)?.read()?;
            new.insert(format!("metadata/{}.root.json", root.version), text.clone());
        }
        let named = changes.publishers.iter().map(|(name, text)| (name.as_str(), text));
        let top = changes.targets.iter().map(|text| ("targets", text));
        for (name, text) in top.chain(named) {
            let version = Signed::parse("targets", text)?.read::<Targets>()?.version;
            meta.insert(format!("{name}.json"), stated(version, text));
            new.insert(format!("metadata/{version}.{name}.json"), text.clone());
        }
        let timestamp = self.sign_current(meta, keys, now, &mut new)?;
        new.insert("metadata/timestamp.json".to_owned(), timestamp.clone());
        let trusted = self.check(&new, changes, now)?;
        new.remove("metadata/timestamp.json");
        for (path, bytes) in &changes.files {
            refuse_unlisted(&trusted, path, bytes)?;
            new.insert(target_path(path, &Sha256::digest(bytes).into()), bytes.clone());
        }
        for release in &changes.releases {
            let start = format!("releases/{}@{}", release.name, release.version);
            new.insert(format!("{start}.dsse.json"), release.dsse.clone());
            new.insert(format!("{start}.tlog-proof"), release.proof.clone());
        }
        // A root is visible as soon as it is there, so it comes right before the timestamp.
        let (roots, others): (Vec<_>, Vec<_>) =
            new.iter().partition(|(path, _)| path.ends_with(".root.json"));
        for (path, bytes) in others.into_iter().chain(roots) {
            self.storage.write(path, bytes).map_err(TrustError::Storage)?;
        }
        self.storage.write("metadata/timestamp.json", &timestamp).map_err(TrustError::Storage)
    }

    /// The newest root, and the first one if `first`.
    ///
    /// # Errors
    /// [`TrustError::Storage`]; [`TrustError::Sign`] if there is none.
    pub fn root(&self, first: bool) -> Result<Vec<u8>, TrustError> {
        let mut found = None;
        for version in 1u64.. {
            match self.read(&format!("metadata/{version}.root.json"))? {
                Some(text) => found = Some(text),
                None => break,
            }
            if first {
                break;
            }
        }
        found.ok_or_else(|| TrustError::Sign(Refusal::format("a repository with a root", "none")))
    }

    /// The current file of `name`: `targets`, or a publisher; `None` if it was never published.
    ///
    /// # Errors
    /// [`TrustError::Storage`]; [`TrustError::Sign`] if the repository is damaged.
    pub fn current(&self, name: &str) -> Result<Option<Vec<u8>>, TrustError> {
        match self.current_meta()?.get(&format!("{name}.json")) {
            Some(file) => self.read(&format!("metadata/{}.{name}.json", file.version)),
            None => Ok(None),
        }
    }

    /// Makes and signs snapshot and timestamp; the snapshot only if it is to change or ages.
    fn sign_current(
        &self,
        meta: BTreeMap<String, FileVersion>,
        keys: OnlineKeys<'_>,
        now: Timestamp,
        new: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<Vec<u8>, TrustError> {
        let before = self.read_current::<TimestampFile>("metadata/timestamp.json")?;
        let version =
            |file: &TimestampFile| file.meta.get("snapshot.json").map_or(0, |it| it.version);
        let snapshot_version = before.as_ref().map_or(0, version) + 1;
        let expires = now.plus_days(SNAPSHOT_DAYS);
        let snapshot = Snapshot { version: snapshot_version, expires, meta };
        let text = signed_by("snapshot", &snapshot, keys.snapshot)?;
        let expires = Timestamp::from_unix(now.as_unix() + TIMESTAMP_HOURS * 3_600);
        let timestamp = TimestampFile {
            version: before.map_or(0, |it| it.version) + 1,
            expires,
            meta: BTreeMap::from([("snapshot.json".to_owned(), stated(snapshot_version, &text))]),
        };
        new.insert(format!("metadata/{snapshot_version}.snapshot.json"), text);
        signed_by("timestamp", &timestamp, keys.timestamp)
    }

    /// Runs the verifier over what clients will see, starting where the last client stood.
    fn check(
        &self,
        new: &BTreeMap<String, Vec<u8>>,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<Trusted, TrustError> {
        let first =
            self.read("metadata/1.root.json")?.or_else(|| new.get("metadata/1.root.json").cloned());
        let first = first.ok_or_else(|| Refusal::format("a first root", "none"))?;
        let mut state = MarketState::of_root(&self.root(false).unwrap_or(first))?;
        state.timestamp = self.read("metadata/timestamp.json")?;
        let before = self.read_current::<TimestampFile>("metadata/timestamp.json")?;
        if let Some(file) = before.as_ref().and_then(|file| file.meta.get("snapshot.json")) {
            state.snapshot = self.read(&format!("metadata/{}.snapshot.json", file.version))?;
        }
        let publishers: Vec<&str> = changes.publishers.keys().map(String::as_str).collect();
        let validity = Validity { now, grace_seconds: 0, rest_grace_seconds: 0 };
        let mut view = View { storage: &*self.storage, new };
        Ok(update(&state, &mut view, &publishers, validity)?.0)
    }

    fn current_meta(&self) -> Result<BTreeMap<String, FileVersion>, TrustError> {
        let Some(timestamp) = self.read_current::<TimestampFile>("metadata/timestamp.json")? else {
            return Ok(BTreeMap::new());
        };
        let version = timestamp.meta.get("snapshot.json").map_or(0, |file| file.version);
        let snapshot =
            self.read_current::<Snapshot>(&format!("metadata/{version}.snapshot.json"))?;
        Ok(snapshot.map(|snapshot| snapshot.meta).unwrap_or_default())
    }

    fn read_current<T: Metadata>(&self, path: &str) -> Result<Option<T>, TrustError> {
        match self.read(path)? {
            Some(text) => Ok(Some(Signed::parse("the file", &text)?.read()?)),
            None => Ok(None),
        }
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TrustError> {
        self.storage.read(path, METADATA_BYTES_MAX).map_err(TrustError::Storage)
    }
}

/// Where a target lies: the digest goes before the last part of its path, as TUF has it.
pub fn target_path(path: &str, sha256: &[u8; 32]) -> String {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("targets/{folder}{slash}{}.{name}", hex::encode(sha256))
}

fn refuse_unlisted(trusted: &Trusted, path: &str, bytes: &[u8]) -> Result<(), TrustError> {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let listed = match path.split_once('@').and_then(|(name, _)| name.parse::<PackageName>().ok()) {
        Some(name) => trusted.find_target(&name, &digest, bytes.len() as u64)?.0 == path,
        None => trusted.own_target(path)?.is_some_and(|it| it.hashes.sha256.0 == digest),
    };
    match listed {
        true => Ok(()),
        false => Err(TrustError::Release {
            expected: "files that the metadata lists",
            got: path.to_owned(),
        }),
    }
}

fn signed_by(
    kind: &str,
    content: &impl Serialize,
    key: &SigningKey,
) -> Result<Vec<u8>, TrustError> {
    sign_metadata(&typed_file(kind, content)?, &[key])
}

fn stated(version: u64, text: &[u8]) -> FileVersion {
    let sha256 = HexDigest(Sha256::digest(text).into());
    FileVersion { version, length: Some(text.len() as u64), hashes: Some(Hashes { sha256 }) }
}

fn unreadable(error: &std::io::Error) -> Refusal {
    let remedy = "look at the repository's disk";
    Refusal::new(crate::RefusalCode::Mix, "a readable repository", error.to_string(), remedy)
}
