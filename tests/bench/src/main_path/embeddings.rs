//! (d) 64 clients, text in and vectors out over HTTP, beside ONNX Runtime on padded batches of 8.

use super::Setup;
use crate::row::{Row, median};
use crate::server::{Connection, Server, request};
use crate::texts::texts;
use anyhow::{Context, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const CLIENTS: usize = 64;
const TEXTS: usize = 256;
const PADDED_BATCH: usize = 8;
const RATIO_MIN: f64 = 1.5;

/// The row of part (d).
pub(crate) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let texts = texts(&setup.model_dir, TEXTS)?;
    let server = Server::aimass(&setup.aimass, &setup.data, &[]).await?;
    let threads = std::thread::available_parallelism()?.get();
    let mut peer = setup.peer(threads).await?;
    let question = serde_json::json!({ "texts": texts, "batch": PADDED_BATCH });
    let requests: Arc<Vec<Vec<u8>>> = Arc::new(
        texts
            .iter()
            .map(|text| {
                let body = serde_json::json!({
                    "model": "minilm", "input": text, "encoding_format": "base64"
                });
                let body = body.to_string();
                request(&server.address, &setup.api_key, "POST", "/v1/embeddings", body.as_bytes())
            })
            .collect(),
    );
    ours(&server, &requests).await?;
    let (mut values, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.pairs.min(9) {
        let value = TEXTS as f64 / ours(&server, &requests).await?;
        let seconds = peer.ask(&question).await?["seconds"].as_f64().context("seconds")?;
        let theirs = TEXTS as f64 / seconds;
        values.push(value);
        peers.push(theirs);
        ratios.push(value / theirs);
    }
    let ratio = median(&ratios);
    Ok(vec![Row {
        name: format!("{CLIENTS} clients, text to vector, 8 to 256 tokens"),
        value: median(&values),
        unit: "texts/s",
        peer: format!("ONNX Runtime, padded batches of {PADDED_BATCH}, in process"),
        peer_value: Some(median(&peers)),
        ratio,
        goal: format!(">= {RATIO_MIN}"),
        holds: ratio >= RATIO_MIN,
    }])
}

/// Seconds until every text has been answered.
async fn ours(server: &Server, requests: &Arc<Vec<Vec<u8>>>) -> anyhow::Result<f64> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (next, requests) = (next.clone(), requests.clone());
        let mut connection = Connection::open(&server.address).await?;
        clients.push(tokio::spawn(async move {
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (status, body) = connection.exchange(request).await?;
                if status != 200 {
                    bail!("{status}: {}", String::from_utf8_lossy(&body));
                }
            }
            Ok(())
        }));
    }
    for client in clients {
        client.await??;
    }
    Ok(start.elapsed().as_secs_f64())
}
