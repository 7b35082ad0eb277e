//! What a host knows and remembers of a marketplace, and how it brings that up to date.
//!
//! An operator trusts a marketplace by three things: its first root, a [`LogPolicy`], and the bounds
//! and names that this host allows it ([`MarketPolicy`]). What was verified is a [`Current`]; what must
//! outlive the process is a [`MarketState`], one file to be replaced whole. Releases are checked in
//! [`crate::release`]'s order, each against a [`Current`].

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bundle::{Bundle, MEMBER_PROOF, MEMBER_REVOCATIONS};
use crate::clock::TrustedTime;
use crate::error::TrustError;
use crate::json::{self, Floats};
use crate::log::checkpoint::Checkpoint;
use crate::log::note::Note;
use crate::log::policy::{LogPolicy, Witnessed};
use crate::log::proof::LogProof;
use crate::log::tiles::{TileReader, TileSource};
use crate::log::tree::extends;
use crate::names::{PackageName, Version, matches};
use crate::policy::Tier;
use crate::refusal::{Refusal, RefusalCode, excerpt};
use crate::revocation::Revocations;
use crate::timestamp::Timestamp;
use crate::tuf::metadata::{MarketBounds, Target};
use crate::tuf::signed::METADATA_BYTES_MAX;
use crate::tuf::trusted::{Trusted, Validity};
use crate::tuf::updater::{self, MetadataSource};

/// The default of [`MarketPolicy::metadata_age_seconds_max`]: 7 days.
pub const METADATA_AGE_SECONDS: u64 = 7 * 86_400;

/// Checkpoints that a state holds until a consistency proof joins them.
const CHECKPOINTS_MAX: usize = 16;
const STATE_BYTES_MAX: usize = 8 << 20;
const REVOCATIONS_PATH: &str = "revocations.json";

/// What an operator allows a marketplace on this host.
#[derive(Clone, Debug)]
pub struct MarketPolicy {
    /// The log that releases must be in, and the witnesses that must have seen it.
    pub log: LogPolicy,
    /// Names of packages that may come from it, exact or with one star at the end.
    pub names: Vec<String>,
    /// The most that any of its packages may ask for.
    pub bounds: MarketBounds,
    /// Seconds after its expiry during which metadata still serves offline admissions and what was
    /// admitted before.
    pub metadata_age_seconds_max: u64,
    /// Where its plugins run.
    pub tier: Tier,
}

/// What an update is for; it decides how old metadata may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// New releases from a mirror: nothing may have expired.
    Admission,
    /// New releases from a bundle: timestamp and snapshot may be as old as the policy allows.
    OfflineAdmission,
    /// Releases that were admitted before: everything may be as old as the policy allows.
    Serving,
}

/// What a host remembers of a marketplace. Replace the whole file at once, after every success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketState {
    /// The newest root that was verified; at first, the one that the operator trusts.
    pub root: Vec<u8>,
    /// The last timestamp, so that versions never fall.
    pub timestamp: Option<Vec<u8>>,
    /// The last snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// Checkpoints that were seen, the newest last.
    pub checkpoints: Vec<Checkpoint>,
    /// The latest time that was proved by a cosignature.
    pub floor: Timestamp,
}

/// Verified metadata of a moment, against which releases are checked.
#[derive(Clone, Debug)]
pub struct Current {
    pub(crate) trusted: Trusted,
    pub(crate) revocations: Revocations,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) time: TrustedTime,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StateText {
    format: u32,
    root: String,
    timestamp: Option<String>,
    snapshot: Option<String>,
    checkpoints: Vec<String>,
    floor: Timestamp,
}

impl MarketPolicy {
    /// The policy with the default maximum age.
    pub fn new(log: LogPolicy, names: Vec<String>, bounds: MarketBounds) -> Self {
        let tier = Tier::default();
        MarketPolicy { log, names, bounds, metadata_age_seconds_max: METADATA_AGE_SECONDS, tier }
    }

    /// Whether packages of this name may come from the marketplace.
    pub fn allows(&self, name: &PackageName) -> bool {
        self.names.iter().any(|pattern| matches(pattern, name.as_str()))
    }

    /// Verifies the metadata that `source` has, with that of `publishers`, and the `revocations` that
    /// it names (steps 1 and 2). `cosigned` is a checkpoint of the log, or a proof's, for the clock.
    ///
    /// Returns what holds now, and the state to keep instead of `state`.
    ///
    /// # Errors
    /// `AMT-SIZE`, `AMT-CLOCK`, `AMT-ROOT`, `AMT-THRESHOLD`, `AMT-ROLLBACK`, `AMT-MIX`, `AMT-EXPIRED`,
    /// `AMT-NAME` for an unknown publisher, `AMT-DIGEST` for other revocations, `AMT-REVOKED` without.
    pub fn update(
        &self,
        state: &MarketState,
        source: &mut dyn MetadataSource,
        asked: &Update<'_>,
    ) -> Result<(Current, MarketState), Refusal> {
        let note = asked.cosigned.and_then(|text| Note::parse(text).ok());
        let cosigned = note.and_then(|note| self.log.newest_cosignature(&note));
        let time = TrustedTime::judge(asked.wall, state.floor, cosigned)?;
        let age = self.metadata_age_seconds_max;
        let (grace_seconds, rest_grace_seconds) = match asked.purpose {
            Purpose::Admission => (0, 0),
            Purpose::OfflineAdmission => (age, 0),
            Purpose::Serving => (age, age),
        };
        let validity = Validity { now: time.now, grace_seconds, rest_grace_seconds };
        let (trusted, mut state) = updater::update(state, source, asked.publishers, validity)?;
        let revocations = revocations_of(&trusted, asked.revocations)?;
        state.floor = cosigned.map_or(state.floor, |at| state.floor.max(Timestamp::from_unix(at)));
        let checkpoints = state.checkpoints.clone();
        Ok((Current { trusted, revocations, checkpoints, time }, state))
    }

    /// Verifies the metadata of a bundle for the package `name` (steps 0 to 2).
    ///
    /// # Errors
    /// As [`MarketPolicy::update`], and `AMT-NAME` if `name` breaks the rule.
    pub fn update_from_bundle(
        &self,
        state: &MarketState,
        bundle: &mut Bundle<'_>,
        name: &PackageName,
        wall: SystemTime,
    ) -> Result<(Current, MarketState), Refusal> {
        let proof = bundle.need(MEMBER_PROOF)?;
        let revocations = bundle.need(MEMBER_REVOCATIONS)?;
        let note = std::str::from_utf8(proof).ok().and_then(|text| text.split_once("\n\n"));
        let asked = Update {
            publishers: &[name.publisher()],
            revocations,
            cosigned: note.map(|(_, note)| note),
            purpose: Purpose::OfflineAdmission,
            wall,
        };
        self.update(state, bundle, &asked)
    }

    /// Follows the log from every checkpoint that the state holds to `note`, the log's newest one,
    /// computing and checking the consistency proofs from `tiles`.
    ///
    /// # Errors
    /// `AMT-LOG` for a note or tiles that do not hold, `AMT-ROLLBACK` for a log that is shorter than
    /// before, `AMT-EQUIVOCATION` for one that is not the earlier one continued.
    pub fn follow_log(
        &self,
        state: &MarketState,
        note: &str,
        tiles: &mut dyn TileSource,
    ) -> Result<MarketState, Refusal> {
        let Witnessed { checkpoint: new, .. } = self.log.check(note)?;
        let mut reader = TileReader::new(tiles, new.size);
        let of_log = |one: &&Checkpoint| one.origin == new.origin;
        for old in state.checkpoints.iter().filter(of_log) {
            if old.size > new.size {
                let expected = format!("a log of at least {} entries, as seen before", old.size);
                let remedy = "read the log from another mirror: this one is behind";
                return Err(Refusal::new(
                    RefusalCode::Rollback,
                    expected,
                    new.size.to_string(),
                    remedy,
                ));
            }
            let proof = reader.consistency(old.size)?;
            if !extends((old.size, &old.root), (new.size, &new.root), &proof) {
                return Err(equivocation(old, &new));
            }
        }
        let mut checkpoints: Vec<_> =
            state.checkpoints.iter().filter(|one| !of_log(one)).cloned().collect();
        checkpoints.push(new);
        Ok(MarketState { checkpoints, ..state.clone() })
    }
}

/// What [`MarketPolicy::update`] needs beside a source.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Publishers whose metadata is wanted.
    pub publishers: &'a [&'a str],
    /// The file `revocations.json` of the marketplace.
    pub revocations: &'a [u8],
    /// The newest checkpoint at hand, a signed note.
    pub cosigned: Option<&'a str>,
    /// What the metadata is for.
    pub purpose: Purpose,
    /// The clock of this machine.
    pub wall: SystemTime,
}

impl Current {
    /// The time by which this metadata was judged.
    pub fn time(&self) -> TrustedTime {
        self.time
    }

    /// Whether metadata has expired and serves for the policy's maximum age only: `trust=stale`.
    pub fn stale(&self) -> bool {
        self.trusted.stale()
    }

    /// Releases that `publisher`, whose metadata was taken, lists under `name` of any version.
    ///
    /// # Errors
    /// `AMT-MIX` if the publisher's metadata was not among what the update asked for.
    pub fn releases(&self, name: &PackageName) -> Result<Vec<Listed>, Refusal> {
        let start = format!("{name}@");
        let read = |(path, target): (&String, &Target)| {
            let version = path.strip_prefix(&start)?.strip_suffix(".wasm")?;
            let listed = target.custom.as_ref()?.aimass.as_ref()?;
            Some(Listed {
                version: version.parse().ok()?,
                sequence: listed.sequence,
                bytes: target.length,
                sha256: target.hashes.sha256.0,
            })
        };
        Ok(self.trusted.publisher_targets(name.publisher())?.iter().filter_map(read).collect())
    }

    /// Names of all packages that `publisher`, whose metadata was taken, lists.
    ///
    /// # Errors
    /// As [`Current::releases`].
    pub fn packages(&self, publisher: &str) -> Result<Vec<PackageName>, Refusal> {
        let name = |path: &String| path.split_once('@')?.0.parse().ok();
        let mut names: Vec<PackageName> =
            self.trusted.publisher_targets(publisher)?.keys().filter_map(name).collect();
        names.dedup();
        Ok(names)
    }

    /// Everything that was revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

/// A release that a publisher lists, before anything of it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its version.
    pub version: Version,
    /// Its place in the package's order of releases.
    pub sequence: u64,
    /// Length of the component.
    pub bytes: u64,
    /// SHA-256 of the component.
    pub sha256: [u8; 32],
}

/// What an operator compares with the marketplace's own page before trusting it: SHA-256 of
/// `"AMT-1 market"`, the first root's SHA-256 and the log policy's.
pub fn market_fingerprint(first_root: &[u8], log_policy: &[u8]) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"AMT-1 market");
    let hash = hash.chain_update(Sha256::digest(first_root));
    hash.chain_update(Sha256::digest(log_policy)).finalize().into()
}

impl MarketState {
    /// The state of a host that trusts a marketplace's `root` and has seen nothing of it yet.
    ///
    /// # Errors
    /// `AMT-ROOT` unless the root is signed by its own threshold, `AMT-FORMAT` if it is none.
    pub fn of_root(root: &[u8]) -> Result<Self, Refusal> {
        let now = Timestamp::from_unix(0);
        Trusted::of_root(root, Validity { now, grace_seconds: 0, rest_grace_seconds: 0 })?;
        Ok(MarketState {
            root: root.to_vec(),
            timestamp: None,
            snapshot: None,
            checkpoints: Vec::new(),
            floor: now,
        })
    }

    /// Reads what [`MarketState::to_bytes`] wrote, at most 8 MiB.
    ///
    /// # Errors
    /// `AMT-FORMAT` or `AMT-SIZE` for anything else: a state that is damaged is not started afresh by
    /// itself, since that would forget what must not be rolled back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let wrong = |got: &str| {
            let remedy =
                "restore the file from a backup; only if there is none, add the marketplace again";
            Refusal::new(RefusalCode::Format, "the state of a marketplace", excerpt(got), remedy)
        };
        if bytes.len() > STATE_BYTES_MAX {
            return Err(wrong("more than 8 MiB"));
        }
        let text: StateText =
            json::parse(bytes, Floats::Refused).map_err(|error| wrong(&error.to_string()))?;
        let checkpoints = text.checkpoints.iter().map(|one| Checkpoint::parse(one));
        if text.format != 1 {
            return Err(wrong("another format"));
        }
        Ok(MarketState {
            root: text.root.into_bytes(),
            timestamp: text.timestamp.map(String::into_bytes),
            snapshot: text.snapshot.map(String::into_bytes),
            checkpoints: checkpoints.collect::<Result<_, _>>()?,
            floor: text.floor,
        })
    }

    /// One JSON text with everything.
    ///
    /// # Errors
    /// [`TrustError::Sign`] if a part is no text, which no verified part is.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrustError> {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|error| Refusal::format("metadata that is text", error.to_string()))
        };
        let state = StateText {
            format: 1,
            root: text(&self.root)?,
            timestamp: self.timestamp.as_deref().map(text).transpose()?,
            snapshot: self.snapshot.as_deref().map(text).transpose()?,
            checkpoints: self.checkpoints.iter().map(Checkpoint::to_text).collect(),
            floor: self.floor,
        };
        Ok(serde_json::to_vec(&state)
            .map_err(|error| Refusal::format("a state", error.to_string()))?)
    }

    /// Remembers a checkpoint until [`MarketPolicy::follow_log`] joins it with the others. Beyond 16
    /// none is added: those that were seen first are the ones to be explained.
    pub fn saw(&mut self, checkpoint: &Checkpoint) {
        if !self.checkpoints.contains(checkpoint) && self.checkpoints.len() < CHECKPOINTS_MAX {
            self.checkpoints.push(checkpoint.clone());
        }
    }
}

/// The revocations that the targets name; a marketplace without such a list is not believed.
fn revocations_of(trusted: &Trusted, text: &[u8]) -> Result<Revocations, Refusal> {
    let remedy = "fetch the marketplace's `revocations.json` again";
    let Some(target) = trusted.own_target(REVOCATIONS_PATH)? else {
        let expected = "a list of revocations among the marketplace's targets";
        return Err(Refusal::new(RefusalCode::Revoked, expected, "none", remedy));
    };
    let digest: [u8; 32] = match text.len() <= METADATA_BYTES_MAX {
        true => Sha256::digest(text).into(),
        false => return Revocations::parse(text),
    };
    match target.length == text.len() as u64 && target.hashes.sha256.0 == digest {
        true => Revocations::parse(text),
        false => {
            let expected = "the revocations that the marketplace's targets name";
            Err(Refusal::new(RefusalCode::Digest, expected, "another file", remedy))
        }
    }
}

/// The refusal of two histories of one log.
pub(crate) fn equivocation(old: &Checkpoint, new: &Checkpoint) -> Refusal {
    Refusal::new(
        RefusalCode::Equivocation,
        format!("log {} continued from {} entries", excerpt(&new.origin), old.size),
        format!("a log of {} entries with another beginning", new.size),
        "stop installing from this marketplace; keep both checkpoints and show them to its witnesses",
    )
}

/// Reads a proof's checkpoint, checks it under the policy and against every checkpoint seen.
pub(crate) fn check_checkpoint(
    policy: &LogPolicy,
    seen: &[Checkpoint],
    proof: &LogProof<'_>,
) -> Result<Checkpoint, Refusal> {
    let Witnessed { checkpoint, .. } = policy.check_note(&proof.note)?;
    let same = |one: &&Checkpoint| one.origin == checkpoint.origin && one.size == checkpoint.size;
    match seen.iter().filter(same).find(|one| one.root != checkpoint.root) {
        Some(old) => Err(equivocation(old, &checkpoint)),
        None => Ok(checkpoint),
    }
}
