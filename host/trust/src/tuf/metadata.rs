//! What the four kinds of TUF metadata say, as far as AMT-1 reads it.
//!
//! Unknown fields are kept out: they are covered by the signature, and ignored, as TUF asks.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::signed::{Keys, Role, malformed};
use crate::dsse::HexDigest;
use crate::grants::{Capability, Limits};
use crate::refusal::Refusal;
use crate::timestamp::Timestamp;

/// A kind of TUF metadata.
pub(crate) trait Metadata: DeserializeOwned {
    /// Its `_type`.
    const TYPE: &'static str;
}

/// `root.json`: the keys of all top-level roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Root {
    pub(crate) version: u64,
    pub(crate) expires: Timestamp,
    pub(crate) consistent_snapshot: bool,
    pub(crate) keys: Keys,
    pub(crate) roles: Roles,
    #[serde(default)]
    pub(crate) aimass: NameRules,
}

/// The top-level roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Roles {
    pub(crate) root: Role,
    pub(crate) timestamp: Role,
    pub(crate) snapshot: Role,
    pub(crate) targets: Role,
}

/// Names that others may not come close to, in the root's field `aimass`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRules {
    /// Publishers (`acme`) and packages (`acme/resize-norm`) that are protected.
    #[serde(default)]
    pub protected: Vec<String>,
    /// Publishers and packages that are close to one of these and may be used all the same.
    #[serde(default)]
    pub permitted: Vec<String>,
}

/// `timestamp.json`: the current snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TimestampFile {
    pub(crate) version: u64,
    pub(crate) expires: Timestamp,
    pub(crate) meta: BTreeMap<String, FileVersion>,
}

/// `snapshot.json`: the current version of every other file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) expires: Timestamp,
    pub(crate) meta: BTreeMap<String, FileVersion>,
}

/// Version and, where the marketplace states them, length and digest of a metadata file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileVersion {
    pub(crate) version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hashes: Option<Hashes>,
}

/// SHA-256 of a file; other algorithms may stand beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hashes {
    pub(crate) sha256: HexDigest,
}

/// `targets.json` or `<publisher>.json`: files by path, and whom the marketplace delegates to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Targets {
    pub(crate) version: u64,
    pub(crate) expires: Timestamp,
    pub(crate) targets: BTreeMap<String, Target>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delegations: Option<Delegations>,
}

/// One target file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) length: u64,
    pub(crate) hashes: Hashes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<Custom>,
}

/// TUF's place for what an application knows of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Custom {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aimass: Option<ReleaseTarget>,
}

/// What AMT-1 says of a released file beside its statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseTarget {
    pub(crate) sequence: u64,
    pub(crate) world: String,
}

/// Keys and roles below the top-level targets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delegations {
    pub(crate) keys: Keys,
    pub(crate) roles: Vec<Delegation>,
}

/// One delegation: a publisher's, or the role `review`, which has no paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delegation {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) role: Role,
    pub(crate) terminating: bool,
    #[serde(default)]
    pub(crate) paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aimass: Option<MarketBounds>,
}

/// The most that packages may ask for: of one publisher, in the field `aimass` of its delegation, or
/// of a whole marketplace, in an operator's [`crate::MarketPolicy`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketBounds {
    /// Interfaces that its plugins may import.
    pub capabilities: Vec<Capability>,
    /// Amounts that they may have.
    #[serde(default)]
    pub limits: Limits,
    /// Models that they may call, each exact or with one star at the end.
    #[serde(default)]
    pub models: Vec<String>,
}

/// Names that no publisher can have, since a file of metadata has them.
pub(crate) const RESERVED: [&str; 5] = ["root", "timestamp", "snapshot", "targets", REVIEW];

/// The delegation whose keys review releases; its threshold is the number of reviews required.
pub(crate) const REVIEW: &str = "review";

impl Metadata for Root {
    const TYPE: &'static str = "root";
}

impl Metadata for TimestampFile {
    const TYPE: &'static str = "timestamp";
}

impl Metadata for Snapshot {
    const TYPE: &'static str = "snapshot";
}

impl Metadata for Targets {
    const TYPE: &'static str = "targets";
}

impl Delegation {
    /// Whether the delegation covers `path`. A star stands at the end of a pattern alone and for no
    /// slash; patterns in which other clients might see more are refused.
    ///
    /// # Errors
    /// `AMT-FORMAT` for a pattern with `?`, `[` or an inner star.
    pub(crate) fn covers(&self, path: &str) -> Result<bool, Refusal> {
        let mut covered = false;
        for pattern in &self.paths {
            let start = pattern.strip_suffix('*');
            if start.unwrap_or(pattern).contains(['*', '?', '[']) {
                return Err(malformed("targets.json", &format!("the path pattern {pattern}")));
            }
            covered |= match start.map(|start| path.strip_prefix(start)) {
                Some(rest) => rest.is_some_and(|rest| !rest.contains('/')),
                None => pattern == path,
            };
        }
        Ok(covered)
    }
}
