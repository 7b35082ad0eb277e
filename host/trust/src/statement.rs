//! What a publisher signs: in-toto statements about one plugin or one model release.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dsse::{HexDigest, STATEMENT_BYTES_MAX};
use crate::grants::{Capabilities, Limits};
use crate::hex;
use crate::json::{self, Floats};
use crate::names::{NameError, PackageName, Version, World};
use crate::refusal::{GET_AGAIN, Refusal, RefusalCode, excerpt};
use crate::timestamp::Timestamp;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// An in-toto statement (v1) about subjects `S` with predicate `P`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Statement<S, P> {
    /// Always `https://in-toto.io/Statement/v1`.
    #[serde(rename = "_type")]
    pub(crate) statement_type: String,
    /// What the statement is about.
    pub(crate) subject: Vec<S>,
    /// The kind of predicate, such as `urn:aimass:plugin-release:v1`.
    pub(crate) predicate_type: String,
    /// What is said about the subjects.
    pub(crate) predicate: P,
}

/// A plugin release: one component.
pub(crate) type PluginStatement = Statement<PluginSubject, PluginPredicate>;

/// A model release: every file of the package.
pub(crate) type ModelStatement = Statement<ModelSubject, ModelPredicate>;

/// The component that a plugin release is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginSubject {
    /// `publisher/name@version`.
    pub(crate) name: String,
    /// Digest of the file.
    pub(crate) digest: PluginDigest,
}

/// Digest of a whole component file, header and signature section included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginDigest {
    /// SHA-256.
    pub(crate) sha256: HexDigest,
}

/// What a publisher says of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PluginPredicate {
    /// Publisher: the part of the package name before the slash.
    pub(crate) publisher: String,
    /// Name: the part after the slash.
    pub(crate) name: String,
    /// Version of the plugin.
    pub(crate) version: Version,
    /// Counts a package's releases upwards; an older release cannot replace a newer one.
    pub(crate) sequence: u64,
    /// World that the component implements.
    pub(crate) world: World,
    /// Oldest host that can run it.
    pub(crate) min_host: Version,
    /// SHA-256 of the `aimass:manifest` section's payload.
    pub(crate) manifest_sha256: HexDigest,
    /// The manifest's capabilities.
    pub(crate) capabilities: Capabilities,
    /// The manifest's limits.
    pub(crate) limits: Limits,
    /// Other plugins by exact digest.
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    /// Result of a marketplace's review, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) review: Option<Review>,
    /// First moment at which the release may be admitted.
    pub(crate) not_before: Timestamp,
    /// From this moment on the release is not admitted anymore.
    pub(crate) expires: Timestamp,
}

/// A plugin that a plugin depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// `publisher/name`.
    pub name: PackageName,
    /// SHA-256 of the component file.
    pub sha256: HexDigest,
}

/// `publisher/name=SHA256`, the digest in 64 lower-case hexadecimal digits.
impl FromStr for Dependency {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError {
            kind: "dependency",
            expected: "publisher/name=SHA256 of the component file, as `aimass plugin list --json` tells it",
            got: excerpt(text),
        };
        let (name, sha256) = text.split_once('=').ok_or_else(wrong)?;
        let sha256 = hex::decode(sha256).map(HexDigest).ok_or_else(wrong)?;
        Ok(Dependency { name: name.parse()?, sha256 })
    }
}

/// What a review found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Review {
    /// Who reviewed.
    pub(crate) by: String,
    /// By which rules.
    pub(crate) policy: String,
    /// When.
    pub(crate) at: Timestamp,
    /// With which result, such as `pass`.
    pub(crate) result: String,
}

/// A file of a model package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelSubject {
    /// Flat file name.
    pub(crate) name: String,
    /// Digest of the file.
    pub(crate) digest: ModelDigest,
    /// What else is known of the file.
    pub(crate) annotations: ModelAnnotations,
}

/// Digest of a file of a model package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ModelDigest {
    /// Merkle root over chunks of 16 MiB, see [`crate::merkle`].
    pub(crate) merkle_sha256: HexDigest,
}

/// Length of a file of a model package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelAnnotations {
    /// Length in bytes.
    pub(crate) bytes: u64,
}

/// What a publisher says of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ModelPredicate {
    /// Publisher: the part of the package name before the slash.
    pub(crate) publisher: String,
    /// Name: the part after the slash.
    pub(crate) name: String,
    /// Version of the model release.
    pub(crate) version: Version,
    /// Counts a package's releases upwards.
    pub(crate) sequence: u64,
    /// First moment at which the release may be admitted.
    pub(crate) not_before: Timestamp,
    /// From this moment on the release is not admitted anymore.
    pub(crate) expires: Timestamp,
}

/// What both predicates say.
pub(crate) trait Predicate: DeserializeOwned {
    /// The statement's `predicateType`.
    const TYPE: &'static str;
    /// Publisher and name.
    fn name(&self) -> Result<PackageName, NameError>;
    /// The first moment of validity, and the first one after it.
    fn validity(&self) -> (Timestamp, Timestamp);
}

impl Predicate for PluginPredicate {
    const TYPE: &'static str = "urn:aimass:plugin-release:v1";

    fn name(&self) -> Result<PackageName, NameError> {
        PackageName::of(&self.publisher, &self.name)
    }

    fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.expires)
    }
}

impl Predicate for ModelPredicate {
    const TYPE: &'static str = "urn:aimass:model-release:v1";

    fn name(&self) -> Result<PackageName, NameError> {
        PackageName::of(&self.publisher, &self.name)
    }

    fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.expires)
    }
}

impl<S, P: Predicate> Statement<S, P> {
    /// A statement with the types filled in.
    pub(crate) fn new(subject: Vec<S>, predicate: P) -> Self {
        let (statement_type, predicate_type) = (STATEMENT_TYPE.to_owned(), P::TYPE.to_owned());
        Statement { statement_type, subject, predicate_type, predicate }
    }
}

impl<S: DeserializeOwned, P: Predicate> Statement<S, P> {
    /// Reads a payload whose signature holds.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        if payload.len() > STATEMENT_BYTES_MAX {
            let got = format!("{} bytes", payload.len());
            return Err(Refusal::new(
                RefusalCode::Size,
                "a statement of at most 256 KiB",
                got,
                GET_AGAIN,
            ));
        }
        // The kind comes first: a model's statement shown as a plugin's should say so, not name a field.
        let value: serde_json::Value =
            json::parse(payload, Floats::Refused).map_err(|error| wrong::<P>(&error))?;
        let kind = value.get("predicateType").and_then(serde_json::Value::as_str).unwrap_or("none");
        if kind != P::TYPE {
            return Err(Refusal::format(
                format!("a statement with predicate {}", P::TYPE),
                excerpt(kind),
            ));
        }
        let statement: Self = serde_json::from_value(value).map_err(|error| wrong::<P>(&error))?;
        match statement.statement_type == STATEMENT_TYPE {
            true => Ok(statement),
            false => Err(Refusal::format(STATEMENT_TYPE, excerpt(&statement.statement_type))),
        }
    }
}

fn wrong<P: Predicate>(error: &serde_json::Error) -> Refusal {
    Refusal::format(format!("a statement of the form {}", P::TYPE), excerpt(&error.to_string()))
}
