//! Many tenants with tokenizers of their own on one encoder, beside one client with full batches.

use super::Setup;
use super::duel::{answer, request};
use crate::row::{Row, median};
use crate::texts::texts;
use aimass_engine::{Engine, InferRequest};
use aimass_tensor::{Shape, Strings, Tensor};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const CLIENTS: usize = 32;
/// Tenants, each with a tokenizer plugin of its own; `cargo xtask bench` publishes as many models.
const TENANTS: usize = 8;
const TEXTS: usize = 256;
/// Share of the full batches' speed.
const RATIO_MIN: f64 = 0.9;

/// The row of this part.
pub(super) async fn rows(setup: &Setup, engine: &Arc<Engine>) -> anyhow::Result<Vec<Row>> {
    let texts = texts(&setup.model_dir, TEXTS)?;
    let single: Vec<InferRequest> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let tenant = index % CLIENTS % TENANTS;
            let text = strings(std::slice::from_ref(text))?;
            let mut request = request(&format!("minilm-{}", tenant + 1), &[("text", text)]);
            request.tenant = Arc::from(format!("tenant-{tenant}"));
            Ok(request)
        })
        .collect::<anyhow::Result<_>>()?;
    let full: Vec<InferRequest> = texts
        .chunks(CLIENTS)
        .map(|texts| Ok(request("minilm", &[("text", strings(texts)?)])))
        .collect::<anyhow::Result<_>>()?;
    for request in single.iter().take(TENANTS).chain(&full[..1]) {
        answer(engine, request).await?;
    }
    let single = Arc::new(single);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.pairs {
        let own = TEXTS as f64 / joined(engine, &single).await?;
        let start = Instant::now();
        for request in &full {
            engine.infer(request.clone()).await?;
        }
        let batches = TEXTS as f64 / start.elapsed().as_secs_f64();
        ours.push(own);
        theirs.push(batches);
        ratios.push(own / batches);
    }
    let ratio = median(&ratios);
    Ok(vec![Row {
        name: format!(
            "{CLIENTS} clients, {TENANTS} tenants, {TENANTS} tokenizer plugins, 1 MiniLM"
        ),
        value: median(&ours),
        unit: "texts/s",
        peer: format!("one client, batches of {CLIENTS}"),
        peer_value: Some(median(&theirs)),
        ratio,
        goal: format!(">= {RATIO_MIN}"),
        holds: ratio >= RATIO_MIN,
    }])
}

/// Texts as a tensor of byte strings.
fn strings(texts: &[String]) -> anyhow::Result<Tensor> {
    let shape = Shape::new(&[texts.len()])?;
    Ok(Tensor::from_strings(shape, Strings::from_slices(texts)?)?)
}

/// Seconds until clients that each wait for their answer have asked everything.
async fn joined(engine: &Arc<Engine>, requests: &Arc<Vec<InferRequest>>) -> anyhow::Result<f64> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (engine, next, requests) = (engine.clone(), next.clone(), requests.clone());
            tokio::spawn(async move {
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    engine.infer(request.clone()).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
    }
    Ok(start.elapsed().as_secs_f64())
}
