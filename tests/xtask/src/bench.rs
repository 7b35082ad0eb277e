//! `cargo xtask bench`: a suite beside its peer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{cache, fetch, python, repository, run};

/// What can be measured.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Suite {
    /// The main path: HTTP, plugins and embeddings, beside axum and ONNX Runtime.
    Main,
}

/// Measures `suite`; rows go to standard output.
pub(crate) fn bench(suite: Suite, json: bool) -> anyhow::Result<()> {
    let fetched = fetch::fetch()?;
    let cache = cache::dir()?;
    let python = python::ensure(&cache, python::BENCH)?;
    let peer = onnx_graph(&cache, &python, &fetched.model_dir)?;
    match suite {
        Suite::Main => bail!(
            "unsupported: suite main (peer {}, json: {json})",
            peer.display()
        ),
    }
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
