//! The plugin's own crate, built for this machine and called in a program of its own, against the SDK's
//! stub of the host. The program is written into the target folder; the project is not touched.

use super::super::workbench::{Case, Source};
use super::Spread;
use aimass_tensor::{DType, Tensor};
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Name of the program's package.
const PACKAGE: &str = "aimass-native-bench";

/// The part of a project's `Cargo.toml` that is read here.
#[derive(Deserialize)]
struct CargoToml {
    package: Package,
    lib: Option<Lib>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

#[derive(Deserialize)]
struct Lib {
    name: Option<String>,
    #[serde(rename = "crate-type", default)]
    crate_type: Vec<String>,
}

/// One line that the program answers.
#[derive(Deserialize)]
struct Line {
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    error: Option<String>,
}

/// Times of each case natively; `None` for a case that the stub of the host cannot answer.
///
/// # Errors
/// The project is no Rust library that a program can link, or the program does not build or run.
pub(super) fn measure(
    source: &Source,
    cases: &[Case],
    runs: u32,
) -> anyhow::Result<Vec<Option<Spread>>> {
    let project = std::path::absolute(&source.project)?;
    let folder = std::path::absolute(source.target_dir())?.join("native-bench");
    write_program(&project, &folder)?;
    let input = folder.join("cases.json");
    let files = project.join("fixtures/files");
    let files = files.is_dir().then_some(files);
    let cases = json!({
        "runs": runs,
        "files": files,
        "cases": cases.iter().map(case).collect::<anyhow::Result<Vec<_>>>()?,
    });
    std::fs::write(&input, cases.to_string()).with_context(|| input.display().to_string())?;
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .status()
        .context("cargo did not start")?;
    if !built.success() {
        bail!(
            "the native build failed; its messages are above. Export the plugin in the root of its \
             crate (src/lib.rs)"
        );
    }
    let program = folder.join("target/release").join(PACKAGE);
    let output = Command::new(&program).arg(&input).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| program.display().to_string())?;
    if !output.status.success() {
        bail!("the native program ended with {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("the native program's answer")?;
    text.lines().map(spread).collect()
}

fn spread(line: &str) -> anyhow::Result<Option<Spread>> {
    let line: Line = serde_json::from_str(line).context("the native program's answer")?;
    if let Some(error) = line.error {
        eprintln!("native    {error}");
    }
    let (Some(p50), Some(p99)) = (line.p50_ns, line.p99_ns) else { return Ok(None) };
    Ok(Some(Spread { p50: Duration::from_nanos(p50), p99: Duration::from_nanos(p99) }))
}

/// Writes the program: a package of its own that depends on the project.
fn write_program(project: &Path, folder: &Path) -> anyhow::Result<()> {
    let path = project.join("Cargo.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: only Rust projects are built natively", path.display()))?;
    let cargo: CargoToml = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let lib = cargo.lib.unwrap_or(Lib { name: None, crate_type: Vec::new() });
    if !lib.crate_type.iter().any(|one| one == "rlib" || one == "lib") {
        bail!("{}: write crate-type = [\"cdylib\", \"rlib\"] below [lib]", path.display());
    }
    let name = lib.name.unwrap_or_else(|| cargo.package.name.replace('-', "_"));
    let package = toml::Value::from(cargo.package.name).to_string();
    let root = toml::Value::from(project.display().to_string()).to_string();
    let manifest = format!(
        "[package]\nname = \"{PACKAGE}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\nplugin = {{ package = {package}, path = {root} }}\n\n\
         [profile.release]\nlto = true\ncodegen-units = 1\n\n[workspace]\n"
    );
    std::fs::create_dir_all(folder.join("src"))?;
    write(&folder.join("Cargo.toml"), &manifest)?;
    let main = format!(
        "//! Calls the plugin `{name}` natively, for `aimass plugin bench`.\n\n\
         fn main() {{\n    plugin::__aimass_native_bench();\n}}\n"
    );
    write(&folder.join("src/main.rs"), &main)?;
    match lock_of(project) {
        Some(lock) => {
            std::fs::copy(lock, folder.join("Cargo.lock")).map(drop).context("copying Cargo.lock")
        }
        None => Ok(()),
    }
}

/// The lock file that decides the project's dependencies: its own, or its workspace's.
fn lock_of(project: &Path) -> Option<PathBuf> {
    project.ancestors().map(|folder| folder.join("Cargo.lock")).find(|lock| lock.exists())
}

/// Writes a file unless it is as it should be, so that Cargo does not build again.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn case(case: &Case) -> anyhow::Result<Value> {
    let fixture = &case.fixture;
    let inputs = fixture.inputs.iter().map(|(name, tensor)| input(name, tensor));
    let parameters = fixture.parameters.iter().map(|(name, value)| {
        let value = match value {
            aimass_engine::Parameter::Bool(value) => json!(value),
            aimass_engine::Parameter::Int(value) => json!(value),
            aimass_engine::Parameter::Float(value) => json!(value),
            aimass_engine::Parameter::Text(value) => json!(value),
        };
        (name.clone(), value)
    });
    Ok(json!({
        "name": fixture.name,
        "config": fixture.config.as_deref().unwrap_or("{}"),
        "inputs": inputs.collect::<anyhow::Result<Vec<_>>>()?,
        "parameters": parameters.collect::<serde_json::Map<_, _>>(),
    }))
}

/// A tensor as the program reads it: bytes in hexadecimal, strings as lists of such.
fn input(name: &str, tensor: &Tensor) -> anyhow::Result<Value> {
    let hex = |bytes: &[u8]| super::super::publish::hex(bytes);
    let strings: Option<Vec<String>> =
        tensor.strings().map(|strings| strings.iter().map(hex).collect());
    if tensor.dtype() == DType::Bytes && strings.is_none() {
        bail!("input {name}: strings that cannot be read");
    }
    Ok(json!({
        "name": name,
        "dtype": tensor.dtype().name(),
        "shape": tensor.shape().dims(),
        "data": if strings.is_none() { hex(tensor.bytes()) } else { String::new() },
        "strings": strings,
    }))
}
