//! The engine: follows the registry, keeps the wanted versions loaded, answers requests.

use crate::catalog::{Catalog, Cell, CellState, Served};
use crate::composition::Scope;
use crate::device::{DeviceStatus, Devices};
use crate::dispatch_metrics;
use crate::errors::of_registry;
use crate::loader::{LoadedModel, Loader};
use crate::market_watch::watch_markets;
use crate::metrics::Metrics;
use crate::packed::packed_store;
use crate::pipeline::Host;
use crate::reload::retry_later;
use crate::sandbox_metrics;
use crate::streaming::ItemSender;
use crate::trail::source_of;
use crate::{
    EngineConfig, EngineError, Family, InferRequest, InferResponse, ModelMetadata, Readiness,
    Selector, UnreadyReason,
};
use aimass_dispatch::{DispatchConfig, Dispatcher, SystemClock};
use aimass_graph::CompileOptions;
use aimass_market::host::MarketHost;
use aimass_registry::{Registry, Selector as RegistrySelector, Sha256Digest};
use aimass_sandbox::BoxFuture;
use aimass_sandbox::Sandbox;
use aimass_telemetry::call::{asked_model, room, served_by};
use aimass_telemetry::metrics::Page;
use aimass_telemetry::trace::{Attribute, SpanName};
use aimass_trust::TrustPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime};
use tokio::sync::Semaphore;

/// The running engine. Dropping it stops following the registry.
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) loader: Loader,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) metrics: Arc<Metrics>,
    catalog: RwLock<Arc<Catalog>>,
    /// Names that an operator took out of service, until the process ends.
    pub(crate) unloaded: Mutex<BTreeSet<String>>,
    synced: AtomicBool,
    pub(crate) closing: AtomicBool,
    /// Plugins that must not run anymore, and why.
    pub(crate) stopped: Mutex<BTreeMap<Sha256Digest, EngineError>>,
    /// Whether each marketplace's metadata is fresh.
    pub(crate) freshness: Mutex<BTreeMap<String, bool>>,
    /// One load at a time: loading takes memory and both cores.
    loads: Arc<Semaphore>,
}

impl Engine {
    /// Opens the data folder and, unless told otherwise, starts to load and follow its models.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Registry, trust policy or sandbox cannot be opened; the message says which file and why.
    pub fn open(config: EngineConfig) -> BoxFuture<'static, Result<Arc<Engine>, EngineError>> {
        Box::pin(Engine::opened(config))
    }

    async fn opened(config: EngineConfig) -> Result<Arc<Engine>, EngineError> {
        let registry = Registry::open(&config.data_dir.join("registry"), Default::default())
            .map_err(|error| of_registry(&error))?;
        read_policy(&config)?;
        let devices = Devices::open_beside(&config).await?;
        let dispatch = DispatchConfig { devices: devices.numbers(), ..config.dispatch.clone() };
        let dispatcher = Dispatcher::new(dispatch, Arc::new(SystemClock));
        let sandbox = Sandbox::new(config.sandbox.clone(), dispatcher.clone())
            .map_err(|error| crate::errors::of_sandbox("sandbox", &error))?;
        let options = CompileOptions {
            threads: config.threads,
            exact_quantization: config.exact_quantization,
            packed_store: packed_store(&config)?,
            ..CompileOptions::default()
        };
        let metrics = Arc::new(Metrics::default());
        let traced = config.traced.clone();
        let markets = Arc::new(MarketHost::open(&config.data_dir, config.market_fetch));
        let metrics_of_loader = metrics.clone();
        let inner = Arc::new(Inner {
            loader: Loader {
                registry,
                sandbox,
                dispatcher: dispatcher.clone(),
                options,
                devices,
                traced,
                metrics: metrics_of_loader,
                markets,
            },
            stopped: Mutex::default(),
            freshness: Mutex::default(),
            dispatcher,
            metrics,
            catalog: RwLock::default(),
            unloaded: Mutex::default(),
            synced: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            loads: Arc::new(Semaphore::new(1)),
            config,
        });
        if inner.config.serve_registry {
            tokio::spawn(inner.clone().follow());
            watch_markets(&inner)?;
        }
        Ok(Arc::new(Engine { inner }))
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`EngineError`]; its family says who has to act.
    pub fn infer(
        &self,
        request: InferRequest,
    ) -> BoxFuture<'_, Result<InferResponse, EngineError>> {
        Box::pin(self.infer_in(request, Scope::default()))
    }

    /// Answers one request in parts: what its plugins emit goes to `items`, and the last part is
    /// answered here, without outputs if the items said all. Each item gives the request the time
    /// again that it had at its start, up to the plugin's `wall_max`.
    ///
    /// # Errors
    /// As [`Engine::infer`], perhaps after items.
    pub fn infer_stream(
        &self,
        request: InferRequest,
        items: ItemSender,
    ) -> BoxFuture<'_, Result<InferResponse, EngineError>> {
        Box::pin(self.infer_in(request, Scope { items: Some(items), ..Scope::default() }))
    }

    async fn infer_in(
        &self,
        request: InferRequest,
        scope: Scope,
    ) -> Result<InferResponse, EngineError> {
        let inner = &self.inner;
        let start = Instant::now();
        let name = request.model.clone();
        let ancestry = scope.ancestry.clone();
        inner.metrics.asked_by(&request.tenant);
        let mut result = inner.infer(request, scope).await;
        if let Ok(answer) = &mut result {
            answer.usage.tokens = ancestry.tokens(answer.usage.tokens);
        }
        match &result {
            Ok(answer) => {
                inner.metrics.answered(answer, start.elapsed());
            }
            Err(error) => {
                let known = inner.catalog().model(&name).is_ok();
                inner.metrics.failed(known.then_some(&*name), error);
                if let Some(log) = error.log() {
                    tracing::warn!(model = %name, code = error.code(), %error, log);
                }
            }
        }
        result
    }

    /// What a model takes and gives.
    ///
    /// # Errors
    /// Not found, or unavailable while it is loading.
    pub fn model(&self, name: &str, selector: &Selector) -> Result<ModelMetadata, EngineError> {
        let catalog = self.inner.catalog();
        let served = catalog.model(name)?;
        let cell = served.select(name, selector)?;
        let model = match &*cell.state.borrow() {
            CellState::Loaded(model) => model.clone(),
            CellState::Failed(error) => return Err(error.clone()),
            CellState::Unloaded | CellState::Loading => return Err(loading(name, cell.version)),
        };
        let versions = served.versions.keys().copied().collect();
        Ok(metadata(&model, versions, served.labels.clone()))
    }

    /// The default version of every model that can answer, by name.
    pub fn models(&self) -> Vec<ModelMetadata> {
        let catalog = self.inner.catalog();
        let loaded =
            catalog.models().filter_map(|(name, _)| self.model(name, &Selector::Default).ok());
        loaded.collect()
    }

    /// The devices that plans run on; the CPU with the reason where there is no GPU.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.inner.loader.devices.status()
    }

    /// Whether the process works at all.
    pub fn live(&self) -> bool {
        !self.inner.closing.load(Ordering::Relaxed)
    }

    /// Whether every model can answer, and if not why.
    pub fn ready(&self) -> Readiness {
        let mut reasons = Vec::new();
        if !self.inner.synced.load(Ordering::Acquire) {
            reasons.push(UnreadyReason::of_server("the registry has not been read yet"));
        }
        for (name, served) in self.inner.catalog().models() {
            let mut missing = |in_general, text| {
                let model = Some(Arc::from(name));
                reasons.push(UnreadyReason { model, text, in_general });
            };
            if served.versions.is_empty() || served.unloaded {
                continue;
            }
            match served.select(name, &Selector::Default) {
                Ok(cell) => match &*cell.state.borrow() {
                    CellState::Loaded(_) => {}
                    CellState::Unloaded | CellState::Loading => {
                        let text = format!("model {name} version {} is loading", cell.version);
                        missing("a model is loading", text);
                    }
                    CellState::Failed(error) => {
                        let text = format!("model {name} version {} failed: {error}", cell.version);
                        missing("a model failed to load", text);
                    }
                },
                Err(error) => {
                    missing("a model has no version that can answer", error.to_string());
                }
            }
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    /// Counters of engine, dispatcher and sandbox as Prometheus text.
    pub fn metrics_text(&self) -> String {
        let inner = &self.inner;
        let mut page = Page::default();
        inner.metrics.write(&mut page);
        dispatch_metrics::totals(&mut page, &inner.dispatcher.stats());
        dispatch_metrics::plans(&mut page, &inner.catalog(), &inner.dispatcher.plan_stats());
        inner.write_freshness(&mut page);
        inner.loader.devices.write(&mut page);
        sandbox_metrics::write(&mut page, inner.loader.sandbox.metrics());
        page.into_text()
    }

    /// The registry, for tools that manage it.
    pub fn registry(&self) -> &Registry {
        &self.inner.loader.registry
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.inner.closing.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What pipelines of requests run on that come from no client of a stream.
    pub(crate) fn host(self: &Arc<Self>) -> Host<'_> {
        Host { inner: self, scope: Scope::default() }
    }

    /// Makes the catalog as new as the registry, so that a package that is published can call models.
    /// Where the registry is not served, a model is loaded when it is first called.
    pub(crate) fn refresh_catalog(self: &Arc<Self>) -> Result<(), EngineError> {
        if self.config.serve_registry {
            return self.sync().map(|_| ());
        }
        let unloaded = self.unloaded.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.loader.registry.snapshot().map_err(|error| of_registry(&error))?;
        let catalog = Arc::new(Catalog::of_snapshot(&snapshot, &self.catalog(), &unloaded));
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
        Ok(())
    }

    /// Answers a request of a client, or of a model above this one.
    pub(crate) async fn infer(
        self: &Arc<Self>,
        request: InferRequest,
        scope: Scope,
    ) -> Result<InferResponse, EngineError> {
        if request.inputs.len() > self.config.inputs_max {
            return Err(EngineError::new(
                Family::TooLarge,
                "inputs",
                format!(
                    "a request has at most {} inputs, got {}",
                    self.config.inputs_max,
                    request.inputs.len()
                ),
            ));
        }
        let cell = self
            .catalog()
            .model(&request.model)?
            .select(&request.model, &request.selector)?
            .clone();
        let (start, rows) = (Instant::now(), rows(&request));
        let (result, plan_steps) = match self.loaded(&cell, request.deadline).await {
            Ok(model) => {
                let answer = (model.name.clone(), model.version);
                if scope.ancestry.is_root() {
                    served_by(model.version, model.pipeline.plugins());
                } else {
                    asked_model(&model.name, model.version);
                }
                let attributes = || vec![Attribute::Model(model.name.clone())];
                let host = Host { inner: self, scope };
                let run = async {
                    tokio::select! {
                        biased;
                        answer = model.pipeline.run(&host, request, answer) => answer,
                        stopped = model.stopped(self.config.revoked_drain) => Err(stopped),
                    }
                };
                let answer = room(SpanName::Infer, attributes, pin!(run)).await;
                (answer, model.pipeline.plan_steps())
            }
            Err(error) => (Err(error), 0..0),
        };
        cell.counters.count(start.elapsed(), rows, &result, plan_steps);
        result
    }

    /// The loaded model of a version; waits while it is loading.
    pub(crate) async fn loaded(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        deadline: Instant,
    ) -> Result<Arc<LoadedModel>, EngineError> {
        if let Some(model) = cell.loaded() {
            return Ok(model);
        }
        self.start_loading(cell);
        let mut states = cell.state.subscribe();
        let done = |state: &CellState| matches!(state, CellState::Loaded(_) | CellState::Failed(_));
        let waited = tokio::time::timeout_at(deadline.into(), states.wait_for(done)).await;
        match waited.map(|state| state.map(|state| state.clone())) {
            Ok(Ok(CellState::Loaded(model))) => Ok(model),
            Ok(Ok(CellState::Failed(error))) => Err(error),
            Ok(Ok(CellState::Unloaded | CellState::Loading)) | Ok(Err(_)) | Err(_) => {
                Err(loading(&cell.name, cell.version))
            }
        }
    }

    /// Follows the registry until the engine is dropped.
    async fn follow(self: Arc<Self>) {
        let mut seen = None;
        while !self.closing.load(Ordering::Relaxed) {
            match self.loader.registry.change_counter() {
                Ok(counter) if Some(counter) == seen => {}
                Ok(_) => match self.sync() {
                    Ok(counter) => seen = Some(counter),
                    Err(error) => tracing::error!(%error, "the registry cannot be read"),
                },
                Err(error) => tracing::error!(%error, "the registry cannot be read"),
            }
            tokio::time::sleep(self.config.registry_poll).await;
        }
    }

    /// Brings the catalog in line with the registry and with what operators took out of service.
    pub(crate) fn sync(self: &Arc<Self>) -> Result<u64, EngineError> {
        // Held to the end: the newest catalog is made from the newest list.
        let unloaded = self.unloaded.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.loader.registry.snapshot().map_err(|error| of_registry(&error))?;
        let catalog = Arc::new(Catalog::of_snapshot(&snapshot, &self.catalog(), &unloaded));
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog.clone();
        for (_, served) in catalog.models() {
            for cell in self.wanted(served) {
                self.start_loading(cell);
            }
            self.unload_unwanted(served);
        }
        self.synced.store(true, Ordering::Release);
        Ok(snapshot.change_counter)
    }

    /// Versions of a model that should be loaded: none while it is out of service.
    pub(crate) fn wanted<'a>(&self, served: &'a Served) -> impl Iterator<Item = &'a Arc<Cell>> {
        let in_service = !served.unloaded;
        served.wanted(self.config.versions_loaded_max).filter(move |_| in_service)
    }

    fn unload_unwanted(&self, served: &Served) {
        let wanted: Vec<u64> = self.wanted(served).map(|cell| cell.version).collect();
        for (version, cell) in &served.versions {
            if !wanted.contains(version) && cell.loaded().is_some() {
                cell.state.send_replace(CellState::Unloaded);
            }
        }
    }

    /// Starts loading unless it is loaded, loading or failed.
    pub(crate) fn start_loading(self: &Arc<Self>, cell: &Arc<Cell>) {
        let started = cell.state.send_if_modified(|state| {
            let idle = matches!(state, CellState::Unloaded);
            if idle {
                *state = CellState::Loading;
            }
            idle
        });
        if !started {
            return;
        }
        let (inner, cell) = (self.clone(), cell.clone());
        let runtime = tokio::runtime::Handle::current();
        tokio::spawn(async move {
            let permit = inner.loads.clone().acquire_owned().await;
            let work = {
                let (inner, cell) = (inner.clone(), cell.clone());
                // Loading computes for long stretches; it must not hold up requests.
                tokio::task::spawn_blocking(move || runtime.block_on(inner.load(&cell)))
            };
            let outcome = work.await.unwrap_or_else(|panic| {
                Err(EngineError::new(Family::Unavailable, "load-panic", panic.to_string()))
            });
            drop(permit);
            // A plugin may have been revoked while it was loading.
            let outcome = outcome.and_then(|model| match inner.reason_to_stop(&model.plugins) {
                Some(reason) => Err(reason),
                None => Ok(model),
            });
            cell.state.send_replace(match outcome {
                Ok(model) => {
                    tracing::info!(model = %cell.name, version = cell.version, "ready");
                    CellState::Loaded(model)
                }
                Err(error) => {
                    tracing::error!(model = %cell.name, version = cell.version, %error, "not ready");
                    inner.metrics.refused(error.code());
                    CellState::Failed(error)
                }
            });
            retry_later(&inner, &cell);
        });
    }

    async fn load(&self, cell: &Cell) -> Result<Arc<LoadedModel>, EngineError> {
        let selector = RegistrySelector::Version(cell.version);
        let loaded = self.load_version(&cell.name, &selector).await;
        if let Err(error) = &loaded {
            let subject = format!("model {} version {}", cell.name, cell.version);
            if let Err(unwritten) = self.note_refusal(&subject, error, SystemTime::now()) {
                tracing::error!(error = %unwritten, "the audit log was not written");
            }
        }
        loaded
    }

    /// Loads one version of the registry, whether or not it is served.
    pub(crate) async fn load_version(
        &self,
        name: &str,
        selector: &RegistrySelector,
    ) -> Result<Arc<LoadedModel>, EngineError> {
        let version = self.loader.registry.resolve(name, selector);
        let version = version.map_err(|error| of_registry(&error))?;
        let source = source_of(&version)?;
        Ok(Arc::new(self.loader.load(source, &read_policy(&self.config)?).await?))
    }
}

/// The trust policy as the file says now; it is read again for every load, so that a publisher who
/// was struck off loads nothing more.
pub(crate) fn read_policy(config: &EngineConfig) -> Result<TrustPolicy, EngineError> {
    read_policy_file(&config.trust_policy, config.loopback)
}

/// Rows that a request has: the extent that batches are counted along, or one.
fn rows(request: &InferRequest) -> u64 {
    let first = request.inputs.first().and_then(|(_, tensor)| tensor.shape().first().copied());
    first.map_or(1, |rows| rows.max(1) as u64)
}

fn read_policy_file(path: &Path, loopback: bool) -> Result<TrustPolicy, EngineError> {
    let policy = TrustPolicy::load(path).map_err(|error| {
        EngineError::new(
            Family::Unavailable,
            "trust-policy",
            format!("{}: {error}", path.display()),
        )
    })?;
    Ok(policy.for_listener(loopback))
}

pub(crate) fn metadata(
    model: &LoadedModel,
    versions: Vec<u64>,
    labels: BTreeMap<String, u64>,
) -> ModelMetadata {
    ModelMetadata {
        name: model.name.clone(),
        version: model.version,
        versions,
        labels,
        platform: model.platform.clone(),
        inputs: model.pipeline.input_metadata(),
        outputs: model.pipeline.output_metadata(),
        created: model.created,
        publisher: model.publisher.clone(),
        release: model.release.clone(),
    }
}

fn loading(name: &str, version: u64) -> EngineError {
    EngineError::new(
        Family::Unavailable,
        "loading",
        format!("model {name} version {version} is still loading; try again"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Futures are moved as a whole: into their box, and into each that waits for them.
    const FUTURE_BYTES_MAX: usize = 8 << 10;

    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<'a, F>(_: fn(&'a Engine, InferRequest) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(Engine::infer);
        assert!(bytes <= FUTURE_BYTES_MAX, "{bytes} bytes, expected at most {FUTURE_BYTES_MAX}");
    }
}
