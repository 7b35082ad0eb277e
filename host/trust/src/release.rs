//! The verification order of AMT-1 for a release of a marketplace, from cheap to costly.
//!
//! | step | check | code |
//! |---|---|---|
//! | 0 | sizes | `AMT-SIZE` |
//! | 1, 2 | clock and metadata, in [`crate::MarketPolicy::update`] | `AMT-CLOCK`, `-ROOT`, … |
//! | 3 | name: rule, operator, lookalikes, delegated path | `AMT-NAME` |
//! | 4 | length and SHA-256 of the file are those of its TUF target | `AMT-DIGEST` |
//! | 5 | component and envelope have their only form | `AMT-FORMAT`, `-UNSIGNED` |
//! | 6 | the signing key is delegated and was not revoked | `AMT-KEY` |
//! | 7 | both of the publisher's signatures | `AMT-SIG` |
//! | 8 | enough reviewers, none of them the publisher | `AMT-REVIEW` |
//! | 9 | statement, manifest and target agree; validity; sequence | `AMT-BIND`, `-DIGEST`, `-EXPIRED`, `-ROLLBACK` |
//! | 10 | logged, cosigned, one history | `AMT-LOG`, `-EQUIVOCATION` |
//! | 11 | not revoked | `AMT-REVOKED` |
//! | 12 | asks within delegation and operator's bounds; imports; no growth | `AMT-CAP` |
//!
//! The first failure stops. The bytes that were checked are handed on inside the [`Admitted`].

use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::bundle::{Bundle, MEMBER_PROOF, MEMBER_STATEMENT, MEMBER_WASM};
use crate::checks::{
    bind, check_binding, check_digest, check_imports, check_sequence, check_size, check_validity,
};
use crate::component::{Parts, SignatureSection};
use crate::dsse::Envelope;
use crate::grants::{Grant, Limits};
use crate::hex;
use crate::keys::PublicKey;
use crate::log::checkpoint::Checkpoint;
use crate::log::leaf;
use crate::log::note::LOG_REMEDY;
use crate::log::proof::LogProof;
use crate::log::tree::{includes, leaf_hash};
use crate::manifest::Manifest;
use crate::market::{Current, MarketPolicy, MarketState, check_checkpoint};
use crate::names::PackageName;
use crate::policy::{Bounds, Publisher, Tier, TrustPolicy};
use crate::refusal::{APPROVE, GET_AGAIN, Refusal, RefusalCode, excerpt};
use crate::revocation::Facts;
use crate::statement::PluginStatement;
use crate::timestamp::Timestamp;
use crate::tuf::metadata::Target;
use crate::verify::VerifiedPackage;

/// The files of a release.
#[derive(Clone, Debug)]
pub struct ReleaseFiles<'a> {
    /// The component; shared with what is admitted, so that what is checked is what gets compiled.
    pub wasm: Arc<[u8]>,
    /// The statement with the signatures of publisher and reviewers.
    pub dsse: &'a [u8],
    /// The proof of being logged.
    pub proof: &'a [u8],
}

/// What the host knows that the release does not.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// The package that was asked for.
    pub name: &'a PackageName,
    /// Greatest sequence that was admitted under this name.
    pub last_sequence: Option<u64>,
    /// The manifest of the release that runs now; what asks for more than it does is held.
    pub running: Option<&'a Manifest>,
    /// Whether the operator approved that it asks for more.
    pub approved: bool,
    /// For a release that was admitted before, and is checked whole again: when. Its validity is
    /// judged at that moment, since expiry ends admission and not serving.
    pub admitted_at: Option<Timestamp>,
}

/// A release that passed every step.
#[derive(Clone, Debug)]
pub struct Admitted {
    package: VerifiedPackage,
    path: String,
    keys: Vec<PublicKey>,
    dependencies: Vec<[u8; 32]>,
    log_index: u64,
    checkpoint: Checkpoint,
}

/// What steps 5 to 8 found.
struct Signed<'a> {
    parts: Parts<'a>,
    envelope: Envelope,
    keys: Vec<PublicKey>,
}

impl MarketPolicy {
    /// Checks a bundle for admission, all steps, and returns the state to keep instead of `state`.
    ///
    /// # Errors
    /// A [`Refusal`] whose code names the first step that failed.
    pub fn verify_bundle(
        &self,
        state: &MarketState,
        bundle: &[u8],
        admission: &Admission<'_>,
        wall: SystemTime,
    ) -> Result<(Admitted, MarketState), Refusal> {
        let mut bundle = Bundle::parse(bundle)?;
        let files = ReleaseFiles {
            wasm: bundle.need(MEMBER_WASM)?.into(),
            dsse: bundle.need(MEMBER_STATEMENT)?,
            proof: bundle.need(MEMBER_PROOF)?,
        };
        let (current, mut state) =
            self.update_from_bundle(state, &mut bundle, admission.name, wall)?;
        let digest = bundle.digest(MEMBER_WASM);
        let admitted = self.admit(&current, files, digest, admission)?;
        state.saw(admitted.checkpoint());
        Ok((admitted, state))
    }

    /// Checks a release for admission (steps 0 and 3 to 12).
    ///
    /// # Errors
    /// A [`Refusal`] whose code names the first step that failed.
    pub fn verify_release(
        &self,
        current: &Current,
        files: ReleaseFiles<'_>,
        admission: &Admission<'_>,
    ) -> Result<Admitted, Refusal> {
        self.admit(current, files, None, admission)
    }

    /// As [`MarketPolicy::verify_release`], with the component's digest if it was computed already.
    fn admit(
        &self,
        current: &Current,
        files: ReleaseFiles<'_>,
        digest: Option<[u8; 32]>,
        admission: &Admission<'_>,
    ) -> Result<Admitted, Refusal> {
        let ReleaseFiles { wasm, dsse, proof } = files;
        check_size(&wasm)?;
        let name = admission.name;
        let digest = digest.unwrap_or_else(|| Sha256::digest(&wasm).into());
        self.check_name(current, name)?;
        let (path, target) = current.trusted.find_target(name, &digest, wasm.len() as u64)?;
        current.trusted.check_path(name, path)?;
        let publisher = publisher_of(current, name)?;
        let log = LogProof::parse(proof);
        // An index that is not the true one fails in step 10.
        let index = log.as_ref().map_or(0, |log| log.index);
        let signed = check_signatures(current, &publisher, &wasm, dsse, index)?;
        let statement = PluginStatement::parse(&signed.envelope.payload)?;
        let manifest = Manifest::parse(signed.parts.manifest)?;
        check_digest(&statement, digest)?;
        check_binding(&statement, &manifest, signed.parts.manifest)?;
        check_target(&statement, path, target)?;
        let at = admission.admitted_at.unwrap_or(current.time.now);
        check_validity(&publisher, &statement, at)?;
        check_sequence(name, statement.predicate.sequence, admission.last_sequence)?;
        let log = log?;
        let checkpoint = check_checkpoint(&self.log, &current.checkpoints, &log)?;
        check_logged(&signed.envelope, &log, &checkpoint)?;
        let dependencies: Vec<_> =
            statement.predicate.dependencies.iter().map(|one| one.sha256.0).collect();
        let admitted = Admitted {
            path: path.to_owned(),
            keys: signed.keys,
            log_index: log.index,
            checkpoint,
            dependencies,
            package: VerifiedPackage {
                digest,
                name: name.clone(),
                limits: Limits::default(),
                sequence: statement.predicate.sequence,
                expires: statement.predicate.expires,
                local: false,
                tier: self.tier,
                manifest: Arc::new(manifest),
                component: Arc::from(&[][..]),
            },
        };
        admitted.check_revoked(current)?;
        let limits = self.check_asked(&publisher, admitted.package.manifest())?;
        let imports = signed.parts.imports.iter().copied();
        check_imports(admitted.package.capabilities(), imports)?;
        if let Some(running) = admission.running.filter(|_| !admission.approved) {
            check_growth(running, admitted.package.manifest())?;
        }
        let package = VerifiedPackage { limits, component: wasm, ..admitted.package };
        Ok(Admitted { package, ..admitted })
    }

    /// Checks a release that was admitted before, with the bytes at hand now (steps 3, 4, 6, 8, 11
    /// and 12). Signatures are not computed again: they cover `wasm`'s digest, which is compared.
    ///
    /// # Errors
    /// `AMT-DIGEST` for other bytes or a release that its publisher withdrew, `AMT-NAME`, `AMT-KEY`
    /// if the key that signed is not delegated anymore, `AMT-REVIEW` if too few of the reviewers that
    /// signed still count, `AMT-REVOKED`, `AMT-CAP`.
    pub fn verify_reload(
        &self,
        current: &Current,
        admitted: &Admitted,
        wasm: &[u8],
    ) -> Result<VerifiedPackage, Refusal> {
        let package = &admitted.package;
        let digest: [u8; 32] = Sha256::digest(wasm).into();
        if digest != package.digest {
            return Err(Refusal::new(
                RefusalCode::Digest,
                format!("the admitted file {}", hex::encode(&package.digest)),
                hex::encode(&digest),
                "install the release again: the stored file was changed or is damaged",
            ));
        }
        self.check_name(current, &package.name)?;
        current.trusted.find_target(&package.name, &digest, wasm.len() as u64)?;
        current.trusted.check_path(&package.name, &admitted.path)?;
        let publisher = publisher_of(current, &package.name)?;
        if !admitted.keys.first().is_some_and(|key| publisher.keys.contains(key)) {
            return Err(not_delegated("a key that is not delegated anymore"));
        }
        let (reviewers, required) = reviewers_that_count(current, &publisher, admitted.log_index)?;
        let signed = admitted.keys.iter().skip(1).filter(|key| reviewers.contains(key));
        check_enough(signed.count(), required)?;
        admitted.check_revoked(current)?;
        let limits = self.check_asked(&publisher, package.manifest())?;
        Ok(VerifiedPackage { limits, tier: self.tier, ..package.clone() })
    }

    /// Checks what a publisher submits, before anybody reviewed or logged it: steps 0, 3 to 7, 9 and
    /// 12, against metadata in which the publisher lists it already.
    ///
    /// # Errors
    /// A [`Refusal`] whose code names the first step that failed.
    pub fn verify_submission(
        &self,
        current: &Current,
        wasm: &[u8],
        dsse: &[u8],
        admission: &Admission<'_>,
    ) -> Result<Manifest, Refusal> {
        check_size(wasm)?;
        let name = admission.name;
        let digest: [u8; 32] = Sha256::digest(wasm).into();
        self.check_name(current, name)?;
        let (path, target) = current.trusted.find_target(name, &digest, wasm.len() as u64)?;
        current.trusted.check_path(name, path)?;
        let publisher = publisher_of(current, name)?;
        let (parts, envelope, _) = check_publisher(current, &publisher, wasm, dsse, u64::MAX)?;
        let statement = PluginStatement::parse(&envelope.payload)?;
        let manifest = Manifest::parse(parts.manifest)?;
        check_digest(&statement, digest)?;
        check_binding(&statement, &manifest, parts.manifest)?;
        check_target(&statement, path, target)?;
        check_validity(&publisher, &statement, current.time.now)?;
        check_sequence(name, statement.predicate.sequence, admission.last_sequence)?;
        self.check_asked(&publisher, &manifest)?;
        check_imports(&manifest.capabilities, parts.imports.iter().copied())?;
        Ok(manifest)
    }

    fn check_name(&self, current: &Current, name: &PackageName) -> Result<(), Refusal> {
        if !self.allows(name) {
            let expected = format!("a name among {:?}", self.names);
            let remedy = "allow the name to this marketplace in trust.toml if it may come from it";
            return Err(Refusal::new(RefusalCode::Name, expected, name.as_str(), remedy));
        }
        current.trusted.name_rules().check(name)
    }

    /// Checks what the manifest asks for against delegation and operator; the amounts that hold.
    fn check_asked(&self, publisher: &Publisher, manifest: &Manifest) -> Result<Limits, Refusal> {
        let bounds = &self.bounds;
        let operator = Publisher {
            models: bounds.models.clone(),
            bounds: Bounds { capabilities: bounds.capabilities.clone(), limits: bounds.limits },
            ..publisher.clone()
        };
        let of =
            |bounds: &Bounds| TrustPolicy { operator: bounds.clone(), ..TrustPolicy::default() };
        // Twice, since each side has its own list of models.
        let limits = of(&operator.bounds).check_asked(publisher, manifest)?;
        of(&publisher.bounds).check_asked(&operator, manifest)?;
        Ok(limits)
    }
}

impl Current {
    /// Keys of the marketplace's reviewers whose signature on `dsse` holds, and how many are needed.
    /// What the statement says is not looked at.
    ///
    /// # Errors
    /// `AMT-FORMAT` if `dsse` is no envelope, `AMT-SIG` for a reviewer's signature that does not hold.
    pub fn reviews(&self, dsse: &[u8]) -> Result<(Vec<PublicKey>, u64), Refusal> {
        let envelope = Envelope::parse(dsse)?;
        let reviewers = self.trusted.reviewers()?;
        let mut signed = Vec::new();
        for key in reviewers.keys.iter().filter(|key| envelope.names(**key)) {
            envelope.check(*key)?;
            signed.push(*key);
        }
        Ok((signed, reviewers.required))
    }
}

impl Admitted {
    /// The package, to be loaded.
    pub fn package(&self) -> &VerifiedPackage {
        &self.package
    }

    /// Place of the release in the log.
    pub fn log_index(&self) -> u64 {
        self.log_index
    }

    /// The checkpoint that its proof leads to; remember it with [`crate::MarketState::saw`].
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The publisher's key, then those of the reviewers that signed.
    pub fn signers(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Checks the release against the revocations of now (step 11); cheap, and worth doing for every
    /// running release after every update.
    ///
    /// # Errors
    /// `AMT-REVOKED`.
    pub fn check_revoked(&self, current: &Current) -> Result<(), Refusal> {
        let mut files = vec![self.package.digest];
        files.extend_from_slice(&self.dependencies);
        current.revocations.check(&Facts {
            files: &files,
            keys: self.keys.get(..1).unwrap_or_default(),
            name: &self.package.name,
            version: self.package.version(),
            log_index: self.log_index,
        })
    }
}

fn publisher_of(current: &Current, name: &PackageName) -> Result<Publisher, Refusal> {
    let (delegation, _) = current.trusted.delegation(name.publisher())?;
    let bounds = delegation.aimass.clone().unwrap_or_default();
    Ok(Publisher {
        name: name.publisher().to_owned(),
        keys: current.trusted.publisher_keys(name.publisher())?.to_vec(),
        names: vec![name.as_str().to_owned()],
        models: bounds.models,
        bounds: Bounds { capabilities: bounds.capabilities, limits: bounds.limits },
        expires: None,
        loopback_only: false,
        tier: Tier::default(),
    })
}

/// Steps 5 to 8.
fn check_signatures<'a>(
    current: &Current,
    publisher: &Publisher,
    wasm: &'a [u8],
    dsse: &[u8],
    index: u64,
) -> Result<Signed<'a>, Refusal> {
    let (parts, envelope, key) = check_publisher(current, publisher, wasm, dsse, index)?;
    let mut keys = vec![key];
    keys.extend(check_reviews(current, publisher, &envelope, index)?);
    Ok(Signed { parts, envelope, keys })
}

/// Steps 5 to 7; the publisher's key that signed both.
fn check_publisher<'a>(
    current: &Current,
    publisher: &Publisher,
    wasm: &'a [u8],
    dsse: &[u8],
    index: u64,
) -> Result<(Parts<'a>, Envelope, PublicKey), Refusal> {
    let parts = Parts::read(wasm)?;
    let unsigned = || {
        let remedy = "sign it with `aimass plugin sign`: there is no unsigned mode";
        Refusal::new(
            RefusalCode::Unsigned,
            "a component with a `signature` section",
            "none",
            remedy,
        )
    };
    let section: &SignatureSection = parts.signature.as_ref().ok_or_else(unsigned)?;
    let envelope = Envelope::parse(dsse)?;
    let own = publisher.keys.iter().find(|key| key.key_id() == section.key_id);
    let key = *own.ok_or_else(|| not_delegated("another key"))?;
    if current.revocations.key_is_revoked(key, index) {
        return Err(not_delegated("a revoked key"));
    }
    section.check(parts.signed, key)?;
    if !envelope.names(key) {
        let expected = "component and statement signed by one key of the publisher";
        return Err(Refusal::new(RefusalCode::Sig, expected, "two different keys", GET_AGAIN));
    }
    envelope.check(key)?;
    Ok((parts, envelope, key))
}

/// Step 8; the reviewers that signed.
fn check_reviews(
    current: &Current,
    publisher: &Publisher,
    envelope: &Envelope,
    index: u64,
) -> Result<Vec<PublicKey>, Refusal> {
    let (reviewers, required) = reviewers_that_count(current, publisher, index)?;
    let mut signed = Vec::new();
    for reviewer in reviewers.into_iter().filter(|key| envelope.names(*key)) {
        envelope.check(reviewer)?;
        signed.push(reviewer);
    }
    check_enough(signed.len(), required)?;
    Ok(signed)
}

/// Reviewers whose signatures count for a release at `index` of the log, and how many are needed.
fn reviewers_that_count(
    current: &Current,
    publisher: &Publisher,
    index: u64,
) -> Result<(Vec<PublicKey>, u64), Refusal> {
    let reviewers = current.trusted.reviewers()?;
    let counts = |key: &PublicKey| {
        !publisher.keys.contains(key) && !current.revocations.key_is_revoked(*key, index)
    };
    Ok((reviewers.keys.iter().copied().filter(counts).collect(), reviewers.required))
}

/// A threshold of 0 in the metadata would be a marketplace without reviews: AMT-1 has none.
fn check_enough(signed: usize, required: u64) -> Result<(), Refusal> {
    match required > 0 && signed as u64 >= required {
        true => Ok(()),
        false => Err(Refusal::new(
            RefusalCode::Review,
            format!("signatures of {} reviewers of the marketplace", required.max(1)),
            signed.to_string(),
            "wait until the marketplace has reviewed the release",
        )),
    }
}

/// Step 9, as far as TUF is concerned: path, sequence and world. The path begins with the name that
/// is asked for, and the statement's name is the manifest's: together they are one.
fn check_target(statement: &PluginStatement, path: &str, target: &Target) -> Result<(), Refusal> {
    let said = &statement.predicate;
    let stated = format!("{}/{}@{}.wasm", said.publisher, said.name, said.version);
    if stated != path {
        return Err(bind(path, &stated));
    }
    let listed = target.custom.as_ref().and_then(|custom| custom.aimass.as_ref());
    match listed {
        Some(listed) if listed.sequence != said.sequence => {
            Err(bind(&format!("sequence {}", listed.sequence), &said.sequence.to_string()))
        }
        Some(listed) if listed.world != said.world.as_str() => {
            Err(bind(&listed.world, said.world.as_str()))
        }
        Some(_) => Ok(()),
        None => Err(bind("a target with sequence and world", "one without")),
    }
}

/// Step 10: the entry is in the tree of the checkpoint.
fn check_logged(
    envelope: &Envelope,
    log: &LogProof<'_>,
    checkpoint: &Checkpoint,
) -> Result<(), Refusal> {
    let leaf = leaf_hash(&leaf::entry(envelope)?);
    match includes(&checkpoint.root, checkpoint.size, log.index, &leaf, &log.path) {
        true => Ok(()),
        false => {
            let expected = "a proof that this statement, with these signatures, is in the log";
            Err(Refusal::new(
                RefusalCode::Log,
                expected,
                "one that does not lead there",
                LOG_REMEDY,
            ))
        }
    }
}

/// Refuses what asks for more than the running release, until the operator approves it.
fn check_growth(running: &Manifest, new: &Manifest) -> Result<(), Refusal> {
    let held = |what: String| {
        Err(Refusal::new(
            RefusalCode::Cap,
            format!("an update that asks for no more than {} does", running.version),
            what,
            APPROVE,
        ))
    };
    for (capability, grant) in new.capabilities.iter() {
        let within = match (running.capabilities.get(capability), grant) {
            (Some(Grant::All(_)), _) => true,
            (Some(Grant::Only(had)), Grant::Only(asked)) => {
                asked.iter().all(|one| had.contains(one))
            }
            (Some(Grant::Only(_)), Grant::All(_)) | (None, _) => false,
        };
        if !within {
            return held(format!("`{capability}`"));
        }
    }
    for ((name, asked), (_, had)) in new.limits.named().into_iter().zip(running.limits.named()) {
        if asked.is_some_and(|asked| had.is_none_or(|had| asked > had)) {
            return held(format!("{name} {}", asked.unwrap_or_default()));
        }
    }
    Ok(())
}

fn not_delegated(got: &str) -> Refusal {
    Refusal::new(
        RefusalCode::Key,
        "a signature by a key that the marketplace delegates to the publisher",
        excerpt(got),
        "get a release that the publisher signed with its present key",
    )
}
