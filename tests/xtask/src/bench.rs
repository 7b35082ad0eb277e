//! `cargo xtask bench`: a suite beside its peer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::fetch::Fetched;
use crate::installation::Installation;
use crate::{cache, fetch, python, repository, run};

/// What can be measured.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Suite {
    /// The main path: HTTP, plugins and embeddings, beside axum and ONNX Runtime.
    Main,
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
    let fetched = fetch::fetch()?;
    let cache = cache::dir()?;
    let python = python::ensure(&cache, python::BENCH)?;
    let onnx = onnx_graph(&cache, &python, &fetched.model_dir)?;
    match suite {
        Suite::Main => main_suite(&fetched, &python, &onnx, json, arguments),
    }
}

fn main_suite(
    fetched: &Fetched,
    python: &Path,
    onnx: &Path,
    json: bool,
    arguments: &[String],
) -> anyhow::Result<()> {
    let folder = repository::target_dir()?.join("bench");
    let release = build_release()?;
    let mut installation = Installation::make(fetched, &release.join("aimass"), &folder)?;
    installation.publish_models(fetched, "tests/bench/packages", &folder)?;
    let key = run::output(installation.command().args(["key", "new", "api"]))?;
    let sources = repository::root().join("tests/bench");
    let mut main = Command::new(release.join("aimass-bench"));
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
    let missed = rows.iter().filter(|row| !row.holds).count();
    if !json {
        println!("{} of {} rows hold", rows.len() - missed, rows.len());
    }
    Ok(())
}

/// Builds what is measured; returns the folder of the release profile.
fn build_release() -> anyhow::Result<PathBuf> {
    let mut build = repository::cargo();
    build.args(["build", "--release", "--workspace", "--bin", "aimass", "--bin", "aimass-bench"]);
    build.args(["--example", "axum_identity", "--example", "calls"]);
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
