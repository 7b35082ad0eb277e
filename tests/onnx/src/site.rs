//! An engine of its own: a temporary registry, a key made here, one format plugin.

use crate::{Case, Test};
use aimass_engine::{
    DeviceChoice, DeviceStatus, Engine, EngineConfig, EngineError, InferRequest, ModelStage,
    OpenModel, PackageFolder, Selector,
};
use aimass_tensor::Tensor;
use aimass_trust::{
    Capability, ModelRelease, PackageName, PluginRelease, SigningKey, Timestamp, read_manifest,
    sign_model, sign_plugin,
};
use anyhow::Context;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// How often the engine looks for published versions; tests wait for each.
const REGISTRY_POLL: Duration = Duration::from_millis(1);
/// The manifest of a model package.
const MANIFEST_FILE: &str = "model.toml";

/// A running engine that trusts its own key.
pub struct Site {
    engine: Arc<Engine>,
    key: Arc<SigningKey>,
    plugin: PackageName,
    sequence: Arc<AtomicU64>,
    folder: Arc<TempDir>,
}

/// The model of a test, loaded by itself.
pub struct TestModel {
    model: OpenModel,
    /// Port of each of the model's own inputs.
    ports: BTreeMap<String, String>,
}

/// A published version of a test's model.
pub(crate) struct Published {
    serving_name: String,
    version: u64,
    ports: Ports,
}

/// Where a generated manifest's ports differ from the names in the model.
#[derive(Default)]
struct Ports {
    /// Port of each input.
    inputs: BTreeMap<String, String>,
    /// Output of each port.
    outputs: BTreeMap<String, String>,
}

impl Site {
    /// Opens an engine on `device` with `kernel_threads` threads and admits the unsigned component at `plugin`.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The plugin cannot be read or is refused, or a device that was asked for by number cannot be used.
    pub async fn open(
        plugin: &Path,
        kernel_threads: usize,
        device: &DeviceChoice,
    ) -> anyhow::Result<Site> {
        let component = std::fs::read(plugin)
            .with_context(|| format!("{}; `cargo xtask plugins` makes it", plugin.display()))?;
        let name = read_manifest(&component)?.name;
        let folder = Arc::new(tempfile::tempdir()?);
        let key = Arc::new(SigningKey::generate()?);
        std::fs::write(folder.path().join("trust.toml"), policy(&name, &key))?;
        let engine = engine(folder.path(), kernel_threads, device).await?;
        let now = Timestamp::from_system(SystemTime::now());
        let release = PluginRelease {
            sequence: 1,
            not_before: now,
            expires: now.plus_days(1),
            min_host: env!("CARGO_PKG_VERSION").parse()?,
            dependencies: Vec::new(),
        };
        let signed = sign_plugin(&component, &release, &key)?;
        engine.publish_plugin(signed.wasm, &signed.dsse).await?;
        Ok(Site { engine, key, plugin: name, sequence: Arc::new(AtomicU64::new(1)), folder })
    }

    /// Another engine on the same folder, with another number of threads: it trusts the same key, and the
    /// plugin is not compiled again.
    ///
    /// # Errors
    /// The engine cannot be opened.
    pub async fn again(&self, kernel_threads: usize) -> anyhow::Result<Site> {
        let engine = engine(self.folder.path(), kernel_threads, &DeviceChoice::Cpu).await?;
        let (key, plugin) = (self.key.clone(), self.plugin.clone());
        let sequence = self.sequence.clone();
        Ok(Site { engine, key, plugin, sequence, folder: self.folder.clone() })
    }

    /// Loads the model of a test, whose package has a manifest, without publishing it.
    ///
    /// # Errors
    /// What publishing it would refuse.
    pub async fn open_model(&self, test: &Test) -> anyhow::Result<TestModel> {
        let (package, statement, _) = self.signed(&test.name, test, None)?;
        let opened = self.engine.open_package(&test.name, &package, &statement).await;
        std::fs::remove_dir_all(self.package_folder(&test.name))?;
        let step = package.manifest.steps.first().context("the manifest has no step")?;
        let ports = step.inputs.clone().unwrap_or_default();
        Ok(TestModel { model: opened.map_err(with_log)?, ports })
    }

    /// The devices, with what ran there so far.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.engine.devices()
    }

    /// Signs and publishes the model of a test under a serving name.
    pub(crate) async fn publish(
        &self,
        serving_name: &str,
        test: &Test,
        case: &Case,
    ) -> anyhow::Result<Published> {
        let (package, statement, ports) = self.signed(serving_name, test, Some(case))?;
        let published = self.engine.publish_model(serving_name, &package, &statement).await;
        std::fs::remove_dir_all(self.package_folder(serving_name))?;
        let version = published.map_err(with_log)?.version;
        Ok(Published { serving_name: serving_name.to_owned(), version, ports })
    }

    fn package_folder(&self, serving_name: &str) -> PathBuf {
        self.folder.path().join("packages").join(serving_name)
    }

    /// The package of a test with its statement. One without a manifest gets one for the ports of `case`.
    fn signed(
        &self,
        serving_name: &str,
        test: &Test,
        case: Option<&Case>,
    ) -> anyhow::Result<(PackageFolder, Vec<u8>, Ports)> {
        let folder = self.package_folder(serving_name);
        copy_flat(&test.package, &folder)?;
        let mut ports = Ports::default();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let manifest = folder.join(MANIFEST_FILE);
        if let Some(case) = case
            && !manifest.exists()
        {
            let (text, generated) = self.model_toml(case, sequence);
            std::fs::write(&manifest, text)?;
            ports = generated;
        }
        let package = PackageFolder::read(&folder)?;
        let section = &package.manifest.model;
        let now = Timestamp::from_system(SystemTime::now());
        let release = ModelRelease {
            name: section.name.parse()?,
            version: section.version.parse()?,
            sequence,
            not_before: now,
            expires: now.plus_days(1),
        };
        let statement = sign_model(&release, &package.digests(), &self.key)?;
        Ok((package, statement, ports))
    }

    /// Asks a model; waits until the engine has seen it. Outputs have the names of the case.
    pub(crate) async fn infer(
        &self,
        model: &Published,
        inputs: Vec<(String, Tensor)>,
        deadline: Instant,
    ) -> anyhow::Result<BTreeMap<String, Tensor>> {
        let request = InferRequest {
            model: model.serving_name.clone(),
            selector: Selector::Version(model.version),
            inputs: inputs
                .into_iter()
                .map(|(name, x)| (other_name(&model.ports.inputs, &name), x))
                .collect(),
            outputs: Vec::new(),
            parameters: BTreeMap::new(),
            tenant: Arc::from("onnx-tests"),
            deadline,
        };
        while self.engine.model(&model.serving_name, &request.selector).is_err_and(is_not_seen)
            && Instant::now() < deadline
        {
            tokio::time::sleep(REGISTRY_POLL).await;
        }
        let answer = self.engine.infer(request).await.map_err(with_log)?;
        let own_name = |port: &str| other_name(&model.ports.outputs, port);
        Ok(answer.outputs.into_iter().map(|(port, x)| (own_name(&port), x)).collect())
    }

    /// Removes a published version.
    pub(crate) fn remove(&self, model: &Published) -> anyhow::Result<()> {
        Ok(self.engine.registry().remove(&model.serving_name, model.version)?)
    }

    /// A manifest for a model that has none. Names of ONNX values may be anything, those of ports not. The
    /// model's name is its own: releases of one name are published in their order, and tests in any.
    fn model_toml(&self, case: &Case, sequence: u64) -> (String, Ports) {
        let mut text = format!(
            "[model]\nname = \"{}/onnx-test-{sequence}\"\nversion = \"1.0.0\"\n\n[format]\nplugin = \"{}\"\n",
            self.plugin.publisher(),
            self.plugin
        );
        let mut ports = Ports::default();
        let mut sources = Vec::new();
        for (index, name) in case.input_names().into_iter().enumerate() {
            let _ = write!(text, "\n[[input]]\nname = \"in{index}\"\ndtype = \"ANY\"\n");
            sources.push(format!("{} = \"in{index}\"", quoted(&name)));
            ports.inputs.insert(name, format!("in{index}"));
        }
        let sources = sources.join(", ");
        let _ =
            write!(text, "\n[[step]]\nname = \"run\"\nplan = \"main\"\ninputs = {{ {sources} }}\n");
        for (index, name) in case.output_names().into_iter().enumerate() {
            let from = quoted(&format!("run.{name}"));
            let _ = write!(
                text,
                "\n[[output]]\nname = \"out{index}\"\nfrom = {from}\ndtype = \"ANY\"\n"
            );
            ports.outputs.insert(format!("out{index}"), name);
        }
        (text, ports)
    }
}

impl TestModel {
    /// What the model does with inputs by the names of its ports, stage by stage.
    ///
    /// # Errors
    /// Errors of the plugin and of the plans, and an input that is not there.
    pub async fn stages(
        &self,
        inputs: &[(String, Tensor)],
        deadline: Instant,
    ) -> anyhow::Result<Vec<ModelStage>> {
        let signature = self.model.traced_signature().context("the model is not traced")?;
        let input = |name: &str| {
            let port = self.ports.get(name).map_or(name, String::as_str);
            let found = inputs.iter().find(|(own, _)| own == port);
            found.map(|(_, x)| x.clone()).with_context(|| format!("the case has no input {port}"))
        };
        let inputs = signature.inputs.iter().map(|spec| input(&spec.name));
        let stages = self.model.stages(inputs.collect::<anyhow::Result<_>>()?, deadline).await;
        stages.map_err(with_log)
    }
}

/// An engine on a folder that holds a policy of trust.
async fn engine(
    folder: &Path,
    threads: usize,
    device: &DeviceChoice,
) -> anyhow::Result<Arc<Engine>> {
    let config = EngineConfig {
        threads,
        registry_poll: REGISTRY_POLL,
        device: device.clone(),
        ..EngineConfig::new(folder)
    };
    Ok(Engine::open(config).await?)
}

fn other_name(names: &BTreeMap<String, String>, name: &str) -> String {
    names.get(name).map_or_else(|| name.to_owned(), Clone::clone)
}

/// The text as TOML writes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn policy(plugin: &PackageName, key: &SigningKey) -> String {
    let publisher = plugin.publisher();
    let capabilities: Vec<String> =
        Capability::ALL.iter().map(|it| format!("\"{}\"", it.as_str())).collect();
    format!(
        "[[publisher]]\nname = \"{publisher}\"\nkeys = [\"{}\"]\n\
         allow = {{ names = [\"{publisher}/*\"], models = [\"*\"], capabilities = [{}] }}\n",
        key.public(),
        capabilities.join(", ")
    )
}

/// The error with what only the operator reads.
fn with_log(error: EngineError) -> anyhow::Error {
    match error.log().and_then(|log| log.lines().next()) {
        Some(log) => anyhow::anyhow!("{error} ({log})"),
        None => error.into(),
    }
}

fn is_not_seen(error: EngineError) -> bool {
    error.family() == aimass_engine::Family::NotFound
}

fn copy_flat(from: &[PathBuf], to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for folder in from {
        for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            // A link where both lie on one file system: models can be large.
            std::fs::hard_link(entry.path(), &target)
                .or_else(|_| std::fs::copy(entry.path(), &target).map(|_| ()))
                .with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}
