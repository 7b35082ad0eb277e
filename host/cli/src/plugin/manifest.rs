//! `plugin.toml`: what the author writes, and the manifest that is signed.

use aimass_build::Language;
use aimass_json_schema::{Schema, Value};
use aimass_trust::{Capabilities, Capability, Grant, Limits, Manifest, Whole};
use anyhow::Context;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Version of the contract that this tool builds for.
const CONTRACT: &str = "0.1.0";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginToml {
    name: String,
    version: String,
    world: String,
    /// What it is written in; none is Rust.
    language: Option<String>,
    description: Option<String>,
    license: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    /// Models that the plugin may call, if `models` is among the capabilities; absent: those that the
    /// package of a model names.
    models: Option<Vec<String>>,
    #[serde(default)]
    limits: LimitsToml,
    /// File with the JSON schema of the configuration.
    config_schema: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsToml {
    host_bytes_max: Option<u64>,
    memory_bytes_max: Option<u64>,
    wall_ms_max: Option<u64>,
    output_bytes_max: Option<u64>,
    handles_max: Option<u64>,
    log_bytes_max: Option<u64>,
    host_calls_max: Option<u64>,
}

/// Reads the `plugin.toml` of a project.
pub(super) fn read(project: &Path) -> anyhow::Result<Manifest> {
    let (path, wire) = read_toml(project)?;
    manifest(project, wire).with_context(|| path.display().to_string())
}

/// What the project is written in; Rust if its `plugin.toml` does not say.
pub(super) fn language(project: &Path) -> anyhow::Result<Language> {
    let (path, wire) = read_toml(project)?;
    let Some(name) = wire.language else { return Ok(Language::Rust) };
    name.parse().with_context(|| path.display().to_string())
}

fn read_toml(project: &Path) -> anyhow::Result<(PathBuf, PluginToml)> {
    let path = project.join("plugin.toml");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{}: a plugin project has a plugin.toml; `aimass plugin new` makes one",
            path.display()
        )
    })?;
    let wire: PluginToml = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok((path, wire))
}

fn manifest(project: &Path, wire: PluginToml) -> anyhow::Result<Manifest> {
    let mut capabilities = Capabilities::default();
    for name in &wire.capabilities {
        let capability: Capability = name.parse().with_context(|| format!("capability {name}"))?;
        let grant = match capability {
            Capability::Models => match &wire.models {
                Some(names) => Grant::Only(names.clone()),
                None => Grant::All(Whole {}),
            },
            Capability::Config
            | Capability::Tensor
            | Capability::Graph
            | Capability::Plans
            | Capability::Files
            | Capability::Media
            | Capability::Log
            | Capability::Clock
            | Capability::Random
            | Capability::Emit => Grant::All(Whole {}),
        };
        capabilities.insert(capability, grant);
    }
    let config_schema = match &wire.config_schema {
        Some(file) => {
            let path = project.join(file);
            let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let schema = Value::parse(&text).with_context(|| path.display().to_string())?;
            Schema::compile(schema).with_context(|| path.display().to_string())?;
            Some(serde_json::from_slice(&text).with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    let limits = wire.limits;
    Ok(Manifest {
        name: wire.name.parse()?,
        version: wire.version.parse()?,
        world: format!("aimass:plugin/{}@{CONTRACT}", wire.world).parse()?,
        capabilities,
        limits: Limits {
            host_bytes_max: limits.host_bytes_max,
            memory_bytes_max: limits.memory_bytes_max,
            wall_ms_max: limits.wall_ms_max,
            output_bytes_max: limits.output_bytes_max,
            handles_max: limits.handles_max,
            log_bytes_max: limits.log_bytes_max,
            host_calls_max: limits.host_calls_max,
        },
        description: wire.description,
        license: wire.license,
        config_schema,
    })
}

/// File name of a plugin's component: `acme-hello-0.1.0.wasm`.
pub(super) fn component_file(manifest: &Manifest) -> String {
    format!("{}-{}-{}.wasm", manifest.name.publisher(), manifest.name.name(), manifest.version)
}
