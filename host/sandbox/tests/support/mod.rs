//! Plugins for the tests: written as core WebAssembly text, encoded with the real contract, signed for real.
#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses a part")]

use aimass_dispatch::{DispatchConfig, Dispatcher, SystemClock};
use aimass_graph::{CompileOptions, Dim, GraphBuilder, GraphLimits, Plan, compile};
use aimass_sandbox::{
    Call, CallResult, Cause, Composition, ModelAnswer, ModelCall, ModelCaller, ModelFiles,
    NamedTensors, NoFiles, PlanSet, Plugin, PluginError, PluginSetup, Sandbox, SandboxConfig,
    SandboxError,
};
use aimass_tensor::{DType, Tensor};
use aimass_trust::{
    Manifest, PluginRelease, SigningKey, Timestamp, TrustPolicy, VerifiedPackage, embed_manifest,
    sign_plugin,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

/// Whether the plugins of this test program run in worker processes.
pub(crate) fn in_workers() -> bool {
    env!("CARGO_CRATE_NAME").starts_with("worker")
}

/// The program of child processes, an example of this crate.
pub(crate) fn child_program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(name);
    let missing = "`cargo test -p aimass-sandbox` builds it, as does `cargo build --examples`";
    assert!(program.exists(), "{}: {missing}", program.display());
    program
}

/// A sandbox of its own, with its cache folder.
pub(crate) struct Bench {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) cache: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut SandboxConfig)) -> Bench {
        let cache = tempfile::tempdir().unwrap();
        let sandbox = open(cache.path(), change);
        Bench { sandbox, cache }
    }

    /// Loads a plugin that needs no files.
    pub(crate) async fn load(&self, wat: &str) -> Result<Arc<Plugin>, SandboxError> {
        self.load_package(&package("processor", &core(wat), "{}")).await
    }

    pub(crate) async fn load_package(
        &self,
        package: &VerifiedPackage,
    ) -> Result<Arc<Plugin>, SandboxError> {
        self.sandbox.load(package, setup(b"{}", Arc::new(NoFiles))).await
    }

    /// Loads and calls once, expecting the call to fail.
    pub(crate) async fn cause(&self, wat: &str) -> Cause {
        let plugin = self.load(wat).await.unwrap();
        let error = process(&plugin, vec![]).await.unwrap_err();
        assert_eq!((&*error.plugin, error.function), ("acme/test", "process"));
        assert!(error.to_string().contains("acme/test 1.0.0 (processor)"), "{error}");
        self.still_works().await;
        error.cause
    }

    /// A plugin beside the one that failed is served as if nothing had happened.
    pub(crate) async fn still_works(&self) {
        let plugin = self.load(&identity()).await.unwrap();
        let x = ("x".into(), Tensor::from_slice(&[2], &[1f32, 2.]).unwrap());
        let outputs = process(&plugin, vec![x]).await.unwrap().outputs;
        assert_eq!(outputs[0].1.as_slice::<f32>().unwrap(), [1., 2.]);
    }
}

pub(crate) fn open(cache: &Path, change: impl FnOnce(&mut SandboxConfig)) -> Arc<Sandbox> {
    let mut config = SandboxConfig::new(cache);
    config.instances_max = Some(8);
    if in_workers() {
        config.child_program = Some(child_program("child"));
        // Machines that build something else beside the tests are slow.
        config.worker.grace = Duration::from_secs(10);
    }
    change(&mut config);
    let lies = config.child_program.as_ref().is_some_and(|program| program.ends_with("liar"));
    if !lies {
        config.worker.instances_max = config.instances_max.unwrap_or(64);
    }
    let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
    Sandbox::new(config, dispatcher).unwrap()
}

pub(crate) fn setup(config: &[u8], files: Arc<dyn ModelFiles>) -> PluginSetup {
    PluginSetup { config: config.into(), files }
}

pub(crate) fn call(wall: Duration) -> Call {
    Call {
        tenant: "tenant".into(),
        deadline: Instant::now() + wall,
        plans: Arc::new(PlanSet::empty()),
        composition: Composition::default(),
        parameters: Vec::new(),
    }
}

pub(crate) async fn process(
    plugin: &Plugin,
    inputs: NamedTensors,
) -> Result<CallResult, PluginError> {
    plugin.process(call(Duration::from_secs(60)), inputs).await
}

/// A core module of the usual parts: memory, a bump allocator, `init`, an empty `describe`, and `body`.
///
/// `body` defines `process` as `(func (export "process") (param i32 i32 i32 i32) (result i32) ..)` and
/// may use `$return`, which answers `outputs` at `$list` with `$count`; imports go first in `imports`.
pub(crate) fn module(imports: &str, body: &str) -> String {
    let init = r#"(func (export "init"))"#;
    module_with(imports, init, body)
}

pub(crate) fn module_with(imports: &str, init: &str, body: &str) -> String {
    format!(
        r#"(module {imports}
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func $alloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1)))))
    (local.get $at))
  (func $return (param $list i32) (param $count i32) (result i32)
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (local.get $list))
    (i32.store (i32.const 72) (local.get $count))
    (i32.const 64))
  (func (export "describe") (result i32)
    (i64.store (i32.const 32) (i64.const 0)) (i64.store (i32.const 40) (i64.const 0)) (i32.const 32))
  {init}
  {body})"#
    )
}

/// A processor whose `process` has this body; `(local.get 0)` and `(local.get 1)` are the inputs.
pub(crate) fn processor(imports: &str, code: &str) -> String {
    let body = format!(
        r#"(func (export "process") (param i32 i32 i32 i32) (result i32)
            (local $i i32) (local $j i32) {code})"#
    );
    module(imports, &body)
}

/// Answers its inputs.
pub(crate) fn identity() -> String {
    processor("", "(call $return (local.get 0) (local.get 1))")
}

/// The component of a core module in text, for the world `processor`.
pub(crate) fn core(wat: &str) -> Vec<u8> {
    component("processor", wat)
}

pub(crate) fn component(world: &str, wat: &str) -> Vec<u8> {
    encoded(world, wat, StringEncoding::UTF8).unwrap()
}

/// The component of a core module in text, whose strings have this encoding.
///
/// # Errors
/// What the text, the module or its exports lack.
pub(crate) fn encoded(
    world: &str,
    wat: &str,
    strings: StringEncoding,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    static CONTRACT: OnceLock<(Resolve, PackageId)> = OnceLock::new();
    let (resolve, package) = CONTRACT.get_or_init(|| {
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let (package, _) = resolve.push_dir(wit).unwrap();
        (resolve, package)
    });
    let world = resolve.select_world(&[*package], Some(world))?;
    let mut module = wat::parse_str(wat)?;
    embed_component_metadata(&mut module, resolve, world, strings)?;
    Ok(ComponentEncoder::default().module(&module)?.encode()?)
}

/// Everything that a plugin can be granted.
pub(crate) const CAPABILITIES: &str = r#""config": {}, "tensor": {}, "graph": {}, "plans": {}, "files": {},
    "media": {}, "models": {}, "log": {}, "clock": {}, "random": {}, "emit": {}"#;

/// A signed and verified package of a component; `limits` is the JSON of its manifest's limits.
pub(crate) fn package(world: &str, component: &[u8], limits: &str) -> VerifiedPackage {
    package_with(world, component, limits, CAPABILITIES).unwrap()
}

/// A package of the world `processor` in this tier.
pub(crate) fn package_in(tier: &str, component: &[u8]) -> VerifiedPackage {
    package_of(("processor", tier), component, "{}", CAPABILITIES).unwrap()
}

pub(crate) fn package_with(
    world: &str,
    component: &[u8],
    limits: &str,
    capabilities: &str,
) -> Result<VerifiedPackage, aimass_trust::Refusal> {
    package_of((world, tier()), component, limits, capabilities)
}

fn tier() -> &'static str {
    if in_workers() { "worker" } else { "in-process" }
}

/// As [`package`], of what may be no component.
///
/// # Errors
/// Why it cannot be signed, or what the trust policy has against it.
pub(crate) fn package_of_bytes(
    component: &[u8],
    limits: &str,
) -> Result<VerifiedPackage, Box<dyn std::error::Error>> {
    let (wasm, dsse, policy) = signed(("processor", tier()), component, limits, CAPABILITIES)?;
    Ok(policy.verify_plugin(wasm, &dsse, Some("acme/test"), SystemTime::now())?)
}

fn package_of(
    world: (&str, &str),
    component: &[u8],
    limits: &str,
    capabilities: &str,
) -> Result<VerifiedPackage, aimass_trust::Refusal> {
    let (wasm, dsse, policy) = signed(world, component, limits, capabilities).unwrap();
    policy.verify_plugin(wasm, &dsse, Some("acme/test"), SystemTime::now())
}

/// A component with manifest and signature, its statement, and a policy of this tier that trusts them.
fn signed(
    (world, tier): (&str, &str),
    component: &[u8],
    limits: &str,
    capabilities: &str,
) -> Result<(Vec<u8>, Vec<u8>, TrustPolicy), aimass_trust::TrustError> {
    let manifest = format!(
        r#"{{"name": "acme/test", "version": "1.0.0", "world": "aimass:plugin/{world}@0.1.0",
            "capabilities": {{{capabilities}}}, "limits": {limits}}}"#
    );
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    let component = embed_manifest(component, &manifest)?;
    let key = SigningKey::generate()?;
    let now = SystemTime::now();
    let release = PluginRelease {
        sequence: 1,
        not_before: Timestamp::from_system(now - Duration::from_secs(60)),
        expires: Timestamp::from_system(now + Duration::from_secs(3600)),
        min_host: "0.1.0".parse().unwrap(),
        dependencies: Vec::new(),
    };
    let signed = sign_plugin(&component, &release, &key)?;
    let policy = format!(
        "[[publisher]]\nname = \"acme\"\ntier = \"{tier}\"\nkeys = [\"{}\"]\nallow = {{ names = [\"acme/*\"], models = \
         [\"*\"], capabilities = [\"config\", \"tensor\", \"graph\", \"plans\", \"files\", \"media\", \
         \"models\", \"log\", \"clock\", \"random\", \"emit\"] }}\n",
        key.public()
    );
    Ok((signed.wasm, signed.dsse, TrustPolicy::parse(&policy)?))
}

/// Import of `tensor.create` as `$create`: dtype, shape, its length, data, its length, answer.
pub(crate) const CREATE: &str = r#"(import "aimass:plugin/tensor@0.1.0" "[static]tensor.create"
    (func $create (param i32 i32 i32 i32 i32 i32)))"#;

/// Glue that runs the plan `main` on its own inputs and answers the outputs.
pub(crate) fn glue() -> Vec<u8> {
    let imports = r#"(import "aimass:plugin/plans@0.1.0" "get" (func $get (param i32 i32 i32)))
        (import "aimass:plugin/plans@0.1.0" "[method]plan.run"
            (func $run (param i32 i32 i32 i32 i32 i32)))"#;
    let code = r#"(i32.store (i32.const 900) (i32.const 0x6e69616d))
        (call $get (i32.const 900) (i32.const 4) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) (then unreachable))
        (call $run (i32.load (i32.const 516)) (local.get 0) (local.get 1)
                   (i32.const 0) (i32.const 0) (i32.const 520))
        (if (i32.load8_u (i32.const 520)) (then unreachable))
        (call $return (i32.load (i32.const 524)) (i32.load (i32.const 528)))"#;
    component("model", &processor(imports, code))
}

/// `y = x + x` for f32 [batch, 2].
pub(crate) fn doubling_plan() -> Arc<Plan> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(2)]).unwrap();
    let y = builder.add(x, x).unwrap();
    builder.output("y", y).unwrap();
    Arc::new(compile(builder.finish().unwrap(), &CompileOptions::default()).unwrap())
}

/// An identity that describes one f32 tensor `x` of shape [2] as its only input or output.
pub(crate) fn described(list: &str) -> String {
    let at = if list == "inputs" { 32 } else { 40 };
    let describe = format!(
        r#"(func (export "describe") (result i32)
    (i32.store8 (i32.const 300) (i32.const 120))
    (i32.store (i32.const 200) (i32.const 300)) (i32.store (i32.const 204) (i32.const 1))
    (i32.store8 (i32.const 208) (i32.const 1)) (i32.store8 (i32.const 209) (i32.const 17))
    (i32.store8 (i32.const 212) (i32.const 1))
    (i32.store (i32.const 216) (i32.const 240)) (i32.store (i32.const 220) (i32.const 1))
    (i64.store (i32.const 248) (i64.const 2))
    (i32.store (i32.const {at}) (i32.const 200)) (i32.store (i32.const {}) (i32.const 1))
    (i32.const 32))"#,
        at + 4
    );
    let wat = identity();
    let start = wat.find(r#"(func (export "describe")"#).unwrap();
    let end = wat[start..].find("(i32.const 32))").unwrap() + start + "(i32.const 32))".len();
    format!("{}{describe}{}", &wat[..start], &wat[end..])
}

/// Answers the bytes from 1000 to 1008 as a u8 tensor named `n`; needs [`CREATE`].
pub(crate) const ANSWER_BYTES: &str = r#"
    (i32.store (i32.const 512) (i32.const 8)) (i32.store (i32.const 516) (i32.const 0))
    (call $create (i32.const 4) (i32.const 512) (i32.const 1) (i32.const 1000) (i32.const 8)
                  (i32.const 520))
    (if (i32.load8_u (i32.const 520)) (then unreachable))
    (i32.store8 (i32.const 600) (i32.const 110))
    (i32.store (i32.const 604) (i32.const 600)) (i32.store (i32.const 608) (i32.const 1))
    (i32.store (i32.const 612) (i32.load (i32.const 524)))
    (call $return (i32.const 604) (i32.const 1))"#;

/// Answers no outputs.
pub(crate) const NOTHING: &str = "(call $return (i32.const 0) (i32.const 0))";

/// Import of `log.write` as `$log`: level, message, its length.
pub(crate) const LOG: &str =
    r#"(import "aimass:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;

/// A model that never answers, and counts who waits for it.
#[derive(Default)]
pub(crate) struct Never {
    pub(crate) calls: AtomicUsize,
    pub(crate) waiting: Arc<()>,
}

impl ModelCaller for Never {
    fn call(&self, _: ModelCall) -> ModelAnswer<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let waiting = self.waiting.clone();
        Box::pin(async move {
            let _waiting = waiting;
            std::future::pending().await
        })
    }
}

/// Glue that calls the model `m` and answers nothing.
pub(crate) fn asking() -> Vec<u8> {
    let imports = r#"(import "aimass:plugin/models@0.1.0" "infer"
        (func $infer (param i32 i32 i32 i32 i32 i32 i32)))"#;
    let code = format!(
        "(i32.store8 (i32.const 900) (i32.const 109))
         (call $infer (i32.const 900) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
                      (i32.const 0) (i32.const 512)) {NOTHING}"
    );
    component("model", &processor(imports, &code))
}

/// A counter of the sandbox.
pub(crate) fn metric(sandbox: &Sandbox, wanted: &str) -> u64 {
    let mut found = None;
    sandbox.metrics().each(|name, value| {
        if name == wanted {
            found = Some(value);
        }
    });
    found.unwrap()
}
