//! Metadata about to be signed, made from plain values and read back to be changed.
//!
//! A ceremony is: one drafts a file, every key holder looks at it and adds a signature with
//! [`sign_metadata`], in any order and place, and the marketplace publishes the result once the
//! threshold is reached. A change reads the present file, edits the values, and drafts the next version.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::canonical;
use crate::dsse::{Envelope, HexDigest};
use crate::error::TrustError;
use crate::hex;
use crate::json::{self as strict, Floats};
use crate::keys::{PublicKey, SigningKey};
use crate::names::{PackageName, Version, World};
use crate::refusal::Refusal;
use crate::statement::PluginStatement;
use crate::timestamp::Timestamp;
use crate::tuf::metadata::{
    Custom, Delegation, Delegations, Hashes, MarketBounds, NameRules, REVIEW, ReleaseTarget, Root,
    Target, Targets,
};
use crate::tuf::signed::{KeyText, KeyValueText, Keys, METADATA_BYTES_MAX, Role, Signed};

const SPECIFICATION: &str = "1.0.31";

/// Who may sign a role, and how many must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    /// The keys, each once.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: u64,
}

/// What a root says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootContent {
    /// Who signs roots: offline keys, such as 3 of 5.
    pub root: RoleKeys,
    /// Who signs the top-level targets: offline keys, such as 2 of 3.
    pub targets: RoleKeys,
    /// Who signs snapshots.
    pub snapshot: RoleKeys,
    /// Who signs timestamps.
    pub timestamp: RoleKeys,
    /// Names that are protected.
    pub rules: NameRules,
}

/// What the top-level targets say.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetsContent {
    /// Length and SHA-256 of `revocations.json`.
    pub revocations: (u64, [u8; 32]),
    /// Who reviews; the threshold is the number of reviews that a release needs.
    pub review: RoleKeys,
    /// Everyone who publishes.
    pub publishers: Vec<PublisherContent>,
}

/// A publisher, as the marketplace delegates to it.
#[derive(Clone, Debug, PartialEq)]
pub struct PublisherContent {
    /// `[a-z0-9-]{2,40}`; the delegation is for `<name>/*`.
    pub name: String,
    /// Its release keys.
    pub keys: RoleKeys,
    /// The most that its packages may ask for.
    pub bounds: MarketBounds,
}

/// A release, as its publisher lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseContent {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The statement's sequence.
    pub sequence: u64,
    /// The statement's world.
    pub world: World,
    /// Length in bytes of the component.
    pub length: u64,
    /// SHA-256 of the component.
    pub sha256: [u8; 32],
}

impl ReleaseContent {
    /// The target's path, such as `acme/resize-norm@1.4.2.wasm`.
    pub fn path(&self) -> String {
        format!("{}@{}.wasm", self.name, self.version)
    }
}

/// What a publisher lists of a signed plugin.
///
/// # Errors
/// [`TrustError::Sign`] if the component has no manifest, or `dsse` is no statement about a release.
/// Signatures are not checked.
pub fn read_release(wasm: &[u8], dsse: &[u8]) -> Result<ReleaseContent, TrustError> {
    let manifest = crate::sign::read_manifest(wasm)?;
    let statement = PluginStatement::parse(&Envelope::parse(dsse)?.payload)?;
    Ok(ReleaseContent {
        name: manifest.name,
        version: manifest.version,
        sequence: statement.predicate.sequence,
        world: manifest.world,
        length: wasm.len() as u64,
        sha256: Sha256::digest(wasm).into(),
    })
}

/// Drafts a root without signatures.
///
/// # Errors
/// [`TrustError::Release`] for a threshold that its keys cannot reach.
pub fn draft_root(
    content: &RootContent,
    version: u64,
    expires: Timestamp,
) -> Result<Vec<u8>, TrustError> {
    let mut keys = Keys::new();
    let signed = json!({
        "_type": "root",
        "spec_version": SPECIFICATION,
        "version": version,
        "expires": expires,
        "consistent_snapshot": true,
        "roles": {
            "root": role(&content.root, &mut keys)?,
            "targets": role(&content.targets, &mut keys)?,
            "snapshot": role(&content.snapshot, &mut keys)?,
            "timestamp": role(&content.timestamp, &mut keys)?,
        },
        "keys": keys,
        "aimass": content.rules,
    });
    file(&signed)
}

/// Drafts top-level targets without signatures.
///
/// # Errors
/// As [`draft_root`].
pub fn draft_targets(
    content: &TargetsContent,
    version: u64,
    expires: Timestamp,
) -> Result<Vec<u8>, TrustError> {
    let mut keys = Keys::new();
    let review = Delegation {
        name: REVIEW.to_owned(),
        role: role(&content.review, &mut keys)?,
        terminating: true,
        paths: Vec::new(),
        aimass: None,
    };
    let mut roles = vec![review];
    for publisher in &content.publishers {
        roles.push(Delegation {
            name: publisher.name.clone(),
            role: role(&publisher.keys, &mut keys)?,
            terminating: true,
            paths: vec![format!("{}/*", publisher.name)],
            aimass: Some(publisher.bounds.clone()),
        });
    }
    let (length, digest) = content.revocations;
    let target = Target { length, hashes: Hashes { sha256: HexDigest(digest) }, custom: None };
    targets_file(&Targets {
        version,
        expires,
        targets: BTreeMap::from([("revocations.json".to_owned(), target)]),
        delegations: Some(Delegations { keys, roles }),
    })
}

/// Drafts a publisher's targets without signatures.
///
/// # Errors
/// [`TrustError::Release`] above 1 MiB.
pub fn draft_publisher(
    releases: &[ReleaseContent],
    version: u64,
    expires: Timestamp,
) -> Result<Vec<u8>, TrustError> {
    let entry = |one: &ReleaseContent| {
        let aimass = ReleaseTarget { sequence: one.sequence, world: one.world.to_string() };
        let hashes = Hashes { sha256: HexDigest(one.sha256) };
        let custom = Some(Custom { aimass: Some(aimass) });
        (one.path(), Target { length: one.length, hashes, custom })
    };
    let targets = releases.iter().map(entry).collect();
    targets_file(&Targets { version, expires, targets, delegations: None })
}

/// Version and content of a root.
///
/// # Errors
/// [`TrustError::Sign`] if it is none. Signatures are not checked.
pub fn read_root(text: &[u8]) -> Result<(u64, RootContent), TrustError> {
    let root: Root = Signed::parse("root.json", text)?.read()?;
    let of = |role: &Role| keys_of(role, &root.keys);
    let content = RootContent {
        root: of(&root.roles.root),
        targets: of(&root.roles.targets),
        snapshot: of(&root.roles.snapshot),
        timestamp: of(&root.roles.timestamp),
        rules: root.aimass.clone(),
    };
    Ok((root.version, content))
}

/// Version and content of top-level targets.
///
/// # Errors
/// [`TrustError::Sign`] if they are none as [`draft_targets`] makes them.
pub fn read_targets(text: &[u8]) -> Result<(u64, TargetsContent), TrustError> {
    let read: Targets = Signed::parse("targets.json", text)?.read()?;
    let wrong = || TrustError::Sign(Refusal::format("targets of this marketplace", "others"));
    let delegations = read.delegations.ok_or_else(wrong)?;
    let revocations = read.targets.get("revocations.json").ok_or_else(wrong)?;
    let (mut review, mut publishers) = (None, Vec::new());
    for one in delegations.roles {
        let keys = keys_of(&one.role, &delegations.keys);
        if one.name == REVIEW {
            review = Some(keys);
        } else {
            let bounds = one.aimass.unwrap_or_default();
            publishers.push(PublisherContent { name: one.name, keys, bounds });
        }
    }
    let revocations = (revocations.length, revocations.hashes.sha256.0);
    let content = TargetsContent { revocations, review: review.ok_or_else(wrong)?, publishers };
    Ok((read.version, content))
}

/// Version and releases of a publisher's targets.
///
/// # Errors
/// [`TrustError::Sign`] if they are none as [`draft_publisher`] makes them.
pub fn read_publisher(text: &[u8]) -> Result<(u64, Vec<ReleaseContent>), TrustError> {
    let read: Targets = Signed::parse("the publisher's targets", text)?.read()?;
    let release = |(path, target): (&String, &Target)| {
        let (name, version) = path.strip_suffix(".wasm")?.split_once('@')?;
        let listed = target.custom.as_ref()?.aimass.as_ref()?;
        Some(ReleaseContent {
            name: name.parse().ok()?,
            version: version.parse().ok()?,
            sequence: listed.sequence,
            world: listed.world.parse().ok()?,
            length: target.length,
            sha256: target.hashes.sha256.0,
        })
    };
    let releases: Option<Vec<_>> = read.targets.iter().map(release).collect();
    let wrong = || TrustError::Sign(Refusal::format("targets of a publisher", "others"));
    Ok((read.version, releases.ok_or_else(wrong)?))
}

/// `text` with a signature of each of `keys` added; an older one by the same key is replaced.
///
/// # Errors
/// [`TrustError::Sign`] if `text` is no metadata.
pub fn sign_metadata(text: &[u8], keys: &[&SigningKey]) -> Result<Vec<u8>, TrustError> {
    Signed::parse("the file", text)?;
    let mut value: Value = strict::parse(text, Floats::Refused).map_err(not_json)?;
    let message = canonical::encode(&value["signed"]);
    let lines = value["signatures"].as_array_mut();
    let lines = lines.ok_or_else(|| Refusal::format("metadata with signatures", "none"))?;
    for key in keys {
        let id = key_id(key.public());
        lines.retain(|line| line["keyid"] != id.as_str());
        lines.push(json!({ "keyid": id, "sig": hex::encode(&key.sign(&message)) }));
    }
    checked(canonical::encode(&value))
}

/// The id that TUF gives a key: SHA-256 of its canonical JSON.
pub fn key_id(key: PublicKey) -> String {
    let value = json!({
        "keytype": "ed25519",
        "keyval": { "public": hex::encode(&key.to_bytes()) },
        "scheme": "ed25519",
    });
    hex::encode(&Sha256::digest(canonical::encode(&value)))
}

/// The file of `signed`, without signatures.
pub(crate) fn file(signed: &Value) -> Result<Vec<u8>, TrustError> {
    checked(canonical::encode(&json!({ "signatures": [], "signed": signed })))
}

/// The canonical file of `content` as metadata of this type.
pub(crate) fn typed_file(kind: &str, content: &impl Serialize) -> Result<Vec<u8>, TrustError> {
    let mut signed = serde_json::to_value(content).map_err(not_json)?;
    signed["_type"] = Value::from(kind);
    signed["spec_version"] = Value::from(SPECIFICATION);
    file(&signed)
}

fn targets_file(targets: &Targets) -> Result<Vec<u8>, TrustError> {
    typed_file("targets", targets)
}

/// Canonical JSON has no escape for control characters: a text with one would be no JSON.
fn checked(text: Vec<u8>) -> Result<Vec<u8>, TrustError> {
    if let Some(control) = text.iter().find(|byte| **byte < b' ') {
        let got = format!("the character U+{control:04X} in a name or another text");
        return Err(TrustError::Release { expected: "metadata without control characters", got });
    }
    match text.len() <= METADATA_BYTES_MAX {
        true => Ok(text),
        false => {
            let got = format!("{} bytes", text.len());
            Err(TrustError::Release { expected: "metadata of at most 1 MiB", got })
        }
    }
}

fn not_json(error: serde_json::Error) -> TrustError {
    TrustError::Sign(Refusal::format("metadata", error.to_string()))
}

/// The role of these keys, which are added to `keys`.
fn role(role: &RoleKeys, keys: &mut Keys) -> Result<Role, TrustError> {
    let mut keyids: Vec<String> = role.keys.iter().map(|key| key_id(*key)).collect();
    keyids.sort_unstable();
    keyids.dedup();
    if role.threshold == 0 || role.threshold > keyids.len() as u64 {
        let got = format!("{} of {} keys", role.threshold, keyids.len());
        let expected = "a threshold of at least 1 that different keys can reach";
        return Err(TrustError::Release { expected, got });
    }
    for key in &role.keys {
        let text = KeyText {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: KeyValueText { public: hex::encode(&key.to_bytes()) },
        };
        keys.insert(key_id(*key), text);
    }
    Ok(Role { keyids, threshold: role.threshold })
}

fn keys_of(role: &Role, keys: &Keys) -> RoleKeys {
    RoleKeys { keys: role.public_keys(keys), threshold: role.threshold }
}
