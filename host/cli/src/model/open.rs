//! Opening the model that a tool looks into.

use super::signed_statement;
use crate::home::Home;
use aimass_cpu::pool::KernelPool;
use aimass_dispatch::{CallObserver, DispatchConfig};
use aimass_engine::{DeviceChoice, Engine, EngineConfig, OpenModel, PackageFolder, Selector};
use anyhow::{Context, bail};
use clap::Args;
use std::path::Path;
use std::sync::Arc;

/// Which model is meant, and how many threads it may use.
#[derive(Args)]
pub(crate) struct Address {
    /// `name`, `name@label`, `name@version`, or a package folder that is not published yet
    model: String,
    /// Kernel threads; 0 takes every core
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Where its plans run: `cpu`, a GPU as `cuda:0`, or `auto` for a GPU if one works
    #[arg(long, default_value_t = DeviceChoice::Cpu, value_name = "DEVICE")]
    device: DeviceChoice,
}

/// A model that is loaded by itself. The engine lives as long.
pub(crate) struct Opened {
    pub(crate) model: OpenModel,
    _engine: Arc<Engine>,
}

impl Address {
    /// Loads the model, and nothing else of the registry; `observer` sees its plan calls.
    ///
    /// # Errors
    /// No such model, label or version, with those that exist; else why it cannot be loaded.
    pub(crate) async fn open(
        &self,
        home: &Home,
        observer: Option<Arc<dyn CallObserver>>,
    ) -> anyhow::Result<Opened> {
        let dispatch = DispatchConfig { observer, ..DispatchConfig::default() };
        let config = EngineConfig {
            serve_registry: false,
            threads: self.threads,
            dispatch,
            device: self.device.clone(),
            ..home.engine_config()
        };
        let engine = Engine::open(config).await?;
        if self.device != DeviceChoice::Cpu {
            for device in engine.devices() {
                let reason = device.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                eprintln!("device {} {}{reason}", device.device, device.name);
            }
        }
        eprintln!("loading {}", self.model);
        let model = match self.folder()? {
            Some(folder) => {
                let package = PackageFolder::read(folder)
                    .with_context(|| format!("reading {}", folder.display()))?;
                let statement = signed_statement(home, &package, None, 1)?;
                let name = package.manifest.model.name.rsplit('/').next().unwrap_or_default();
                engine.open_package(name, &package, &statement).await?
            }
            None => {
                let (name, selector) = match self.model.split_once('@') {
                    Some((name, selector)) => (name, selector.parse()?),
                    None => (&*self.model, Selector::Default),
                };
                engine.open_model(name, &selector).await?
            }
        };
        Ok(Opened { model, _engine: engine })
    }

    /// Where plans run, as it was asked for.
    pub(crate) fn device(&self) -> &DeviceChoice {
        &self.device
    }

    /// Kernel threads that the model runs on.
    pub(crate) fn kernel_threads(&self) -> usize {
        let pool = KernelPool::global();
        match self.threads {
            0 => pool.threads(),
            threads => pool.team(threads).threads(),
        }
    }

    /// The package folder, if one is meant: whatever holds a `model.toml`, or is written as a path.
    fn folder(&self) -> anyhow::Result<Option<&Path>> {
        let path = Path::new(&self.model);
        if path.join("model.toml").is_file() {
            return Ok(Some(path));
        }
        if self.model.contains('/') || self.model.starts_with('.') {
            bail!(
                "{} is no package folder: expected a folder with a model.toml; published models \
                 are named as `aimass model list` names them",
                self.model
            );
        }
        Ok(None)
    }
}
