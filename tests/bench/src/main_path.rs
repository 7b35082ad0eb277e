//! The main path: HTTP, plugins and embeddings, beside axum and ONNX Runtime.

mod embeddings;
mod encoder;
mod follow;
mod http;
mod start;

use crate::peer::Peer;
use crate::row::print;
use std::path::PathBuf;
use tokio::process::Command;

/// What the benchmarks run on.
#[derive(clap::Args)]
pub(crate) struct Setup {
    /// The `aimass` binary, release profile.
    #[arg(long)]
    pub(crate) aimass: PathBuf,
    /// Data folder with `minilm`, `minilm-ids` and `identity` published.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// An API key of that data folder.
    #[arg(long)]
    pub(crate) api_key: String,
    /// The bare axum server that answers the same body.
    #[arg(long)]
    pub(crate) axum: PathBuf,
    /// Python with onnxruntime and tokenizers.
    #[arg(long)]
    pub(crate) python: PathBuf,
    /// Script of the ONNX Runtime peer.
    #[arg(long)]
    pub(crate) peer: PathBuf,
    /// MiniLM as ONNX.
    #[arg(long)]
    pub(crate) onnx: PathBuf,
    /// Folder with tokenizer.json and vocab.txt.
    #[arg(long)]
    pub(crate) model_dir: PathBuf,
    /// A second package folder of `identity`, to publish while requests run.
    #[arg(long)]
    pub(crate) identity_package: PathBuf,
    /// Only these parts: http, encoder, embeddings, start, follow.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Alternating pairs of each cell.
    #[arg(long, default_value_t = 15)]
    pub(crate) pairs: usize,
}

impl Setup {
    /// ONNX Runtime with MiniLM and its tokenizer.
    async fn peer(&self, threads: usize) -> anyhow::Result<Peer> {
        let mut command = Command::new(&self.python);
        command.arg(&self.peer).arg(&self.onnx).arg(&self.model_dir).arg(threads.to_string());
        Peer::start(command).await
    }
}

/// Measures and prints the rows of all wanted parts.
pub(crate) async fn run(setup: &Setup) -> anyhow::Result<()> {
    let wanted = |part: &str| setup.only.is_empty() || setup.only.iter().any(|it| it == part);
    if wanted("http") {
        print(http::rows(setup).await?);
    }
    if wanted("encoder") {
        print(encoder::rows(setup).await?);
    }
    if wanted("embeddings") {
        print(embeddings::rows(setup).await?);
    }
    if wanted("start") {
        print(start::rows(setup).await?);
    }
    if wanted("follow") {
        print(follow::rows(setup).await?);
    }
    Ok(())
}
