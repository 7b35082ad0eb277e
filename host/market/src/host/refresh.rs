//! Bringing a marketplace up to date, from the first of its mirrors that holds.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::path::Path;
use std::sync::PoisonError;
use std::time::SystemTime;

use aimass_trust::publishing::drafts::read_targets;
use aimass_trust::publishing::repository::target_path;
use aimass_trust::{
    Current, METADATA_BYTES_MAX, MarketBounds, MarketPolicy, MetadataSource, PROOF_BYTES_MAX,
    PackageName, Purpose, Refusal, RefusalCode, Subscription, Timestamp, TrustPolicy, Update,
};
use serde_json::Value;

use super::MarketHost;
use super::audit::Event;
use crate::mirror::{self, Mirror, Once};
use crate::{MarketError, files};

const CACHE: &str = "cache";
const REVOCATIONS: &str = "revocations.json";
const CHECKPOINT: &str = "log/checkpoint";
const TIMESTAMP: &str = "metadata/timestamp.json";

/// A marketplace as it is now.
#[derive(Debug)]
pub struct Refreshed {
    /// Verified metadata, with that of every publisher of whom something is installed.
    pub current: Current,
    /// The mirror that held.
    pub location: String,
    /// Entries of the log, or 0.
    pub log_size: u64,
    /// Whether it is newer than what was known before.
    pub changed: bool,
}

impl MarketHost {
    /// Fetches and verifies the marketplace's metadata, with that of every publisher of whom something
    /// is installed and of `wanted`; follows its log from what was seen before; keeps the result. Takes
    /// the first location that holds.
    ///
    /// # Errors
    /// What the last location did, or why it was refused, which the audit log has too: where nothing is
    /// `wanted`, once until it changes.
    pub fn refresh(
        &self,
        market: &Subscription,
        wanted: Option<&PackageName>,
        now: SystemTime,
    ) -> Result<Refreshed, MarketError> {
        let mut last = None;
        for location in &market.locations {
            match self.refresh_from(market, location, wanted, now) {
                Ok(refreshed) => {
                    self.fails_anew(market, location, None);
                    if refreshed.changed {
                        let entries = refreshed.log_size;
                        let detail = format!("{location}: log of {entries} entries");
                        self.decide(Event::Refreshed, &market.name, "", &detail, now)?;
                    }
                    return Ok(refreshed);
                }
                Err(error) => {
                    let subject = wanted.map_or("", |name| name.as_str());
                    if self.fails_anew(market, location, Some(&error)) || wanted.is_some() {
                        let detail = error.to_string();
                        let noted =
                            self.decide(Event::Refused, &market.name, subject, &detail, now);
                        noted.inspect_err(|_| {
                            // Then the next look says it.
                            self.fails_anew(market, location, None);
                        })?;
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            let remedy = "name a location in trust.toml";
            MarketError::wrong(&market.name, "a location", "none", remedy)
        }))
    }

    /// Remembers how a location fails, or that it does not; whether it failed otherwise before.
    fn fails_anew(
        &self,
        market: &Subscription,
        location: &str,
        error: Option<&MarketError>,
    ) -> bool {
        let place = (market.name.clone(), location.to_owned());
        let failure = error.map(|error| (error.code(), discriminant(error)));
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match failure {
            Some(failure) => failing.insert(place, failure),
            None => failing.remove(&place),
        };
        before != failure
    }

    fn refresh_from(
        &self,
        market: &Subscription,
        location: &str,
        wanted: Option<&PackageName>,
        now: SystemTime,
    ) -> Result<Refreshed, MarketError> {
        let (root, log) = self.first_trust(market)?;
        let before = self.state(market, &root)?;
        let mut mirror = mirror::open(location, self.limits)?;
        let mut once = Once::new(&mut *mirror, self.limits.files_max);
        let peeked = peek(&mut once).map_err(|refusal| once.explain(refusal))?;
        let revocations = peeked
            .revocations_path
            .map(|path| once.fetch(&path, METADATA_BYTES_MAX))
            .transpose()?;
        let revocations = revocations.flatten().unwrap_or_default();
        let checkpoint = once.fetch(CHECKPOINT, PROOF_BYTES_MAX)?.map(text_of).transpose()?;
        let mut publishers: BTreeSet<String> = self
            .admitted(&market.name)?
            .iter()
            .map(|one| one.name.publisher().to_owned())
            .collect();
        // A publisher whom the marketplace dropped must not keep the others from being updated; what is
        // installed of it is refused where it is checked.
        publishers.retain(|publisher| peeked.publishers.contains(publisher));
        publishers.extend(wanted.map(|name| name.publisher().to_owned()));
        let publishers: Vec<&str> = publishers.iter().map(String::as_str).collect();
        let asked = Update {
            publishers: &publishers,
            revocations: &revocations,
            cosigned: checkpoint.as_deref(),
            purpose: Purpose::Admission,
            wall: now,
        };
        let policy = MarketPolicy::new(log, Vec::new(), MarketBounds::default());
        let updated = policy.update(&before, &mut once, &asked);
        let (current, mut state) = updated.map_err(|refusal| once.explain(refusal))?;
        let mut log_size = 0;
        if let Some(note) = &checkpoint {
            let followed = policy.follow_log(&state, note, &mut once);
            state = followed.map_err(|refusal| once.explain(refusal))?;
            log_size = state.checkpoints.last().map_or(0, |checkpoint| checkpoint.size);
        } else if !before.checkpoints.is_empty() {
            let (expected, remedy) = ("the log that was seen before", "name another mirror");
            return Err(Refusal::new(RefusalCode::Log, expected, "none", remedy).into());
        }
        let changed = state != before;
        if changed {
            self.keep_cache(&market.name, once.into_files())?;
            self.keep_state(&market.name, &state)?;
        }
        Ok(Refreshed { current, location: location.to_owned(), log_size, changed })
    }

    /// The metadata that was verified last, verified again without a network, for `publisher`.
    ///
    /// # Errors
    /// `AMT-EXPIRED` beyond the maximum age, `AMT-NAME` for a publisher whom the marketplace dropped.
    pub fn known(
        &self,
        market: &Subscription,
        publisher: Option<&str>,
        now: SystemTime,
    ) -> Result<Current, MarketError> {
        let (root, log) = self.first_trust(market)?;
        let state = self.state(market, &root)?;
        let cache = self.folder(&market.name).join(CACHE);
        let mut folder = mirror::open(&cache.display().to_string(), self.limits)?;
        let mut once = Once::new(&mut *folder, self.limits.files_max);
        let path = peek(&mut once)?.revocations_path;
        let revocations = path.map(|path| once.fetch(&path, METADATA_BYTES_MAX)).transpose()?;
        let revocations = revocations.flatten().unwrap_or_default();
        let checkpoint = once.fetch(CHECKPOINT, PROOF_BYTES_MAX)?.map(text_of).transpose()?;
        let mut policy = MarketPolicy::new(log, Vec::new(), MarketBounds::default());
        policy.metadata_age_seconds_max = market.metadata_days_max * 86_400;
        let publishers: Vec<&str> = publisher.into_iter().collect();
        let asked = Update {
            publishers: &publishers,
            revocations: &revocations,
            cosigned: checkpoint.as_deref(),
            purpose: Purpose::Serving,
            wall: now,
        };
        Ok(policy.update(&state, &mut once, &asked).map_err(|refusal| once.explain(refusal))?.0)
    }

    /// Replaces the cache by the files that were just verified; the timestamp makes them visible.
    pub(super) fn keep_cache(
        &self,
        market: &str,
        verified: impl Iterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), MarketError> {
        let cache = self.folder(market).join(CACHE);
        let (mut kept, mut timestamp) = (BTreeSet::new(), None);
        for (path, bytes) in verified {
            let is_list = path.starts_with("targets/") && path.ends_with(REVOCATIONS);
            if path == TIMESTAMP {
                timestamp = Some(bytes);
            } else if path.starts_with("metadata/") || is_list || path == CHECKPOINT {
                files::write(&cache.join(&path), &bytes)?;
            } else {
                continue;
            }
            kept.insert(path);
        }
        if let Some(bytes) = timestamp {
            files::write(&cache.join(TIMESTAMP), &bytes)?;
        }
        for folder in ["metadata", "targets"] {
            for name in files::names(&cache.join(folder), usize::MAX)? {
                if !kept.contains(&format!("{folder}/{name}")) {
                    files::remove(&cache.join(folder).join(name))?;
                }
            }
        }
        Ok(())
    }

    /// Whether metadata has expired and serves for a while only: `trust=stale`.
    ///
    /// # Errors
    /// As [`MarketHost::known`].
    pub fn stale(&self, market: &Subscription, now: SystemTime) -> Result<bool, MarketError> {
        Ok(self.known(market, None, now)?.stale())
    }

    /// Whether a package may come from this marketplace at all.
    ///
    /// # Errors
    /// `AMT-NAME` if not.
    pub fn allows(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        name: &PackageName,
    ) -> Result<(), MarketError> {
        self.policy_for(trust, market, name).map(drop)
    }

    /// The policy for a package of this marketplace.
    pub(super) fn policy_for(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        name: &PackageName,
    ) -> Result<MarketPolicy, MarketError> {
        let (_, log) = self.first_trust(market)?;
        Ok(trust.market_policy(market, name, log)?)
    }

    /// When the metadata that is known ends: the timestamp's expiry, as stated in the cache.
    pub fn expires(&self, market: &str) -> Option<Timestamp> {
        let path = self.folder(market).join(CACHE).join(TIMESTAMP);
        let text = files::read(Path::new(&path), METADATA_BYTES_MAX).ok()??;
        let value: Value = serde_json::from_slice(&text).ok()?;
        value["signed"]["expires"].as_str()?.parse().ok()
    }
}

/// What metadata says before it is verified: only to know which files to fetch.
struct Peeked {
    revocations_path: Option<String>,
    publishers: BTreeSet<String>,
}

/// Looks at the same bytes that are verified afterwards.
fn peek(once: &mut Once<'_>) -> Result<Peeked, Refusal> {
    let nothing = Peeked { revocations_path: None, publishers: BTreeSet::new() };
    let mut value = |path: &str| -> Result<Value, Refusal> {
        let text = once.metadata(path, METADATA_BYTES_MAX)?.unwrap_or_default();
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    };
    let timestamp = value("timestamp.json")?;
    let version = |value: &Value, name: &str| value["signed"]["meta"][name]["version"].as_u64();
    let Some(snapshot) = version(&timestamp, "snapshot.json") else { return Ok(nothing) };
    let snapshot = value(&format!("{snapshot}.snapshot.json"))?;
    let Some(targets) = version(&snapshot, "targets.json") else { return Ok(nothing) };
    let listed = |publisher: &str| version(&snapshot, &format!("{publisher}.json")).is_some();
    let text = once.metadata(&format!("{targets}.targets.json"), METADATA_BYTES_MAX)?;
    let Ok((_, content)) = read_targets(&text.unwrap_or_default()) else { return Ok(nothing) };
    let publishers = content.publishers.into_iter().map(|one| one.name);
    Ok(Peeked {
        revocations_path: Some(target_path(REVOCATIONS, &content.revocations.1)),
        publishers: publishers.filter(|name| listed(name)).collect(),
    })
}

fn text_of(bytes: Vec<u8>) -> Result<String, MarketError> {
    String::from_utf8(bytes).map_err(|_| {
        let remedy = "read the log from another mirror";
        Refusal::new(RefusalCode::Log, "a checkpoint", "other bytes", remedy).into()
    })
}
