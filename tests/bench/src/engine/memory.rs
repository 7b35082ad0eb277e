//! How much memory the load of a model takes at its peak, in a process of its own.

use super::Setup;
use super::duel::{answer, request};
use crate::row::{Row, median};
use aimass_engine::{Engine, EngineConfig};
use aimass_tensor::Tensor;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Peak over the size of the weights' file.
const RATIO_MAX: f64 = 1.3;
const LOADS: usize = 5;
const MODEL: &str = "minilm-ids";

/// What [`load`] loads.
#[derive(clap::Args)]
pub(crate) struct Load {
    /// Data folder.
    data: PathBuf,
    /// Serving name; none opens the engine alone.
    model: Option<String>,
    /// Kernel threads.
    #[arg(long)]
    threads: usize,
}

/// The row of this part.
pub(super) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let file = setup.model_dir.join("model.safetensors");
    let weights = std::fs::metadata(&file).with_context(|| file.display().to_string())?.len();
    let (mut peaks, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        let bare = peak(setup, &setup.data_of_none, None).await?;
        let loaded = peak(setup, &setup.data_of_one, Some(MODEL)).await?;
        let own = loaded.saturating_sub(bare) as f64;
        peaks.push(own / 1e6);
        ratios.push(own / weights as f64);
    }
    let ratio = median(&ratios);
    Ok(vec![Row {
        name: "MiniLM f32, peak memory of a load and one token".into(),
        value: median(&peaks),
        unit: "MB",
        peer: "size of the weights".into(),
        peer_value: Some(weights as f64 / 1e6),
        ratio,
        goal: format!("<= {RATIO_MAX}"),
        holds: ratio <= RATIO_MAX,
    }])
}

/// Bytes at the peak of another process.
async fn peak(setup: &Setup, data: &Path, model: Option<&str>) -> anyhow::Result<u64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("load").arg("--threads").arg(setup.threads.to_string()).arg(data).args(model);
    let output = command.output().await.with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Opens an engine, asks the model for one token, and prints the peak of this process.
pub(crate) async fn load(load: &Load) -> anyhow::Result<()> {
    let config = EngineConfig { threads: load.threads, ..EngineConfig::new(&load.data) };
    let engine = Engine::open(config).await?;
    if let Some(model) = &load.model {
        let inputs = [
            ("input_ids", Tensor::from_slice(&[1], &[101i32])?),
            ("offsets", Tensor::from_slice(&[2], &[0u32, 1])?),
        ];
        answer(&engine, &request(model, &inputs)).await?;
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .context("/proc/self/status has no VmHWM")?
        .parse()?;
    println!("{}", kilobytes * 1024);
    Ok(())
}
