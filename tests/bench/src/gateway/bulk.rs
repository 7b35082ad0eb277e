//! 1 MiB of tensor through the identity plugin and back, beside the limit of 1 GB of payload for a
//! second of the server's CPU, and beside a bare axum server.

use super::identity::binary;
use super::{Setup, cpu_row};
use crate::row::{Row, median};
use crate::server::{Server, load, under_load};
use tokio::process::Command;

const ELEMENTS: usize = 256 << 10;
const CONNECTIONS: usize = 4;
const EACH: usize = 250;
/// Bytes of payload, counted once, for a second of CPU.
const GOAL: f64 = 1e9;

/// Rows of this part.
pub(super) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let ours = Server::aimass(&setup.aimass, &setup.data, &[]).await?;
    let bare = Server::start(&mut Command::new(&setup.axum)).await?;
    let mut pairs = Vec::new();
    for _ in 0..setup.pairs {
        pairs.push((cost(&ours, setup).await?, cost(&bare, setup).await?));
    }
    let bytes = (4 * ELEMENTS) as f64;
    let speed = median(&pairs.iter().map(|(ours, _)| bytes / ours * 1e6).collect::<Vec<_>>());
    let name = "1 MiB binary tensor there and back".to_owned();
    let beside = cpu_row(name.clone(), "bare axum", &pairs);
    Ok(vec![
        beside,
        Row {
            name,
            value: speed / 1e9,
            unit: "GB/s of CPU",
            peer: "goal".to_owned(),
            peer_value: Some(GOAL / 1e9),
            ratio: speed / GOAL,
            goal: ">= 1.0".to_owned(),
            holds: speed >= GOAL,
        },
    ])
}

async fn cost(server: &Server, setup: &Setup) -> anyhow::Result<f64> {
    let bytes = binary(server, &setup.api_key, ELEMENTS);
    let load = load(server.address.clone(), bytes, CONNECTIONS, EACH);
    under_load(server, CONNECTIONS * EACH, load).await
}
