//! `cargo xtask bench`: a suite beside its peer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::fetch::Fetched;
use crate::installation::Installation;
use crate::{cache, fetch, installation, plugins, python, repository, run};

/// What can be measured.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Suite {
    /// The main path: HTTP, plugins and embeddings, beside axum and ONNX Runtime.
    Main,
    /// The tensor engine, beside ONNX Runtime, OpenVINO and tract.
    Engine,
    /// The gateway, beside bare axum and tonic servers; with `-- --only peers` beside PyTriton, KServe and
    /// LitServe.
    Gateway,
    /// What the host pays for work on a GPU, on the virtual one or with `AIMASS_DEVICE=cuda:0`; and the
    /// interpreter of the virtual one.
    Cuda,
    /// The verifier of marketplaces' releases, beside its goals.
    Trust,
    /// What the sandbox costs: instances, calls, plans, pictures, tokenizers, workers, deadlines and density.
    Sandbox,
}

/// One row, as the benchmark programs print it.
#[derive(Deserialize)]
struct Row {
    name: String,
    value: f64,
    unit: String,
    peer: String,
    peer_value: Option<f64>,
    ratio: f64,
    goal: String,
    holds: bool,
}

/// Measures `suite`; rows go to standard output, as a table or as JSON lines.
pub(crate) fn bench(suite: Suite, json: bool, arguments: &[String]) -> anyhow::Result<()> {
    match suite {
        Suite::Trust => return trust_suite(json),
        Suite::Cuda => return cuda_suite(json),
        Suite::Sandbox => return sandbox_suite(json, arguments),
        Suite::Main | Suite::Engine | Suite::Gateway => {}
    }
    let fetched = fetch::fetch()?;
    let cache = cache::dir()?;
    let python = python::ensure(&cache, python::BENCH)?;
    let onnx = onnx_graph(&cache, &python, &fetched.model_dir)?;
    match suite {
        Suite::Main => main_suite(&fetched, &python, &onnx, json, arguments),
        Suite::Engine => engine_suite(&fetched, &python, &onnx, json, arguments),
        Suite::Gateway => gateway_suite(&fetched, json, arguments),
        Suite::Cuda => cuda_suite(json),
        Suite::Trust => trust_suite(json),
        Suite::Sandbox => sandbox_suite(json, arguments),
    }
}

/// Rows of `host/sandbox/examples/costs`; `arguments` may be `--only PART,..`.
fn sandbox_suite(json: bool, arguments: &[String]) -> anyhow::Result<()> {
    let fetched = fetch::fetch()?;
    let release = build_release(&["costs", "child"])?;
    let plugins = plugins::build_all(&release.join("aimass"))?;
    let mut costs = Command::new(release.join("examples/costs"));
    costs.arg("--plugins").arg(plugins);
    costs.arg("--tokenizer").arg(fetched.model_dir.join("tokenizer.json"));
    costs.arg("--python").arg(&fetched.python);
    costs.args(arguments);
    let mut rows = Vec::new();
    print_rows(costs, json, &mut rows)?;
    summarize(&rows, json);
    Ok(())
}

/// Rows of `kernels/cuda/examples/host_cost.rs`.
fn cuda_suite(json: bool) -> anyhow::Result<()> {
    let mut run = repository::cargo();
    run.args(["run", "--release", "-p", "aimass-cuda", "--example", "host_cost"]);
    let mut rows = Vec::new();
    print_rows(run, json, &mut rows)?;
    summarize(&rows, json);
    Ok(())
}

/// Rows of `host/trust/examples/verify_cost.rs`; fails where one misses its goal.
fn trust_suite(json: bool) -> anyhow::Result<()> {
    let mut run = repository::cargo();
    run.args(["run", "--release", "-p", "aimass-trust", "--example", "verify_cost"]);
    let mut rows = Vec::new();
    print_rows(run, json, &mut rows)?;
    summarize(&rows, json);
    anyhow::ensure!(rows.iter().all(|row| row.holds), "verification costs more than its goal");
    Ok(())
}

fn main_suite(
    fetched: &Fetched,
    python: &Path,
    onnx: &Path,
    json: bool,
    arguments: &[String],
) -> anyhow::Result<()> {
    let folder = repository::target_dir()?.join("bench");
    let release = build_release(&["axum_identity", "calls"])?;
    let mut installation = Installation::make(fetched, &release.join("aimass"), &folder)?;
    installation.publish_models(fetched, "tests/bench/packages", &folder)?;
    let key = run::output(installation.command().args(["key", "new", "api"]))?;
    let sources = repository::root().join("tests/bench");
    let mut main = Command::new(release.join("aimass-bench"));
    main.arg("main");
    main.arg("--aimass").arg(&installation.aimass).arg("--data").arg(&installation.data);
    main.arg("--api-key").arg(key.trim()).arg("--onnx").arg(onnx);
    main.arg("--axum").arg(release.join("examples/axum_identity"));
    main.arg("--python").arg(python).arg("--peer").arg(sources.join("peer.py"));
    main.arg("--model-dir").arg(&fetched.model_dir);
    main.arg("--identity-package").arg(folder.join("packages/identity"));
    main.args(arguments);
    let mut rows = Vec::new();
    if arguments.is_empty() {
        let calls = Command::new(release.join("examples/calls"));
        print_rows(calls, json, &mut rows)?;
    }
    print_rows(main, json, &mut rows)?;
    summarize(&rows, json);
    Ok(())
}

/// Servers that a user would pick instead of ours, as `tests/bench/peers` knows them, with an environment each.
const PEERS: [&str; 2] = ["pytriton", "litserve"];
/// Triton's wheel takes Debian's Python only.
const PEERS_PYTHON: &str = "/usr/bin/python3";

/// The peers that can be installed here, each with the Python of its own environment.
fn peers(fetched: &Fetched) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let cache = cache::dir()?;
    // KServe's server comes with its client, which the tests have.
    let mut installed = vec![("kserve", fetched.python.clone())];
    for name in PEERS {
        let requirements = format!("tests/bench/peers/requirements-{name}.txt");
        let venv = cache.join("peers").join(name);
        match python::ensure_in(&venv, PEERS_PYTHON, &requirements) {
            Ok(python) => installed.push((name, python)),
            Err(error) => eprintln!("bench: {name} is left out: {error:#}"),
        }
    }
    Ok(installed)
}

/// Plugins and models of the idle server.
const IDLE_PLUGINS: usize = 10;

fn gateway_suite(fetched: &Fetched, json: bool, arguments: &[String]) -> anyhow::Result<()> {
    let release = build_release(&["axum_identity", "tonic_echo"])?;
    let aimass = release.join("aimass");
    let folder = repository::target_dir()?.join("bench/gateway");
    let one = Installation::make(fetched, &aimass, &folder.join("one"))?;
    let mut ten = Installation::without_models(&aimass, &folder.join("ten"))?;
    publish_identities(&mut ten, &folder.join("ten"))?;
    let key = run::output(one.command().args(["key", "new", "api"]))?;
    // The same key opens both.
    std::fs::copy(one.data.join("api_keys.toml"), ten.data.join("api_keys.toml"))?;
    let mut gateway = Command::new(release.join("aimass-bench"));
    gateway.arg("gateway").arg("--aimass").arg(&aimass).arg("--data").arg(&one.data);
    gateway.arg("--data-of-ten").arg(&ten.data).arg("--api-key").arg(key.trim());
    gateway.arg("--axum").arg(release.join("examples/axum_identity"));
    gateway.arg("--tonic").arg(release.join("examples/tonic_echo"));
    gateway.arg("--peers").arg(repository::root().join("tests/bench/peers"));
    if arguments.iter().any(|argument| argument.split(',').any(|part| part == "peers")) {
        for (name, python) in peers(fetched)? {
            gateway.arg("--peer").arg(format!("{name}={}", python.display()));
        }
    }
    gateway.args(arguments);
    let mut rows = Vec::new();
    print_rows(gateway, json, &mut rows)?;
    summarize(&rows, json);
    Ok(())
}

/// Publishes `identity-0` and so on, each with a plugin that differs in nothing but its name.
fn publish_identities(installation: &mut Installation, folder: &Path) -> anyhow::Result<()> {
    let file = installation.components.join("identity.wasm");
    let component = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let manifest = repository::root().join("tests/xtask/packages/identity/model.toml");
    let manifest =
        std::fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    for number in 0..IDLE_PLUGINS {
        // Names of equal length leave every size in the component as it is.
        let plugin = format!("identit{number}");
        let variant =
            replaced(&component, b"aimass/identity", format!("aimass/{plugin}").as_bytes());
        installation.publish_plugin(&plugin, &variant, &folder.join("plugins"))?;
        let name = format!("identity-{number}");
        let manifest = manifest
            .replace("aimass/identity-model", &format!("aimass/{name}"))
            .replace("plugin = \"aimass/identity\"", &format!("plugin = \"aimass/{plugin}\""));
        installation.publish_model(&name, &manifest, &[], folder)?;
    }
    Ok(())
}

/// Tokenizer plugins, each of a tenant of its own.
const TOKENIZERS: usize = 8;

fn engine_suite(
    fetched: &Fetched,
    python: &Path,
    onnx: &Path,
    json: bool,
    arguments: &[String],
) -> anyhow::Result<()> {
    let release = build_release(&["gemm_peak"])?;
    let aimass = release.join("aimass");
    let folder = repository::target_dir()?.join("bench/engine");
    let mut installation = Installation::make(fetched, &aimass, &folder.join("all"))?;
    installation.publish_models(fetched, "tests/bench/packages", &folder.join("all"))?;
    installation.publish_onnx_models(fetched, &folder.join("all"))?;
    publish_tokenizers(&mut installation, fetched, &folder.join("all"))?;
    let mut one = Installation::without_models(&aimass, &folder.join("one"))?;
    one.publish_models(fetched, "tests/bench/packages", &folder.join("one"))?;
    let none = Installation::without_models(&aimass, &folder.join("none"))?;
    let mut engine = Command::new(release.join("aimass-bench"));
    engine.arg("engine").arg("--data").arg(&installation.data);
    engine.arg("--data-of-one").arg(&one.data).arg("--data-of-none").arg(&none.data);
    engine.arg("--python").arg(python).arg("--onnx").arg(onnx);
    engine.arg("--peer").arg(repository::root().join("tests/bench/engine_peer.py"));
    engine.arg("--model-dir").arg(&fetched.model_dir);
    engine.arg("--models").arg(fetched.onnx_cases.join("models"));
    engine.args(arguments);
    let mut rows = Vec::new();
    if arguments.is_empty() {
        print_rows(Command::new(release.join("examples/gemm_peak")), json, &mut rows)?;
    }
    print_rows(engine, json, &mut rows)?;
    summarize(&rows, json);
    Ok(())
}

/// Publishes `minilm-1` and so on: MiniLM with tokenizer plugins that differ in nothing but their name.
fn publish_tokenizers(
    installation: &mut Installation,
    fetched: &Fetched,
    folder: &Path,
) -> anyhow::Result<()> {
    let file = installation.components.join("wordpiece.wasm");
    let component = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let manifest = repository::root().join("tests/xtask/packages/minilm/model.toml");
    let manifest =
        std::fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let files = installation::MODEL_FILES.map(|file| fetched.model_dir.join(file));
    for number in 1..=TOKENIZERS {
        // Names of equal length leave every size in the component as it is.
        let plugin = format!("wordpiec{number}");
        let variant =
            replaced(&component, b"aimass/wordpiece", format!("aimass/{plugin}").as_bytes());
        installation.publish_plugin(&plugin, &variant, &folder.join("plugins"))?;
        let name = format!("minilm-{number}");
        let manifest = manifest
            .replace("aimass/minilm", &format!("aimass/{name}"))
            .replace("aimass/wordpiece", &format!("aimass/{plugin}"));
        installation.publish_model(&name, &manifest, &files, folder)?;
    }
    Ok(())
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut made = bytes.to_vec();
    for at in 0..=bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from) {
            made[at..at + to.len()].copy_from_slice(to);
        }
    }
    made
}

fn summarize(rows: &[Row], json: bool) {
    if !json {
        let missed = rows.iter().filter(|row| !row.holds).count();
        println!("{} of {} rows hold", rows.len() - missed, rows.len());
    }
}

/// Builds what is measured, with these examples; returns the folder of the release profile.
fn build_release(examples: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = repository::cargo();
    build.args(["build", "--release", "--workspace", "--bin", "aimass", "--bin", "aimass-bench"]);
    build.args(examples.iter().flat_map(|example| ["--example", example]));
    run::check(&mut build)?;
    Ok(repository::target_dir()?.join("release"))
}

/// Runs a benchmark program and prints each row when it comes.
fn print_rows(mut program: Command, json: bool, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    program.stdout(Stdio::piped());
    let mut process = program.spawn().with_context(|| format!("{program:?}"))?;
    let output = process.stdout.take().context("its output is piped")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if !line.starts_with('{') {
            eprintln!("{line}");
            continue;
        }
        let row: Row = serde_json::from_str(&line).with_context(|| line.clone())?;
        if json {
            println!("{line}");
        } else {
            println!("{}", table_line(&row));
        }
        rows.push(row);
    }
    let status = process.wait()?;
    if !status.success() {
        bail!("{program:?} ended with {status}");
    }
    Ok(())
}

fn table_line(row: &Row) -> String {
    let peer = row.peer_value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let mark = if row.holds { "holds" } else { "MISSED" };
    format!(
        "{:<58} {:>10.2} {:<14} {:>10} {:<40} ratio {:>6.2}  goal {:<8} {mark}",
        row.name, row.value, row.unit, peer, row.peer, row.ratio, row.goal
    )
}

/// The model as ONNX Runtime gets it, made once in the cache.
fn onnx_graph(cache: &Path, python: &Path, model_dir: &Path) -> anyhow::Result<PathBuf> {
    let graph = cache.join("bench/all-MiniLM-L6-v2.onnx");
    if graph.exists() {
        return Ok(graph);
    }
    let folder = cache.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let partial = graph.with_extension("partial");
    let mut make = Command::new(python);
    make.arg(repository::root().join("tests/golden/make_onnx.py"));
    make.arg(model_dir.join("model.safetensors")).arg(&partial);
    run::check(&mut make)?;
    std::fs::rename(&partial, &graph).with_context(|| graph.display().to_string())?;
    Ok(graph)
}
