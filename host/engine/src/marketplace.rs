//! Installing from marketplaces: what they list is checked, admitted to the sandbox, remembered, and
//! only then in the registry.

use crate::engine::read_policy;
use crate::errors::{of_market, of_refusal, of_registry, of_sandbox};
use crate::trail::refusal_detail;
use crate::{Engine, EngineError, Family};
use aimass_market::host::audit::Event;
use aimass_market::host::{Asked, Evidence, MarketHost, Refreshed, Standing, bundle_manifest};
use aimass_registry::{PluginRecord, PluginRelease};
use aimass_trust::{PackageName, Subscription, TrustPolicy, Version};
use std::sync::PoisonError;
use std::time::SystemTime;

/// How fresh what this host knows of its marketplaces is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustState {
    /// It follows no marketplace.
    Local,
    /// All metadata is valid.
    Fresh,
    /// Metadata of a marketplace has expired, or was never seen: what runs goes on, for a while.
    Stale,
}

impl TrustState {
    /// The word in health answers: `local`, `fresh` or `stale`.
    pub fn as_str(self) -> &'static str {
        match self {
            TrustState::Local => "local",
            TrustState::Fresh => "fresh",
            TrustState::Stale => "stale",
        }
    }
}

/// A plugin that was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What the registry says.
    pub record: PluginRecord,
    /// The marketplace that it came from.
    pub market: String,
    /// Its place in the marketplace's log.
    pub log_index: u64,
}

impl Engine {
    /// How fresh what this host knows of its marketplaces is, as of the last look at them.
    pub fn trust_state(&self) -> TrustState {
        let freshness = self.inner().freshness.lock().unwrap_or_else(PoisonError::into_inner);
        match (freshness.is_empty(), freshness.values().all(|fresh| *fresh)) {
            (true, _) => TrustState::Local,
            (false, true) => TrustState::Fresh,
            (false, false) => TrustState::Stale,
        }
    }

    /// The marketplaces that this host follows.
    pub fn markets(&self) -> &MarketHost {
        &self.inner().loader.markets
    }

    /// Installs a package from the first marketplace that may bring it and has it: the `version`, or the
    /// newest allowed one above what is installed. `None` if there is nothing newer than what is
    /// installed; where that came from a marketplace, those after it are not asked. Blocks on the network.
    ///
    /// # Errors
    /// The refusal with its code (`AMT-…`), not found if no marketplace lists it; the registry is
    /// unchanged. Of several errors the most telling one.
    pub fn install(
        &self,
        (name, version): (&PackageName, Option<&Version>),
        approved: bool,
        now: SystemTime,
    ) -> Result<Option<Installed>, EngineError> {
        let trust = read_policy(&self.inner().config)?;
        if trust.subscriptions().is_empty() {
            return Err(follows_none());
        }
        let (mut asked, mut barred, mut told) = (Vec::new(), Vec::new(), Told::default());
        let installed = self.inner().standing(name)?.last_sequence.is_some();
        for market in trust.subscriptions() {
            // A package that may not come from here is told before anything is fetched.
            match self.markets().allows(&trust, market, name) {
                Ok(()) => {}
                Err(error) if error.refusal().is_some() => {
                    barred.push((market, error));
                    continue;
                }
                Err(error) => {
                    told.keep(self.inner().counted(of_market(&error)));
                    continue;
                }
            }
            asked.push(market.name.as_str());
            match self.install_from(&trust, market, (name, version, approved), now) {
                Ok(Some(installed)) => return Ok(Some(installed)),
                Ok(None) => {
                    told.has_nothing = true;
                    if installed && self.came_from(market, name)? {
                        told.is_settled = true;
                        break;
                    }
                }
                Err(error) => told.keep(error),
            }
        }
        if asked.is_empty() {
            // Nobody may bring it: that is the decision, and not where another marketplace was asked.
            for (market, error) in barred {
                told.keep(self.inner().refused(market, name.as_str(), of_market(&error), now));
            }
        }
        told.judge(installed, || not_listed(name, &asked))
    }

    /// Whether a marketplace brought a release of a package.
    fn came_from(&self, market: &Subscription, name: &PackageName) -> Result<bool, EngineError> {
        let admitted = self.markets().admitted(&market.name).map_err(|error| of_market(&error))?;
        Ok(admitted.iter().any(|record| record.name == *name))
    }

    fn install_from(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        (name, version, approved): (&PackageName, Option<&Version>, bool),
        now: SystemTime,
    ) -> Result<Option<Installed>, EngineError> {
        let markets = self.markets();
        let failed = |error: aimass_market::MarketError| self.inner().counted(of_market(&error));
        let refreshed = markets.refresh(market, Some(name), now).map_err(failed)?;
        let Some(version) = version else {
            return self.inner().install_newest(trust, market, &refreshed, name, now);
        };
        let releases = markets.releases(&refreshed, name).map_err(|error| {
            let subject = format!("{name}@{version}");
            self.inner().refused(market, &subject, of_market(&error), now)
        })?;
        let Some(release) = releases.iter().find(|one| one.version == *version) else {
            let known: Vec<&str> = releases.iter().map(|one| one.version.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("{} lists no {name}@{version}; it lists {known}", market.name);
            return Err(EngineError::new(Family::NotFound, "market", message));
        };
        let mut standing = self.inner().standing(name)?;
        if self.registry().plugin_by_digest(&release.sha256).is_ok() {
            // The same file again is no step back.
            standing.last_sequence = None;
        }
        let asked = Asked { name, release, standing: &standing, approved };
        let evidence = markets.admit(trust, market, &refreshed, &asked, now).map_err(failed)?;
        self.inner().keep(market, &evidence, now).map(Some)
    }

    /// Installs a bundle (`.ampkg`) without a network.
    ///
    /// # Errors
    /// As [`Engine::install`].
    pub fn install_bundle(
        &self,
        bytes: &[u8],
        approved: bool,
        now: SystemTime,
    ) -> Result<Installed, EngineError> {
        let inner = self.inner();
        let trust = read_policy(&inner.config)?;
        if trust.subscriptions().is_empty() {
            return Err(follows_none());
        }
        let mut told = Told::default();
        let name = bundle_manifest(bytes).map(|manifest| manifest.name);
        for market in trust.subscriptions() {
            // What cannot be read is refused below, and recorded there.
            let standing = name.as_ref().map(|name| inner.standing(name));
            let mut standing = standing.unwrap_or_else(|_| Ok(Standing::default()))?;
            if inner.known_in_bundle(bytes) {
                standing.last_sequence = None;
            }
            let admitted =
                self.markets().admit_bundle(&trust, market, bytes, (&standing, approved), now);
            match admitted {
                Ok(evidence) => return inner.keep(market, &evidence, now),
                Err(error) => told.keep(inner.counted(of_market(&error))),
            }
            if name.is_err() {
                // No other marketplace can read it either.
                break;
            }
        }
        Err(told.error.unwrap_or_else(follows_none))
    }
}

/// What marketplaces that did not bring a package said: the most telling error, the first of equals. A
/// refusal of the package itself goes before what kept one from answering; that before one that does not
/// list the version; and that before a name that may not come from there.
#[derive(Default)]
struct Told {
    error: Option<EngineError>,
    /// Whether one of them lists nothing that is newer.
    has_nothing: bool,
    /// Whether that is the one which brought what is installed: then only a refusal of the package counts.
    is_settled: bool,
}

impl Told {
    fn keep(&mut self, error: EngineError) {
        if self.error.as_ref().is_none_or(|before| Told::rank(&error) < Told::rank(before)) {
            self.error = Some(error);
        }
    }

    fn rank(error: &EngineError) -> u8 {
        match (error.family(), error.code()) {
            (_, "AMT-NAME") => 3,
            (Family::NotFound, _) => 2,
            (Family::PackageRefused, _) => 0,
            (_, _) => 1,
        }
    }

    /// The answer to whoever asked for a package.
    fn judge<T>(
        self,
        installed: bool,
        not_listed: impl FnOnce() -> EngineError,
    ) -> Result<Option<T>, EngineError> {
        let rank_max = match (self.has_nothing, self.is_settled) {
            (false, _) => 3,
            (true, false) => 2,
            (true, true) => 0,
        };
        match self.error {
            Some(error) if Told::rank(&error) <= rank_max => Err(error),
            Some(_) | None if installed => Ok(None),
            Some(_) | None => Err(not_listed()),
        }
    }
}

fn follows_none() -> EngineError {
    let message = "this host follows no marketplace; `aimass trust add` names one";
    EngineError::new(Family::NotFound, "market", message)
}

fn not_listed(name: &PackageName, asked: &[&str]) -> EngineError {
    let message = format!(
        "no marketplace lists {name}; asked: {}. Remedy: compare the name with the marketplace's page \
         (whoever runs it sees all names by `aimass market show`); `aimass trust show` names the locations",
        asked.join(", ")
    );
    EngineError::new(Family::NotFound, "market", message)
}

impl crate::engine::Inner {
    /// Counts a refusal.
    pub(crate) fn counted(&self, error: EngineError) -> EngineError {
        self.metrics.refused(error.code());
        error
    }

    /// Counts a refusal that `market` gave of a `subject`, and writes it down.
    fn refused(
        &self,
        market: &Subscription,
        subject: &str,
        error: EngineError,
        now: SystemTime,
    ) -> EngineError {
        let error = self.counted(error);
        let place = (market.name.as_str(), subject);
        let noted = self.loader.markets.note(Event::Refused, place, &refusal_detail(&error), now);
        match noted {
            Ok(()) => error,
            Err(unwritten) => of_market(&unwritten),
        }
    }

    /// The newest allowed release above what is installed, admitted and in the registry.
    pub(crate) fn install_newest(
        &self,
        trust: &TrustPolicy,
        market: &Subscription,
        refreshed: &Refreshed,
        name: &PackageName,
        now: SystemTime,
    ) -> Result<Option<Installed>, EngineError> {
        let standing = self.standing(name)?;
        let markets = &self.loader.markets;
        let found = markets.admit_newest(trust, market, refreshed, (name, &standing), now);
        let found = found.map_err(|error| self.counted(of_market(&error)))?;
        found.map(|evidence| self.keep(market, &evidence, now)).transpose()
    }

    /// What this host has of a package.
    pub(crate) fn standing(&self, name: &PackageName) -> Result<Standing, EngineError> {
        let registry = &self.loader.registry;
        let last_sequence =
            registry.highest_sequence(name.as_str()).map_err(|error| of_registry(&error))?;
        let newest = registry.list_plugins().map_err(|error| of_registry(&error))?;
        let newest = newest.into_iter().filter(|one| one.name == name.as_str());
        let Some(newest) = newest.max_by_key(|one| one.sequence) else {
            return Ok(Standing { last_sequence, running: None });
        };
        let package = registry.read_plugin(&newest.digest).map_err(|error| of_registry(&error))?;
        let manifest = aimass_trust::read_manifest(&package.wasm).map_err(|it| of_refusal(&it))?;
        Ok(Standing { last_sequence, running: Some(manifest) })
    }

    fn known_in_bundle(&self, bytes: &[u8]) -> bool {
        use sha2::{Digest, Sha256};
        let Ok(bundle) = aimass_trust::Bundle::parse(bytes) else { return false };
        let wasm = bundle.get(aimass_trust::MEMBER_WASM).unwrap_or_default();
        self.loader.registry.plugin_by_digest(&Sha256::digest(wasm).into()).is_ok()
    }

    /// Admits what was verified to the sandbox, remembers how, and puts it into the registry: in this
    /// order, so that a crash leaves a record without a plugin and never the reverse.
    fn keep(
        &self,
        market: &Subscription,
        evidence: &Evidence,
        now: SystemTime,
    ) -> Result<Installed, EngineError> {
        let package = evidence.admitted.package();
        if let Err(error) = self.loader.sandbox.admit(package) {
            let subject = format!("{}@{}", package.name(), package.version());
            return Err(self.refused(market, &subject, of_sandbox("install", &error), now));
        }
        self.loader.markets.remember(market, evidence, now).map_err(|error| of_market(&error))?;
        let (name, version) = (package.name().to_string(), package.version().to_string());
        let world = package.manifest().world.to_string();
        let release = PluginRelease {
            wasm: package.component(),
            dsse: &evidence.dsse,
            name: &name,
            version: &version,
            digest: *package.digest(),
            world: &world,
            publisher: package.publisher(),
            sequence: package.sequence(),
        };
        let record = self.loader.registry.publish_plugin(release, now);
        let record = record.map_err(|error| of_registry(&error))?;
        let log_index = evidence.admitted.log_index();
        Ok(Installed { record, market: market.name.clone(), log_index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_error_is_the_answer_and_nothing_newer_only_where_it_is_installed() {
        let error = |code: &str| match code {
            "none" => EngineError::new(Family::NotFound, "market", "none"),
            "away" => EngineError::new(Family::Unavailable, "market", "away"),
            code => EngineError::new(Family::PackageRefused, code, code.to_owned()),
        };
        for (said, has_nothing, installed, answer) in [
            (&[][..], true, true, Ok(())),
            (&[], true, false, Err("not listed")),
            (&["AMT-NAME"], false, true, Err("AMT-NAME")),
            (&["AMT-NAME"], false, false, Err("AMT-NAME")),
            (&["AMT-NAME"], true, true, Ok(())),
            (&["AMT-NAME"], true, false, Err("not listed")),
            (&["AMT-NAME", "AMT-REVOKED"], false, false, Err("AMT-REVOKED")),
            (&["AMT-REVOKED", "AMT-NAME"], true, true, Err("AMT-REVOKED")),
            (&["none", "AMT-NAME"], false, false, Err("none")),
            (&["none", "away", "AMT-NAME"], false, false, Err("away")),
            (&["away", "AMT-CAP", "AMT-REVOKED"], false, false, Err("AMT-CAP")),
        ] {
            let mut told = Told { has_nothing, ..Told::default() };
            said.iter().for_each(|code| told.keep(error(code)));
            let unlisted = || EngineError::new(Family::NotFound, "market", "not listed");
            let judged = told.judge::<()>(installed, unlisted);
            let judged = judged.map(drop).map_err(|error| error.message().to_owned());
            assert_eq!(judged, answer.map_err(str::to_owned), "{said:?}");
        }
        for (code, answer) in [("away", Ok(None::<()>)), ("AMT-CAP", Err("AMT-CAP"))] {
            let mut told = Told { has_nothing: true, is_settled: true, ..Told::default() };
            told.keep(error(code));
            let judged = told.judge(true, || error("none"));
            assert_eq!(
                judged.map_err(|error| error.message().to_owned()),
                answer.map_err(str::to_owned)
            );
        }
        let name = "acme/hello".parse().expect("a name");
        let message = not_listed(&name, &["shop", "other"]).to_string();
        assert!(message.contains("acme/hello; asked: shop, other."), "{message}");
    }
}
