//! Installing from marketplaces: what they list is checked, admitted to the sandbox, remembered, and
//! only then in the registry.

use crate::engine::read_policy;
use crate::errors::{of_market, of_refusal, of_registry, of_sandbox};
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

    /// Installs a package from the first marketplace that may bring it: the `version`, or the newest
    /// allowed one above what is installed. `None` if there is nothing newer. Blocks on the network.
    ///
    /// # Errors
    /// The refusal with its code (`AMT-…`); the registry is unchanged.
    pub fn install(
        &self,
        (name, version): (&PackageName, Option<&Version>),
        approved: bool,
        now: SystemTime,
    ) -> Result<Option<Installed>, EngineError> {
        let trust = read_policy(&self.inner().config)?;
        let mut last = None;
        for market in trust.subscriptions() {
            match self.install_from(&trust, market, (name, version, approved), now) {
                Ok(installed) => return Ok(installed),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            let message = "this host follows no marketplace; `aimass trust add` names one";
            EngineError::new(Family::NotFound, "market", message)
        }))
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
        // A package that may not come from here is told before anything is fetched.
        if let Err(error) = markets.allows(trust, market, name) {
            return Err(failed(error));
        }
        let refreshed = markets.refresh(market, Some(name), now).map_err(failed)?;
        let Some(version) = version else {
            return self.inner().install_newest(trust, market, &refreshed, name, now);
        };
        let releases = markets.releases(&refreshed, name).map_err(failed)?;
        let Some(release) = releases.iter().find(|one| one.version == *version) else {
            let known: Vec<&str> = releases.iter().map(|one| one.version.as_str()).collect();
            let message =
                format!("{} lists no {name}@{version}; it lists {}", market.name, known.join(", "));
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
        let name = bundle_manifest(bytes).map_err(|error| of_market(&error))?.name;
        let mut last = None;
        for market in trust.subscriptions() {
            let mut standing = inner.standing(&name)?;
            let known = inner.known_in_bundle(bytes);
            if known {
                standing.last_sequence = None;
            }
            let admitted =
                self.markets().admit_bundle(&trust, market, bytes, (&standing, approved), now);
            match admitted {
                Ok(evidence) => return inner.keep(market, &evidence, now),
                Err(error) => last = Some(inner.counted(of_market(&error))),
            }
        }
        Err(last.unwrap_or_else(|| {
            let message = "this host follows no marketplace; `aimass trust add` names one";
            EngineError::new(Family::NotFound, "market", message)
        }))
    }
}

impl crate::engine::Inner {
    /// Counts a refusal.
    pub(crate) fn counted(&self, error: EngineError) -> EngineError {
        self.metrics.refused(error.code());
        error
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
            let error = self.counted(of_sandbox("install", &error));
            let subject = format!("{}@{}", package.name(), package.version());
            let noted = self.loader.markets.note(
                Event::Refused,
                (&market.name, &subject),
                &error.to_string(),
                now,
            );
            noted.map_err(|error| of_market(&error))?;
            return Err(error);
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
