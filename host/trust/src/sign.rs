//! What tools do with a signing key: embed the manifest, sign components, state and sign releases.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::checks::{bind, check_binding, check_digest, check_files};
use crate::component::{
    COMPONENT_BYTES_MAX, HEADER, MANIFEST, Parts, SIGNATURE, SignatureSection, custom_section,
    sections,
};
use crate::dsse::{Envelope, HexDigest};
use crate::error::TrustError;
use crate::keys::{PublicKey, SigningKey};
use crate::manifest::Manifest;
use crate::merkle::FileDigest;
use crate::names::{PackageName, Version, is_file_name};
use crate::refusal::Refusal;
use crate::statement::{
    Dependency, ModelAnnotations, ModelDigest, ModelPredicate, ModelStatement, ModelSubject,
    PluginDigest, PluginPredicate, PluginStatement, PluginSubject, Predicate,
};
use crate::timestamp::Timestamp;

/// What a plugin's manifest does not say about its release.
#[derive(Clone, Debug)]
pub struct PluginRelease {
    /// Greater than that of every earlier release of the same name.
    pub sequence: u64,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// First moment after it.
    pub expires: Timestamp,
    /// Oldest host that can run it.
    pub min_host: Version,
    /// Plugins that it depends on.
    pub dependencies: Vec<Dependency>,
}

/// A model release about to be signed.
#[derive(Clone, Debug)]
pub struct ModelRelease {
    /// `publisher/name`.
    pub name: PackageName,
    /// Version of the release.
    pub version: Version,
    /// Greater than that of every earlier release of the same name.
    pub sequence: u64,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// First moment after it.
    pub expires: Timestamp,
}

/// The two files of a signed plugin.
#[derive(Clone, Debug)]
pub struct SignedPlugin {
    /// Content of `plugin.wasm`.
    pub wasm: Vec<u8>,
    /// Content of `plugin.dsse.json`.
    pub dsse: Vec<u8>,
}

/// `component` with `manifest` as its last section, instead of an older manifest and signature.
///
/// # Errors
/// [`TrustError::Sign`] if `component` is no component or the manifest would be refused.
pub fn embed_manifest(component: &[u8], manifest: &Manifest) -> Result<Vec<u8>, TrustError> {
    let mut embedded = without(component, &[SIGNATURE, MANIFEST])?;
    embedded.extend(custom_section(MANIFEST, &manifest.to_json()?));
    Parts::read(&embedded)?;
    Ok(embedded)
}

/// The manifest of a component, signed or not. Says nothing about who made it.
///
/// # Errors
/// `AMT-FORMAT` if there is none, or one that does not follow the reference.
pub fn read_manifest(component: &[u8]) -> Result<Manifest, Refusal> {
    Manifest::parse(Parts::read(component)?.manifest)
}

/// Names that the component imports, apart from plain types; what must be among its capabilities.
///
/// # Errors
/// `AMT-FORMAT` if `component` is no component.
pub fn read_imports(component: &[u8]) -> Result<Vec<String>, Refusal> {
    Ok(Parts::read(component)?.imports.into_iter().map(str::to_owned).collect())
}

/// Key id of the signature that a component carries, if there is one. Says nothing about whether it
/// holds or who owns the key.
///
/// # Errors
/// `AMT-FORMAT` if `component` is no component with one manifest.
pub fn read_signer(component: &[u8]) -> Result<Option<[u8; 12]>, Refusal> {
    Ok(Parts::read(component)?.signature.map(|signature| signature.key_id))
}

/// `component` with `key`'s `signature` section first, instead of an older one. The form is
/// wasmsign2's, so `wasmsign2 verify` reads it too.
///
/// # Errors
/// [`TrustError::Sign`] if `component` is no component with one manifest, or above 64 MiB.
pub fn sign_component(component: &[u8], key: &SigningKey) -> Result<Vec<u8>, TrustError> {
    let unsigned = without(component, &[SIGNATURE])?;
    let content = &unsigned[HEADER.len()..];
    let signed = [&HEADER[..], &SignatureSection::sign(content, key), content].concat();
    Parts::read(&signed)?;
    match signed.len() <= COMPONENT_BYTES_MAX {
        true => Ok(signed),
        false => Err(TrustError::Release {
            expected: "at most 64 MiB",
            got: format!("{} bytes", signed.len()),
        }),
    }
}

/// A DSSE envelope around `payload` with the signatures of `keys`.
///
/// # Errors
/// [`TrustError::Sign`] without keys, or if the envelope would be above 256 KiB.
pub fn sign_statement(payload: &[u8], keys: &[&SigningKey]) -> Result<Vec<u8>, TrustError> {
    let mut envelope = Envelope::of(payload);
    keys.iter().for_each(|key| envelope.sign(key));
    Ok(envelope.to_json()?)
}

/// `dsse` with `key`'s signature added: how a reviewer countersigns. The payload stays as it is.
///
/// # Errors
/// [`TrustError::Sign`] if `dsse` is no envelope or has 16 signatures already.
pub fn add_signature(dsse: &[u8], key: &SigningKey) -> Result<Vec<u8>, TrustError> {
    let mut envelope = Envelope::parse(dsse)?;
    envelope.sign(key);
    Ok(envelope.to_json()?)
}

/// Whether `other` is the same statement as `kept` with more signatures on it, whether or not they hold.
///
/// # Errors
/// `AMT-FORMAT` and `AMT-UNSIGNED` if one is no envelope with a signature.
pub fn adds_signatures(kept: &[u8], other: &[u8]) -> Result<bool, Refusal> {
    let (kept, other) = (Envelope::parse(kept)?, Envelope::parse(other)?);
    Ok(other.payload == kept.payload && other.signatures.len() > kept.signatures.len())
}

/// What the statement of a release says, for a reviewer who has to decide about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// `publisher/name`.
    pub name: PackageName,
    /// Version of the release.
    pub version: Version,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// First moment after it.
    pub expires: Timestamp,
    /// Keys whose signatures are on it and hold. Says nothing about whose they are.
    pub signers: Vec<PublicKey>,
}

/// What a model's statement says, after it was compared with `files`, which are all of the package.
///
/// # Errors
/// A [`Refusal`]: `AMT-SIG` for a signature that does not hold, `AMT-KEY` for a line that names no
/// key, `AMT-FORMAT`, and `AMT-DIGEST` for a file that is not as stated.
pub fn read_model(dsse: &[u8], files: &BTreeMap<String, FileDigest>) -> Result<Stated, Refusal> {
    let envelope = Envelope::parse(dsse)?;
    let signers = envelope.check_all()?;
    let statement = ModelStatement::parse(&envelope.payload)?;
    check_files(&statement.subject, files)?;
    let said = statement.predicate;
    let name = said.name().map_err(|error| bind("a package name", &error.got))?;
    let (not_before, expires) = (said.not_before, said.expires);
    Ok(Stated { name, version: said.version, not_before, expires, signers })
}

/// What a plugin's statement says, after it was compared with the component.
///
/// # Errors
/// As [`read_model`], and `AMT-BIND` where statement and manifest contradict each other.
pub fn read_plugin(wasm: &[u8], dsse: &[u8]) -> Result<Stated, Refusal> {
    let envelope = Envelope::parse(dsse)?;
    let signers = envelope.check_all()?;
    let statement = PluginStatement::parse(&envelope.payload)?;
    let parts = Parts::read(wasm)?;
    let manifest = Manifest::parse(parts.manifest)?;
    check_digest(&statement, Sha256::digest(wasm).into())?;
    check_binding(&statement, &manifest, parts.manifest)?;
    let (not_before, expires) = statement.predicate.validity();
    Ok(Stated { name: manifest.name, version: manifest.version, not_before, expires, signers })
}

/// Signs `component`, which holds its manifest, and states its release.
///
/// # Errors
/// As [`sign_component`]; [`TrustError::Release`] for a release that is never valid.
pub fn sign_plugin(
    component: &[u8],
    release: &PluginRelease,
    key: &SigningKey,
) -> Result<SignedPlugin, TrustError> {
    check_validity(release.not_before, release.expires)?;
    let wasm = sign_component(component, key)?;
    let parts = Parts::read(&wasm)?;
    let manifest = Manifest::parse(parts.manifest)?;
    let subject = PluginSubject {
        name: format!("{}@{}", manifest.name, manifest.version),
        digest: PluginDigest { sha256: HexDigest(Sha256::digest(&wasm).into()) },
    };
    let statement = PluginStatement::new(
        vec![subject],
        PluginPredicate {
            publisher: manifest.name.publisher().to_owned(),
            name: manifest.name.name().to_owned(),
            version: manifest.version,
            sequence: release.sequence,
            world: manifest.world,
            min_host: release.min_host.clone(),
            manifest_sha256: HexDigest(Sha256::digest(parts.manifest).into()),
            capabilities: manifest.capabilities,
            limits: manifest.limits,
            dependencies: release.dependencies.clone(),
            review: None,
            not_before: release.not_before,
            expires: release.expires,
        },
    );
    let dsse = sign_statement(&json_of(&statement)?, &[key])?;
    Ok(SignedPlugin { wasm, dsse })
}

/// States and signs a model release about `files`, which are all files of the package.
///
/// # Errors
/// [`TrustError::Release`] without files, for a file name that is not flat, or for a release that is
/// never valid; [`TrustError::Sign`] if the statement would be above 256 KiB.
pub fn sign_model(
    release: &ModelRelease,
    files: &BTreeMap<String, FileDigest>,
    key: &SigningKey,
) -> Result<Vec<u8>, TrustError> {
    check_validity(release.not_before, release.expires)?;
    if files.is_empty() {
        return Err(TrustError::Release { expected: "at least one file", got: "none".to_owned() });
    }
    if let Some(wrong) = files.keys().find(|name| !is_file_name(name)) {
        let expected = "flat file names: letters, digits, `.`, `_` and `-`";
        return Err(TrustError::Release { expected, got: crate::refusal::excerpt(wrong) });
    }
    let subject = |(name, file): (&String, &FileDigest)| ModelSubject {
        name: name.clone(),
        digest: ModelDigest { merkle_sha256: HexDigest(file.root) },
        annotations: ModelAnnotations { bytes: file.bytes },
    };
    let statement = ModelStatement::new(
        files.iter().map(subject).collect(),
        ModelPredicate {
            publisher: release.name.publisher().to_owned(),
            name: release.name.name().to_owned(),
            version: release.version.clone(),
            sequence: release.sequence,
            not_before: release.not_before,
            expires: release.expires,
        },
    );
    sign_statement(&json_of(&statement)?, &[key])
}

fn json_of(statement: &impl serde::Serialize) -> Result<Vec<u8>, TrustError> {
    serde_json::to_vec(statement)
        .map_err(|error| TrustError::Release { expected: "a statement", got: error.to_string() })
}

fn check_validity(not_before: Timestamp, expires: Timestamp) -> Result<(), TrustError> {
    match not_before < expires {
        true => Ok(()),
        false => {
            let expected = "`expires` after `not before`";
            Err(TrustError::Release { expected, got: format!("{expires} and {not_before}") })
        }
    }
}

/// `component` without its custom sections of these names.
fn without(component: &[u8], names: &[&str]) -> Result<Vec<u8>, TrustError> {
    let mut kept = HEADER.to_vec();
    for section in sections(component)? {
        let section = section?;
        if !section.custom.is_some_and(|(name, _)| names.contains(&name)) {
            kept.extend_from_slice(section.whole);
        }
    }
    Ok(kept)
}
