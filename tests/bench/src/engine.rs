//! The tensor engine beside the runtimes that a user would pick instead, with the same threads.

mod clients;
mod duel;
mod encoder;
mod memory;
mod models;

use crate::row::{Row, print};
use aimass_engine::{Engine, EngineConfig};
pub(crate) use memory::{Load, load};
use std::future::Future;
use std::path::PathBuf;

/// What the benchmarks run on.
#[derive(clap::Args)]
pub(crate) struct Setup {
    /// Data folder with `minilm`, its variants, `minilm-ids` and the packages of tests/onnx.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Data folder with `minilm-ids` alone.
    #[arg(long)]
    pub(crate) data_of_one: PathBuf,
    /// Data folder without models.
    #[arg(long)]
    pub(crate) data_of_none: PathBuf,
    /// Python with onnxruntime, openvino and tract.
    #[arg(long)]
    pub(crate) python: PathBuf,
    /// Script of the peers.
    #[arg(long)]
    pub(crate) peer: PathBuf,
    /// MiniLM as ONNX.
    #[arg(long)]
    pub(crate) onnx: PathBuf,
    /// Folder of MiniLM's files, with vocab.txt.
    #[arg(long)]
    pub(crate) model_dir: PathBuf,
    /// Folder with the models of tests/onnx, `NAME/package/model.onnx`.
    #[arg(long)]
    pub(crate) models: PathBuf,
    /// Only these parts: encoder, models, clients, memory.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Only works whose names contain this.
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Alternating pairs of each cell.
    #[arg(long, default_value_t = 15)]
    pub(crate) pairs: usize,
    /// Threads of both sides.
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,
}

impl Setup {
    fn wants(&self, work: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| work.contains(part.as_str()))
    }
}

/// Measures and prints the rows of all wanted parts.
pub(crate) async fn run(setup: &Setup) -> anyhow::Result<()> {
    let config = EngineConfig { threads: setup.threads, ..EngineConfig::new(&setup.data) };
    let engine = Engine::open(config).await?;
    part(setup, "encoder", encoder::rows(setup, &engine)).await?;
    part(setup, "models", models::rows(setup, &engine)).await?;
    part(setup, "clients", clients::rows(setup, &engine)).await?;
    drop(engine);
    part(setup, "memory", memory::rows(setup)).await
}

/// Prints the rows of a part, if it is wanted.
async fn part(
    setup: &Setup,
    name: &str,
    rows: impl Future<Output = anyhow::Result<Vec<Row>>>,
) -> anyhow::Result<()> {
    if setup.only.is_empty() || setup.only.iter().any(|only| only == name) {
        print(rows.await?);
    }
    Ok(())
}
