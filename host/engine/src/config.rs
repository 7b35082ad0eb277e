//! Configuration of the engine.

use crate::DeviceChoice;
use aimass_dispatch::DispatchConfig;
use aimass_graph::GpuOptions;
use aimass_market::mirror::FetchLimits;
use aimass_sandbox::SandboxConfig;
use std::path::PathBuf;
use std::time::Duration;

/// What [`Engine::open`](crate::Engine::open) needs to know.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Folder of registry, trust policy, compile cache and host key.
    pub data_dir: PathBuf,
    /// Trust policy; default `trust.toml` in the data folder.
    pub trust_policy: PathBuf,
    /// Whether the server listens on loopback only; else local development keys are not trusted.
    pub loopback: bool,
    /// Kernel threads; 0 takes every core.
    pub threads: usize,
    /// Where plans run. Default [`DeviceChoice::Cpu`]: tools that ask once need no GPU.
    pub device: DeviceChoice,
    /// How GPUs are used.
    pub gpu: GpuOptions,
    /// Whether dynamically quantized models compute with one scale for a whole tensor, as their files
    /// say, instead of scales of each row (`CompileOptions::exact_quantization`). Default false.
    pub exact_quantization: bool,
    /// Limits of the dispatcher.
    pub dispatch: DispatchConfig,
    /// Limits of plugins, and the program that compiles them in a jail. Default: those of
    /// [`SandboxConfig::new`] on `cache` in the data folder, which compiles in this process.
    pub sandbox: SandboxConfig,
    /// How often the registry is looked at for changes of other processes. Default 20 ms.
    pub registry_poll: Duration,
    /// Time after which a load that failed for what may pass (a busy machine, a lost worker) is tried again.
    /// It doubles with each failure, up to 5 minutes or this, whichever is longer. Default 10 s.
    pub load_retry: Duration,
    /// Versions of one model that stay loaded besides the labeled ones. Default 2.
    pub versions_loaded_max: usize,
    /// Inputs that a request may have. Default 64.
    pub inputs_max: usize,
    /// Limits of models whose format plugin traces, each.
    pub traced: TracedConfig,
    /// Limits of models that call other models.
    pub composition: CompositionConfig,
    /// Bytes of packed weights that are kept on disk for the next start, in `cache/packed` of the data
    /// folder; what was used longest ago goes first, and 0 keeps none. Default 16 GiB.
    pub packed_bytes_max: u64,
    /// How often the marketplaces of the trust policy are asked for news, revocations among them.
    /// Default 20 s, so that a revocation ends the last call within 60 s.
    pub market_poll: Duration,
    /// How long a mirror of a marketplace may take.
    pub market_fetch: FetchLimits,
    /// How long calls that are under way may go on after a plugin of theirs was revoked. Default 5 s.
    pub revoked_drain: Duration,
    /// Whether the registry's ready versions are loaded and followed; tools that only publish do
    /// not. Default true.
    pub serve_registry: bool,
}

impl EngineConfig {
    /// Defaults for a data folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> EngineConfig {
        let data_dir = data_dir.into();
        EngineConfig {
            trust_policy: data_dir.join("trust.toml"),
            sandbox: SandboxConfig::new(data_dir.join("cache")),
            data_dir,
            loopback: true,
            threads: 0,
            device: DeviceChoice::Cpu,
            gpu: GpuOptions::default(),
            exact_quantization: false,
            dispatch: DispatchConfig::default(),
            registry_poll: Duration::from_millis(20),
            load_retry: Duration::from_secs(10),
            versions_loaded_max: 2,
            inputs_max: 64,
            traced: TracedConfig::default(),
            composition: CompositionConfig::default(),
            packed_bytes_max: 16 << 30,
            market_poll: Duration::from_secs(20),
            market_fetch: FetchLimits::default(),
            revoked_drain: Duration::from_secs(5),
            serve_registry: true,
        }
    }
}

/// Limits of one request whose models call other models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompositionConfig {
    /// Calls of other models, all models of the request together. Default 1,000.
    pub calls_max: u32,
    /// Models below the one that the client asked for. Default 8, which is also the most.
    pub depth_max: u32,
}

impl Default for CompositionConfig {
    fn default() -> CompositionConfig {
        CompositionConfig { calls_max: 1_000, depth_max: 8 }
    }
}

/// Limits of one model whose format plugin traces: what is kept of it, and what one call may take.
/// What was used longest ago goes when a limit is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedConfig {
    /// Combinations of input shapes that are kept, batch extents aside where the plugin serves them
    /// all. Default 64.
    pub roots_max: usize,
    /// Stages that are kept, of all combinations together. Default 4,096.
    pub stages_max: usize,
    /// Bytes of the tensors that kept stages know, or are found by. Default 256 MiB.
    pub content_bytes_max: u64,
    /// Bytes of constants that the plans of kept stages hold, each for itself; weights of the model's
    /// files, and what is packed of them, are shared and do not count. Default 4 GiB.
    pub plan_bytes_max: u64,
    /// Guest calls and compilations at once. Default 4.
    pub traces_max: usize,
    /// Bytes of all values that the stages of one call make. Default 4 GiB.
    pub call_bytes_max: u64,
    /// Failed stages that are remembered, so that a broken model is not traced at every request.
    /// Default 1,024; 0 remembers none.
    pub failures_max: usize,
    /// How long a failed stage is remembered: its error is answered without another attempt. Default
    /// 10 seconds.
    pub failure_kept: Duration,
}

impl Default for TracedConfig {
    fn default() -> TracedConfig {
        TracedConfig {
            roots_max: 64,
            stages_max: 4_096,
            content_bytes_max: 256 << 20,
            plan_bytes_max: 4 << 30,
            traces_max: 4,
            call_bytes_max: 4 << 30,
            failures_max: 1_024,
            failure_kept: Duration::from_secs(10),
        }
    }
}
