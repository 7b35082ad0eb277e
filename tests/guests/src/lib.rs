//! A sandbox with one signed guest in it.

mod server;
mod site;

pub use server::{Server, traced_model};
pub use site::{Ask, Site};

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use aimass_build::{ComponentBuild, WasmToolchain};
use aimass_dispatch::{DispatchConfig, Dispatcher, SystemClock};
use aimass_sandbox::{
    Call, CallResult, Composition, NoFiles, Parameter, PlanSet, Plugin, PluginError, PluginSetup,
    Sandbox, SandboxConfig, SandboxError,
};
use aimass_tensor::Tensor;
use aimass_trust::{
    Manifest, PluginRelease, Refusal, SignedPlugin, SigningKey, Timestamp, TrustPolicy,
    VerifiedPackage, embed_manifest, sign_plugin,
};
use tempfile::TempDir;

/// The component of `program/`: that of `$AIMASS_PLUGINS_DIR` if it is there, else it is built once.
///
/// # Panics
/// If it does not build; the message carries the remedy.
pub fn program() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| component("program"))
}

/// The component of `tracer/`, as [`program`].
///
/// # Panics
/// If it does not build; the message carries the remedy.
pub fn tracer() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| component("tracer"))
}

/// The component of `composer/`, as [`program`].
///
/// # Panics
/// If it does not build; the message carries the remedy.
pub fn composer() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| component("composer"))
}

fn component(name: &str) -> Vec<u8> {
    let built = std::env::var_os("AIMASS_PLUGINS_DIR")
        .and_then(|dir| std::fs::read(PathBuf::from(dir).join(format!("{name}.wasm"))).ok());
    built.unwrap_or_else(|| build(name))
}

fn build(name: &str) -> Vec<u8> {
    let toolchain = WasmToolchain::find(false, &mut |line| println!("{line}"))
        .unwrap_or_else(|error| panic!("{error}"));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = ComponentBuild {
        project_dir: &here.join(name),
        target_dir: &here.join("../../target/guests"),
        profile: "plugin",
        rustflags: &[],
    };
    toolchain.build_component(&build).unwrap_or_else(|error| panic!("{error}"))
}

/// A sandbox and its cache folder.
pub struct Bench {
    /// The sandbox.
    pub sandbox: Arc<Sandbox>,
    _cache: TempDir,
}

impl Bench {
    /// With tight limits, so that a hostile guest is soon at its bound.
    ///
    /// # Panics
    /// If there is no room for a cache folder.
    #[must_use]
    pub fn new() -> Bench {
        let cache = tempfile::tempdir().expect("a temporary folder can be made");
        let mut config = SandboxConfig::new(cache.path());
        config.instances_max = Some(8);
        config.limits.init_wall_max = Duration::from_secs(2);
        config.limits.host_bytes_max = 128 << 20;
        config.limits.output_bytes_max = 32 << 20;
        config.limits.trace_wall_max = Duration::from_secs(2);
        config.limits.trace_stages_max = 50;
        place(&mut config);
        let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
        let sandbox = Sandbox::new(config, dispatcher).unwrap_or_else(|error| panic!("{error}"));
        Bench { sandbox, _cache: cache }
    }

    /// Loads the guest of this name.
    ///
    /// # Errors
    /// The sandbox's.
    pub async fn load(&self, name: &str) -> Result<Arc<Plugin>, SandboxError> {
        let package = package(CAPABILITIES).unwrap_or_else(|refusal| panic!("{refusal}"));
        let config = format!(r#"{{"program": "{}"}}"#, kebab_case(name)).into_bytes();
        let setup = PluginSetup { config: config.into(), files: Arc::new(NoFiles) };
        self.sandbox.load(&package, setup).await
    }

    /// Loads the format of this name that traces; the name is as the configuration wants it.
    ///
    /// # Errors
    /// The sandbox's.
    pub async fn load_tracer(&self, name: &str) -> Result<Arc<Plugin>, SandboxError> {
        let package = sign(tracer(), "tracing-format", TRACER_CAPABILITIES);
        let package = package.unwrap_or_else(|refusal| panic!("{refusal}"));
        let config = format!(r#"{{"program": "{name}"}}"#).into_bytes();
        let setup = PluginSetup { config: config.into(), files: Arc::new(NoFiles) };
        self.sandbox.load(&package, setup).await
    }

    /// Calls a guest with one input and perhaps a parameter `value`, for at most a second.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn call(
        &self,
        plugin: &Plugin,
        input: (&str, Tensor),
    ) -> Result<CallResult, PluginError> {
        let call = Call {
            tenant: "tenant".into(),
            deadline: Instant::now() + Duration::from_secs(1),
            plans: Arc::new(PlanSet::empty()),
            composition: Composition::default(),
            parameters: vec![("value".to_owned(), Parameter::Float(2.5))],
        };
        plugin.process(call, vec![(input.0.into(), input.1)]).await
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

/// What the guests may import.
pub const CAPABILITIES: &str = r#""config": {}, "tensor": {}, "log": {}"#;

/// What the guests that call models and stream may import.
pub const COMPOSER_CAPABILITIES: &str = r#""clock": {}, "config": {}, "emit": {}, "models": {},
    "plans": {}, "tensor": {}"#;

/// What the formats that trace may import.
pub const TRACER_CAPABILITIES: &str = r#""config": {}, "files": {}, "graph": {}, "tensor": {}"#;

/// The guests' component, signed for these capabilities (JSON members) and verified.
///
/// # Errors
/// The refusal of a component that imports more than that.
pub fn package(capabilities: &str) -> Result<VerifiedPackage, Refusal> {
    sign(program(), "processor", capabilities)
}

/// A component of this world, signed for these capabilities (JSON members) and verified.
///
/// # Errors
/// The refusal of a component that imports more than that.
///
/// # Panics
/// If signing fails.
pub fn sign(component: &[u8], world: &str, capabilities: &str) -> Result<VerifiedPackage, Refusal> {
    let key = SigningKey::generate().unwrap_or_else(|error| panic!("{error}"));
    let signed = sign_with(&key, component, world, capabilities)?;
    let policy = TrustPolicy::parse(&policy(&key)).unwrap_or_else(|error| panic!("{error}"));
    policy.verify_plugin(signed.wasm, &signed.dsse, Some("acme/program"), SystemTime::now())
}

fn sign_with(
    key: &SigningKey,
    component: &[u8],
    world: &str,
    capabilities: &str,
) -> Result<SignedPlugin, Refusal> {
    sign_as(key, "program", component, (world, capabilities))
}

/// As [`sign_with`], under this name of `acme`.
fn sign_as(
    key: &SigningKey,
    name: &str,
    component: &[u8],
    (world, capabilities): (&str, &str),
) -> Result<SignedPlugin, Refusal> {
    let manifest = format!(
        r#"{{"name": "acme/{name}", "version": "0.1.0", "world": "aimass:plugin/{world}@0.1.0",
            "capabilities": {{{capabilities}}}, "limits": {{"memoryBytesMax": 67108864}}}}"#
    );
    let manifest = Manifest::parse(manifest.as_bytes())?;
    let now = SystemTime::now();
    let release = PluginRelease {
        sequence: 1,
        not_before: Timestamp::from_system(now - Duration::from_secs(60)),
        expires: Timestamp::from_system(now + Duration::from_secs(3600)),
        min_host: manifest.version.clone(),
        dependencies: Vec::new(),
    };
    let signed = embed_manifest(component, &manifest)
        .and_then(|component| sign_plugin(&component, &release, key))
        .unwrap_or_else(|error| panic!("{error}"));
    Ok(signed)
}

/// Whether the guests of this test program run in worker processes: those of `tests/worker_tier.rs` do.
fn in_workers() -> bool {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("worker_tier") || std::env::var_os("AIMASS_GUESTS_WORKER").is_some()
}

/// The program of worker processes: `$AIMASS_GUESTS_WORKER`, a built `aimass`, or an example of
/// `aimass-sandbox`.
///
/// # Panics
/// If there is neither.
pub fn worker_program() -> PathBuf {
    if let Some(program) = std::env::var_os("AIMASS_GUESTS_WORKER") {
        return PathBuf::from(program);
    }
    let tests = std::env::current_exe().expect("a test program has a path");
    let profile = tests.ancestors().nth(2).expect("a test program is in `deps`");
    let program = profile.join("examples/child");
    let missing = "`cargo build -p aimass-sandbox --examples` builds it";
    assert!(program.exists(), "{}: {missing}", program.display());
    program
}

/// Lets a sandbox start workers, if its guests run there.
fn place(config: &mut SandboxConfig) {
    if in_workers() {
        config.child_program = Some(worker_program());
        config.worker.instances_max = 32;
        // Machines that build something else beside the tests are slow.
        config.worker.grace = Duration::from_secs(10);
    }
}

/// A policy that trusts this key as `acme`.
fn policy(key: &SigningKey) -> String {
    let tier = if in_workers() { "worker" } else { "in-process" };
    format!(
        "[[publisher]]\nname = \"acme\"\ntier = \"{tier}\"\nkeys = [\"{}\"]\nallow = {{ names = \
         [\"acme/*\"], models = [\"*\"], capabilities = [\"clock\", \"config\", \"emit\", \"files\", \
         \"graph\", \"log\", \"models\", \"plans\", \"tensor\"] }}\n",
        key.public()
    )
}

/// `HostCalls` as `host-calls`.
fn kebab_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
