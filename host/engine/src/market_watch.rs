//! Follows the marketplaces of the trust policy: news, updates, and above all revocations.
//!
//! One thread asks each marketplace every [`EngineConfig::market_poll`](crate::EngineConfig). When its
//! metadata or the policy changed, every installed release is judged again: what is refused now is
//! stopped (no new calls at once, calls under way end after a drain, compiled code is purged), and what
//! was stopped and is good again is loaded. Metadata that cannot be verified stops nothing that runs.

use crate::catalog::CellState;
use crate::engine::{Inner, read_policy};
use crate::errors::of_market;
use crate::{EngineError, Family};
use aimass_market::host::Refreshed;
use aimass_market::host::audit::Event;
use aimass_registry::{Sha256Digest, digest_hex};
use aimass_telemetry::metrics::{Page, catalog};
use aimass_trust::{PackageName, Subscription, TrustPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;

/// How often the thread looks whether the engine is gone, or trust.toml was edited.
const TICK: Duration = Duration::from_millis(100);

/// What was looked at last.
#[derive(Default)]
struct Seen {
    policy: Vec<u8>,
    next_poll: Option<Instant>,
    told: Told,
}

/// What was told of marketplaces, by name, and is not told again while it holds.
#[derive(Default)]
struct Told {
    /// That `trust=stale`.
    stale: BTreeSet<String>,
    /// That this machine's clock is behind.
    behind: BTreeSet<String>,
    /// The code by which it was not refreshed.
    away: BTreeMap<String, String>,
}

/// Whether something is to be told of `market`: it holds, and did not when this was asked last.
fn newly(told: &mut BTreeSet<String>, market: &str, holds: bool) -> bool {
    match holds {
        true => told.insert(market.to_owned()),
        false => {
            told.remove(market);
            false
        }
    }
}

/// Tells that a marketplace was not refreshed, aloud once until the code changes.
fn tell_away(told: &mut Told, market: &str, error: &EngineError) {
    let code = error.code().to_owned();
    if told.away.insert(market.to_owned(), code).as_deref() == Some(error.code()) {
        tracing::debug!(market, %error, "a marketplace was not refreshed again");
    } else {
        tracing::warn!(market, %error, "a marketplace was not refreshed");
    }
}

/// Starts the thread, which ends with the engine. How fresh the metadata on this disk is is known when
/// this returns, so that nobody is told `local` by a host that follows marketplaces.
pub(crate) fn watch_markets(inner: &Arc<Inner>) -> Result<(), EngineError> {
    inner.look_at_own_metadata();
    let (weak, runtime) = (Arc::downgrade(inner), Handle::current());
    let started = std::thread::Builder::new().name("markets".to_owned()).spawn(move || {
        // Restarting loads spawns tasks.
        let _runtime = runtime.enter();
        let mut seen = Seen::default();
        while look(&weak, &mut seen) {
            std::thread::sleep(TICK);
        }
    });
    let failed = |error: std::io::Error| {
        EngineError::new(Family::Unavailable, "thread", format!("the thread of markets: {error}"))
    };
    started.map(drop).map_err(failed)
}

/// One look; whether to go on.
fn look(weak: &Weak<Inner>, seen: &mut Seen) -> bool {
    let Some(inner) = weak.upgrade() else { return false };
    if inner.closing.load(Ordering::Relaxed) {
        return false;
    }
    let text = std::fs::read(&inner.config.trust_policy).unwrap_or_default();
    let edited = text != seen.policy;
    let now = Instant::now();
    if edited || seen.next_poll.is_none_or(|next| now >= next) {
        seen.policy = text;
        inner.follow_markets(edited, &mut seen.told);
        seen.next_poll = Some(Instant::now() + inner.config.market_poll);
    }
    true
}

impl Inner {
    /// Freshness from what was verified before this start; asks nobody.
    fn look_at_own_metadata(&self) {
        // A policy that cannot be read is told by the thread's first look.
        let Ok(trust) = read_policy(&self.config) else { return };
        let now = SystemTime::now();
        let known = trust.subscriptions().iter().map(|market| {
            let fresh = matches!(self.loader.markets.stale(market, now), Ok(false));
            (market.name.clone(), fresh)
        });
        let known: BTreeMap<String, bool> = known.collect();
        *self.freshness.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Asks every marketplace once; judges again what changed, or everything if `edited`.
    fn follow_markets(self: &Arc<Self>, edited: bool, told: &mut Told) {
        let trust = match read_policy(&self.config) {
            Ok(trust) => trust,
            Err(error) => return tracing::error!(%error, "the trust policy cannot be read"),
        };
        let mut freshness = BTreeMap::new();
        for market in trust.subscriptions() {
            let now = SystemTime::now();
            let refreshed = self.loader.markets.refresh(market, None, now);
            let changed = match &refreshed {
                Ok(refreshed) => refreshed.changed,
                Err(error) => {
                    let error = self.counted(of_market(error));
                    tell_away(told, &market.name, &error);
                    false
                }
            };
            if refreshed.is_ok() {
                told.away.remove(&market.name);
            }
            let fresh = matches!(self.loader.markets.stale(market, now), Ok(false));
            if newly(&mut told.stale, &market.name, !fresh) {
                self.tell_stale(&market.name, now);
            }
            if let Ok(refreshed) = &refreshed
                && newly(&mut told.behind, &market.name, refreshed.current.time().clock_is_behind)
            {
                let remedy =
                    "set the clock of this machine: until then the time that was proved counts";
                tracing::warn!(market = %market.name, remedy, "the clock is behind what was proved");
            }
            freshness.insert(market.name.clone(), fresh);
            if (changed || edited)
                && let Err(error) = self.judge_all(&trust, market, now)
            {
                tracing::error!(market = %market.name, %error, "installed releases were not judged");
            }
            if let Ok(refreshed) = &refreshed
                && market.auto_update
                && (changed || edited)
            {
                self.update_all(&trust, market, refreshed, now);
            }
        }
        *self.freshness.lock().unwrap_or_else(PoisonError::into_inner) = freshness;
    }

    /// Judges every release that `market` brought; stops what is refused, and lets go on what is good.
    fn judge_all(
        self: &Arc<Self>,
        trust: &TrustPolicy,
        market: &Subscription,
        now: SystemTime,
    ) -> Result<(), EngineError> {
        let markets = &self.loader.markets;
        // Without valid metadata nothing is judged: see above.
        if markets.known(market, None, now).is_err() {
            return Ok(());
        }
        for record in markets.admitted(&market.name).map_err(|error| of_market(&error))? {
            let Some(digest) = digest_of(&record.sha256) else { continue };
            let Ok(package) = self.loader.registry.read_plugin(&digest) else { continue };
            let files = (&digest, &package.wasm[..], &package.dsse[..]);
            let judged = markets.verify_load(trust, files, now);
            match judged {
                Some(Err(error)) if error.refusal().is_some() => {
                    let subject = format!("{}@{}", record.name, record.version);
                    self.stop(digest, of_market(&error), (&market.name, &subject), now)?;
                }
                Some(Ok(_)) => self.resume(&digest),
                Some(Err(_)) | None => {}
            }
        }
        Ok(())
    }

    /// Ends everything that runs a plugin.
    fn stop(
        self: &Arc<Self>,
        digest: Sha256Digest,
        reason: EngineError,
        (market, subject): (&str, &str),
        now: SystemTime,
    ) -> Result<(), EngineError> {
        let before = {
            let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            stopped.insert(digest, reason.clone())
        };
        for cell in self.cells() {
            let runs = cell.loaded().filter(|model| model.plugins.contains(&digest));
            if let Some(model) = runs {
                tracing::error!(model = %cell.name, version = cell.version, %reason, "stopped");
                cell.state.send_replace(CellState::Failed(reason.clone()));
                model.stopped.send_replace(Some(reason.clone()));
            }
        }
        if before.is_none() {
            self.metrics.refused(reason.code());
            let purged = self.loader.sandbox.purge(&digest);
            let detail = format!("{reason}; {purged} compiled files removed");
            let noted = self.loader.markets.note(Event::Stopped, (market, subject), &detail, now);
            noted.map_err(|error| of_market(&error))?;
            tracing::error!(plugin = subject, sha256 = %digest_hex(&digest), %reason, "stopped");
        }
        Ok(())
    }

    /// Loads again what failed because of a plugin that is good now.
    fn resume(self: &Arc<Self>, digest: &Sha256Digest) {
        let removed = {
            let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            stopped.remove(digest).is_some()
        };
        for cell in self.cells().filter(|_| removed) {
            if cell.failure().is_some_and(|error| error.code().starts_with("AMT-")) {
                cell.state.send_replace(CellState::Unloaded);
                self.start_loading(&cell);
            }
        }
    }

    fn cells(&self) -> impl Iterator<Item = Arc<crate::catalog::Cell>> + use<> {
        let catalog = self.catalog();
        let all: Vec<_> =
            catalog.models().flat_map(|(_, served)| served.versions.values().cloned()).collect();
        all.into_iter()
    }

    /// Why one of these plugins must not run, if so.
    pub(crate) fn reason_to_stop(&self, plugins: &[Sha256Digest]) -> Option<EngineError> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        plugins.iter().find_map(|digest| stopped.get(digest).cloned())
    }

    /// Brings every installed package of a marketplace to its newest allowed version.
    fn update_all(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        refreshed: &Refreshed,
        now: SystemTime,
    ) {
        let markets = &self.loader.markets;
        let (admitted, held) = (markets.admitted(&market.name), markets.held(&market.name));
        let (Ok(admitted), Ok(held)) = (admitted, held) else { return };
        let names: BTreeSet<PackageName> = admitted.into_iter().map(|one| one.name).collect();
        let stays = |name: &&PackageName| {
            market.holds(name) || held.get(*name).is_some_and(|held| held.version.is_empty())
        };
        for name in names.iter().filter(|name| !stays(name)) {
            match self.install_newest(trust, market, refreshed, name, now) {
                Ok(Some(installed)) => {
                    tracing::info!(plugin = %name, version = installed.record.version, "updated");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(plugin = %name, %error, "not updated"),
            }
        }
    }

    fn tell_stale(&self, market: &str, now: SystemTime) {
        tracing::warn!(market, "trust=stale: its metadata has expired, or was never seen");
        let detail = "metadata has expired, or was never seen";
        if let Err(error) = self.loader.markets.note(Event::Stale, (market, ""), detail, now) {
            tracing::error!(%error, "the audit log was not written");
        }
    }

    /// Freshness and stops as Prometheus text. Names come from the trust policy.
    pub(crate) fn write_freshness(&self, page: &mut Page) {
        let freshness = self.freshness.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stale = page.start(&catalog::TRUST_STALE);
        for (market, fresh) in &freshness {
            stale.add(&[market], f64::from(u8::from(!fresh)));
        }
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner).len();
        page.single(&catalog::TRUST_STOPPED, stopped as f64);
    }
}

fn digest_of(hex: &str) -> Option<Sha256Digest> {
    let pairs = (0..64).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_told_once_until_it_ends() {
        let mut told = BTreeSet::new();
        let mut asked = |market, holds| newly(&mut told, market, holds);
        assert!(!asked("shop", false) && asked("shop", true) && !asked("shop", true));
        assert!(asked("other", true), "of each marketplace");
        assert!(!asked("shop", false) && asked("shop", true), "again after it ended");
    }
}
