//! (c) The encoder alone, token ids in, beside ONNX Runtime with the same threads.

use super::Setup;
use crate::peer::Peer;
use crate::row::{Row, Seeded, geomean, median};
use aimass_engine::{Engine, EngineConfig, InferRequest, Selector};
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BATCHES: [usize; 3] = [1, 8, 32];
const LENGTHS: [usize; 3] = [32, 128, 256];
/// Every cell has to reach this share of the peer's speed, and their geometric mean all of it.
const CELL_MIN: f64 = 0.95;

/// Rows of part (c): one a cell, and their geometric mean.
pub(crate) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let threads = std::thread::available_parallelism()?.get();
    let engine = Engine::open(EngineConfig::new(&setup.data)).await?;
    let mut peer = setup.peer(threads).await?;
    let mut rows = Vec::new();
    for batch in BATCHES {
        for length in LENGTHS {
            rows.push(cell(setup, &engine, &mut peer, batch, length).await?);
        }
    }
    let ratios: Vec<f64> = rows.iter().map(|row| row.ratio).collect();
    rows.push(Row {
        name: format!("encoder, geometric mean, {threads} threads"),
        value: geomean(&ratios),
        unit: "x speed",
        peer: "ONNX Runtime".into(),
        peer_value: Some(1.0),
        ratio: geomean(&ratios),
        goal: ">= 1.0".into(),
        holds: geomean(&ratios) >= 1.0,
    });
    Ok(rows)
}

async fn cell(
    setup: &Setup,
    engine: &Engine,
    peer: &mut Peer,
    batch: usize,
    length: usize,
) -> anyhow::Result<Row> {
    let mut seeded = Seeded(1);
    let ids: Vec<i32> =
        (0..batch * length).map(|_| 1000 + (seeded.bits() % 25_000) as i32).collect();
    let reps = (2048 / (batch * length)).clamp(1, 20);
    let question = serde_json::json!({ "batch": batch, "seq": length, "reps": reps, "ids": ids });
    let (mut values, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    ours(engine, &ids, length).await?;
    peer.ask(&question).await?;
    for _ in 0..setup.pairs {
        let mut times = Vec::new();
        for _ in 0..reps {
            times.push(ours(engine, &ids, length).await?);
        }
        let value = median(&times);
        let theirs = peer.ask(&question).await?["ms"].as_f64().unwrap_or(f64::NAN);
        values.push(value);
        peers.push(theirs);
        ratios.push(theirs / value);
    }
    let ratio = median(&ratios);
    Ok(Row {
        name: format!("encoder, batch {batch} x {length} tokens"),
        value: median(&values),
        unit: "ms",
        peer: "ONNX Runtime".into(),
        peer_value: Some(median(&peers)),
        ratio,
        goal: format!(">= {CELL_MIN}"),
        holds: ratio >= CELL_MIN,
    })
}

/// Milliseconds of one call.
async fn ours(engine: &Engine, ids: &[i32], length: usize) -> anyhow::Result<f64> {
    let offsets: Vec<u32> = (0..=ids.len() / length).map(|i| (i * length) as u32).collect();
    let request = InferRequest {
        model: "minilm-ids".into(),
        selector: Selector::Default,
        inputs: vec![
            ("input_ids".into(), Tensor::from_slice(&[ids.len()], ids)?),
            ("offsets".into(), Tensor::from_slice(&[offsets.len()], &offsets)?),
        ],
        outputs: Vec::new(),
        parameters: Default::default(),
        tenant: Arc::from("bench"),
        deadline: Instant::now() + Duration::from_secs(120),
    };
    let start = Instant::now();
    loop {
        match engine.infer(request.clone()).await {
            Ok(_) => return Ok(start.elapsed().as_secs_f64() * 1e3),
            // The first call may come before the registry has been read.
            Err(error) if start.elapsed() > Duration::from_secs(60) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
