//! Configuration of the engine.

use aimass_dispatch::DispatchConfig;
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
    /// Limits of the dispatcher.
    pub dispatch: DispatchConfig,
    /// How often the registry is looked at for changes of other processes. Default 20 ms.
    pub registry_poll: Duration,
    /// Versions of one model that stay loaded besides the labeled ones. Default 2.
    pub versions_loaded_max: usize,
    /// Inputs that a request may have. Default 64.
    pub inputs_max: usize,
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
            data_dir,
            loopback: true,
            threads: 0,
            dispatch: DispatchConfig::default(),
            registry_poll: Duration::from_millis(20),
            versions_loaded_max: 2,
            inputs_max: 64,
            serve_registry: true,
        }
    }
}
