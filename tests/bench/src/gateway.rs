//! The gateway: what a request costs over HTTP and gRPC beside bare servers, bulk data, memory and
//! start.

mod bulk;
mod grpc;
mod identity;
mod idle;
mod overload;
mod peers;

use crate::row::{Row, median, print};
use std::path::PathBuf;

/// What the benchmarks run on.
#[derive(clap::Args)]
pub(crate) struct Setup {
    /// The `aimass` binary, release profile.
    #[arg(long)]
    aimass: PathBuf,
    /// Data folder with `identity` published.
    #[arg(long)]
    data: PathBuf,
    /// Data folder with ten Rust plugins and a model of each.
    #[arg(long)]
    data_of_ten: PathBuf,
    /// An API key of both folders.
    #[arg(long)]
    api_key: String,
    /// The bare axum server that answers the same bodies.
    #[arg(long)]
    axum: PathBuf,
    /// The bare tonic server that answers the same messages.
    #[arg(long)]
    tonic: PathBuf,
    /// A server that a user would pick instead, as `NAME=PYTHON`; again for further ones.
    #[arg(long)]
    peer: Vec<peers::Peer>,
    /// Folder of the peers' scripts.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Only these parts: identity, grpc, bulk, idle, overload, flood, peers.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Alternating pairs of each cell.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
}

/// Connections at which the cost is measured.
const CONNECTIONS: [usize; 2] = [8, 32];
/// What the plugin, the authentication, quotas, metrics and metering may cost.
const RATIO_MAX: f64 = 2.0;

/// Measures and prints the rows of all wanted parts.
pub(crate) async fn run(setup: &Setup) -> anyhow::Result<()> {
    let wanted = |part: &str| setup.only.is_empty() || setup.only.iter().any(|it| it == part);
    if wanted("identity") {
        print(identity::rows(setup).await?);
    }
    if wanted("grpc") {
        print(grpc::rows(setup).await?);
    }
    if wanted("bulk") {
        print(bulk::rows(setup).await?);
    }
    if wanted("idle") {
        print(idle::rows(setup).await?);
    }
    if wanted("overload") {
        print(overload::rows(setup, false).await?);
    }
    if wanted("flood") {
        print(overload::rows(setup, true).await?);
    }
    if wanted("peers") {
        print(peers::rows(setup).await?);
    }
    Ok(())
}

/// A row of CPU times, ours and the peer's in pairs.
fn cpu_row(name: String, peer: &str, pairs: &[(f64, f64)]) -> Row {
    let ours: Vec<f64> = pairs.iter().map(|(ours, _)| *ours).collect();
    let theirs: Vec<f64> = pairs.iter().map(|(_, theirs)| *theirs).collect();
    let ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours / theirs).collect();
    let ratio = median(&ratios);
    Row {
        name,
        value: median(&ours),
        unit: "CPU us/request",
        peer: peer.to_owned(),
        peer_value: Some(median(&theirs)),
        ratio,
        goal: format!("<= {RATIO_MAX}"),
        holds: ratio <= RATIO_MAX,
    }
}
