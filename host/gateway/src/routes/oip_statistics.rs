//! What models did so far, as Triton's statistics extension says it. Time before the plan runs is
//! `compute_input`, after it `compute_output`; there is no response cache.

use super::model_path::ModelPath;
use crate::admission::Admitted;
use crate::failure::{OipFailure, json, json_answer};
use crate::identity::access::Read;
use crate::router::{Gateway, Shared};
use aimass_engine::{ModelStatistics, Selector, Timed};
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde::Serialize;

#[derive(Serialize)]
struct AllWire<'a> {
    model_stats: Vec<ModelWire<'a>>,
}

#[derive(Serialize)]
struct ModelWire<'a> {
    name: &'a str,
    version: String,
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: InferWire,
    batch_stats: Vec<BatchWire>,
    memory_usage: [(); 0],
}

#[derive(Serialize)]
struct InferWire {
    success: TimedWire,
    fail: TimedWire,
    queue: TimedWire,
    compute_input: TimedWire,
    compute_infer: TimedWire,
    compute_output: TimedWire,
    cache_hit: TimedWire,
    cache_miss: TimedWire,
}

#[derive(Serialize)]
struct BatchWire {
    batch_size: u64,
    compute_infer: TimedWire,
}

#[derive(Serialize, Default)]
struct TimedWire {
    count: u64,
    ns: u64,
}

/// `GET /v2/models/stats`
pub(crate) async fn all(
    State(gateway): Shared,
    admitted: Admitted<Read>,
) -> Result<Response<Body>, OipFailure> {
    answer(&gateway, &admitted, "", &Selector::Default)
}

/// `GET /v2/models/{model}[/versions/{version}]/stats`
pub(crate) async fn model(
    State(gateway): Shared,
    admitted: Admitted<Read>,
    path: ModelPath,
) -> Result<Response<Body>, OipFailure> {
    admitted.require(&path.name)?;
    answer(&gateway, &admitted, &path.name, &path.selector)
}

fn answer(
    gateway: &Gateway,
    admitted: &Admitted<Read>,
    name: &str,
    selector: &Selector,
) -> Result<Response<Body>, OipFailure> {
    let mut all = gateway.engine.statistics(name, selector)?;
    all.retain(|one| admitted.may_use(&one.model));
    let model_stats = all.iter().map(wire).collect();
    Ok(json_answer(json(&AllWire { model_stats })))
}

fn wire(model: &ModelStatistics) -> ModelWire<'_> {
    let batch = |&(batch_size, count): &(u64, u64)| BatchWire {
        batch_size,
        compute_infer: TimedWire { count, ns: 0 },
    };
    ModelWire {
        name: &model.model,
        version: model.version.to_string(),
        last_inference: model.last_ms,
        inference_count: model.rows,
        execution_count: model.launches,
        inference_stats: InferWire {
            success: timed(model.success),
            fail: timed(model.fail),
            queue: timed(model.queue),
            compute_input: timed(model.before),
            compute_infer: timed(model.infer),
            compute_output: timed(model.after),
            cache_hit: TimedWire::default(),
            cache_miss: TimedWire::default(),
        },
        batch_stats: model.batches.iter().map(batch).collect(),
        memory_usage: [],
    }
}

fn timed(timed: Timed) -> TimedWire {
    let ns = u64::try_from(timed.time.as_nanos()).unwrap_or(u64::MAX);
    TimedWire { count: timed.count, ns }
}
