//! `aimass plugin test`: fixtures in the real sandbox, under the real limits.

use super::{build, manifest, sign};
use aimass_engine::{Fixture, Parameter, compare, parse_fixtures};
use aimass_graph::{BytesSource, CompileOptions, WeightSource};
use aimass_sandbox::{
    Call, Cause, ModelFiles, PlanSet, Plugin, PluginError, PluginSetup, Sandbox, SandboxConfig,
    SandboxError, World,
};
use aimass_tensor::Buffer;
use aimass_trust::{Capability, SigningKey, TrustPolicy, VerifiedPackage};
use anyhow::{Context, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Run a plugin's fixtures in the real sandbox.
///
/// Builds the project, signs it with a key that lives only for this run, and calls it as the server
/// would: same limits, same traps. Fixtures are `fixtures/*.json`; files of a model that the plugin
/// reads lie in `fixtures/files/`.
#[derive(Args)]
pub(crate) struct Test {
    /// Project folder
    #[arg(default_value = ".")]
    project: PathBuf,
    /// Test this component instead of building the project
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Folder of the model files that the plugin may read [default: PROJECT/fixtures/files]
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Cargo's target folder [default: PROJECT/target]
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    /// Cargo profile
    #[arg(long, default_value = "release")]
    profile: String,
}

/// What a case came to.
struct Outcome {
    took: Duration,
    host_calls: u64,
}

impl Test {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let component = match &self.component {
            Some(component) => component.clone(),
            None => {
                let own = self.project.join("target");
                build::build_project(&build::ProjectBuild {
                    project: &self.project,
                    target_dir: self.target_dir.as_deref().unwrap_or(&own),
                    profile: &self.profile,
                    out: None,
                    install_toolchain: false,
                })?
            }
        };
        let bytes = std::fs::read(&component).with_context(|| component.display().to_string())?;
        let package = sign_for_this_run(&self.project, &bytes)?;
        let folder = self.files.unwrap_or_else(|| self.project.join("fixtures/files"));
        let files: Arc<dyn ModelFiles> = Arc::new(Folder::read(&folder)?);
        let fixtures = read_fixtures(&self.project.join("fixtures"))?;
        crate::home::runtime()?.block_on(run_all(package, files, fixtures))
    }
}

async fn run_all(
    package: VerifiedPackage,
    files: Arc<dyn ModelFiles>,
    fixtures: Vec<Fixture>,
) -> anyhow::Result<()> {
    let cache = tempfile::tempdir()?;
    let dispatcher = aimass_dispatch::Dispatcher::new(
        aimass_dispatch::DispatchConfig::default(),
        Arc::new(aimass_dispatch::SystemClock),
    );
    let sandbox = Sandbox::new(SandboxConfig::new(cache.path()), dispatcher)?;
    let limits = package.limits().named();
    println!("plugin    {}@{}  {}", package.name(), package.version(), package.manifest().world);
    for (name, limit) in limits {
        if let Some(limit) = limit {
            println!("limit     {name} = {limit}");
        }
    }
    let mut failed = 0;
    if fixtures.is_empty() {
        let config: Arc<[u8]> = Arc::from(&b"{}"[..]);
        let plugin = sandbox.load(&package, PluginSetup { config, files }).await?;
        describe(&plugin).await?;
        println!("fixtures  none; add cases to fixtures/*.json");
        return Ok(());
    }
    for fixture in &fixtures {
        match run_case(&sandbox, &package, &files, fixture).await? {
            Ok(outcome) => println!(
                "ok        {:<40} {:>9.3} ms  {:>5} host calls",
                fixture.name,
                outcome.took.as_secs_f64() * 1e3,
                outcome.host_calls,
            ),
            Err(reason) => {
                failed += 1;
                println!("FAILED    {}\n          {reason}", fixture.name);
            }
        }
    }
    println!("{} passed, {failed} failed", fixtures.len() - failed);
    if failed > 0 {
        bail!("{failed} of {} fixtures failed", fixtures.len());
    }
    Ok(())
}

/// Runs one case; the outer error is the tool's, the inner one the plugin's.
async fn run_case(
    sandbox: &Arc<Sandbox>,
    package: &VerifiedPackage,
    files: &Arc<dyn ModelFiles>,
    fixture: &Fixture,
) -> anyhow::Result<Result<Outcome, String>> {
    let config = fixture.config.clone().unwrap_or_else(|| "{}".to_owned());
    let setup = PluginSetup { config: Arc::from(config.into_bytes()), files: files.clone() };
    let plugin = match sandbox.load(package, setup).await {
        Ok(plugin) => plugin,
        Err(SandboxError::Plugin(error)) => {
            return Ok(expect_error(fixture, &code(&error), &error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    match plugin.world() {
        World::Format => return run_format_case(&plugin, fixture).await,
        World::TracingFormat => return Ok(run_traced_case(&plugin, fixture).await),
        World::Processor | World::Model => {}
    }
    let call = Call {
        tenant: Arc::from("test"),
        deadline: Instant::now() + Duration::from_secs(60),
        plans: Arc::new(PlanSet::empty()),
        parameters: fixture.parameters.clone().into_iter().map(parameter).collect(),
    };
    let inputs = fixture.inputs.iter().map(|(name, t)| (Arc::from(&**name), t.clone())).collect();
    let start = Instant::now();
    Ok(match plugin.process(call, inputs).await {
        Ok(_) if fixture.error.is_some() => {
            Err(format!("expected error {:?}, got an answer", fixture.error))
        }
        Ok(answer) => {
            let named: Vec<_> =
                answer.outputs.into_iter().map(|(name, t)| (name.to_string(), t)).collect();
            compare(fixture, &named)
                .map(|()| Outcome { took: start.elapsed(), host_calls: answer.stats.host_calls })
        }
        Err(error) => expect_error(fixture, &code(&error), &error.to_string()),
    })
}

/// Builds the plans of a format plugin and runs `main` on the case's inputs.
async fn run_format_case(
    plugin: &Plugin,
    fixture: &Fixture,
) -> anyhow::Result<Result<Outcome, String>> {
    let start = Instant::now();
    let graph = match plugin.load_graph(&CompileOptions::default()).await {
        Ok(graph) => graph,
        Err(error) => return Ok(expect_error(fixture, &code(&error), &error.to_string())),
    };
    let Some((_, plan)) = graph.plans.iter().find(|(name, _)| **name == *"main") else {
        return Ok(Err("the plugin built no plan `main`".to_owned()));
    };
    let mut inputs = Vec::new();
    for spec in &plan.signature().inputs {
        match fixture.inputs.iter().find(|(name, _)| **name == *spec.name) {
            Some((_, tensor)) => inputs.push(tensor.clone()),
            None => return Ok(Err(format!("the case lacks input {}", spec.name))),
        }
    }
    let outputs = match plan.run(&inputs, None) {
        Ok(outputs) => outputs,
        Err(error) => return Ok(expect_error(fixture, error.code(), &error.to_string())),
    };
    let names = plan.signature().outputs.iter().map(|spec| spec.name.to_string());
    let named: Vec<_> = names.zip(outputs).collect();
    Ok(compare(fixture, &named).map(|()| Outcome { took: start.elapsed(), host_calls: 0 }))
}

/// Traces the inputs of a case and runs its stages.
async fn run_traced_case(plugin: &Arc<Plugin>, fixture: &Fixture) -> Result<Outcome, String> {
    let start = Instant::now();
    match super::test_traced::run(plugin, fixture, code).await {
        Ok(_) if fixture.error.is_some() => {
            Err(format!("expected error {:?}, got an answer", fixture.error))
        }
        Ok(outputs) => {
            compare(fixture, &outputs).map(|()| Outcome { took: start.elapsed(), host_calls: 0 })
        }
        Err((code, text)) => expect_error(fixture, &code, &text),
    }
}

/// What a fixture calls the error: the guest's own code, or the kind of the cause.
fn code(error: &PluginError) -> String {
    match &error.cause {
        Cause::Guest(guest) => guest.code.clone(),
        other => other.kind().as_str().to_owned(),
    }
}

fn expect_error(fixture: &Fixture, code: &str, text: &str) -> Result<Outcome, String> {
    match &fixture.error {
        Some(expected) if expected == code => Ok(Outcome { took: Duration::ZERO, host_calls: 0 }),
        Some(expected) => Err(format!("expected error {expected}, got {code}: {text}")),
        None => Err(text.to_owned()),
    }
}

async fn describe(plugin: &Plugin) -> anyhow::Result<()> {
    let mut signature = plugin.signature().clone();
    if matches!(plugin.world(), World::Format | World::TracingFormat) {
        let format = plugin.detect().await?;
        println!("detects   {}", format.as_deref().unwrap_or("nothing in these files"));
        match (plugin.world(), format) {
            (World::Format, Some(_)) => {
                let graph = plugin.load_graph(&CompileOptions::default()).await?;
                for (name, plan) in &graph.plans {
                    println!("plan      {name}: {} weight bytes", plan.weights_bytes());
                }
            }
            (World::TracingFormat, Some(_)) => signature = plugin.load_signature().await?,
            (World::Processor | World::Format | World::TracingFormat | World::Model, _) => {}
        }
    }
    for spec in signature.inputs.iter().chain(&signature.outputs) {
        println!("tensor    {} {:?} {:?}", spec.name, spec.dtype, spec.dims);
    }
    Ok(())
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
fn sign_for_this_run(project: &Path, component: &[u8]) -> anyhow::Result<VerifiedPackage> {
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

fn read_fixtures(folder: &Path) -> anyhow::Result<Vec<Fixture>> {
    let mut fixtures = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(fixtures) };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let json = std::fs::read(path).with_context(|| path.display().to_string())?;
        fixtures.extend(parse_fixtures(&path.display().to_string(), &json)?);
    }
    Ok(fixtures)
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
