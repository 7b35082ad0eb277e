//! `cargo xtask fetch`: everything that comes from a network, pinned, into the cache.

use std::path::PathBuf;

use aimass_build::{Tools, WasmToolchain};

use crate::{cache, cuda, model, onnx, python, registry, repository, run};

/// What the other tasks use of the cache.
pub(crate) struct Fetched {
    /// The environment's Python, with the clients of `requirements.txt`.
    pub(crate) python: PathBuf,
    /// The folder of all-MiniLM-L6-v2.
    pub(crate) model_dir: PathBuf,
    /// The folder of the cases of `tests/onnx`.
    pub(crate) onnx_cases: PathBuf,
    /// What compiles plugins.
    pub(crate) toolchain: WasmToolchain,
}

impl Fetched {
    /// What is where, for people.
    pub(crate) fn summary(&self) -> String {
        format!(
            "fetch: python   {}\nfetch: model    {}\nfetch: onnx     {}\nfetch: wasm     {}",
            self.python.display(),
            self.model_dir.display(),
            self.onnx_cases.display(),
            self.toolchain.describe()
        )
    }
}

/// Installs whatever is missing. A run that finds all of it uses no network.
pub(crate) fn fetch() -> anyhow::Result<Fetched> {
    let cache = cache::dir()?;
    let toolchain = WasmToolchain::find(true, &mut |line| eprintln!("fetch: {line}"))?;
    let mut crates = toolchain.cargo(repository::root());
    crates.args(["fetch", "--quiet"]).args(toolchain.target_arguments());
    run::check(&mut crates)?;
    let mut crates = repository::cargo();
    run::check(crates.args(["fetch", "--quiet", "--target", &host()?]))?;
    let python = python::ensure(&cache, python::TESTS)?;
    for model in model::all()? {
        model.ensure(&cache, &python)?;
    }
    cuda::fetch(&python)?;
    let model_dir = model::folder(&cache, model::DEMO);
    let onnx_cases = onnx::ensure(&cache)?;
    Ok(Fetched { python, model_dir, onnx_cases, toolchain })
}

/// Installs the compilers that authors of plugins use beside Rust's. Answers why there are none for
/// JavaScript, if so: npm is not among what this project asks for, so its tests are left out without it.
pub(crate) fn authoring_tools() -> anyhow::Result<Option<String>> {
    let mut report = |line: &str| eprintln!("fetch: {line}");
    let mut tools = Tools::of_this_user(&mut report)?;
    tools.componentize_py()?;
    tools.zig()?;
    let without_javascript = tools.javascript().err().map(|error| error.to_string());
    if let Some(error) = &without_javascript {
        eprintln!("fetch: the tests of JavaScript plugins are left out: {error}");
    }
    Ok(without_javascript)
}

/// The OCI registry of the tests, or why there is none: it comes from Debian's packages, which not every
/// machine has.
pub(crate) fn oci_registry() -> anyhow::Result<Result<PathBuf, String>> {
    let found = registry::ensure(&cache::dir()?);
    if let Err(error) = &found {
        eprintln!("fetch: the tests with Debian's OCI registry are left out: {error:#}");
    }
    Ok(found.map_err(|error| format!("{error:#}")))
}

/// The platform that tests run on, as rustc names it.
fn host() -> anyhow::Result<String> {
    let version = run::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("`rustc -vV` names no host"))
}
