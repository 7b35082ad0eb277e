//! MiniLM's encoder, token ids in: rectangles, and texts of different lengths without padding.

use super::Setup;
use super::duel::{Contender, Question, duel};
use crate::row::{Row, Seeded, geomean};
use aimass_engine::Engine;
use aimass_tensor::Tensor;

const BATCHES: [usize; 3] = [1, 8, 32];
const LENGTHS: [usize; 3] = [32, 128, 256];
/// Speed of every cell over that of the faster peer, and of all together.
const CELL_MIN: f64 = 0.97;
const GEOMEAN_MIN: f64 = 1.10;
/// Texts of different lengths: how many, and tokens of the shortest and of the longest.
const RAGGED: (usize, usize, usize) = (32, 8, 128);
const RAGGED_MIN: f64 = 2.2;

/// One row a cell, their geometric mean, and the texts of different lengths.
pub(super) async fn rows(setup: &Setup, engine: &Engine) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in BATCHES {
        for length in LENGTHS {
            let name = format!("MiniLM f32, {batch} x {length} tokens");
            if setup.wants(&name) {
                rows.push(cell(setup, engine, &name, &vec![length; batch]).await?);
            }
        }
    }
    if rows.len() > 1 {
        let ratio = geomean(&rows.iter().map(|row| row.ratio).collect::<Vec<_>>());
        rows.push(Row {
            name: "MiniLM f32, geometric mean".into(),
            value: ratio,
            unit: "x speed",
            peer: "the faster of ONNX Runtime, OpenVINO".into(),
            peer_value: Some(1.0),
            ratio,
            goal: format!(">= {GEOMEAN_MIN}"),
            holds: ratio >= GEOMEAN_MIN,
        });
    }
    let (texts, shortest, longest) = RAGGED;
    let name = format!("MiniLM f32, {texts} texts of {shortest} to {longest} tokens");
    if setup.wants(&name) {
        let length = |text| shortest + text * (longest - shortest) / (texts - 1);
        let lengths: Vec<usize> = (0..texts).map(length).collect();
        let question = question(setup, &lengths)?;
        let outcome = duel(setup, engine, &question, &[Contender::OnnxRuntime]).await?;
        let (runtime, ms, ratio) = outcome.peers[0];
        rows.push(Row {
            name,
            value: outcome.ours_ms,
            unit: "ms",
            peer: format!("{runtime}, padded"),
            peer_value: Some(ms),
            ratio,
            goal: format!(">= {RAGGED_MIN}"),
            holds: ratio >= RAGGED_MIN,
        });
    }
    Ok(rows)
}

async fn cell(
    setup: &Setup,
    engine: &Engine,
    name: &str,
    lengths: &[usize],
) -> anyhow::Result<Row> {
    let runtimes = [Contender::OnnxRuntime, Contender::OpenVino];
    let outcome = duel(setup, engine, &question(setup, lengths)?, &runtimes).await?;
    let fastest = outcome.peers.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let (runtime, ms, _) = *fastest.expect("two peers were asked");
    Ok(Row {
        name: name.to_owned(),
        value: outcome.ours_ms,
        unit: "ms",
        peer: runtime.to_string(),
        peer_value: Some(ms),
        ratio: outcome.best,
        goal: format!(">= {CELL_MIN}"),
        holds: outcome.best >= CELL_MIN,
    })
}

/// Ids packed for us, and padded to the longest for the peers.
fn question(setup: &Setup, lengths: &[usize]) -> anyhow::Result<Question> {
    let mut seeded = Seeded(1);
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let (mut packed, mut offsets) = (Vec::new(), vec![0u32]);
    let (mut padded, mut mask) = (Vec::new(), Vec::new());
    for &length in lengths {
        let ids: Vec<i64> = (0..length).map(|_| 1000 + (seeded.bits() % 25_000) as i64).collect();
        packed.extend(ids.iter().map(|&id| id as i32));
        offsets.push(packed.len() as u32);
        padded.extend(ids.into_iter().chain(std::iter::repeat_n(0, longest - length)));
        mask.extend((0..longest).map(|position| i64::from(position < length)));
    }
    let rectangle = [lengths.len(), longest];
    Ok(Question {
        model: "minilm-ids",
        inputs: vec![
            ("input_ids", Tensor::from_slice(&[packed.len()], &packed)?),
            ("offsets", Tensor::from_slice(&[offsets.len()], &offsets)?),
        ],
        onnx: setup.onnx.clone(),
        onnx_inputs: vec![
            ("input_ids", Tensor::from_slice(&rectangle, &padded)?),
            ("attention_mask", Tensor::from_slice(&rectangle, &mask)?),
        ],
    })
}
