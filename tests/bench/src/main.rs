//! Benchmarks of the main path: this product beside what a user would pick instead, in one run.
//!
//! Started by `cargo xtask bench main`, which builds everything in the release profile, makes an
//! installation and prepares the peers. Every row is the median of ratios of alternating runs, so
//! that a machine that slows down slows both sides.

mod embeddings;
mod encoder;
mod follow;
mod http;
mod peer;
mod row;
mod start;

use clap::Parser;
use row::Row;
use std::path::PathBuf;

/// What the benchmarks run on.
#[derive(Parser)]
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let setup = Setup::parse();
    let wanted = |part: &str| setup.only.is_empty() || setup.only.iter().any(|it| it == part);
    if wanted("http") {
        print(http::rows(&setup).await?);
    }
    if wanted("encoder") {
        print(encoder::rows(&setup).await?);
    }
    if wanted("embeddings") {
        print(embeddings::rows(&setup).await?);
    }
    if wanted("start") {
        print(start::rows(&setup).await?);
    }
    if wanted("follow") {
        print(follow::rows(&setup).await?);
    }
    Ok(())
}

fn print(rows: Vec<Row>) {
    for row in rows {
        println!("{}", row.to_json());
    }
}
