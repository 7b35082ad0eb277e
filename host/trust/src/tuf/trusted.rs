//! Metadata that was verified, file by file in the order of the TUF client workflow (TUF 1.0, §5.3 to 5.6).
//!
//! Every delegated file is checked against the delegation of the targets in use at that moment, never
//! against an earlier one. Expiry is checked where a file is taken; a grace is the caller's to give.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::metadata::{
    Delegation, FileVersion, Metadata, NameRules, RESERVED, REVIEW, Root, Snapshot, Target,
    Targets, TimestampFile,
};
use super::signed::{FETCH_AGAIN, Keys, Role, Signed, malformed};
use crate::hex;
use crate::keys::PublicKey;
use crate::names::PackageName;
use crate::refusal::{Refusal, RefusalCode, excerpt};
use crate::timestamp::Timestamp;

/// New roots that one update may bring.
pub const ROOT_ROTATIONS_MAX: u64 = 32;

/// The moment, and how long after its expiry a timestamp or snapshot may still be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    /// The time by which expiry is judged.
    pub(crate) now: Timestamp,
    /// Seconds of grace for timestamp and snapshot.
    pub(crate) grace_seconds: u64,
    /// Seconds of grace for everything else: none but for what was admitted already.
    pub(crate) rest_grace_seconds: u64,
}

/// A marketplace's verified metadata.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    validity: Validity,
    root: Root,
    root_text: Vec<u8>,
    rotations: u64,
    before: Option<(TimestampFile, Option<Snapshot>)>,
    timestamp: Option<TimestampFile>,
    snapshot: Option<Snapshot>,
    targets: Option<Targets>,
    reviewers: Option<Reviewers>,
    publishers: BTreeMap<String, Listed>,
    stale: bool,
}

/// The role `review` of the targets in use. Its keys are read once, when the targets are taken: the
/// strict rule for a key costs more than the whole rest of a reload.
#[derive(Clone, Debug)]
pub(crate) struct Reviewers {
    /// The keys, each once.
    pub(crate) keys: Vec<PublicKey>,
    /// How many of them must have signed.
    pub(crate) required: u64,
}

/// A publisher's targets, and its keys as the delegation has them now.
#[derive(Clone, Debug)]
struct Listed {
    targets: Targets,
    keys: Vec<PublicKey>,
}

impl Trusted {
    /// Starts from a root that the caller trusts already: from its configuration or its state.
    pub(crate) fn of_root(text: &[u8], validity: Validity) -> Result<Self, Refusal> {
        let signed = Signed::parse("root.json", text)?;
        let root: Root = Signed::parse("root.json", text)?.read()?;
        signed.check(&root.keys, &root.roles.root, RefusalCode::Root)?;
        Ok(Trusted {
            validity,
            root,
            root_text: text.to_vec(),
            rotations: 0,
            before: None,
            timestamp: None,
            snapshot: None,
            targets: None,
            reviewers: None,
            publishers: BTreeMap::new(),
            stale: false,
        })
    }

    /// Version of the root in use.
    pub(crate) fn root_version(&self) -> u64 {
        self.root.version
    }

    /// The root file in use, to be kept.
    pub(crate) fn root_text(&self) -> &[u8] {
        &self.root_text
    }

    /// Takes the next root: version n+1, signed by thresholds of the keys of n and of its own.
    pub(crate) fn take_root(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let refused = |expected: String, got: String| {
            Err(Refusal::new(RefusalCode::Root, expected, got, FETCH_AGAIN))
        };
        if self.rotations == ROOT_ROTATIONS_MAX {
            let expected = format!("at most {ROOT_ROTATIONS_MAX} new roots in one update");
            let remedy = "take a newer first root from the marketplace's own page";
            return Err(Refusal::new(RefusalCode::Size, expected, "more", remedy));
        }
        let (signed, root) = (Signed::parse("root.json", text)?, Signed::parse("root.json", text)?);
        signed.check(&self.root.keys, &self.root.roles.root, RefusalCode::Root)?;
        let root: Root = root.read()?;
        if self.root.version.checked_add(1) != Some(root.version) {
            let expected = format!("a root of the version after {}", self.root.version);
            return refused(expected, root.version.to_string());
        }
        signed.check(&root.keys, &root.roles.root, RefusalCode::Root)?;
        (self.root, self.root_text) = (root, text.to_vec());
        self.rotations += 1;
        Ok(())
    }

    /// Ends the update of the root, which must not have expired, and sets what was taken before as
    /// the versions that must not fall. Earlier files whose keys were rotated away are forgotten
    /// (TUF 1.0, §5.3.11).
    pub(crate) fn settle_root(
        &mut self,
        timestamp: Option<&[u8]>,
        snapshot: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let stale =
            self.refuse_expired("root.json", self.root.expires, self.validity.rest_grace_seconds)?;
        self.stale |= stale;
        if !self.root.consistent_snapshot {
            return Err(malformed("root.json", "no consistent snapshots"));
        }
        let keys = &self.root.keys;
        let timestamp = timestamp.and_then(|text| {
            earlier::<TimestampFile>("timestamp.json", text, keys, &self.root.roles.timestamp)
        });
        let snapshot = snapshot.and_then(|text| {
            earlier::<Snapshot>("snapshot.json", text, keys, &self.root.roles.snapshot)
        });
        self.before = timestamp.map(|timestamp| (timestamp, snapshot));
        Ok(())
    }

    /// Takes the timestamp.
    pub(crate) fn take_timestamp(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let new: TimestampFile =
            self.read_top("timestamp.json", text, &self.root.roles.timestamp)?;
        let current = snapshot_of(&new)?;
        if let Some((old, _)) = &self.before {
            refuse_fall("timestamp.json", old.version, new.version)?;
            refuse_fall("snapshot.json", snapshot_of(old)?.version, current.version)?;
        }
        self.stale |=
            self.refuse_expired("timestamp.json", new.expires, self.validity.grace_seconds)?;
        self.timestamp = Some(new);
        Ok(())
    }

    /// Version of the snapshot that the timestamp names.
    pub(crate) fn snapshot_version(&self) -> Result<u64, Refusal> {
        Ok(snapshot_of(self.timestamp.as_ref().ok_or_else(|| missing("timestamp.json"))?)?.version)
    }

    /// Takes the snapshot that the timestamp names.
    pub(crate) fn take_snapshot(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let timestamp = self.timestamp.as_ref().ok_or_else(|| missing("timestamp.json"))?;
        let stated = snapshot_of(timestamp)?;
        stated.check_bytes("snapshot.json", text)?;
        let new: Snapshot = self.read_top("snapshot.json", text, &self.root.roles.snapshot)?;
        stated.check_version("snapshot.json", new.version)?;
        for (name, old) in self.before.iter().flat_map(|(_, old)| old).flat_map(|old| &old.meta) {
            let now = new.meta.get(name).map_or(0, |file| file.version);
            refuse_fall(name, old.version, now)?;
        }
        self.stale |=
            self.refuse_expired("snapshot.json", new.expires, self.validity.grace_seconds)?;
        self.snapshot = Some(new);
        Ok(())
    }

    /// Version of `name`, such as `targets.json`, that the snapshot names.
    pub(crate) fn file_version(&self, name: &str) -> Result<u64, Refusal> {
        Ok(self.stated(name)?.version)
    }

    /// Takes the top-level targets.
    pub(crate) fn take_targets(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let stated = self.stated("targets.json")?;
        stated.check_bytes("targets.json", text)?;
        let new: Targets = self.read_top("targets.json", text, &self.root.roles.targets)?;
        stated.check_version("targets.json", new.version)?;
        self.stale |=
            self.refuse_expired("targets.json", new.expires, self.validity.rest_grace_seconds)?;
        if let Some(path) = new.targets.keys().find(|path| path.contains('/')) {
            let got = format!("`{}`, which belongs to a publisher", excerpt(path));
            let expected = "only the marketplace's own files among the top-level targets";
            return Err(Refusal::new(RefusalCode::Name, expected, got, FETCH_AGAIN));
        }
        self.reviewers = new.delegations.as_ref().and_then(|all| {
            let role = &all.roles.iter().find(|one| one.name == REVIEW)?.role;
            Some(Reviewers { keys: role.public_keys(&all.keys), required: role.threshold })
        });
        self.targets = Some(new);
        self.publishers.clear();
        Ok(())
    }

    /// Takes the targets of `publisher`, checked against its delegation of now.
    pub(crate) fn take_publisher(&mut self, publisher: &str, text: &[u8]) -> Result<(), Refusal> {
        let name = format!("{publisher}.json");
        let stated = self.stated(&name)?;
        stated.check_bytes(&name, text)?;
        let signed = Signed::parse("the publisher's targets", text)?;
        let (delegation, keys) = self.delegation(publisher)?;
        signed.check(keys, &delegation.role, RefusalCode::Threshold)?;
        let keys = delegation.role.public_keys(keys);
        let new: Targets = signed.read()?;
        stated.check_version(&name, new.version)?;
        self.stale |= self.refuse_expired(&name, new.expires, self.validity.rest_grace_seconds)?;
        if new.delegations.is_some() {
            return Err(malformed(&name, "delegations below a publisher"));
        }
        self.publishers.insert(publisher.to_owned(), Listed { targets: new, keys });
        Ok(())
    }

    /// The delegation of a publisher's name, and the keys that its ids stand for.
    ///
    /// # Errors
    /// `AMT-NAME` unless the publisher has one, terminating.
    pub(crate) fn delegation(&self, publisher: &str) -> Result<(&Delegation, &Keys), Refusal> {
        let delegations = self.targets()?.delegations.as_ref();
        let found = delegations.and_then(|all| {
            let mut named = all.roles.iter().filter(|one| one.name == publisher);
            // Two delegations of one name would be two sets of keys for one file.
            Some((named.next()?, &all.keys)).filter(|_| named.next().is_none())
        });
        match found {
            Some((one, keys)) if one.terminating && !RESERVED.contains(&publisher) => {
                Ok((one, keys))
            }
            Some(_) | None => Err(Refusal::new(
                RefusalCode::Name,
                "a publisher to whom this marketplace delegates, once and terminating",
                excerpt(publisher),
                "ask the marketplace to register the publisher, or check the spelling",
            )),
        }
    }

    /// Checks that `path` is delegated to the publisher of `name`, and to nobody before it.
    pub(crate) fn check_path(&self, name: &PackageName, path: &str) -> Result<(), Refusal> {
        let delegations = self.targets()?.delegations.as_ref();
        for one in delegations.iter().flat_map(|all| &all.roles) {
            if one.covers(path)? {
                if one.name == name.publisher() {
                    return Ok(());
                }
                break;
            }
        }
        let expected = format!("a path that is delegated to {} first", name.publisher());
        let remedy = "ask the marketplace to delegate this name to its publisher";
        Err(Refusal::new(RefusalCode::Name, expected, excerpt(path), remedy))
    }

    /// The keys that review releases, and how many must.
    pub(crate) fn reviewers(&self) -> Result<&Reviewers, Refusal> {
        self.reviewers.as_ref().ok_or_else(|| malformed("targets.json", "no role `review`"))
    }

    /// Names that are protected.
    pub(crate) fn name_rules(&self) -> &NameRules {
        &self.root.aimass
    }

    /// Path and entry of the release of `name` that its publisher lists with this digest and length.
    pub(crate) fn find_target(
        &self,
        name: &PackageName,
        digest: &[u8; 32],
        length: u64,
    ) -> Result<(&str, &Target), Refusal> {
        let listed = self.listed(name.publisher())?;
        let start = format!("{name}@");
        let from_name = listed.targets.targets.range(start.clone()..);
        let mut found = from_name
            .take_while(|(path, _)| path.starts_with(&start))
            .filter(|(_, target)| target.hashes.sha256.0 == *digest && target.length == length);
        found.next().map(|(path, target)| (path.as_str(), target)).ok_or_else(|| {
            Refusal::new(
                RefusalCode::Digest,
                format!("a file that {} lists as a release of {name}", name.publisher()),
                hex::encode(digest),
                "get the file again, or newer metadata; the publisher may have withdrawn it",
            )
        })
    }

    /// Every target of a publisher whose targets were taken, by path.
    pub(crate) fn publisher_targets(
        &self,
        publisher: &str,
    ) -> Result<&BTreeMap<String, Target>, Refusal> {
        Ok(&self.listed(publisher)?.targets.targets)
    }

    /// The strict keys of a publisher whose targets were taken.
    pub(crate) fn publisher_keys(&self, publisher: &str) -> Result<&[PublicKey], Refusal> {
        Ok(&self.listed(publisher)?.keys)
    }

    /// A target of the marketplace itself.
    pub(crate) fn own_target(&self, path: &str) -> Result<Option<&Target>, Refusal> {
        Ok(self.targets()?.targets.get(path))
    }

    /// Whether a file in use has expired and is inside its grace.
    pub(crate) fn stale(&self) -> bool {
        self.stale
    }

    fn listed(&self, publisher: &str) -> Result<&Listed, Refusal> {
        self.publishers.get(publisher).ok_or_else(|| missing("the publisher's targets"))
    }

    fn targets(&self) -> Result<&Targets, Refusal> {
        self.targets.as_ref().ok_or_else(|| missing("targets.json"))
    }

    fn stated(&self, name: &str) -> Result<FileVersion, Refusal> {
        let snapshot = self.snapshot.as_ref().ok_or_else(|| missing("snapshot.json"))?;
        snapshot.meta.get(name).cloned().ok_or_else(|| {
            let expected = "a file that the snapshot names";
            Refusal::new(RefusalCode::Mix, expected, excerpt(name), FETCH_AGAIN)
        })
    }

    fn read_top<T: Metadata>(
        &self,
        name: &'static str,
        text: &[u8],
        role: &Role,
    ) -> Result<T, Refusal> {
        let signed = Signed::parse(name, text)?;
        signed.check(&self.root.keys, role, RefusalCode::Threshold)?;
        signed.read()
    }

    /// Whether a file has expired; a refusal once its grace is over, too.
    fn refuse_expired(&self, name: &str, expires: Timestamp, grace: u64) -> Result<bool, Refusal> {
        let now = self.validity.now;
        let end = Timestamp::from_unix(expires.as_unix().saturating_add(grace));
        match (now < expires, now < end) {
            (true, _) => Ok(false),
            (false, true) => Ok(true),
            (false, false) => Err(Refusal::new(
                RefusalCode::Expired,
                format!("{name} that is valid until after {now}"),
                format!("one that ended at {expires}"),
                "fetch newer metadata; if there is none, the marketplace has stopped or a mirror withholds it",
            )),
        }
    }
}

impl FileVersion {
    fn check_bytes(&self, name: &str, text: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some_and(|length| length != text.len() as u64) {
            return Err(mixed(name, &format!("{} bytes", text.len())));
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        match &self.hashes {
            Some(hashes) if hashes.sha256.0 != digest => {
                Err(mixed(name, &format!("SHA-256 {}", hex::encode(&digest))))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_version(&self, name: &str, version: u64) -> Result<(), Refusal> {
        match self.version == version {
            true => Ok(()),
            false => Err(mixed(name, &format!("version {version}"))),
        }
    }
}

/// A file that was taken before, if its keys are still those of its role.
fn earlier<T: Metadata>(name: &'static str, text: &[u8], keys: &Keys, role: &Role) -> Option<T> {
    let signed = Signed::parse(name, text).ok()?;
    signed.check(keys, role, RefusalCode::Threshold).ok()?;
    signed.read().ok()
}

fn snapshot_of(timestamp: &TimestampFile) -> Result<&FileVersion, Refusal> {
    let stated = timestamp.meta.get("snapshot.json");
    stated.ok_or_else(|| malformed("timestamp.json", "no `snapshot.json`"))
}

fn refuse_fall(name: &str, old: u64, new: u64) -> Result<(), Refusal> {
    match new >= old {
        true => Ok(()),
        false => Err(Refusal::new(
            RefusalCode::Rollback,
            format!("{} of version {old} or newer, as seen before", excerpt(name)),
            new.to_string(),
            FETCH_AGAIN,
        )),
    }
}

fn mixed(name: &str, got: &str) -> Refusal {
    let expected = format!("{} as the signed list of current files has it", excerpt(name));
    Refusal::new(RefusalCode::Mix, expected, got, FETCH_AGAIN)
}

fn missing(name: &str) -> Refusal {
    Refusal::new(RefusalCode::Mix, name, "nothing", FETCH_AGAIN)
}
