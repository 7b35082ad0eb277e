//! Admitting releases, and judging again those that were admitted.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aimass_trust::publishing::repository::target_path;
use aimass_trust::{
    Admission, Admitted, Bundle, COMPONENT_BYTES_MAX, Current, Listed, MEMBER_PROOF,
    MEMBER_REVOCATIONS, MEMBER_STATEMENT, MEMBER_WASM, Manifest, MarketState, MetadataSource,
    PROOF_BYTES_MAX, PackageName, Purpose, Refusal, RefusalCode, ReleaseFiles, STATEMENT_BYTES_MAX,
    Subscription, Timestamp, TrustPolicy, Update, VerifiedPackage,
};

use sha2::{Digest, Sha256};

use super::audit::Event;
use super::records::{AdmittedRecord, HeldUpdate};
use super::{MarketHost, Refreshed};
use crate::MarketError;
use crate::mirror;

/// Newer releases of a package that are looked at in one update.
const CANDIDATES_MAX: usize = 8;

/// What the host has of a package already.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Greatest sequence that was ever admitted.
    pub last_sequence: Option<u64>,
    /// The manifest of the newest release that is installed.
    pub running: Option<Manifest>,
}

/// A release that was admitted, with the files that prove it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The release; its package holds the component that was checked.
    pub admitted: Admitted,
    /// The statement.
    pub dsse: Vec<u8>,
    /// The proof of being logged.
    pub proof: Vec<u8>,
    /// Whether the operator approved that it asks for more.
    pub approved: bool,
}

/// A bundle that remembers which metadata was read from it.
struct Recorded<'a, 'b> {
    bundle: &'a mut Bundle<'b>,
    files: BTreeMap<String, Vec<u8>>,
}

/// What a bundle brought that is newer than what the host had: the state, and its files by path.
type Newer = (MarketState, BTreeMap<String, Vec<u8>>);

impl MetadataSource for Recorded<'_, '_> {
    fn metadata(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let found = self.bundle.metadata(path, bytes_max)?;
        if let Some(bytes) = &found {
            self.files.insert(format!("metadata/{path}"), bytes.clone());
        }
        Ok(found)
    }
}

impl MarketHost {
    /// Releases of `name` that the marketplace lists, the newest first.
    ///
    /// # Errors
    /// `AMT-MIX` if `refreshed` has nothing of its publisher.
    pub fn releases(
        &self,
        refreshed: &Refreshed,
        name: &PackageName,
    ) -> Result<Vec<Listed>, MarketError> {
        let mut all = refreshed.current.releases(name)?;
        all.sort_by_key(|one| std::cmp::Reverse(one.sequence));
        Ok(all)
    }

    /// Fetches a listed release from where `refreshed` came from, and checks it (all steps).
    ///
    /// # Errors
    /// The refusal, which the audit log has too; an update that asks for more is also held.
    pub fn admit(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        refreshed: &Refreshed,
        asked: &Asked<'_>,
        now: SystemTime,
    ) -> Result<Evidence, MarketError> {
        let Asked { name, release, .. } = asked;
        let subject = format!("{name}@{}", release.version);
        let judged = self.fetch_and_judge(trust, market, refreshed, asked);
        self.account(market, name, &subject, judged, now)
    }

    fn fetch_and_judge(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        refreshed: &Refreshed,
        asked: &Asked<'_>,
    ) -> Result<Evidence, MarketError> {
        let Asked { name, release, standing, approved } = asked;
        let policy = self.policy_for(trust, market, name)?;
        let mut mirror = mirror::open(&refreshed.location, self.limits)?;
        let path = format!("{name}@{}", release.version);
        let mut need = |path: &str, bytes_max: usize| {
            mirror.fetch(path, bytes_max)?.ok_or_else(|| {
                let remedy = "fetch from another mirror: this one does not have what it lists";
                MarketError::Refused(Refusal::new(RefusalCode::Mix, path, "none", remedy))
            })
        };
        // The length is part of what is verified; asking for more than it would serve an endless mirror.
        let most = usize::try_from(release.bytes).unwrap_or(usize::MAX).min(COMPONENT_BYTES_MAX);
        let wasm = need(&target_path(&format!("{path}.wasm"), &release.sha256), most)?;
        let dsse = need(&format!("releases/{path}.dsse.json"), STATEMENT_BYTES_MAX)?;
        let proof = need(&format!("releases/{path}.tlog-proof"), PROOF_BYTES_MAX)?;
        let admission = Admission {
            name,
            last_sequence: standing.last_sequence,
            running: standing.running.as_ref(),
            approved: *approved,
            admitted_at: None,
        };
        let files = ReleaseFiles { wasm: wasm.into(), dsse: &dsse, proof: &proof };
        let admitted = policy.verify_release(&refreshed.current, files, &admission)?;
        Ok(Evidence { admitted, dsse, proof, approved: *approved })
    }

    /// The newest release of `name` above what is installed that may be admitted: what was revoked, or
    /// asks for more, is passed over, and recorded. `None` if there is nothing newer.
    ///
    /// # Errors
    /// The refusal of the newest one if none is admitted.
    pub fn admit_newest(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        refreshed: &Refreshed,
        (name, standing): (&PackageName, &Standing),
        now: SystemTime,
    ) -> Result<Option<Evidence>, MarketError> {
        let newer = |one: &Listed| standing.last_sequence.is_none_or(|last| one.sequence > last);
        let all = self.releases(refreshed, name);
        let all = self.account(market, name, name.as_str(), all, now)?;
        let mut first = None;
        for release in all.iter().filter(|one| newer(one)).take(CANDIDATES_MAX) {
            let asked = Asked { name, release, standing, approved: false };
            match self.admit(trust, market, refreshed, &asked, now) {
                Ok(evidence) => return Ok(Some(evidence)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// Checks a bundle without a network, all steps, and keeps its metadata.
    ///
    /// # Errors
    /// As [`MarketHost::admit`]. Metadata is kept only if the release is admitted. A refusal of a bundle
    /// that cannot be read is recorded about no package.
    pub fn admit_bundle(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        bytes: &[u8],
        (standing, approved): (&Standing, bool),
        now: SystemTime,
    ) -> Result<Evidence, MarketError> {
        let manifest = match bundle_manifest(bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.decide(Event::Refused, &market.name, "", &error.to_string(), now)?;
                return Err(error);
            }
        };
        let subject = format!("{}@{}", manifest.name, manifest.version);
        let judged = self.judge_bundle(trust, market, bytes, (standing, approved), now);
        let judged = judged.and_then(|(evidence, kept)| {
            if let Some((state, files)) = kept {
                self.keep_bundle(market, &state, files, now)?;
            }
            Ok(evidence)
        });
        self.account(market, &manifest.name, &subject, judged, now)
    }

    /// Checks a bundle as [`MarketHost::admit_bundle`] does, and keeps nothing: for looking at one.
    ///
    /// # Errors
    /// The refusal with the code of the first step that failed.
    pub fn inspect_bundle(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        bytes: &[u8],
        now: SystemTime,
    ) -> Result<Admitted, MarketError> {
        let standing = Standing::default();
        Ok(self.judge_bundle(trust, market, bytes, (&standing, true), now)?.0.admitted)
    }

    fn judge_bundle(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        bytes: &[u8],
        (standing, approved): (&Standing, bool),
        now: SystemTime,
    ) -> Result<(Evidence, Option<Newer>), MarketError> {
        let name = bundle_manifest(bytes)?.name;
        let mut bundle = Bundle::parse(bytes)?;
        let policy = self.policy_for(trust, market, &name)?;
        let (root, _) = self.first_trust(market)?;
        let before = self.state(market, &root)?;
        let member = |name: &str| {
            bundle.get(name).ok_or_else(|| {
                let remedy = "make the bundle again from the marketplace";
                let expected = format!("a bundle with `{name}`");
                Refusal::new(RefusalCode::Format, expected, "one without", remedy)
            })
        };
        let (wasm, dsse) = (member(MEMBER_WASM)?, member(MEMBER_STATEMENT)?);
        let (proof, revocations) = (member(MEMBER_PROOF)?, member(MEMBER_REVOCATIONS)?);
        let note = std::str::from_utf8(proof).ok().and_then(|text| text.split_once("\n\n"));
        let asked = Update {
            publishers: &[name.publisher()],
            revocations,
            cosigned: note.map(|(_, note)| note),
            purpose: Purpose::OfflineAdmission,
            wall: now,
        };
        let mut recorded = Recorded { bundle: &mut bundle, files: BTreeMap::new() };
        let (current, state) = policy.update(&before, &mut recorded, &asked)?;
        let mut recorded = recorded.files;
        let admission = Admission {
            name: &name,
            last_sequence: standing.last_sequence,
            running: standing.running.as_ref(),
            approved,
            admitted_at: None,
        };
        let files = ReleaseFiles { wasm: wasm.into(), dsse, proof };
        let admitted = policy.verify_release(&current, files, &admission)?;
        let digest: [u8; 32] = Sha256::digest(revocations).into();
        recorded.insert(target_path("revocations.json", &digest), revocations.to_vec());
        let kept = (state.timestamp != before.timestamp).then_some((state, recorded));
        let (dsse, proof) = (dsse.to_vec(), proof.to_vec());
        Ok((Evidence { admitted, dsse, proof, approved }, kept))
    }

    /// Keeps the metadata of a bundle, unless it would leave another publisher's packages, of which the
    /// bundle has nothing, without theirs.
    fn keep_bundle(
        &self,
        market: &Subscription,
        state: &MarketState,
        mut recorded: BTreeMap<String, Vec<u8>>,
        now: SystemTime,
    ) -> Result<(), MarketError> {
        let snapshot: serde_json::Value =
            serde_json::from_slice(state.snapshot.as_deref().unwrap_or_default())
                .unwrap_or_default();
        let cache = self.folder(&market.name).join("cache/metadata");
        for record in self.admitted(&market.name)? {
            let publisher = record.name.publisher();
            let version =
                snapshot["signed"]["meta"][format!("{publisher}.json")]["version"].as_u64();
            let Some(version) = version else { continue };
            let file = format!("{version}.{publisher}.json");
            let path = format!("metadata/{file}");
            if recorded.contains_key(&path) {
                continue;
            }
            let known = crate::files::read(&cache.join(&file), aimass_trust::METADATA_BYTES_MAX)?;
            let known = known.ok_or_else(|| {
                let expected = format!("metadata of {publisher} that this bundle's snapshot names");
                let remedy = format!("install a bundle of {} made at the same time", record.name);
                MarketError::wrong(&market.name, expected, "older metadata", remedy)
            })?;
            recorded.insert(path, known);
        }
        let detail = "from a bundle";
        self.keep_cache(&market.name, recorded.into_iter())?;
        self.keep_state(&market.name, state)?;
        self.decide(Event::Refreshed, &market.name, "", detail, now)
    }

    /// Remembers that a release was admitted, once the registry has it.
    ///
    /// # Errors
    /// [`MarketError::File`].
    pub fn remember(
        &self,
        market: &Subscription,
        evidence: &Evidence,
        now: SystemTime,
    ) -> Result<(), MarketError> {
        let package = evidence.admitted.package();
        let record = AdmittedRecord {
            name: package.name().clone(),
            version: package.version().clone(),
            sha256: crate::files::hex(package.digest()),
            admitted_at: Timestamp::from_system(now),
            approved: evidence.approved,
            log_index: evidence.admitted.log_index(),
            proof: String::from_utf8_lossy(&evidence.proof).into_owned(),
        };
        let (root, _) = self.first_trust(market)?;
        let mut state = self.state(market, &root)?;
        state.saw(evidence.admitted.checkpoint());
        self.keep_state(&market.name, &state)?;
        self.keep_record(&market.name, &record)?;
        self.replace_held(&market.name, &record.name, None)?;
        let subject = format!("{}@{}", record.name, record.version);
        let event = if evidence.approved { Event::Approved } else { Event::Admitted };
        let detail = format!("sha256 {}, log index {}", record.sha256, record.log_index);
        self.decide(event, &market.name, &subject, &detail, now)
    }

    /// Checks an installed plugin for being loaded now, by the metadata that is known; `None` if no
    /// marketplace of `trust` admitted it.
    ///
    /// # Errors
    /// The refusal with the code of the first step that failed.
    pub fn verify_load(
        &self,
        trust: &TrustPolicy,
        (digest, wasm, dsse): (&[u8; 32], &[u8], &[u8]),
        now: SystemTime,
    ) -> Option<Result<VerifiedPackage, MarketError>> {
        for market in trust.subscriptions() {
            let record = match self.admitted_as(&market.name, digest) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => return Some(Err(error)),
            };
            let known = self.known(market, Some(record.name.publisher()), now);
            let judged = known
                .and_then(|current| self.judge(trust, market, &current, (&record, wasm, dsse)));
            return Some(judged.map(|admitted| admitted.package().clone()));
        }
        None
    }

    /// Judges an installed release by `current`; everything but its place in the order of releases.
    pub(super) fn judge(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        current: &Current,
        (record, wasm, dsse): (&AdmittedRecord, &[u8], &[u8]),
    ) -> Result<Admitted, MarketError> {
        let policy = self.policy_for(trust, market, &record.name)?;
        let admission = Admission {
            name: &record.name,
            last_sequence: None,
            running: None,
            approved: true,
            admitted_at: Some(record.admitted_at),
        };
        let files = ReleaseFiles { wasm: wasm.into(), dsse, proof: record.proof.as_bytes() };
        Ok(policy.verify_release(current, files, &admission)?)
    }

    /// Records what came of an admission.
    fn account<T>(
        &self,
        market: &Subscription,
        name: &PackageName,
        subject: &str,
        judged: Result<T, MarketError>,
        now: SystemTime,
    ) -> Result<T, MarketError> {
        let error = match judged {
            Ok(judged) => return Ok(judged),
            Err(error) => error,
        };
        let growth = error.refusal().is_some_and(Refusal::waits_for_approval);
        let event = if growth { Event::Held } else { Event::Refused };
        if growth {
            let version = subject.rsplit_once('@').map_or("", |(_, version)| version);
            let since = Timestamp::from_system(now);
            let update =
                HeldUpdate { version: version.to_owned(), reason: error.to_string(), since };
            let known = self.held(&market.name)?;
            let same = known.get(name).is_some_and(|held| held.version == update.version);
            if same {
                return Err(error);
            }
            if known.get(name).is_none_or(|held| !held.version.is_empty()) {
                self.replace_held(&market.name, name, Some(update))?;
            }
        }
        self.decide(event, &market.name, subject, &error.to_string(), now)?;
        Err(error)
    }
}

/// Which release is asked for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The package.
    pub name: &'a PackageName,
    /// What the marketplace lists of it.
    pub release: &'a Listed,
    /// What the host has of it.
    pub standing: &'a Standing,
    /// Whether the operator approves that it asks for more.
    pub approved: bool,
}

/// The manifest of the component in a bundle. Says nothing about who made it.
///
/// # Errors
/// [`MarketError::Refused`] if it is no bundle with a component.
pub fn bundle_manifest(bytes: &[u8]) -> Result<Manifest, MarketError> {
    let bundle = Bundle::parse(bytes)?;
    Ok(aimass_trust::read_manifest(bundle.get(MEMBER_WASM).unwrap_or_default())?)
}
