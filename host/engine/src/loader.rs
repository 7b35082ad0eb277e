//! From a package's bytes to a model that can answer: verify, build, resolve.

use crate::config::TracedConfig;
use crate::device::Devices;
use crate::errors::{of_market, of_refusal, of_registry, of_sandbox};
use crate::files::{FileBytes, PackageFiles, VerifiedFile};
use crate::fixtures::{Fixture, parse_fixtures};
use crate::metrics::Metrics;
use crate::package::ModelManifest;
use crate::pipeline::{Parts, Pipeline};
use crate::traced::{TracedForGlue, TracedModel, TracedSetup};
use crate::{EngineError, Family, ReleaseFacts};
use aimass_dispatch::Dispatcher;
use aimass_graph::{CompileOptions, Plan};
use aimass_market::host::MarketHost;
use aimass_registry::{PluginPackage, Registry, Sha256Digest};
use aimass_sandbox::{PlanSet, Plugin, PluginSetup, Sandbox, TracedPlan, World};
use aimass_trust::{CHUNK_BYTES, ChunkList, TrustPolicy, VerifiedModel, VerifiedPackage};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// File that holds the manifest; it is among the signed files.
pub(crate) const MANIFEST_FILE: &str = "model.toml";
/// File that holds the signed statement.
pub const STATEMENT_FILE: &str = "model.dsse.json";
/// Ending of the files that hold chunk lists.
pub(crate) const CHUNKS_SUFFIX: &str = ".chunks";
/// Ending of the files that hold fixtures.
const FIXTURE_SUFFIX: &str = ".fixture.json";

/// A model that can answer.
pub(crate) struct LoadedModel {
    pub(crate) name: Arc<str>,
    pub(crate) version: u64,
    pub(crate) publisher: Arc<str>,
    pub(crate) release: Arc<ReleaseFacts>,
    pub(crate) platform: Arc<str>,
    pub(crate) created: u64,
    pub(crate) pipeline: Pipeline,
    pub(crate) fixtures: Vec<Fixture>,
    /// Digests of its plugins.
    pub(crate) plugins: Vec<Sha256Digest>,
    /// Why it must not run anymore; calls under way end a while after this is set.
    pub(crate) stopped: watch::Sender<Option<EngineError>>,
}

impl LoadedModel {
    /// Waits until the model was stopped, and `drain` longer.
    pub(crate) async fn stopped(&self, drain: Duration) -> EngineError {
        let mut stopped = self.stopped.subscribe();
        let reason = match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone(),
            Err(_) => None,
        };
        tokio::time::sleep(drain).await;
        reason.unwrap_or_else(|| EngineError::new(Family::Unavailable, "stopped", "it was stopped"))
    }
}

/// Everything that a load needs of one version, staged or published.
pub(crate) struct VersionSource {
    pub(crate) name: Arc<str>,
    pub(crate) version: u64,
    /// When the version was admitted; expiry is judged at that moment.
    pub(crate) admitted: SystemTime,
    pub(crate) statement: Vec<u8>,
    /// Files by name, `model.toml` and chunk lists included.
    pub(crate) files: BTreeMap<String, FileBytes>,
    /// Plugin digests by step name.
    pub(crate) locks: BTreeMap<String, Sha256Digest>,
    /// What its fixtures did at publication; none before it.
    pub(crate) fixture_report: Option<String>,
}

impl VersionSource {
    /// The files, not touched yet beyond their chunk lists, and what the statement says of them.
    ///
    /// # Errors
    /// The first check of the policy that failed, with its code.
    pub(crate) fn verify(
        &mut self,
        policy: &TrustPolicy,
    ) -> Result<(PackageFiles, VerifiedModel), EngineError> {
        let files = verified_files(std::mem::take(&mut self.files))?;
        let verified = policy
            .verify_model(&self.statement, &files.digests(), None, self.admitted)
            .map_err(|refusal| of_refusal(&refusal))?;
        Ok((files, verified))
    }

    /// What there is to tell of a version that was verified.
    pub(crate) fn facts(&self, verified: &VerifiedModel) -> ReleaseFacts {
        ReleaseFacts {
            release: format!("{}@{}", verified.name(), verified.version()),
            signed_by: verified.signer().to_string(),
            reviewed_by: verified.reviewers().iter().map(ToString::to_string).collect(),
            fixtures: self.fixture_report.clone(),
        }
    }
}

/// Plans by name.
type Plans = Vec<(Arc<str>, Arc<Plan>)>;

/// Loads models.
pub(crate) struct Loader {
    pub(crate) registry: Registry,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) options: CompileOptions,
    pub(crate) devices: Devices,
    pub(crate) traced: TracedConfig,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) markets: Arc<MarketHost>,
}

impl Loader {
    /// Verifies and builds one version.
    ///
    /// # Errors
    /// The first check that failed, with its code; nothing of the version is kept.
    pub(crate) async fn load(
        &self,
        mut source: VersionSource,
        policy: &TrustPolicy,
    ) -> Result<LoadedModel, EngineError> {
        let (files, verified) = source.verify(policy)?;
        self.load_verified(source, (files, &verified), policy).await
    }

    /// Builds one version of which [`VersionSource::verify`] has taken the files.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub(crate) async fn load_verified(
        &self,
        source: VersionSource,
        (files, verified): (PackageFiles, &VerifiedModel),
        policy: &TrustPolicy,
    ) -> Result<LoadedModel, EngineError> {
        let files = Arc::new(files);
        let manifest = read_manifest(&files)?;
        check_name(&manifest, &verified.name().to_string(), &verified.version().to_string())?;
        let mut plugins = HashMap::new();
        for (step, plugin, _) in manifest.plugins() {
            let digest = source
                .locks
                .get(step)
                .ok_or_else(|| package_error(format!("step {step}: no plugin is locked for it")))?;
            let config = config_of(&manifest, step)?;
            let setup = PluginSetup { config, files: files.clone() };
            let loaded = self.load_plugin(step, plugin, digest, setup, policy).await?;
            plugins.insert(step.to_owned(), loaded);
        }
        let (plans, traced) = match plugins.get("format") {
            Some(format) if manifest.format.is_some() => self.build(&source.name, format).await?,
            _ => (Vec::new(), None),
        };
        let for_glue = traced.clone().map(|model| {
            let dispatcher = self.dispatcher.clone();
            Arc::new(TracedForGlue { model, dispatcher }) as Arc<dyn TracedPlan>
        });
        let plan_set = PlanSet::new(&source.name, source.version, plans.clone());
        let plan_set = Arc::new(plan_set.with_traced(for_glue));
        let pipeline = Pipeline::build(&manifest, &Parts { plugins, plans, traced, plan_set })?;
        let platform = match &manifest.format {
            Some(format) => format!("aimass_{}", format.plugin.replace('/', "_")),
            None => "aimass_pipeline".to_owned(),
        };
        Ok(LoadedModel {
            release: Arc::new(source.facts(verified)),
            name: source.name,
            version: source.version,
            publisher: Arc::from(verified.publisher()),
            platform: Arc::from(platform),
            created: seconds(source.admitted),
            pipeline,
            fixtures: read_fixtures(&files)?,
            plugins: source.locks.into_values().collect(),
            stopped: watch::Sender::new(None),
        })
    }

    /// What the format plugin makes of the files: plans, or a model that is traced call by call.
    async fn build(
        &self,
        name: &Arc<str>,
        format: &Arc<Plugin>,
    ) -> Result<(Plans, Option<Arc<TracedModel>>), EngineError> {
        if format.world() == World::TracingFormat {
            let setup = TracedSetup {
                name: name.clone(),
                plugin: format.clone(),
                options: self.devices.place(&self.options),
                config: self.traced.clone(),
                metrics: self.metrics.clone(),
            };
            return Ok((Vec::new(), Some(TracedModel::load(setup).await?)));
        }
        let graph = format.load_graph(&self.devices.place(&self.options)).await;
        let graph = graph.map_err(|error| crate::errors::of_plugin("format", &error))?;
        Ok((graph.plans, None))
    }

    /// Verifies an installed plugin and loads it for these files.
    ///
    /// # Errors
    /// The refusal, or the sandbox's; it names the step.
    pub(crate) async fn load_plugin(
        &self,
        step: &str,
        name: &str,
        digest: &Sha256Digest,
        setup: PluginSetup,
        policy: &TrustPolicy,
    ) -> Result<Arc<Plugin>, EngineError> {
        let package = self.registry.read_plugin(digest).map_err(|error| of_registry(&error))?;
        let verified = self.verify(name, package, policy)?;
        self.sandbox.load(&verified, setup).await.map_err(|error| of_sandbox(step, &error))
    }
}

impl Loader {
    /// Checks an installed plugin: by its marketplace if one admitted it, else by the publishers that
    /// the policy trusts directly.
    fn verify(
        &self,
        name: &str,
        package: PluginPackage,
        policy: &TrustPolicy,
    ) -> Result<VerifiedPackage, EngineError> {
        let files = (&package.record.digest, &package.wasm[..], &package.dsse[..]);
        if let Some(judged) = self.markets.verify_load(policy, files, SystemTime::now()) {
            let verified = judged.map_err(|error| of_market(&error))?;
            if verified.name().as_str() != name {
                let message = format!("expected the plugin {name}, got {}", verified.name());
                return Err(EngineError::new(Family::PackageRefused, "AMT-NAME", message));
            }
            return Ok(verified);
        }
        let admitted = UNIX_EPOCH + Duration::from_millis(package.record.published_ms);
        policy
            .verify_plugin(package.wasm, &package.dsse, Some(name), admitted)
            .map_err(|refusal| of_refusal(&refusal))
    }
}

/// Maps files to their verified form; chunk lists and the statement are consumed here.
///
/// # Errors
/// A chunk list is missing, wrong, or belongs to no file.
pub(crate) fn verified_files(
    mut files: BTreeMap<String, FileBytes>,
) -> Result<PackageFiles, EngineError> {
    let names: Vec<String> =
        files.keys().filter(|name| !name.ends_with(CHUNKS_SUFFIX)).cloned().collect();
    let mut verified = BTreeMap::new();
    for name in names {
        let chunks = files.remove(&format!("{name}{CHUNKS_SUFFIX}"));
        let Some(bytes) = files.remove(&name) else { continue };
        let len = (*bytes).as_ref().len() as u64;
        let list = match chunks {
            Some(list) => ChunkList::parse((*list).as_ref(), len).map_err(|r| of_refusal(&r))?,
            None if len <= CHUNK_BYTES => ChunkList::of_bytes((*bytes).as_ref()),
            None => {
                return Err(package_error(format!(
                    "{name} has {len} bytes but no {name}{CHUNKS_SUFFIX}; sign the package again"
                )));
            }
        };
        verified.insert(name.clone(), Arc::new(VerifiedFile::new(&name, bytes, list)));
    }
    match files.into_keys().next() {
        Some(orphan) => Err(package_error(format!("{orphan} belongs to no file"))),
        None => Ok(PackageFiles::new(verified)),
    }
}

fn read_manifest(files: &PackageFiles) -> Result<ModelManifest, EngineError> {
    let bytes = files
        .read(MANIFEST_FILE)
        .ok_or_else(|| package_error(format!("the package has no {MANIFEST_FILE}")))?
        .map_err(|error| package_error(error.message))?;
    let text = std::str::from_utf8(bytes.as_slice())
        .map_err(|_| package_error(format!("{MANIFEST_FILE} is not UTF-8")))?;
    ModelManifest::parse(text)
}

fn read_fixtures(files: &PackageFiles) -> Result<Vec<Fixture>, EngineError> {
    let mut fixtures = Vec::new();
    for name in files.names().filter(|name| name.ends_with(FIXTURE_SUFFIX)) {
        let Some(bytes) = files.read(name) else { continue };
        let bytes = bytes.map_err(|error| package_error(error.message))?;
        fixtures.extend(parse_fixtures(name, bytes.as_slice())?);
    }
    Ok(fixtures)
}

fn check_name(manifest: &ModelManifest, name: &str, version: &str) -> Result<(), EngineError> {
    let section = &manifest.model;
    if section.name == name && section.version == version {
        return Ok(());
    }
    Err(EngineError::new(
        Family::PackageRefused,
        "AMT-BIND",
        format!(
            "the statement is for {name}@{version}, but {MANIFEST_FILE} says {}@{}; sign the \
             package again",
            section.name, section.version
        ),
    ))
}

fn config_of(manifest: &ModelManifest, step: &str) -> Result<Arc<[u8]>, EngineError> {
    let of_step = || manifest.steps.iter().find(|s| s.name == step).map(|s| &s.config);
    let table = match &manifest.format {
        Some(format) if step == "format" => Some(&format.config),
        _ => of_step(),
    };
    let empty = toml::Table::new();
    let json = serde_json::to_vec(table.unwrap_or(&empty))
        .map_err(|error| package_error(format!("step {step}: config is no JSON: {error}")))?;
    Ok(Arc::from(json))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn package_error(message: String) -> EngineError {
    EngineError::new(Family::PackageRefused, "model-package", message)
}
