//! The sandbox: one engine, one cache, one clock for all plugins of the process.

use crate::BoxFuture;
use crate::admission;
use crate::cache::{CacheKey, CompileCache, Found};
use crate::compile::{Compiler, Session, deserialize, too_complex};
use crate::config_schema::{check_config, check_schema};
use crate::decoders::Decoders;
use crate::engine::{SandboxEngine, engine, instances_max, max_map_count};
use crate::epoch::Ticker;
use crate::error::{Cause, PluginError, SandboxError};
use crate::host_api::linker;
use crate::image;
use crate::instance::Permit;
use crate::limits::SandboxConfig;
use crate::metrics::Metrics;
use crate::package::{PackageInfo, PluginSetup, World};
use crate::plugin::Plugin;
use crate::state::CallState;
use crate::worker::messages::Refusal;
use crate::worker::pool::Workers;
use crate::worker::remote::{self, NotMade, WorkerPlugin, publisher};
use aimass_dispatch::Dispatcher;
use aimass_trust::{Capability, Tier, VerifiedPackage};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

/// Bumped when images are made in another way, so that old entries of the cache are not found.
const IMAGE_FORMAT: &[u8] = b"aimass-image-1";
/// Stands where the key of an image has its configuration.
const INITIALIZER: &[u8] = b"init";
/// Size from which on people are told that compiling takes time.
const LARGE_BYTES: usize = 4 << 20;
/// Megabytes of a component that are compiled in a second on two cores: 18 MB of Python take 9 s.
const COMPILED_MEGABYTES: usize = 2;

/// Holds plugins apart from each other and from everything else.
pub struct Sandbox {
    pub(crate) engine: SandboxEngine,
    pub(crate) ticker: Ticker,
    /// None in a worker, as the cache.
    pub(crate) dispatcher: Option<Arc<Dispatcher>>,
    pub(crate) decoders: Arc<Decoders>,
    pub(crate) metrics: Arc<Metrics>,
    config: SandboxConfig,
    cache: Option<CompileCache>,
    compiler: Compiler,
    workers: Arc<Workers>,
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
        let cache = CompileCache::open(&config.cache_dir, config.cache_bytes_max)?;
        let made = |instances| engine(instances, config.metering);
        let engine = Sandbox::engine(config.instances_max, made)?;
        Sandbox::open(config, engine, (Some(dispatcher), Some(cache)))
    }

    /// The sandbox inside a worker process: its plans and its cache are the host's.
    pub(crate) fn of_worker(engine: (SandboxEngine, u32)) -> Result<Arc<Sandbox>, SandboxError> {
        Sandbox::open(SandboxConfig::new(""), engine, (None, None))
    }

    /// An engine made by `make`, and how many instances may be live in it at once.
    ///
    /// # Errors
    /// [`SandboxError::Start`] if the machine cannot hold the pool of instances.
    pub(crate) fn engine(
        asked: Option<u32>,
        make: impl FnOnce(u32) -> wasmtime::Result<SandboxEngine>,
    ) -> Result<(SandboxEngine, u32), SandboxError> {
        let instances_max = instances_max(asked, max_map_count());
        let start = |message: String| SandboxError::Start { message };
        let engine = make(instances_max).map_err(|error| start(format!("{error:#}")))?;
        Ok((engine, instances_max))
    }

    fn open(
        config: SandboxConfig,
        (engine, instances_max): (SandboxEngine, u32),
        (dispatcher, cache): (Option<Arc<Dispatcher>>, Option<CompileCache>),
    ) -> Result<Arc<Sandbox>, SandboxError> {
        let start = |message: String| SandboxError::Start { message };
        let ticker = Ticker::start(&engine.wasmtime).map_err(|error| start(error.to_string()))?;
        let metrics = Arc::<Metrics>::default();
        Ok(Arc::new(Sandbox {
            engine,
            ticker,
            dispatcher,
            decoders: Decoders::new(std::thread::available_parallelism().map_or(1, usize::from)),
            compiler: Compiler::new(&config),
            workers: Workers::new(&config, metrics.clone()),
            metrics,
            config,
            cache,
            instances: Arc::new(Semaphore::new(instances_max as usize)),
            instances_max,
        }))
    }

    /// Processes of workers that serve a tenant and publisher now.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.workers.pids()
    }

    /// Counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
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
    pub fn load<'a>(
        self: &'a Arc<Sandbox>,
        package: &'a VerifiedPackage,
        setup: PluginSetup,
    ) -> BoxFuture<'a, Result<Arc<Plugin>, SandboxError>> {
        Box::pin(self.load_on_thread(package, setup))
    }

    async fn load_on_thread(
        self: &Arc<Sandbox>,
        package: &VerifiedPackage,
        setup: PluginSetup,
    ) -> Result<Arc<Plugin>, SandboxError> {
        let refused = |code, message| self.refused(package.name().as_str().into(), code, message);
        if let Some(schema) = &package.manifest().config_schema {
            let steps_max = self.config.admission.config_steps_max;
            check_config(&schema.to_string(), &setup.config, steps_max)
                .map_err(|message| refused("config", message))?;
        }
        let Some(info) = PackageInfo::new(package, setup, &self.config.limits) else {
            let world = package.manifest().world.as_str();
            return Err(refused("world", unknown_world(world)));
        };
        let (sandbox, info) = (self.clone(), Arc::new(info));
        let (component, plugin) = (package.component().clone(), info.name.clone());
        let (runtime, tier) = (Handle::current(), package.tier());
        let task = move || match tier {
            Tier::InProcess => runtime.block_on(sandbox.load_blocking(info, &component)),
            Tier::Worker => runtime.block_on(sandbox.load_remote(info, &component)),
        };
        match tokio::task::spawn_blocking(task).await {
            Ok(loaded) => loaded,
            Err(error) => {
                let message = format!("its image could not be made: {error}");
                Err(SandboxError::Image { plugin, message })
            }
        }
    }

    /// Checks whether a package could be loaded, without running anything of it: size and complexity
    /// of the component, its imports against its grants, its exports against its world, and whether the
    /// schema of its configuration is one.
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
        if let Some(schema) = &package.manifest().config_schema {
            check_schema(&schema.to_string())
                .map_err(|message| refused("config-schema", message))?;
        }
        let limits = &self.config.admission;
        admission::check(package.component(), world, package.capabilities(), limits)
            .map_err(|error| refused(error.code, error.message))
    }

    /// Removes what was compiled of a component that must not run anymore; how many entries that were.
    pub fn purge(&self, component: &[u8; 32]) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.purge(component))
    }

    async fn load_blocking(
        self: Arc<Sandbox>,
        package: Arc<PackageInfo>,
        component: &[u8],
    ) -> Result<Arc<Plugin>, SandboxError> {
        let limits = &self.config.admission;
        admission::check(component, package.world, &package.capabilities, limits)
            .map_err(|error| self.refused(package.name.clone(), error.code, error.message))?;
        let linker = self.linker(&package)?;
        let compiled = self.compiled(&package, &linker, component).await?;
        self.plugin_of(package, &linker, &compiled).await
    }

    fn linker(&self, package: &PackageInfo) -> Result<Linker<CallState>, SandboxError> {
        linker(&self.engine.wasmtime, &package.capabilities, self.in_worker())
            .map_err(|error| SandboxError::Start { message: format!("{error:#}") })
    }

    async fn plugin_of(
        self: Arc<Self>,
        package: Arc<PackageInfo>,
        linker: &Linker<CallState>,
        compiled: &Component,
    ) -> Result<Arc<Plugin>, SandboxError> {
        let pre = linker
            .instantiate_pre(compiled)
            .map_err(|error| self.refused(package.name.clone(), "import", format!("{error:#}")))?;
        Plugin::new(self, package, pre, compiled).await
    }

    /// Loads a plugin of the untrusted tier: compiled, if need be, and described in a worker of its
    /// publisher.
    async fn load_remote(
        self: Arc<Sandbox>,
        package: Arc<PackageInfo>,
        component: &[u8],
    ) -> Result<Arc<Plugin>, SandboxError> {
        if self.config.child_program.is_none() {
            let message = "the trust policy puts it into worker processes, which this process cannot \
                           start; use a server that can, or set `tier = \"in-process\"` in trust.toml";
            return Err(self.refused(package.name.clone(), "tier", message.into()));
        }
        let limits = &self.config.admission;
        admission::check(component, package.world, &package.capabilities, limits)
            .map_err(|error| self.refused(package.name.clone(), error.code, error.message))?;
        let code = self.remote_code(&package, component).await?;
        let remote = WorkerPlugin::new(self.workers.clone(), &package, code)
            .map_err(|error| SandboxError::Start { message: error.to_string() })?;
        Plugin::in_worker(self, package, remote).await
    }

    /// Code for workers of this publisher: from the cache, or compiled in one of them.
    ///
    /// It stands in the cache under the tier and the publisher, since a worker that lies can answer any
    /// code: it must not run anywhere else.
    async fn remote_code(
        &self,
        package: &Arc<PackageInfo>,
        component: &[u8],
    ) -> Result<Vec<u8>, SandboxError> {
        let publisher = publisher(package);
        let key = |files: [u8; 32]| {
            let config = Sha256::digest(&package.config);
            let owner = [b"worker ", publisher.as_bytes(), &files].concat();
            CacheKey::of(&package.digest, [IMAGE_FORMAT, &config, &owner, &self.engine.settings])
        };
        let shared = key([0; 32]);
        let reads_files = package.capabilities.allows(Capability::Files);
        let own = reads_files.then(|| key(package.files_digest()));
        let found = self.cached_code(&shared).or_else(|| self.cached_code(own.as_ref()?));
        if let Some(code) = found {
            Metrics::add(&self.metrics.cache_hits, 1);
            return Ok(code);
        }
        Metrics::add(&self.metrics.cache_misses, 1);
        let made = remote::make(&self.workers, self, package, component).await;
        let (code, files_seen) = made.map_err(|not_made| self.not_made(package, not_made))?;
        Metrics::add(&self.metrics.images, 1);
        let key = own.filter(|_| files_seen).unwrap_or(shared);
        if let Some(cache) = &self.cache {
            cache.put(&key, code.as_slice());
        }
        Ok(code.as_slice().to_vec())
    }

    fn not_made(&self, package: &PackageInfo, not_made: NotMade) -> SandboxError {
        let (plugin, limits) = (package.name.clone(), &self.config.compile);
        match not_made {
            NotMade::Refused(Refusal { code, message }) => self.refused(plugin, code, message),
            NotMade::Failed((Cause::Host { message }, _)) => {
                SandboxError::Image { plugin, message }
            }
            NotMade::Failed((cause, backtrace)) => {
                PluginError { backtrace, ..package.error("init", cause) }.into()
            }
            NotMade::Costly => self.refused(plugin, "complexity", too_complex(limits.cpu_max)),
            NotMade::Slow => {
                let message = "the machine is busy: the worker that compiles it had its time and not the \
                               processors that it needs; try again later or allow more \
                               (`--compile-seconds-max`)";
                SandboxError::Compiler { plugin, message: message.into() }
            }
        }
    }

    /// In a worker: the plugin of code that the host sent.
    pub(crate) async fn of_code(
        self: &Arc<Sandbox>,
        package: Arc<PackageInfo>,
        code: &[u8],
    ) -> Result<Arc<Plugin>, SandboxError> {
        let linker = self.linker(&package)?;
        let refused = |error: wasmtime::Error| SandboxError::Image {
            plugin: package.name.clone(),
            message: format!("{error:#}"),
        };
        let compiled = deserialize(&self.engine, code).map_err(refused)?;
        self.clone().plugin_of(package, &linker, &compiled).await
    }

    /// In a worker: runs `init` and compiles; whether `init` looked at files.
    pub(crate) async fn make(
        &self,
        package: &Arc<PackageInfo>,
        component: &[u8],
    ) -> Result<(Vec<u8>, bool), SandboxError> {
        let linker = self.linker(package)?;
        let permit = self.wait_for_permit().await;
        let (_, code, files_seen) = self.image(package, &linker, (component, permit)).await?;
        Ok((code, files_seen))
    }

    /// The component whose memory `init` left, compiled, and its code; whether `init` looked at files.
    async fn image(
        &self,
        package: &Arc<PackageInfo>,
        linker: &Linker<CallState>,
        component: (&[u8], Permit),
    ) -> Result<(Component, Vec<u8>, bool), SandboxError> {
        let mut compiler = self.compiler.session(&self.engine, &package.name);
        let image::Image { component: image, files_seen } =
            image::make(self, package, linker, &mut compiler, component).await?;
        let (compiled, code) = self.compile(package, &mut compiler, &image).await?;
        Ok((compiled, code, files_seen))
    }

    /// The component that runs `init`, compiled: one for all configurations, since they are read by `init`.
    pub(crate) async fn initializer(
        &self,
        package: &PackageInfo,
        compiler: &mut Session<'_>,
        instrumented: &[u8],
    ) -> Result<Component, SandboxError> {
        let parts = [IMAGE_FORMAT, INITIALIZER, &[], &self.engine.settings];
        let key = CacheKey::of(&package.digest, parts);
        let kept = self.cached_code(&key).and_then(|code| deserialize(&self.engine, &code).ok());
        if let Some(component) = kept {
            return Ok(component);
        }
        let (component, code) = self.compile(package, compiler, instrumented).await?;
        if let Some(cache) = &self.cache {
            cache.put(&key, &code);
        }
        Ok(component)
    }

    async fn compile(
        &self,
        package: &PackageInfo,
        compiler: &mut Session<'_>,
        wasm: &[u8],
    ) -> Result<(Component, Vec<u8>), SandboxError> {
        if wasm.len() >= LARGE_BYTES {
            let (plugin, megabytes) = (&*package.name, wasm.len() / 1_000_000);
            let seconds = megabytes / COMPILED_MEGABYTES;
            tracing::info!(
                plugin,
                "compiling {megabytes} MB, about {seconds} s on two cores; the result is kept"
            );
        }
        Metrics::add(&self.metrics.compilations, 1);
        compiler.compile(wasm).await
    }

    /// Whether this process is a worker.
    fn in_worker(&self) -> bool {
        self.cache.is_none()
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
        let (compiled, code, files_seen) = self.image(package, linker, (component, permit)).await?;
        let key = own.filter(|_| files_seen).unwrap_or(shared);
        if let Some(cache) = &self.cache {
            cache.put(&key, &code);
        }
        Ok(compiled)
    }

    fn cache_key(&self, package: &PackageInfo, files: [u8; 32]) -> CacheKey {
        let config = Sha256::digest(&package.config);
        CacheKey::of(&package.digest, [IMAGE_FORMAT, &config, &files, &self.engine.settings])
    }

    fn cached_code(&self, key: &CacheKey) -> Option<Vec<u8>> {
        match self.cache.as_ref()?.get(key) {
            Found::Entry(code) => Some(code),
            Found::Nothing => None,
            Found::Rejected => {
                tracing::warn!("a compiled component that this host did not make was removed");
                Metrics::add(&self.metrics.cache_rejected, 1);
                None
            }
        }
    }

    fn cached(&self, key: &CacheKey) -> Option<Component> {
        let code = self.cached_code(key)?;
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
