//! Drafts: the next root, targets and revocations, changed until their key holders have signed them.
//!
//! A change starts from the draft if there is one, else from what is published. It takes earlier
//! signatures off, since they are for another text.

use std::path::{Path, PathBuf};

use aimass_trust::publishing::drafts::{
    PublisherContent, RoleKeys, RootContent, TargetsContent, draft_root, draft_targets, key_id,
    read_root, read_targets, sign_metadata,
};
use aimass_trust::publishing::storage::Storage;
use aimass_trust::{
    METADATA_BYTES_MAX, MarketBounds, NameRules, PublicKey, Revocation, Revocations, SigningKey,
    Timestamp,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Desk;
use crate::{MarketError, files};

/// Days for which a root and top-level targets are valid.
const DRAFT_DAYS: u64 = 365;
const NAMES: [&str; 3] = ["root.json", "targets.json", "revocations.json"];

/// The offline roles of a new marketplace.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Who signs roots.
    pub root: RoleKeys,
    /// Who signs the marketplace's targets: delegations and revocations.
    pub targets: RoleKeys,
    /// Who reviews; its threshold is the number of reviews that a release needs.
    pub review: RoleKeys,
    /// Names that are protected from lookalikes.
    pub rules: NameRules,
}

/// A publisher as it shall be delegated to.
#[derive(Clone, Debug)]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its keys, and how many of them a release needs.
    pub keys: RoleKeys,
    /// The most that its packages may ask for.
    pub bounds: MarketBounds,
}

/// How far a draft is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftStatus {
    /// The file that key holders sign.
    pub file: PathBuf,
    /// `root` or `targets`.
    pub role: &'static str,
    /// Its version.
    pub version: u64,
    /// Keys of the role whose signature is there; whether it holds is checked when it is published.
    pub signed: Vec<PublicKey>,
    /// Keys of the role.
    pub keys: Vec<PublicKey>,
    /// How many must sign.
    pub threshold: u64,
    /// Of a root: signatures by keys of the published root that are still missing.
    pub missing_of_previous: u64,
}

impl DraftStatus {
    /// Whether enough keys have signed.
    pub fn complete(&self) -> bool {
        self.signed.len() as u64 >= self.threshold && self.missing_of_previous == 0
    }
}

/// Adds `key`'s signature to the draft in `file`; returns what kind of file it is, and its version.
///
/// # Errors
/// [`MarketError::File`]; [`MarketError::Refused`] if it is no metadata.
pub fn sign_draft(file: &Path, key: &SigningKey) -> Result<(String, u64), MarketError> {
    let text = files::read(file, METADATA_BYTES_MAX)?.ok_or_else(|| {
        let remedy = "`aimass market status` lists the drafts";
        MarketError::wrong(file.display().to_string(), "a draft", "no file", remedy)
    })?;
    let signed = sign_metadata(&text, &[key])?;
    files::write(file, &signed)?;
    let value: Value = serde_json::from_slice(&signed).unwrap_or_default();
    let kind = value["signed"]["_type"].as_str().unwrap_or("metadata").to_owned();
    Ok((kind, value["signed"]["version"].as_u64().unwrap_or(0)))
}

impl Desk {
    /// The drafts that wait for signatures or for being published.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Refused`] for a draft that is damaged.
    pub fn drafts(&self) -> Result<Vec<DraftStatus>, MarketError> {
        let (draft, published) = (self.draft("root.json")?, self.root(false)?);
        let mut all = Vec::new();
        if let Some(text) = &draft {
            let (version, content) = read_root(text)?;
            let mut status = self.status("root", version, content.root, text);
            if let Some(published) = &published {
                let old = read_root(published)?.1.root;
                let signed = signers(&old, text).len() as u64;
                status.missing_of_previous = old.threshold.saturating_sub(signed);
            }
            all.push(status);
        }
        if let (Some(text), Some(root)) = (self.draft("targets.json")?, draft.or(published)) {
            let (version, _) = read_targets(&text)?;
            all.push(self.status("targets", version, read_root(&root)?.1.targets, &text));
        }
        Ok(all)
    }

    /// Drafts targets in which a publisher is delegated to, or has other keys or bounds than before.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] for a name that no publisher can have or a threshold that cannot be
    /// reached, [`MarketError::File`].
    pub fn draft_delegation(&self, delegate: Delegate, now: Timestamp) -> Result<(), MarketError> {
        aimass_trust::PackageName::of(&delegate.name, "any")
            .map_err(aimass_trust::TrustError::from)?;
        let (version, mut content) = self.next_targets()?;
        let Delegate { name, keys, bounds } = delegate;
        content.publishers.retain(|one| one.name != name);
        content.publishers.push(PublisherContent { name, keys, bounds });
        self.write_targets(&content, version, now)
    }

    /// Drafts targets without a publisher: its releases are not installed or loaded anymore.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] if the marketplace does not delegate to it, [`MarketError::File`].
    pub fn draft_removal(&self, publisher: &str, now: Timestamp) -> Result<(), MarketError> {
        let (version, mut content) = self.next_targets()?;
        let before = content.publishers.len();
        content.publishers.retain(|one| one.name != publisher);
        if content.publishers.len() == before {
            let remedy = "`aimass market show` lists the publishers";
            return Err(MarketError::wrong(
                publisher,
                "a publisher of this marketplace",
                "none",
                remedy,
            ));
        }
        self.write_targets(&content, version, now)
    }

    /// Drafts targets with one more revocation.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Refused`] above 1 MiB.
    pub fn draft_revocation(&self, entry: Revocation, now: Timestamp) -> Result<(), MarketError> {
        let (version, mut content) = self.next_targets()?;
        let mut list = self.revocations(&content)?;
        list.push(entry);
        let text = list.to_json()?;
        content.revocations = digest_of(&text);
        files::write(&self.draft_file("revocations.json"), &text)?;
        self.write_targets(&content, version, now)
    }

    /// Drafts targets as they are, with a new end of their validity.
    ///
    /// # Errors
    /// [`MarketError::File`].
    pub fn draft_renewal(&self, now: Timestamp) -> Result<(), MarketError> {
        let (version, content) = self.next_targets()?;
        self.write_targets(&content, version, now)
    }

    /// Drafts the next root: `change` gets what the present one says.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] before the first root is published or for a threshold that cannot be
    /// reached, [`MarketError::File`].
    pub fn draft_root(
        &self,
        change: impl FnOnce(&mut RootContent),
        now: Timestamp,
    ) -> Result<(), MarketError> {
        let published = self.root(false)?.ok_or_else(|| {
            let remedy = "finish its ceremony first";
            MarketError::wrong("the root", "a marketplace that was published", "none", remedy)
        })?;
        let (version, _) = read_root(&published)?;
        let base = self.draft("root.json")?.unwrap_or(published);
        let mut content = read_root(&base)?.1;
        change(&mut content);
        let text = draft_root(&content, version + 1, now.plus_days(DRAFT_DAYS))?;
        files::write(&self.draft_file("root.json"), &text)
    }

    /// Drops all drafts.
    ///
    /// # Errors
    /// [`MarketError::File`].
    pub fn drop_drafts(&self) -> Result<(), MarketError> {
        NAMES.iter().try_for_each(|name| files::remove(&self.draft_file(name)))
    }

    /// What the published targets say, and the draft's if there is one.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Wrong`] if there is neither.
    pub fn targets(&self) -> Result<TargetsContent, MarketError> {
        Ok(self.next_targets()?.1)
    }

    /// Every revocation that is published or drafted.
    ///
    /// # Errors
    /// As [`Desk::targets`].
    pub fn revoked(&self) -> Result<Revocations, MarketError> {
        self.revocations(&self.targets()?)
    }

    pub(super) fn draft_first(
        &self,
        roles: &Roles,
        snapshot: PublicKey,
        timestamp: PublicKey,
        now: Timestamp,
    ) -> Result<(), MarketError> {
        let one = |key| RoleKeys { keys: vec![key], threshold: 1 };
        let content = RootContent {
            root: roles.root.clone(),
            targets: roles.targets.clone(),
            snapshot: one(snapshot),
            timestamp: one(timestamp),
            rules: roles.rules.clone(),
        };
        let text = draft_root(&content, 1, now.plus_days(DRAFT_DAYS))?;
        let revocations = Revocations::default().to_json()?;
        let targets = TargetsContent {
            revocations: digest_of(&revocations),
            review: roles.review.clone(),
            publishers: Vec::new(),
        };
        files::write(&self.draft_file("revocations.json"), &revocations)?;
        self.write_targets(&targets, 1, now)?;
        files::write(&self.draft_file("root.json"), &text)
    }

    pub(super) fn draft(&self, name: &str) -> Result<Option<Vec<u8>>, MarketError> {
        files::read(&self.draft_file(name), METADATA_BYTES_MAX)
    }

    fn draft_file(&self, name: &str) -> PathBuf {
        self.dir.join("drafts").join(name)
    }

    fn status(&self, role: &'static str, version: u64, keys: RoleKeys, text: &[u8]) -> DraftStatus {
        DraftStatus {
            file: self.draft_file(&format!("{role}.json")),
            role,
            version,
            signed: signers(&keys, text),
            keys: keys.keys,
            threshold: keys.threshold,
            missing_of_previous: 0,
        }
    }

    /// Version and content of the targets to be drafted.
    fn next_targets(&self) -> Result<(u64, TargetsContent), MarketError> {
        let published = self.current("targets")?;
        let version = match &published {
            Some(text) => read_targets(text)?.0 + 1,
            None => 1,
        };
        let base = self.draft("targets.json")?.or(published).ok_or_else(|| {
            let remedy = "restore the marketplace's folder from a backup";
            MarketError::wrong("targets", "published or drafted targets", "none", remedy)
        })?;
        Ok((version, read_targets(&base)?.1))
    }

    fn write_targets(
        &self,
        content: &TargetsContent,
        version: u64,
        now: Timestamp,
    ) -> Result<(), MarketError> {
        let text = draft_targets(content, version, now.plus_days(DRAFT_DAYS))?;
        files::write(&self.draft_file("targets.json"), &text)
    }

    /// The list that `content` names, drafted or published.
    fn revocations(&self, content: &TargetsContent) -> Result<Revocations, MarketError> {
        let (_, digest) = content.revocations;
        let of_draft = self.draft("revocations.json")?.filter(|text| digest_of(text).1 == digest);
        let text = match of_draft {
            Some(text) => Some(text),
            None => {
                let path = format!("targets/{}.revocations.json", files::hex(&digest));
                self.public().read(&path, METADATA_BYTES_MAX).map_err(self.io())?
            }
        };
        let text = text.ok_or_else(|| {
            let remedy = "restore the marketplace's folder from a backup";
            MarketError::wrong("revocations.json", "the list that the targets name", "none", remedy)
        })?;
        Ok(Revocations::parse(&text)?)
    }
}

pub(super) fn digest_of(text: &[u8]) -> (u64, [u8; 32]) {
    (text.len() as u64, Sha256::digest(text).into())
}

/// Keys of `role` that have a line among the signatures of `text`.
fn signers(role: &RoleKeys, text: &[u8]) -> Vec<PublicKey> {
    let value: Value = serde_json::from_slice(text).unwrap_or_default();
    let lines = value["signatures"].as_array().cloned().unwrap_or_default();
    let signed =
        |key: &&PublicKey| lines.iter().any(|line| line["keyid"] == key_id(**key).as_str());
    role.keys.iter().filter(signed).copied().collect()
}
