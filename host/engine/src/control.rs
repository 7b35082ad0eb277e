//! What operators see and do while the engine runs: versions and their states, load and unload,
//! statistics.

use crate::catalog::{CellState, Served};
use crate::engine::Inner;
use crate::statistics::{ModelStatistics, Timed};
use crate::{Engine, EngineError, Selector};
use aimass_dispatch::PlanStats;
use aimass_sandbox::BoxFuture;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Whether a version can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serviceability {
    /// It can answer.
    Ready,
    /// It is being loaded.
    Loading,
    /// It cannot answer, or is not kept loaded; the reason says which.
    Unavailable,
}

/// A version in the repository, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStatus {
    /// Serving name.
    pub model: Arc<str>,
    /// Version.
    pub version: u64,
    /// Whether it can answer.
    pub state: Serviceability,
    /// Why it cannot; empty if it can.
    pub reason: String,
}

impl Engine {
    /// Every version that the registry calls ready, by name and number, in service or not.
    pub fn versions(&self) -> Vec<VersionStatus> {
        let catalog = self.inner().catalog();
        let mut all = Vec::new();
        for (name, served) in catalog.models() {
            let model: Arc<str> = Arc::from(name);
            for (&version, cell) in &served.versions {
                let (state, reason) = standing(served, &cell.state.borrow());
                all.push(VersionStatus { model: model.clone(), version, state, reason });
            }
        }
        all
    }

    /// Puts a model in service again and loads its versions, those that failed before too; waits
    /// until the default version can answer.
    ///
    /// # Errors
    /// Not found; why loading failed; or unavailable if it takes longer than `deadline`.
    pub fn load<'a>(
        &'a self,
        name: &'a str,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.put_in_service(name, deadline))
    }

    async fn put_in_service(&self, name: &str, deadline: Instant) -> Result<(), EngineError> {
        let inner = self.inner();
        inner.catalog().known(name)?;
        inner.set_unloaded(name, false)?;
        let catalog = inner.catalog();
        let served = catalog.model(name)?;
        for cell in inner.wanted(served) {
            cell.state.send_if_modified(|state| {
                let failed = matches!(state, CellState::Failed(_));
                if failed {
                    *state = CellState::Unloaded;
                }
                failed
            });
            inner.start_loading(cell);
        }
        let cell = served.select(name, &Selector::Default)?;
        inner.loaded(cell, deadline).await.map(|_| ())
    }

    /// Takes a model out of service: new requests are refused, those inside finish, its memory is
    /// given back. It stays in the registry, and a restart serves it again.
    ///
    /// # Errors
    /// Not found.
    pub fn unload(&self, name: &str) -> Result<(), EngineError> {
        self.inner().catalog().known(name)?;
        self.inner().set_unloaded(name, true)
    }

    /// What the versions that a selector means did: one version, or all ready ones for the default
    /// selector. An empty name means every model.
    ///
    /// # Errors
    /// Not found.
    pub fn statistics(
        &self,
        name: &str,
        selector: &Selector,
    ) -> Result<Vec<ModelStatistics>, EngineError> {
        let inner = self.inner();
        let catalog = inner.catalog();
        let plans: HashMap<[u8; 32], PlanStats> =
            inner.dispatcher.plan_stats().into_iter().map(|stats| (stats.key, stats)).collect();
        if name.is_empty() {
            let all = catalog
                .models()
                .flat_map(|(name, served)| served.versions.values().map(move |cell| (name, cell)));
            return Ok(all.map(|(name, cell)| of_version(name, cell, &plans)).collect());
        }
        let served = catalog.known(name)?;
        match selector {
            Selector::Default => {
                Ok(served.versions.values().map(|cell| of_version(name, cell, &plans)).collect())
            }
            Selector::Newest | Selector::Label(_) | Selector::Version(_) => {
                Ok(vec![of_version(name, served.select(name, selector)?, &plans)])
            }
        }
    }
}

impl Inner {
    fn set_unloaded(self: &Arc<Self>, name: &str, unloaded: bool) -> Result<(), EngineError> {
        let changed = {
            let mut names = self.unloaded.lock().unwrap_or_else(PoisonError::into_inner);
            if unloaded { names.insert(name.to_owned()) } else { names.remove(name) }
        };
        if changed {
            tracing::info!(model = name, unloaded, "by an operator");
            self.sync()?;
        }
        Ok(())
    }
}

fn standing(served: &Served, state: &CellState) -> (Serviceability, String) {
    match state {
        _ if served.unloaded => (Serviceability::Unavailable, "unloaded".to_owned()),
        CellState::Loaded(_) => (Serviceability::Ready, String::new()),
        CellState::Loading => (Serviceability::Loading, String::new()),
        CellState::Unloaded => {
            (Serviceability::Unavailable, "loaded when it is asked for".to_owned())
        }
        CellState::Failed(error) => (Serviceability::Unavailable, error.to_string()),
    }
}

fn of_version(
    name: &str,
    cell: &crate::catalog::Cell,
    plans: &HashMap<[u8; 32], PlanStats>,
) -> ModelStatistics {
    let mut statistics = cell.counters.read(name, cell.version);
    let Some(model) = cell.loaded() else {
        return statistics;
    };
    let set = model.pipeline.plans();
    let keys = set.names().filter_map(|name| set.get(name)).map(|plan| plan.key());
    let mut batches: Vec<u64> = Vec::new();
    for stats in keys.filter_map(|key| plans.get(&key)) {
        let counted = &stats.counted;
        statistics.launches += counted.launches;
        statistics.queue = Timed {
            count: statistics.queue.count + counted.calls,
            time: statistics.queue.time + counted.waited,
        };
        batches.resize(batches.len().max(counted.batch_sizes.len()), 0);
        for (sum, count) in batches.iter_mut().zip(counted.batch_sizes) {
            *sum += count;
        }
    }
    let sizes = batches.iter().enumerate().filter(|(_, count)| **count > 0);
    statistics.batches = sizes.map(|(log2, &count)| (1 << log2, count)).collect();
    if statistics.launches == 0 {
        statistics.launches = statistics.success.count;
    }
    statistics
}
