//! A verified package as the sandbox sees it: who it is, what it may do, what it is given.

use crate::error::{Cause, PluginError};
use crate::limits::{Limits, MEMORY_BYTES_MAX};
use aimass_graph::WeightSource;
use aimass_trust::{Capabilities, Capability, Grant, VerifiedPackage};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The world that a plugin implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// Named tensors in, named tensors out.
    Processor,
    /// Reads model files and builds graphs.
    Format,
    /// Reads model files and builds graphs for shapes, and content, that calls bring.
    TracingFormat,
    /// Glue that calls plans for each request.
    Model,
}

impl World {
    /// Every world.
    pub const ALL: [World; 4] =
        [World::Processor, World::Format, World::TracingFormat, World::Model];

    /// Its name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            World::Processor => "processor",
            World::Format => "format",
            World::TracingFormat => "tracing-format",
            World::Model => "model",
        }
    }

    /// The world of that name.
    pub fn of_kind(kind: &str) -> Option<World> {
        World::ALL.into_iter().find(|world| world.as_str() == kind)
    }

    /// Functions that the world exports.
    pub fn exports(self) -> &'static [&'static str] {
        match self {
            World::Processor | World::Model => &["init", "describe", "process"],
            World::Format => &["init", "detect", "load"],
            World::TracingFormat => &["init", "detect", "load", "trace", "resume"],
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a plugin gets beside its own code.
#[derive(Clone)]
pub struct PluginSetup {
    /// Configuration, as JSON; `{}` if none is set. [`Sandbox::load`](crate::Sandbox::load) holds it
    /// against the schema of the plugin's manifest.
    pub config: Arc<[u8]>,
    /// Files of the model package.
    pub files: Arc<dyn ModelFiles>,
}

/// The files of a model package, read-only.
pub trait ModelFiles: Send + Sync {
    /// Names and sizes in bytes, sorted by name.
    fn list(&self) -> Vec<(String, u64)>;
    /// One file; `None` if there is none of that name.
    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>>;
}

/// No files: for plugins that stand alone.
pub struct NoFiles;

impl ModelFiles for NoFiles {
    fn list(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn open(&self, _name: &str) -> Option<Arc<dyn WeightSource>> {
        None
    }
}

/// Everything about a loaded plugin that its calls share.
pub(crate) struct PackageInfo {
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) digest: [u8; 32],
    pub(crate) world: World,
    pub(crate) capabilities: Capabilities,
    pub(crate) limits: Limits,
    pub(crate) config: Arc<[u8]>,
    pub(crate) files: Arc<dyn ModelFiles>,
}

impl PackageInfo {
    /// What `package` may do in a sandbox of these limits; `None` if it is of a world we do not know.
    pub(crate) fn new(
        package: &VerifiedPackage,
        setup: PluginSetup,
        host: &Limits,
    ) -> Option<PackageInfo> {
        Some(PackageInfo {
            name: package.name().as_str().into(),
            version: package.version().as_str().into(),
            digest: *package.digest(),
            world: World::of_kind(package.manifest().world.kind())?,
            capabilities: package.capabilities().clone(),
            limits: capped(host, package.limits()),
            config: setup.config,
            files: setup.files,
        })
    }

    /// Whether the file of this name was granted.
    pub(crate) fn may_read(&self, file: &str) -> bool {
        match self.capabilities.get(Capability::Files) {
            Some(Grant::All(_)) => true,
            Some(Grant::Only(names)) => names.iter().any(|name| name == file),
            None => false,
        }
    }

    /// Digest of the files that the plugin can read: names, sizes and content.
    pub(crate) fn files_digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (name, bytes) in self.files.list() {
            if !self.may_read(&name) {
                continue;
            }
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(&name);
            hash.update(bytes.to_le_bytes());
            let content = self.files.open(&name).map(|file| file.digest()).unwrap_or_default();
            hash.update(content);
        }
        hash.finalize().into()
    }

    /// An error of this plugin.
    pub(crate) fn error(&self, function: &'static str, cause: Cause) -> PluginError {
        PluginError {
            plugin: self.name.clone(),
            version: self.version.clone(),
            world: self.world,
            function,
            cause,
            backtrace: None,
        }
    }
}

impl Limits {
    /// These limits, lowered where a package asks for less. It can never raise them.
    #[must_use]
    pub fn lowered(&self, package: &aimass_trust::Limits) -> Limits {
        capped(self, package)
    }
}

/// The host's limits, lowered where the package asks for less.
fn capped(host: &Limits, package: &aimass_trust::Limits) -> Limits {
    let lower = |host: u64, asked: Option<u64>| asked.map_or(host, |asked| asked.min(host));
    let lower_usize = |host: usize, asked: Option<u64>| {
        usize::try_from(lower(host as u64, asked)).unwrap_or(host)
    };
    let wall_ms = lower(host.wall_max.as_millis() as u64, package.wall_ms_max);
    let wall_max = Duration::from_millis(wall_ms);
    Limits {
        memory_bytes_max: lower_usize(host.memory_bytes_max, package.memory_bytes_max)
            .min(MEMORY_BYTES_MAX),
        host_bytes_max: lower(host.host_bytes_max, package.host_bytes_max),
        output_bytes_max: lower(host.output_bytes_max, package.output_bytes_max),
        handles_max: lower_usize(host.handles_max, package.handles_max),
        host_calls_max: lower(host.host_calls_max, package.host_calls_max),
        log_bytes_max: lower(host.log_bytes_max, package.log_bytes_max),
        wall_max,
        trace_wall_max: host.trace_wall_max.min(wall_max),
        ..host.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_can_lower_limits_but_never_raise_them() {
        let host = Limits { handles_max: 100, ..Limits::default() };
        let asked = aimass_trust::Limits {
            handles_max: Some(1_000),
            output_bytes_max: Some(5),
            wall_ms_max: Some(20),
            memory_bytes_max: Some(u64::MAX),
            ..aimass_trust::Limits::default()
        };
        let limits = capped(&host, &asked);
        assert_eq!((limits.handles_max, limits.output_bytes_max), (100, 5));
        assert_eq!(limits.wall_max, Duration::from_millis(20));
        assert_eq!(limits.trace_wall_max, Duration::from_millis(20));
        assert_eq!(limits.memory_bytes_max, host.memory_bytes_max);
    }
}
