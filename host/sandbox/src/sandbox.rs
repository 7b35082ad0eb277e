//! The sandbox: one engine, one cache, one clock for all plugins of the process.

use crate::admission;
use crate::cache::{CacheKey, CompileCache, Found};
use crate::compile::{Compiler, deserialize};
use crate::decoders::Decoders;
use crate::engine::{SandboxEngine, engine, instances_max, max_map_count};
use crate::epoch::Ticker;
use crate::error::SandboxError;
use crate::host_api::linker;
use crate::image;
use crate::instance::Permit;
use crate::limits::SandboxConfig;
use crate::metrics::Metrics;
use crate::package::{PackageInfo, PluginSetup, World};
use crate::plugin::Plugin;
use crate::state::CallState;
use aimass_dispatch::Dispatcher;
use aimass_trust::{Capability, VerifiedPackage};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

/// Bumped when images are made in another way, so that old entries of the cache are not found.
const IMAGE_FORMAT: &[u8] = b"aimass-image-1";

/// Holds plugins apart from each other and from everything else.
pub struct Sandbox {
    pub(crate) engine: SandboxEngine,
    pub(crate) ticker: Ticker,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) decoders: Arc<Decoders>,
    pub(crate) metrics: Arc<Metrics>,
    config: SandboxConfig,
    cache: CompileCache,
    compiler: Compiler,
    instances: Arc<Semaphore>,
    instances_max: u32,
}

impl Sandbox {
    /// Makes a sandbox whose plugins call plans through `dispatcher`.
    ///
    /// # Errors
    /// [`SandboxError::Start`] if the machine cannot hold the pool of instances,
    /// [`SandboxError::Cache`] if the cache folder cannot be used.
    pub fn new(
        config: SandboxConfig,
        dispatcher: Arc<Dispatcher>,
    ) -> Result<Arc<Sandbox>, SandboxError> {
        let instances_max = instances_max(config.instances_max, max_map_count());
        let start = |message: String| SandboxError::Start { message };
        let engine =
            engine(instances_max, config.metering).map_err(|error| start(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine.wasmtime).map_err(|error| start(error.to_string()))?;
        let cache = CompileCache::open(&config.cache_dir, config.cache_bytes_max)?;
        Ok(Arc::new(Sandbox {
            engine,
            ticker,
            dispatcher,
            decoders: Decoders::new(std::thread::available_parallelism().map_or(1, usize::from)),
            metrics: Arc::default(),
            compiler: Compiler::new(&config),
            config,
            cache,
            instances: Arc::new(Semaphore::new(instances_max as usize)),
            instances_max,
        }))
    }

    /// Counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where plan calls go.
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// Whether guests' instructions are counted.
    pub(crate) fn metering(&self) -> bool {
        self.config.metering
    }

    /// Instances that may be live at once.
    pub fn instances_max(&self) -> u32 {
        self.instances_max
    }

    /// Loads a plugin: admission, `init`, compilation (or the cache instead of both), `describe`.
    ///
    /// Runs on a thread for blocking work. A [`VerifiedPackage`] is the only way in.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] for what may not run here, [`SandboxError::Image`] and
    /// [`SandboxError::Plugin`] for what does not start.
    pub async fn load(
        self: &Arc<Sandbox>,
        package: &VerifiedPackage,
        setup: PluginSetup,
    ) -> Result<Arc<Plugin>, SandboxError> {
        let refused = |code, message| self.refused(package.name().as_str().into(), code, message);
        let Some(info) = PackageInfo::new(package, setup, &self.config.limits) else {
            let world = package.manifest().world.as_str();
            return Err(refused("world", unknown_world(world)));
        };
        let (sandbox, info) = (self.clone(), Arc::new(info));
        let (component, plugin) = (package.component().clone(), info.name.clone());
        let runtime = Handle::current();
        let task = move || runtime.block_on(sandbox.load_blocking(info, &component));
        match tokio::task::spawn_blocking(task).await {
            Ok(loaded) => loaded,
            Err(error) => {
                let message = format!("its image could not be made: {error}");
                Err(SandboxError::Image { plugin, message })
            }
        }
    }

    /// Checks whether a package could be loaded, without running anything of it: size and complexity
    /// of the component, its imports against its grants, its exports against its world.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], as [`Sandbox::load`] would.
    pub fn admit(&self, package: &VerifiedPackage) -> Result<(), SandboxError> {
        let refused = |code, message| self.refused(package.name().as_str().into(), code, message);
        let kind = package.manifest().world.kind();
        let Some(world) = World::of_kind(kind) else {
            let world = package.manifest().world.as_str();
            return Err(refused("world", unknown_world(world)));
        };
        let limits = &self.config.admission;
        admission::check(package.component(), world, package.capabilities(), limits)
            .map_err(|error| refused(error.code, error.message))
    }

    /// Removes what was compiled of a component that must not run anymore; how many entries that were.
    pub fn purge(&self, component: &[u8; 32]) -> u64 {
        self.cache.purge(component)
    }

    async fn load_blocking(
        self: Arc<Sandbox>,
        package: Arc<PackageInfo>,
        component: &[u8],
    ) -> Result<Arc<Plugin>, SandboxError> {
        let limits = &self.config.admission;
        admission::check(component, package.world, &package.capabilities, limits)
            .map_err(|error| self.refused(package.name.clone(), error.code, error.message))?;
        let linker = linker(&self.engine.wasmtime, &package.capabilities)
            .map_err(|error| SandboxError::Start { message: format!("{error:#}") })?;
        let compiled = self.compiled(&package, &linker, component).await?;
        let pre = linker
            .instantiate_pre(&compiled)
            .map_err(|error| self.refused(package.name.clone(), "import", format!("{error:#}")))?;
        Plugin::new(self, package, pre, &compiled).await
    }

    fn refused(&self, plugin: Arc<str>, code: &'static str, message: String) -> SandboxError {
        Metrics::add(&self.metrics.refusals, 1);
        SandboxError::Refused { plugin, code, message }
    }

    /// The compiled image: from the cache, or made by running `init`.
    async fn compiled(
        &self,
        package: &Arc<PackageInfo>,
        linker: &Linker<CallState>,
        component: &[u8],
    ) -> Result<Component, SandboxError> {
        // An image whose `init` looked at no file serves every package that runs this plugin.
        let shared = self.cache_key(package, [0; 32]);
        let reads_files = package.capabilities.allows(Capability::Files);
        let own = reads_files.then(|| self.cache_key(package, package.files_digest()));
        let found = self.cached(&shared).or_else(|| self.cached(own.as_ref()?));
        if let Some(component) = found {
            return Ok(component);
        }
        Metrics::add(&self.metrics.cache_misses, 1);
        let permit = self.wait_for_permit().await;
        let mut compiler = self.compiler.session(&self.engine, &package.name);
        let image::Image { component: image, files_seen } =
            image::make(self, package, linker, &mut compiler, (component, permit)).await?;
        let key = own.filter(|_| files_seen).unwrap_or(shared);
        let (compiled, code) = compiler.compile(&image).await?;
        self.cache.put(&key, &code);
        Ok(compiled)
    }

    fn cache_key(&self, package: &PackageInfo, files: [u8; 32]) -> CacheKey {
        let config = Sha256::digest(&package.config);
        CacheKey::of(&package.digest, [IMAGE_FORMAT, &config, &files, &self.engine.settings])
    }

    fn cached(&self, key: &CacheKey) -> Option<Component> {
        let code = match self.cache.get(key) {
            Found::Entry(code) => code,
            Found::Nothing => return None,
            Found::Rejected => {
                tracing::warn!("a compiled component that this host did not make was removed");
                Metrics::add(&self.metrics.cache_rejected, 1);
                return None;
            }
        };
        match deserialize(&self.engine, &code) {
            Ok(component) => {
                Metrics::add(&self.metrics.cache_hits, 1);
                Some(component)
            }
            Err(error) => {
                tracing::warn!(%error, "a compiled component of another engine is made again");
                Metrics::add(&self.metrics.cache_rejected, 1);
                None
            }
        }
    }

    /// The right to one more live instance, if there is one.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let permit = self.instances.clone().try_acquire_owned().ok()?;
        Some(Permit::new(permit, self.metrics.clone()))
    }

    async fn wait_for_permit(&self) -> Permit {
        let permit = self.instances.clone().acquire_owned().await;
        Permit::new(permit.expect("the semaphore is never closed"), self.metrics.clone())
    }
}

fn unknown_world(got: &str) -> String {
    let known = World::ALL.map(World::as_str).join(", ");
    format!("expected one of the worlds {known}, got {got}")
}
