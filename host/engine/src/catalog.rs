//! What is served: a snapshot of the registry whose ready versions are loaded, loading or idle.

use crate::loader::LoadedModel;
use crate::statistics::VersionCounters;
use crate::{EngineError, Family, Selector};
use aimass_registry::{Snapshot, VersionState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use tokio::sync::watch;

/// Label that clients get who name no version.
pub(crate) const DEFAULT_LABEL: &str = "stable";

/// All models at one moment. A new catalog replaces the old one whole, so that no request sees half a
/// change.
#[derive(Default)]
pub(crate) struct Catalog {
    models: BTreeMap<String, Served>,
}

/// One model name.
pub(crate) struct Served {
    pub(crate) labels: BTreeMap<String, u64>,
    /// Ready versions.
    pub(crate) versions: BTreeMap<u64, Arc<Cell>>,
    /// Whether an operator took the model out of service.
    pub(crate) unloaded: bool,
}

/// One version and how far its loading is.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) state: watch::Sender<CellState>,
    /// Loads that failed for what may pass, since one succeeded or failed otherwise.
    pub(crate) failures: AtomicU32,
    pub(crate) counters: VersionCounters,
}

/// How far a version's loading is.
#[derive(Clone)]
pub(crate) enum CellState {
    Unloaded,
    Loading,
    Loaded(Arc<LoadedModel>),
    Failed(EngineError),
}

impl Cell {
    fn new(name: &str, version: u64) -> Arc<Cell> {
        let state = watch::Sender::new(CellState::Unloaded);
        let counters = VersionCounters::default();
        let failures = AtomicU32::new(0);
        Arc::new(Cell { name: name.to_owned(), version, state, failures, counters })
    }

    /// The model, if it is loaded.
    pub(crate) fn loaded(&self) -> Option<Arc<LoadedModel>> {
        match &*self.state.borrow() {
            CellState::Loaded(model) => Some(model.clone()),
            CellState::Unloaded | CellState::Loading | CellState::Failed(_) => None,
        }
    }

    /// Why loading failed, if it did.
    pub(crate) fn failure(&self) -> Option<EngineError> {
        match &*self.state.borrow() {
            CellState::Failed(error) => Some(error.clone()),
            CellState::Unloaded | CellState::Loading | CellState::Loaded(_) => None,
        }
    }
}

impl Catalog {
    /// The catalog of a registry snapshot; versions that `old` knows keep their cells, and models in
    /// `unloaded` are out of service.
    pub(crate) fn of_snapshot(
        snapshot: &Snapshot,
        old: &Catalog,
        unloaded: &BTreeSet<String>,
    ) -> Catalog {
        let mut models = BTreeMap::new();
        for model in &snapshot.models {
            let known = old.models.get(&model.name).map(|served| &served.versions);
            let ready = model.versions.iter().filter(|v| matches!(v.state, VersionState::Ready));
            let versions = ready
                .map(|record| {
                    let cell = known.and_then(|cells| cells.get(&record.version)).cloned();
                    let fresh = || Cell::new(&model.name, record.version);
                    (record.version, cell.unwrap_or_else(fresh))
                })
                .collect();
            let unloaded = unloaded.contains(&model.name);
            let served = Served { labels: model.labels.clone(), versions, unloaded };
            models.insert(model.name.clone(), served);
        }
        Catalog { models }
    }

    /// A model by name, if it is in service.
    ///
    /// # Errors
    /// Not found; the message lists what is served. Unavailable if it was unloaded.
    pub(crate) fn model(&self, name: &str) -> Result<&Served, EngineError> {
        let served = self.known(name)?;
        if served.unloaded {
            let message = format!("model {name} was unloaded by an operator; load it first");
            return Err(EngineError::new(Family::Unavailable, "unloaded", message));
        }
        Ok(served)
    }

    /// A model by name, in service or not.
    ///
    /// # Errors
    /// Not found; the message lists what there is.
    pub(crate) fn known(&self, name: &str) -> Result<&Served, EngineError> {
        self.models.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.models.keys().map(String::as_str).take(20).collect();
            not_found(format!("there is no model {name:?}; served are {}", listed(&known)))
        })
    }

    /// Names and models, by name.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, &Served)> {
        self.models.iter().map(|(name, served)| (name.as_str(), served))
    }
}

impl Served {
    /// The version that a selector means.
    ///
    /// The newest version is the newest that is loaded, so that a version that is still loading, or
    /// cannot load, takes no traffic away from the one before it.
    ///
    /// # Errors
    /// Not found; the message lists the versions or labels that exist.
    pub(crate) fn select(
        &self,
        name: &str,
        selector: &Selector,
    ) -> Result<&Arc<Cell>, EngineError> {
        let version = match selector {
            Selector::Version(version) => Some(*version),
            Selector::Label(label) => Some(*self.labels.get(label).ok_or_else(|| {
                let known: Vec<&str> = self.labels.keys().map(String::as_str).collect();
                not_found(format!("model {name} has no label {label:?}; it has {}", listed(&known)))
            })?),
            Selector::Default => self.labels.get(DEFAULT_LABEL).copied(),
            Selector::Newest => None,
        };
        let cell = match version {
            Some(version) => self.versions.get(&version),
            None => self.newest(),
        };
        cell.ok_or_else(|| {
            let known: Vec<String> = self.versions.keys().map(u64::to_string).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let message = format!("model {name} has no {selector}; ready are {}", listed(&known));
            not_found(message)
        })
    }

    /// Versions that should be loaded: labeled ones and the `newest_count` newest.
    pub(crate) fn wanted(&self, newest_count: usize) -> impl Iterator<Item = &Arc<Cell>> {
        let newest = self.versions.keys().rev().nth(newest_count.saturating_sub(1)).copied();
        self.versions.iter().filter_map(move |(version, cell)| {
            let new = newest.is_none_or(|oldest| *version >= oldest);
            (new || self.labels.values().any(|labeled| labeled == version)).then_some(cell)
        })
    }

    fn newest(&self) -> Option<&Arc<Cell>> {
        let mut from_newest = self.versions.values().rev();
        let loaded = from_newest.clone().find(|cell| cell.loaded().is_some());
        let hopeful = || from_newest.clone().find(|cell| cell.failure().is_none());
        loaded.or_else(hopeful).or_else(|| from_newest.next())
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn not_found(message: String) -> EngineError {
    EngineError::new(Family::NotFound, "not-found", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(versions: &[u64], labels: &[(&str, u64)]) -> Served {
        Served {
            labels: labels.iter().map(|(label, v)| ((*label).to_owned(), *v)).collect(),
            versions: versions.iter().map(|v| (*v, Cell::new("m", *v))).collect(),
            unloaded: false,
        }
    }

    #[test]
    fn stable_comes_before_newest_and_errors_list_what_exists() {
        let model = served(&[1, 2, 3], &[("stable", 2)]);
        let version = |selector| model.select("m", &selector).map(|cell| cell.version);
        assert_eq!(version(Selector::Default).unwrap(), 2);
        assert_eq!(version(Selector::Newest).unwrap(), 3);
        let text = version(Selector::Version(9)).unwrap_err().to_string();
        assert!(text.contains("1, 2, 3"), "{text}");
        let text = version(Selector::Label("beta".into())).unwrap_err().to_string();
        assert!(text.contains("stable"), "{text}");
    }

    #[test]
    fn a_newest_version_that_failed_takes_no_traffic() {
        let model = served(&[1, 2], &[]);
        model.versions[&2].state.send_replace(CellState::Failed(EngineError::invalid("broken")));
        assert_eq!(model.select("m", &Selector::Newest).unwrap().version, 1);
    }

    #[test]
    fn labeled_and_newest_versions_are_wanted() {
        let model = served(&[1, 2, 3, 4], &[("stable", 1)]);
        let wanted: Vec<u64> = model.wanted(2).map(|cell| cell.version).collect();
        assert_eq!(wanted, [1, 3, 4]);
    }
}
