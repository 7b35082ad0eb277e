//! A plugin in a real sandbox, for the commands of its author: the project is built, signed with a key
//! that lives only for this run, and loaded as a server would load it.

use super::{build, manifest, sign};
use crate::home::CHILD_PROGRAM;
use aimass_engine::{Fixture, Parameter, parse_fixtures};
use aimass_graph::{BytesSource, WeightSource};
use aimass_sandbox::{
    Call, Composition, ModelFiles, PlanSet, Plugin, PluginSetup, Sandbox, SandboxConfig,
    SandboxError,
};
use aimass_tensor::Buffer;
use aimass_trust::{Capability, SigningKey, TrustPolicy, VerifiedPackage};
use anyhow::Context;
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Time that one case may take, whatever the manifest allows.
const CASE_WALL_MAX: Duration = Duration::from_secs(60);

/// What is tested or measured.
#[derive(Args)]
pub(super) struct Source {
    /// Project folder
    #[arg(default_value = ".")]
    pub(super) project: PathBuf,
    /// Take this component instead of building the project
    #[arg(long, value_name = "FILE")]
    pub(super) component: Option<PathBuf>,
    /// Folder of the model files that the plugin may read [default: PROJECT/fixtures/files]
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Cargo's target folder [default: PROJECT/target]
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    /// Cargo profile
    #[arg(long, default_value = "release")]
    pub(super) profile: String,
}

impl Source {
    /// Cargo's target folder.
    pub(super) fn target_dir(&self) -> PathBuf {
        self.target_dir.clone().unwrap_or_else(|| self.project.join("target"))
    }

    /// The component, built unless one was given, as a package that this run alone trusts.
    pub(super) fn package(&self) -> anyhow::Result<VerifiedPackage> {
        let component = match &self.component {
            Some(component) => component.clone(),
            None => {
                let target = self.target_dir();
                build::build_project(&build::ProjectBuild {
                    project: &self.project,
                    target_dir: &target,
                    profile: &self.profile,
                    out: None,
                    install_toolchain: false,
                })?
            }
        };
        let bytes = std::fs::read(&component).with_context(|| component.display().to_string())?;
        sign_for_this_run(&self.project, &bytes)
    }

    /// Model files that the plugin may read.
    pub(super) fn files(&self) -> anyhow::Result<Arc<dyn ModelFiles>> {
        let own = self.project.join("fixtures/files");
        folder(self.files.as_deref().unwrap_or(&own))
    }

    /// The project's cases, in the order of their files.
    pub(super) fn cases(&self) -> anyhow::Result<Vec<Case>> {
        read_cases(&self.project.join("fixtures"))
    }
}

/// A fixture and where it stands.
pub(super) struct Case {
    pub(super) file: PathBuf,
    /// Its place in the file's list.
    pub(super) index: usize,
    pub(super) fixture: Fixture,
}

impl Case {
    /// What `process` is told beside the inputs.
    pub(super) fn call(&self) -> Call {
        Call {
            tenant: Arc::from("test"),
            deadline: Instant::now() + CASE_WALL_MAX,
            plans: Arc::new(PlanSet::empty()),
            composition: Composition::default(),
            parameters: self.fixture.parameters.clone().into_iter().map(parameter).collect(),
        }
    }

    /// The inputs by name.
    pub(super) fn inputs(&self) -> aimass_sandbox::NamedTensors {
        self.fixture.inputs.iter().map(|(name, t)| (Arc::from(&**name), t.clone())).collect()
    }
}

/// A sandbox with the defaults of a server, and a package to load into it.
pub(super) struct Workbench {
    pub(super) package: VerifiedPackage,
    files: Arc<dyn ModelFiles>,
    sandbox: Arc<Sandbox>,
    _cache: tempfile::TempDir,
}

impl Workbench {
    /// A new sandbox; one that meters counts instructions and is slower.
    pub(super) fn new(
        package: VerifiedPackage,
        files: Arc<dyn ModelFiles>,
        metering: bool,
    ) -> anyhow::Result<Workbench> {
        let cache = tempfile::tempdir()?;
        let dispatcher = aimass_dispatch::Dispatcher::new(
            aimass_dispatch::DispatchConfig::default(),
            Arc::new(aimass_dispatch::SystemClock),
        );
        let child_program = Some(CHILD_PROGRAM.into());
        let config = SandboxConfig { metering, child_program, ..SandboxConfig::new(cache.path()) };
        let sandbox = Sandbox::new(config, dispatcher)?;
        Ok(Workbench { package, files, sandbox, _cache: cache })
    }

    /// The plugin, as a case configures it.
    pub(super) async fn load(&self, config: Option<&str>) -> Result<Arc<Plugin>, SandboxError> {
        let config = Arc::from(config.unwrap_or("{}").as_bytes());
        self.sandbox.load(&self.package, PluginSetup { config, files: self.files.clone() }).await
    }
}

fn parameter((name, value): (String, Parameter)) -> (String, aimass_sandbox::Parameter) {
    let value = match value {
        Parameter::Bool(value) => aimass_sandbox::Parameter::Boolean(value),
        Parameter::Int(value) => aimass_sandbox::Parameter::Integer(value),
        Parameter::Float(value) => aimass_sandbox::Parameter::Float(value),
        Parameter::Text(value) => aimass_sandbox::Parameter::Text(value),
    };
    (name, value)
}

/// Signs with a fresh key that a policy made for this run alone trusts: the sandbox has no other way in.
pub(super) fn sign_for_this_run(
    project: &Path,
    component: &[u8],
) -> anyhow::Result<VerifiedPackage> {
    let manifest = match aimass_trust::read_manifest(component) {
        Ok(manifest) => manifest,
        Err(_) => manifest::read(project)?,
    };
    let component = aimass_trust::embed_manifest(component, &manifest)?;
    let key = SigningKey::generate()?;
    let signed = aimass_trust::sign_plugin(&component, &sign::release(1)?, &key)?;
    let publisher = manifest.name.publisher();
    let capabilities: Vec<String> =
        Capability::ALL.iter().map(|capability| format!("\"{}\"", capability.as_str())).collect();
    let policy = TrustPolicy::parse(&format!(
        "[[publisher]]\nname = \"{publisher}\"\nkeys = [\"{}\"]\n\
         allow = {{ names = [\"{publisher}/*\"], models = [\"*\"], capabilities = [{}] }}\n",
        key.public(),
        capabilities.join(", ")
    ))?;
    let name = manifest.name.to_string();
    Ok(policy.verify_plugin(signed.wasm, &signed.dsse, Some(&name), SystemTime::now())?)
}

/// The cases of a folder of fixtures; none if there is no such folder.
pub(super) fn read_cases(folder: &Path) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(cases) };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let json = std::fs::read(path).with_context(|| path.display().to_string())?;
        let fixtures = parse_fixtures(&path.display().to_string(), &json)?;
        let case = |(index, fixture)| Case { file: path.clone(), index, fixture };
        cases.extend(fixtures.into_iter().enumerate().map(case));
    }
    Ok(cases)
}

/// The files of a folder as those of a model; none if there is no such folder.
pub(super) fn folder(folder: &Path) -> anyhow::Result<Arc<dyn ModelFiles>> {
    Ok(Arc::new(Folder::read(folder)?))
}

/// A folder as the files of a model; read whole, for these are small test files.
struct Folder(BTreeMap<String, Arc<BytesSource>>);

impl Folder {
    fn read(folder: &Path) -> anyhow::Result<Folder> {
        let mut files = BTreeMap::new();
        if let Ok(entries) = std::fs::read_dir(folder) {
            for entry in entries {
                let path = entry?.path();
                let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let source = BytesSource::new(Buffer::shared(Arc::new(bytes)));
                files.insert(name, Arc::new(source));
            }
        }
        Ok(Folder(files))
    }
}

impl ModelFiles for Folder {
    fn list(&self) -> Vec<(String, u64)> {
        self.0.iter().map(|(name, source)| (name.clone(), source.len())).collect()
    }

    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        self.0.get(name).map(|source| source.clone() as Arc<dyn WeightSource>)
    }
}
