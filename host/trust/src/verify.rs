//! The checks that a package passes before it may be loaded, from cheap to costly; the first that
//! fails stops, and there is no way around any of them.
//!
//! In order: sizes, clock, the name asked for, form of component and envelope, the signing key,
//! signatures, reviewers; then the statement is parsed, and its digest, its agreement with manifest
//! and component, the publisher's names, validity, capabilities and imports are checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::checks::{
    bind, check_binding, check_clock, check_digest, check_files, check_imports, check_name,
    check_name_use, check_sequence, check_size, check_validity,
};
use crate::component::Parts;
use crate::dsse::Envelope;
use crate::grants::{Capabilities, Capability, Grant, Limits};
use crate::keys::PublicKey;
use crate::manifest::Manifest;
use crate::merkle::FileDigest;
use crate::names::{PackageName, Version, matches};
use crate::policy::{Publisher, Tier, TrustPolicy};
use crate::refusal::{GET_AGAIN, Refusal, RefusalCode};
use crate::statement::{ModelStatement, PluginStatement, Predicate};
use crate::timestamp::Timestamp;

/// A plugin that passed every check, with the very bytes that were checked. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct VerifiedPackage {
    pub(crate) component: Arc<[u8]>,
    pub(crate) digest: [u8; 32],
    pub(crate) name: PackageName,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) limits: Limits,
    pub(crate) sequence: u64,
    pub(crate) expires: Timestamp,
    pub(crate) local: bool,
    pub(crate) tier: Tier,
}

/// A model release that passed every check.
#[derive(Clone, Debug)]
pub struct VerifiedModel {
    name: PackageName,
    version: Version,
    files: BTreeMap<String, FileDigest>,
    sequence: u64,
    digest: [u8; 32],
    expires: Timestamp,
    local: bool,
    signer: PublicKey,
    reviewers: Vec<PublicKey>,
}

impl TrustPolicy {
    /// Checks a plugin, taking the bytes so that what was checked is what gets compiled.
    ///
    /// `dsse` is the signed statement; `expected_name` is the `publisher/name` that was asked for.
    ///
    /// # Errors
    /// A [`Refusal`] whose code names the first check that failed.
    pub fn verify_plugin(
        &self,
        wasm: Vec<u8>,
        dsse: &[u8],
        expected_name: Option<&str>,
        now: SystemTime,
    ) -> Result<VerifiedPackage, Refusal> {
        check_size(&wasm)?;
        let now = check_clock(now)?;
        let expected_name = expected_name.map(check_name).transpose()?;
        let parts = Parts::read(&wasm)?;
        let signature = parts.signature.as_ref().ok_or_else(|| {
            let remedy = "sign it with `aimass plugin sign`: there is no unsigned mode";
            Refusal::new(
                RefusalCode::Unsigned,
                "a component with a `signature` section",
                "none",
                remedy,
            )
        })?;
        let envelope = Envelope::parse(dsse)?;
        let (publisher, key) = self.signer(Some(signature.key_id), &envelope)?;
        signature.check(parts.signed, key)?;
        envelope.check(key)?;
        self.check_reviews(&envelope)?;
        let statement = PluginStatement::parse(&envelope.payload)?;
        let digest: [u8; 32] = Sha256::digest(&wasm).into();
        check_digest(&statement, digest)?;
        let manifest = Manifest::parse(parts.manifest)?;
        check_binding(&statement, &manifest, parts.manifest)?;
        check_name_use(
            publisher,
            &manifest.name,
            expected_name.as_ref(),
            &statement.predicate.publisher,
        )?;
        check_validity(publisher, &statement, now)?;
        let limits = self.check_asked(publisher, &manifest)?;
        check_imports(&manifest.capabilities, parts.imports.iter().copied())?;
        Ok(VerifiedPackage {
            digest,
            name: manifest.name.clone(),
            limits,
            sequence: statement.predicate.sequence,
            expires: statement.predicate.expires,
            local: publisher.loopback_only,
            tier: publisher.tier,
            manifest: Arc::new(manifest),
            component: wasm.into(),
        })
    }

    /// Checks a model release against the digests of its files, which the caller has computed with
    /// [`crate::ChunkList`]; with a `.chunks` file at hand the chunks can be checked at first touch.
    ///
    /// # Errors
    /// A [`Refusal`] whose code names the first check that failed.
    pub fn verify_model(
        &self,
        dsse: &[u8],
        files: &BTreeMap<String, FileDigest>,
        expected_name: Option<&str>,
        now: SystemTime,
    ) -> Result<VerifiedModel, Refusal> {
        let now = check_clock(now)?;
        let expected_name = expected_name.map(check_name).transpose()?;
        let envelope = Envelope::parse(dsse)?;
        let (publisher, key) = self.signer(None, &envelope)?;
        envelope.check(key)?;
        let reviewers = self.check_reviews(&envelope)?;
        let statement = ModelStatement::parse(&envelope.payload)?;
        check_files(&statement.subject, files)?;
        let name =
            statement.predicate.name().map_err(|error| bind("a package name", &error.got))?;
        check_name_use(publisher, &name, expected_name.as_ref(), &statement.predicate.publisher)?;
        check_validity(publisher, &statement, now)?;
        Ok(VerifiedModel {
            name,
            version: statement.predicate.version,
            files: files.clone(),
            sequence: statement.predicate.sequence,
            digest: Sha256::digest(&envelope.payload).into(),
            expires: statement.predicate.expires,
            local: publisher.loopback_only,
            signer: key,
            reviewers,
        })
    }

    /// The publisher and the key that signed both the component, if there is one, and the statement.
    fn signer(
        &self,
        key_id: Option<[u8; 12]>,
        envelope: &Envelope,
    ) -> Result<(&Publisher, PublicKey), Refusal> {
        let keys =
            || self.publishers.iter().flat_map(|one| one.keys.iter().map(move |key| (one, *key)));
        let of_statement = keys().find(|(_, key)| envelope.names(*key));
        let of_component = key_id.and_then(|id| keys().find(|(_, key)| key.key_id() == id));
        let both = of_component.filter(|(_, key)| envelope.names(*key));
        if let Some(found) = if key_id.is_some() { both } else { of_statement } {
            return Ok(found);
        }
        if of_component.or(of_statement).is_some() {
            let expected = "component and statement signed by one key of one publisher";
            return Err(Refusal::new(RefusalCode::Sig, expected, "two different keys", GET_AGAIN));
        }
        Err(Refusal::new(
            RefusalCode::Key,
            "a signature by a key of a publisher in trust.toml",
            format!("one by {}", envelope.signers()),
            "if you trust this publisher, compare the key with the publisher's own page and add it to trust.toml",
        ))
    }

    /// The reviewers that signed, each key once.
    fn check_reviews(&self, envelope: &Envelope) -> Result<Vec<PublicKey>, Refusal> {
        let mut signed = Vec::new();
        for reviewer in self.reviewers.iter().filter(|key| envelope.names(**key)) {
            envelope.check(*reviewer)?;
            signed.push(*reviewer);
        }
        match signed.len() >= self.reviews_required {
            true => Ok(signed),
            false => Err(Refusal::new(
                RefusalCode::Review,
                format!("signatures of {} reviewers of trust.toml", self.reviews_required),
                signed.len().to_string(),
                "have it signed with `aimass plugin review` or `aimass model review`, or lower \
                 `required` under [review] in trust.toml",
            )),
        }
    }

    /// Checks what the manifest asks for and returns the amounts that hold for the plugin.
    pub(crate) fn check_asked(
        &self,
        publisher: &Publisher,
        manifest: &Manifest,
    ) -> Result<Limits, Refusal> {
        let refused = |asked: String, may: String| {
            let expected = format!("{} to ask for at most {may}", manifest.name);
            let entry = "in trust.toml, or in the marketplace's delegation";
            Err(Refusal::new(
                RefusalCode::Cap,
                expected,
                asked,
                format!("allow it {entry}, or use a release that asks for less"),
            ))
        };
        let allowed: Capabilities = publisher
            .bounds
            .capabilities
            .iter()
            .copied()
            .filter(|one| self.operator.capabilities.contains(one))
            .collect();
        for (capability, grant) in manifest.capabilities.iter() {
            if !allowed.allows(capability) {
                return refused(format!("`{capability}`"), allowed.to_string());
            }
            let model = |name: &str| publisher.models.iter().any(|pattern| matches(pattern, name));
            let whole = publisher.models.iter().any(|pattern| pattern == "*");
            match (capability, grant) {
                (Capability::Models, Grant::All(_)) if !whole => {
                    return refused(
                        "every model".to_owned(),
                        format!("the models {:?}", publisher.models),
                    );
                }
                (Capability::Models, Grant::Only(names))
                    if !names.iter().all(|name| model(name)) =>
                {
                    return refused(
                        format!("the models {names:?}"),
                        format!("the models {:?}", publisher.models),
                    );
                }
                (_, Grant::All(_) | Grant::Only(_)) => {}
            }
        }
        let most = publisher.bounds.limits.smaller(&self.operator.limits);
        for ((name, asked), (_, most)) in manifest.limits.named().into_iter().zip(most.named()) {
            if let (Some(asked), Some(most)) = (asked, most)
                && asked > most
            {
                return refused(format!("{name} {asked}"), format!("{name} {most}"));
            }
        }
        Ok(manifest.limits.or(&most))
    }
}

impl VerifiedPackage {
    /// `publisher/name`.
    pub fn name(&self) -> &PackageName {
        &self.name
    }

    /// Version of the plugin.
    pub fn version(&self) -> &Version {
        &self.manifest.version
    }

    /// Who signed.
    pub fn publisher(&self) -> &str {
        self.name.publisher()
    }

    /// SHA-256 of the component file.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The component file, byte for byte as it was checked.
    pub fn component(&self) -> &Arc<[u8]> {
        &self.component
    }

    /// The manifest inside the component.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the plugin asked for, all of which the policy allows.
    pub fn capabilities(&self) -> &Capabilities {
        &self.manifest.capabilities
    }

    /// The amounts that hold: those asked for, else the policy's; `None` leaves them to the host.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Number of the release in the package's order of releases.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// From this moment on the release is not admitted anymore.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Where the policy wants it to run.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Whether a key for local use signed it.
    pub fn local(&self) -> bool {
        self.local
    }

    /// Checks import names, as a linker sees them, against the granted capabilities.
    ///
    /// # Errors
    /// `AMT-CAP` naming the first import that was not asked for.
    pub fn check_imports<'a>(
        &self,
        imports: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        check_imports(self.capabilities(), imports)
    }

    /// Checks, at admission, that the release is newer than `last_seen` of the same name.
    ///
    /// # Errors
    /// `AMT-ROLLBACK` if it is not.
    pub fn check_sequence(&self, last_seen: Option<u64>) -> Result<(), Refusal> {
        check_sequence(&self.name, self.sequence, last_seen)
    }
}

impl VerifiedModel {
    /// `publisher/name`.
    pub fn name(&self) -> &PackageName {
        &self.name
    }

    /// Version of the release.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Who signed.
    pub fn publisher(&self) -> &str {
        self.name.publisher()
    }

    /// The publisher's key that signed.
    pub fn signer(&self) -> PublicKey {
        self.signer
    }

    /// Keys of the policy's reviewers that signed, each once.
    pub fn reviewers(&self) -> &[PublicKey] {
        &self.reviewers
    }

    /// SHA-256 of what was signed: the statement's payload, whoever signed it.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Checks, at admission, that the release is newer than `last_seen` of the same name.
    ///
    /// # Errors
    /// `AMT-ROLLBACK` if it is not.
    pub fn check_sequence(&self, last_seen: Option<u64>) -> Result<(), Refusal> {
        check_sequence(&self.name, self.sequence, last_seen)
    }

    /// Every file of the package with its digest.
    pub fn files(&self) -> &BTreeMap<String, FileDigest> {
        &self.files
    }

    /// Number of the release in the package's order of releases.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// From this moment on the release is not admitted anymore.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether a key for local use signed it.
    pub fn local(&self) -> bool {
        self.local
    }
}
